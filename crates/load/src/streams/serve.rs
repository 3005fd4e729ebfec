//! A server of nothing but streams: the router that every daemon serves, over jobs whose events come
//! from one feed.

use std::io::Write;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use rbee_jobs::{
    Access, Authenticate, JobWriter, Jobs, Limits, Listener, Principal, Service, daemon_info, now_ms, router,
};
use rbee_journal::Journal;
use rbee_narration::Log;
use rbee_protocol::{
    ApiError, DaemonInfo, End, ErrorCode, JobEvent, Operation, PrincipalId, StopRequest, SubmitRequest, Token,
};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The one key.
pub(crate) const KEY: &str = "bench";

/// What the server says on its stdout once it is ready.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ready {
    /// The port that serves streams.
    pub(crate) port: u16,
    /// The port that takes lines of channel and text.
    pub(crate) feed_port: u16,
    /// The jobs, in the order of their channels.
    pub(crate) jobs: Vec<String>,
}

/// Serves so many streams until the feed ends, kept in memory, or in a journal where one is named.
pub(crate) async fn run(channels: usize, journal: Option<&Path>) -> Result<()> {
    let shutdown = CancellationToken::new();
    let limits = Limits {
        jobs: channels + 1,
        job_bytes: 1 << 34,
        total_bytes: 1 << 36,
        unread: Duration::from_secs(24 * 3600),
        ..Limits::default()
    };
    let log = Log::to_stderr();
    let jobs = match journal {
        None => Jobs::new("bench", limits, log, shutdown),
        Some(path) => Jobs::open("bench", limits, log, shutdown, Arc::new(Journal::open(path)?))?.0,
    };
    let request = SubmitRequest { detached: true, ..SubmitRequest::new(Operation::HiveList {}) };
    let principal = PrincipalId::new("bench");
    let writers = (0..channels).map(|_| jobs.create(&principal, &request));
    let writers = writers.collect::<Result<Vec<JobWriter>, ApiError>>().context("no room for the jobs")?;

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("there is no free port")?;
    let feed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("there is no free port")?;
    let ready = Ready {
        port: listener.local_addr()?.port(),
        feed_port: feed.local_addr()?.port(),
        jobs: writers.iter().map(|writer| writer.id().to_string()).collect(),
    };
    let mut stdout = std::io::stdout();
    serde_json::to_writer(&mut stdout, &ready).context("nobody listens")?;
    stdout.write_all(b"\n").and_then(|()| stdout.flush()).context("nobody listens")?;

    let router = router(jobs.clone(), Arc::new(Streams), Access::Keys(Arc::new(OneKey)));
    let served = rbee_jobs::run(Listener::Tcp(listener), router, &jobs, CancellationToken::new());
    tokio::select! {
        fed = feed_jobs(feed, writers) => fed,
        () = served => Ok(()),
    }
}

/// Appends each line of the feed, a channel and a text, to that channel's job.
async fn feed_jobs(listener: TcpListener, writers: Vec<JobWriter>) -> Result<()> {
    let (stream, _) = listener.accept().await.context("no feed came")?;
    let mut lines = BufReader::new(stream).lines();
    let mut index = 0;
    while let Some(line) = lines.next_line().await.context("the feed cannot be read")? {
        let (channel, text) = line.split_once(' ').context("a line of the feed without a channel")?;
        let channel: usize = channel.parse().context("a channel is a number")?;
        let writer = writers.get(channel).context("there is no such channel")?;
        let token = Token::new(text, index);
        writer.append(&JobEvent::Token(token)).context("a channel has ended")?;
        index += 1;
    }
    Ok(())
}

struct OneKey;

impl Authenticate for OneKey {
    fn authenticate(&self, key: &str) -> Option<Principal> {
        (key == KEY).then(|| Principal {
            id: PrincipalId::new("bench"),
            operator: false,
            revoked: CancellationToken::new(),
        })
    }
}

/// Does nothing: events come from the feed.
struct Streams;

impl Service for Streams {
    fn info(&self) -> DaemonInfo {
        daemon_info("bench", now_ms())
    }

    fn check(&self, _request: &SubmitRequest, _by: &Principal) -> Result<(), ApiError> {
        Err(ApiError::new(ErrorCode::BadRequest, "this server takes no jobs").hint("ask a queen"))
    }

    async fn run(self: Arc<Self>, _operation: Operation, _job: JobWriter) -> Result<End, ApiError> {
        Ok(End::succeeded())
    }

    fn stop(&self, _request: StopRequest) {}
}
