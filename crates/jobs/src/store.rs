use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use rbee_protocol::{JobEvent, JobId};

/// Keeps jobs' events.
pub trait JobStore: Send + Sync + 'static {
    /// A place for the events of a new job. It goes when the last handle to it does.
    fn create(&self, job: &JobId) -> Arc<dyn StoredLog>;
}

/// Keeps one job's events.
pub trait StoredLog: Send + Sync + 'static {
    /// Keeps the next frame. Once this returns it can be read.
    fn append(&self, frame: Frame);

    /// The frames after number `after`, in order, until they amount to `max_bytes`, at least one of
    /// them if there is one.
    fn read(&self, after: u64, max_bytes: usize) -> Vec<Frame>;
}

/// One event, encoded once for all its readers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    seq: u64,
    sse: Bytes,
    json: Range<usize>,
}

impl Frame {
    pub(crate) fn encode(seq: u64, event: &JobEvent) -> Self {
        let body = serde_json::to_string(event).expect("an event is plain data");
        let head = format!("id: {seq}\nevent: {}\ndata: ", event.kind());
        // An event is a JSON object, and its number becomes the first field of it.
        let fields = body.strip_prefix('{').expect("an event is a JSON object");
        let sse = format!("{head}{{\"seq\":{seq},{fields}\n\n");
        let json = head.len()..sse.len() - "\n\n".len();
        Self { seq, sse: sse.into(), json }
    }

    /// The event's place in the stream.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// The event as a server-sent event, the blank line after it included.
    pub fn sse(&self) -> &Bytes {
        &self.sse
    }

    /// The event as a line of JSON, without a line end.
    pub fn json(&self) -> &[u8] {
        &self.sse[self.json.clone()]
    }

    pub(crate) fn len(&self) -> usize {
        self.sse.len()
    }
}

/// Keeps every job whole in memory.
#[derive(Debug, Default)]
pub struct MemoryStore(());

impl JobStore for MemoryStore {
    fn create(&self, _job: &JobId) -> Arc<dyn StoredLog> {
        Arc::new(MemoryLog::default())
    }
}

/// Frames numbered from 1 without a gap, so that a frame's place is its number less one.
#[derive(Debug, Default)]
struct MemoryLog(RwLock<Vec<Frame>>);

impl StoredLog for MemoryLog {
    fn append(&self, frame: Frame) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).push(frame);
    }

    fn read(&self, after: u64, max_bytes: usize) -> Vec<Frame> {
        let frames = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let after = usize::try_from(after).unwrap_or(usize::MAX).min(frames.len());
        let mut bytes = 0;
        let page = frames[after..].iter().take_while(|frame| {
            let first = bytes == 0;
            bytes += frame.len();
            first || bytes <= max_bytes
        });
        page.cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use rbee_protocol::Token;

    use super::*;

    fn frame(seq: u64, text: &str) -> Frame {
        Frame::encode(seq, &JobEvent::Token(Token { text: text.to_owned(), index: 0, reasoning: false }))
    }

    #[test]
    fn a_frame_is_a_server_sent_event_and_its_json() {
        let frame = frame(7, "a\nb");
        let json = r#"{"seq":7,"kind":"token","text":"a\nb","index":0}"#;
        assert_eq!(String::from_utf8_lossy(frame.json()), json);
        assert_eq!(String::from_utf8_lossy(frame.sse()), format!("id: 7\nevent: token\ndata: {json}\n\n"));
    }

    #[test]
    fn a_page_holds_as_much_as_fits_and_at_least_one_frame() {
        let log = MemoryStore::default().create(&JobId::from_bits(1));
        for seq in 1..=5 {
            log.append(frame(seq, "text"));
        }
        let length = frame(1, "text").len();
        let check = |after, max_bytes, expected: &[u64]| {
            let seqs: Vec<u64> = log.read(after, max_bytes).iter().map(Frame::seq).collect();
            assert_eq!(seqs, expected, "after {after}, up to {max_bytes} bytes");
        };
        check(0, usize::MAX, &[1, 2, 3, 4, 5]);
        check(0, 0, &[1]);
        check(1, 2 * length, &[2, 3]);
        check(1, 2 * length - 1, &[2]);
        check(4, 2 * length, &[5]);
        check(5, usize::MAX, &[]);
        check(u64::MAX, usize::MAX, &[]);
    }
}
