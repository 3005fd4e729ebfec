use std::sync::Arc;

use rbee_protocol::{ApiError, ErrorCode};
use tokio::sync::watch;

use crate::log::{JobLog, Page, Visible};
use crate::store::{Frame, StoreError};

/// So much goes out to a reader in one write at most.
pub(crate) const PAGE_BYTES: usize = 16 << 10;

/// A cursor over one job's log.
///
/// It costs the log nothing: however slow it is, it misses nothing and holds nobody up.
pub struct JobReader {
    log: Arc<JobLog>,
    visible: watch::Receiver<Visible>,
    seq: u64,
}

/// Why a reader cannot go on. Whoever reads can resume where it stopped.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The job's time was up while it was being read.
    #[error("the job is no longer kept")]
    Removed,
}

/// Why there is no reader of `seq` events after the one numbered `after`.
pub(crate) fn cursor_ahead(seq: u64, after: u64) -> ApiError {
    let message = format!("the stream has {seq} events so far, so it cannot go on after event {after}");
    ApiError::new(ErrorCode::CursorAhead, message).hint("resume with the id of the last event you received")
}

impl JobReader {
    pub(crate) fn new(log: Arc<JobLog>, after: u64) -> Self {
        log.reader_came();
        let visible = log.visible.subscribe();
        Self { log, visible, seq: after }
    }

    pub(crate) fn log(&self) -> &JobLog {
        &self.log
    }

    /// The number of the last event that was read.
    pub(crate) fn seq(&self) -> u64 {
        self.seq
    }

    /// Whether all has been read.
    pub(crate) fn is_done(&self) -> bool {
        let visible = *self.visible.borrow();
        visible.ended() && self.seq >= visible.seq
    }

    /// The next frames, as many as there are up to 16 KiB, or `None` after the end event.
    /// Cancel-safe.
    ///
    /// # Errors
    /// [`ReadError`] when frames that are no longer in memory cannot be had from the store.
    pub async fn next(&mut self) -> Result<Option<Vec<Frame>>, ReadError> {
        loop {
            let visible = *self.visible.borrow_and_update();
            if self.seq < visible.seq {
                let page = self.page(visible.seq).await?;
                self.seq = page.last().ok_or(ReadError::Removed)?.seq();
                return Ok(Some(page));
            }
            if visible.ended() {
                // A job that could not be stored has no end event either: it never was.
                if visible.seq == 0 {
                    return Err(ReadError::Removed);
                }
                return Ok(None);
            }
            self.visible.changed().await.expect("the log, held here, holds the sender");
        }
    }

    async fn page(&self, upto: u64) -> Result<Vec<Frame>, ReadError> {
        let committer = match self.log.page(self.seq, upto, PAGE_BYTES) {
            Page::Frames(frames) => return Ok(frames),
            Page::InStore(committer) => committer,
        };
        let mut frames = committer.read(&self.log.record.id, self.seq, PAGE_BYTES).await?;
        // What is stored but not visible yet is another page's.
        frames.truncate(usize::try_from(upto - self.seq).unwrap_or(usize::MAX));
        Ok(frames)
    }
}

impl Drop for JobReader {
    fn drop(&mut self) {
        self.log.reader_went();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use proptest::prelude::*;
    use proptest::sample::Index;
    use rbee_protocol::{End, JobEvent, Token};

    use super::*;
    use crate::log::JobWriter;
    use crate::log::tests::test_log;

    #[derive(Clone, Debug)]
    enum Step {
        Append { bytes: usize },
        Open { after: Index },
        Read { cursor: Index },
        Close { cursor: Index },
        End,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            8 => (0..200_usize).prop_map(|bytes| Step::Append { bytes }),
            2 => (20_000..70_000_usize).prop_map(|bytes| Step::Append { bytes }),
            2 => any::<Index>().prop_map(|after| Step::Open { after }),
            8 => any::<Index>().prop_map(|cursor| Step::Read { cursor }),
            1 => any::<Index>().prop_map(|cursor| Step::Close { cursor }),
            1 => Just(Step::End),
        ]
    }

    /// What a log should hold, beside the log that should hold it.
    struct Model {
        log: Arc<JobLog>,
        writer: JobWriter,
        frames: Vec<Frame>,
        ended: bool,
        cursors: Vec<(JobReader, usize)>,
    }

    impl Model {
        fn append(&mut self, event: &JobEvent) {
            assert_eq!(self.writer.append(event).is_ok(), !self.ended);
            if !self.ended {
                self.frames.push(Frame::encode(self.frames.len() as u64 + 1, event));
            }
        }

        fn open(&mut self, after: usize) {
            self.cursors.push((JobReader::new(self.log.clone(), after as u64), after));
        }

        /// Reads a page, which must be the next of the frames, and says whether there was one.
        fn read(&mut self, cursor: usize) -> bool {
            let (reader, place) = &mut self.cursors[cursor];
            let rest = &self.frames[*place..];
            let Some(read) = reader.next().now_or_never() else {
                assert!(rest.is_empty() && !self.ended, "a reader waits only where there is nothing to read");
                return false;
            };
            let Some(page) = read.expect("the log is in memory") else {
                assert!(rest.is_empty() && self.ended, "a stream ends after its end event");
                return false;
            };
            assert!(!page.is_empty());
            assert_eq!(page, rest[..page.len()]);
            let bytes: usize = page.iter().map(Frame::len).sum();
            assert!(page.len() == 1 || bytes <= PAGE_BYTES);
            *place += page.len();
            true
        }

        fn step(&mut self, step: &Step) {
            match step {
                Step::Append { bytes } => {
                    let text = "x".repeat(*bytes);
                    self.append(&JobEvent::Token(Token::new(text, 0)));
                }
                Step::Open { after } => self.open(after.index(self.frames.len() + 1)),
                Step::Read { cursor } if !self.cursors.is_empty() => {
                    self.read(cursor.index(self.cursors.len()));
                }
                Step::Close { cursor } if !self.cursors.is_empty() => {
                    self.cursors.swap_remove(cursor.index(self.cursors.len()));
                }
                Step::Read { .. } | Step::Close { .. } => {}
                Step::End => {
                    let error = ApiError::new(ErrorCode::Io, "it failed").hint("again");
                    self.append(&JobEvent::End(Box::new(End::stopped(error))));
                    self.ended = true;
                }
            }
            assert_eq!(*self.log.readers.borrow(), self.cursors.len() as u64);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn readers_see_every_event_once_and_in_order(steps in prop::collection::vec(step(), 0..60)) {
            let log = test_log(None);
            let writer = JobWriter::new(log.clone());
            let mut model = Model { log, writer, frames: Vec::new(), ended: false, cursors: Vec::new() };
            model.open(0);
            for step in &steps {
                model.step(step);
            }
            model.step(&Step::End);
            model.open(0);
            for cursor in 0..model.cursors.len() {
                while model.read(cursor) {}
                assert_eq!(model.cursors[cursor].1, model.frames.len());
            }
        }
    }

    #[tokio::test]
    async fn a_waiting_reader_wakes_for_an_event_and_loses_none_when_it_stops_waiting() {
        let log = test_log(None);
        let writer = JobWriter::new(log.clone());
        let mut reader = JobReader::new(log, 0);
        let token = JobEvent::Token(Token::new("x", 0));
        assert!(reader.next().now_or_never().is_none());
        let (page, appended) = tokio::join!(reader.next(), async { writer.append(&token) });
        assert_eq!(appended, Ok(()));
        assert_eq!(page.expect("the log is in memory").map(|page| page.len()), Some(1));
    }
}
