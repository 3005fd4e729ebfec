use std::collections::BTreeMap;

use rbee_protocol::{JobEvent, Token};

use super::*;
use crate::log::JobWriter;
use crate::reader::JobReader;
use crate::store::{Frame, StoredJob};

/// Keeps what it is given, unless it is full.
#[derive(Default)]
struct Fake {
    jobs: Mutex<BTreeMap<JobId, Vec<Frame>>>,
    is_full: Mutex<bool>,
}

impl Fake {
    fn set_full(&self, is_full: bool) {
        *lock_core(&self.is_full) = is_full;
    }

    fn seqs(&self, job: &JobId) -> Vec<u64> {
        lock_core(&self.jobs).get(job).map_or(Vec::new(), |frames| frames.iter().map(Frame::seq).collect())
    }
}

impl JobStore for Fake {
    fn check_room(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn tidy(&self) {}

    fn load(&self) -> Result<Vec<StoredJob>, StoreError> {
        Ok(Vec::new())
    }

    fn write(&self, changes: &[Change]) -> Result<(), StoreError> {
        if *lock_core(&self.is_full) {
            return Err(StoreError::DiskFull { path: "fake".to_owned() });
        }
        let mut jobs = lock_core(&self.jobs);
        for change in changes {
            match change {
                Change::Create { record, .. } => {
                    assert!(jobs.insert(record.id.clone(), Vec::new()).is_none(), "it is created once");
                }
                Change::Append { job, frames, .. } => {
                    let log = jobs.get_mut(job).expect("it is created before it grows");
                    for frame in frames {
                        assert_eq!(frame.seq(), log.len() as u64 + 1, "nothing is stored twice or left out");
                        log.push(frame.clone());
                    }
                }
                Change::Remove { job } => drop(jobs.remove(job)),
                Change::Place { .. } => {}
            }
        }
        Ok(())
    }

    fn read(&self, job: &JobId, after: u64, max_bytes: usize) -> Result<Vec<Frame>, StoreError> {
        let jobs = lock_core(&self.jobs);
        let mut bytes = 0;
        let rest = jobs.get(job).into_iter().flatten().filter(|frame| frame.seq() > after);
        Ok(rest
            .take_while(|frame| {
                let first = bytes == 0;
                bytes += frame.sse().len();
                first || bytes <= max_bytes
            })
            .cloned()
            .collect())
    }
}

fn token(text: &str) -> JobEvent {
    JobEvent::Token(Token::new(text, 0))
}

#[cfg(not(feature = "shuttle"))]
mod steps {
    use rbee_protocol::{End, ErrorCode, Event, HiveId, JobState};

    use super::*;
    use rbee_narration::Log;

    use crate::log::Page;
    use crate::log::tests::{test_log, test_log_of};
    use crate::store::Placement;

    /// Writes once what there is to write.
    fn round(committer: &Committer, retried: &mut Queue) {
        let mut batch = committer.next(retried, None, false).expect("it waits");
        let _ = committer.write(&mut batch);
        *retried = batch;
    }

    fn setup() -> (Arc<Fake>, Arc<Committer>, Arc<JobLog>, JobWriter) {
        let store = Arc::new(Fake::default());
        let committer = Committer::new(store.clone(), SystemNarrator::new("test", Log::capture().0));
        let log = test_log(Some(committer.clone()));
        let job = JobWriter::new(log.clone());
        (store, committer, log, job)
    }

    /// The last event that is stored.
    fn last(store: &Fake, job: &JobWriter) -> End {
        let frame = lock_core(&store.jobs)[job.id()].last().cloned().expect("there are events");
        match serde_json::from_slice(frame.json()).expect("a frame holds an event") {
            Event { event: JobEvent::End(end), .. } => *end,
            event => panic!("{event:?} is last"),
        }
    }

    #[test]
    fn an_event_is_visible_once_it_is_stored_and_not_before() {
        let (store, committer, log, job) = setup();
        job.append(&token("a")).expect("it has not ended");
        job.append(&token("b")).expect("it has not ended");
        assert_eq!(log.visible.borrow().seq, 0);
        round(&committer, &mut Queue::default());
        assert_eq!((log.visible.borrow().seq, store.seqs(job.id())), (2, vec![1, 2]));
        job.finish(Ok(End::succeeded()));
        assert_eq!(log.visible.borrow().state, JobState::Queued);
        round(&committer, &mut Queue::default());
        assert_eq!(log.visible.borrow().state, JobState::Succeeded);
    }

    #[test]
    fn each_of_many_logs_in_one_commit_gets_what_is_its_own() {
        let (store, committer, log, job) = setup();
        job.append(&token("old 1")).expect("it has not ended");
        round(&committer, &mut Queue::default());
        let mut new_jobs = Vec::new();
        for (number, old_is_first) in [(2, true), (3, false)] {
            let new_log = test_log_of(number, Some(committer.clone()), Log::capture().0);
            let new_job = JobWriter::new(new_log.clone());
            let seq = job.seq();
            if old_is_first {
                job.append(&token("old")).expect("it has not ended");
            }
            for text in ["new 1", "new 2", "new 3"] {
                new_job.append(&token(text)).expect("it has not ended");
            }
            if !old_is_first {
                job.append(&token("old")).expect("it has not ended");
            }
            round(&committer, &mut Queue::default());
            assert_eq!((log.visible.borrow().seq, new_log.visible.borrow().seq), (seq + 1, 3));
            // Dropped, it would get an end.
            new_jobs.push(new_job);
        }
        for (id, frames) in &*lock_core(&store.jobs) {
            let word = if id == job.id() { "old" } else { "new" };
            assert_eq!(frames.len(), 3);
            assert!(frames.iter().all(|frame| String::from_utf8_lossy(frame.json()).contains(word)));
        }
    }

    #[test]
    fn how_far_a_jobs_child_was_read_is_stored_with_its_events() {
        let (_, committer, log, job) = setup();
        let stored = |event, child_seq| {
            job.append_from_child(&event, child_seq).expect("it has not ended");
            let mut changes = Vec::new();
            log.stored(&log.unstored(&mut changes));
            match changes.pop() {
                Some(Change::Append { child_seq, .. }) => child_seq,
                change => panic!("{change:?} is last"),
            }
        };
        assert_eq!([stored(token("a"), 7), stored(token("b"), 8)], [Some(7), Some(8)]);
        drop(committer);
    }

    #[test]
    fn of_a_job_that_has_ended_nothing_is_stored_but_its_events() {
        let (_, committer, log, job) = setup();
        job.append(&token("a")).expect("it has not ended");
        round(&committer, &mut Queue::default());
        job.place(Placement { hive: HiveId::new("local"), child: JobId::from_bits(9), slot: String::new() });
        job.finish(Ok(End::succeeded()));
        let mut changes = Vec::new();
        log.unstored(&mut changes);
        assert!(matches!(changes.as_slice(), [Change::Append { end: Some(_), .. }]), "{changes:?}");
    }

    #[test]
    fn a_job_that_cannot_be_stored_is_refused() {
        let (store, committer, log, job) = setup();
        store.set_full(true);
        job.append(&token("a")).expect("it has not ended");
        let mut rest = Queue::default();
        round(&committer, &mut rest);
        assert!(matches!(log.refused(), Some(StoreError::DiskFull { .. })));
        assert!(log.visible.borrow().ended() && job.is_cancelled() && rest.logs.is_empty());
        assert!(job.append(&token("b")).is_err());
    }

    #[test]
    fn a_job_that_cannot_grow_fails_after_what_was_seen_of_it_once_there_is_room_for_that() {
        let (store, committer, log, job) = setup();
        job.append(&token("a")).expect("it has not ended");
        let mut rest = Queue::default();
        round(&committer, &mut rest);
        store.set_full(true);
        job.append(&token("lost")).expect("it has not ended");
        round(&committer, &mut rest);
        assert_eq!(job.cancel_error().code, ErrorCode::DiskFull);
        assert!(job.append(&token("too late")).is_err());
        round(&committer, &mut rest);
        assert_eq!(log.visible.borrow().seq, 1, "nothing is seen that is not stored");
        store.set_full(false);
        round(&committer, &mut rest);
        assert_eq!(store.seqs(job.id()), [1, 2]);
        assert_eq!(last(&store, &job).error.map(|error| error.code), Some(ErrorCode::DiskFull));
        assert!(rest.logs.is_empty());
    }

    #[test]
    fn an_end_that_cannot_be_stored_is_no_success() {
        let (store, committer, log, job) = setup();
        job.append(&token("a")).expect("it has not ended");
        let mut rest = Queue::default();
        round(&committer, &mut rest);
        store.set_full(true);
        job.append(&token("lost")).expect("it has not ended");
        job.finish(Ok(End::succeeded()));
        round(&committer, &mut rest);
        store.set_full(false);
        round(&committer, &mut rest);
        assert_eq!(log.visible.borrow().state, JobState::Failed);
        assert_eq!(last(&store, &job).error.map(|error| error.code), Some(ErrorCode::DiskFull));
    }

    #[tokio::test]
    async fn what_has_left_memory_is_read_from_the_store() {
        let (store, committer, log, job) = setup();
        let mut reader = JobReader::new(log.clone(), 0);
        for number in 0..3000 {
            job.append(&token(&number.to_string())).expect("it has not ended");
        }
        round(&committer, &mut Queue::default());
        assert!(matches!(log.page(0, 3000, usize::MAX), Page::InStore(_)), "a thousand are kept");
        let Page::Frames(newest) = log.page(2000, 3000, usize::MAX) else { panic!("a thousand are kept") };
        assert_eq!(newest.len(), 1000);
        drop(job);
        round(&committer, &mut Queue::default());
        let mut read = Vec::new();
        while let Some(page) = reader.next().await.expect("the store can be read") {
            read.extend(page);
        }
        assert_eq!(read, lock_core(&store.jobs)[&log.record.id]);
        drop(reader);
        assert!(matches!(log.page(3000, 3001, usize::MAX), Page::InStore(_)), "nobody reads it any more");
    }
}

/// Every interleaving of the log's locks that the scheduler comes up with.
#[cfg(feature = "shuttle")]
mod schedules {
    use rbee_narration::Log;
    use shuttle::scheduler::RandomScheduler;
    use shuttle::{Config, Runner, future, thread};

    use super::*;
    use crate::log::tests::test_log_with;

    /// Plays it in as many schedules as `RBEE_SCHEDULES` says.
    fn check(may_fill: bool) {
        let schedules = std::env::var("RBEE_SCHEDULES")
            .map_or(2_000, |count| count.parse().expect("a number of schedules"));
        let mut config = Config::new();
        // An event's JSON is made on these stacks.
        config.stack_size = 256 << 10;
        let log = Log::capture().0;
        Runner::new(RandomScheduler::new(schedules), config).run(move || play(may_fill, log.clone()));
    }

    /// Two writers, a committer and two readers, of which one comes late; the disk may be full for a while.
    fn play(may_fill: bool, log: Log) {
        let store = Arc::new(Fake::default());
        let committer = Committer::new(store.clone(), SystemNarrator::new("test", log.clone()));
        let log = test_log_with(Some(committer.clone()), log);
        let writing = {
            let committer = committer.clone();
            thread::spawn(move || {
                let mut rest = Queue::default();
                loop {
                    let mut batch = committer.next(&mut rest, None, false).expect("it waits");
                    if batch.logs.is_empty() && batch.removed.is_empty() {
                        return;
                    }
                    let _ = committer.write(&mut batch);
                    rest = batch;
                }
            })
        };
        let filling = {
            let (store, log) = (store.clone(), log.clone());
            thread::spawn(move || {
                if may_fill {
                    // Sometimes before the job is stored, mostly after.
                    for _ in 0..3 {
                        if log.visible.borrow().seq == 0 {
                            thread::yield_now();
                        }
                    }
                    store.set_full(true);
                    for _ in 0..3 {
                        thread::yield_now();
                    }
                    store.set_full(false);
                }
            })
        };
        let read = |log: Arc<JobLog>| {
            thread::spawn(move || {
                let mut reader = JobReader::new(log, 0);
                let mut seqs: Vec<u64> = Vec::new();
                future::block_on(async {
                    // A job that was refused is gone; all of any other is in memory.
                    while let Ok(Some(page)) = reader.next().await {
                        seqs.extend(page.iter().map(Frame::seq));
                    }
                });
                seqs
            })
        };
        let job = JobWriter::new(log.clone());
        let early = read(log.clone());
        let appending: Vec<_> = (0..2)
            .map(|_| {
                let job = job.clone();
                thread::spawn(move || {
                    for _ in 0..2 {
                        // A log that a full disk has ended takes no more.
                        let _ = job.append(&token("x"));
                    }
                })
            })
            .collect();
        drop(job);
        let late = read(log.clone());
        for thread in appending {
            thread.join().expect("a writer does not panic");
        }
        filling.join().expect("the disk does not panic");
        let (early, late) =
            (early.join().expect("a reader does not panic"), late.join().expect("a reader does not panic"));
        committer.close();
        writing.join().expect("the committer does not panic");
        assert_eq!(early, late, "every reader sees the same");
        assert_eq!(early, (1..=early.len() as u64).collect::<Vec<_>>(), "without a gap");
        if log.refused().is_none() {
            assert_eq!(early, store.seqs(&log.record.id), "and what is stored");
            assert!(may_fill || early.len() == 5);
        }
    }

    #[test]
    fn every_reader_sees_the_same_gapless_sequence_in_every_schedule() {
        check(false);
    }

    #[test]
    fn a_full_disk_changes_nothing_that_was_seen_in_any_schedule() {
        check(true);
    }
}
