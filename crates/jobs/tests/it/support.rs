//! A daemon whose jobs do what their prompt says.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use rbee_jobs::{
    Access, Authenticate, JobWriter, Jobs, Limits, Listener, Principal, Route, Routes, Service, SystemLog,
    daemon_info, job_routes, now_ms, run, system_routes,
};
use rbee_journal::Journal;
use rbee_narration::{Capture, Log};
use rbee_protocol::{
    ApiError, Client, DaemonInfo, End, ErrorBody, ErrorCode, Followed, InferRequest, JobEvent, JobId,
    Message, Operation, PrincipalId, Role, StopRequest, SubmitRequest, Token,
};
use reqwest::{Method, RequestBuilder};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A job that does, line by line, what `script` says:
///
/// - `tokens N TEXT` appends N tokens;
/// - `narrate TEXT` says something in the job's stream;
/// - `gate` waits for [`Server::open`], whatever else happens;
/// - `wait` waits until the job is cancelled;
/// - `fail` and `panic` end it there.
///
/// A script that comes to its end succeeds, unless the job was cancelled.
pub(crate) fn script(script: &str) -> SubmitRequest {
    let message = Message::new(Role::User, script);
    SubmitRequest::new(Operation::Infer(InferRequest { messages: vec![message], ..Default::default() }))
}

/// The same, running on when nobody reads it.
pub(crate) fn detached(text: &str) -> SubmitRequest {
    SubmitRequest { detached: true, ..script(text) }
}

pub(crate) fn token(index: u64, text: &str) -> JobEvent {
    JobEvent::Token(Token::new(text, index))
}

pub(crate) fn principal(name: &str) -> PrincipalId {
    PrincipalId::new(name)
}

pub(crate) struct Scripted {
    gate: Semaphore,
    stops: Mutex<Vec<StopRequest>>,
}

impl Scripted {
    async fn step(&self, step: &str, job: &JobWriter) -> Result<(), ApiError> {
        let mut words = step.splitn(3, ' ');
        match words.next().unwrap_or_default() {
            "tokens" => {
                let count = words.next().and_then(|count| count.parse().ok()).expect("`tokens` has a number");
                let text = words.next().expect("`tokens` has a text");
                for index in 0..count {
                    // What a job that has ended is told, its end event says.
                    let _ = job.append(&token(index, text));
                    tokio::task::yield_now().await;
                }
            }
            "narrate" => {
                let text = step.strip_prefix("narrate ").expect("`narrate` has a text");
                job.narrator("script").action("narrate").human(text).emit();
            }
            "gate" => self.gate.acquire().await.expect("the gate is never closed").forget(),
            "wait" => job.cancelled().await,
            "fail" => return Err(ApiError::new(ErrorCode::WorkerCrashed, "the script failed").hint("again")),
            "panic" => panic!("the script panicked"),
            unknown => panic!("a script has no step `{unknown}`"),
        }
        Ok(())
    }
}

impl Service for Scripted {
    fn info(&self) -> DaemonInfo {
        daemon_info("scripted", now_ms())
    }

    fn check(&self, request: &SubmitRequest, _by: &Principal) -> Result<(), ApiError> {
        match request.operation {
            Operation::HiveWatch {} => {
                Err(ApiError::new(ErrorCode::Unavailable, "no hive to watch").hint("have one"))
            }
            _ => Ok(()),
        }
    }

    async fn run(self: Arc<Self>, operation: Operation, job: JobWriter) -> Result<End, ApiError> {
        job.start();
        let Operation::Infer(request) = operation else {
            let result = Value::from(operation.name());
            // As above.
            let _ = job.append(&JobEvent::Result { result });
            return Ok(End::succeeded());
        };
        for step in request.messages[0].content.as_deref().unwrap_or_default().lines() {
            self.step(step, &job).await?;
        }
        if job.is_cancelled() { Err(job.cancel_error()) } else { Ok(End::succeeded()) }
    }

    fn stop(&self, request: StopRequest) {
        self.stops.lock().expect("no test panics while holding it").push(request);
    }
}

/// Everybody but nobody has the key `key-of-` and their name, until it is revoked. Whose name begins with
/// `operator` is one.
#[derive(Default)]
struct Keys(Mutex<HashMap<String, CancellationToken>>);

impl Keys {
    fn revoked(&self, name: &str) -> CancellationToken {
        self.0.lock().expect("no test panics while holding it").entry(name.to_owned()).or_default().clone()
    }
}

impl Authenticate for Keys {
    fn authenticate(&self, key: &str) -> Option<Principal> {
        let name = key.strip_prefix("key-of-").filter(|name| *name != "nobody")?;
        let revoked = self.revoked(name);
        let operator = name.starts_with("operator");
        (!revoked.is_cancelled()).then(|| Principal { id: principal(name), operator, revoked })
    }
}

pub(crate) struct Server {
    /// What a Host header for it says.
    pub(crate) authority: String,
    pub(crate) jobs: Jobs,
    pub(crate) events: SystemLog,
    pub(crate) log: Log,
    pub(crate) lines: Capture,
    pub(crate) shutdown: CancellationToken,
    keys: Arc<Keys>,
    pub(crate) service: Arc<Scripted>,
    running: JoinHandle<()>,
    _journal: Option<TempDir>,
}

/// Jobs in memory, or in a journal where `RBEE_TEST_STORE` says so: every test of a daemon runs over both.
fn jobs(limits: Limits, log: Log, shutdown: CancellationToken) -> (Jobs, Option<TempDir>) {
    match std::env::var("RBEE_TEST_STORE").as_deref() {
        Ok("journal") => {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let journal = Journal::open(&folder.path().join("journal.sqlite")).expect("a new journal");
            let opened = Jobs::open("scripted", limits, log, shutdown, Arc::new(journal));
            (opened.expect("a new journal").0, Some(folder))
        }
        Ok(store) => panic!("RBEE_TEST_STORE is `{store}`, which is no store"),
        Err(_) => (Jobs::new("scripted", limits, log, shutdown), None),
    }
}

fn routes(jobs: &Jobs, service: &Arc<Scripted>, events: &SystemLog) -> Routes {
    job_routes(jobs.clone(), service.clone()).and(system_routes(jobs.clone(), events.clone()))
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::with(Limits::default()).await
    }

    pub(crate) async fn with(limits: Limits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
        let authority = listener.local_addr().expect("it is bound").to_string();
        Self::on(Listener::Tcp(listener), authority, limits, Access::Keys)
    }

    pub(crate) fn unix(path: &Path) -> Self {
        let listener = UnixListener::bind(path).expect("the folder is the test's own");
        Self::on(Listener::Unix(listener), "localhost".to_owned(), Limits::default(), |_| Access::Socket)
    }

    fn on(
        listener: Listener,
        authority: String,
        limits: Limits,
        access: impl FnOnce(Arc<dyn Authenticate>) -> Access,
    ) -> Self {
        let keys = Arc::new(Keys::default());
        let access = access(keys.clone());
        let (log, lines) = Log::capture();
        let shutdown = CancellationToken::new();
        let service = Arc::new(Scripted { gate: Semaphore::new(0), stops: Mutex::default() });
        let (jobs, journal) = jobs(limits, log.clone(), shutdown.clone());
        let events = SystemLog::default();
        jobs.tell(events.clone());
        let router = routes(&jobs, &service, &events).guarded(access, Vec::new());
        let running = tokio::spawn({
            let (jobs, shutdown) = (jobs.clone(), shutdown.clone());
            async move { run(listener, router, &jobs, shutdown).await }
        });
        Self { authority, jobs, events, log, lines, shutdown, keys, service, running, _journal: journal }
    }

    /// Lets `count` gates pass.
    pub(crate) fn open(&self, count: usize) {
        self.service.gate.add_permits(count);
    }

    /// Revokes the key of `name`.
    pub(crate) fn revoke(&self, name: &str) {
        self.keys.revoked(name).cancel();
    }

    /// The routes that the daemon has.
    pub(crate) fn routes(&self) -> Vec<Route> {
        routes(&self.jobs, &self.service, &self.events).table().to_vec()
    }

    /// The requests to stop that came through.
    pub(crate) fn stops(&self) -> Vec<StopRequest> {
        self.service.stops.lock().expect("no test panics while holding it").clone()
    }

    /// Waits until the daemon has stopped.
    pub(crate) async fn stopped(self) {
        self.running.await.expect("the daemon does not panic");
    }

    pub(crate) fn client(&self, name: &str) -> Client {
        Client::tcp(&format!("http://{}", self.authority), &format!("key-of-{name}"))
            .expect("the HTTP library can be set up")
    }

    pub(crate) async fn submit(&self, name: &str, request: &SubmitRequest) -> JobId {
        self.client(name).submit(request).await.expect("the job is taken").job_id
    }

    /// A request with the key of `name`, or with none for the empty name, in an ordinary client's words.
    pub(crate) fn request(&self, name: &str, method: Method, path: &str) -> RequestBuilder {
        let client = reqwest::Client::builder().no_proxy().build().expect("the HTTP library can be set up");
        let request = client.request(method, format!("http://{}{path}", self.authority));
        if name.is_empty() { request } else { request.bearer_auth(format!("key-of-{name}")) }
    }

    /// The whole of a stream's body, in the form that `accept` asks for.
    pub(crate) async fn body(&self, name: &str, job: &JobId, accept: &str) -> String {
        let request = self.request(name, Method::GET, &stream_path(job)).header("Accept", accept);
        request.send().await.expect("the daemon answers").text().await.expect("the stream comes whole")
    }

    /// All events of a job.
    pub(crate) async fn events(&self, name: &str, job: &JobId) -> Vec<Followed> {
        collect(&self.client(name), job, 0).await
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(&self.authority).await.expect("the daemon listens")
    }

    /// Sends these very bytes, and takes what comes back until the connection is closed.
    pub(crate) async fn raw(&self, request: &str) -> Answer {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.expect("the daemon reads");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("the daemon closes the connection in order");
        Answer::parse(&answer)
    }

    /// Sends a request of this head, one field a line, and this body. `{host}` stands for the daemon.
    pub(crate) async fn send(&self, head: &str, body: &str) -> Answer {
        let head = head.replace("{host}", &self.authority).replace('\n', "\r\n");
        let length = body.len();
        self.raw(&format!("{head}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")).await
    }
}

pub(crate) fn stream_path(job: &JobId) -> String {
    format!("/v1/jobs/{job}/stream")
}

/// An answer as it came over the wire.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").expect("an answer has a head");
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a head has a status");
        Self { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    /// The error that this answer reports, which has `status` and `code`.
    pub(crate) fn error(&self, status: u16, code: ErrorCode) -> ApiError {
        let error = error_of(&self.body);
        assert_eq!((self.status, error.code), (status, code), "{self:?}");
        assert!(self.head.contains("content-type: application/json"), "{self:?}");
        error
    }
}

/// The error in a body that holds an error and nothing else.
pub(crate) fn error_of(body: &str) -> ApiError {
    let value: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"));
    let fields = |value: &Value| value.as_object().map(|fields| fields.keys().cloned().collect::<Vec<_>>());
    assert_eq!(fields(&value).as_deref(), Some(&["error".to_owned()][..]), "{body}");
    let known = ["code", "message", "hint"];
    assert!(
        fields(&value["error"]).is_some_and(|fields| fields.iter().all(|f| known.contains(&f.as_str()))),
        "{body}"
    );
    serde_json::from_value::<ErrorBody>(value).expect("an error has a code and a message").error
}

/// What is left of a job's stream after event number `after`, to its end.
pub(crate) async fn collect(client: &Client, job: &JobId, after: u64) -> Vec<Followed> {
    let mut follow = client.follow(job, after);
    let mut events = Vec::new();
    while let Some(event) = follow.next().await.expect("the stream goes on to its end") {
        events.push(event);
    }
    events
}

/// The one end event of a stream, which is its last.
pub(crate) fn end(events: &[Followed]) -> &End {
    let ends = events.iter().filter(|followed| matches!(followed.event, JobEvent::End(_))).count();
    assert_eq!(ends, 1, "{events:?}");
    match &events.last().expect("there is an end").event {
        JobEvent::End(end) => end,
        event => panic!("{event:?} after the end"),
    }
}

/// The `data:` lines of a stream of server-sent events.
pub(crate) fn data_lines(body: &str) -> Vec<&str> {
    body.lines().filter_map(|line| line.strip_prefix("data: ")).collect()
}

/// The texts of a stream's tokens, one after another.
pub(crate) fn text(events: &[Followed]) -> String {
    let texts = events.iter().filter_map(|followed| match &followed.event {
        JobEvent::Token(token) => Some(token.text.as_str()),
        _ => None,
    });
    texts.collect()
}
