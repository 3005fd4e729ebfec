//! What can be wrong with a file, with the facts that the caller needs to say so.

use std::io;
use std::path::PathBuf;

/// Why a file is no model that could be used.
#[derive(Debug, thiserror::Error)]
pub enum GgufError {
    /// There is no file at the path.
    #[error("there is no model file at `{}`", path.display())]
    NotFound {
        /// The path as it was given, or that of another of the model's files.
        path: PathBuf,
    },

    /// The file exists, and the system would not let us read it; a directory is this too.
    #[error("the model file `{}` cannot be read", path.display())]
    Io {
        /// The path as it was given, or that of another of the model's files.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },

    /// The file was read and is not what it should be.
    #[error("`{}` is not a usable model: {reason}", path.display())]
    Bad {
        /// The path as it was given, or that of another of the model's files.
        path: PathBuf,
        /// A clause about the file: "it ends at byte 1000, but …".
        reason: String,
    },
}
