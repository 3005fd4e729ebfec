//! The files that the built programs write, committed for packagers and people: the shell completions, the pages of
//! the manual, and the description of the API.

use std::collections::BTreeMap;
use std::fs;
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use crate::printer;
use crate::workspace::{Workspace, execute};

/// Each file with the command that prints it.
const FILES: [(&str, &[&str]); 6] = [
    ("completions/rbee.bash", &["rbee", "completions", "bash"]),
    ("completions/_rbee", &["rbee", "completions", "zsh"]),
    ("completions/rbee.fish", &["rbee", "completions", "fish"]),
    ("completions/rbee.elv", &["rbee", "completions", "elvish"]),
    ("completions/_rbee.ps1", &["rbee", "completions", "powershell"]),
    ("docs/openapi.json", &["rbee-queen", "--openapi"]),
];

/// The folder with the pages of the manual, which are as many as there are commands.
const MANUAL: &str = "man";

/// Writes the files, or with `check` fails where what is committed differs.
pub(crate) fn generate(workspace: &Workspace, check: bool) -> Result<()> {
    let mut files = manual(workspace)?;
    for (name, command) in FILES {
        files.insert(name.to_owned(), print(workspace, command)?);
    }
    let mut outdated = Vec::new();
    for entry in fs::read_dir(workspace.root.join(MANUAL)).into_iter().flatten().flatten() {
        let name = format!("{MANUAL}/{}", entry.file_name().display());
        if files.contains_key(&name) {
            continue;
        }
        if check {
            outdated.push(name);
        } else {
            fs::remove_file(entry.path()).with_context(|| format!("cannot remove {name}"))?;
            printer::say(&format!("removed {name}"));
        }
    }
    for (name, text) in files {
        let path = workspace.root.join(&name);
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

/// The pages of the manual, by their names in the repository.
fn manual(workspace: &Workspace) -> Result<BTreeMap<String, Vec<u8>>> {
    let folder = workspace.target.join(MANUAL);
    // A page of a command that there is no more.
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", workspace.display(&folder)))?;
    execute(workspace.command(workspace.program("rbee")).arg("man").arg(&folder))?;
    let mut pages = BTreeMap::new();
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        let name = format!("{MANUAL}/{}", path.file_name().unwrap_or_default().display());
        pages.insert(name, fs::read(&path)?);
    }
    Ok(pages)
}

fn print(workspace: &Workspace, command: &[&str]) -> Result<Vec<u8>> {
    let program = workspace.program(command[0]);
    let output = workspace
        .command(&program)
        .args(&command[1..])
        // What calls a program calls it by its name, not by where it was built.
        .env("PATH", program.parent().unwrap_or(&program))
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run {}", workspace.display(&program)))?;
    if !output.status.success() || output.stdout.is_empty() {
        bail!("`{}` printed nothing ({})", command.join(" "), output.status);
    }
    Ok(output.stdout)
}
