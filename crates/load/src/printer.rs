//! The one place that prints: the result to stdout, everything else to stderr.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this is what prints")]

use crate::report::Report;

/// How the result is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Output {
    /// A table.
    Text,
    /// One JSON object.
    Json,
}

/// Says a line to the person who waits.
pub(crate) fn say(line: &str) {
    eprintln!("rbee-load: {line}");
}

/// Prints a line that another program reads.
pub(crate) fn data(line: &str) {
    println!("{line}");
}

/// Prints the result, and says which conditions are not met.
pub(crate) fn report(report: &Report, output: Output) {
    match output {
        Output::Text => print!("{}", report.table()),
        Output::Json => println!("{}", report.json()),
    }
    for failure in &report.failures {
        eprintln!("rbee-load: {} is not met: {failure}", report.name);
    }
}
