use std::io::{self, Write};
use std::process::ExitCode;

use rbee_narration::printable;

/// Prints what another program reads, instead of running as a daemon.
pub(crate) fn data(text: &str) -> ExitCode {
    let mut stdout = io::stdout();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(74),
    }
}

/// Tells why there is nothing to print.
pub(crate) fn failed(message: &str) -> ExitCode {
    let _ = io::stderr().write_all(format!("error: {}\n", printable(message)).as_bytes());
    ExitCode::from(70)
}
