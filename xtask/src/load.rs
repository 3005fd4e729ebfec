//! Load on real daemons: builds what that needs and runs `rbee-load`, which does it.

use anyhow::{Context, Result, bail};

use crate::workspace::{Workspace, execute};
use crate::{build, peers, printer, test};

const PROGRAM: &str = "rbee-load";
/// What `rbee-load` starts besides itself, and the worker that does as it is told.
const STARTED: [&str; 3] = ["rbee-queen", "rbee-hive", "rbee"];
const WORKER: &str = "scripted_worker";

/// What is tried on daemons that run for long.
const SOAKS: [&str; 7] = ["isolation", "kill", "slow", "soak", "disk", "restart", CANCEL];
/// The one of them that needs the worker with llama.cpp, and the model that tests run.
const CANCEL: &str = "cancel";

/// The benchmark that needs these and more: something to compare with.
const INFER: &str = "infer";
/// The benchmark that needs real workers, and nothing to compare with.
const MEMORY: &str = "memory";
/// What says that this is to be llama.cpp's own server.
const BUILD: &str = "build";

/// Runs the soak called `name`, or all of them; says in the end which failed.
pub(crate) fn soak(workspace: &Workspace, name: Option<&str>, arguments: &[String]) -> Result<()> {
    if let Some(unknown) = name.filter(|name| !SOAKS.contains(name)) {
        bail!("there is no soak `{unknown}`: there are {}", SOAKS.join(", "));
    }
    build_all(workspace)?;
    let mut failed = Vec::new();
    for soak in SOAKS.into_iter().filter(|soak| name.is_none_or(|name| name == *soak)) {
        printer::say(soak);
        let prepared = if soak == CANCEL { prepare_model(workspace) } else { Ok(()) };
        if let Err(error) = prepared.and_then(|()| run(workspace, soak, arguments)) {
            printer::say(&format!("{soak}: {error:#}"));
            failed.push(soak);
        }
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

/// Runs the benchmark called `name`; that of answers beside `peer`, which says what is built or where it runs.
pub(crate) fn bench(
    workspace: &Workspace,
    name: &str,
    peer: Option<&str>,
    arguments: &[String],
) -> Result<()> {
    if name != INFER && peer.is_some() {
        bail!("`--peer` is for `bench {INFER}` alone: `bench {name}` knows what it measures beside");
    }
    build_all(workspace)?;
    if name != INFER && name != MEMORY {
        return run(workspace, name, arguments);
    }
    prepare_model(workspace)?;
    if takes_gemma(arguments) {
        peers::gemma(workspace)?;
    }
    if name == MEMORY {
        return run(workspace, name, arguments);
    }
    let peer = peer.unwrap_or(BUILD);
    let peer = if peer == BUILD {
        let server = peers::llama_server(workspace)?;
        server.into_os_string().into_string().ok().context("the path of the build output is not UTF-8")?
    } else {
        peer.to_owned()
    };
    let arguments = ["--peer".to_owned(), peer].into_iter().chain(arguments.iter().cloned());
    run(workspace, name, &arguments.collect::<Vec<_>>())
}

/// Whether the second model is among those that `rbee-load` is told to take: all, unless it is told.
fn takes_gemma(arguments: &[String]) -> bool {
    let next = arguments.iter().skip(1).map(Some).chain([None]);
    let models: Vec<&str> = arguments
        .iter()
        .zip(next)
        .filter_map(|(argument, next)| match argument.strip_prefix("--models")? {
            "" => next.map(String::as_str),
            value => value.strip_prefix('='),
        })
        .collect();
    models.is_empty() || models.iter().any(|models| models.split(',').any(|model| model == "gemma"))
}

fn build_all(workspace: &Workspace) -> Result<()> {
    let mut build = workspace.cargo(["build", "--release", "--workspace", "--example", WORKER]);
    for program in STARTED.iter().chain([&PROGRAM]) {
        build.args(["--bin", program]);
    }
    execute(&mut build)
}

/// Sees to it that there is a worker that computes, and a model where `rbee-load` looks for it.
fn prepare_model(workspace: &Workspace) -> Result<()> {
    build::programs(workspace, true)?;
    test::test_model(workspace).map(drop)
}

fn run(workspace: &Workspace, name: &str, arguments: &[String]) -> Result<()> {
    execute(workspace.command(workspace.program(PROGRAM)).arg(name).args(arguments))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_model_is_fetched_unless_only_the_first_is_asked_for() {
        for (line, expected) in [
            ("", true),
            ("--pairs 3", true),
            ("--models smollm2", false),
            ("--pairs 3 --models=smollm2", false),
            ("--models gemma", true),
            ("--models smollm2,gemma --pairs 3", true),
        ] {
            let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            assert_eq!(takes_gemma(&arguments), expected, "{line}");
        }
    }
}
