//! The files that the built programs write, committed for packagers and people: the shell completions, and
//! the description of the API.

use std::fs;
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use crate::printer;
use crate::workspace::Workspace;

/// Each file with the command that prints it.
const FILES: [(&str, &[&str]); 6] = [
    ("completions/rbee.bash", &["rbee", "completions", "bash"]),
    ("completions/_rbee", &["rbee", "completions", "zsh"]),
    ("completions/rbee.fish", &["rbee", "completions", "fish"]),
    ("completions/rbee.elv", &["rbee", "completions", "elvish"]),
    ("completions/_rbee.ps1", &["rbee", "completions", "powershell"]),
    ("docs/openapi.json", &["rbee-queen", "--openapi"]),
];

/// Writes the files, or with `check` fails where what is committed differs.
pub(crate) fn generate(workspace: &Workspace, check: bool) -> Result<()> {
    let mut outdated = Vec::new();
    for (name, command) in FILES {
        let path = workspace.root.join(name);
        let text = print(workspace, command)?;
        // A file that cannot be read is one to write.
        if fs::read(&path).is_ok_and(|committed| committed == text) {
            continue;
        }
        if check {
            outdated.push(name);
        } else {
            fs::create_dir_all(path.parent().unwrap_or(&path))
                .and_then(|()| fs::write(&path, text))
                .with_context(|| format!("cannot write {name}"))?;
            printer::say(&format!("wrote {name}"));
        }
    }
    if !outdated.is_empty() {
        bail!("{} not up to date; run `cargo xtask gen`", outdated.join(", "));
    }
    Ok(())
}

fn print(workspace: &Workspace, command: &[&str]) -> Result<Vec<u8>> {
    let program = workspace.program(command[0]);
    let output = workspace
        .command(&program)
        .args(&command[1..])
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run {}", workspace.display(&program)))?;
    if !output.status.success() || output.stdout.is_empty() {
        bail!("`{}` printed nothing ({})", command.join(" "), output.status);
    }
    Ok(output.stdout)
}
