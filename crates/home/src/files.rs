use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use crate::HomeError;

/// Writes `text` to `path` with mode 0600, whole or not at all. It is on the disk when this returns.
///
/// # Errors
/// What the file system says.
pub fn write_private(path: &Path, text: &str) -> Result<(), HomeError> {
    let staged = path.with_extension(format!("new-{}", std::process::id()));
    let write = || {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&staged)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&staged, path)?;
        // The new name is the folder's content, and durable when that is.
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    };
    write().map_err(|error| {
        // Where there is no room, what is half written takes the last of it.
        let _ = fs::remove_file(&staged);
        HomeError::io("write", path)(error)
    })
}

/// The text in the file at `path`.
///
/// # Errors
/// What the file system says; [`HomeError::OpenToOthers`] when others may use the file.
pub fn read_private(path: &Path) -> Result<String, HomeError> {
    let mut file = File::open(path).map_err(HomeError::io("read", path))?;
    let metadata = file.metadata().map_err(HomeError::io("read", path))?;
    if metadata.is_dir() {
        return Err(HomeError::io("read", path)(io::ErrorKind::IsADirectory.into()));
    }
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(HomeError::OpenToOthers { path: path.to_owned() });
    }
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(HomeError::io("read", path))?;
    Ok(text)
}

/// A new key: `rbee_` and 256 random bits in hexadecimal.
///
/// # Panics
/// When the system has no randomness to give, in which case no key is safe.
pub fn new_key() -> String {
    let mut bits = [0_u8; 32];
    getrandom::fill(&mut bits).expect("a system without randomness cannot make keys");
    let digits: String = bits.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("rbee_{digits}")
}

/// The key in the file at `path`, which is made, with mode 0600, where it is missing.
///
/// # Errors
/// What [`read_key`] says.
pub fn read_or_create_key(path: &Path) -> Result<String, HomeError> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(mut file) => {
            let key = new_key();
            file.write_all(format!("{key}\n").as_bytes())
                .and_then(|()| file.sync_all())
                .map_err(HomeError::io("write", path))?;
            Ok(key)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => read_key(path),
        Err(error) => Err(HomeError::io("create", path)(error)),
    }
}

/// The key in the file at `path`.
///
/// # Errors
/// What the file system says; also when the file is open to others or holds no key.
pub fn read_key(path: &Path) -> Result<String, HomeError> {
    let text = match read_private(path) {
        Err(HomeError::Io { source, .. }) if source.kind() == io::ErrorKind::InvalidData => String::new(),
        text => text?,
    };
    let key = text.trim();
    if key.len() < 16 || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(HomeError::NoKey { path: path.to_owned() });
    }
    Ok(key.to_owned())
}

/// The path as a shell takes it, for a command to type.
pub fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@".contains(c);
    if text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// What to do with a file or folder that has the place of another kind.
pub fn move_away_hint(path: &Path) -> String {
    format!("move it away: `mv {0} {0}.old`", quoted(path))
}

/// The link on the way to `path`, or there, that leads to nothing.
pub fn broken_link(path: &Path) -> Option<&Path> {
    let there = path.ancestors().find(|path| fs::symlink_metadata(path).is_ok())?;
    matches!(there.try_exists(), Ok(false)).then_some(there)
}

/// What to do with such a link.
pub fn broken_link_hint(link: &Path) -> String {
    format!("{} is a link to what is not there: mount that, or remove the link", link.display())
}

/// What to do with a journal that is none.
pub fn journal_hint(path: &Path) -> String {
    format!("`mv {0} {0}.old`: the queen begins another, without the jobs in it", quoted(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_for_its_owner_alone() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("operator.key");
        let key = read_or_create_key(&path).expect("a new key");
        assert_eq!(key.len(), "rbee_".len() + 64);
        assert_eq!(read_or_create_key(&path).expect("the same key"), key);
        assert_eq!(fs::metadata(&path).expect("it exists").permissions().mode() & 0o777, 0o600);

        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("our own file");
        assert!(matches!(read_or_create_key(&path), Err(HomeError::OpenToOthers { .. })));
        for damaged in [&b""[..], b"\n", b"short", b"two words, of which neither is one", &[0xff; 40]] {
            write_private(&path, "").expect("our own folder");
            fs::write(&path, damaged).expect("our own file");
            let error = read_or_create_key(&path).expect_err("no key");
            assert!(matches!(error, HomeError::NoKey { .. }), "{damaged:?}: {error}");
        }
    }

    #[test]
    fn a_private_file_is_replaced_whole_and_stays_private() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("keys.json");
        for text in ["first, and longer", "second"] {
            write_private(&path, text).expect("room for a small file");
            assert_eq!(read_private(&path).expect("our own file"), text);
        }
        assert_eq!(fs::metadata(&path).expect("it exists").permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).expect("our own folder").count(), 1);
        let error = read_private(folder.path()).expect_err("a folder");
        assert!(error.hint().expect("a hint").contains("`mv "), "{error}");

        let link = folder.path().join("link");
        std::os::unix::fs::symlink(folder.path().join("unmounted"), &link).expect("our own folder");
        let error = HomeError::io("create", link.join("models"))(io::ErrorKind::NotFound.into());
        let expected = format!("{} is a link to what is not there", link.display());
        assert!(error.hint().expect("a hint").starts_with(&expected), "{error}");
        assert_eq!(broken_link(&folder.path().join("missing")), None);
        assert!(write_private(&folder.path().join("missing/keys.json"), "x").is_err());
    }

    #[test]
    fn paths_are_quoted_for_a_shell_where_they_have_to_be() {
        assert_eq!(quoted(Path::new("/home/ada/.config")), "/home/ada/.config");
        assert_eq!(quoted(Path::new("/a b/it's")), r"'/a b/it'\''s'");
    }
}
