//! Where a model can be pulled from, as people write it.

use std::path::{Path, PathBuf};

use rbee_narration::printable;
use rbee_protocol::{ApiError, ErrorCode, ModelRef};
use url::Url;

/// No name of a repository, file or tag has more.
const NAME_BYTES_MAX: usize = 255;

/// Where a model is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reference {
    /// In a repository of Hugging Face, or of a server like it.
    Hub { repository: String, wanted: Wanted },
    /// In Ollama's registry.
    Ollama { name: String, tag: String },
    /// A file anywhere.
    Url(Url),
    /// A file on this machine.
    Path(PathBuf),
}

/// Which of a repository's models is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// The one that most people take.
    Any,
    /// The one with this quantization, or another part of its name.
    Quantization(String),
    /// The one in this file, or the first of these files.
    File(String),
}

/// What stands in the name of a query's field whose value opens something.
const SECRETS: [&str; 9] = ["token", "sig", "key", "cred", "auth", "pass", "secret", "expires", "amz"];

/// A file's address as it may be told and kept.
fn without_secrets(url: &Url) -> String {
    let is_secret = |name: &str| SECRETS.iter().any(|secret| name.to_lowercase().contains(secret));
    if !url.query_pairs().any(|(name, _)| is_secret(&name)) {
        return url.to_string();
    }
    let mut told = url.clone();
    told.query_pairs_mut().clear().extend_pairs(url.query_pairs().filter(|(name, _)| !is_secret(name)));
    if told.query() == Some("") {
        told.set_query(None);
    }
    told.to_string()
}

impl Reference {
    /// What `text` says, unless it is a plain name.
    ///
    /// # Errors
    /// `bad_request` for what looks like a reference and is none.
    pub(crate) fn parse(text: &str) -> Result<Option<Self>, ApiError> {
        let bad = |reason: &str| {
            let message = format!("`{}` says no place of a model: {reason}", printable(text));
            let hint = "it is `hf:owner/repository`, with `:quantization` behind it or not, `ollama:name:tag`, the URL of a \
                        .gguf file, or a path";
            Err(ApiError::new(ErrorCode::BadRequest, message).hint(hint))
        };
        if let Some(rest) = text.strip_prefix("hf:") {
            return match hub(rest) {
                Some(reference) => Ok(Some(reference)),
                None => bad("behind `hf:` comes `owner/repository`"),
            };
        }
        if let Some(rest) = text.strip_prefix("ollama:") {
            return match ollama(rest) {
                Some(reference) => Ok(Some(reference)),
                None => bad("behind `ollama:` comes a name, with or without a tag"),
            };
        }
        if text.starts_with("https://") || text.starts_with("http://") {
            ModelRef::new(text).check_login()?;
            return match Url::parse(text) {
                Ok(url) => Ok(Some(page(&url).unwrap_or(Self::Url(url)))),
                Err(error) => bad(&error.to_string()),
            };
        }
        let path = Path::new(text);
        if path.is_absolute() {
            return Ok(Some(Self::Path(path.to_owned())));
        }
        if text.contains("://") {
            return bad("a URL begins with `https://` or `http://`");
        }
        Ok(text.contains('/').then(|| hub(text)).flatten())
    }

    /// The one way to write it.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Hub { repository, wanted: Wanted::Any } => format!("hf:{repository}"),
            Self::Hub { repository, wanted: Wanted::Quantization(wanted) | Wanted::File(wanted) } => {
                format!("hf:{repository}:{wanted}")
            }
            Self::Ollama { name, tag } => {
                format!("ollama:{}:{tag}", name.strip_prefix("library/").unwrap_or(name))
            }
            Self::Url(url) => without_secrets(url),
            Self::Path(path) => path.display().to_string(),
        }
    }

    /// Whether this means the model that came from `other`.
    pub(crate) fn means(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Hub { repository, wanted },
                Self::Hub { repository: other_repository, wanted: Wanted::File(file) },
            ) => {
                repository.eq_ignore_ascii_case(other_repository)
                    && match wanted {
                        Wanted::Any => true,
                        Wanted::Quantization(quantization) => has_word(file, quantization),
                        Wanted::File(wanted) => wanted == file,
                    }
            }
            (Self::Url(_), Self::Url(_)) => self.text() == other.text(),
            (this, other) => this == other,
        }
    }
}

fn hub(text: &str) -> Option<Reference> {
    let (repository, wanted) = match text.split_once(':') {
        None => (text, Wanted::Any),
        Some((repository, file)) if file.ends_with(".gguf") => (repository, Wanted::File(file.to_owned())),
        Some((repository, quantization)) if is_name(quantization) => {
            (repository, Wanted::Quantization(quantization.to_owned()))
        }
        Some(_) => return None,
    };
    if let Wanted::File(file) = &wanted
        && !is_path(file)
    {
        return None;
    }
    let (owner, name) = repository.split_once('/')?;
    (is_name(owner) && is_name(name)).then(|| Reference::Hub { repository: repository.to_owned(), wanted })
}

fn ollama(text: &str) -> Option<Reference> {
    let (name, tag) = text.split_once(':').unwrap_or((text, "latest"));
    let name = if name.contains('/') { name.to_owned() } else { format!("library/{name}") };
    let (namespace, model) = name.split_once('/')?;
    let is_one = is_name(namespace) && is_name(model) && is_name(tag);
    is_one.then(|| Reference::Ollama { name, tag: tag.to_owned() })
}

/// The repository whose page, or a page of whose file, somebody has pasted.
fn page(url: &Url) -> Option<Reference> {
    if !matches!(url.host_str()?, "huggingface.co" | "www.huggingface.co" | "hf.co") {
        return None;
    }
    let path: Vec<&str> = url.path_segments()?.filter(|segment| !segment.is_empty()).collect();
    match path.as_slice() {
        [owner, name] | [owner, name, "tree", ..] => hub(&format!("{owner}/{name}")),
        [owner, name, "blob" | "resolve", "main", file @ ..] => {
            hub(&format!("{owner}/{name}:{}", file.join("/")))
        }
        _ => None,
    }
}

/// Whether this is the path of a file in a repository.
pub(crate) fn is_path(text: &str) -> bool {
    text.split('/').all(is_name)
}

/// Whether this is a name, and nothing that leads elsewhere.
fn is_name(text: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&text.len())
        && !text.starts_with('.')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-+".contains(&byte))
}

/// Whether `word` is in `text`, and is not a part of a longer one: `Q4_K` is not in `x-Q4_K_M.gguf`.
pub(crate) fn has_word(text: &str, word: &str) -> bool {
    let (text, word) = (text.to_ascii_uppercase(), word.to_ascii_uppercase());
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.match_indices(&word)
        .any(|(at, _)| !text[..at].ends_with(is_part) && !text[at + word.len()..].starts_with(is_part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let reference = Reference::parse(text).unwrap_or_else(|error| panic!("{text}: {}", error.message));
        assert_eq!(reference.map(|reference| reference.text()).as_deref(), Some(expected), "{text}");
    }

    #[test]
    fn every_way_to_write_a_reference_becomes_one() {
        check("hf:Qwen/Qwen3-4B-GGUF", "hf:Qwen/Qwen3-4B-GGUF");
        check("Qwen/Qwen3-4B-GGUF:Q4_K_M", "hf:Qwen/Qwen3-4B-GGUF:Q4_K_M");
        check("hf:a/b:sub/c.gguf", "hf:a/b:sub/c.gguf");
        check("https://huggingface.co/a/b", "hf:a/b");
        check("https://hf.co/a/b/tree/main", "hf:a/b");
        check("https://huggingface.co/a/b/blob/main/sub/c.gguf?download=true", "hf:a/b:sub/c.gguf");
        check("https://huggingface.co/a/b/resolve/main/c.gguf", "hf:a/b:c.gguf");
        check("ollama:llama3.2", "ollama:llama3.2:latest");
        check("ollama:me/mine:7b", "ollama:me/mine:7b");
        check("https://box.lan/models/c.gguf", "https://box.lan/models/c.gguf");
        check("/models/c.gguf", "/models/c.gguf");
    }

    #[test]
    fn plain_names_are_none() {
        for text in ["tiny", "llama3.2:1b", "SmolLM2-135M-Instruct.Q4_1", "a/b/c", "../x.gguf", "./a/b"] {
            assert_eq!(Reference::parse(text).expect(text), None, "{text}");
        }
    }

    #[test]
    fn what_leads_elsewhere_is_refused() {
        for text in [
            "hf:",
            "hf:a",
            "hf:../b",
            "hf:a/..",
            "hf:a/b/c",
            "hf:a/b:../c.gguf",
            "hf:a/b:x/../c.gguf",
            "hf:a/b:/c.gguf",
            "hf:a/b:",
            "hf:a/b:Q4/../../x",
            "ollama:",
            "ollama:../x:y",
            "ollama:a/b/c:d",
            "ollama:a:b/c",
            "https://",
            "hf:a/b:%2e%2e/c.gguf",
        ] {
            let error = Reference::parse(text).expect_err(text);
            assert_eq!(error.code, ErrorCode::BadRequest, "{text}");
        }
    }

    #[test]
    fn a_quantization_is_a_whole_word() {
        assert!(has_word("Qwen3-4B-Q4_K_M.gguf", "q4_k_m"));
        assert!(has_word("model.Q8_0.gguf", "Q8_0"));
        assert!(!has_word("Qwen3-4B-Q4_K_M.gguf", "Q4_K"));
        assert!(!has_word("Qwen3-4B-IQ4_XS.gguf", "Q4_XS"));
    }
}
