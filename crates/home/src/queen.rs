use std::fs;
use std::io;

use serde::{Deserialize, Serialize};

use crate::daemon::{Start, program};
use crate::files::write_private;
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
    /// Leaves the address where commands look for it.
    ///
    /// # Errors
    /// What the file system says.
    pub fn publish(&self, home: &Home) -> Result<(), HomeError> {
        let text = serde_json::to_string(self).expect("an address is plain data");
        write_private(&home.queen_address_file(), &text)
    }
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
    let start = Start { program: &program("rbee-queen")?, args: Vec::new(), stderr: &log, lifeline: false };
    let started = start.spawn().await?;
    serde_json::from_value(started.facts).map_err(|error| HomeError::NotStarted {
        message: format!("the queen said where it listens in a way that makes no sense: {error}"),
        hint: Some("the command line and the queen may be of different versions: rebuild both".to_owned()),
        exit_code: 70,
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
