use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::HomeError;

/// So often it is looked at whether the file is still there.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// A lock on a file that ends with this value, or with the process, however it ends.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// Takes the lock on the file at `path` if nobody has it.
    ///
    /// # Errors
    /// What the file system says.
    pub fn try_acquire(path: &Path) -> Result<Option<Self>, HomeError> {
        let file = open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { file, path: path.to_owned() })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(HomeError::io("lock", path)(error)),
        }
    }

    /// Waits for the lock on the file at `path`. Blocks the thread.
    ///
    /// # Errors
    /// What the file system says.
    pub fn acquire(path: &Path) -> Result<Self, HomeError> {
        let file = open(path)?;
        file.lock().map_err(HomeError::io("lock", path))?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// Returns when the file has been removed, so that others who come find no lock and would take it as well.
    pub async fn lost(&self) {
        loop {
            // No system tells alike that a file is gone.
            tokio::time::sleep(LOOK_INTERVAL).await;
            let there = std::fs::metadata(&self.path).map(|there| (there.dev(), there.ino()));
            if there.ok() != self.file.metadata().map(|own| (own.dev(), own.ino())).ok() {
                return;
            }
        }
    }

    /// Whether somebody has the lock on the file at `path`, which is not made where it is missing.
    ///
    /// # Errors
    /// What the file system says.
    pub fn is_held(path: &Path) -> Result<bool, HomeError> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(HomeError::io("open", path)(error)),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(HomeError::io("lock", path)(error)),
        }
    }
}

fn open(path: &Path) -> Result<File, HomeError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(HomeError::io("open", path))
}
