use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rbee_protocol::ErrorCode;
use serde::{Deserialize, Serialize};

use crate::daemon::{Start, program};
use crate::{Home, HomeError, Lock};

/// Where a running queen can be reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueenAddress {
    /// Its base URL, e.g. `http://127.0.0.1:7833`.
    pub url: String,
    /// Its process id.
    pub pid: u32,
    /// Its version.
    pub version: String,
}

impl QueenAddress {
    /// Leaves the address where commands look for it, after [`QueenAddress::blank`].
    ///
    /// # Errors
    /// What the file system says.
    pub fn publish(&self, home: &Home) -> Result<(), HomeError> {
        let text = serde_json::to_string(self).expect("an address is plain data");
        let path = home.queen_address_file();
        write_over(&path, &text).map_err(HomeError::io("write", path))
    }

    /// Makes the address that a queen left behind one that nobody can read.
    ///
    /// Its file stays, and the next address is written over it: on a full disk there is no room for another.
    ///
    /// # Errors
    /// What the file system says.
    pub fn blank(home: &Home) -> Result<(), HomeError> {
        let path = home.queen_address_file();
        let length = fs::metadata(&path).map_or(0, |metadata| metadata.len());
        let spaces = " ".repeat(usize::try_from(length).unwrap_or(0));
        write_over(&path, &spaces).map_err(HomeError::io("write", path))
    }
}

/// Writes `text` over what is in the file at `path`, without a moment in which the file takes more room.
fn write_over(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(false).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.set_len(text.len() as u64)
}

/// The address of this home's queen, if one runs.
///
/// An address file alone proves nothing, since its port may belong to somebody else by now; the
/// queen's lock does.
///
/// # Errors
/// What the file system says.
pub fn running_queen(home: &Home) -> Result<Option<QueenAddress>, HomeError> {
    let starts = Lock::acquire(&home.lock_file("start"))?;
    running_queen_under(home, &starts)
}

/// The address of this home's queen, which is started where none runs. `starting` is called before.
///
/// However many ask at once, one queen is started.
///
/// # Errors
/// [`HomeError::NotStarted`] with the queen's reason.
pub async fn queen_or_start(home: &Home, starting: impl FnOnce()) -> Result<QueenAddress, HomeError> {
    let lock_file = home.lock_file("start");
    let lock = tokio::task::spawn_blocking(move || Lock::acquire(&lock_file)).await;
    let starts = lock.expect("taking a lock does not panic")?;
    if let Some(address) = running_queen_under(home, &starts)? {
        return Ok(address);
    }
    starting();
    let log = home.log_file("queen");
    let start = Start { program: &program("rbee-queen")?, args: Vec::new(), stderr: &log, lifelines: None };
    let started = start.spawn().await?;
    serde_json::from_value(started.facts).map_err(|error| HomeError::NotStarted {
        message: format!("the queen said where it listens in a way that makes no sense: {error}"),
        hint: Some("the command line and the queen may be of different versions: rebuild both".to_owned()),
        code: ErrorCode::Internal,
    })
}

/// Like [`running_queen`], for whoever holds the lock `start`, which keeps queens from being started.
///
/// # Errors
/// What the file system says.
pub fn running_queen_under(home: &Home, _starts: &Lock) -> Result<Option<QueenAddress>, HomeError> {
    if !Lock::is_held(&home.lock_file("queen"))? {
        return Ok(None);
    }
    let path = home.queen_address_file();
    match fs::read_to_string(&path) {
        // A file that cannot be read as an address is being written by a queen that is coming up.
        Ok(text) => Ok(serde_json::from_str(&text).ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(HomeError::io("read", path)(error)),
    }
}

/// What there is to see of a home's queen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Glance {
    /// None runs.
    Absent,
    /// One runs that does not say where: it is coming up, or on its way out.
    Passing,
    /// One runs, and says that it listens there.
    Running(QueenAddress),
}

/// Looks at this home's queen without waiting for anybody, and without changing anything that was there.
///
/// # Errors
/// What the file system says.
pub fn glance_at_queen(home: &Home) -> Result<Glance, HomeError> {
    let lock_file = home.lock_file("queen");
    if !lock_file.exists() {
        return Ok(Glance::Absent);
    }
    // Held where it can be had at once: to look at a lock takes it for a moment, in which a queen that starts would find
    // it taken.
    let _starts = Lock::try_acquire(&home.lock_file("start"));
    if !Lock::is_held(&lock_file)? {
        return Ok(Glance::Absent);
    }
    let text = fs::read_to_string(home.queen_address_file()).unwrap_or_default();
    Ok(serde_json::from_str(&text).map_or(Glance::Passing, Glance::Running))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_written_over_the_one_before() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("queen.json");
        for text in ["first, and longer", "second", ""] {
            write_over(&path, text).expect("room for a small file");
            assert_eq!(fs::read_to_string(&path).expect("our own file"), text);
        }
        let device = Path::new("/dev/full");
        assert_eq!(write_over(device, "x").map_err(|error| error.kind()), Err(io::ErrorKind::StorageFull));
    }
}
