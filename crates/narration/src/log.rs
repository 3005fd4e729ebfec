use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use crate::{line::Line, redact::Redactor};

/// A log that has grown past this many bytes is set aside as `<name>.1` when a daemon starts.
const ROTATE_BYTES: u64 = 16 << 20;

/// Where a process's narration goes besides the jobs' streams: its stderr and its log file.
///
/// A cheap handle: clone it into whatever narrates.
#[derive(Clone)]
pub struct Log(Arc<Inner>);

struct Inner {
    redactor: Redactor,
    stderr: bool,
    file: Option<Mutex<File>>,
    capture: Option<Capture>,
}

impl Log {
    /// A log on stderr and in the file at `path`, which is created with mode 0600.
    ///
    /// When stderr already is that file, as for a daemon in the background, each line is written once.
    ///
    /// # Errors
    /// What the file system says when the file cannot be opened.
    pub fn to_file(path: &Path) -> io::Result<Self> {
        let open = || OpenOptions::new().create(true).append(true).mode(0o600).open(path);
        let mut file = open()?;
        let in_background = is_stderr(&file);
        if !in_background {
            // Who starts a daemon in the background has rotated the log that it gave it.
            rotate(path)?;
            file = open()?;
        }
        Ok(Self::new(!in_background, Some(Mutex::new(file)), None))
    }

    /// A log on stderr alone.
    pub fn to_stderr() -> Self {
        Self::new(true, None, None)
    }

    /// A log that keeps its lines for a test to look at.
    pub fn capture() -> (Self, Capture) {
        let capture = Capture::default();
        (Self::new(false, None, Some(capture.clone())), capture)
    }

    fn new(stderr: bool, file: Option<Mutex<File>>, capture: Option<Capture>) -> Self {
        Self(Arc::new(Inner { redactor: Redactor::new(), stderr, file, capture }))
    }

    pub(crate) fn redactor(&self) -> &Redactor {
        &self.0.redactor
    }

    /// Writes one line; `job` is the id of the job it belongs to, if any.
    ///
    /// A log that cannot be written (a full disk, a closed terminal) must not stop the work it
    /// tells of, so failures end here.
    pub(crate) fn write(&self, job: Option<&str>, line: &Line) {
        if self.0.stderr {
            let _ = io::stderr().write_all(format!("{}\n", line.formatted).as_bytes());
        }
        if let Some(file) = &self.0.file {
            let now = humantime::format_rfc3339_millis(SystemTime::now());
            let text = format!("{now} {} {}\n", job.unwrap_or("-"), line.formatted);
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = file.write_all(text.as_bytes());
        }
        if let Some(capture) = &self.0.capture {
            let mut lines = capture.0.lock().unwrap_or_else(PoisonError::into_inner);
            lines.push((job.map(str::to_owned), line.clone()));
        }
    }
}

/// Sets the log at `path` aside as `<name>.1` when it has grown large. For before it is opened.
///
/// # Errors
/// What the file system says.
pub fn rotate(path: &Path) -> io::Result<()> {
    match path.metadata() {
        Ok(metadata) if metadata.len() > ROTATE_BYTES => std::fs::rename(path, path.with_extension("log.1")),
        _ => Ok(()),
    }
}

/// Whether `file` is what this process's stderr writes to.
fn is_stderr(file: &File) -> bool {
    let identity = |file: &File| file.metadata().ok().map(|m| (m.dev(), m.ino()));
    let stderr = std::os::fd::AsFd::as_fd(&io::stderr()).try_clone_to_owned().map(File::from);
    stderr.is_ok_and(|stderr| identity(&stderr).is_some() && identity(&stderr) == identity(file))
}

/// The lines that one test's [`Log`] has written, each with its job's id.
#[derive(Clone, Default)]
pub struct Capture(Arc<Mutex<Vec<Captured>>>);

type Captured = (Option<String>, Line);

impl Capture {
    /// The lines of the system.
    pub fn system(&self) -> Vec<Line> {
        self.select(None)
    }

    /// The lines of one job.
    pub fn job(&self, id: &str) -> Vec<Line> {
        self.select(Some(id))
    }

    fn select(&self, wanted: Option<&str>) -> Vec<Line> {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().filter(|(job, _)| job.as_deref() == wanted).map(|(_, line)| line.clone()).collect()
    }
}
