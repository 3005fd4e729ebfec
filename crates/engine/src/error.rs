//! What can go wrong, with the facts that the caller needs to say so.

use std::io;
use std::path::PathBuf;

use rbee_gguf::GgufError;

/// Why a model could not be loaded, or a request not answered.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// There is no file at the path.
    #[error("there is no model file at `{}`", path.display())]
    NotFound {
        /// The path as it was given.
        path: PathBuf,
    },

    /// The file exists, and the system would not let us read it; a directory is this too.
    #[error("the model file `{}` cannot be read", path.display())]
    Io {
        /// The path as it was given.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },

    /// The file was read and is not a model that this engine can run.
    #[error("`{}` is not a usable model: {reason}", path.display())]
    BadModel {
        /// The path as it was given.
        path: PathBuf,
        /// A clause about the file: "it ends at byte 1000, but …".
        reason: String,
    },

    /// The request, or an option, has a value outside what is allowed.
    #[error("{reason}")]
    BadRequest {
        /// What is wrong and what would be right.
        reason: String,
    },

    /// The prompt leaves no room for an answer.
    #[error("the prompt has {prompt_tokens} tokens or more, but the context holds {context_length}")]
    ContextFull {
        /// The prompt's tokens. For a text so long that it cannot fit however it is divided into
        /// tokens, the fewest that it can have.
        prompt_tokens: u32,
        /// The context length in use, in tokens.
        context_length: u32,
    },

    /// A text is too long for an embedding.
    #[error("the text at {index} has {tokens} tokens or more, but an embedding takes {most}")]
    TextTooLong {
        /// Its place in the request, from 0.
        index: usize,
        /// Its tokens. For a text so long that it cannot fit however it is divided into tokens, the
        /// fewest that it can have.
        tokens: u64,
        /// The most that a text may have.
        most: u32,
    },

    /// The machine has too little memory for the model.
    #[error(
        "`{}` needs {needed_bytes} bytes of memory with a context of {context_length} tokens, \
         but {free_bytes} are free",
        path.display()
    )]
    DoesNotFit {
        /// The path as it was given.
        path: PathBuf,
        /// What the model takes, in bytes.
        needed_bytes: u64,
        /// What is there for it, in bytes.
        free_bytes: u64,
        /// Tokens that one request could have had.
        context_length: u32,
    },

    /// The model's chat template is missing, does not compile or fails.
    #[error("the model's chat template cannot be used: {reason}")]
    Template {
        /// What the template engine said.
        reason: String,
    },

    /// The caller abandoned the load.
    #[error("loading the model was cancelled")]
    Cancelled,

    /// llama.cpp failed in a way that neither the file nor the request explains.
    #[error("llama.cpp failed: {reason}")]
    Internal {
        /// What failed, and what llama.cpp logged about it.
        reason: String,
    },
}

impl From<GgufError> for EngineError {
    fn from(error: GgufError) -> Self {
        match error {
            GgufError::NotFound { path } => Self::NotFound { path },
            GgufError::Io { path, source } => Self::Io { path, source },
            GgufError::Bad { path, reason } => Self::BadModel { path, reason },
        }
    }
}

impl EngineError {
    pub(crate) fn bad_request(reason: impl Into<String>) -> Self {
        Self::BadRequest { reason: reason.into() }
    }
}
