use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::HomeError;

/// A lock on a file that ends with this value, or with the process, however it ends.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "held for its lock, which closing it gives up")] File);

impl Lock {
    /// Takes the lock on the file at `path` if nobody has it.
    ///
    /// # Errors
    /// What the file system says.
    pub fn try_acquire(path: &Path) -> Result<Option<Self>, HomeError> {
        let file = open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(file))),
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
        Ok(Self(file))
    }

    /// Whether somebody has the lock on the file at `path`.
    ///
    /// # Errors
    /// What the file system says.
    pub fn is_held(path: &Path) -> Result<bool, HomeError> {
        match open(path)?.try_lock_shared() {
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
