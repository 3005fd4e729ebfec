use std::io::{self, Write};
use std::process::ExitCode;

/// Prints what another program reads, instead of running as a daemon.
pub(crate) fn data(text: &str) -> ExitCode {
    let mut stdout = io::stdout();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(74),
    }
}
