//! Jobs over each store, beside a `Vec` that says what their logs should hold.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::Index;
use rbee_jobs::{Frame, JobReader, JobStore, JobWriter, Jobs, Limits, Principal};
use rbee_journal::Journal;
use rbee_narration::Log;
use rbee_protocol::{JobEvent, Operation, PrincipalId, SubmitRequest, Token};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

#[derive(Clone, Debug)]
enum Step {
    Append { job: Index, bytes: usize },
    Open { job: Index, after: Index },
    Read { cursor: Index },
    Close { cursor: Index },
    Crash,
    End { job: Index },
}

fn step() -> impl Strategy<Value = Step> {
    let job = any::<Index>;
    prop_oneof![
        10 => (job(), 0..200_usize).prop_map(|(job, bytes)| Step::Append { job, bytes }),
        2 => (job(), 20_000..150_000_usize).prop_map(|(job, bytes)| Step::Append { job, bytes }),
        3 => (job(), any::<Index>()).prop_map(|(job, after)| Step::Open { job, after }),
        8 => any::<Index>().prop_map(|cursor| Step::Read { cursor }),
        1 => any::<Index>().prop_map(|cursor| Step::Close { cursor }),
        1 => Just(Step::Crash),
        1 => job().prop_map(|job| Step::End { job }),
    ]
}

/// A job and what its log should hold.
struct Job {
    writer: Option<JobWriter>,
    id: rbee_protocol::JobId,
    events: Vec<JobEvent>,
    /// How much of it some reader has seen.
    seen: usize,
}

struct Cursor {
    job: usize,
    reader: JobReader,
    place: usize,
}

struct Model {
    /// Where the journal is, if there is one.
    folder: Option<TempDir>,
    daemon: Jobs,
    jobs: Vec<Job>,
    cursors: Vec<Cursor>,
}

fn ada() -> Principal {
    Principal { id: PrincipalId::new("ada"), operator: false, revoked: CancellationToken::new() }
}

/// In memory where there is such a folder: its speed is not what is looked at here.
fn folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a temporary folder")
}

impl Model {
    fn new(journal: bool) -> Self {
        let (log, shutdown) = (Log::capture().0, CancellationToken::new());
        // So small a window that most of what is read comes from the store.
        let limits = Limits { window_bytes: 10_000, ..Limits::default() };
        let (folder, daemon) = if journal {
            let folder = folder();
            let journal = Journal::open(&folder.path().join("journal.sqlite")).expect("a new journal");
            let opened =
                Jobs::open("queen", limits, log, shutdown, Arc::new(journal)).expect("a new journal");
            (Some(folder), opened.0)
        } else {
            (None, Jobs::new("queen", limits, log, shutdown))
        };
        let mut model = Self { folder, daemon, jobs: Vec::new(), cursors: Vec::new() };
        for _ in 0..3 {
            let request = SubmitRequest { detached: true, ..SubmitRequest::new(Operation::Status {}) };
            let writer = model.daemon.create(&ada().id, &request).expect("there is room");
            let id = writer.id().clone();
            model.jobs.push(Job { writer: Some(writer), id, events: Vec::new(), seen: 0 });
        }
        model
    }

    async fn step(&mut self, step: &Step) {
        match step {
            Step::Append { job, bytes } => {
                let job = job.get_mut(&mut self.jobs);
                let event = JobEvent::Token(Token::new("\n".repeat(*bytes), job.events.len() as u64));
                if let Some(writer) = &job.writer {
                    writer.append(&event).expect("it has not ended");
                    job.events.push(event);
                }
            }
            Step::Open { job, after } => {
                let number = job.index(self.jobs.len());
                let job = &self.jobs[number];
                // A cursor is never ahead of what has been seen.
                let after = after.index(job.seen + 1);
                let reader = self.daemon.reader(&ada(), &job.id, after as u64).expect("the job is kept");
                self.cursors.push(Cursor { job: number, reader, place: after });
            }
            Step::Read { cursor } if !self.cursors.is_empty() => {
                let cursor = cursor.index(self.cursors.len());
                self.read(cursor).await;
            }
            Step::Close { cursor } if !self.cursors.is_empty() => {
                self.cursors.swap_remove(cursor.index(self.cursors.len()));
            }
            Step::Read { .. } | Step::Close { .. } => {}
            Step::Crash => self.crash(),
            Step::End { job } => drop(job.get_mut(&mut self.jobs).writer.take()),
        }
    }

    /// Reads a page, which must be the next of the events, and says whether there was one.
    async fn read(&mut self, cursor: usize) -> bool {
        let Cursor { job, reader, place } = &mut self.cursors[cursor];
        let job = &mut self.jobs[*job];
        let ended = job.writer.is_none();
        // A job's log begins with a line of its own and closes with its end.
        let length = 1 + job.events.len() + usize::from(ended);
        if *place == length && !ended {
            return false;
        }
        let page = tokio::time::timeout(Duration::from_secs(60), reader.next()).await;
        let page = page.expect("what was appended can be read").expect("the store can be read");
        let Some(page) = page else {
            assert!(ended && *place == length, "a stream ends after its end event");
            return false;
        };
        assert!(!page.is_empty());
        for frame in &page {
            *place += 1;
            check(frame, *place, &job.events);
        }
        assert!(*place <= length);
        job.seen = job.seen.max(*place);
        true
    }

    /// Looks at what would be there if the power failed now: at least what has been seen.
    fn crash(&self) {
        let Some(folder) = &self.folder else { return };
        let copy = crate::model::folder();
        copy_journal(folder.path(), copy.path());
        let journal = Journal::open(&copy.path().join("journal.sqlite")).expect("it survives a crash");
        let stored = journal.load().expect("it survives a crash");
        for job in &self.jobs {
            let found = stored.iter().find(|stored| stored.record.id == job.id);
            let seq = found.map_or(0, |stored| stored.seq);
            assert!(seq >= job.seen as u64, "{seq} events are left of {} that were seen", job.seen);
            for frame in journal.read(&job.id, 0, usize::MAX).expect("it survives a crash") {
                check(&frame, usize::try_from(frame.seq()).expect("they are few"), &job.events);
            }
        }
    }

    /// Ends everything, and reads everything once more.
    async fn finish(&mut self) {
        for number in 0..self.jobs.len() {
            self.jobs[number].writer = None;
            let reader = self.daemon.reader(&ada(), &self.jobs[number].id, 0).expect("the job is kept");
            self.cursors.push(Cursor { job: number, reader, place: 0 });
        }
        for cursor in 0..self.cursors.len() {
            while self.read(cursor).await {}
            let Cursor { job, place, .. } = &self.cursors[cursor];
            assert_eq!(*place, self.jobs[*job].events.len() + 2);
        }
    }
}

/// Checks that `frame` is event number `seq` of a job with these events.
fn check(frame: &Frame, seq: usize, events: &[JobEvent]) {
    assert_eq!(frame.seq(), seq as u64);
    if let Some(event) = seq.checked_sub(2).and_then(|place| events.get(place)) {
        assert_eq!(frame, &Frame::encode(seq as u64, event));
    } else {
        let expected = if seq == 1 { "job_create" } else { "abandoned" };
        assert!(String::from_utf8_lossy(frame.json()).contains(expected), "{frame:?}");
    }
}

fn copy_journal(from: &Path, to: &Path) {
    // The file first: a commit in between only makes the log longer.
    for file in ["journal.sqlite", "journal.sqlite-wal"] {
        if from.join(file).exists() {
            fs::copy(from.join(file), to.join(file)).expect("the journal can be copied");
        }
    }
}

fn play(journal: bool, steps: &[Step]) {
    let runtime = Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let mut model = Model::new(journal);
        for step in steps {
            model.step(step).await;
        }
        model.finish().await;
    });
}

/// As many cases as `PROPTEST_CASES` says, else a few.
fn config() -> ProptestConfig {
    let cases =
        if std::env::var_os("PROPTEST_CASES").is_some() { ProptestConfig::default().cases } else { 64 };
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn readers_in_memory_see_every_event_once_and_in_order(steps in prop::collection::vec(step(), 0..60)) {
        play(false, &steps);
    }

    #[test]
    fn readers_of_a_journal_see_every_event_once_and_in_order(steps in prop::collection::vec(step(), 0..60)) {
        play(true, &steps);
    }
}
