//! libFuzzer on what reads files from strangers. It needs no more than Rust and a C++ compiler.

use std::fs;

use anyhow::{Context, Result};

use crate::printer;
use crate::workspace::{Workspace, execute};

/// What `cargo fuzz` gives the compiler, but for the sanitizers: what is tried has no `unsafe`, and they
/// need a nightly toolchain.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

/// Tries the check of GGUF headers for so many seconds, going on from what earlier runs have found.
pub(crate) fn run(workspace: &Workspace, seconds: u32) -> Result<()> {
    let fuzz = workspace.root.join("fuzz");
    let output = workspace.target.join("fuzz");
    let (corpus, crashes) = (output.join("corpus"), output.join("crashes"));
    for folder in [&corpus, &crashes] {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }

    // For a named target, as the flags are not for build scripts.
    let mut build = workspace.cargo(["build", "--release", "--locked", "--target", "host-tuple"]);
    build.current_dir(&fuzz).env("RUSTFLAGS", FLAGS).env("CARGO_TARGET_DIR", &output);
    execute(&mut build)?;
    let built = fs::read_dir(&output).with_context(|| format!("cannot read {}", output.display()))?;
    let program = built
        .flatten()
        .map(|target| target.path().join("release/gguf"))
        .find(|program| program.is_file())
        .context("the build made no program")?;

    printer::say(&format!("trying for {seconds} s; what crashes it would be in {}", crashes.display()));
    let mut command = workspace.command(program);
    command.args([&corpus, &fuzz.join("seeds")]);
    command.arg(format!("-max_total_time={seconds}"));
    command.arg(format!("-artifact_prefix={}/", crashes.display()));
    // A second is what a worker may take for a file of megabytes.
    command.args(["-timeout=1", "-max_len=8192", "-print_final_stats=1"]);
    execute(&mut command)
}
