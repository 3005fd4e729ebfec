//! What ends a command early, with its exit code.

use std::io;

use rbee_home::HomeError;
use rbee_protocol::{ApiError, ClientError, ErrorCode};

/// Why a command ends without having done what it was asked to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Something to tell: what happened, and what to do next.
    #[error("{message}")]
    Told {
        /// The exit code.
        exit_code: u8,
        /// What happened.
        message: String,
        /// What to do next.
        hint: Option<String>,
    },
    /// Whoever read stdout has had enough, which is their right.
    #[error("stdout was closed")]
    ClosedStdout,
    /// A signal told us to leave.
    #[error("left on a signal")]
    Signalled {
        /// 128 and the signal's number.
        exit_code: u8,
    },
}

impl Failure {
    /// A failure of this kind.
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>, hint: impl Into<String>) -> Self {
        ApiError::new(code, message).hint(hint).into()
    }

    /// What stdout said when it was written to.
    pub(crate) fn stdout(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::ClosedStdout;
        }
        let hint = match error.kind() {
            io::ErrorKind::StorageFull => "free some room on that disk, then try again",
            _ => "see where it is redirected to",
        };
        Self::new(ErrorCode::Io, format!("cannot write to stdout: {error}"), hint)
    }

    /// The exit code of a command that ends so.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Told { exit_code, .. } | Self::Signalled { exit_code } => *exit_code,
            Self::ClosedStdout => 0,
        }
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self::Told { exit_code: error.code.exit_code(), message: error.message, hint: error.hint }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        ApiError::from(error).into()
    }
}

impl From<HomeError> for Failure {
    fn from(error: HomeError) -> Self {
        Self::Told { exit_code: error.exit_code(), message: error.to_string(), hint: error.hint() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_code_has_the_exit_code_of_the_contract() {
        let contract = [
            (1, "cancelled interrupted abandoned quota"),
            (2, "usage bad_request unsupported_media_type too_large method_not_allowed cursor_ahead exists"),
            (65, "bad_model bad_data context_full"),
            (66, "not_found"),
            (69, "unavailable does_not_fit timeout"),
            (70, "worker_crashed worker_hung internal a_code_of_a_newer_version"),
            (74, "io disk_full"),
            (75, "busy"),
            (77, "unauthorized denied"),
        ];
        for (exit_code, codes) in contract {
            for code in codes.split(' ') {
                let error: ApiError =
                    serde_json::from_value(serde_json::json!({"code": code, "message": "m"}))
                        .expect("an error of the wire");
                assert_eq!(Failure::from(error).exit_code(), exit_code, "{code}");
            }
        }
    }

    #[test]
    fn what_does_not_answer_is_unavailable() {
        let error = ClientError::Unreachable { peer: "queen".into(), reason: "refused".into() };
        let Failure::Told { exit_code, message, hint } = error.into() else { panic!("it is to be told") };
        assert_eq!((exit_code, message.as_str()), (69, "queen does not answer: refused"));
        assert!(hint.is_some());
    }

    #[test]
    fn a_closed_stdout_is_no_failure_and_a_full_disk_is() {
        assert_eq!(Failure::stdout(&io::ErrorKind::BrokenPipe.into()).exit_code(), 0);
        assert_eq!(Failure::stdout(&io::ErrorKind::StorageFull.into()).exit_code(), 74);
    }
}
