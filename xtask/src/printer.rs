//! The one place that prints: data to stdout, everything else to stderr.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this is what prints")]

/// Says a line to the person who waits.
pub(crate) fn say(line: &str) {
    eprintln!("xtask: {line}");
}

/// Prints a line that another program reads.
pub(crate) fn data(line: &str) {
    println!("{line}");
}
