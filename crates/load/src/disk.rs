//! A disk that is full: what was seen stays, every job ends and says why, no new one is taken, and all
//! is well again as soon as there is room.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rbee_protocol::{ErrorCode, JobState, Submitted};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::api;
use crate::daemons::{Daemons, infer};
use crate::http::{Connection, Request};
use crate::kill::{Seen, look_again, read_on};
use crate::printer::say;
use crate::report::Report;

const DISK_BYTES: u64 = 48 << 20;
/// A disk is filled in pieces, down to a block.
const FILL_BYTES: [usize; 2] = [1 << 20, 4096];
/// Every job that ran ends within this after the disk is full.
const END_LIMIT: Duration = Duration::from_secs(30);
/// The queen has seen that there is room again within this, and is asked so often.
const ROOM_LIMIT: Duration = Duration::from_secs(5);
const ROOM_LOOK: Duration = Duration::from_millis(50);
/// The exit code of a command for which there is no room on the disk.
const EXIT_CODE: i32 = 74;
/// Until a worker that was just killed lets go of its files.
const UNMOUNT_TRIES: usize = 50;

struct Size {
    jobs: usize,
    models: usize,
    /// The disk is full once a job has so many events.
    events_before: u64,
}

const FULL: Size = Size { jobs: 40, models: 20, events_before: 200 };
const SHORT: Size = Size { jobs: 8, models: 4, events_before: 50 };

/// Runs jobs until the disk is full and beyond, and reports.
pub(crate) async fn run(programs: &Path, short: bool) -> Result<Report> {
    let size = if short { &SHORT } else { &FULL };
    let mut report = Report::new("disk");
    let disk = match Disk::mount() {
        Ok(disk) => disk,
        Err(error) => {
            say(&format!("disk: NOT RUN: {error:#}"));
            report.figure("skipped", format!("{error:#}"));
            report.require(short, || "it was not run".to_owned());
            return Ok(report);
        }
    };
    let mut daemons = Daemons::start_in(&disk.path(), programs, size.models, &[]).await?;
    let seen = fill_under_load(&disk, &daemons, size).await?;
    let count = |wanted: (JobState, Option<ErrorCode>)| {
        seen.iter().filter(|seen| seen.end.as_ref() == Some(&wanted)).count()
    };
    let succeeded = count((JobState::Succeeded, None));
    let failed = count((JobState::Failed, Some(ErrorCode::DiskFull)));
    report.figure("jobs", seen.len());
    report.figure("jobs_succeeded", succeeded);
    report.figure("jobs_failed_disk_full", failed);
    report.figure("events_seen", seen.iter().map(|seen| seen.events.len()).sum::<usize>());
    report.require(failed > 0, || "no job met the full disk, so nothing was tried".to_owned());
    for seen in seen.iter().filter(|seen| seen.end.is_none()) {
        report.require(false, || format!("job {} has no end while the disk is full", seen.job));
    }
    report.require(succeeded + failed == seen.len(), || {
        let ends: Vec<_> = seen.iter().map(|seen| &seen.end).collect();
        format!("jobs ended otherwise than by success or for want of room: {ends:?}")
    });

    let succeeded = |seen: &&Seen| seen.end.as_ref().is_some_and(|end| end.0 == JobState::Succeeded);
    for seen in seen.iter().filter(succeeded) {
        report.require(seen.next_index == size.events_before, || {
            format!("job {} succeeded with {} tokens", seen.job, seen.next_index)
        });
    }

    // What jobs that have failed gave back is taken again, to the last block.
    disk.fill()?;
    check(&mut report, "while the disk is full", refused(&daemons).await);
    check(&mut report, "while the disk is full", read_again(&daemons, &seen).await);
    daemons.kill_queen().await?;
    disk.fill()?;
    let restarted = daemons.start_queen().await;
    let starts = restarted.is_ok();
    check(&mut report, "killed and started on the full disk", restarted.map(drop));
    if starts {
        check(&mut report, "after a restart on the full disk", read_again(&daemons, &seen).await);
        check(&mut report, "after a restart on the full disk", refused(&daemons).await);
    }
    disk.make_room()?;
    if !starts {
        daemons.start_queen().await.context("there is room again")?;
    }
    let again = Instant::now();
    let outcome = loop {
        match succeeds(&daemons).await {
            // The queen looks for room every so often.
            Err(error) if format!("{error:#}").contains("disk_full") && again.elapsed() < ROOM_LIMIT => {
                tokio::time::sleep(ROOM_LOOK).await;
            }
            outcome => break outcome,
        }
    };
    check(&mut report, "with room again", outcome);
    report.figure("first_job_with_room_ms", again.elapsed().as_secs_f64() * 1e3);
    check(&mut report, "with room again", read_again(&daemons, &seen).await);
    daemons.kill_queen().await?;
    daemons.start_queen().await?;
    check(&mut report, "restarted with room again", read_again(&daemons, &seen).await);
    daemons.stop().await?;
    Ok(report)
}

fn check(report: &mut Report, when: &str, outcome: Result<()>) {
    if let Err(error) = outcome {
        report.require(false, || format!("{when}: {error:#}"));
    }
}

/// Runs jobs, each with a reader, fills the disk while they run, and returns what was seen of them.
async fn fill_under_load(disk: &Disk, daemons: &Daemons, size: &Size) -> Result<Vec<Seen>> {
    let (address, key) = (daemons.address(), Arc::<str>::from(daemons.operator_key()));
    let mut connection = Connection::open(address).await?;
    let mut readers = JoinSet::new();
    let mut jobs = Vec::new();
    for number in 0..size.jobs {
        // Some may end before the disk is full, the others do not.
        let tokens = if number % 4 == 0 { size.events_before } else { 100_000 };
        let script = format!("tokens {tokens} 1 {}", "x".repeat(200));
        let request = infer(number % size.models, script);
        jobs.push(api::submit(&mut connection, &key, &request).await?.job_id);
    }
    let full = watch::Sender::new(false);
    for job in jobs.clone() {
        let (key, mut full) = (key.clone(), full.subscribe());
        readers.spawn(async move {
            let mut seen = Seen::nothing_of(job);
            let mut connection = Connection::open(address).await?;
            let reading = read_on(&mut connection, &key, &mut seen, 0);
            let too_late = async {
                // The filler, which this waits for, holds the sender.
                let _ = full.wait_for(|full| *full).await;
                tokio::time::sleep(END_LIMIT).await;
            };
            tokio::select! {
                outcome = reading => outcome?,
                () = too_late => {}
            }
            anyhow::Ok(seen)
        });
    }
    while api::info(&mut connection, &key, &jobs[1]).await?.events < size.events_before {
        tokio::task::yield_now().await;
    }
    say("disk: filling it");
    // What the queen gives up then is for the ends of its jobs, and this would be quicker.
    let reserve = daemons.journal().with_extension("reserve");
    disk.fill_until(|| !reserve.exists())?;
    full.send_replace(true);
    let mut all = Vec::new();
    while let Some(joined) = readers.join_next().await {
        all.push(joined.context("a reader's task panicked")??);
    }
    Ok(all)
}

/// Checks that no job is taken, and that a command says so.
async fn refused(daemons: &Daemons) -> Result<()> {
    let mut connection = Connection::open(daemons.address()).await?;
    let body = serde_json::to_string(&infer(0, "tokens 1 0 x".to_owned())).context("plain data")?;
    let request = Request { body: Some(&body), ..Request::new("POST", "/v1/jobs", daemons.operator_key()) };
    let error = api::error(&connection.ask(request).await?, ErrorCode::DiskFull.http_status())?;
    if error.code != ErrorCode::DiskFull {
        bail!("a job was refused for another reason: {error:?}");
    }
    let mut command = daemons.command();
    command.args(["infer", "--no-stdin", "--model", "load-0", "hello"]).stderr(Stdio::piped());
    let ran = timeout(END_LIMIT, command.output()).await.context("`rbee infer` does not end")?;
    let ran = ran.context("`rbee infer` cannot be run")?;
    let stderr = String::from_utf8_lossy(&ran.stderr);
    if ran.status.code() != Some(EXIT_CODE) || !stderr.contains("hint: ") {
        bail!("`rbee infer` ended with {} and said: {stderr}", ran.status);
    }
    Ok(())
}

/// Checks that a job is taken and succeeds.
async fn succeeds(daemons: &Daemons) -> Result<()> {
    let mut connection = Connection::open(daemons.address()).await?;
    let key = daemons.operator_key();
    let Submitted { job_id, .. } =
        api::submit(&mut connection, key, &infer(0, "tokens 5 0 x".to_owned())).await?;
    let mut seen = Seen::nothing_of(job_id);
    let reading = read_on(&mut connection, key, &mut seen, 0);
    timeout(END_LIMIT, reading).await.context("a new job does not end")??;
    match seen.end {
        Some((JobState::Succeeded, None)) => Ok(()),
        end => bail!("a new job ended so: {end:?}"),
    }
}

/// Checks that everything that was seen is there.
async fn read_again(daemons: &Daemons, seen: &[Seen]) -> Result<()> {
    let mut connection = Connection::open(daemons.address()).await?;
    for seen in seen.iter().filter(|seen| seen.end.is_some()) {
        look_again(&mut connection, daemons.operator_key(), seen)
            .await
            .with_context(|| format!("job {}", seen.job))?;
    }
    Ok(())
}

/// A small file system of its own. It is unmounted and gone with this value.
struct Disk {
    folder: TempDir,
}

impl Disk {
    fn mount() -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            bail!("only root mounts a disk");
        }
        let folder = tempfile::Builder::new().prefix("rbee-disk-").tempdir();
        let disk = Self { folder: folder.context("cannot create a temporary folder")? };
        let image = disk.folder.path().join("image");
        File::create(&image)
            .and_then(|file| file.set_len(DISK_BYTES))
            .context("cannot create the disk's image")?;
        fs::create_dir(disk.path()).context("cannot create the disk's folder")?;
        tool("mkfs.ext4", &["-q", "-F", "-m", "0"], &[&image])?;
        tool("mount", &["-o", "loop"], &[&image, &disk.path()])?;
        Ok(disk)
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    /// Leaves no room on the disk, not even a block, unless it is `enough` before.
    fn fill_until(&self, enough: impl Fn() -> bool) -> Result<()> {
        let path = self.path().join("filler");
        let mut file = File::options()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(path)
            .context("cannot fill the disk")?;
        for bytes in FILL_BYTES {
            let piece = vec![0; bytes];
            while !enough() {
                match file.write_all(&piece).and_then(|()| file.sync_data()) {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::StorageFull => break,
                    Err(error) => return Err(error).context("cannot fill the disk"),
                }
            }
        }
        Ok(())
    }

    fn fill(&self) -> Result<()> {
        self.fill_until(|| false)
    }

    fn make_room(&self) -> Result<()> {
        fs::remove_file(self.path().join("filler")).context("cannot make room on the disk")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // One that was never mounted needs nothing more than its folder removed.
        let mounted = || {
            let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
            mounts.contains(&format!(" {} ", self.path().display()))
        };
        for _ in 0..UNMOUNT_TRIES {
            if !mounted() || tool("umount", &[], &[&self.path()]).is_ok() {
                return;
            }
            // Nothing tells when the last file on it is closed.
            std::thread::sleep(Duration::from_millis(100));
        }
        let _ = tool("umount", &["--lazy"], &[&self.path()]);
    }
}

fn tool(name: &str, options: &[&str], paths: &[&Path]) -> Result<()> {
    let ran = std::process::Command::new(name).args(options).args(paths).stdin(Stdio::null()).output();
    let ran = ran.with_context(|| format!("cannot run `{name}`"))?;
    if !ran.status.success() {
        bail!("`{name}` failed: {}", String::from_utf8_lossy(&ran.stderr).trim());
    }
    Ok(())
}
