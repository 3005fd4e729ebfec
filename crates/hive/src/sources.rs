//! Where models come from.

use rbee_protocol::{ApiError, ErrorCode};

use crate::download::Remote;
use crate::hub::Hub;
use crate::reference::Reference;
use crate::registry;
use crate::web::{Told, Web};

/// A model that was found somewhere.
pub(crate) struct Source {
    /// Where exactly.
    pub(crate) reference: Reference,
    /// Its files, the first one of a divided model first.
    pub(crate) files: Vec<SourceFile>,
    pub(crate) license: Option<String>,
}

/// One of its files.
pub(crate) struct SourceFile {
    /// What it is called there.
    pub(crate) name: String,
    pub(crate) remote: Remote,
    /// Which version of it is here already, where that is known.
    pub(crate) version: Option<String>,
}

impl Source {
    /// Of all its files, where that is known.
    pub(crate) fn size_bytes(&self) -> Option<u64> {
        self.files.iter().try_fold(0, |sum: u64, file| Some(sum.saturating_add(file.remote.size_bytes?)))
    }

    /// Looks what is where `reference` says, which is no path; `told` hears of waits.
    pub(crate) async fn find(reference: &Reference, web: &Web, told: &Told<'_>) -> Result<Self, ApiError> {
        match reference {
            Reference::Hub { repository, wanted } => {
                Hub::from_env()?.find(web, repository, wanted, told).await
            }
            Reference::Ollama { name, tag } => registry::find(web, name, tag, told).await,
            Reference::Url(url) => {
                let name = url.path_segments().and_then(|mut path| path.next_back()).unwrap_or_default();
                if !name.to_ascii_lowercase().ends_with(".gguf") {
                    let error = ApiError::new(ErrorCode::BadRequest, "the URL is not that of a .gguf file");
                    return Err(error.hint("open the page and copy the address of the file itself"));
                }
                let remote = Remote { url: url.clone(), credential: None, size_bytes: None, sha256: None };
                let files = vec![SourceFile { name: name.to_owned(), remote, version: None }];
                Ok(Self { reference: reference.clone(), files, license: None })
            }
            Reference::Path(_) => unreachable!("a file that is here is looked for nowhere"),
        }
    }
}

/// `text` as a name that is one everywhere: on the command line, on the disk, in a URL.
pub(crate) fn safe_name(text: &str) -> String {
    let is_safe = |c: char| c.is_ascii_alphanumeric() || "._-+:".contains(c);
    let name: String = text.chars().map(|c| if is_safe(c) { c } else { '-' }).take(NAME_CHARS_MAX).collect();
    let name = name.trim_start_matches(['.', '-', ':']);
    if name.is_empty() { "model".to_owned() } else { name.to_owned() }
}

const NAME_CHARS_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leads_out_of_the_store() {
        for (text, expected) in [
            ("Qwen3-4B-Q4_K_M", "Qwen3-4B-Q4_K_M"),
            ("llama3.2:1b", "llama3.2:1b"),
            ("../../etc/passwd", "etc-passwd"),
            ("..", "model"),
            ("a b\u{1b}[2J/ü", "a-b--2J--"),
            ("", "model"),
        ] {
            assert_eq!(safe_name(text), expected, "{text}");
        }
        assert_eq!(safe_name(&"x".repeat(1000)).len(), NAME_CHARS_MAX);
    }
}
