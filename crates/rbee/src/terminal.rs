//! The terminal on stdin.

use std::io;

use rustix::process::getpgrp;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};

/// The terminal on stdin, and how it was before the program changed it.
pub(crate) struct Terminal {
    before: Termios,
}

impl Terminal {
    /// The terminal as it is now, where stdin is one.
    pub(crate) fn on_stdin() -> Option<Self> {
        tcgetattr(io::stdin()).ok().map(|before| Self { before })
    }

    /// How it was before.
    pub(crate) fn before(&self) -> &Termios {
        &self.before
    }

    /// Changes it, as far as it is ours and takes that.
    pub(crate) fn set(&self, mode: &Termios) {
        if self.is_ours() {
            // Where it is gone, there is nothing to change.
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, mode);
        }
    }

    /// Has it be again as it was before.
    pub(crate) fn give_back(&self) {
        self.set(&self.before);
    }

    /// Whether this program is in the foreground: the system stops one that uses the terminal in the background.
    pub(crate) fn is_ours(&self) -> bool {
        tcgetpgrp(io::stdin()).is_ok_and(|group| group == getpgrp())
    }
}
