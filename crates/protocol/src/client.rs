use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use eventsource_stream::{Event as SseEvent, EventStreamError, Eventsource};
use futures_util::{Stream, StreamExt};
use reqwest::{Method, StatusCode, header};
use serde::{Serialize, de::DeserializeOwned};

use crate::error::{ApiError, ErrorBody, ErrorCode};
use crate::event::{Event, JobEvent};
use crate::id::JobId;
use crate::job::{DaemonInfo, Health, JobInfo, JobList, StopRequest, Submitted};
use crate::key::{CreateKey, KeyInfo, KeyList, KeyName, NewKey};
use crate::operation::SubmitRequest;
use crate::system::{SystemEvent, SystemEventKind};

/// A stream that has been silent for this long, three heartbeats, is taken for cut.
const SILENCE_LIMIT: Duration = Duration::from_secs(45);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// No event of a stream is larger than a whole stream may be, and no other answer either.
const BYTES_MAX: usize = 64 << 20;
/// Pauses before each try to resume a cut stream; when they are used up the stream is given up.
const RESUME_DELAYS_MS: [u64; 7] = [0, 50, 100, 200, 400, 800, 1600];

/// Speaks the job API to one daemon, over TCP or a Unix socket.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    key: Option<String>,
    /// How to name the daemon in an error.
    peer: String,
    heard: Arc<Counters>,
}

#[derive(Default)]
struct Counters {
    events: AtomicU64,
    last_at_ms: AtomicU64,
}

/// What came from a daemon on all streams of jobs that a client and its clones follow: signs of its progress,
/// whereas a heartbeat only shows that it has not ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// How many events.
    pub events: u64,
    /// When the last of them came, in milliseconds since the Unix epoch.
    pub last_at_ms: Option<u64>,
}

/// What can go wrong between a client and its daemon.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The daemon answered with an error.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The daemon could not be reached, or went away.
    #[error("{peer} does not answer: {reason}")]
    Unreachable {
        /// The daemon's address.
        peer: String,
        /// What the connection said.
        reason: String,
    },
    /// The daemon answered with something that is not of this API.
    #[error("{peer} gave an answer that makes no sense: {reason}")]
    Garbled {
        /// The daemon's address.
        peer: String,
        /// What was wrong with it.
        reason: String,
    },
}

impl From<ClientError> for ApiError {
    fn from(error: ClientError) -> Self {
        let message = error.to_string();
        match error {
            ClientError::Api(error) => error,
            ClientError::Unreachable { .. } => {
                Self::new(ErrorCode::Unavailable, message).hint("`rbee queen logs` may say why")
            }
            ClientError::Garbled { .. } => Self::new(ErrorCode::Internal, message).hint(
                "its version may not be this one's: `rbee queen stop`, and the next command starts a new one",
            ),
        }
    }
}

impl Client {
    /// A client of the daemon at `base`, e.g. `http://127.0.0.1:7833`, with its key.
    ///
    /// # Errors
    /// When the HTTP library cannot be set up.
    pub fn tcp(base: &str, key: &str) -> Result<Self, ClientError> {
        let builder = reqwest::Client::builder().read_timeout(SILENCE_LIMIT);
        Self::build(builder, base.trim_end_matches('/').to_owned(), Some(key.to_owned()), base.to_owned())
    }

    /// A client of the daemon that listens on the Unix socket at `path`.
    ///
    /// # Errors
    /// When the HTTP library cannot be set up.
    pub fn unix(path: &Path) -> Result<Self, ClientError> {
        let builder = reqwest::Client::builder().unix_socket(path).read_timeout(SILENCE_LIMIT);
        Self::build(builder, "http://localhost".to_owned(), None, path.display().to_string())
    }

    /// Like [`Client::unix`], but through any silence: for a daemon whose process its client watches.
    ///
    /// # Errors
    /// When the HTTP library cannot be set up.
    pub fn unix_patient(path: &Path) -> Result<Self, ClientError> {
        let builder = reqwest::Client::builder().unix_socket(path);
        Self::build(builder, "http://localhost".to_owned(), None, path.display().to_string())
    }

    fn build(
        builder: reqwest::ClientBuilder,
        base: String,
        key: Option<String>,
        peer: String,
    ) -> Result<Self, ClientError> {
        // A key for a loopback address must never travel to a proxy.
        let http = builder
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .build()
            .map_err(|error| unreachable(&peer, &error))?;
        Ok(Self { http, base, key, peer, heard: Arc::default() })
    }

    /// What came on the streams of jobs so far.
    pub fn heard(&self) -> Heard {
        let events = self.heard.events.load(Ordering::Acquire);
        let last_at_ms = (events > 0).then(|| self.heard.last_at_ms.load(Ordering::Relaxed));
        Heard { events, last_at_ms }
    }

    /// Submits a job.
    ///
    /// # Errors
    /// [`ClientError::Api`] when the daemon refuses it.
    pub async fn submit(&self, request: &SubmitRequest) -> Result<Submitted, ClientError> {
        self.call(Method::POST, "/v1/jobs", Some(request)).await
    }

    /// Follows a job's stream from the event after number `after` (0 for the first one), through
    /// cut connections, to its end.
    pub fn follow(&self, job: &JobId, after: u64) -> Follow {
        let events = Events::new(self, format!("/v1/jobs/{job}/stream"), after, true);
        Follow { events, ended: false }
    }

    /// Follows what happens to the service, from the event after number `after` (0 for the first one that is
    /// kept), until the queen stops. For an operator.
    pub fn follow_system(&self, after: u64) -> FollowSystem {
        // The queen that answers next numbers its own events.
        FollowSystem { events: Events::new(self, "/v1/system/events".to_owned(), after, false), ended: false }
    }

    /// Asks for a job to be cancelled. It has been when its stream's end event says so.
    ///
    /// # Errors
    /// [`ClientError::Api`] when there is no such job.
    pub async fn cancel(&self, job: &JobId) -> Result<JobInfo, ClientError> {
        self.call(Method::DELETE, &format!("/v1/jobs/{job}"), None::<&()>).await
    }

    /// What is known about a job besides its stream.
    ///
    /// # Errors
    /// [`ClientError::Api`] when there is no such job.
    pub async fn job(&self, job: &JobId) -> Result<JobInfo, ClientError> {
        self.call(Method::GET, &format!("/v1/jobs/{job}"), None::<&()>).await
    }

    /// The jobs of whoever asks, newest first.
    ///
    /// # Errors
    /// [`ClientError::Api`] when the key is not accepted.
    pub async fn jobs(&self) -> Result<JobList, ClientError> {
        self.call(Method::GET, "/v1/jobs", None::<&()>).await
    }

    /// The jobs of everybody, newest first, for an operator.
    ///
    /// # Errors
    /// [`ClientError::Api`] when the key is not an operator's.
    pub async fn all_jobs(&self) -> Result<JobList, ClientError> {
        self.call(Method::GET, "/v1/jobs?all=true", None::<&()>).await
    }

    /// Makes a key, which is in the answer and nowhere else.
    ///
    /// # Errors
    /// [`ClientError::Api`] when there is one of that name, or when ours is not an operator's.
    pub async fn create_key(&self, request: &CreateKey) -> Result<NewKey, ClientError> {
        self.call(Method::POST, "/v1/keys", Some(request)).await
    }

    /// The keys that there are, by name.
    ///
    /// # Errors
    /// [`ClientError::Api`] when ours is not an operator's.
    pub async fn keys(&self) -> Result<KeyList, ClientError> {
        self.call(Method::GET, "/v1/keys", None::<&()>).await
    }

    /// Revokes a key: whoever has it is answered no more, and cut off from what they read.
    ///
    /// # Errors
    /// [`ClientError::Api`] when there is no such key, or when ours is not an operator's.
    pub async fn revoke_key(&self, name: &KeyName) -> Result<KeyInfo, ClientError> {
        self.call(Method::DELETE, &format!("/v1/keys/{name}"), None::<&()>).await
    }

    /// Which program answers, and since when.
    ///
    /// # Errors
    /// [`ClientError::Api`] when the key is not accepted.
    pub async fn info(&self) -> Result<DaemonInfo, ClientError> {
        self.call(Method::GET, "/v1/info", None::<&()>).await
    }

    /// Whether the daemon answers at all. Sends no key.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] when it does not.
    pub async fn health(&self) -> Result<Health, ClientError> {
        let keyless = Self { key: None, ..self.clone() };
        keyless.call(Method::GET, "/health", None::<&()>).await
    }

    /// Asks the daemon to stop. It has when its lock is free.
    ///
    /// # Errors
    /// [`ClientError::Api`] when the key is not accepted.
    pub async fn stop(&self, request: StopRequest) -> Result<DaemonInfo, ClientError> {
        self.call(Method::POST, "/v1/system/stop", Some(&request)).await
    }

    async fn call<B: Serialize, A: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
    ) -> Result<A, ClientError> {
        let mut request = self.request(method, path).timeout(ANSWER_TIMEOUT);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(|error| unreachable(&self.peer, &error))?;
        let response = self.accepted(response).await?;
        let bytes = self.body(response).await?;
        serde_json::from_slice(&bytes).map_err(|error| self.garbled(error.to_string()))
    }

    async fn body(&self, mut response: reqwest::Response) -> Result<Vec<u8>, ClientError> {
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await.map_err(|error| unreachable(&self.peer, &error))? {
            if body.len() + part.len() > BYTES_MAX {
                return Err(self.garbled(Broken::TooLong.to_string()));
            }
            body.extend_from_slice(&part);
        }
        Ok(body)
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    /// Turns an answer that reports a failure into that failure.
    async fn accepted(&self, response: reqwest::Response) -> Result<reqwest::Response, ClientError> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let bytes = self.body(response).await?;
        match serde_json::from_slice::<ErrorBody>(&bytes) {
            Ok(body) => Err(body.error.into()),
            Err(_) => Err(self.garbled(format!("status {status} without an error of ours"))),
        }
    }

    fn garbled(&self, reason: String) -> ClientError {
        ClientError::Garbled { peer: self.peer.clone(), reason }
    }
}

impl Counters {
    fn count(&self) {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ms = u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX);
        self.last_at_ms.store(now_ms, Ordering::Relaxed);
        self.events.fetch_add(1, Ordering::Release);
    }
}

fn unreachable(peer: &str, error: &reqwest::Error) -> ClientError {
    ClientError::Unreachable { peer: peer.to_owned(), reason: reason(error) }
}

fn reason(error: &reqwest::Error) -> String {
    // reqwest's own words repeat the URL; what the system said is at the bottom of the chain.
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    if error.is_timeout() { "it took too long".to_owned() } else { cause.to_string() }
}

/// One event as it was followed.
#[derive(Clone, Debug, PartialEq)]
pub struct Followed {
    /// Its place in the stream.
    pub seq: u64,
    /// What happened.
    pub event: JobEvent,
    /// The line of JSON that carried it.
    pub json: String,
}

/// One event of the service as it was followed.
#[derive(Clone, Debug, PartialEq)]
pub struct FollowedSystem {
    /// What happened.
    pub event: SystemEvent,
    /// The line of JSON that carried it.
    pub json: String,
}

/// A job's stream that is being followed; made by [`Client::follow`].
pub struct Follow {
    events: Events,
    ended: bool,
}

impl Follow {
    /// The same, but given up when it is cut: for whoever knows how to find the daemon again.
    #[must_use]
    pub fn once(mut self) -> Self {
        self.events.resumes = false;
        self
    }

    /// The next event, or `None` after the end event. Cancel-safe.
    ///
    /// A stream that stops without an end event was cut, and is resumed after the last event seen.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] when it cannot be resumed, [`ClientError::Api`] when the daemon
    /// does not know the job.
    pub async fn next(&mut self) -> Result<Option<Followed>, ClientError> {
        if self.ended {
            return Ok(None);
        }
        let json = loop {
            // A job's stream has ended with its end event, whatever is said after it.
            if let Data::Event(json) = self.events.next().await? {
                break json;
            }
        };
        let Event { seq, event } = self.events.read(&json)?;
        self.events.accept(seq, seq)?;
        self.events.client.heard.count();
        self.ended = matches!(event, JobEvent::End(_));
        Ok(Some(Followed { seq, event, json }))
    }
}

/// The service's events that are being followed; made by [`Client::follow_system`].
pub struct FollowSystem {
    events: Events,
    ended: bool,
}

impl FollowSystem {
    /// The next event, or `None` when the queen has stopped. Cancel-safe.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] when the stream is cut, [`ClientError::Api`] when the key is not an
    /// operator's.
    pub async fn next(&mut self) -> Result<Option<FollowedSystem>, ClientError> {
        if self.ended {
            return Ok(None);
        }
        let json = match self.events.next().await? {
            Data::Event(json) => json,
            Data::Done => {
                self.ended = true;
                return Ok(None);
            }
        };
        let event: SystemEvent = self.events.read(&json)?;
        match event.kind {
            SystemEventKind::Lost { from, to } => self.events.accept(from, to)?,
            _ => self.events.accept(event.seq, event.seq)?,
        }
        Ok(Some(FollowedSystem { event, json }))
    }
}

type SseStream = Pin<Box<dyn Stream<Item = Result<SseEvent, EventStreamError<Broken>>> + Send>>;

/// Why a stream's bytes do not go on.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Cut(#[from] reqwest::Error),
    /// An event is larger than there can be one.
    #[error("it is too long")]
    TooLong,
}

/// The bytes of a stream as long as an empty line comes at least every `most` of them, with which an event ends: what is
/// between is held in memory until then.
fn bounded<B: AsRef<[u8]>>(
    bytes: impl Stream<Item = Result<B, reqwest::Error>>,
    most: usize,
) -> impl Stream<Item = Result<B, Broken>> {
    let (mut unfinished, mut ended_line) = (0, false);
    bytes.map(move |part| {
        let part = part?;
        for byte in part.as_ref() {
            let ends_line = *byte == b'\n';
            unfinished = if ends_line && ended_line { 0 } else { unfinished + 1 };
            ended_line = ends_line;
        }
        if unfinished > most { Err(Broken::TooLong) } else { Ok(part) }
    })
}

/// What a stream's `data:` line carries.
enum Data {
    /// An event, in JSON.
    Event(String),
    /// The word that there are no more.
    Done,
}

/// A stream of numbered events, and the place in it.
struct Events {
    client: Client,
    path: String,
    last_seq: u64,
    stream: Option<SseStream>,
    failures: usize,
    resumes: bool,
}

impl Events {
    fn new(client: &Client, path: String, after: u64, resumes: bool) -> Self {
        Self { client: client.clone(), path, last_seq: after, stream: None, failures: 0, resumes }
    }

    /// What comes next, through cut connections. Cancel-safe.
    async fn next(&mut self) -> Result<Data, ClientError> {
        loop {
            let Some(stream) = &mut self.stream else {
                self.connect().await?;
                continue;
            };
            match stream.next().await {
                Some(Ok(event)) if event.data.is_empty() => {}
                Some(Ok(event)) if event.data == "[DONE]" => return Ok(Data::Done),
                Some(Ok(event)) => return Ok(Data::Event(event.data)),
                Some(Err(EventStreamError::Transport(error @ Broken::TooLong))) => {
                    return Err(self.client.garbled(error.to_string()));
                }
                Some(Err(error)) => self.cut(error.to_string())?,
                None => self.cut("the stream was cut".to_owned())?,
            }
        }
    }

    fn read<T: DeserializeOwned>(&self, json: &str) -> Result<T, ClientError> {
        serde_json::from_str(json).map_err(|error| self.client.garbled(error.to_string()))
    }

    /// Takes note of the events `from` to `to`, which must be those that follow.
    fn accept(&mut self, from: u64, to: u64) -> Result<(), ClientError> {
        if from != self.last_seq + 1 || to < from {
            let reason = format!("event {from} came after event {}", self.last_seq);
            return Err(self.client.garbled(reason));
        }
        self.last_seq = to;
        self.failures = 0;
        Ok(())
    }

    async fn connect(&mut self) -> Result<(), ClientError> {
        if self.failures > 0 {
            // A daemon that is not there cannot tell when it is back.
            tokio::time::sleep(Duration::from_millis(RESUME_DELAYS_MS[self.failures - 1])).await;
        }
        let mut request =
            self.client.request(Method::GET, &self.path).header(header::ACCEPT, "text/event-stream");
        if self.last_seq > 0 {
            request = request.header("Last-Event-ID", self.last_seq);
        }
        match request.send().await {
            Ok(response) if response.status() == StatusCode::OK => {
                self.stream = Some(Box::pin(bounded(response.bytes_stream(), BYTES_MAX).eventsource()));
                Ok(())
            }
            Ok(response) => match self.client.accepted(response).await {
                Err(error) => Err(error),
                Ok(response) => Err(self.client.garbled(format!("status {}", response.status()))),
            },
            Err(error) => self.cut(reason(&error)),
        }
    }

    /// Notes that the connection is gone; an error once too many tries in a row have failed.
    fn cut(&mut self, reason: String) -> Result<(), ClientError> {
        self.stream = None;
        self.failures += 1;
        if !self.resumes || self.failures > RESUME_DELAYS_MS.len() {
            return Err(ClientError::Unreachable { peer: self.client.peer.clone(), reason });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    /// How many parts come through before one is refused.
    async fn check(parts: &[&str], most: usize, through: usize) {
        let parts: Vec<&str> = parts.to_vec();
        let count = parts.len();
        let came = bounded(stream::iter(parts).map(Ok), most).take_while(|part| {
            let came = part.is_ok();
            async move { came }
        });
        assert_eq!(came.count().await, through.min(count));
    }

    #[tokio::test]
    async fn an_event_without_an_end_is_not_gathered_for_ever() {
        check(&["data: 1\n\n", "data: 2\n\n", ":\n\n"], 10, 3).await;
        check(&["data", ": 1\n", "\ndata", ": 2\n", "\n"], 10, 5).await;
        check(&["data: 12345", "678", "9"], 10, 0).await;
        check(&["data: 1\n\ndata", ": ", "12345"], 10, 2).await;
        check(&["data: 1\n", "data: 2\n", "data: 3\n"], 10, 1).await;
    }
}
