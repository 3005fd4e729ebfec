//! A wire that breaks.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rbee_protocol::Client;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Passes connections on to a daemon, and cuts each of them after some bytes of what comes back.
/// Dropped, it is gone with all its connections.
pub(crate) struct Proxy {
    url: String,
    cuts: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    /// Passes on to `target` as many bytes for each connection as `lengths`, over and over, says.
    pub(crate) async fn start(target: &str, lengths: &'static [u64]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let (cuts, target) = (Arc::new(AtomicUsize::new(0)), target.to_owned());
        let mut tasks = JoinSet::new();
        tasks.spawn({
            let cuts = cuts.clone();
            async move {
                let mut connections = JoinSet::new();
                for length in lengths.iter().cycle() {
                    let (client, _) = listener.accept().await.expect("the proxy listens");
                    let server = TcpStream::connect(&target).await.expect("the daemon listens");
                    connections.spawn(pass(client, server, *length, cuts.clone()));
                }
            }
        });
        Self { url, cuts, _tasks: tasks }
    }

    pub(crate) fn client(&self, name: &str) -> Client {
        Client::tcp(&self.url, &format!("key-of-{name}")).expect("the HTTP library can be set up")
    }

    /// How many connections have been cut.
    pub(crate) fn cuts(&self) -> usize {
        self.cuts.load(Ordering::Relaxed)
    }
}

async fn pass(mut client: TcpStream, mut server: TcpStream, length: u64, cuts: Arc<AtomicUsize>) {
    let (mut from_client, mut to_client) = client.split();
    let (from_server, mut to_server) = server.split();
    let mut back = from_server.take(length);
    tokio::select! {
        copied = tokio::io::copy(&mut back, &mut to_client) => {
            if copied.is_ok_and(|count| count == length) {
                cuts.fetch_add(1, Ordering::Relaxed);
            }
        }
        _ = tokio::io::copy(&mut from_client, &mut to_server) => {}
    }
}
