//! Every check and every test, with what a fresh machine needs for them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::clients::Clients;
use crate::printer;
use crate::tools::Tools;
use crate::workspace::{Workspace, execute, is_installed};
use crate::{generated, tidy};

/// The model that tests run: small, and real.
pub(crate) const TEST_MODEL: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
/// The variable in which tests find its path.
pub(crate) const TEST_MODEL_VARIABLE: &str = "RBEE_TEST_MODEL";

/// The variable that says over which store the tests of daemons run, where that is not the memory.
const TEST_STORE_VARIABLE: &str = "RBEE_TEST_STORE";

/// The variable that is set where there is no tmux.
const WITHOUT_TMUX_VARIABLE: &str = "RBEE_TEST_WITHOUT_TMUX";

/// Runs all checks, cheap ones first, and says in the end which failed.
///
/// A failed check does not keep the next from running; only what everything later needs does.
pub(crate) fn run(workspace: &Workspace, nextest_arguments: &[String]) -> Result<()> {
    let mut report = Report::default();
    report.step("fmt", || execute(&mut workspace.cargo(["fmt", "--all", "--check"])));
    report.step("tidy", || tidy::check(workspace));

    let Some(tools) = report.step("tools", || Tools::obtain(workspace)) else { return report.finish() };
    let cargo = |arguments: &[&str]| {
        let mut command = workspace.cargo(arguments);
        tools.apply(&mut command)?;
        anyhow::Ok(command)
    };
    let built = report.step("build", || {
        execute(&mut cargo(&["build", "--release", "--workspace", "--bins", "--examples"])?)
    });
    if built.is_none() {
        return report.finish();
    }

    report.step("generated files", || generated::generate(workspace, true));
    report.step("clippy", || {
        let mut clippy = cargo(&["clippy", "--release", "--workspace", "--all-targets"])?;
        execute(clippy.args(["--", "-D", "warnings"]))
    });

    let clients = report.step("clients of other APIs", || Clients::obtain(workspace));
    if let Some((name, why)) = clients.as_ref().and_then(Clients::left_out) {
        report.skip(name, &why);
    }
    let has_tmux = is_installed(Command::new("tmux").arg("-V"));
    if !has_tmux {
        report.skip("tmux", "it is not installed");
    }
    if let Some(model) = report.step("test model", || test_model(workspace)) {
        let with_model_and_clients = |tests: &mut Command| {
            tests.args(nextest_arguments).env(TEST_MODEL_VARIABLE, &model);
            clients.iter().for_each(|clients| clients.apply(tests));
            if !has_tmux {
                tests.env(WITHOUT_TMUX_VARIABLE, "1");
            }
        };
        if is_installed(&mut workspace.cargo(["nextest", "--version"])) {
            report.step("tests", || {
                let mut nextest = cargo(&["nextest", "run", "--release", "--workspace"])?;
                with_model_and_clients(&mut nextest);
                execute(&mut nextest)
            });
            report.step("tests over the journal", || {
                let mut nextest = cargo(&["nextest", "run", "--release", "--workspace"])?;
                nextest.args(["-E", "binary_id(rbee-jobs::it)"]).env(TEST_STORE_VARIABLE, "journal");
                execute(&mut nextest)
            });
            report.step("schedules", || {
                let mut nextest = cargo(&["nextest", "run", "--release", "--package", "rbee-jobs"])?;
                execute(nextest.args(["--features", "shuttle", "--lib", "schedules"]))
            });
            report.step("doctests", || {
                let mut doctests = cargo(&["test", "--release", "--doc", "--workspace"])?;
                execute(doctests.env(TEST_MODEL_VARIABLE, &model))
            });
        } else {
            report.step("tests and doctests", || {
                let mut tests = cargo(&["test", "--release", "--workspace"])?;
                with_model_and_clients(&mut tests);
                execute(&mut tests)
            });
            report.step("tests over the journal", || {
                let mut tests = cargo(&["test", "--release", "--package", "rbee-jobs", "--test", "it"])?;
                execute(tests.env(TEST_STORE_VARIABLE, "journal"))
            });
            report.step("schedules", || {
                let mut tests = cargo(&["test", "--release", "--package", "rbee-jobs", "--lib"])?;
                execute(tests.args(["--features", "shuttle", "schedules"]))
            });
        }
    }

    report.step("doc", || {
        let mut doc = cargo(&["doc", "--release", "--no-deps", "--workspace"])?;
        execute(doc.env("RUSTDOCFLAGS", "-D warnings"))
    });
    if is_installed(&mut workspace.cargo(["deny", "--version"])) {
        // Advisories need the network, and appear without a commit: `cargo deny check` has them as well.
        report
            .step("deny", || execute(&mut workspace.cargo(["deny", "check", "bans", "licenses", "sources"])));
    } else {
        report.skip("deny", "cargo-deny is not installed");
    }
    report.finish()
}

/// The path of the model that tests run, fetched on the first call.
///
/// It is fetched as any user's first model is, so that the path a newcomer takes is tried as well.
pub(crate) fn test_model(workspace: &Workspace) -> Result<PathBuf> {
    let model = workspace.target.join("models").join(TEST_MODEL);
    if model.exists() {
        return Ok(model);
    }
    let home = workspace.target.join("test-home");
    let rbee = |arguments: &[&str]| -> Command {
        let mut command = workspace.command(workspace.program("rbee"));
        command.args(arguments).env("RBEE_HOME", &home).stdout(Stdio::from(io::stderr()));
        command
    };
    let inferred = execute(&mut rbee(&["infer", "--max-tokens", "1", "--temperature", "0", "hello"]));
    let stopped = execute(&mut rbee(&["queen", "stop"]));
    inferred.and(stopped)?;
    place(&home.join("data/models").join(TEST_MODEL), &model)?;
    Ok(model)
}

/// Makes `from` also available at `to`, which either is complete or does not exist.
pub(crate) fn place(from: &Path, to: &Path) -> Result<()> {
    let context = || format!("cannot place {} at {}", from.display(), to.display());
    let folder = to.parent().with_context(context)?;
    fs::create_dir_all(folder).with_context(context)?;
    if fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    // Not every file system has hard links.
    let partial = to.with_extension("partial");
    fs::copy(from, &partial).with_context(context)?;
    fs::rename(&partial, to).with_context(context)
}

/// What has run, and how it went.
#[derive(Default)]
struct Report {
    passed: Vec<&'static str>,
    failed: Vec<&'static str>,
    skipped: Vec<&'static str>,
}

impl Report {
    /// Runs one step. `None` when it failed, which has then been said.
    fn step<T>(&mut self, name: &'static str, run: impl FnOnce() -> Result<T>) -> Option<T> {
        printer::say(name);
        match run() {
            Ok(value) => {
                self.passed.push(name);
                Some(value)
            }
            Err(error) => {
                printer::say(&format!("{name}: {error:#}"));
                self.failed.push(name);
                None
            }
        }
    }

    fn skip(&mut self, name: &'static str, why: &str) {
        printer::say(&format!("{name}: skipped, {why}"));
        self.skipped.push(name);
    }

    fn finish(self) -> Result<()> {
        let skipped = match self.skipped.as_slice() {
            [] => String::new(),
            names => format!("; skipped: {}", names.join(", ")),
        };
        if !self.failed.is_empty() {
            bail!("failed: {}; passed: {}{skipped}", self.failed.join(", "), self.passed.join(", "));
        }
        printer::say(&format!("passed: {}{skipped}", self.passed.join(", ")));
        Ok(())
    }
}
