use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::registry::Jobs;

/// A request's head must arrive within this time and fit into so many bytes.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
const HEAD_MAX_BYTES: usize = 64 << 10;
/// So many connections are open at once; a further one waits to be accepted.
const CONNECTIONS_MAX: usize = 4096;
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
    tokio::join!(serve(listener, router, closing.clone()), ending);
}

async fn serve(listener: Listener, router: Router, shutdown: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        tokio::select! {
            () = shutdown.cancelled() => break,
            Some(_) = connections.join_next(), if connections.len() >= CONNECTIONS_MAX => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok(stream) => {
                    connections.spawn(connection(stream, router.clone(), shutdown.clone()));
                }
                // Out of descriptors, most likely: nothing tells when there are some again.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    // Past the deadline, dropping the set closes what is still open.
    let _ = tokio::time::timeout(DRAIN_TIMEOUT, drained).await;
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<IO: AsyncRead + AsyncWrite + Unpin + Send> Stream for IO {}

impl Listener {
    /// Listens on a socket at `path` that is for this user alone, in place of one left behind.
    ///
    /// # Errors
    /// What the system says.
    pub fn unix(path: &Path) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
        Ok(Self::Unix(listener))
    }

    async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // Tokens are small and due at once. A client that has gone already is noticed later.
                let _ = stream.set_nodelay(true);
                Ok(Box::new(stream))
            }
            Self::Unix(listener) => Ok(Box::new(listener.accept().await?.0)),
        }
    }
}

async fn connection(stream: Box<dyn Stream>, router: Router, shutdown: CancellationToken) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_MAX_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    // A connection that breaks is its client's affair: readers resume.
    tokio::select! {
        _ = &mut connection => return,
        () = shutdown.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}
