//! Documents whose commands are run as they stand.

use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use regex::Regex;

/// How a block of commands begins that is run.
const RUN: &str = "```sh run\n";
/// What stands between the outputs of two blocks.
const NEXT: &str = "--- the next block ---";

/// Runs a document's blocks of commands one after the other, in one shell, in `folder`, where `./rbee` is the program under
/// test. What a block prints is what its last comments say, in which `…` stands for any text, also of several lines.
pub(crate) fn run_blocks(document: &str, folder: &Path, settings: impl FnOnce(&mut Command)) {
    let blocks: Vec<(&str, String)> = document
        .split(RUN)
        .skip(1)
        .map(|rest| {
            let block = rest.split_once("```").expect("a block ends").0;
            (block, expected(block))
        })
        .collect();
    assert!(blocks.len() >= 6, "only {} blocks", blocks.len());

    fs::create_dir(folder).expect("a folder in the test's home");
    let program = Path::new(env!("CARGO_BIN_EXE_rbee"));
    symlink(program, folder.join("rbee")).expect("a link in the test's home");
    let commands: Vec<&str> = blocks.iter().map(|(block, _)| *block).collect();
    let script = format!("set -eu\n{}", commands.join(&format!("\necho '{NEXT}'\n")));
    let programs = program.parent().expect("a program is in a folder");
    let path = env::join_paths(
        [programs.to_owned()].into_iter().chain(env::split_paths(&env::var_os("PATH").unwrap_or_default())),
    );
    let mut command = Command::new("sh");
    command.args(["-c", &script]).current_dir(folder).env("PATH", path.expect("no folder has a colon"));
    settings(command.stdin(Stdio::null()));
    let output = command.output().expect("there is a shell");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}\n{stderr}");
    let printed: Vec<&str> = stdout.split(&format!("{NEXT}\n")).collect();
    assert_eq!(printed.len(), blocks.len(), "{stdout}\n{stderr}");
    for ((block, expected), printed) in blocks.iter().zip(printed) {
        let pattern = regex::escape(expected).replace('…', ".*");
        let pattern = Regex::new(&format!("(?s)^{pattern}$")).expect("escaped text and wildcards");
        assert!(pattern.is_match(printed.trim_end()), "{block}\nprinted\n{printed}\n{stderr}");
    }
}

/// What the comments at the end of a block say.
fn expected(block: &str) -> String {
    let lines: Vec<&str> = block.lines().collect();
    let comments = lines.iter().rev().take_while(|line| line.starts_with('#')).count();
    let said = lines[lines.len() - comments..].iter();
    let said: Vec<&str> =
        said.map(|line| line.trim_start_matches('#').strip_prefix(' ').unwrap_or("")).collect();
    said.join("\n").trim_end().to_owned()
}
