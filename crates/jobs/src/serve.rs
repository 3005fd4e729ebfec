use std::convert::Infallible;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper::{HeaderMap, Method, Request};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rbee_protocol::{ApiError, ErrorBody, ErrorCode};
use rustix::process::{Resource, getrlimit};
#[cfg(target_os = "linux")]
use socket2::SockRef;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::door::Serving;
use crate::io::{Io, Stream};
use crate::limits::Limits;
use crate::metrics::Observer;
use crate::registry::Jobs;
use crate::stream_answer::{Framing, StreamAnswer};

/// A request's head must fit into so many bytes.
const HEAD_MAX_BYTES: usize = 64 << 10;
/// No more connections than this are open at once, whatever the system allows.
const CONNECTIONS_MAX: usize = 16_384;
/// Descriptors that are kept for files, sockets to the next hop and connections that are being refused.
const DESCRIPTORS_SPARE: u64 = 256;
/// So many connections are told at once that there are too many; more than that are closed without a word.
const REFUSALS_MAX: usize = 64;
/// How long a refused client gets to take its answer.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);
/// The system holds so many bytes for a client that are not even on their way.
#[cfg(target_os = "linux")]
const UNSENT_MAX_BYTES: u32 = 16 << 10;
/// When the daemon stops, connections get this long to send what they have begun.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(3);

/// Where a daemon listens.
#[derive(Debug)]
pub enum Listener {
    /// On a TCP port.
    Tcp(TcpListener),
    /// On a Unix socket.
    Unix(UnixListener),
}

/// Serves `router`, which is over `jobs`, on `listener` until `shutdown` is cancelled.
///
/// Returns when every job has its end event, every reader has had the time to read it, and every
/// connection is closed.
pub async fn run(listener: Listener, router: Router, jobs: &Jobs, shutdown: CancellationToken) {
    let closing = CancellationToken::new();
    let ending = async {
        shutdown.cancelled().await;
        jobs.ended().await;
        closing.cancel();
    };
    tokio::join!(serve(listener, router, jobs, closing.clone()), ending);
}

/// As many connections as the limit on open files leaves.
pub(crate) fn connections_max() -> usize {
    let open_files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    // Where there are hardly any, half of them.
    let for_connections = open_files.saturating_sub(DESCRIPTORS_SPARE).max(open_files / 2);
    usize::try_from(for_connections).unwrap_or(usize::MAX).min(CONNECTIONS_MAX)
}

async fn serve(listener: Listener, router: Router, jobs: &Jobs, shutdown: CancellationToken) {
    let Limits { connections: connections_max, head: head_timeout, .. } = *jobs.limits();
    let observer = jobs.observer();
    let mut connections = JoinSet::new();
    let mut refusals = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        while connections.try_join_next().is_some() {}
        while refusals.try_join_next().is_some() {}
        match accepted {
            Ok(stream) if connections.len() < connections_max => {
                let (serving, served) = watch::channel(CancellationToken::new());
                let connection = Connection {
                    router: router.clone(),
                    open: OpenConnection::new(observer.clone()),
                    head_timeout,
                    serving,
                    served,
                    shutdown: shutdown.clone(),
                };
                connections.spawn(connection.serve(stream));
            }
            // Said at once, since a connection that waits to be accepted cannot tell this from a queen that hangs.
            Ok(stream) => {
                observer.connections_refused.fetch_add(1, Ordering::Relaxed);
                if refusals.len() < REFUSALS_MAX {
                    refusals.spawn(tokio::time::timeout(REFUSAL_TIMEOUT, refuse(stream)));
                }
            }
            // Out of descriptors, most likely: nothing tells when there are some again.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
    drop((listener, refusals));
    let drained = async { while connections.join_next().await.is_some() {} };
    // Past the deadline, dropping the set closes what is still open.
    let _ = tokio::time::timeout(DRAIN_TIMEOUT, drained).await;
}

/// Answers, whatever is asked, that there are too many connections.
async fn refuse(mut stream: Box<dyn Stream>) -> io::Result<()> {
    let error =
        ApiError::new(ErrorCode::Busy, "too many connections are open").hint("try again when one has closed");
    let status = error.code.http_status();
    let body = serde_json::to_string(&ErrorBody { error }).expect("an error is plain data");
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status} Too Many Requests\r\ncontent-type: application/json\r\ncache-control: no-store\r\n\
         retry-after: 1\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    // A connection that is closed with something unread in it is reset, and its answer lost.
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.map(drop)
}

/// One open connection, which is counted until this goes.
struct OpenConnection(Arc<Observer>);

impl OpenConnection {
    fn new(observer: Arc<Observer>) -> Self {
        observer.connections.fetch_add(1, Ordering::Relaxed);
        Self(observer)
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Binds a socket at `path` that is for this user alone, in place of one left behind. For a daemon
/// that may open nothing any more when it begins to serve.
///
/// # Errors
/// What the system says.
pub fn bind_unix(path: &Path) -> io::Result<std::os::unix::net::UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let socket = std::os::unix::net::UnixListener::bind(path)?;
    std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(socket)
}

impl Listener {
    /// Listens on a socket at `path` that is for this user alone, in place of one left behind.
    ///
    /// # Errors
    /// What the system says.
    pub fn unix(path: &Path) -> io::Result<Self> {
        Self::bound(bind_unix(path)?)
    }

    /// Listens on a socket that is bound.
    ///
    /// # Errors
    /// What the system says.
    pub fn bound(socket: std::os::unix::net::UnixListener) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self::Unix(UnixListener::from_std(socket)?))
    }

    async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // Tokens are small and due at once. A client that has gone already is noticed later.
                let _ = stream.set_nodelay(true);
                // Else the system buffers megabytes for a client that does not read, which cost the same as if
                // it did. What is on its way, and so a distant client's speed, has no such limit.
                #[cfg(target_os = "linux")]
                let _ = SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT_MAX_BYTES);
                Ok(Box::new(stream))
            }
            Self::Unix(listener) => Ok(Box::new(listener.accept().await?.0)),
        }
    }
}

/// What one connection is served with.
struct Connection {
    router: Router,
    open: OpenConnection,
    head_timeout: Duration,
    serving: watch::Sender<CancellationToken>,
    served: watch::Receiver<CancellationToken>,
    shutdown: CancellationToken,
}

impl Connection {
    async fn serve(self, stream: Box<dyn Stream>) {
        let mut io = Io::new(stream);
        loop {
            // Boxed, so that what hyper needs is let go while a stream is open.
            let Some((connection, request)) = Box::pin(self.requests(io)).await else { return };
            io = connection;
            let StreamRequest { answer, headers, framing } = request;
            // A connection that breaks is its client's affair: readers resume. One whose client may read no more is
            // closed from outside, since it does nothing by itself while that client does not read.
            let sent = tokio::select! {
                biased;
                () = revoked(self.served.clone()) => return,
                sent = answer.send(&mut io, &headers, framing) => sent,
            };
            if sent.is_err() {
                return;
            }
            if !framing.keep_alive {
                let _ = io.shutdown().await;
                return;
            }
        }
    }

    /// Answers what is asked over a connection, until that closes or a stream is asked for, which is left to the
    /// caller.
    async fn requests(&self, io: Io) -> Option<(Io, StreamRequest)> {
        // There is one answer at a time.
        let (asking, mut asked) = mpsc::channel(1);
        let router = TowerToHyperService::new(self.router.clone());
        let service = service_fn(|mut request: Request<Incoming>| {
            request.extensions_mut().insert(Serving(self.serving.clone()));
            let (framing, is_head) = (Framing::of(&request), request.method() == Method::HEAD);
            let (answer, asking) = (router.call(request), asking.clone());
            async move {
                let answer = answer.await?;
                if let Some(error) = answer.extensions().get::<ApiError>() {
                    self.open.0.refused(error.code);
                }
                if let Some(stream) = StreamAnswer::take(&answer).filter(|_| !is_head) {
                    let headers = answer.headers().clone();
                    let _ = asking.send(StreamRequest { answer: stream, headers, framing }).await;
                    // The connection is about to be taken out of hyper's hands.
                    std::future::pending::<()>().await;
                }
                Ok::<_, Infallible>(answer)
            }
        });
        let mut connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.head_timeout)
            .max_buf_size(HEAD_MAX_BYTES)
            .serve_connection(TokioIo::new(io), service);
        let stranger = stranger(self.served.clone(), self.head_timeout);
        tokio::pin!(stranger);
        let revoked = revoked(self.served.clone());
        tokio::pin!(revoked);
        let mut stopping = false;
        // An answer that is ready goes out before anything else: whoever revokes their own key is told that it is
        // done.
        let stream = loop {
            tokio::select! {
                biased;
                _ = &mut connection => return None,
                stream = asked.recv() => break stream?,
                () = &mut revoked => return None,
                () = &mut stranger, if !stopping => return None,
                () = self.shutdown.cancelled(), if !stopping => {
                    Pin::new(&mut connection).graceful_shutdown();
                    stopping = true;
                }
            }
        };
        let parts = connection.into_parts();
        let io = parts.io.into_inner();
        // hyper turns to the next request before it has got rid of an answer where the body of the one before arrived
        // late. What it holds then is lost, and a client that asks so gets no stream.
        (!io.is_write_blocked()).then(|| (io.rewound(&parts.read_buf), stream))
    }
}

/// A request for a stream, with all that it takes to answer it.
struct StreamRequest {
    answer: StreamAnswer,
    headers: HeaderMap,
    framing: Framing,
}

/// Returns when nobody whose key is known has been let in by the time a head must have arrived.
///
/// A connection that does not read its answers would stay open without end otherwise, and whoever has no key
/// could open them all.
async fn stranger(mut served: watch::Receiver<CancellationToken>, head_timeout: Duration) {
    if tokio::time::timeout(head_timeout, served.changed()).await.is_ok() {
        std::future::pending().await
    }
}

/// Returns when whoever is being served is to be served no longer.
async fn revoked(mut served: watch::Receiver<CancellationToken>) {
    loop {
        let principal = served.borrow_and_update().clone();
        tokio::select! {
            biased;
            Ok(()) = served.changed() => {}
            () = principal.cancelled() => return,
        }
    }
}
