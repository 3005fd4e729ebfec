//! Hugging Face, and servers that answer as it does.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::PathBuf;

use hyper::StatusCode;
use hyper::header::HeaderMap;
use rbee_protocol::{ApiError, ErrorCode, FoundModel};
use serde::Deserialize;
use url::Url;

use crate::caches::variable;
use crate::download::{Remote, is_sha256};
use crate::reference::{Reference, Wanted, has_word, is_path};
use crate::sources::{Source, SourceFile};
use crate::web::{CORRECT_HINT, Credential, Told, Web, WebError, host, server};

const ENDPOINT: &str = "https://huggingface.co";
/// Where nothing is said, the first of these that there is: from good and small to large.
const PREFERRED: [&str; 8] = ["Q4_K_M", "MXFP4", "Q4_K_S", "Q4_0", "Q4_1", "Q5_K_M", "Q6_K", "Q8_0"];
/// So many names of what there is are shown.
const NAMES_SHOWN_MAX: usize = 12;

/// A hub of models.
pub(crate) struct Hub {
    endpoint: Url,
}

/// What the hub says of a repository.
#[derive(Deserialize)]
struct Repository {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
    #[serde(default)]
    tags: Vec<String>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    #[serde(default)]
    size: Option<u64>,
    #[serde(default)]
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    sha256: String,
    size: u64,
}

#[derive(Deserialize)]
struct Hit {
    id: String,
    #[serde(default)]
    downloads: Option<u64>,
    #[serde(default)]
    tags: Vec<String>,
}

impl Hub {
    /// Hugging Face, or what `HF_ENDPOINT` says.
    ///
    /// # Errors
    /// `bad_data` when that is no URL.
    pub(crate) fn from_env() -> Result<Self, ApiError> {
        let endpoint = env::var("HF_ENDPOINT").ok().filter(|endpoint| !endpoint.is_empty());
        Ok(Self { endpoint: server("HF_ENDPOINT", endpoint.as_deref().unwrap_or(ENDPOINT))? })
    }

    /// The files of the model of `repository` that is `wanted`.
    pub(crate) async fn find(
        &self,
        web: &Web,
        repository: &str,
        wanted: &Wanted,
        told: &Told<'_>,
    ) -> Result<Source, ApiError> {
        let credential = self.credential()?;
        let mut url = self.at(&["api", "models"], repository);
        url.set_query(Some("blobs=true"));
        let about: Repository =
            web.json(&url, &HeaderMap::new(), Some(&credential), told).await.map_err(|error| match &error {
                // It does not tell strangers which repositories there are.
                WebError::Status {
                    status: StatusCode::UNAUTHORIZED | StatusCode::NOT_FOUND,
                    proxy: None,
                    ..
                } => {
                    let message = format!("there is no repository {repository}, or it is not for everybody");
                    ApiError::new(ErrorCode::NotFound, message).hint(match credential.is_there() {
                        true => {
                            "check the name (`rbee model search WORDS` looks for models), and that the token which was \
                             sent with it is right and may read it"
                        }
                        false => {
                            "check the name (`rbee model search WORDS` looks for models); if it needs a token, put that \
                             into `HF_TOKEN`, and `rbee queen stop` once, so that the hive sees it"
                        }
                    })
                }
                _ => error.into(),
            })?;
        let chosen = choose(&about.siblings, repository, wanted)?;
        let mut files = Vec::new();
        for sibling in &chosen {
            let sha256 = sibling.lfs.as_ref().map(|lfs| lfs.sha256.to_lowercase());
            if sha256.as_deref().is_some_and(|sha256| !is_sha256(sha256)) {
                let message = format!("{} says of a file what is no SHA-256", host(&self.endpoint));
                return Err(
                    ApiError::new(ErrorCode::BadData, message).hint("see that `HF_ENDPOINT` is right")
                );
            }
            let mut url = self.at(&[], repository);
            url.path_segments_mut()
                .expect("an endpoint has a path")
                .extend(["resolve", &about.sha])
                .extend(sibling.rfilename.split('/'));
            let remote = Remote {
                url,
                credential: Some(credential.clone()),
                size_bytes: sibling.lfs.as_ref().map(|lfs| lfs.size).or(sibling.size),
                sha256,
            };
            let name = sibling.rfilename.rsplit('/').next().unwrap_or_default();
            files.push(SourceFile { name: name.to_owned(), remote, version: None });
        }
        let wanted = Wanted::File(chosen[0].rfilename.clone());
        Ok(Source {
            reference: Reference::Hub { repository: repository.to_owned(), wanted },
            files,
            license: license(&about.tags),
        })
    }

    /// Repositories with all these words in their names, the most downloaded first.
    pub(crate) async fn search(
        &self,
        web: &Web,
        words: &str,
        limit: u32,
        told: &Told<'_>,
    ) -> Result<Vec<FoundModel>, ApiError> {
        let mut url = self.endpoint.clone();
        url.path_segments_mut().expect("an endpoint has a path").pop_if_empty().extend(["api", "models"]);
        url.query_pairs_mut()
            .append_pair("search", words)
            .append_pair("filter", "gguf")
            .append_pair("sort", "downloads")
            .append_pair("direction", "-1")
            .append_pair("limit", &limit.to_string());
        // What is to be seen with the operator's token is not for everybody who may search.
        let hits: Vec<Hit> = web.json(&url, &HeaderMap::new(), None, told).await?;
        let found = hits.into_iter().map(|hit| FoundModel {
            reference: format!("hf:{}", hit.id),
            about: None,
            license: license(&hit.tags),
            downloads: hit.downloads,
        });
        Ok(found.collect())
    }

    fn at(&self, path: &[&str], repository: &str) -> Url {
        let mut url = self.endpoint.clone();
        url.path_segments_mut()
            .expect("an endpoint has a path")
            .pop_if_empty()
            .extend(path)
            .extend(repository.split('/'));
        url
    }

    /// The user's token, from where Hugging Face's own programs look for it.
    fn credential(&self) -> Result<Credential, ApiError> {
        let told = env::var_os("HF_TOKEN").map(|token| (None, token.to_string_lossy().into_owned()));
        let file = || {
            let path = variable("HF_TOKEN_PATH").or_else(|| Some(home_folder()?.join("token")))?;
            let token = fs::read(&path).ok()?;
            Some((Some(path), String::from_utf8_lossy(&token).into_owned()))
        };
        let is_one = |(_, token): &(_, String)| !token.trim().is_empty();
        let Some((path, token)) = told.filter(is_one).or_else(file).filter(is_one) else {
            return Ok(Credential::none(&self.endpoint));
        };
        Credential::bearer(&self.endpoint, token.trim()).ok_or_else(|| {
            let (place, hint) = match path {
                Some(path) => (path.display().to_string(), "correct it, or remove it"),
                None => ("`HF_TOKEN`".to_owned(), CORRECT_HINT),
            };
            ApiError::new(ErrorCode::BadData, format!("{place} holds something that is no token")).hint(hint)
        })
    }
}

/// Where Hugging Face's programs keep what is theirs.
pub(crate) fn home_folder() -> Option<PathBuf> {
    variable("HF_HOME").or_else(|| {
        let cache = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
        Some(cache?.join("huggingface"))
    })
}

/// The files of the one model that is wanted, the first of a divided one first.
fn choose<'a>(
    siblings: &'a [Sibling],
    repository: &str,
    wanted: &Wanted,
) -> Result<Vec<&'a Sibling>, ApiError> {
    // A model may be there as one file and divided, too.
    let mut models: BTreeMap<(String, u16), Vec<&Sibling>> = BTreeMap::new();
    for sibling in siblings {
        let name = &sibling.rfilename;
        let lower = name.to_lowercase();
        // What belongs to models: parts that see, and what quantizations were made with.
        let is_model = lower.ends_with(".gguf") && !lower.contains("mmproj") && !lower.contains("imatrix");
        if is_model && is_path(name) {
            let divided = rbee_gguf::split(name).filter(|(.., parts)| *parts > 1);
            let divided = divided.map(|(model, _, parts)| (format!("{model}.gguf"), parts));
            models.entry(divided.unwrap_or_else(|| (name.clone(), 1))).or_default().push(sibling);
        }
    }
    for files in models.values_mut() {
        files.sort_by(|a, b| a.rfilename.cmp(&b.rfilename));
    }
    let with = |word: &str| models.iter().find(|((name, _), _)| has_word(name, word));
    let mut names: Vec<&str> = models.keys().map(|(name, _)| name.as_str()).collect();
    names.dedup();
    let found = match wanted {
        Wanted::Quantization(word) => with(word),
        Wanted::File(file) => {
            models.iter().find(|(_, files)| files.iter().any(|part| part.rfilename == *file))
        }
        Wanted::Any => PREFERRED
            .iter()
            .find_map(|word| with(word))
            .or_else(|| models.iter().next().filter(|_| names.len() == 1)),
    };
    if let Some(((name, parts), files)) = found {
        let numbers = files.iter().map(|file| rbee_gguf::split(&file.rfilename).map_or(1, |(_, no, _)| no));
        if !numbers.eq(1..=*parts) {
            let message =
                format!("the repository {repository} has {} of the {parts} parts of {name}", files.len());
            return Err(ApiError::new(ErrorCode::BadData, message)
                .hint("take the model from another repository: `rbee model search WORDS` looks for some"));
        }
        return Ok(files.clone());
    }
    if models.is_empty() {
        let has_some = siblings.iter().any(|sibling| sibling.rfilename.to_lowercase().ends_with(".gguf"));
        let message = match has_some {
            true => format!("the repository {repository} has no GGUF files of models with plain names"),
            false => format!("the repository {repository} has no GGUF files"),
        };
        return Err(ApiError::new(ErrorCode::NotFound, message)
            .hint("look for one that has: `rbee model search WORDS` shows no others"));
    }
    names.truncate(NAMES_SHOWN_MAX);
    let message = match wanted {
        Wanted::Quantization(wanted) | Wanted::File(wanted) => {
            format!("the repository {repository} has no {}", rbee_narration::printable(wanted))
        }
        Wanted::Any => {
            format!("the repository {repository} has several models, and none that is clearly meant")
        }
    };
    let hint =
        format!("name one behind a colon, e.g. hf:{repository}:{}; there are {}", names[0], names.join(", "));
    Err(ApiError::new(ErrorCode::NotFound, message).hint(rbee_narration::printable(&hint)))
}

fn license(tags: &[String]) -> Option<String> {
    tags.iter().find_map(|tag| tag.strip_prefix("license:")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(names: &[&str], wanted: Wanted, expected: &[&str]) {
        let siblings: Vec<Sibling> = names
            .iter()
            .map(|name| Sibling { rfilename: (*name).to_owned(), size: None, lfs: None })
            .collect();
        let chosen = choose(&siblings, "a/b", &wanted);
        let chosen: Vec<&str> = chosen.iter().flatten().map(|sibling| sibling.rfilename.as_str()).collect();
        assert_eq!(chosen, expected, "{wanted:?} of {names:?}");
    }

    #[test]
    fn the_model_that_is_meant_is_chosen_with_all_of_its_files() {
        let names = [
            "README.md",
            "m-F16.gguf",
            "m-Q8_0.gguf",
            "m-Q4_K_M-00002-of-00002.gguf",
            "m-Q4_K_M-00001-of-00002.gguf",
            "mmproj-m-Q4_K_M.gguf",
        ];
        let divided = ["m-Q4_K_M-00001-of-00002.gguf", "m-Q4_K_M-00002-of-00002.gguf"];
        check(&names, Wanted::Any, &divided);
        check(&names, Wanted::Quantization("q4_k_m".into()), &divided);
        check(&names, Wanted::File(divided[1].into()), &divided);
        check(&names, Wanted::Quantization("Q8_0".into()), &["m-Q8_0.gguf"]);
        check(&names, Wanted::Quantization("Q4_K".into()), &[]);
        check(&["only.gguf"], Wanted::Any, &["only.gguf"]);
        check(&["a.gguf", "b.gguf"], Wanted::Any, &[]);
        check(&["sub/Q6_K/m.gguf", "x.gguf"], Wanted::Any, &["sub/Q6_K/m.gguf"]);
        let both = ["m-00001-of-00002.gguf", "m-00001-of-00003.gguf", "m-00002-of-00002.gguf", "m.gguf"];
        check(&both, Wanted::Any, &["m.gguf"]);
        check(&both, Wanted::File("m.gguf".into()), &["m.gguf"]);
        check(&both, Wanted::File(both[0].into()), &[both[0], both[2]]);
        check(&both, Wanted::File(both[1].into()), &[]);
        check(&["m.gguf", "m-00001-of-00001.gguf"], Wanted::File("m.gguf".into()), &["m.gguf"]);
    }
}
