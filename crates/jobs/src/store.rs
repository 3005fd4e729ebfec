use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;

use bytes::Bytes;
use rbee_protocol::{
    ApiError, ErrorCode, HiveId, JobEvent, JobId, JobState, PrincipalId, SubmitRequest, SystemEvent,
};

/// Keeps jobs beyond the life of a process.
///
/// What a reader has seen of a job is in its store: an event becomes visible once the [`Change`]
/// that carries it has been written.
pub trait JobStore: Send + Sync + 'static {
    /// Whether there is room for another job, as far as is known. Does not block.
    ///
    /// # Errors
    /// [`StoreError::DiskFull`] when there is none.
    fn check_room(&self) -> Result<(), StoreError>;

    /// Sees whether there is room again, and lets go of what has been removed. For when there is nothing
    /// to write for the moment. Blocks the thread.
    fn tidy(&self);

    /// All jobs that there are, first created first.
    ///
    /// # Errors
    /// What keeps them from being read.
    fn load(&self) -> Result<Vec<StoredJob>, StoreError>;

    /// Writes all of `changes`, so that they outlast a crash, or none of them. Blocks the thread.
    ///
    /// # Errors
    /// What keeps them from being written.
    fn write(&self, changes: &[Change]) -> Result<(), StoreError>;

    /// The job's frames after number `after`, in order, until they amount to `max_bytes`, at least
    /// one of them if there is one. Blocks the thread.
    ///
    /// # Errors
    /// What keeps them from being read.
    fn read(&self, job: &JobId, after: u64, max_bytes: usize) -> Result<Vec<Frame>, StoreError>;
}

/// Why a store cannot do what it was asked to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The disk is full.
    #[error("there is no room left on the disk with the journal of jobs, {path}")]
    DiskFull {
        /// The store's file.
        path: String,
    },
    /// What the file holds is no journal.
    #[error("the journal of jobs, {path}, is damaged, or not one of rbee's: {reason}")]
    Damaged {
        /// The store's file.
        path: String,
        /// What the file's reader said.
        reason: String,
    },
    /// Anything else.
    #[error("the journal of jobs, {path}, cannot be used: {reason}")]
    Failed {
        /// The store's file.
        path: String,
        /// What the system or the file's reader said.
        reason: String,
    },
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let (code, hint) = match &error {
            StoreError::DiskFull { .. } => {
                (ErrorCode::DiskFull, "free some room on that disk, then try again")
            }
            // No fault of whoever asks.
            StoreError::Damaged { .. } => (
                ErrorCode::Io,
                "the operator has to act: once it is moved away, after `rbee queen stop`, the queen begins another, without \
                 the jobs in it",
            ),
            StoreError::Failed { .. } => (ErrorCode::Io, "`rbee queen logs` may tell more"),
        };
        Self::new(code, error.to_string()).hint(hint)
    }
}

/// What stays the same about a job.
#[derive(Clone, Debug, PartialEq)]
pub struct JobRecord {
    /// Its id.
    pub id: JobId,
    /// The operation's name, e.g. `infer`.
    pub operation: String,
    /// To whom it belongs.
    pub principal: PrincipalId,
    /// Whether it runs on when nobody reads it.
    pub detached: bool,
    /// The queen's job that it works for.
    pub origin: Option<JobId>,
    /// When it was created, in milliseconds since the Unix epoch.
    pub created_at_ms: u64,
}

/// Where the work for a job is done: a job at the next hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Which hive does it.
    pub hive: HiveId,
    /// Its job there.
    pub child: JobId,
    /// What the job takes there, in the words of whoever placed it.
    pub slot: String,
}

/// A job as a store has it.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredJob {
    /// What stays the same about it.
    pub record: JobRecord,
    /// What was asked for, as long as no hive has it.
    pub request: Option<SubmitRequest>,
    /// Which hive has it.
    pub placement: Option<Placement>,
    /// The last event of its child that is in its log; 0 for none.
    pub child_seq: u64,
    /// Where it stands.
    pub state: JobState,
    /// When it ended, in milliseconds since the Unix epoch.
    pub ended_at_ms: Option<u64>,
    /// The number of its last event.
    pub seq: u64,
    /// The bytes of its events.
    pub bytes: u64,
}

/// One thing that a store is to write.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// There is a new job.
    Create {
        /// The job.
        record: JobRecord,
        /// What was asked for.
        request: Box<SubmitRequest>,
    },
    /// A hive has the job now, and its request need not be kept any longer.
    Place {
        /// The job.
        job: JobId,
        /// Where it is.
        placement: Placement,
    },
    /// The job's log has grown.
    Append {
        /// The job.
        job: JobId,
        /// By these, which follow what is stored already.
        frames: Vec<Frame>,
        /// The last event of the job's child that is among them.
        child_seq: Option<u64>,
        /// How and when the job ended, in milliseconds since the Unix epoch, if the last of them says so.
        end: Option<(JobState, u64)>,
    },
    /// The job is no longer kept.
    Remove {
        /// The job.
        job: JobId,
    },
}

/// One event, a job's unless said otherwise, encoded once for all its readers.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame<E = JobEvent> {
    seq: u64,
    sse: Bytes,
    json: Range<usize>,
    event: PhantomData<fn() -> E>,
}

impl Frame {
    /// The event as number `seq` of its stream.
    pub fn encode(seq: u64, event: &JobEvent) -> Self {
        let body = serde_json::to_string(event).expect("an event is plain data");
        // An event is a JSON object, and its number becomes the first field of it.
        let fields = body.strip_prefix('{').expect("an event is a JSON object");
        Self::build(seq, event.kind(), format_args!("{{\"seq\":{seq},{fields}"))
    }

    /// The frames, numbered from `first_seq`, whose server-sent events stand in `text` one after
    /// another. `None` when they do not.
    pub fn split(first_seq: u64, text: &Bytes) -> Option<Vec<Self>> {
        let line = |from: usize| Some(from + text[from..].iter().position(|byte| *byte == b'\n')? + 1);
        let mut frames = Vec::new();
        let mut start = 0;
        while start < text.len() {
            // An id, an event, a data line and an empty one; JSON has no line ends of its own.
            let data = line(line(start)?)?;
            let empty = line(data)?;
            let end = line(empty)?;
            let is_frame = text[data..].starts_with(b"data: ") && end == empty + 1;
            if !is_frame {
                return None;
            }
            let json = data + "data: ".len() - start..empty - 1 - start;
            let seq = first_seq + frames.len() as u64;
            frames.push(Self { seq, sse: text.slice(start..end), json, event: PhantomData });
            start = end;
        }
        Some(frames)
    }
}

impl Frame<SystemEvent> {
    pub(crate) fn encode_system(event: &SystemEvent) -> Self {
        let json = serde_json::to_string(event).expect("an event is plain data");
        Self::build(event.seq, event.kind.name(), format_args!("{json}"))
    }
}

impl<E> Frame<E> {
    fn build(seq: u64, kind: &str, json: fmt::Arguments<'_>) -> Self {
        let head = format!("id: {seq}\nevent: {kind}\ndata: ");
        let sse = format!("{head}{json}\n\n");
        let json = head.len()..sse.len() - "\n\n".len();
        Self { seq, sse: sse.into(), json, event: PhantomData }
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

#[cfg(test)]
mod tests {
    use rbee_protocol::Token;

    use super::*;

    fn frame(seq: u64, text: &str) -> Frame {
        Frame::encode(seq, &JobEvent::Token(Token::new(text, 0)))
    }

    #[test]
    fn a_frame_is_a_server_sent_event_and_its_json() {
        let frame = frame(7, "a\nb");
        let json = r#"{"seq":7,"kind":"token","text":"a\nb","index":0}"#;
        assert_eq!(String::from_utf8_lossy(frame.json()), json);
        assert_eq!(String::from_utf8_lossy(frame.sse()), format!("id: 7\nevent: token\ndata: {json}\n\n"));
    }

    #[test]
    fn frames_are_found_again_in_their_text_and_nowhere_else() {
        let frames: Vec<Frame> =
            ["a\nb\n\ndata: x", "", "\u{2028}"].iter().zip(5..).map(|(text, seq)| frame(seq, text)).collect();
        let text: Bytes = frames.iter().flat_map(|frame| frame.sse().to_vec()).collect();
        assert_eq!(Frame::split(5, &text).as_ref(), Some(&frames));
        let whole: Vec<usize> = frames
            .iter()
            .scan(0, |end, frame| {
                *end += frame.len();
                Some(*end)
            })
            .collect();
        for cut in 1..text.len() {
            assert_eq!(Frame::split(5, &text.slice(..cut)).is_some(), whole.contains(&cut), "cut at {cut}");
        }
    }
}
