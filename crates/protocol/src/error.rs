use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What kind of failure it was. Each kind has one HTTP status and one exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// Cancelled, by its owner or because nobody read it.
    Cancelled,
    /// What ran it went away.
    Interrupted,
    /// Whoever worked on it dropped it without finishing it.
    Abandoned,
    /// Its stream grew past its quota.
    Quota,
    /// A command line that makes no sense.
    Usage,
    /// A request that makes no sense.
    BadRequest,
    /// A request body of another type than JSON.
    UnsupportedMediaType,
    /// A request body over the size limit.
    TooLarge,
    /// A method that the path does not take.
    MethodNotAllowed,
    /// A request that did not arrive in time.
    Timeout,
    /// A resume position ahead of the stream.
    CursorAhead,
    /// A file that is not a usable model.
    BadModel,
    /// Data that cannot be used.
    BadData,
    /// A prompt that does not fit the context.
    ContextFull,
    /// No such model, job, hive or file.
    NotFound,
    /// There is one of that name already.
    Exists,
    /// Nobody there to do it.
    Unavailable,
    /// Not enough memory for the model.
    DoesNotFit,
    /// The worker's process ended in the middle.
    WorkerCrashed,
    /// The worker's process made no progress for too long.
    WorkerHung,
    /// Reading or writing failed.
    Io,
    /// No room on the disk.
    DiskFull,
    /// Full for now.
    Busy,
    /// No key, or not the right one.
    Unauthorized,
    /// A request that this key, host or origin may not make.
    Denied,
    /// A bug, or something nobody expected; a code of a newer version reads as this.
    #[serde(other)]
    Internal,
}

impl ErrorCode {
    /// The code's name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::Interrupted => "interrupted",
            Self::Abandoned => "abandoned",
            Self::Quota => "quota",
            Self::Usage => "usage",
            Self::BadRequest => "bad_request",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::TooLarge => "too_large",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::Timeout => "timeout",
            Self::CursorAhead => "cursor_ahead",
            Self::BadModel => "bad_model",
            Self::BadData => "bad_data",
            Self::ContextFull => "context_full",
            Self::NotFound => "not_found",
            Self::Exists => "exists",
            Self::Unavailable => "unavailable",
            Self::DoesNotFit => "does_not_fit",
            Self::WorkerCrashed => "worker_crashed",
            Self::WorkerHung => "worker_hung",
            Self::Io => "io",
            Self::DiskFull => "disk_full",
            Self::Busy => "busy",
            Self::Unauthorized => "unauthorized",
            Self::Denied => "denied",
            Self::Internal => "internal",
        }
    }

    /// The HTTP status that answers a request which fails so.
    pub fn http_status(self) -> u16 {
        match self {
            Self::BadRequest | Self::Usage | Self::BadData => 400,
            Self::Unauthorized => 401,
            Self::Denied => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::Timeout => 408,
            Self::CursorAhead | Self::Cancelled | Self::Exists => 409,
            Self::TooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::BadModel | Self::ContextFull => 422,
            Self::Busy => 429,
            Self::Unavailable | Self::DoesNotFit | Self::Interrupted => 503,
            Self::DiskFull => 507,
            Self::Abandoned
            | Self::Quota
            | Self::WorkerCrashed
            | Self::WorkerHung
            | Self::Internal
            | Self::Io => 500,
        }
    }

    /// The exit code of a command that fails so, after `sysexits.h` where that has a word for it.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Cancelled | Self::Interrupted | Self::Abandoned | Self::Quota => 1,
            Self::Usage
            | Self::BadRequest
            | Self::UnsupportedMediaType
            | Self::TooLarge
            | Self::MethodNotAllowed
            | Self::CursorAhead
            | Self::Exists => 2,
            Self::BadModel | Self::BadData | Self::ContextFull => 65,
            Self::NotFound => 66,
            Self::Unavailable | Self::DoesNotFit | Self::Timeout => 69,
            Self::WorkerCrashed | Self::WorkerHung | Self::Internal => 70,
            Self::Io | Self::DiskFull => 74,
            Self::Busy => 75,
            Self::Unauthorized | Self::Denied => 77,
        }
    }
}

/// A failure as it travels: what happened, and what to do next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// What kind of failure.
    pub code: ErrorCode,
    /// What happened.
    pub message: String,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// In about so many seconds it is worth trying again, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u64>,
}

impl ApiError {
    /// Begins a failure, which is one when [`ErrorDraft::hint`] has said what to do next.
    #[expect(clippy::new_ret_no_self, reason = "an error without a hint would be told to somebody")]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> ErrorDraft {
        ErrorDraft { code, message: message.into() }
    }
}

/// A failure that lacks a word on what to do next.
#[must_use]
pub struct ErrorDraft {
    code: ErrorCode,
    message: String,
}

impl ErrorDraft {
    /// The failure with that word.
    pub fn hint(self, hint: impl Into<String>) -> ApiError {
        ApiError { code: self.code, message: self.message, hint: Some(hint.into()), retry_after_s: None }
    }
}

/// The body of every answer that reports a failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// The failure.
    pub error: ApiError,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_from_a_newer_version_reads_as_internal() {
        let error: ApiError = serde_json::from_str(r#"{"code":"from_the_future","message":"m"}"#)
            .expect("unknown codes are read");
        assert_eq!(error.code, ErrorCode::Internal);
    }

    #[test]
    fn a_codes_name_is_what_the_wire_says() {
        for code in [
            ErrorCode::Cancelled,
            ErrorCode::UnsupportedMediaType,
            ErrorCode::DoesNotFit,
            ErrorCode::Internal,
        ] {
            assert_eq!(serde_json::to_value(code).expect("plain data"), code.name());
        }
    }
}
