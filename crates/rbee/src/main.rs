//! The command line of rbee: submits operations to the queen, follows their jobs, shows what they say.
#![forbid(unsafe_code)]

mod cli;
mod commands;
mod complete;
mod connection;
mod error;
mod follow;
mod human;
mod markdown;
mod printer;
mod progress;
mod prompt;
mod signals;
mod table;
mod terminal;

use std::env;
use std::process::ExitCode;

use rbee_home::HomeError;
use rbee_protocol::{ClientError, ErrorCode};

use crate::cli::{Cli, ColorChoice};
use crate::error::Failure;
use crate::printer::Printer;

fn main() -> ExitCode {
    if let Some(answer) = complete::answer() {
        return Printer::completions(&answer).into();
    }
    let cli = match Cli::from_arguments() {
        Ok(cli) => cli,
        Err(error) => return Printer::clap(ColorChoice::peek(env::args_os()), &error).into(),
    };
    let mut printer = Printer::new(cli.options);
    match commands::run(cli.command, &mut printer) {
        Ok(exit_code) => exit_code.into(),
        Err(error) => {
            let failure = failure(error);
            if let Failure::Told { message, hint, .. } = &failure {
                printer.error(message, hint.as_deref());
            }
            failure.exit_code().into()
        }
    }
}

const BUG: &str = "this is a bug in rbee; `rbee queen logs` may say more";

/// What a command's error is to the person who gave the command.
fn failure(error: anyhow::Error) -> Failure {
    let error = match error.downcast::<Failure>() {
        Ok(failure) => return failure,
        Err(error) => error,
    };
    let error = match error.downcast::<ClientError>() {
        Ok(error) => return error.into(),
        Err(error) => error,
    };
    match error.downcast::<HomeError>() {
        Ok(error) => error.into(),
        Err(error) => Failure::Told {
            exit_code: ErrorCode::Internal.exit_code(),
            message: format!("{error:#}"),
            hint: Some(BUG.to_owned()),
        },
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;
    use rbee_protocol::ApiError;

    use super::*;

    #[test]
    fn every_kind_of_error_finds_its_exit_code() {
        assert_eq!(failure(Failure::Signalled { exit_code: 130 }.into()).exit_code(), 130);
        assert_eq!(failure(HomeError::NoHome.into()).exit_code(), 2);
        let busy = ClientError::Api(ApiError::new(ErrorCode::Busy, "full").hint("wait"));
        assert_eq!(failure(busy.into()).exit_code(), 75);
        assert_eq!(failure(anyhow!("a bug")).exit_code(), 70);
    }
}
