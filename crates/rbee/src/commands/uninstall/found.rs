//! What of the files on this machine is rbee's: only what has a name that rbee gives, where rbee puts it, and is what rbee
//! makes of it. No link is followed.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use rbee_home::{DEFAULT_MODEL, HINT_SHOWN, Home};
use serde_json::Value;

use crate::commands::service;
use crate::complete::VARIABLE;

/// What was found of rbee's.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) entries: Vec<Entry>,
    /// Folders to remove if nothing is left in them, inner ones first.
    pub(super) folders: Vec<PathBuf>,
    /// What lies there besides and stays, with the reason.
    pub(super) left: Vec<(PathBuf, &'static str)>,
}

/// One thing to remove.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) what: &'static str,
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    pub(super) kind: Kind,
}

/// How it is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Tree,
}

const FOREIGN: &str = "which rbee did not write";
const LINK: &str = "a link, which rbee does not follow";
const MODELS: &str = "with models; `--models` removes those that rbee has downloaded";

impl Found {
    pub(super) fn bytes(&self) -> u64 {
        self.entries.iter().map(|entry| entry.bytes).sum()
    }

    fn file(&mut self, what: &'static str, path: PathBuf, metadata: &Metadata) {
        self.entries.push(Entry { what, path, bytes: metadata.len(), kind: Kind::File });
    }

    fn leave(&mut self, path: PathBuf, metadata: &Metadata) {
        let reason = if metadata.is_symlink() { LINK } else { FOREIGN };
        self.left.push((path, reason));
    }
}

/// Looks for all that is there.
pub(super) fn look(home: &Home, with_models: bool) -> Found {
    let mut found = Found::default();
    let [(_, config), (_, data), (_, state), (_, sockets)] = home.folders();
    let models = home.models_dir();
    let has_run = home.has_run();
    if has_run {
        let own = home.own_files();
        if is_folder(home.temporary_folder().unwrap_or(state)) {
            folder(&mut found, sockets, of_sockets);
        }
        let conversations = home.conversations_dir();
        if is_folder(state) {
            folder(&mut found, &conversations, of_conversations);
        }
        for (path, what) in [(config, "settings"), (state, "jobs and logs")] {
            folder(&mut found, path, |found, path, metadata| {
                let is_ours = metadata.is_file() && (own.contains(&path) || is_half_written(&path, &own));
                match is_ours {
                    true => found.file(what, path, metadata),
                    false if path == sockets || path == conversations => {}
                    false => found.leave(path, metadata),
                }
            });
        }
    }
    // The models outlast an uninstallation without them.
    if has_run || is_folder(data) && is_store(&models) {
        if is_folder(data) && is_folder(&models) {
            store(&mut found, &models, with_models);
        }
        folder(&mut found, data, |found, path, metadata| {
            if path != models || metadata.is_symlink() {
                found.leave(path, metadata);
            }
        });
        found.folders.extend(home.temporary_folder().map(Path::to_owned));
        found.folders.extend(root().filter(|root| !is_home(root)));
    }
    for path in service::installed(home) {
        if let Ok(metadata) = fs::symlink_metadata(&path) {
            found.file("service", path, &metadata);
        }
    }
    if root().is_none() {
        completions(&mut found);
    }
    found
}

/// The folder that `RBEE_HOME` names. Such a home is one of several, and completions are for all of them.
fn root() -> Option<PathBuf> {
    let root = env::var_os("RBEE_HOME").filter(|value| !value.is_empty())?;
    std::path::absolute(root).ok()
}

/// Whether this is the folder of the user, which stays whatever it holds.
fn is_home(path: &Path) -> bool {
    env::var_os("HOME").is_some_and(|home| Path::new(&home) == path)
}

/// Whether rbee has kept models in this folder.
fn is_store(models: &Path) -> bool {
    let manifests = models.join("manifests");
    let mut files = fs::read_dir(&manifests).into_iter().flatten().flatten();
    is_folder(models)
        && (models.join(format!("{DEFAULT_MODEL}.gguf")).is_file()
            || is_folder(&manifests) && files.any(|file| is_manifest(&file.path())))
}

/// Whether it is a folder, and no link to one.
fn is_folder(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir())
}

/// Shows `see` each entry of a folder, which is removed itself if nothing is left in it. A folder that is a link is not
/// entered.
fn folder(found: &mut Found, path: &Path, mut see: impl FnMut(&mut Found, PathBuf, &Metadata)) {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(metadata) => return found.leave(path.to_owned(), &metadata),
        Err(_) => return,
    }
    let mut entries: Vec<PathBuf> =
        fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    entries.sort();
    for entry in entries {
        if let Ok(metadata) = fs::symlink_metadata(&entry) {
            see(found, entry, &metadata);
        }
    }
    found.folders.push(path.to_owned());
}

/// Whether a program of ours was killed while it wrote one of these files, e.g. `keys.new-123`.
fn is_half_written(path: &Path, own: &[PathBuf]) -> bool {
    let is_new = path.extension().and_then(OsStr::to_str).and_then(|ending| ending.strip_prefix("new-"));
    is_new.is_some_and(is_number) && own.iter().any(|file| file.with_extension("") == path.with_extension(""))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn of_sockets(found: &mut Found, path: PathBuf, metadata: &Metadata) {
    let name = path.file_name().and_then(OsStr::to_str).and_then(|name| name.strip_suffix(".sock"));
    let is_named =
        name.is_some_and(|name| name == "hive" || name.strip_prefix("worker-").is_some_and(is_number));
    if is_named && metadata.file_type().is_socket() {
        found.file("socket", path, metadata);
    } else {
        found.leave(path, metadata);
    }
}

/// What chats have left, whole or half written.
fn of_conversations(found: &mut Found, path: PathBuf, metadata: &Metadata) {
    let ending = path.extension().and_then(OsStr::to_str).unwrap_or_default();
    if metadata.is_file() && (ending == "json" || ending.strip_prefix("new-").is_some_and(is_number)) {
        found.file("conversation", path, metadata);
    } else {
        found.leave(path, metadata);
    }
}

/// The models. What somebody has put there, rather than rbee, always stays.
fn store(found: &mut Found, models: &Path, with_models: bool) {
    let mut inner = Found::default();
    for part in ["blobs", "manifests", "partial"] {
        folder(&mut inner, &models.join(part), |found, path, metadata| {
            let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
            let is_named = || match part {
                "blobs" => is_digest(name),
                "manifests" => is_manifest(&path),
                _ => is_partial(name),
            };
            match metadata.is_file() && is_named() {
                true => found.file("model", path, metadata),
                false => found.leave(path, metadata),
            }
        });
    }
    let blobs = models.join("blobs");
    let mut divided = Vec::new();
    folder(&mut inner, &models.join("divided"), |found, path, metadata| match metadata.is_dir() {
        true => divided.push(path),
        false => found.leave(path, metadata),
    });
    for model in divided {
        // Each is a link to a part, of which only the link is removed.
        folder(&mut inner, &model, |found, path, metadata| {
            let leads_to = fs::read_link(&path).ok();
            match leads_to.is_some_and(|to| to.parent() == Some(&blobs) || is_part(&path)) {
                true => found.file("model", path, metadata),
                false => found.leave(path, metadata),
            }
        });
    }
    // The folders in it before itself.
    inner.folders.sort_by_key(|path| std::cmp::Reverse(path.components().count()));
    let default = models.join(format!("{DEFAULT_MODEL}.gguf"));
    folder(&mut inner, models, |found, path, metadata| {
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        if metadata.is_dir() && name.starts_with(".staging-") {
            found.entries.push(Entry { what: "model", path, bytes: 0, kind: Kind::Tree });
        } else if metadata.is_file() && (path == default || name == HINT_SHOWN) {
            found.file("model", path, metadata);
        } else if !(metadata.is_dir() && ["blobs", "manifests", "partial", "divided"].contains(&name)) {
            found.leave(path, metadata);
        }
    });
    found.left.append(&mut inner.left);
    if with_models {
        found.entries.append(&mut inner.entries);
    } else if inner.entries.iter().any(|entry| entry.bytes > 0) {
        found.left.push((models.to_owned(), MODELS));
    }
    found.folders.append(&mut inner.folders);
}

/// Whether this is named like a part of a model in several files.
fn is_part(path: &Path) -> bool {
    let name = path.file_name().and_then(OsStr::to_str).and_then(|name| name.strip_suffix(".gguf"));
    let counts = name.and_then(|name| name.rsplit_once("-of-")).and_then(|(name, count)| {
        let (_, number) = name.rsplit_once('-')?;
        Some([number, count])
    });
    counts.is_some_and(|counts| counts.iter().all(|number| is_number(number)))
}

fn is_digest(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_partial(name: &str) -> bool {
    let name = name.strip_suffix(".parts").or_else(|| name.strip_suffix(".json")).unwrap_or(name);
    is_digest(name.strip_prefix("url-").unwrap_or(name))
}

fn is_manifest(path: &Path) -> bool {
    let is_named = path.extension().is_some_and(|ending| ending == "json" || ending == "new");
    let said = fs::read(path).ok().filter(|_| is_named);
    let said = said.and_then(|text| serde_json::from_slice::<Value>(&text).ok());
    said.is_some_and(|manifest| manifest["files"].is_array() && manifest["reference"].is_string())
}

/// The completions where shells look for them, if they are what `rbee completions` prints.
fn completions(found: &mut Found) {
    let Some(home) = env::var_os("HOME").filter(|value| !value.is_empty()).map(PathBuf::from) else { return };
    for (path, start) in [
        (".local/share/bash-completion/completions/rbee", "# Completes rbee in bash.\n_rbee() {\n"),
        (".zfunc/_rbee", "#compdef rbee\nfunction _clap_dynamic_completer_rbee() {\n"),
        (
            ".config/fish/completions/rbee.fish",
            "complete --keep-order --exclusive --command rbee --arguments ",
        ),
    ] {
        let path = home.join(path);
        if let Ok(metadata) = fs::symlink_metadata(&path)
            && metadata.is_file()
            && fs::read_to_string(&path).is_ok_and(|text| text.starts_with(start) && text.contains(VARIABLE))
        {
            found.file("completions", path, &metadata);
        }
    }
}
