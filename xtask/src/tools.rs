//! The tools that compile llama.cpp: cmake, and libclang for its bindings; and what tries the queen's door.
//!
//! What the system has is used; what it lacks comes as wheels from the Python package index and lies under
//! `target/tools`, so nothing here needs root. What is obtained is passed to cargo in variables that cargo
//! compares with those of the last build: builds that share a target folder must all get them from here,
//! or llama.cpp is compiled again.

use std::collections::BTreeMap;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};

use crate::printer;
use crate::workspace::{Workspace, execute, is_installed};

const CMAKE: Wheel = Wheel { name: "cmake", version: "4.4.4" };
const LIBCLANG: Wheel = Wheel { name: "libclang", version: "18.1.1" };

/// What tries the queen's door.
const SCHEMATHESIS: Wheel = Wheel { name: "schemathesis", version: "4.32.5" };

/// The oldest cmake that configures llama.cpp.
const CMAKE_AT_LEAST: (u32, u32) = (3, 14);

/// What cargo's environment needs on top of ours; nothing where the system has everything.
#[derive(Default)]
pub(crate) struct Tools {
    /// The folder with cmake, to be the first in `PATH`.
    cmake_folder: Option<PathBuf>,
    variables: BTreeMap<&'static str, OsString>,
}

impl Tools {
    /// Finds the tools, and installs those that the system lacks; quick once they are there.
    ///
    /// # Errors
    /// When a compiler or `make` is missing, or what the system lacks cannot be installed. The error says
    /// what to install.
    pub(crate) fn obtain(workspace: &Workspace) -> Result<Tools> {
        require_compilers()?;
        let folder = workspace.target.join("tools");
        // What was installed once stays in use: to change over to the system's would compile llama.cpp again.
        let installed = Site::find(&folder);
        let needs_libclang = env::var_os("LIBCLANG_PATH").is_none()
            && (installed.as_ref().is_some_and(|site| site.has(&LIBCLANG)) || !system_has_libclang());
        let needs_cmake = installed.as_ref().is_some_and(|site| site.has(&CMAKE)) || !system_has_cmake();

        let mut wheels = Vec::new();
        wheels.extend(needs_cmake.then_some(&CMAKE));
        wheels.extend(needs_libclang.then_some(&LIBCLANG));
        if wheels.is_empty() {
            return Ok(Tools::default());
        }
        let site = match installed {
            Some(site) if wheels.iter().all(|wheel| site.has(wheel)) => site,
            _ => install(workspace, &folder, &wheels)?,
        };

        let mut tools = Tools::default();
        if needs_cmake {
            tools.cmake_folder = Some(site.cmake_folder());
        }
        if needs_libclang {
            tools.variables.insert("LIBCLANG_PATH", site.libclang_folder().into());
            tools.variables.insert("BINDGEN_EXTRA_CLANG_ARGS", clang_arguments(workspace)?);
        }
        Ok(tools)
    }

    /// Gives a command this environment.
    pub(crate) fn apply(&self, command: &mut Command) -> Result<()> {
        if let Some(folder) = &self.cmake_folder {
            let path = env::var_os("PATH").unwrap_or_default();
            let folders = [folder.clone()].into_iter().chain(env::split_paths(&path));
            let joined = env::join_paths(folders)
                .with_context(|| format!("{} cannot be in PATH", folder.display()))?;
            command.env("PATH", joined);
        }
        command.envs(&self.variables);
        Ok(())
    }

    /// The environment as lines of shell script.
    pub(crate) fn exports(&self) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        if let Some(folder) = &self.cmake_folder {
            lines.push(format!("export PATH={}:\"$PATH\"", quoted(folder.as_os_str())?));
        }
        for (name, value) in &self.variables {
            lines.push(format!("export {name}={}", quoted(value)?));
        }
        Ok(lines)
    }
}

/// A package of the Python package index.
struct Wheel {
    name: &'static str,
    version: &'static str,
}

/// A folder into which pip installed wheels. Only files that need no Python to run are used from it.
struct Site(PathBuf);

impl Site {
    /// The folder that [`install`] made, if it did.
    fn find(tools: &Path) -> Option<Site> {
        let mut sites = site_packages(&tools.join("venv")).chain([Site(tools.join("site"))]);
        sites.find(|site| site.has(&CMAKE) || site.has(&LIBCLANG))
    }

    /// Whether a wheel is there in the pinned version.
    fn has(&self, wheel: &Wheel) -> bool {
        self.0.join(format!("{}-{}.dist-info/RECORD", wheel.name, wheel.version)).exists()
    }

    fn cmake_folder(&self) -> PathBuf {
        self.0.join("cmake/data/bin")
    }

    fn libclang_folder(&self) -> PathBuf {
        self.0.join("clang/native")
    }
}

/// Where the packages of a virtual environment lie.
fn site_packages(venv: &Path) -> impl Iterator<Item = Site> + use<> {
    entries(&venv.join("lib")).into_iter().map(|library| Site(library.join("site-packages")))
}

fn install(workspace: &Workspace, folder: &Path, wheels: &[&Wheel]) -> Result<Site> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    // Two builds may start at once; the second finds what the first installed.
    let lock_path = folder.join("lock");
    let lock = File::create(&lock_path)
        .and_then(|file| file.lock().map(|()| file))
        .with_context(|| format!("cannot lock {}", lock_path.display()))?;

    let are_installed = |site: &Site| wheels.iter().all(|wheel| site.has(wheel));
    if let Some(site) = Site::find(folder).filter(are_installed) {
        return Ok(site);
    }
    let names = wheels.iter().map(|wheel| format!("{} {}", wheel.name, wheel.version)).collect::<Vec<_>>();
    printer::say(&format!(
        "installing {} into {} (about 60 MB, this once)",
        names.join(" and "),
        workspace.display(folder)
    ));
    pip_install(workspace, folder, wheels).with_context(|| {
        format!(
            "cannot install {}; install them with your system's packages instead \
             (on Debian or Ubuntu: apt install cmake libclang-dev)",
            names.join(" and ")
        )
    })?;
    drop(lock);
    Site::find(folder).filter(are_installed).ok_or_else(|| {
        anyhow!("pip installed {} where it was not expected, in {}", names.join(" and "), folder.display())
    })
}

fn pip_install(workspace: &Workspace, folder: &Path, wheels: &[&Wheel]) -> Result<()> {
    let python = python_with_pip(workspace, folder)?;
    // Without a virtual environment the system's Python is not to be changed.
    let has_venv = python.starts_with(folder);
    let mut pip = workspace.command(python);
    pip.args(["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]);
    // A wheel is a download of seconds; its source would be an hour of compiling.
    pip.args(["--only-binary", ":all:"]);
    if !has_venv {
        pip.arg("--upgrade").arg("--target").arg(folder.join("site"));
    }
    pip.args(wheels.iter().map(|wheel| format!("{}=={}", wheel.name, wheel.version)));
    execute(pip.stdout(Stdio::from(io::stderr())))
}

/// Has pip put the packages of `requirements` into the folder `to`, and nothing that they depend on.
///
/// # Errors
/// When there is no `python3` with pip, or a package cannot be had.
pub(crate) fn pip_download(
    workspace: &Workspace,
    options: &[&str],
    requirements: &[String],
    to: &Path,
) -> Result<()> {
    let mut pip = workspace.command(python(workspace)?);
    pip.args(["-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check", "--no-deps"]);
    pip.args(options).arg("--dest").arg(to).args(requirements);
    execute(pip.stdout(Stdio::from(io::stderr())))
}

/// Has `python`'s pip install exactly what the file `pins` names into the folder `to`, which then belongs into Python's
/// path.
///
/// # Errors
/// When a package cannot be had as a wheel.
pub(crate) fn pip_install_into(workspace: &Workspace, python: &Path, pins: &Path, to: &Path) -> Result<()> {
    let mut pip = workspace.command(python);
    pip.args(["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check", "--no-deps"]);
    pip.args(["--root-user-action", "ignore", "--no-compile", "--only-binary", ":all:"]);
    pip.arg("--target").arg(to).arg("--requirement").arg(pins);
    execute(pip.stdout(Stdio::from(io::stderr())))
}

/// A Python that has pip.
///
/// # Errors
/// When there is no `python3`, or none with pip.
pub(crate) fn python(workspace: &Workspace) -> Result<PathBuf> {
    python_with_pip(workspace, &workspace.target.join("tools"))
}

/// The Python of the virtual environment in `folder`, made where it is missing, or the system's where there is no
/// `ensurepip` to make one.
fn python_with_pip(workspace: &Workspace, folder: &Path) -> Result<PathBuf> {
    if !is_installed(workspace.command("python3").arg("--version")) {
        bail!("`python3` is missing");
    }
    let venv_python = folder.join("venv/bin/python3");
    let has_venv = make_venv(workspace, &folder.join("venv"), &venv_python);
    let python = if has_venv { venv_python } else { "python3".into() };
    if !has_pip(workspace, &python) {
        bail!("`python3` has no pip (on Debian or Ubuntu: apt install python3-venv)");
    }
    Ok(python)
}

/// The path of schemathesis, in a virtual environment of its own; installed on the first call.
///
/// # Errors
/// When there is no `python3` with pip, or the package cannot be had.
pub(crate) fn schemathesis(workspace: &Workspace) -> Result<PathBuf> {
    let venv = workspace.target.join("tools").join(SCHEMATHESIS.name);
    let is_there = site_packages(&venv).any(|site| site.has(&SCHEMATHESIS));
    if !is_there {
        printer::say(&format!("installing {} {} (this once)", SCHEMATHESIS.name, SCHEMATHESIS.version));
        let python = venv.join("bin/python3");
        if !make_venv(workspace, &venv, &python) {
            bail!("`python3` makes no virtual environments (on Debian or Ubuntu: apt install python3-venv)");
        }
        let mut pip = workspace.command(python);
        pip.args(["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]);
        pip.arg(format!("{}=={}", SCHEMATHESIS.name, SCHEMATHESIS.version));
        execute(pip.stdout(Stdio::from(io::stderr())))?;
    }
    Ok(venv.join("bin").join(SCHEMATHESIS.name))
}

/// Makes a virtual environment with pip. `false` where Debian's `python3-venv` is missing.
fn make_venv(workspace: &Workspace, venv: &Path, venv_python: &Path) -> bool {
    let make = || workspace.command("python3").args(["-m", "venv"]).arg(venv).output();
    has_pip(workspace, venv_python)
        || (make().is_ok_and(|output| output.status.success()) && has_pip(workspace, venv_python))
}

fn has_pip(workspace: &Workspace, python: &Path) -> bool {
    is_installed(workspace.command(python).args(["-m", "pip", "--version"]))
}

/// Where libclang finds `stdbool.h` and its like, which its wheel lacks: with the C compiler.
fn clang_arguments(workspace: &Workspace) -> Result<OsString> {
    let compiler = if find_program("gcc").is_some() { "gcc" } else { "cc" };
    let output = workspace
        .command(compiler)
        .arg("-print-file-name=include")
        .output()
        .with_context(|| format!("cannot run `{compiler}`"))?;
    let folder = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if !Path::new(&folder).join("stdbool.h").exists() {
        bail!("`{compiler}` does not say where its headers are; install gcc");
    }
    let mut arguments = env::var_os("BINDGEN_EXTRA_CLANG_ARGS").unwrap_or_default();
    if !arguments.is_empty() {
        arguments.push(" ");
    }
    arguments.push(format!("-I{folder}"));
    Ok(arguments)
}

fn require_compilers() -> Result<()> {
    let any = |variable: &str, names: &[&str]| {
        env::var_os(variable).is_some() || names.iter().any(|name| find_program(name).is_some())
    };
    let missing = missing(&[
        ("a C compiler (gcc)", any("CC", &["cc", "gcc", "clang"])),
        ("a C++ compiler (g++)", any("CXX", &["c++", "g++", "clang++"])),
        ("make", any("CMAKE_GENERATOR", &["make", "gmake"])),
    ]);
    if let Some(missing) = missing {
        bail!("{missing} needed to compile llama.cpp (on Debian or Ubuntu: apt install build-essential)");
    }
    Ok(())
}

/// `a and b are`, of the things that are not there.
fn missing(things: &[(&str, bool)]) -> Option<String> {
    let names = things.iter().filter(|(_, is_there)| !is_there).map(|(name, _)| *name).collect::<Vec<_>>();
    match names.as_slice() {
        [] => None,
        [name] => Some(format!("{name} is")),
        names => Some(format!("{} are", names.join(" and "))),
    }
}

fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(name)).find(|program| program.is_file())
}

fn system_has_cmake() -> bool {
    let output = Command::new("cmake").arg("--version").stdin(Stdio::null()).output();
    output.is_ok_and(|output| {
        parse_cmake_version(&String::from_utf8_lossy(&output.stdout))
            .is_some_and(|version| version >= CMAKE_AT_LEAST)
    })
}

/// Major and minor of `cmake version 3.25.1`.
fn parse_cmake_version(output: &str) -> Option<(u32, u32)> {
    let mut numbers = output.strip_prefix("cmake version ")?.split(['.', '-', '\n']);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Whether libclang is where `clang-sys` looks for it, with its own headers beside it.
fn system_has_libclang() -> bool {
    let libraries = ["/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/local/lib64"].map(PathBuf::from);
    let versioned = libraries.iter().flat_map(|library| entries(library)).filter_map(|entry| {
        let name = entry.file_name()?.to_str()?;
        if name.starts_with("llvm") {
            Some(entry.join("lib"))
        } else {
            name.contains("-linux-").then_some(entry)
        }
    });
    let folders = versioned.collect::<Vec<_>>();
    libraries
        .iter()
        .chain(&folders)
        .flat_map(|folder| entries(folder))
        .any(|file| file.file_name().and_then(OsStr::to_str).is_some_and(is_libclang) && has_headers(&file))
}

/// Whether a file's name is one that `clang-sys` loads: `libclang-cpp` is another library.
fn is_libclang(name: &str) -> bool {
    let is_named = name == "libclang.so" || name.starts_with("libclang.so.") || name.starts_with("libclang-");
    is_named && name.contains(".so") && !name.contains("-cpp.")
}

/// Whether the headers that belong to a libclang are there: some systems package them apart.
fn has_headers(libclang: &Path) -> bool {
    let Ok(real) = libclang.canonicalize() else { return false };
    let Some(library) = real.parent() else { return false };
    // Where `lib64` has the library, `lib` may have its headers.
    [library.join("clang"), library.join("../lib/clang")]
        .iter()
        .flat_map(|versions| entries(versions))
        .any(|version| version.join("include/stdbool.h").exists())
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// A value as one word of a shell script.
fn quoted(value: &OsStr) -> Result<String> {
    let value = value.to_str().with_context(|| format!("{} is not UTF-8", value.display()))?;
    Ok(format!("'{}'", value.replace('\'', r"'\''")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cmake_says_its_version() {
        assert_eq!(parse_cmake_version("cmake version 3.25.1\n\nCMake suite"), Some((3, 25)));
        assert_eq!(parse_cmake_version("cmake version 4.1-rc2\n"), Some((4, 1)));
        assert_eq!(parse_cmake_version("pyenv: cmake: command not found"), None);
        assert!(parse_cmake_version("cmake version 3.9.6\n").is_some_and(|version| version < CMAKE_AT_LEAST));
    }

    #[test]
    fn libclang_is_told_from_its_neighbours() {
        for name in ["libclang.so", "libclang.so.18", "libclang-14.so", "libclang-14.so.1"] {
            assert!(is_libclang(name), "{name}");
        }
        for name in ["libclang-cpp.so.14", "libclang.a", "libclang-14.a", "libclangBasic.so"] {
            assert!(!is_libclang(name), "{name}");
        }
    }

    #[test]
    fn everything_missing_is_said_at_once() {
        assert_eq!(missing(&[("gcc", true), ("make", true)]), None);
        assert_eq!(missing(&[("gcc", true), ("make", false)]).as_deref(), Some("make is"));
        assert_eq!(missing(&[("gcc", false), ("make", false)]).as_deref(), Some("gcc and make are"));
    }

    #[test]
    fn exports_survive_the_shell() -> Result<()> {
        let tools = Tools {
            cmake_folder: Some("/a b/bin".into()),
            variables: BTreeMap::from([("LIBCLANG_PATH", "/it's".into())]),
        };
        assert_eq!(
            tools.exports()?,
            [r#"export PATH='/a b/bin':"$PATH""#, r"export LIBCLANG_PATH='/it'\''s'"]
        );
        Ok(())
    }
}
