//! The shell completions, as the built `rbee` writes them, committed for packagers and people.

use std::fs;
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use crate::printer;
use crate::workspace::Workspace;

/// Each shell with the file name it looks for.
const SHELLS: [(&str, &str); 5] = [
    ("bash", "rbee.bash"),
    ("zsh", "_rbee"),
    ("fish", "rbee.fish"),
    ("elvish", "rbee.elv"),
    ("powershell", "_rbee.ps1"),
];

/// Writes `completions/`, or with `check` fails where what is committed differs.
pub(crate) fn generate(workspace: &Workspace, check: bool) -> Result<()> {
    let folder = workspace.root.join("completions");
    let mut outdated = Vec::new();
    for (shell, file) in SHELLS {
        let path = folder.join(file);
        let script = completions(workspace, shell)?;
        // A file that cannot be read is one to write.
        if fs::read(&path).is_ok_and(|committed| committed == script) {
            continue;
        }
        let name = workspace.display(&path);
        if check {
            outdated.push(name);
        } else {
            fs::create_dir_all(&folder)
                .and_then(|()| fs::write(&path, script))
                .with_context(|| format!("cannot write {name}"))?;
            printer::say(&format!("wrote {name}"));
        }
    }
    if !outdated.is_empty() {
        bail!("{} not up to date; run `cargo xtask gen`", outdated.join(", "));
    }
    Ok(())
}

fn completions(workspace: &Workspace, shell: &str) -> Result<Vec<u8>> {
    let program = workspace.program("rbee");
    let output = workspace
        .command(&program)
        .args(["completions", shell])
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run {}", workspace.display(&program)))?;
    if !output.status.success() || output.stdout.is_empty() {
        bail!("`rbee completions {shell}` gave no script ({})", output.status);
    }
    Ok(output.stdout)
}
