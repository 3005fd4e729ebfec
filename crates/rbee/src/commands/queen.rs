//! `rbee queen …`: the daemon itself.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use rbee_home::{Home, HomeError, Lock, QueenAddress, program, read_key, running_queen, running_queen_under};
use rbee_narration::printable;
use rbee_protocol::{Client, ClientError, DaemonInfo, ErrorCode, StopRequest};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::time::{interval, timeout};

use crate::cli::{Output, Queen};
use crate::commands::question::now_ms;
use crate::commands::service;
use crate::connection::answering_queen;
use crate::error::Failure;
use crate::human::duration;
use crate::printer::Printer;
use crate::signals::Signals;
use crate::table::facts;

/// A daemon that has not stopped after so long will not do so by itself.
const STOP_TIMEOUT: Duration = Duration::from_secs(45);
/// How long to wait before asking a daemon again that did not answer.
const STOP_RETRY: Duration = Duration::from_millis(100);
/// How often a log is looked at for new lines. The kernel could tell, but through an interface of its own on each
/// system, for a file that a person reads.
const LOG_POLL: Duration = Duration::from_millis(250);
/// A log's end is read in pieces of this size.
const LOG_PIECE_BYTES: u64 = 64 << 10;

/// Becomes the queen; returns only if that fails.
pub(crate) fn run() -> anyhow::Error {
    match program("rbee-queen") {
        Ok(program) => {
            let error = Command::new(&program).exec();
            let message = format!("cannot run {}: {error}", program.display());
            Failure::new(ErrorCode::Unavailable, message, "in a clone of rbee, `./rbee status` builds it")
                .into()
        }
        Err(error) => error.into(),
    }
}

/// Runs any other `rbee queen` command.
pub(crate) async fn control(command: Queen, signals: &mut Signals, printer: &mut Printer) -> Result<u8> {
    let home = match &command {
        Queen::Start | Queen::Install { dry_run: false, .. } => Home::from_env()?,
        // Whoever looks writes nothing.
        _ => Home::locate()?,
    };
    match command {
        Queen::Start => start(&home, printer).await,
        Queen::Stop { keep_hive } => stop(&home, keep_hive, printer).await,
        Queen::Status => status(&home, printer).await,
        Queen::Logs { lines, follow } => logs_of("queen", lines, follow, signals, printer).await,
        Queen::Install { now, dry_run } => service::install(&home, now, dry_run, printer).await,
        Queen::Run => Err(run()),
    }
}

async fn start(home: &Home, printer: &mut Printer) -> Result<u8> {
    let mut started = false;
    let QueenAddress { url, pid, version } = answering_queen(home, || started = true).await?;
    match printer.output() {
        Output::Text => {
            let how = if started { "has started" } else { "runs already" };
            printer.page(&format!("the queen {how}: {} (pid {pid})\n", printable(&url)))?;
        }
        _ => printer.json(&json!({"started": started, "url": url, "pid": pid, "version": version}))?,
    }
    Ok(0)
}

/// Whether a daemon may run, which holds a lock then, or has run.
pub(super) fn may_run(home: &Home) -> bool {
    // What cannot be seen is told when it is needed.
    ["queen", "hive"].iter().any(|name| home.lock_file(name).try_exists().unwrap_or(true))
}

async fn status(home: &Home, printer: &mut Printer) -> Result<u8> {
    let address = if may_run(home) { running_queen(home)? } else { None };
    let info = match &address {
        Some(address) => Some(client(home, address)?.info().await?),
        None => None,
    };
    match (printer.output(), address.zip(info)) {
        (Output::Text, Some((address, info))) => {
            let about = [
                ("queen", "runs".to_owned()),
                ("url", address.url),
                ("pid", info.pid.to_string()),
                ("version", info.version),
                ("uptime", duration(now_ms().saturating_sub(info.started_at_ms))),
            ];
            printer.page(&facts(about, printer.look()))?;
            Ok(0)
        }
        (_, Some((address, info))) => {
            let DaemonInfo { version, pid, started_at_ms, .. } = info;
            let url = address.url;
            printer.json(
                &json!({"running": true, "url": url, "pid": pid, "version": version, "started_at_ms": started_at_ms}),
            )?;
            Ok(0)
        }
        (Output::Text, None) => {
            printer.page("the queen does not run\n")?;
            Ok(ErrorCode::Unavailable.exit_code())
        }
        (_, None) => {
            printer.json(&json!({"running": false}))?;
            Ok(ErrorCode::Unavailable.exit_code())
        }
    }
}

async fn stop(home: &Home, keep_hive: bool, printer: &mut Printer) -> Result<u8> {
    let (queen, hive) = match may_run(home) {
        true => {
            // A command that needs a queen in the meantime waits, and then starts another.
            let start_lock = home.lock_file("start");
            let starts = tokio::task::spawn_blocking(move || Lock::acquire(&start_lock)).await;
            let starts = starts.expect("taking a lock does not panic")?;
            stop_daemons(home, keep_hive, &starts).await?
        }
        false => (false, false),
    };
    match printer.output() {
        Output::Text => printer.page(match (queen, hive) {
            (true, _) if keep_hive => "the queen has stopped; the hive runs on\n",
            (true, _) => "the queen has stopped\n",
            (false, true) => "the hive has stopped; there was no queen\n",
            (false, false) => "the queen does not run\n",
        })?,
        _ => printer.json(&json!({"stopped": queen || hive}))?,
    }
    Ok(0)
}

/// Stops queen and hive, and says which of them ran. For whoever holds the lock `start`, so that no other is started.
pub(super) async fn stop_daemons(home: &Home, keep_hive: bool, starts: &Lock) -> Result<(bool, bool)> {
    let queen = match running_queen_under(home, starts)? {
        Some(address) => {
            // A queen can be stopped also by whoever has lost its key, but not its process.
            let client = match client(home, &address) {
                Ok(client) => client,
                Err(_) => Client::tcp(&address.url, "")?,
            };
            stop_daemon(home, "queen", &client, StopRequest { keep_hive }, Some(address.pid)).await?
        }
        None => false,
    };
    // The hive of a queen that died, or one that takes longer to stop than its queen.
    let hive = if keep_hive {
        false
    } else {
        stop_daemon(home, "hive", &Client::unix(&home.socket("hive"))?, StopRequest::default(), None).await?
    };
    Ok((queen, hive))
}

/// Stops the daemon called `name`, and waits until it has. `false` if it does not run.
async fn stop_daemon(
    home: &Home,
    name: &'static str,
    client: &Client,
    request: StopRequest,
    mut pid: Option<u32>,
) -> Result<bool> {
    let lock_file = home.lock_file(name);
    if !Lock::is_held(&lock_file)? {
        return Ok(false);
    }
    let stopped = async {
        let mut tries = interval(STOP_RETRY);
        // One that is coming up, or on its way out, does not answer.
        while Lock::is_held(&lock_file)? {
            tries.tick().await;
            match client.stop(request).await {
                Ok(info) => {
                    pid = Some(info.pid);
                    break;
                }
                Err(ClientError::Unreachable { .. }) => {}
                Err(ClientError::Api(error)) if error.code == ErrorCode::Unauthorized => {
                    let own = pid.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
                    let Some(pid) = own else { return Err(ClientError::from(error).into()) };
                    // The lock says that the process is the daemon.
                    kill_process(pid, Signal::TERM).context("it could not be told to end")?;
                    break;
                }
                Err(error) => return Err(anyhow::Error::from(error)),
            }
        }
        let freed = tokio::task::spawn_blocking(move || Lock::acquire(&lock_file).map(drop));
        Ok(freed.await.expect("taking a lock does not panic")?)
    };
    match timeout(STOP_TIMEOUT, stopped).await {
        Ok(stopped) => stopped.map(|()| true),
        Err(_) => {
            let message = format!("the {name} has not stopped after {} s", STOP_TIMEOUT.as_secs());
            let hint = match pid {
                Some(pid) => format!("end it with `kill {pid}`, or else with `kill -9 {pid}`"),
                None => format!("its log may say more: {}", home.log_file(name).display()),
            };
            Err(Failure::new(ErrorCode::Unavailable, message, hint).into())
        }
    }
}

fn client(home: &Home, address: &QueenAddress) -> Result<Client> {
    let key = read_key(&home.operator_key_file())?;
    Ok(Client::tcp(&address.url, &key)?)
}

/// Prints the end of the log of the daemon called `name`.
pub(super) async fn logs_of(
    name: &str,
    lines: usize,
    follow: bool,
    signals: &mut Signals,
    printer: &mut Printer,
) -> Result<u8> {
    logs(&Home::locate()?.log_file(name), lines, follow, signals, printer).await
}

async fn logs(
    path: &Path,
    lines: usize,
    follow: bool,
    signals: &mut Signals,
    printer: &mut Printer,
) -> Result<u8> {
    if printer.output() != Output::Text {
        let hint = "leave `--output` out; `rbee events --output ndjson` tells what happens to the service";
        return Err(Failure::new(ErrorCode::Usage, "the log is text, and has no other form", hint).into());
    }
    let mut log = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let message = format!("there is no log yet: {}", path.display());
            return Err(Failure::new(ErrorCode::NotFound, message, "the first job begins one").into());
        }
        Err(source) => return Err(HomeError::Io { action: "read", path: path.to_owned(), source }.into()),
    };
    let failed = |source| HomeError::Io { action: "read", path: path.to_owned(), source };

    let mut pending = tail(&mut log, lines).map_err(failed)?;
    if !follow {
        // Shown as it stands, also when the queen is in the middle of a line.
        if pending.last().is_some_and(|last| *last != b'\n') {
            pending.push(b'\n');
        }
        printer.page(&whole_lines(&mut pending))?;
        return Ok(0);
    }
    signals.handle();
    let mut polls = interval(LOG_POLL);
    loop {
        printer.page(&whole_lines(&mut pending))?;
        tokio::select! {
            _ = polls.tick() => {}
            exit_code = signals.first() => return Ok(exit_code),
        }
        log.read_to_end(&mut pending).map_err(failed)?;
        // A queen that starts sets a large log aside and begins another.
        if let Ok(another) = File::open(path)
            && is_another(&log, &another)
        {
            log.read_to_end(&mut pending).map_err(failed)?;
            log = another;
        }
    }
}

fn is_another(log: &File, other: &File) -> bool {
    use std::os::unix::fs::MetadataExt;
    let identity = |file: &File| file.metadata().map(|metadata| (metadata.dev(), metadata.ino())).ok();
    identity(log) != identity(other)
}

/// The last `lines` lines of the file, which is left at its end.
pub(super) fn tail(file: &mut File, lines: usize) -> std::io::Result<Vec<u8>> {
    let mut start = file.seek(SeekFrom::End(0))?;
    let mut bytes = Vec::new();
    // The line break at the very end begins no line.
    let beginning = |bytes: &[u8]| {
        let breaks = bytes.iter().enumerate().rev().skip(1).filter(|(_, byte)| **byte == b'\n');
        breaks.map(|(at, _)| at + 1).nth(lines.saturating_sub(1))
    };
    while start > 0 && beginning(&bytes).is_none() {
        let piece = start.min(LOG_PIECE_BYTES);
        start -= piece;
        file.seek(SeekFrom::Start(start))?;
        let mut earlier = Vec::new();
        Read::by_ref(file).take(piece).read_to_end(&mut earlier)?;
        earlier.append(&mut bytes);
        bytes = earlier;
    }
    file.seek(SeekFrom::Start(start + bytes.len() as u64))?;
    if lines == 0 {
        return Ok(Vec::new());
    }
    Ok(bytes.split_off(beginning(&bytes).unwrap_or(0)))
}

/// Takes what `pending` has of complete lines, ready to show.
fn whole_lines(pending: &mut Vec<u8>) -> String {
    let end = pending.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let rest = pending.split_off(end);
    let lines = std::mem::replace(pending, rest);
    String::from_utf8_lossy(&lines).lines().map(|line| format!("{}\n", printable(line))).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn tail_of(text: &str, lines: usize) -> String {
        let mut file = tempfile::tempfile().expect("a temporary file");
        file.write_all(text.as_bytes()).expect("room on the disk");
        let tail = tail(&mut file, lines).expect("our own file");
        assert_eq!(file.stream_position().expect("our own file"), text.len() as u64);
        String::from_utf8(tail).expect("UTF-8")
    }

    #[test]
    fn the_tail_of_a_log_is_its_last_lines() {
        assert_eq!(tail_of("a\nb\nc\n", 2), "b\nc\n");
        assert_eq!(tail_of("a\nb\nc", 2), "b\nc");
        assert_eq!(tail_of("a\n\nc\n", 2), "\nc\n");
        assert_eq!(tail_of("a\nb\n", 10), "a\nb\n");
        assert_eq!(tail_of("a\nb\n", 0), "");
        assert_eq!(tail_of("", 3), "");
        let long: String = (0..100_000).map(|i| format!("line {i}\n")).collect();
        assert_eq!(tail_of(&long, 2), "line 99998\nline 99999\n");
        assert_eq!(tail_of(&long, 100_001), long);
    }

    #[test]
    fn lines_of_a_log_cannot_steer_the_terminal() {
        let mut pending = b"a\x1b[2Jb\r\nc\xff\nhalf".to_vec();
        assert_eq!(whole_lines(&mut pending), "a\\u{1b}[2Jb\nc\u{fffd}\n");
        assert_eq!(pending, b"half");
    }
}
