//! Where the workspace and its build output are, and how commands are run in it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use cargo_metadata::{MetadataCommand, Package};

/// The workspace as cargo sees it.
pub(crate) struct Workspace {
    /// The folder with the workspace's `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// The build output; `CARGO_TARGET_DIR` and cargo's configuration are honoured.
    pub(crate) target: PathBuf,
    /// The workspace's packages with the dependencies that their manifests declare.
    pub(crate) members: Vec<Package>,
}

impl Workspace {
    /// Asks cargo, which takes some tens of milliseconds.
    pub(crate) fn load() -> Result<Workspace> {
        let metadata = MetadataCommand::new().no_deps().exec().context("cannot read the workspace")?;
        Ok(Workspace {
            root: metadata.workspace_root.into(),
            target: metadata.target_directory.into(),
            members: metadata.packages,
        })
    }

    /// The path of a program that a release build made.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.target.join("release").join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
    }

    /// A cargo command in the workspace's root.
    ///
    /// The root matters: cargo takes `.cargo/config.toml` from where it is run, and other flags in there
    /// would compile everything once more.
    pub(crate) fn cargo<I: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = I>) -> Command {
        let mut command = self.command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(arguments);
        command
    }

    /// A command in the workspace's root that reads nothing from stdin.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root).stdin(Stdio::null());
        command
    }

    /// A path as people read it: relative to the workspace's root where it is inside.
    pub(crate) fn display(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).display().to_string()
    }
}

/// Runs a command to its end.
///
/// # Errors
/// When it cannot be started, or fails.
pub(crate) fn execute(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {}", describe(command)))?;
    if !status.success() {
        bail!("{} failed ({status})", describe(command));
    }
    Ok(())
}

/// Whether a command that only tells its version succeeds; a program that is not there does not.
pub(crate) fn is_installed(command: &mut Command) -> bool {
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

fn describe(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_stem().unwrap_or(command.get_program());
    let mut text = format!("`{}", program.display());
    for argument in command.get_args() {
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
    }
    text.push('`');
    text
}
