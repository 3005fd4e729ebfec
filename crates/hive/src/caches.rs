//! Models that other programs have downloaded already. They are used where they are.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use rbee_protocol::Place;

use crate::download::is_sha256;
use crate::hub;
use crate::reference::{Reference, Wanted};
use crate::registry::Manifest;
use crate::sources::safe_name;

/// So many are found at most: whoever has more has named them.
const MODELS_MAX: usize = 1000;
const DEPTH_MAX: usize = 4;
const MANIFEST_BYTES_MAX: u64 = 1 << 20;

/// A model of another program.
pub(crate) struct Cached {
    pub(crate) name: String,
    pub(crate) place: Place,
    pub(crate) reference: Option<Reference>,
    /// Its file, or the first of them.
    pub(crate) path: PathBuf,
    /// Of its only file, where that program knows it.
    pub(crate) sha256: Option<String>,
}

/// All of them.
pub(crate) fn find() -> Vec<Cached> {
    let mut found = Vec::new();
    hugging_face(&mut found);
    ollama(&mut found);
    let home = variable("HOME");
    let lm_studio =
        home.iter().flat_map(|home| [home.join(".lmstudio/models"), home.join(".cache/lm-studio/models")]);
    let llama_cpp = variable("LLAMA_CACHE").or_else(|| {
        let cache = variable("XDG_CACHE_HOME").or_else(|| Some(home.as_ref()?.join(".cache")));
        Some(cache?.join("llama.cpp"))
    });
    let folders = lm_studio.map(|folder| (folder, Place::LmStudio));
    for (folder, place) in folders.chain(llama_cpp.map(|folder| (folder, Place::LlamaCpp))) {
        for path in models_in(&folder) {
            found.push(Cached { name: name_of(&path), place, reference: None, path, sha256: None });
        }
    }
    found.truncate(MODELS_MAX);
    found
}

/// `models--owner--name/snapshots/<commit>/file.gguf` leads to `models--owner--name/blobs/<sha256>`.
fn hugging_face(found: &mut Vec<Cached>) {
    let folder = variable("HF_HUB_CACHE").or_else(|| Some(hub::home_folder()?.join("hub")));
    for repository in folder.iter().flat_map(|folder| entries(folder)) {
        let name = repository.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(name) = name.strip_prefix("models--").map(|name| name.replacen("--", "/", 1)) else {
            continue;
        };
        for commit in entries(&repository.join("snapshots")) {
            for path in models_in(&commit) {
                let digest = path.canonicalize().ok();
                let digest =
                    digest.as_deref().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
                let inside = path.strip_prefix(&commit).unwrap_or(&path).to_string_lossy().into_owned();
                let reference = Reference::Hub { repository: name.clone(), wanted: Wanted::File(inside) };
                found.push(Cached {
                    name: name_of(&path),
                    place: Place::HuggingFace,
                    reference: Some(reference),
                    sha256: is_sha256(&digest).then(|| digest.into_owned()),
                    path,
                });
            }
        }
    }
}

/// `manifests/<registry>/<namespace>/<name>/<tag>` says which of the `blobs/sha256-<digest>` is the model.
fn ollama(found: &mut Vec<Cached>) {
    let own = || Some(variable("HOME")?.join(".ollama/models"));
    let folders = match variable("OLLAMA_MODELS") {
        Some(folder) => vec![folder],
        // Where it is a service of the system, it has a home of its own.
        None => own().into_iter().chain([PathBuf::from("/usr/share/ollama/.ollama/models")]).collect(),
    };
    for folder in folders {
        for namespace in entries(&folder.join("manifests/registry.ollama.ai")) {
            for (model, tag) in entries(&namespace)
                .into_iter()
                .flat_map(|model| entries(&model).into_iter().map(move |tag| (model.clone(), tag)))
            {
                let text = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let (namespace, model, tag_name) = (text(&namespace), text(&model), text(&tag));
                let is_small =
                    fs::metadata(&tag).is_ok_and(|file| file.is_file() && file.len() <= MANIFEST_BYTES_MAX);
                let manifest = is_small.then(|| fs::read(&tag).ok()).flatten();
                let manifest: Option<Manifest> = manifest.and_then(|text| serde_json::from_slice(&text).ok());
                let Some((sha256, _)) = manifest.as_ref().and_then(Manifest::model) else { continue };
                let path = folder.join("blobs").join(format!("sha256-{sha256}"));
                if !path.is_file() {
                    continue;
                }
                let short =
                    if namespace == "library" { model.clone() } else { format!("{namespace}-{model}") };
                found.push(Cached {
                    name: safe_name(&format!("{short}:{tag_name}")),
                    place: Place::Ollama,
                    reference: Some(Reference::Ollama {
                        name: format!("{namespace}/{model}"),
                        tag: tag_name,
                    }),
                    path,
                    sha256: Some(sha256.to_owned()),
                });
            }
        }
    }
}

/// The models below `folder`: of a divided one, the first file.
fn models_in(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    look_into(folder, DEPTH_MAX, &mut found);
    found.sort();
    found
}

fn look_into(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    for path in entries(folder) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && depth > 1 && !name.starts_with('.') {
            look_into(&path, depth - 1, found);
        } else if is_model(&name) && path.is_file() && found.len() < MODELS_MAX {
            found.push(path);
        }
    }
}

/// Whether a file of this name is a model, or the first file of one.
pub(crate) fn is_model(name: &str) -> bool {
    let Some(stem) = name.strip_suffix(".gguf") else { return false };
    let is_later = rbee_gguf::split(name).is_some_and(|(_, no, _)| no != 1);
    !is_later && !stem.to_lowercase().contains("mmproj")
}

/// What the model in this file is called.
pub(crate) fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    safe_name(rbee_gguf::split(&name).map_or(&*stem, |(model, ..)| model))
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().take(MODELS_MAX);
    entries.map(|entry| entry.path()).collect()
}

/// A path in the environment; an empty one is none.
pub(crate) fn variable(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}
