//! Starting the servers that are measured, each in a temporary folder, on free ports and one core.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};

use crate::streams::protocol::Protocol;
use crate::streams::serve::Ready;

/// A server listens within this.
const START_LIMIT: Duration = Duration::from_secs(20);
/// Where Debian's package puts the module.
const NCHAN_MODULE: &str = "/usr/lib/nginx/modules/ngx_nchan_module.so";
/// The core of the server, and the core of the load generator.
pub(crate) const SERVER_CORE: &str = "0";
pub(crate) const GENERATOR_CORE: &str = "1";

/// A server that runs, until this goes.
pub(crate) struct Server {
    pub(crate) process: Child,
    pub(crate) port: u16,
    pub(crate) feed_port: u16,
    pub(crate) channels: Vec<String>,
    _folder: TempDir,
    _stdout: Option<BufReader<ChildStdout>>,
}

/// Why `protocol`'s server cannot be started on this machine, if it cannot.
pub(crate) fn missing(protocol: Protocol) -> Option<String> {
    let program = match protocol {
        Protocol::Rbee | Protocol::RbeeJournal => return None,
        Protocol::Nchan => "nginx",
        Protocol::Redis => "redis-server",
        Protocol::Nats => "nats-server",
    };
    if find(program).is_none() {
        return Some(format!("{program} is not installed"));
    }
    (protocol == Protocol::Nchan && !Path::new(NCHAN_MODULE).is_file())
        .then(|| "libnginx-mod-nchan is not installed".to_owned())
}

/// `program` on `core`, where this machine can do that.
pub(crate) fn pinned(core: &str, program: &Path) -> Command {
    match find("taskset") {
        Some(taskset) => {
            let mut command = Command::new(taskset);
            command.args(["-c", core]).arg(program);
            command
        }
        None => Command::new(program),
    }
}

impl Server {
    /// Starts the server and waits until it listens.
    pub(crate) async fn start(protocol: Protocol, channels: usize) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("rbee-load-")
            .tempdir()
            .context("cannot create a temporary folder")?;
        if protocol.is_ours() {
            return Self::start_rbee(folder, channels, protocol == Protocol::RbeeJournal).await;
        }
        let port = free_port()?;
        let mut command = command(protocol, folder.path(), port)?;
        let mut process = command.spawn().with_context(|| format!("cannot start {}", protocol.name()))?;
        let deadline = Instant::now() + START_LIMIT;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if let Some(status) = process.try_wait().context("cannot look after a server")? {
                bail!("{} ended with {status}", protocol.name());
            }
            if Instant::now() > deadline {
                bail!("{} does not listen", protocol.name());
            }
            // Other people's servers do not tell when they listen.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let channels = (0..channels).map(|channel| format!("c{channel}")).collect();
        Ok(Self { process, port, feed_port: port, channels, _folder: folder, _stdout: None })
    }

    async fn start_rbee(folder: TempDir, channels: usize, with_journal: bool) -> Result<Self> {
        let program = std::env::current_exe().context("cannot tell where this program is")?;
        let mut command = pinned(SERVER_CORE, &program);
        command.args(["serve", "--channels", &channels.to_string()]).stdout(Stdio::piped());
        if with_journal {
            command.arg("--journal").arg(folder.path().join("journal.sqlite"));
        }
        let mut process = quiet(&mut command).spawn().context("cannot start a server")?;
        let stdout = process.stdout.take().context("stdout was asked to be piped")?;
        let mut stdout = BufReader::new(stdout);
        let mut line = String::new();
        tokio::time::timeout(START_LIMIT, stdout.read_line(&mut line))
            .await
            .context("the server does not become ready")?
            .context("the server cannot be heard")?;
        let Ready { port, feed_port, jobs } =
            serde_json::from_str(&line).context("the server ended before it was ready")?;
        Ok(Self { process, port, feed_port, channels: jobs, _folder: folder, _stdout: Some(stdout) })
    }
}

/// How each of the others is started, so that it holds 1,000 messages a channel, all in memory.
fn command(protocol: Protocol, folder: &Path, port: u16) -> Result<Command> {
    let write = |name: &str, text: String| -> Result<PathBuf> {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    };
    let program = |name: &str| find(name).with_context(|| format!("{name} is not installed"));
    let mut command = match protocol {
        Protocol::Rbee | Protocol::RbeeJournal => bail!("this program itself is not among the others"),
        Protocol::Nchan => {
            let file = write("nginx.conf", nginx_conf(folder, port))?;
            let mut command = pinned(SERVER_CORE, &program("nginx")?);
            command.arg("-p").arg(folder).arg("-c").arg(file).args(["-e", "stderr"]);
            command
        }
        Protocol::Redis => {
            let mut command = pinned(SERVER_CORE, &program("redis-server")?);
            command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--maxclients", "15000"]);
            command.args(["--save", "", "--appendonly", "no", "--dir"]).arg(folder);
            command
        }
        Protocol::Nats => {
            let file = write(
                "nats.conf",
                format!("listen: \"127.0.0.1:{port}\"\nmax_connections: 20000\nping_interval: \"30m\"\n"),
            )?;
            let mut command = pinned(SERVER_CORE, &program("nats-server")?);
            command.arg("-c").arg(file);
            command
        }
    };
    quiet(command.stdout(Stdio::null()));
    Ok(command)
}

fn quiet(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::null()).stderr(Stdio::null()).process_group(0).kill_on_drop(true)
}

fn nginx_conf(folder: &Path, port: u16) -> String {
    let folder = folder.display();
    format!(
        "daemon off; master_process off; worker_processes 1; worker_rlimit_nofile 20000;
         pid {folder}/nginx.pid; error_log stderr crit; load_module {NCHAN_MODULE};
         events {{ worker_connections 19000; }}
         http {{
           access_log off; keepalive_requests 1000000000; keepalive_timeout 1h;
           client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
           fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
           nchan_shared_memory_size 4G;
           server {{
             listen 127.0.0.1:{port};
             location ~ ^/pub/(\\w+)$ {{
               nchan_publisher; nchan_channel_id $1; nchan_message_buffer_length 1000; nchan_message_timeout 1h;
             }}
             location ~ ^/sub/(\\w+)$ {{
               nchan_subscriber eventsource; nchan_channel_id $1; nchan_subscriber_first_message oldest;
             }}
           }}
         }}"
    )
}

pub(crate) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("there is no free port")?;
    Ok(listener.local_addr().context("there is no free port")?.port())
}

/// Where `program` is; Debian's servers are in a folder that is not on everybody's path.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    folders.map(|folder| folder.join(program)).find(|candidate| candidate.is_file())
}
