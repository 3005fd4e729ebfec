//! The licences of what is compiled into the programs, as one text.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package, PackageId};

const HEAD: &str = "\
What is compiled into the programs of rbee besides rbee itself, which is MIT OR Apache-2.0: each crate with its licence,
and then the texts that come with the crates, each with the names of those that it came with.

Besides these: the standard library of Rust, MIT OR Apache-2.0; SQLite, which is in the public domain; and in rbee-worker, or
a library beside it, libgomp and libstdc++'s headers, GPL-3.0-or-later WITH GCC-exception-3.1.
";
/// How names of files begin that hold licences.
const NAMES: [&str; 5] = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE"];
/// What looks so and is none.
const NOT_TEXTS: [&str; 4] = ["cmake", "rs", "py", "html"];

/// The licences of all that `programs`, which are packages of the workspace, have compiled in for `target`.
pub(crate) fn of(programs: &[&str], target: &str) -> Result<String> {
    let mut command = MetadataCommand::new();
    let metadata = command.other_options(vec!["--filter-platform".to_owned(), target.to_owned()]).exec();
    let metadata = metadata.context("cannot read what the programs depend on")?;
    let mut crates = BTreeMap::new();
    let mut texts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in compiled_in(&metadata, programs) {
        let name = format!("{} {}", package.name, package.version);
        let folder: PathBuf = package.manifest_path.parent().context("a manifest is in a folder")?.into();
        let found = texts_in(&folder).with_context(|| format!("cannot read the licences of {name}"))?;
        let license = package.license.as_deref().unwrap_or("see its text");
        let remark = match found.is_empty() {
            false => "",
            true if license.contains("Apache-2.0") => {
                ", taken under Apache-2.0, whose text is in LICENSE-APACHE"
            }
            true => bail!("{name} comes without the text of its licence, {license}"),
        };
        for text in found {
            texts.entry(text).or_default().insert(name.clone());
        }
        crates.insert(name, format!("{license}{remark}"));
    }

    let mut all = HEAD.to_owned();
    all.push('\n');
    for (name, license) in crates {
        let _ = writeln!(all, "{name}: {license}");
    }
    for (text, names) in texts {
        let names: Vec<_> = names.into_iter().collect();
        let _ = write!(all, "\n{}\n{}\n\n{text}\n", "=".repeat(100), names.join(", "));
    }
    Ok(all)
}

/// The crates from elsewhere that the packages of these names need at run time, or to be compiled from.
fn compiled_in<'m>(metadata: &'m Metadata, programs: &[&str]) -> Vec<&'m Package> {
    let packages: HashMap<&PackageId, &Package> =
        metadata.packages.iter().map(|package| (&package.id, package)).collect();
    let nodes = metadata.resolve.iter().flat_map(|resolve| &resolve.nodes);
    let nodes: HashMap<_, _> = nodes.map(|node| (&node.id, node)).collect();
    let is_program = |package: &&Package| programs.contains(&package.name.as_str());
    let mut open: Vec<&PackageId> =
        metadata.workspace_packages().into_iter().filter(is_program).map(|package| &package.id).collect();
    let mut seen = HashSet::new();
    while let Some(id) = open.pop() {
        if seen.insert(id) {
            let needed = nodes.get(id).into_iter().flat_map(|node| &node.deps);
            let needed = needed.filter(|dependency| {
                dependency.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal)
            });
            open.extend(needed.map(|dependency| &dependency.pkg));
        }
    }
    seen.into_iter().filter_map(|id| packages.get(id).copied()).filter(|one| one.source.is_some()).collect()
}

/// The texts of licences in a folder and those below, where what a crate brings along has its own.
fn texts_in(folder: &Path) -> Result<BTreeSet<String>> {
    let mut texts = BTreeSet::new();
    for entry in fs::read_dir(folder)? {
        let (path, kind) = entry.and_then(|entry| Ok((entry.path(), entry.file_type()?)))?;
        if kind.is_dir() {
            texts.append(&mut texts_in(&path)?);
        } else if kind.is_file() && is_license(&path) {
            let text = String::from_utf8_lossy(&fs::read(&path)?).replace("\r\n", "\n");
            texts.insert(text.trim().to_owned());
        }
    }
    Ok(texts)
}

fn is_license(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    NAMES.iter().any(|license| name.starts_with(license)) && !NOT_TEXTS.contains(&&*extension)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licences_are_known_by_their_names() {
        for (name, is_one) in [
            ("LICENSE", true),
            ("LICENSE-APACHE", true),
            ("licence.md", true),
            ("COPYING.txt", true),
            ("license.cmake", false),
            ("license.rs", false),
            ("README.md", false),
        ] {
            assert_eq!(is_license(Path::new(name)), is_one, "{name}");
        }
    }
}
