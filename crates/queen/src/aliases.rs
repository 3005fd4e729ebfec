use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rbee_home::{HomeError, read_private, write_private};
use rbee_jobs::lock;
use rbee_protocol::{ApiError, ErrorCode, ModelRef};
use serde::{Deserialize, Serialize};

use crate::keys::not_kept;

/// As many are easily looked through, and sent in every list of models.
const ALIASES_MAX: usize = 256;
const ALIAS_BYTES_MAX: usize = 128;
/// No path has more.
pub(crate) const MODEL_BYTES_MAX: usize = 4096;

/// The names that operators have given to models.
pub(crate) struct Aliases {
    path: PathBuf,
    entries: Mutex<Entries>,
    /// Held while the file is written, so that `entries` need not be.
    writing: Mutex<()>,
}

type Entries = BTreeMap<String, ModelRef>;

/// What is in the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    aliases: Entries,
}

impl Aliases {
    /// The aliases in the file at `path`, which need not exist.
    ///
    /// # Errors
    /// When the file cannot be read, is open to others, or is damaged.
    pub(crate) fn load(path: PathBuf) -> Result<Self, HomeError> {
        let damaged = |reason: String| HomeError::NotStarted {
            message: format!("{} is damaged: {reason}", path.display()),
            hint: Some("correct it, or remove it and make the aliases again".to_owned()),
            code: ErrorCode::BadData,
        };
        let entries = match read_private(&path) {
            Ok(text) => decode(&text).map_err(damaged)?,
            Err(HomeError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Entries::new(),
            Err(HomeError::Io { source, .. }) if source.kind() == io::ErrorKind::InvalidData => {
                return Err(damaged("it is no text".to_owned()));
            }
            Err(error) => return Err(error),
        };
        Ok(Self { path, entries: Mutex::new(entries), writing: Mutex::default() })
    }

    /// The model that `alias` stands for.
    pub(crate) fn get(&self, alias: &str) -> Option<ModelRef> {
        lock(&self.entries).get(alias).cloned()
    }

    /// All of them.
    pub(crate) fn all(&self) -> BTreeMap<String, ModelRef> {
        lock(&self.entries).clone()
    }

    /// Has `alias` stand for `model`, or for nothing any more. It is on the disk when this returns, which blocks the
    /// thread.
    ///
    /// # Errors
    /// What [`check`] says, `bad_request` for an alias of an alias or one too many, `not_found` where there is none to
    /// remove, or what the disk says.
    pub(crate) fn set(&self, alias: &str, model: Option<ModelRef>) -> Result<(), ApiError> {
        let _writing = lock(&self.writing);
        let mut entries = self.all();
        match model {
            Some(model) => drop(entries.insert(alias.to_owned(), model)),
            None if entries.remove(alias).is_some() => {}
            None => {
                let message = format!("there is no alias `{}`", rbee_narration::printable(alias));
                return Err(
                    ApiError::new(ErrorCode::NotFound, message).hint("`rbee model list` shows the aliases")
                );
            }
        }
        check_all(&entries)?;
        let text = serde_json::to_string_pretty(&Stored { aliases: entries.clone() });
        let text = text.expect("aliases are plain data") + "\n";
        write_private(&self.path, &text).map_err(|error| not_kept(&error))?;
        *lock(&self.entries) = entries;
        Ok(())
    }
}

/// Checks an alias by itself.
///
/// # Errors
/// `bad_request` for what can be no alias, or no model's name.
pub(crate) fn check(alias: &str, model: Option<&ModelRef>) -> Result<(), ApiError> {
    // A name is never a path, so that who may not name files may name it.
    let is_odd = alias.contains(|c: char| c == '/' || c.is_whitespace()) || alias.starts_with('-');
    if !is_text(alias, ALIAS_BYTES_MAX) || is_odd || alias.ends_with(".gguf") {
        let hint = format!(
            "take 1 to {ALIAS_BYTES_MAX} bytes without `/` and spaces, not beginning with `-` nor ending in `.gguf`"
        );
        return Err(ApiError::new(ErrorCode::BadRequest, "the alias is no name of a model").hint(hint));
    }
    let Some(model) = model else { return Ok(()) };
    model.check_login()?;
    if !is_text(model.as_str(), MODEL_BYTES_MAX) || is_relative(model) {
        let error = ApiError::new(ErrorCode::BadRequest, "`model` is neither a name nor an absolute path");
        return Err(error.hint("`rbee model list` shows the models that have names"));
    }
    Ok(())
}

/// Whether this is a path from somewhere that only whoever wrote it knows.
fn is_relative(model: &ModelRef) -> bool {
    let is_path = model.as_str().contains('/') && !model.is_elsewhere();
    is_path && !Path::new(model.as_str()).is_absolute()
}

fn is_text(text: &str, bytes_max: usize) -> bool {
    (1..=bytes_max).contains(&text.len()) && !text.chars().any(char::is_control)
}

fn check_all(entries: &Entries) -> Result<(), ApiError> {
    let bad = |message: String, hint: &str| Err(ApiError::new(ErrorCode::BadRequest, message).hint(hint));
    if entries.len() > ALIASES_MAX {
        return bad(format!("there are {ALIASES_MAX} aliases already"), "remove one that is not needed");
    }
    if let Some((alias, _)) = entries.iter().find(|(alias, model)| model.as_str() == alias.as_str()) {
        return bad(format!("`{alias}` would stand for itself"), "name a model");
    }
    // Nobody need follow one to another, or around.
    if let Some((alias, model)) = entries.iter().find(|(_, model)| entries.contains_key(model.as_str())) {
        let message = format!("`{alias}` would be the alias of an alias, `{model}`");
        return bad(message, &format!("`rbee model alias {alias} MODEL` names the model itself"));
    }
    Ok(())
}

fn decode(text: &str) -> Result<Entries, String> {
    let Stored { aliases } = serde_json::from_str(text).map_err(|error| error.to_string())?;
    aliases.iter().try_for_each(|(alias, model)| check(alias, Some(model))).map_err(|error| error.message)?;
    check_all(&aliases).map_err(|error| error.message)?;
    Ok(aliases)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn load(path: &Path) -> Aliases {
        Aliases::load(path.to_owned()).expect("a sound file, or none")
    }

    fn set(aliases: &Aliases, alias: &str, model: &str) -> Result<(), ErrorCode> {
        aliases.set(alias, Some(ModelRef::new(model))).map_err(|error| error.code)
    }

    #[test]
    fn an_alias_stands_for_its_model_until_it_is_removed_also_after_a_restart() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("aliases.json");
        let aliases = load(&path);
        assert_eq!(aliases.all(), Entries::new());
        assert!(!path.exists());
        assert_eq!(set(&aliases, "gpt-4o", "small"), Ok(()));
        assert_eq!(set(&aliases, "claude", "/models/big.gguf"), Ok(()));
        assert_eq!(set(&aliases, "gpt-4o", "other"), Ok(()));
        assert_eq!(fs::metadata(&path).expect("it exists").permissions().mode() & 0o777, 0o600);
        for aliases in [aliases, load(&path)] {
            assert_eq!(aliases.get("gpt-4o"), Some(ModelRef::new("other")));
            assert_eq!(aliases.get("claude"), Some(ModelRef::new("/models/big.gguf")));
            assert_eq!((aliases.get("small"), aliases.all().len()), (None, 2));
        }
        let aliases = load(&path);
        aliases.set("gpt-4o", None).expect("it is there");
        assert_eq!(aliases.set("gpt-4o", None).expect_err("it is gone").code, ErrorCode::NotFound);
        assert_eq!((load(&path).get("gpt-4o"), load(&path).all().len()), (None, 1));
    }

    #[test]
    fn an_alias_of_an_alias_is_refused_from_either_end() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let aliases = load(&folder.path().join("aliases.json"));
        assert_eq!(set(&aliases, "a", "model"), Ok(()));
        for (alias, model) in [("b", "a"), ("model", "other"), ("c", "c")] {
            assert_eq!(set(&aliases, alias, model), Err(ErrorCode::BadRequest), "{alias} for {model}");
        }
        assert_eq!(aliases.all().len(), 1);
    }

    #[test]
    fn what_is_no_name_or_no_model_is_refused() {
        let long = "x".repeat(129);
        for alias in ["", "a/b", "/etc/passwd", "x.gguf", "a\nb", "\u{1b}[2J", long.as_str()] {
            assert!(check(alias, None).is_err(), "{alias}");
        }
        let long = format!("/{}", "x".repeat(4096));
        for model in ["", "a/b", "./x.gguf", "\0", long.as_str()] {
            assert!(check("a", Some(&ModelRef::new(model))).is_err(), "{model}");
        }
        for model in ["a name", "/models/x.gguf"] {
            assert_eq!(check("gpt-4o", Some(&ModelRef::new(model))), Ok(()));
        }
    }

    #[test]
    fn there_are_so_many_and_no_more() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("aliases.json");
        let aliases: Entries = (0..256).map(|n| (format!("a{n}"), ModelRef::new("m"))).collect();
        let text = serde_json::to_string(&Stored { aliases }).expect("plain data");
        write_private(&path, &text).expect("our own folder");
        let aliases = load(&path);
        assert_eq!(set(&aliases, "one-more", "m"), Err(ErrorCode::BadRequest));
        assert_eq!(set(&aliases, "a7", "n"), Ok(()));
    }

    #[test]
    fn a_file_that_cannot_be_trusted_is_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("aliases.json");
        for text in [
            "",
            "{}",
            r#"{"aliases":{"a/b":"m"}}"#,
            r#"{"aliases":{"a":"./m"}}"#,
            r#"{"aliases":{"a":"b","b":"m"}}"#,
            r#"{"aliases":{"a":"m"},"more":1}"#,
        ] {
            write_private(&path, text).expect("our own folder");
            let error = Aliases::load(path.clone()).err().expect("it is damaged");
            assert_eq!(error.code(), ErrorCode::BadData, "{text}");
            assert!(error.to_string().contains("aliases.json") && error.hint().is_some(), "{error}");
        }
        write_private(&path, r#"{"aliases":{}}"#).expect("our own folder");
        fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("our own file");
        assert!(matches!(Aliases::load(path), Err(HomeError::OpenToOthers { .. })));
    }

    #[test]
    fn what_cannot_be_written_changes_nothing() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let aliases = load(&folder.path().join("aliases.json"));
        assert_eq!(set(&aliases, "a", "m"), Ok(()));
        drop(folder);
        assert_eq!(set(&aliases, "b", "m"), Err(ErrorCode::Io));
        assert_eq!((aliases.get("a"), aliases.get("b")), (Some(ModelRef::new("m")), None));
    }
}
