//! The rules of the workspace that the compiler does not check.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use cargo_metadata::{DependencyKind, Package, TargetKind};

use crate::leaks;
use crate::printer;
use crate::workspace::Workspace;

/// Which of our crates each crate may use: the arrows of the design.
const ARROWS: &[(&str, &[&str])] = &[
    ("rbee-narration", &[]),
    ("rbee-protocol", &["rbee-narration"]),
    ("rbee-jobs", &["rbee-narration", "rbee-protocol"]),
    ("rbee-journal", &["rbee-protocol", "rbee-jobs"]),
    ("rbee-home", &["rbee-narration", "rbee-protocol"]),
    ("rbee-gguf", &[]),
    ("rbee-engine", &["rbee-gguf"]),
    ("rbee-worker", &["rbee-narration", "rbee-protocol", "rbee-jobs", "rbee-home", "rbee-engine"]),
    ("rbee-hive", &["rbee-narration", "rbee-protocol", "rbee-jobs", "rbee-home", "rbee-gguf"]),
    ("rbee-queen", &["rbee-narration", "rbee-protocol", "rbee-jobs", "rbee-journal", "rbee-home"]),
    ("rbee", &["rbee-narration", "rbee-protocol", "rbee-home"]),
    ("rbee-load", &["rbee-narration", "rbee-protocol", "rbee-jobs", "rbee-journal", "rbee-home"]),
    ("xtask", &[]),
];
/// The one crate that may hold `unsafe` code, and depend on llama.cpp.
const ENGINE: &str = "rbee-engine";
/// How the names of the crates that are llama.cpp begin.
const LLAMA_CPP: &str = "llama-cpp-";
/// The table of requirements with the tests that prove them.
const REQUIREMENTS: &str = "docs/requirements.md";

/// Checks every rule, and says everything that breaks one.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let crates = workspace.members.iter().map(Crate::from).collect::<Vec<_>>();
    let programs =
        crates.iter().filter(|member| member.is_program).map(|member| member.name).collect::<Vec<_>>();

    let mut problems = Vec::new();
    for member in &crates {
        problems.extend(dependency_problems(member, &programs));
    }
    for package in &workspace.members {
        problems.extend(source_problems(workspace, package)?);
    }
    problems.extend(requirement_problems(&workspace.root)?);
    problems.extend(leaks::problems(workspace)?);

    problems.iter().for_each(|problem| printer::say(&format!("tidy: {problem}")));
    match problems.len() {
        0 => Ok(()),
        1 => bail!("1 rule of the workspace is broken"),
        count => bail!("{count} rules of the workspace are broken"),
    }
}

/// What the dependency rules look at in a crate's manifest.
struct Crate<'a> {
    name: &'a str,
    is_program: bool,
    /// What it is built with: its normal and its build dependencies.
    dependencies: Vec<&'a str>,
    dev_dependencies: Vec<&'a str>,
}

impl<'a> From<&'a Package> for Crate<'a> {
    fn from(package: &'a Package) -> Crate<'a> {
        let (dev, built_with): (Vec<_>, Vec<_>) = package
            .dependencies
            .iter()
            .partition(|dependency| dependency.kind == DependencyKind::Development);
        Crate {
            name: &package.name,
            is_program: package.targets.iter().any(|target| target.kind.contains(&TargetKind::Bin)),
            dependencies: built_with.iter().map(|dependency| dependency.name.as_str()).collect(),
            dev_dependencies: dev.iter().map(|dependency| dependency.name.as_str()).collect(),
        }
    }
}

fn dependency_problems(member: &Crate<'_>, programs: &[&str]) -> Vec<String> {
    let name = member.name;
    let Some((_, allowed)) = ARROWS.iter().find(|(from, _)| *from == name) else {
        return vec![format!("`{name}` is new: say in xtask/src/tidy.rs which of our crates it may use")];
    };
    let mut problems = Vec::new();
    for dependency in &member.dependencies {
        let is_ours = ARROWS.iter().any(|(ours, _)| ours == dependency);
        if is_ours && !allowed.contains(dependency) {
            problems.push(format!(
                "`{name}` must not use `{dependency}`: move what both need to a crate that both may use \
                 (the allowed arrows are in xtask/src/tidy.rs)"
            ));
        }
    }
    for dependency in &member.dev_dependencies {
        if programs.contains(dependency) {
            problems.push(format!(
                "`{name}` must not use the program `{dependency}` in its tests: run it as a process"
            ));
        }
    }
    if name != ENGINE {
        let all = member.dependencies.iter().chain(&member.dev_dependencies);
        for dependency in all.filter(|dependency| dependency.starts_with(LLAMA_CPP)) {
            problems
                .push(format!("`{name}` must not use `{dependency}`: only `{ENGINE}` does; add to its API"));
        }
    }
    problems
}

fn source_problems(workspace: &Workspace, package: &Package) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    let manifest_path = package.manifest_path.as_std_path();
    if !inherits_lints(&read(manifest_path)?) {
        problems.push(format!(
            "{} must inherit the workspace's lints: add `[lints]` with `workspace = true`",
            workspace.display(manifest_path)
        ));
    }
    if package.name.as_str() != ENGINE {
        let folder = manifest_path.parent().unwrap_or(&workspace.root).join("src");
        for root in ["lib.rs", "main.rs"].map(|file| folder.join(file)) {
            if root.exists() && !read(&root)?.lines().any(|line| line.trim() == "#![forbid(unsafe_code)]") {
                problems.push(format!(
                    "{} must say `#![forbid(unsafe_code)]`: only `{ENGINE}` holds unsafe code",
                    workspace.display(&root)
                ));
            }
        }
    }
    Ok(problems)
}

/// Whether a manifest has `workspace = true` in `[lints]`.
fn inherits_lints(manifest: &str) -> bool {
    let mut section = "";
    manifest.lines().map(str::trim).any(|line| {
        if line.starts_with('[') {
            section = line;
        }
        let setting = line.replace(' ', "");
        (section == "[lints]" && setting == "workspace=true") || setting == "lints.workspace=true"
    })
}

fn requirement_problems(root: &Path) -> Result<Vec<String>> {
    let table = root.join(REQUIREMENTS);
    if !table.exists() {
        return Ok(vec![format!("{REQUIREMENTS} is missing: each requirement names there what proves it")]);
    }
    let mut problems = Vec::new();
    for (file, test) in named_tests(&read(&table)?) {
        let path = root.join(file);
        if !path.exists() {
            problems.push(format!("{REQUIREMENTS} names {file}, which does not exist: correct the path"));
        } else if !defines_function(&read(&path)?, test) {
            problems.push(format!(
                "{REQUIREMENTS} names `{test}` in {file}, which has no such function: correct the name, \
                 or write the test"
            ));
        }
    }
    Ok(problems)
}

/// Every `path/to/file.rs::test_name` between backticks, as file and last name.
fn named_tests(markdown: &str) -> Vec<(&str, &str)> {
    let mut tests = Vec::new();
    for line in markdown.lines() {
        for code in line.split('`').skip(1).step_by(2) {
            if let Some((file, names)) = code.split_once(".rs::") {
                let file = &code[..file.len() + ".rs".len()];
                tests.push((file, names.rsplit("::").next().unwrap_or(names)));
            }
        }
    }
    tests
}

fn defines_function(source: &str, name: &str) -> bool {
    source.match_indices(&format!("fn {name}")).any(|(start, found)| {
        source[start + found.len()..].starts_with(|next: char| !next.is_alphanumeric() && next != '_')
    })
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROGRAMS: [&str; 2] = ["rbee", "rbee-worker"];

    #[track_caller]
    fn check_dependencies(name: &str, dependencies: &[&str], dev_dependencies: &[&str], expected: &[&str]) {
        let member = Crate {
            name,
            is_program: false,
            dependencies: dependencies.to_vec(),
            dev_dependencies: dev_dependencies.to_vec(),
        };
        let problems = dependency_problems(&member, &PROGRAMS);
        assert_eq!(problems.len(), expected.len(), "{problems:#?}");
        for (problem, expected) in problems.iter().zip(expected) {
            assert!(problem.starts_with(expected), "{problem}");
        }
    }

    #[test]
    fn the_arrows_of_the_design_are_allowed() {
        for (name, allowed) in ARROWS {
            check_dependencies(name, allowed, &[], &[]);
        }
    }

    #[test]
    fn an_arrow_that_is_not_in_the_design_is_refused() {
        check_dependencies(
            "rbee-protocol",
            &["rbee-narration", "rbee-jobs", "serde"],
            &[],
            &["`rbee-protocol` must not use `rbee-jobs`"],
        );
        check_dependencies("rbee-engine", &["rbee-narration"], &[], &["`rbee-engine` must not use"]);
        check_dependencies(
            "rbee",
            &["rbee-queen", "rbee-engine"],
            &[],
            &["`rbee` must not use `rbee-queen`", "`rbee` must not use `rbee-engine`"],
        );
    }

    #[test]
    fn tests_may_use_our_libraries_but_no_program() {
        check_dependencies("rbee-narration", &[], &["rbee-jobs"], &[]);
        check_dependencies(
            "rbee-hive",
            &[],
            &["rbee-worker"],
            &["`rbee-hive` must not use the program `rbee-worker`"],
        );
    }

    #[test]
    fn only_the_engine_uses_llama_cpp() {
        check_dependencies("rbee-engine", &["llama-cpp-2", "llama-cpp-sys-2"], &[], &[]);
        check_dependencies(
            "rbee-worker",
            &["llama-cpp-2"],
            &[],
            &["`rbee-worker` must not use `llama-cpp-2`"],
        );
        check_dependencies("xtask", &[], &["llama-cpp-sys-2"], &["`xtask` must not use `llama-cpp-sys-2`"]);
    }

    #[test]
    fn a_new_crate_needs_its_arrows() {
        check_dependencies("rbee-web", &[], &[], &["`rbee-web` is new"]);
    }

    #[test]
    fn inherited_lints_are_found() {
        assert!(inherits_lints("[package]\nname = \"x\"\n\n[lints]\nworkspace = true\n"));
        assert!(inherits_lints("[package]\nlints.workspace = true\n"));
        assert!(!inherits_lints("[package]\nworkspace = true\n\n[lints]\n\n[dependencies]\n"));
        assert!(!inherits_lints("[lints.rust]\nunsafe_code = \"forbid\"\n"));
    }

    #[test]
    fn tests_are_named_between_backticks() {
        assert_eq!(
            named_tests(
                "| N1 | a `context` | `crates/narration/src/line.rs::fills_the_braces`, \
                 `crates/jobs/src/log.rs::tests::is_dense` |\n\nplain a.rs::not_code\n"
            ),
            [("crates/narration/src/line.rs", "fills_the_braces"), ("crates/jobs/src/log.rs", "is_dense")]
        );
    }

    #[test]
    fn a_function_is_found_by_its_whole_name() {
        assert!(defines_function("async fn is_dense() {", "is_dense"));
        assert!(defines_function("fn is_dense_too() {}\nfn is_dense<T>() {}", "is_dense"));
        assert!(!defines_function("fn is_dense_too() {}\n// is_dense()", "is_dense"));
    }
}
