use std::env;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::future::Future;
use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::thread;
use std::time::Duration;

use rbee_narration::{printable, printable_text};
use rbee_protocol::ErrorCode;
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::HomeError;

/// A daemon that has not said a word for so long will not come up.
const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// What a daemon has to say fits easily.
const LINE_BYTES_MAX: usize = 1 << 20;

/// What a daemon says on its stdout, a line of JSON each.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Announcement {
    /// It is ready, with facts for its starter.
    Ready(Value),
    /// It goes on with what it was given to do.
    Working,
    /// It will be of no use.
    Failed {
        /// What is wrong.
        message: String,
        /// What to do next.
        hint: Option<String>,
        /// What kind of failure the reason is.
        code: ErrorCode,
    },
}

impl Announcement {
    /// Reads a line of a daemon's stdout; `None` when it is no announcement.
    pub fn parse(line: &str) -> Option<Self> {
        serde_json::from_str(line).ok()
    }
}

/// Tells whoever started this daemon that it is ready, or why it will not be.
#[derive(Debug)]
pub struct Announcer(());

impl Announcer {
    /// The announcer of this process; its stdout belongs to it.
    pub fn new() -> Self {
        Self(())
    }

    /// Says that the daemon is ready, with `facts` for its starter.
    pub fn ready(&self, facts: Value) {
        announce(&Announcement::Ready(facts));
    }

    /// Says that the daemon goes on with its work.
    pub fn working(&self) {
        announce(&Announcement::Working);
    }

    /// Says that the daemon does not come up, with the hint and exit code of what `known` stopped it,
    /// and returns that exit code.
    pub fn stopped(&self, message: String, known: Option<&HomeError>) -> ExitCode {
        let code = known.map_or(ErrorCode::Internal, HomeError::code);
        // What is known says by itself what the system said.
        let message = known.map_or(message, HomeError::to_string);
        self.failed(message, known.and_then(HomeError::hint), code);
        ExitCode::from(code.exit_code())
    }

    /// Says that the daemon will be of no use.
    pub fn failed(&self, message: String, hint: Option<String>, code: ErrorCode) {
        announce(&Announcement::Failed { message, hint, code });
    }
}

impl Default for Announcer {
    fn default() -> Self {
        Self::new()
    }
}

/// A starter that has gone is no reason to stop, so what cannot be written is lost.
fn announce(announcement: &Announcement) {
    let mut stdout = io::stdout();
    if !stdout.is_terminal() {
        let line = serde_json::to_string(announcement).expect("an announcement is plain data");
        let _ = stdout.write_all(format!("{line}\n").as_bytes()).and_then(|()| stdout.flush());
    }
    if let Announcement::Failed { message, hint, .. } = announcement {
        let hint = hint.as_ref().map(|hint| format!("hint: {}\n", printable(hint))).unwrap_or_default();
        let _ = io::stderr().write_all(format!("error: {}\n{hint}", printable_text(message)).as_bytes());
    }
}

/// Keeps what this process has of prompts and answers in memory to itself: should it crash, it leaves no
/// core file, and other programs of its user cannot look into it.
///
/// # Errors
/// What the system says.
pub fn keep_memory_private() -> io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    // The limit means nothing where cores are piped to a program.
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// Returns when this process is asked to end, by SIGTERM or SIGINT.
///
/// # Errors
/// What the system says when signals cannot be listened to.
pub fn asked_to_end() -> io::Result<impl Future<Output = ()> + Send> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Allows this process, and those that it starts, so many open files where the system lets it have them and it
/// has fewer so far.
pub fn allow_open_files(wanted: u64) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.map_or(wanted, |maximum| wanted.min(maximum));
    if current.is_some_and(|current| current < wanted) {
        // With fewer a daemon serves fewer connections at once.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum });
    }
}

/// How to start a daemon in the background.
#[derive(Debug)]
pub struct Start<'a> {
    /// The program.
    pub program: &'a Path,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Where its stderr goes, appended.
    pub stderr: &'a Path,
    /// What it is to end with, if it is to: it gets a stdin whose end tells it that its starter has gone.
    pub lifelines: Option<&'a Lifelines>,
}

/// Starts those daemons that are to end with this process, however it ends.
///
/// What is stopped (SIGSTOP) does not see its stdin end, so on Linux the kernel kills it, see [`end_with_starter`]. It does
/// so when the *thread* that started it ends; this has a thread that does nothing else and lives as long.
#[derive(Debug)]
pub struct Lifelines(mpsc::Sender<Spawning>);

#[derive(Debug)]
struct Spawning {
    command: Command,
    spawned: oneshot::Sender<io::Result<Child>>,
}

impl Lifelines {
    /// Begins to start daemons from a thread of its own.
    ///
    /// # Errors
    /// What keeps the thread from being started.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn new() -> io::Result<Self> {
        // The thread takes them one by one, and whoever asks waits for it.
        let (sender, mut receiver) = mpsc::channel::<Spawning>(1);
        let runtime = Handle::current();
        thread::Builder::new().name("lifelines".to_owned()).spawn(move || {
            while let Some(Spawning { mut command, spawned }) = receiver.blocking_recv() {
                let _runtime = runtime.enter();
                // A child that nobody waits for any more loses its stdin here, and ends.
                let _ = spawned.send(command.spawn());
            }
        })?;
        Ok(Self(sender))
    }

    async fn spawn(&self, command: Command) -> io::Result<Child> {
        let (spawned, child) = oneshot::channel();
        let gone = |_| io::Error::other("the thread that starts daemons has ended");
        self.0.send(Spawning { command, spawned }).await.map_err(|_| gone(()))?;
        child.await.map_err(|_| gone(()))?
    }
}

/// Ends this process with the one that gave it a lifeline: when its stdin ends, at once, also while C++ computes; and on
/// Linux even while it is stopped. To be called on the main thread, since the latter is a matter of the thread that asks
/// for it.
pub fn end_with_starter() {
    #[cfg(target_os = "linux")]
    // Where it cannot be had, there still is stdin.
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    thread::spawn(|| {
        let mut byte = [0];
        while matches!(io::stdin().read(&mut byte), Ok(1..)) {}
        // A gentle end would wait for what is being computed.
        let _ = rustix::process::kill_process(rustix::process::getpid(), Signal::KILL);
    });
}

/// The lines that a daemon says, none of them longer than 1 MiB: what a daemon makes of a stranger's file is not
/// to fill its starter's memory.
#[derive(Debug)]
pub struct Lines<R> {
    said: BufReader<R>,
    /// The beginning of the next line.
    line: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    fn new(said: R) -> Self {
        Self { said: BufReader::new(said), line: Vec::new() }
    }

    /// The next line, or `None` when there are no more. Cancel-safe.
    ///
    /// # Errors
    /// What keeps it from being read; `InvalidData` when it is too long or no text.
    pub async fn next_line(&mut self) -> io::Result<Option<String>> {
        loop {
            let said = self.said.fill_buf().await?;
            let end = said.iter().position(|&byte| byte == b'\n');
            let (taken, is_over) = (end.map_or(said.len(), |end| end + 1), said.is_empty());
            self.line.extend_from_slice(&said[..end.unwrap_or(taken)]);
            self.said.consume(taken);
            if self.line.len() > LINE_BYTES_MAX {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "it says a line without an end"));
            }
            if end.is_none() && !is_over {
                continue;
            }
            let line = std::mem::take(&mut self.line);
            if is_over && line.is_empty() {
                return Ok(None);
            }
            let line = String::from_utf8(line);
            return line.map(Some).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error));
        }
    }
}

/// A daemon that has said that it is ready.
#[derive(Debug)]
pub struct Started {
    /// Its process.
    pub child: Child,
    /// Its stdin, if it was to have a lifeline: what must live as long as the daemon is to. It is
    /// apart from `child`, because waiting for a child closes what that has of a stdin.
    pub lifeline: Option<ChildStdin>,
    /// What it said with it.
    pub facts: Value,
    /// What it says after that.
    pub stdout: Lines<ChildStdout>,
}

impl Start<'_> {
    /// Starts the daemon, in a process group of its own, and waits until it says that it is ready.
    ///
    /// # Errors
    /// [`HomeError::NotStarted`] with the daemon's own reason when it gives one.
    pub async fn spawn(self) -> Result<Started, HomeError> {
        rbee_narration::rotate(self.stderr).map_err(HomeError::io("set aside", self.stderr))?;
        let stderr = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(self.stderr)
            .map_err(HomeError::io("open", self.stderr))?;
        let mut command = Command::new(self.program);
        command
            .args(self.args)
            .current_dir("/")
            .envs(absolute_home())
            .stdin(if self.lifelines.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(stderr)
            .process_group(0);
        let spawned = match self.lifelines {
            Some(lifelines) => lifelines.spawn(command).await,
            None => command.spawn(),
        };
        let mut child = spawned.map_err(|error| HomeError::NotStarted {
            message: format!("cannot start {}: {error}", self.program.display()),
            hint: Some("see that the program is there and may be run".to_owned()),
            code: ErrorCode::Unavailable,
        })?;
        let stdout = child.stdout.take().expect("stdout was asked to be piped");
        let mut stdout = Lines::new(stdout);
        let lifeline = child.stdin.take();

        let line = timeout(READY_TIMEOUT, stdout.next_line()).await;
        let failed = |message: String| HomeError::NotStarted {
            message,
            hint: Some(format!("its log may say more: {}", self.stderr.display())),
            code: ErrorCode::Unavailable,
        };
        let name = self.program.file_name().unwrap_or(self.program.as_os_str()).display();
        let error = match line {
            Ok(Ok(Some(line))) => match Announcement::parse(&line) {
                Some(Announcement::Ready(facts)) => return Ok(Started { child, facts, lifeline, stdout }),
                Some(Announcement::Failed { message, hint, code }) => {
                    HomeError::NotStarted { message, hint, code }
                }
                Some(Announcement::Working) | None => failed(format!("{name} is not a daemon of ours")),
            },
            Ok(Ok(None)) => {
                let how =
                    child.wait().await.map_or_else(|error| error.to_string(), |status| status.to_string());
                return Err(failed(format!("{name} ended before it was ready ({how})")));
            }
            Ok(Err(error)) => failed(format!("{name} could not be heard: {error}")),
            Err(_) => failed(format!("{name} was not ready after {} s", READY_TIMEOUT.as_secs())),
        };
        // Whatever it is, nobody would look after it. It may have ended by itself.
        let _ = child.kill().await;
        Err(error)
    }
}

/// `RBEE_HOME` as a path that means the same in another folder.
fn absolute_home() -> Option<(&'static str, PathBuf)> {
    let home = env::var_os("RBEE_HOME").filter(|home| !home.is_empty())?;
    Some(("RBEE_HOME", std::path::absolute(home).ok()?))
}

/// The path of our own program `name`: beside this one, else on the `PATH`.
///
/// # Errors
/// [`HomeError::NoProgram`] when it is in neither place.
pub fn program(name: &str) -> Result<PathBuf, HomeError> {
    let beside = env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join(name)));
    let path = env::var_os("PATH").unwrap_or_default();
    beside
        .into_iter()
        .chain(env::split_paths(&path).map(|folder| folder.join(name)))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| HomeError::NoProgram { name: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_read_up_to_their_bound_and_no_further() {
        let longest = "x".repeat(LINE_BYTES_MAX);
        let text = format!("one\n\n{longest}\ntwo");
        let mut lines = Lines::new(text.as_bytes());
        for expected in ["one", "", &longest, "two"] {
            assert_eq!(lines.next_line().await.expect("a line").as_deref(), Some(expected));
        }
        assert_eq!(lines.next_line().await.expect("no more"), None);

        let mut endless = Lines::new(tokio::io::repeat(b'x'));
        assert_eq!(endless.next_line().await.expect_err("it has no end").kind(), io::ErrorKind::InvalidData);
        assert!(endless.line.len() <= 2 * LINE_BYTES_MAX);
    }
}
