use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use futures_util::future::select_all;
use rbee_protocol::{ApiError, End, EndState, ErrorCode, Event, JobEvent, JobId, Phase, SubmitRequest};

use crate::access::Principal;
use crate::log::JobWriter;
use crate::reader::{JobReader, ReadError};
use crate::registry::Jobs;
use crate::service::Service;
use crate::store::Frame;
use crate::stream_answer::{Source, StreamAnswer};
use crate::streams::OpenStream;

/// The jobs that answer one request of another API, and what there is to read of them.
///
/// Those that were made for it are cancelled when this goes, unless they are detached: whoever asked has gone then.
pub struct Exchange {
    readers: Vec<JobReader>,
    /// What was read ahead.
    ahead: VecDeque<(usize, Frame)>,
    is_cancelling: bool,
    open: Option<OpenStream>,
}

/// A comment of a stream of server-sent events.
const HEARTBEAT: &[u8] = b": heartbeat\n\n";

/// Turns the events of jobs into another API's stream.
pub trait Translate: Send + 'static {
    /// The stream's media type.
    fn content_type(&self) -> &'static str;

    /// Adds to `out` what becomes of an event of the request's job number `job`.
    fn event(&mut self, job: usize, event: JobEvent, out: &mut Vec<u8>);

    /// Adds what follows the last end event.
    fn done(&mut self, out: &mut Vec<u8>);

    /// Whether nothing is to follow, whatever comes of jobs that have not ended: one of them has failed.
    fn is_over(&self) -> bool {
        false
    }

    /// What a stream that has nothing to say says now and then; nothing where readers would not skip it.
    fn heartbeat(&self) -> &'static [u8] {
        HEARTBEAT
    }
}

impl Jobs {
    /// Creates a job for each of `requests`, as [`Jobs::submit`] does, to be read together. `tell` adds to the log of each
    /// before anybody works on it.
    ///
    /// # Errors
    /// As [`Jobs::submit`]; then none of the jobs goes on. `busy` when `by` reads as many streams as they may.
    pub async fn exchange<S: Service>(
        &self,
        service: &Arc<S>,
        by: &Principal,
        requests: impl IntoIterator<Item = SubmitRequest>,
        tell: impl Fn(&JobWriter),
    ) -> Result<Exchange, ApiError> {
        let open = Some(self.open_stream(&by.id)?);
        let mut exchange =
            Exchange { readers: Vec::new(), ahead: VecDeque::new(), is_cancelling: true, open };
        for request in requests {
            let log = self.begin(service, by, request, &tell)?;
            exchange.readers.push(JobReader::new(log, 0));
        }
        for reader in &exchange.readers {
            reader.log().created().await?;
        }
        exchange.is_cancelling = !exchange.is_detached();
        Ok(exchange)
    }

    /// A job of `by`, to be read from its first event on.
    ///
    /// # Errors
    /// As [`Jobs::reader`]. `busy` when `by` reads as many streams as they may.
    pub fn attend(&self, by: &Principal, id: &JobId) -> Result<Exchange, ApiError> {
        let open = Some(self.open_stream(&by.id)?);
        let readers = vec![self.reader(by, id, 0)?];
        Ok(Exchange { readers, ahead: VecDeque::new(), is_cancelling: false, open })
    }
}

impl Exchange {
    /// The jobs, in the order of their requests.
    pub fn jobs(&self) -> impl Iterator<Item = &JobId> {
        self.readers.iter().map(|reader| &reader.log().record.id)
    }

    /// Whether they go on whoever reads them.
    pub fn is_detached(&self) -> bool {
        self.readers.first().is_some_and(|reader| reader.log().record.detached)
    }

    /// When the first of them was created, in milliseconds since the Unix epoch.
    pub fn created_at_ms(&self) -> u64 {
        self.readers.first().map_or(0, |reader| reader.log().record.created_at_ms)
    }

    /// The next event, with the number of its job, or `None` after the last end event. Cancel-safe.
    ///
    /// # Errors
    /// `io` when it cannot be had any more.
    pub async fn next(&mut self) -> Result<Option<(usize, JobEvent)>, ApiError> {
        loop {
            while let Some((job, frame)) = self.ahead.pop_front() {
                if let Some(event) = event(&frame) {
                    return Ok(Some((job, event)));
                }
            }
            if !self.read().await.map_err(|error| unreadable(&error))? {
                return Ok(None);
            }
        }
    }

    /// Has `take` take the events that there are, without waiting for more.
    ///
    /// # Errors
    /// `io` when they cannot be had any more.
    pub async fn so_far(&mut self, mut take: impl FnMut(JobEvent)) -> Result<(), ApiError> {
        for reader in &mut self.readers {
            let last = reader.log().visible.borrow().seq;
            while reader.seq() < last {
                let page = reader.next().await.map_err(|error| unreadable(&error))?;
                page.into_iter().flatten().filter_map(|frame| event(&frame)).for_each(&mut take);
                // What is in memory is there at once.
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    /// Waits until a job has begun to answer, or for so long.
    ///
    /// # Errors
    /// What one of the jobs failed with before.
    pub async fn begun(&mut self, patience: Duration) -> Result<(), ApiError> {
        // A deadline, raced against what the jobs tell.
        let mut timeout = pin!(tokio::time::sleep(patience));
        let mut seen = 0;
        loop {
            for (_, frame) in self.ahead.iter().skip(seen) {
                match event(frame) {
                    Some(JobEvent::End(end)) if end.state != EndState::Succeeded => {
                        return Err(failure(*end));
                    }
                    Some(JobEvent::Narration(_)) | None => {}
                    Some(JobEvent::Progress(progress)) if progress.phase != Phase::Prefill => {}
                    Some(_) => return Ok(()),
                }
            }
            seen = self.ahead.len();
            tokio::select! {
                read = self.read() => if !read.map_err(|error| unreadable(&error))? {
                    return Ok(());
                },
                () = &mut timeout => return Ok(()),
            }
        }
    }

    /// The answer that is a stream of what `translate` makes of the events.
    pub fn into_response(mut self, translate: impl Translate) -> Response {
        let open = self.open.take().expect("it is taken here alone");
        StreamAnswer::new(Source::Translated(self, Box::new(translate)), open).into_response()
    }

    /// Reads on, or says that all has been read. Cancel-safe.
    async fn read(&mut self) -> Result<bool, ReadError> {
        let (job, page) = match self.readers.as_mut_slice() {
            [reader] => (0, reader.next().await?),
            readers => {
                let unfinished: Vec<_> = (0..).zip(readers).filter(|(_, reader)| !reader.is_done()).collect();
                if unfinished.is_empty() {
                    return Ok(false);
                }
                let next = unfinished.into_iter().map(|(job, reader)| {
                    Box::pin(async move { reader.next().await.map(|page| (job, page)) })
                });
                let (next, ..) = select_all(next).await;
                next?
            }
        };
        let is_more = page.is_some();
        self.ahead.extend(page.into_iter().flatten().map(|frame| (job, frame)));
        // Of several, others may go on.
        Ok(is_more || self.readers.len() > 1)
    }

    /// The next events as `translate` has them, or `None` after the last. Cancel-safe.
    pub(crate) async fn translated(
        &mut self,
        translate: &mut dyn Translate,
    ) -> Result<Option<Vec<u8>>, ReadError> {
        if self.ahead.is_empty() && (translate.is_over() || !self.read().await?) {
            return Ok(None);
        }
        let mut out = Vec::new();
        for (job, frame) in self.ahead.drain(..) {
            if let Some(event) = event(&frame) {
                translate.event(job, event, &mut out);
            }
        }
        Ok(Some(out))
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if self.is_cancelling {
            for reader in &self.readers {
                let error = ApiError::new(ErrorCode::Cancelled, "whoever asked closed the connection");
                reader.log().stop(error.hint("ask again, and wait for the answer"));
            }
        }
    }
}

/// Why a job that did not succeed has ended.
pub fn failure(end: End) -> ApiError {
    end.error.unwrap_or_else(|| {
        ApiError::new(ErrorCode::Internal, "the job ended without a word why").hint("this is a bug in rbee")
    })
}

/// What an event that this version wrote is; one of another's is none that could be translated.
fn event(frame: &Frame) -> Option<JobEvent> {
    serde_json::from_slice::<Event>(frame.json()).ok().map(|Event { event, .. }| event)
}

fn unreadable(error: &ReadError) -> ApiError {
    ApiError::new(ErrorCode::Io, error.to_string()).hint("`rbee queen logs` may tell more")
}
