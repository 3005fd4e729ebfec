use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

/// Enough for the ends of a thousand jobs, each in a page of its own.
const RESERVE_BYTES: usize = 4 << 20;

/// Room on the disk that is given up when there is no other, so that jobs can still be ended in order.
pub(crate) struct Reserve {
    path: PathBuf,
    is_held: AtomicBool,
}

impl Reserve {
    pub(crate) fn at(path: PathBuf) -> Self {
        Self { path, is_held: AtomicBool::new(false) }
    }

    pub(crate) fn is_held(&self) -> bool {
        self.is_held.load(Ordering::Relaxed)
    }

    /// Reserves the room unless it is. For whoever writes, when there is nothing to write.
    pub(crate) fn hold(&self) -> io::Result<()> {
        if self.is_held() {
            return Ok(());
        }
        let reserve = || {
            let mut file =
                OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&self.path)?;
            file.write_all(&vec![0; RESERVE_BYTES])?;
            file.sync_all()
        };
        match reserve() {
            Ok(()) => self.is_held.store(true, Ordering::Relaxed),
            Err(error) => {
                // Half a reserve helps nobody.
                let _ = fs::remove_file(&self.path);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Gives the room to whoever writes next.
    pub(crate) fn release(&self) {
        self.is_held.store(false, Ordering::Relaxed);
        // It may be gone already.
        let _ = fs::remove_file(&self.path);
    }
}
