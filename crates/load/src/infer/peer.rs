//! The server that rbee is measured beside.

use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::Pid;
use serde_json::Value;
use tokio::process::{Child, Command};

use crate::http::{Connection, Request};
use crate::infer::SLOTS;
use crate::infer::ask::Server;
use crate::streams::free_port;

/// A server has loaded its model within this.
const START_LIMIT: Duration = Duration::from_secs(60);
const CONTEXT_LENGTH: &str = "8192";

/// What to measure beside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PeerAt {
    /// llama.cpp's server, to be started from this file.
    Program(PathBuf),
    /// A server of the OpenAI API's style that runs.
    Running(SocketAddr),
}

impl FromStr for PeerAt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(rest) = text.strip_prefix("http://") else {
            return if text.contains("://") {
                Err("only http:// is spoken here".to_owned())
            } else {
                Ok(Self::Program(text.into()))
            };
        };
        let authority = rest.trim_end_matches('/').trim_end_matches("/v1");
        let address = if authority.contains(':') { authority.to_owned() } else { format!("{authority}:80") };
        let mut found = address.to_socket_addrs().map_err(|error| format!("{address}: {error}"))?;
        found.next().map(Self::Running).ok_or_else(|| format!("{address} is nowhere"))
    }
}

/// How llama.cpp's server divides its context, and whether it drafts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// Each slot has its part.
    Divided,
    /// All slots share it, so that one may take nearly all of it.
    Shared,
    /// Likewise, and what followed the same tokens before is drafted, which is off unless asked for.
    Drafting,
}

/// A server that runs, until this goes if it was started here.
pub(crate) struct Peer {
    pub(crate) server: Server,
    process: Option<Child>,
}

impl Peer {
    /// Starts the server with the model in the file `model`, or finds the one that runs.
    pub(crate) async fn start(at: &PeerAt, model: &Path, room: Room, threads: usize) -> Result<Self> {
        let (address, process) = match at {
            PeerAt::Running(address) => (*address, None),
            PeerAt::Program(program) => {
                let port = free_port()?;
                let process = command(program, model, room, threads, port).spawn();
                let process = process.with_context(|| format!("cannot start {}", program.display()))?;
                (SocketAddr::from((Ipv4Addr::LOCALHOST, port)), Some(process))
            }
        };
        let server = Server::Peer { address, model: String::new() };
        let mut peer = Self { server, process };
        if peer.process.is_some() {
            peer.wait(address).await?;
        }
        let mut connection = Connection::open(address).await?;
        let models = connection.ask(Request { method: "GET", path: "/v1/models", ..Request::default() });
        let models: Value = serde_json::from_str(&models.await?.body).context("it lists no models")?;
        let name = models["data"][0]["id"].as_str().context("it has no model")?;
        peer.server = Server::Peer { address, model: name.to_owned() };
        Ok(peer)
    }

    /// Its process, where it was started here.
    pub(crate) fn pid(&self) -> Option<Pid> {
        let pid = self.process.as_ref()?.id()?;
        Pid::from_raw(pid.try_into().ok()?)
    }

    async fn wait(&mut self, address: SocketAddr) -> Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            if let Some(process) = &mut self.process
                && let Some(status) = process.try_wait().context("cannot look after the peer")?
            {
                bail!("the peer ended with {status}");
            }
            if Instant::now() > deadline {
                bail!("the peer does not become ready");
            }
            let health = Request { method: "GET", path: "/health", ..Request::default() };
            if let Ok(mut connection) = Connection::open(address).await
                && connection.ask(health).await.is_ok_and(|answer| answer.status == 200)
            {
                return Ok(());
            }
            // Other people's servers do not tell when they are ready.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn command(program: &Path, model: &Path, room: Room, threads: usize, port: u16) -> Command {
    let mut command = Command::new(program);
    command.arg("-m").arg(model).args(["--host", "127.0.0.1", "--port", &port.to_string()]);
    command.args(["-np", &SLOTS.to_string(), "-c", CONTEXT_LENGTH, "-t", &threads.to_string()]);
    if room != Room::Divided {
        command.arg("--kv-unified");
    }
    if room == Room::Drafting {
        command.args(["--spec-type", "ngram-simple"]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // Ctrl-C is for this program, which then stops the others.
    command.process_group(0).kill_on_drop(true);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_a_program_or_an_address() {
        let running = |address: &str| Ok(PeerAt::Running(address.parse().expect("an address")));
        assert_eq!("http://127.0.0.1:8080".parse(), running("127.0.0.1:8080"));
        assert_eq!("http://127.0.0.1/v1/".parse(), running("127.0.0.1:80"));
        assert_eq!("bin/llama-server".parse(), Ok(PeerAt::Program("bin/llama-server".into())));
        "https://example.org".parse::<PeerAt>().expect_err("no TLS here");
    }
}
