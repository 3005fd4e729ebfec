use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use rbee_protocol::{ApiError, SystemEvent, SystemEventKind};
use tokio::sync::watch;

use crate::reader::{PAGE_BYTES, cursor_ahead};
use crate::service::now_ms;
use crate::store::Frame;
use crate::sync::lock;

/// So many of the newest events are kept.
const EVENTS_KEPT: usize = 10_000;

/// What happens to a service, for those who operate it. A cheap handle.
///
/// It takes [`SystemEventKind`]s and nothing else, and no job's log takes those: what is said in a job
/// cannot get here, and what is said here cannot get into a job.
#[derive(Clone)]
pub struct SystemLog(Arc<Inner>);

struct Inner {
    kept: usize,
    frames: Mutex<VecDeque<Frame<SystemEvent>>>,
    visible: watch::Sender<Visible>,
}

#[derive(Clone, Copy)]
struct Visible {
    seq: u64,
    ended: bool,
}

/// A cursor over a [`SystemLog`].
pub(crate) struct SystemReader {
    log: SystemLog,
    visible: watch::Receiver<Visible>,
    seq: u64,
}

impl Default for SystemLog {
    fn default() -> Self {
        Self::keeping(EVENTS_KEPT)
    }
}

impl SystemLog {
    fn keeping(kept: usize) -> Self {
        let visible = watch::Sender::new(Visible { seq: 0, ended: false });
        Self(Arc::new(Inner { kept, frames: Mutex::default(), visible }))
    }

    /// Tells of what has just happened. What happens after [`SystemLog::close`] is not told.
    pub fn append(&self, kind: SystemEventKind) {
        let mut frames = self.frames();
        let Visible { seq, ended } = *self.0.visible.borrow();
        if ended {
            return;
        }
        if frames.len() == self.0.kept {
            frames.pop_front();
        }
        frames.push_back(Frame::encode_system(&SystemEvent { seq: seq + 1, at_ms: now_ms(), kind }));
        self.0.visible.send_replace(Visible { seq: seq + 1, ended });
    }

    /// Ends the log, and with it every stream of it.
    pub fn close(&self) {
        let _frames = self.frames();
        self.0.visible.send_modify(|visible| visible.ended = true);
    }

    /// A reader from the event after number `after`.
    ///
    /// # Errors
    /// `cursor_ahead` when there is no event `after`.
    pub(crate) fn reader(&self, after: u64) -> Result<SystemReader, ApiError> {
        let visible = self.0.visible.subscribe();
        let seq = visible.borrow().seq;
        if after > seq {
            return Err(cursor_ahead(seq, after));
        }
        Ok(SystemReader { log: self.clone(), visible, seq: after })
    }

    /// The frames after number `after`, of which there are some, until they amount to a page. Of those that
    /// are no longer kept, one that says so.
    fn page(&self, after: u64) -> Vec<Frame<SystemEvent>> {
        let frames = self.frames();
        let first = frames.front().map_or(after + 1, Frame::seq);
        let lost = (after + 1 < first).then(|| {
            let kind = SystemEventKind::Lost { from: after + 1, to: first - 1 };
            Frame::encode_system(&SystemEvent { seq: first - 1, at_ms: now_ms(), kind })
        });
        let skipped = usize::try_from((after + 1).saturating_sub(first)).unwrap_or(usize::MAX);
        let mut bytes = 0;
        let page = frames.iter().skip(skipped).take_while(|frame| {
            let is_first = bytes == 0;
            bytes += frame.len();
            is_first || bytes <= PAGE_BYTES
        });
        lost.into_iter().chain(page.cloned()).collect()
    }

    fn frames(&self) -> MutexGuard<'_, VecDeque<Frame<SystemEvent>>> {
        lock(&self.0.frames)
    }
}

impl SystemReader {
    /// The next frames, or `None` when the log has ended. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<Vec<Frame<SystemEvent>>> {
        loop {
            let visible = *self.visible.borrow_and_update();
            if self.seq < visible.seq {
                let page = self.log.page(self.seq);
                self.seq = page.last().map_or(visible.seq, Frame::seq);
                return Some(page);
            }
            if visible.ended {
                return None;
            }
            self.visible.changed().await.expect("the log, held here, holds the sender");
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use rbee_protocol::ErrorCode;

    use super::*;

    fn resumed(jobs: u64) -> SystemEventKind {
        SystemEventKind::JobsResumed { jobs }
    }

    fn event(frame: &Frame<SystemEvent>) -> SystemEvent {
        serde_json::from_slice(frame.json()).expect("a frame holds an event")
    }

    /// What the reader finds without waiting: the numbers of events, and `from-to` for what is lost.
    fn read(reader: &mut SystemReader) -> String {
        let mut read = Vec::new();
        while let Some(Some(page)) = reader.next().now_or_never() {
            read.extend(page.iter().map(|frame| match event(frame).kind {
                SystemEventKind::Lost { from, to } => {
                    assert_eq!(frame.seq(), to);
                    format!("{from}-{to}")
                }
                kind => {
                    assert_eq!(kind, resumed(frame.seq()));
                    frame.seq().to_string()
                }
            }));
        }
        read.join(" ")
    }

    #[test]
    fn events_are_numbered_from_one_and_reach_readers_early_and_late() {
        let log = SystemLog::default();
        let mut early = log.reader(0).expect("it is the beginning");
        assert_eq!(read(&mut early), "");
        (1..=3).for_each(|jobs| log.append(resumed(jobs)));
        assert_eq!(read(&mut early), "1 2 3");
        log.append(resumed(4));
        assert_eq!(read(&mut early), "4");
        assert_eq!(read(&mut log.reader(0).expect("it is the beginning")), "1 2 3 4");
        assert_eq!(read(&mut log.reader(3).expect("there is a third")), "4");
        let refused = log.reader(5).err().expect("there is no fifth");
        assert_eq!(refused.code, ErrorCode::CursorAhead);
    }

    #[test]
    fn a_reader_that_falls_behind_is_told_once_what_it_has_lost() {
        let log = SystemLog::keeping(3);
        let mut slow = log.reader(0).expect("it is the beginning");
        (1..=2).for_each(|jobs| log.append(resumed(jobs)));
        assert_eq!(read(&mut slow), "1 2");
        (3..=10).for_each(|jobs| log.append(resumed(jobs)));
        assert_eq!(read(&mut slow), "3-7 8 9 10");
        assert_eq!(read(&mut log.reader(0).expect("it is the beginning")), "1-7 8 9 10");
        // What was lost can be resumed after, as any event can.
        assert_eq!(read(&mut log.reader(7).expect("there was a seventh")), "8 9 10");
        log.append(resumed(11));
        assert_eq!(read(&mut slow), "11");
        assert_eq!(log.frames().len(), 3);
    }

    #[test]
    fn much_at_once_comes_in_pages_without_a_gap() {
        let log = SystemLog::default();
        (1..=10_000).for_each(|jobs| log.append(resumed(jobs)));
        let mut reader = log.reader(0).expect("it is the beginning");
        let first = reader.next().now_or_never().flatten().expect("there is a page");
        assert!(first.len() > 100 && first.len() < 10_000);
        let all: Vec<String> = (1..=10_000_u64).map(|seq| seq.to_string()).collect();
        assert_eq!(read(&mut log.reader(0).expect("it is the beginning")), all.join(" "));
    }

    #[tokio::test]
    async fn a_waiting_reader_wakes_for_an_event_and_for_the_end() {
        let log = SystemLog::default();
        let mut reader = log.reader(0).expect("it is the beginning");
        let (page, ()) = tokio::join!(reader.next(), async { log.append(resumed(1)) });
        assert_eq!(page.expect("an event").len(), 1);
        let (page, ()) = tokio::join!(reader.next(), async { log.close() });
        assert!(page.is_none());
        log.append(resumed(2));
        assert!(reader.next().await.is_none(), "nothing comes after the end");
    }
}
