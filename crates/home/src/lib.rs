//! Where rbee's files live, and how its daemons are started.
#![forbid(unsafe_code)]

mod config;
mod daemon;
mod files;
mod home;
mod lock;
mod queen;

pub use config::{Config, JournalKind, NamedModel, SLOTS_MAX};
pub use daemon::{
    Announcement, Announcer, Lifelines, Lines, Start, Started, allow_open_files, asked_to_end,
    end_with_starter, keep_memory_private, program,
};
pub use files::{
    broken_link, broken_link_hint, journal_hint, move_away_hint, new_key, quoted, read_key,
    read_or_create_key, read_private, write_private,
};
pub use home::{DEFAULT_MODEL, HINT_SHOWN, Home};
pub use lock::Lock;
pub use queen::{Glance, QueenAddress, glance_at_queen, queen_or_start, running_queen, running_queen_under};

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rbee_protocol::ErrorCode;

/// What can go wrong with rbee's own files and daemons.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// There is no place to keep files in.
    #[error("neither RBEE_HOME nor HOME is set, so there is no place for rbee's files")]
    NoHome,
    /// A file or folder could not be used.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried, e.g. `read`.
        action: &'static str,
        /// Which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A folder that must be ours alone is not.
    #[error("{path} belongs to somebody else or is open to others")]
    NotPrivate {
        /// Which folder.
        path: PathBuf,
    },
    /// A file that holds secrets can be used by others.
    #[error("{path} is open to others")]
    OpenToOthers {
        /// Which file.
        path: PathBuf,
    },
    /// The file of the operator's key holds something else.
    #[error("{path} holds no key")]
    NoKey {
        /// Which file.
        path: PathBuf,
    },
    /// The file with the keys is not one that was written here.
    #[error("{path} is damaged: {reason}")]
    DamagedKeys {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A setting that makes no sense.
    #[error("{origin}: {reason}")]
    BadSetting {
        /// The file or variable it came from.
        origin: String,
        /// What is wrong with it.
        reason: String,
    },
    /// One of our own programs is not where it should be.
    #[error("the program {name} is neither beside this one nor on the PATH")]
    NoProgram {
        /// Its name.
        name: String,
    },
    /// A daemon did not come up.
    #[error("{message}")]
    NotStarted {
        /// What it said.
        message: String,
        /// What to do next.
        hint: Option<String>,
        /// What kind of failure its reason is.
        code: ErrorCode,
    },
}

impl HomeError {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoHome => Some("set HOME, or RBEE_HOME to a folder of your choice".to_owned()),
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Some("free some room on that disk, then try again".to_owned())
            }
            Self::Io { path, source, .. } if source.kind() == io::ErrorKind::InvalidData => {
                Some(format!("it is no text: correct or remove {}", path.display()))
            }
            Self::Io { path, source, .. } => {
                let permissions = || format!("check the permissions of {}", path.display());
                Some(in_the_way(path, source).unwrap_or_else(permissions))
            }
            Self::NotPrivate { path } => Some(format!(
                "set RBEE_HOME to a folder of its own; if this one is rbee's, `chmod 700 {}`",
                quoted(path)
            )),
            Self::OpenToOthers { path } => Some(format!(
                "`chmod 600 {}`; if somebody may have read it, replace what it holds",
                quoted(path)
            )),
            Self::NoKey { path } => {
                Some(format!("`rbee queen stop`, then `rm {}`: the next command makes another", quoted(path)))
            }
            Self::DamagedKeys { .. } => Some(
                "restore it from a backup, or remove it and create the keys again: none of them works without it"
                    .to_owned(),
            ),
            Self::BadSetting { .. } => Some("correct or remove the setting".to_owned()),
            Self::NoProgram { name } => Some(format!("in a clone of rbee, `./rbee infer` builds {name}")),
            Self::NotStarted { hint, .. } => hint.clone(),
        }
    }

    /// What kind of failure it is.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::NoHome | Self::BadSetting { .. } => ErrorCode::Usage,
            Self::NoKey { .. } | Self::DamagedKeys { .. } => ErrorCode::BadData,
            Self::NotPrivate { .. } | Self::OpenToOthers { .. } => ErrorCode::Denied,
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => ErrorCode::DiskFull,
            Self::Io { source, .. } if source.kind() == io::ErrorKind::InvalidData => ErrorCode::BadData,
            Self::Io { .. } => ErrorCode::Io,
            Self::NoProgram { .. } => ErrorCode::Unavailable,
            Self::NotStarted { code, .. } => *code,
        }
    }

    /// The exit code of a command that fails so.
    pub fn exit_code(&self) -> u8 {
        self.code().exit_code()
    }
}

/// What to do about a file where a folder has to be, or the other way round.
fn in_the_way(path: &Path, error: &io::Error) -> Option<String> {
    let there = path.ancestors().find(|path| fs::symlink_metadata(path).is_ok())?;
    if let Some(link) = broken_link(path) {
        return Some(broken_link_hint(link));
    }
    let is_wrong = match error.kind() {
        io::ErrorKind::IsADirectory => there.is_dir(),
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => !there.is_dir(),
        _ => false,
    };
    let is_the_root = std::env::var_os("RBEE_HOME").is_some_and(|root| Path::new(&root).starts_with(there));
    is_wrong.then(|| match is_the_root {
        true => "set RBEE_HOME to a folder".to_owned(),
        false => move_away_hint(there),
    })
}
