//! A tarball of all that somebody needs who does not build rbee, for any processor of this kind.

use std::env::consts::ARCH;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use cargo_metadata::Message;
use sha2::{Digest, Sha256};

use crate::test::{TEST_MODEL, place};
use crate::tools::Tools;
use crate::workspace::{Workspace, execute};
use crate::{licenses, printer};

const PROGRAMS: [&str; 4] = ["rbee", "rbee-queen", "rbee-hive", "rbee-worker"];
/// The crate that builds llama.cpp, and the features that have all processors' code built, and told of.
const LLAMA_CPP: &str = "llama-cpp-sys-2";
const FEATURES: &str = "rbee-worker/dynamic-backends,rbee-hive/dynamic-backends";

/// Where each shell looks for completions below a prefix, as far as it does.
const COMPLETIONS: [(&str, &str); 5] = [
    ("bash", "share/bash-completion/completions/rbee"),
    ("zsh", "share/zsh/site-functions/_rbee"),
    ("fish", "share/fish/vendor_completions.d/rbee.fish"),
    ("elvish", "share/elvish/lib/rbee.elv"),
    ("powershell", "share/powershell/rbee.ps1"),
];
/// Nobody's, in whose place the unit gets what systemd puts everybody's in. Short, so that sockets have room in it.
const ANY_HOME: &str = "/home/whose-it-is";
const MANUAL: &str = "share/man/man1";
/// Where systemd looks for services of a user whose prefix is `~/.local`.
const UNIT: &str = "share/systemd/user/rbee-queen.service";
const DOCUMENTS: &str = "share/doc/rbee";
const COPIED: [&str; 4] = ["README.md", "CHANGELOG.md", "LICENSE-APACHE", "LICENSE-MIT"];

/// Programs that are there to be packed.
struct Built {
    programs: Vec<PathBuf>,
    /// llama.cpp's parts, which belong beside the worker.
    libraries: Vec<PathBuf>,
    /// On which processors they run.
    processors: String,
}

/// Builds the programs, or takes those in the folder `built`, packs them, and tries what was packed.
pub(crate) fn run(workspace: &Workspace, built: Option<&Path>) -> Result<()> {
    let target = host()?;
    let mut name = format!("rbee-{}-{target}", version(workspace)?);
    let built = match built {
        None => build(workspace)?,
        Some(folder) => {
            name += "-as-built";
            built_elsewhere(folder)?
        }
    };
    let dist = workspace.target.join("dist");
    let staging = dist.join("staging");
    // What an earlier call left when it was broken off.
    let _ = fs::remove_dir_all(&staging);
    let folder = staging.join(&name);
    stage(workspace, &built, &folder, &name, &target)?;

    let tarball = dist.join(format!("{name}.tar.gz"));
    pack(&folder, &tarball, time(workspace))?;
    let digest = sha256(&tarball)?;
    fs::write(dist.join(format!("{name}.tar.gz.sha256")), format!("{digest}  {name}.tar.gz\n"))
        .context("cannot write the digest")?;
    try_out(workspace, &tarball, &name, &staging)?;
    fs::remove_dir_all(&staging).context("cannot remove what was packed")?;
    let mib = fs::metadata(&tarball)?.len() >> 20;
    printer::say(&format!("{} ({mib} MiB), SHA-256 {digest}", workspace.display(&tarball)));
    Ok(())
}

/// Builds the programs for every processor of this kind, apart from those that `./rbee` builds for this one.
fn build(workspace: &Workspace) -> Result<Built> {
    let folder = workspace.target.join("portable");
    // In place of what is configured for `./rbee`: this machine's processor. llama.cpp's build takes it from here.
    let mut flags = Vec::new();
    flags.extend((ARCH == "x86_64").then(|| "-Ctarget-cpu=x86-64".to_owned()));
    // Where it was built is of no use to others.
    let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo_home = cargo_home.or_else(|| Some(std::env::home_dir()?.join(".cargo")));
    for (from, to) in [(Some(workspace.root.clone()), "rbee"), (cargo_home, "cargo")] {
        flags.extend(from.map(|from| format!("--remap-path-prefix={}=/{to}", from.display())));
    }

    let mut build = workspace.cargo(["build", "--release", "--workspace", "--features", FEATURES]);
    for program in PROGRAMS {
        build.args(["--bin", program]);
    }
    build.arg("--target-dir").arg(&folder).arg("--message-format=json-render-diagnostics");
    // Between flags; paths may hold blanks.
    build.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    Tools::obtain(workspace)?.apply(&mut build)?;
    printer::say(
        "compiling rbee and llama.cpp for all processors of this kind: 15 minutes on two cores the first time",
    );

    let mut building = build.stdout(Stdio::piped()).spawn().context("cannot run cargo")?;
    let messages = building.stdout.take().context("its messages were asked for")?;
    let mut built =
        Built { programs: Vec::new(), libraries: Vec::new(), processors: format!("any {ARCH} processor") };
    for message in Message::parse_stream(BufReader::new(messages)) {
        match message.context("cargo cannot be understood")? {
            Message::CompilerArtifact(artifact) => {
                built.programs.extend(artifact.executable.map(PathBuf::from));
            }
            Message::BuildScriptExecuted(script) if script.package_id.repr.contains(LLAMA_CPP) => {
                for part in ["backends", "lib"] {
                    built.libraries.extend(libraries_in(&script.out_dir.join(part).into_std_path_buf())?);
                }
            }
            _ => {}
        }
    }
    if !building.wait()?.success() {
        bail!("the build failed");
    }
    Ok(built)
}

/// The programs that somebody else has built.
fn built_elsewhere(folder: &Path) -> Result<Built> {
    let programs: Vec<_> = PROGRAMS.iter().map(|program| folder.join(program)).collect();
    if let Some(missing) = programs.iter().find(|program| !program.is_file()) {
        bail!("there is no {}", missing.display());
    }
    let processors = "the processors that the programs were built for, perhaps one machine's alone";
    Ok(Built { programs, libraries: libraries_in(folder)?, processors: processors.to_owned() })
}

/// The shared libraries in a folder, under the names that programs look for.
fn libraries_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let libraries: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    // `libggml-cpu-haswell.so`, which is opened, and `libllama.so.0`, which the worker is linked with; beside that lie
    // `libllama.so`, for linkers, and `libllama.so.0.6.0`, to which both lead.
    let is_linked = |name: &str| libraries.iter().any(|path| path.ends_with(format!("{name}.0")));
    let kept = libraries.iter().filter(|path| {
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        // llama.cpp's own tools are not packed, and share one.
        !name.starts_with("libllama-common")
            && (name.ends_with(".so.0") || name.ends_with(".so") && !is_linked(name))
    });
    Ok(kept.cloned().collect())
}

/// Puts everything where it is to be below a prefix such as `/usr/local`.
fn stage(workspace: &Workspace, built: &Built, folder: &Path, name: &str, target: &str) -> Result<()> {
    let bin = folder.join("bin");
    let mut folders = vec![bin.clone(), folder.join(MANUAL), folder.join(DOCUMENTS)];
    let files = COMPLETIONS.iter().map(|(_, path)| *path).chain([UNIT]);
    folders.extend(files.filter_map(|path| Some(folder.join(path).parent()?.to_owned())));
    for folder in &folders {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    for (files, strip) in [(&built.programs, "--strip-all"), (&built.libraries, "--strip-unneeded")] {
        for file in files {
            let staged = bin.join(file.file_name().context("a file has a name")?);
            fs::copy(file, &staged).with_context(|| format!("cannot copy {}", file.display()))?;
            execute(Command::new("strip").arg(strip).arg(&staged))?;
        }
    }

    // What is packed says it itself, so that it fits.
    let rbee = |arguments: &[&OsStr]| {
        let mut command = workspace.command(bin.join("rbee"));
        command.args(arguments).env("PATH", &bin);
        command
    };
    for (shell, path) in COMPLETIONS {
        let output = rbee(&["completions".as_ref(), shell.as_ref()]).output().context("rbee does not run")?;
        if !output.status.success() {
            bail!("`rbee completions {shell}` failed: {}", String::from_utf8_lossy(&output.stderr));
        }
        fs::write(folder.join(path), output.stdout).with_context(|| format!("cannot write {path}"))?;
    }
    execute(&mut rbee(&["man".as_ref(), folder.join(MANUAL).as_ref()]))?;
    if cfg!(target_os = "linux") {
        let mut install = rbee(&["queen".as_ref(), "install".as_ref(), "--dry-run".as_ref()]);
        for name in ["RBEE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"] {
            install.env_remove(name);
        }
        let output = install.env("HOME", ANY_HOME).output().context("rbee does not run")?;
        let text = String::from_utf8(output.stdout).context("a unit is text")?;
        let unit = any_users(&text, &bin).context("`rbee queen install --dry-run` shows no unit")?;
        fs::write(folder.join(UNIT), unit).with_context(|| format!("cannot write {UNIT}"))?;
    }

    let documents = folder.join(DOCUMENTS);
    for name in COPIED {
        fs::copy(workspace.root.join(name), documents.join(name))
            .with_context(|| format!("cannot copy {name}"))?;
    }
    fs::write(documents.join("LICENSES-OF-OTHERS"), licenses::of(&PROGRAMS, target)?)
        .and_then(|()| fs::write(folder.join("INSTALL"), install(name, &built.processors)))
        .context("cannot write what is said of the tarball")
}

/// The unit of whose home is [`ANY_HOME`] and whose programs lie in `bin`, for everybody who has them in `~/.local`.
fn any_users(unit: &str, bin: &Path) -> Option<String> {
    let unit = unit.replace(bin.to_str()?, "%h/.local/bin").replace(ANY_HOME, "%h");
    let paths = [
        "ExecStart=\"%h/.local/bin/rbee-queen\"",
        "\"%h/.config/rbee\" \"%h/.local/share/rbee\" \"%h/.local/state/rbee\"\n",
    ];
    paths.iter().all(|path| unit.contains(path)).then_some(unit)
}

/// What whoever unpacks the tarball is told.
fn install(name: &str, processors: &str) -> String {
    let mut libc = Command::new("getconf");
    let libc = libc.arg("GNU_LIBC_VERSION").output().ok().filter(|output| output.status.success());
    let libc = libc.map_or_else(
        || "the C library that it was built with".to_owned(),
        |output| format!("{} or newer", String::from_utf8_lossy(&output.stdout).trim()),
    );
    format!(
        "{name}\n\n\
         For {processors}; with {libc}, and libstdc++ and libgomp of GCC.\n\n\
         Everything lies where it is to be below a prefix whose bin folder is on the PATH:\n\n    \
         cp -r bin share ~/.local/\n    \
         rbee infer \"hello\"\n\n\
         The programs find one another in one folder, with the libraries beside them. Completions and pages of the manual are\n\
         found there by bash, zsh, fish and man, as far as these look into that prefix; `rbee completions --help` tells what to\n\
         do otherwise. Once rbee has run, `systemctl --user enable --now rbee-queen` has systemd start the queen when you log in,\n\
         if the prefix is ~/.local; for another one `rbee queen install` does.\n\n\
         {DOCUMENTS}/README.md tells the rest, and {DOCUMENTS}/LICENSES-OF-OTHERS whose work is in it.\n"
    )
}

/// Packs a folder so that the same files make the same tarball, whoever packs them when and where.
fn pack(folder: &Path, tarball: &Path, time: u64) -> Result<()> {
    let name = folder.file_name().context("a folder has a name")?;
    let above = folder.parent().context("a folder is in a folder")?;
    let partial = tarball.with_extension("partial");
    let output = File::create(&partial).with_context(|| format!("cannot write {}", partial.display()))?;
    let mut tar = Command::new("tar");
    tar.args(["--create", "--format=ustar", "--sort=name", "--owner=0", "--group=0", "--numeric-owner"]);
    tar.args(["--mode=u=rwX,go=rX", &format!("--mtime=@{time}")]).arg("--directory").arg(above).arg(name);
    let mut packing = tar.stdout(Stdio::piped()).spawn().context("GNU tar cannot be run")?;
    let packed = packing.stdout.take().context("what it packs was asked for")?;
    // Without a name and a time of its own.
    execute(Command::new("gzip").args(["-9", "--no-name"]).stdin(packed).stdout(output))?;
    if !packing.wait()?.success() {
        bail!("tar failed");
    }
    fs::rename(&partial, tarball).with_context(|| format!("cannot write {}", tarball.display()))
}

/// Unpacks the tarball, and has what is in it answer a prompt with nothing else at hand.
fn try_out(workspace: &Workspace, tarball: &Path, name: &str, staging: &Path) -> Result<()> {
    let unpacked = staging.join("unpacked");
    fs::create_dir_all(&unpacked)?;
    execute(
        Command::new("tar").arg("--extract").arg("--file").arg(tarball).arg("--directory").arg(&unpacked),
    )?;
    let prefix = unpacked.join(name);
    let home = staging.join("home");
    let model = workspace.target.join("models").join(TEST_MODEL);
    if model.exists() {
        // It is fetched otherwise.
        place(&model, &home.join("data/models").join(TEST_MODEL))?;
    }
    let rbee = |arguments: &[&str]| {
        let mut command = workspace.command(prefix.join("bin/rbee"));
        command.args(arguments).env("RBEE_HOME", &home).env("RBEE_QUEEN_LISTEN", "127.0.0.1:0");
        command.env_remove("RBEE_WORKER_PROGRAM");
        command
    };
    let inferred = rbee(&["infer", "--max-tokens", "4", "--temperature", "0", "hello"]).output();
    let stopped = execute(rbee(&["queen", "stop"]).stdout(Stdio::null()));
    let inferred = inferred.context("the rbee that was packed does not run")?;
    if !inferred.status.success() || inferred.stdout.is_empty() {
        bail!("what was packed does not answer:\n{}", String::from_utf8_lossy(&inferred.stderr));
    }
    stopped?;
    for file in COMPLETIONS
        .iter()
        .map(|(_, path)| *path)
        .chain(["share/man/man1/rbee-infer.1", "INSTALL"])
        .chain(cfg!(target_os = "linux").then_some(UNIT))
    {
        if fs::metadata(prefix.join(file)).map_or(0, |file| file.len()) == 0 {
            bail!("{file} was not packed");
        }
    }
    Ok(())
}

/// The kind of machine that rustc compiles for.
fn host() -> Result<String> {
    let output = Command::new("rustc").arg("-vV").output().context("cannot run rustc")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc does not say what it compiles for")
}

fn version(workspace: &Workspace) -> Result<String> {
    let rbee = workspace.members.iter().find(|package| package.name == PROGRAMS[0]);
    Ok(rbee.context("the workspace has no package rbee")?.version.to_string())
}

/// The time that files are to have: as others ask for, or that of the last commit.
fn time(workspace: &Workspace) -> u64 {
    let asked = std::env::var("SOURCE_DATE_EPOCH").ok();
    let committed = || {
        let output = workspace.command("git").args(["log", "-1", "--format=%ct"]).output().ok()?;
        String::from_utf8(output.stdout).ok()
    };
    asked.or_else(committed).and_then(|time| time.trim().parse().ok()).unwrap_or(0)
}

fn sha256(path: &Path) -> Result<String> {
    let mut hasher = Sha256::new();
    let mut file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    std::io::copy(&mut file, &mut HashingWriter(&mut hasher))?;
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

struct HashingWriter<'h>(&'h mut Sha256);

impl Write for HashingWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_files_make_the_same_tarball() -> Result<()> {
        let above = std::env::temp_dir().join(format!("xtask-dist-{}", std::process::id()));
        let mut digests = Vec::new();
        for (round, names) in [["a", "b"], ["b", "a"]].iter().enumerate() {
            let folder = above.join(round.to_string()).join("rbee");
            fs::create_dir_all(&folder)?;
            for name in names {
                fs::write(folder.join(name), name)?;
            }
            // As if it had been made at another time.
            File::open(folder.join("a"))?
                .set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(round as u64))?;
            let tarball = above.join(format!("{round}.tar.gz"));
            pack(&folder, &tarball, 1)?;
            digests.push(sha256(&tarball)?);
        }
        fs::remove_dir_all(&above)?;
        assert_eq!(digests[0], digests[1]);
        Ok(())
    }

    #[test]
    fn a_unit_for_everybody_has_nobodys_paths() {
        let folders = [".config/rbee", ".local/share/rbee", ".local/state/rbee"];
        let folders = folders.map(|folder| format!("\"{ANY_HOME}/{folder}\"")).join(" ");
        let unit = format!("ExecStart=\"/b/x/bin/rbee-queen\"\nReadWritePaths={folders}\n");
        let unit = any_users(&unit, Path::new("/b/x/bin")).expect("a unit");
        assert!(!unit.contains("/b/x") && !unit.contains("/home"), "{unit}");
        assert_eq!(any_users("nothing of the kind", Path::new("/b/x/bin")), None);
    }

    #[test]
    fn whoever_unpacks_it_is_told_for_which_processors_it_is() {
        let text = install("rbee-1", "any x86_64 processor");
        assert!(text.starts_with("rbee-1\n\nFor any x86_64 processor; with "), "{text}");
    }
}
