use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::UNIX_EPOCH;

use rbee_home::{HomeError, new_key, read_or_create_key, read_private, write_private};
use rbee_jobs::{Authenticate, Principal, lock, now_ms};
use rbee_protocol::{ApiError, CreateKey, ErrorCode, KeyInfo, KeyList, KeyName, KeyRole, NewKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use tokio_util::sync::{CancellationToken, DropGuard};

/// The name of the key that the first start makes, which lies in a file of its own.
const OPERATOR: &str = "operator";

/// Whose key is whose. Of a key, only its hash is kept.
pub(crate) struct Keys {
    path: PathBuf,
    /// By name.
    entries: Mutex<Vec<Entry>>,
    /// Held while the file is written, so that `entries` need not be.
    writing: Mutex<()>,
}

#[derive(Clone)]
struct Entry {
    info: KeyInfo,
    hash: KeyHash,
    revoked: CancellationToken,
}

type KeyHash = [u8; 32];

impl Keys {
    /// The keys in the file at `path`, which need not exist, and the operator's own in the file at
    /// `operator_path`, which is made where it is missing.
    ///
    /// # Errors
    /// When a file cannot be read, is open to others, or is damaged.
    pub(crate) fn load(path: PathBuf, operator_path: &Path) -> Result<Self, HomeError> {
        let mut entries = match read_private(&path) {
            Ok(text) => {
                decode(&text).map_err(|reason| HomeError::DamagedKeys { path: path.clone(), reason })?
            }
            Err(HomeError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(HomeError::Io { source, .. }) if source.kind() == io::ErrorKind::InvalidData => {
                return Err(HomeError::DamagedKeys { path, reason: "it is no text".to_owned() });
            }
            Err(error) => return Err(error),
        };
        let operator_key = read_or_create_key(operator_path)?;
        let info = KeyInfo {
            name: OPERATOR.parse().expect("it is a name"),
            role: KeyRole::Operator,
            created_at_ms: written_at_ms(operator_path),
        };
        entries.push(Entry::new(info, hash(&operator_key)));
        sort(&mut entries);
        Ok(Self { path, entries: Mutex::new(entries), writing: Mutex::default() })
    }

    /// Makes a key. It is on the disk when this returns, which blocks the thread.
    ///
    /// # Errors
    /// `exists` when there is a key of that name, `bad_request` when the name is reserved, or what the
    /// disk says.
    pub(crate) fn create(&self, request: CreateKey) -> Result<NewKey, ApiError> {
        let CreateKey { name, role } = request;
        if name.as_str() == OPERATOR {
            let message = format!("the name `{OPERATOR}` is reserved for the key of the first start");
            return Err(ApiError::new(ErrorCode::BadRequest, message).hint("take another name"));
        }
        let _writing = lock(&self.writing);
        let mut entries = lock(&self.entries).clone();
        if entries.iter().any(|entry| entry.info.name == name) {
            return Err(ApiError::new(
                ErrorCode::Exists,
                format!("there is a key of the name `{name}` already"),
            )
            .hint("take another name, or revoke that key first: its jobs go on to the new one"));
        }
        let key = new_key();
        let info = KeyInfo { name, role, created_at_ms: now_ms() };
        entries.push(Entry::new(info.clone(), hash(&key)));
        sort(&mut entries);
        self.replace(entries)?;
        Ok(NewKey { name: info.name, role, key, created_at_ms: info.created_at_ms })
    }

    /// The keys there are.
    pub(crate) fn list(&self) -> KeyList {
        KeyList { keys: lock(&self.entries).iter().map(|entry| entry.info.clone()).collect() }
    }

    /// Revokes a key, which no request can use from then on. What its holder is being sent is cut when the
    /// guard goes. It is on the disk when this returns, which blocks the thread.
    ///
    /// # Errors
    /// `not_found` when there is no such key, `denied` for the key of the first start, or what the disk says.
    pub(crate) fn revoke(&self, name: &KeyName) -> Result<(KeyInfo, DropGuard), ApiError> {
        if name.as_str() == OPERATOR {
            let message = format!("the key `{OPERATOR}` cannot be revoked, since commands use it");
            return Err(ApiError::new(ErrorCode::Denied, message).hint(
                "to replace it, remove operator.key in rbee's configuration folder after `rbee queen stop`",
            ));
        }
        let _writing = lock(&self.writing);
        let mut entries = lock(&self.entries).clone();
        let Some(place) = entries.iter().position(|entry| entry.info.name == *name) else {
            return Err(ApiError::new(ErrorCode::NotFound, format!("there is no key of the name `{name}`"))
                .hint("`rbee key list` shows the keys there are"));
        };
        let Entry { info, revoked, .. } = entries.remove(place);
        self.replace(entries)?;
        Ok((info, revoked.drop_guard()))
    }

    /// Keeps `entries` instead of those before, first on the disk.
    fn replace(&self, entries: Vec<Entry>) -> Result<(), ApiError> {
        write_private(&self.path, &encode(&entries)).map_err(|error| not_kept(&error))?;
        *lock(&self.entries) = entries;
        Ok(())
    }
}

impl Authenticate for Keys {
    fn authenticate(&self, key: &str) -> Option<Principal> {
        let presented = hash(key);
        let entries = lock(&self.entries);
        let mut is_known = Choice::from(0);
        let mut place = 0_u64;
        // All of them, always: how long it takes tells nothing about how near a key was.
        for (entry, i) in entries.iter().zip(0_u64..) {
            let is_this = entry.hash.ct_eq(&presented);
            place.conditional_assign(&i, is_this);
            is_known |= is_this;
        }
        let entry = bool::from(is_known).then(|| usize::try_from(place).ok()).flatten()?;
        let Entry { info, revoked, .. } = entries.get(entry)?;
        Some(Principal {
            id: info.name.principal(),
            operator: info.role == KeyRole::Operator,
            revoked: revoked.clone(),
        })
    }
}

impl Entry {
    fn new(info: KeyInfo, hash: KeyHash) -> Self {
        Self { info, hash, revoked: CancellationToken::new() }
    }
}

/// The error of what could not be written.
pub(crate) fn not_kept(error: &HomeError) -> ApiError {
    let full = matches!(error, HomeError::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull);
    let code = if full { ErrorCode::DiskFull } else { ErrorCode::Io };
    let hint = error.hint().unwrap_or_else(|| "`rbee queen logs` may tell more".to_owned());
    ApiError::new(code, error.to_string()).hint(hint)
}

fn hash(key: &str) -> KeyHash {
    Sha256::digest(key.as_bytes()).into()
}

/// When the file at `path` was written, in milliseconds since the Unix epoch, as far as that is known.
fn written_at_ms(path: &Path) -> u64 {
    let written = fs::metadata(path).and_then(|metadata| metadata.modified()).unwrap_or(UNIX_EPOCH);
    let since_epoch = written.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

fn sort(entries: &mut [Entry]) {
    entries.sort_by(|a, b| a.info.name.cmp(&b.info.name));
}

/// What is in the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    keys: Vec<StoredKey>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredKey {
    name: KeyName,
    role: KeyRole,
    created_at_ms: u64,
    /// In hexadecimal.
    sha256: String,
}

fn encode(entries: &[Entry]) -> String {
    let others = entries.iter().filter(|entry| entry.info.name.as_str() != OPERATOR);
    let keys = others.map(|Entry { info, hash, .. }| StoredKey {
        name: info.name.clone(),
        role: info.role,
        created_at_ms: info.created_at_ms,
        sha256: hash.iter().map(|byte| format!("{byte:02x}")).collect(),
    });
    let text = serde_json::to_string_pretty(&Stored { keys: keys.collect() });
    text.expect("keys are plain data") + "\n"
}

fn decode(text: &str) -> Result<Vec<Entry>, String> {
    let stored: Stored = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let mut names = BTreeSet::new();
    let entries = stored.keys.into_iter().map(|StoredKey { name, role, created_at_ms, sha256 }| {
        if name.as_str() == OPERATOR || !names.insert(name.clone()) {
            return Err(format!("it has a key of the name `{name}` too many"));
        }
        let hash = unhex(&sha256).ok_or_else(|| format!("the hash of `{name}` is none"))?;
        Ok(Entry::new(KeyInfo { name, role, created_at_ms }, hash))
    });
    entries.collect()
}

fn unhex(text: &str) -> Option<KeyHash> {
    let mut hash = KeyHash::default();
    if text.len() != 2 * hash.len() || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use rbee_protocol::PrincipalId;
    use tempfile::TempDir;

    use super::*;

    const OPERATORS: &str = "rbee_the-operators-key";

    fn folder() -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("keys.json");
        write_private(&operator_path(&path), OPERATORS).expect("room for a small file");
        (folder, path)
    }

    fn operator_path(path: &Path) -> PathBuf {
        path.with_file_name("operator.key")
    }

    fn load(path: &Path) -> Keys {
        Keys::load(path.to_owned(), &operator_path(path)).expect("a sound file, or none")
    }

    fn refusal(path: &Path) -> HomeError {
        Keys::load(path.to_owned(), &operator_path(path)).err().expect("the file is refused")
    }

    fn name(text: &str) -> KeyName {
        text.parse().expect("a name")
    }

    fn create(keys: &Keys, text: &str, role: KeyRole) -> Result<String, ErrorCode> {
        let created = keys.create(CreateKey { name: name(text), role });
        created.map(|key| key.key).map_err(|error| error.code)
    }

    fn who(keys: &Keys, key: &str) -> Option<(PrincipalId, bool)> {
        keys.authenticate(key).map(|principal| (principal.id, principal.operator))
    }

    #[test]
    fn a_key_is_its_holders_also_after_a_restart() {
        let (_folder, path) = folder();
        let keys = load(&path);
        let ada = create(&keys, "ada", KeyRole::User).expect("a new key");
        let bob = create(&keys, "bob", KeyRole::Operator).expect("a new key");
        for keys in [keys, load(&path)] {
            assert_eq!(who(&keys, &ada), Some((PrincipalId::new("ada"), false)));
            assert_eq!(who(&keys, &bob), Some((PrincipalId::new("bob"), true)));
            assert_eq!(who(&keys, OPERATORS), Some((PrincipalId::new("operator"), true)));
            for unknown in ["", "rbee_", "ada", &ada[1..], &format!("{ada} "), &ada.to_uppercase()] {
                assert_eq!(who(&keys, unknown), None, "{unknown}");
            }
            let listed: Vec<_> =
                keys.list().keys.into_iter().map(|key| (key.name.to_string(), key.role)).collect();
            let expected =
                [("ada", KeyRole::User), ("bob", KeyRole::Operator), ("operator", KeyRole::Operator)];
            assert_eq!(listed, expected.map(|(name, role)| (name.to_owned(), role)));
        }
    }

    #[test]
    fn the_file_is_private_and_holds_no_key() {
        let (_folder, path) = folder();
        let keys = load(&path);
        assert!(!path.exists());
        let key = create(&keys, "ada", KeyRole::User).expect("a new key");
        let text = fs::read_to_string(&path).expect("our own file");
        let digits = key.strip_prefix("rbee_").expect("it begins with what it is");
        assert_eq!(digits.len(), 64);
        assert!(!text.contains(digits) && text.contains("ada"), "{text}");
        assert_eq!(fs::metadata(&path).expect("it exists").permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_revoked_key_is_nobodys_also_after_a_restart_and_its_streams_are_cut() {
        let (_folder, path) = folder();
        let keys = load(&path);
        let (ada, bob) = (create(&keys, "ada", KeyRole::User), create(&keys, "bob", KeyRole::User));
        let (ada, bob) = (ada.expect("a new key"), bob.expect("a new key"));
        let principals = [&ada, &bob].map(|key| keys.authenticate(key).expect("it is known"));
        let (info, cut) = keys.revoke(&name("ada")).expect("it is there");
        assert_eq!(info.name, name("ada"));
        assert_eq!(who(&keys, &ada), None);
        drop(cut);
        assert_eq!(principals.map(|principal| principal.revoked.is_cancelled()), [true, false]);
        assert_eq!(keys.revoke(&name("ada")).expect_err("it is gone").code, ErrorCode::NotFound);
        assert_eq!(who(&load(&path), &ada), None);
        assert!(who(&load(&path), &bob).is_some());
    }

    #[test]
    fn a_name_that_is_created_again_is_the_same_principal_with_another_key() {
        let (_folder, path) = folder();
        let keys = load(&path);
        let first = create(&keys, "ada", KeyRole::User).expect("a new key");
        assert_eq!(create(&keys, "ada", KeyRole::Operator), Err(ErrorCode::Exists));
        let before = who(&keys, &first);
        drop(keys.revoke(&name("ada")).expect("it is there"));
        let second = create(&keys, "ada", KeyRole::User).expect("a new key");
        assert_eq!((who(&keys, &first), who(&keys, &second)), (None, before));
        let principal = keys.authenticate(&second).expect("it is known");
        assert!(!principal.revoked.is_cancelled());
    }

    #[test]
    fn the_operators_own_key_can_neither_be_made_nor_revoked() {
        let (_folder, path) = folder();
        let keys = load(&path);
        assert_eq!(create(&keys, OPERATOR, KeyRole::User), Err(ErrorCode::BadRequest));
        let error = keys.revoke(&name(OPERATOR)).expect_err("commands use it");
        assert!(error.code == ErrorCode::Denied && error.hint.is_some());
        assert!(who(&keys, OPERATORS).is_some());
    }

    #[test]
    fn what_cannot_be_written_changes_nothing() {
        let (folder, path) = folder();
        let keys = load(&path);
        let ada = create(&keys, "ada", KeyRole::User).expect("a new key");
        drop(folder);
        assert_eq!(create(&keys, "bob", KeyRole::User), Err(ErrorCode::Io));
        assert_eq!(keys.revoke(&name("ada")).expect_err("there is no folder").code, ErrorCode::Io);
        let principal = keys.authenticate(&ada).expect("it is known still");
        assert!(!principal.revoked.is_cancelled());
        assert_eq!(keys.list().keys.len(), 2);
    }

    #[test]
    fn a_file_that_is_damaged_or_open_to_others_is_refused_with_a_hint() {
        let (_folder, path) = folder();
        create(&load(&path), "ada", KeyRole::User).expect("a new key");
        let sound = fs::read_to_string(&path).expect("our own file");
        let twice = sound.replace(
            "\"keys\": [",
            "\"keys\": [{\"name\":\"ada\",\"role\":\"user\",\"created_at_ms\":1,\"sha256\":\"\"},",
        );
        for damaged in [
            "",
            "{}",
            "{\"keys\":{}}",
            &sound[..sound.len() / 2],
            &sound.replace("\"ada\"", "\"Ada\""),
            &sound.replace("\"ada\"", "\"operator\""),
            &sound.replace("\"user\"", "\"king\""),
            &sound.replace("\"sha256\": \"", "\"sha256\": \"0"),
            &sound.replace("\"role\"", "\"rule\""),
            &twice,
        ] {
            write_private(&path, damaged).expect("room for a small file");
            let error = refusal(&path);
            assert!(matches!(error, HomeError::DamagedKeys { .. }), "{damaged}: {error}");
            assert!(error.hint().is_some() && error.exit_code() == 65);
        }
        fs::write(&path, [0xff, 0xfe]).expect("our own file");
        let error = refusal(&path);
        assert!(matches!(error, HomeError::DamagedKeys { .. }), "{error}");

        write_private(&path, &sound).expect("room for a small file");
        fs::set_permissions(&path, Permissions::from_mode(0o640)).expect("our own file");
        let error = refusal(&path);
        assert!(matches!(error, HomeError::OpenToOthers { .. }), "{error}");
        assert_eq!(error.exit_code(), 77);
    }
}
