//! Planted leaks: changes that break what the service promises, in ways that a tired person could. For each
//! there must be a test that fails.
//!
//! A leak is a patch in `xtask/leaks`. Its first line says what would leak or be lost, its second which
//! packages have the tests that catch it, or which tests do. None of them is ever in the product: each is applied to a copy.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt::{self, Display, Formatter};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::workspace::{Workspace, execute};
use crate::{build, printer, test};

/// Where leaks lie.
const FOLDER: &str = "xtask/leaks";
const TESTED_BY: &str = "Tested by: ";
/// The package whose tests start all programs, and the packages and programs that these are.
const COMMAND_LINE: &str = "rbee";
const DAEMONS: [&str; 2] = ["rbee-queen", "rbee-hive"];
/// How `cargo nextest` says that tests failed; what does not compile has another exit code.
const TESTS_FAILED: i32 = 100;
/// So many tests that fail are enough to know.
const FAILURES_MAX: &str = "--max-fail=4:immediate";

/// Plants each leak whose name has one of `wanted` in it, or all, and says which tests caught it.
///
/// # Errors
/// When nothing catches one, or one cannot be planted.
pub(crate) fn run(workspace: &Workspace, wanted: &[String]) -> Result<()> {
    let leaks = Leak::all(&workspace.root.join(FOLDER))?;
    let leaks: Vec<Leak> = leaks
        .into_iter()
        .filter(|leak| wanted.is_empty() || wanted.iter().any(|wanted| leak.name.contains(wanted)))
        .collect();
    if leaks.is_empty() {
        bail!("there is no such leak in {FOLDER}");
    }
    let field = Field::prepare(workspace)?;
    printer::say(&format!("testing without a leak, for {} of them", leaks.len()));
    let tests: BTreeSet<Tests> = leaks.iter().flat_map(|leak| leak.tests.iter().cloned()).collect();
    let failing = field.test(tests.iter())?;
    if !failing.0.is_empty() {
        printer::say(&format!("fails without any leak, and so counts for nothing: {failing}"));
    }

    let (mut missed, mut broken) = (Vec::new(), Vec::new());
    let mut rows = Vec::new();
    for leak in &leaks {
        printer::say(&leak.name);
        let caught_by = match field.plant(leak) {
            Ok(mut failures) => {
                failures.0.retain(|test| !failing.0.contains(test));
                if failures.0.is_empty() {
                    printer::say(&format!("{} is not caught", leak.name));
                    missed.push(leak.name.as_str());
                }
                failures.to_string()
            }
            Err(error) => {
                printer::say(&format!("{} cannot be planted: {error:#}", leak.name));
                broken.push(leak.name.as_str());
                "cannot be planted".to_owned()
            }
        };
        rows.push(format!("| {} | {} | {caught_by} |", leak.name, leak.what));
    }
    printer::data("| leak | what would happen | caught by |");
    printer::data("|---|---|---|");
    rows.iter().for_each(|row| printer::data(row));
    match (missed.as_slice(), broken.as_slice()) {
        ([], []) => Ok(()),
        (missed, []) => bail!("not caught: {}", missed.join(", ")),
        ([], broken) => bail!("cannot be planted: {}", broken.join(", ")),
        (missed, broken) => {
            bail!("not caught: {}; cannot be planted: {}", missed.join(", "), broken.join(", "))
        }
    }
}

/// Says which leaks can no longer be planted.
///
/// # Errors
/// When they cannot be read, or git cannot be run.
pub(crate) fn problems(workspace: &Workspace) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for leak in Leak::all(&workspace.root.join(FOLDER))? {
        let mut git = workspace.command("git");
        // Whoever the checkout belongs to.
        git.current_dir(&workspace.root)
            .args(["-c", "safe.directory=*", "apply", "--check"])
            .arg(&leak.patch);
        if !git.output().context("cannot run git")?.status.success() {
            problems.push(format!("`{FOLDER}/{}.patch` does not apply: fit it to the sources", leak.name));
        }
    }
    Ok(problems)
}

struct Leak {
    name: String,
    patch: PathBuf,
    what: String,
    /// Those that catch it.
    tests: Vec<Tests>,
}

impl Leak {
    fn all(folder: &Path) -> Result<Vec<Self>> {
        let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
        let mut paths = Vec::new();
        for entry in entries {
            let path = entry.with_context(|| format!("cannot read {}", folder.display()))?.path();
            if path.extension() == Some(OsStr::new("patch")) {
                paths.push(path);
            }
        }
        paths.sort();
        paths.into_iter().map(Self::read).collect()
    }

    fn read(patch: PathBuf) -> Result<Self> {
        let text = fs::read_to_string(&patch).with_context(|| format!("cannot read {}", patch.display()))?;
        let name = patch.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let Some((what, tests)) = heading(&text) else {
            bail!("{name} must begin with what would leak and then `{TESTED_BY}` and packages");
        };
        Ok(Self { name, what, tests, patch })
    }
}

/// What a patch says of itself: what would leak, and the tests that catch it.
fn heading(patch: &str) -> Option<(String, Vec<Tests>)> {
    let mut lines = patch.lines();
    let what = lines.next().filter(|line| !line.is_empty() && !line.starts_with("---"))?;
    let tests = lines.next()?.strip_prefix(TESTED_BY)?;
    let tests: Vec<Tests> = tests.split_whitespace().map(Tests::read).collect();
    (!tests.is_empty()).then(|| (what.to_owned(), tests))
}

/// All tests of a package, `rbee-jobs`, or one of them, `rbee::its_name`, where all would take long.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Tests {
    package: String,
    name: Option<String>,
}

impl Tests {
    fn read(word: &str) -> Self {
        match word.split_once("::") {
            Some((package, name)) => Self { package: package.to_owned(), name: Some(name.to_owned()) },
            None => Self { package: word.to_owned(), name: None },
        }
    }

    /// In the language in which nextest is told what to run.
    fn filter(&self) -> String {
        let Self { package, name } = self;
        match name {
            Some(name) => format!("(package({package}) & test({name}))"),
            None => format!("package({package})"),
        }
    }
}

/// A copy of the sources, into which leaks are planted one at a time, and the build output that they share.
struct Field<'w> {
    workspace: &'w Workspace,
    folder: PathBuf,
}

impl<'w> Field<'w> {
    /// Brings the copy up to date. What has not changed keeps its time, so that it is not compiled again.
    fn prepare(workspace: &'w Workspace) -> Result<Self> {
        let field = Self { workspace, folder: workspace.target.join("leaks") };
        let tree = field.tree();
        let listed = workspace
            .command("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .stderr(Stdio::inherit())
            .output()
            .context("cannot run git")?;
        if !listed.status.success() {
            bail!("git does not list the sources ({})", listed.status);
        }
        let listed = String::from_utf8(listed.stdout).context("a source's name is no text")?;
        // Cargo takes its settings from the workspace above, and twice the same would be others.
        let sources = listed.split_terminator('\0').filter(|path| !path.starts_with(".cargo/"));
        let sources: BTreeSet<PathBuf> =
            sources.map(PathBuf::from).filter(|path| workspace.root.join(path).is_file()).collect();
        for source in &sources {
            let (from, to) = (workspace.root.join(source), tree.join(source));
            copy_if_changed(&from, &to).with_context(|| format!("cannot copy {}", source.display()))?;
        }
        remove_others(&tree, &tree, &sources).context("cannot clear the copy of the sources")?;
        Ok(field)
    }

    fn tree(&self) -> PathBuf {
        self.folder.join("tree")
    }

    /// Tests with `leak` in the sources, which are as before afterwards.
    fn plant(&self, leak: &Leak) -> Result<Failures> {
        self.apply(leak, &[])?;
        let outcome = self.test(leak.tests.iter());
        self.apply(leak, &["--reverse"])?;
        outcome
    }

    fn apply(&self, leak: &Leak, options: &[&str]) -> Result<()> {
        let mut git = self.workspace.command("git");
        git.current_dir(self.tree()).arg("apply").args(options).arg(&leak.patch);
        // The copy lies within the workspace, whose repository is not meant.
        git.env("GIT_CEILING_DIRECTORIES", &self.folder).env_remove("GIT_DIR");
        let applied = git.output().context("cannot run git")?;
        if !applied.status.success() {
            bail!("the patch does not apply: {}", String::from_utf8_lossy(&applied.stderr).trim());
        }
        Ok(())
    }

    fn test<'t>(&self, tests: impl Iterator<Item = &'t Tests>) -> Result<Failures> {
        let tests: Vec<&Tests> = tests.collect();
        let mut packages: BTreeSet<&str> = tests.iter().map(|tests| tests.package.as_str()).collect();
        let mut nextest = self.workspace.cargo(["nextest", "run", "--profile", "leaks", "--color", "never"]);
        if packages.contains(COMMAND_LINE) {
            // The same selection as for the tests, so that little is compiled twice.
            packages.extend(DAEMONS);
            self.place_programs(&packages)?;
            nextest.env(test::TEST_MODEL_VARIABLE, self.test_model()?);
        }
        let filters: Vec<String> = tests.iter().map(|tests| tests.filter()).collect();
        nextest.args(["-E", &filters.join(" | ")]);
        nextest.args([FAILURES_MAX, "--status-level", "fail", "--final-status-level", "none"]);
        nextest.args(["--failure-output", "never", "--no-input-handler"]);
        for package in packages {
            nextest.args(["--package", package]);
        }
        nextest.current_dir(self.tree()).env("CARGO_TARGET_DIR", self.folder.join("target"));
        Failures::of(&mut nextest)
    }

    /// Puts the programs that the command line starts where its tests look for them: the daemons as they are with
    /// the leak, and the worker as it is without, since to compile that takes longer than all else.
    fn place_programs(&self, packages: &BTreeSet<&str>) -> Result<()> {
        let target = self.folder.join("target");
        let mut build = self.workspace.cargo(["build", "--quiet"]);
        for package in packages {
            build.args(["--package", package]);
        }
        for daemon in DAEMONS {
            build.args(["--bin", daemon]);
        }
        execute(build.current_dir(self.tree()).env("CARGO_TARGET_DIR", &target))?;
        let worker = there_is(self.workspace.program(build::WORKER))?;
        let to = target.join("debug").join(worker.file_name().context("a program has a name")?);
        // One of an earlier build may be there.
        let _ = fs::remove_file(&to);
        test::place(&worker, &to)
    }

    fn test_model(&self) -> Result<PathBuf> {
        there_is(self.workspace.target.join("models").join(test::TEST_MODEL))
    }
}

fn there_is(path: PathBuf) -> Result<PathBuf> {
    if !path.is_file() {
        bail!("there is no {}: `cargo xtask test` makes it", path.display());
    }
    Ok(path)
}

/// The tests that failed.
struct Failures(BTreeSet<String>);

impl Failures {
    fn of(nextest: &mut Command) -> Result<Self> {
        let ran = nextest.output().context("cannot run cargo")?;
        let said = String::from_utf8_lossy(&ran.stderr);
        match ran.status.code() {
            Some(0) => Ok(Self(BTreeSet::new())),
            Some(TESTS_FAILED) => Ok(Self(said.lines().filter_map(failed_test).collect())),
            _ => bail!("the tests do not run ({}): {}", ran.status, said.trim()),
        }
    }
}

impl Display for Failures {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return out.write_str("nothing");
        }
        let tests: Vec<&str> = self.0.iter().map(String::as_str).collect();
        out.write_str(&tests.join(", "))
    }
}

/// The test that this line of nextest's says has failed: `FAIL [   0.019s] (3/9) rbee-jobs::it door::name`.
fn failed_test(line: &str) -> Option<String> {
    let (status, rest) = line.trim_start().split_once(" [")?;
    let failed = ["FAIL", "TIMEOUT", "ABORT"].contains(&status) || status.starts_with("SIG");
    let (_, test) = rest.split_once("] ").filter(|_| failed && status != "SIGTERM")?;
    let test = test.trim_start().rsplit_once(") ").map_or(test, |(_, test)| test);
    let mut words = test.split_whitespace();
    let (binary, name) = (words.next()?, words.next()?);
    Some(format!("`{binary} {name}`"))
}

fn copy_if_changed(from: &Path, to: &Path) -> Result<()> {
    let content = fs::read(from)?;
    if fs::read(to).is_ok_and(|there| there == content) {
        return Ok(());
    }
    fs::create_dir_all(to.parent().context("a file is in a folder")?)?;
    Ok(fs::write(to, content)?)
}

/// Removes what is in `folder`, within `tree`, and is none of `sources`.
fn remove_others(tree: &Path, folder: &Path, sources: &BTreeSet<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            remove_others(tree, &path, sources)?;
        } else if !path.strip_prefix(tree).is_ok_and(|source| sources.contains(source)) {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_says_what_would_leak_and_which_tests_are_for_it() {
        let (what, tests) =
            heading("Keys leak.\nTested by: rbee-jobs rbee::a_test\n\n--- a/x\n").expect("a heading");
        let filters: Vec<String> = tests.iter().map(Tests::filter).collect();
        assert_eq!(
            (what.as_str(), filters.join(" | ").as_str()),
            ("Keys leak.", "package(rbee-jobs) | (package(rbee) & test(a_test))")
        );
        for bad in ["", "Keys leak.\n\n--- a/x\n", "--- a/x\n+++ b/x\n", "Keys leak.\nTested by: \n"] {
            assert_eq!(heading(bad), None, "{bad}");
        }
    }

    #[test]
    fn failed_tests_are_found_in_what_nextest_says() {
        let found = |line| failed_test(line);
        let name = || Some("`rbee-jobs::it door::name`".to_owned());
        assert_eq!(found("        FAIL [   0.019s] (3/9) rbee-jobs::it door::name"), name());
        assert_eq!(found("        FAIL [   0.019s] rbee-jobs::it door::name"), name());
        assert_eq!(found("     TIMEOUT [  20.019s] ( 3/19) rbee-jobs::it door::name"), name());
        assert_eq!(found("     SIGTERM [   0.019s] (3/9) rbee-jobs::it door::name"), None);
        assert_eq!(found("        PASS [   0.019s] (3/9) rbee-jobs::it door::name"), None);
        assert_eq!(found("     Summary [   0.019s] 3/9 tests run"), None);
    }
}
