//! What lies in the home: folders, files, settings, keys, room.

use std::fs::{self, File, Metadata};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rbee_home::{
    Home, HomeError, broken_link, broken_link_hint, journal_hint, move_away_hint, quoted, read_key,
    read_private,
};
use rbee_protocol::ErrorCode;
use rustix::fs::{Access, access, statvfs};
use serde_json::{Value, json};

use super::Check;
use crate::human::{bytes, count};

/// With less room where models lie, hardly any other fits.
const MODELS_ROOM_BYTES: u64 = 1 << 30;
/// With less room the journal soon takes no job.
const STATE_ROOM_BYTES: u64 = 64 << 20;
/// With less room it cannot fill its reserve again, and takes none once that is used up.
const RESERVE_BYTES: u64 = 4 << 20;
/// How an SQLite file begins.
const SQLITE_MARK: &[u8] = b"SQLite format 3\0";

/// Whether the folders are there, ours, and nobody else's.
pub(super) fn folders(home: &Home) -> Vec<Check> {
    let mut checks = Vec::new();
    let mut missing = 0;
    for (what, path) in home.folders() {
        match fs::metadata(path) {
            Ok(metadata) => checks.extend(folder(home, what, path, &metadata)),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                missing += 1;
                checks.extend(may_be_made(what, path));
            }
            Err(source) => {
                let error = HomeError::Io { action: "look at", path: path.to_owned(), source };
                checks.push(Check::failed("home", &error));
            }
        }
    }
    if checks.is_empty() {
        let [(_, config), (_, data), (_, state), _] = home.folders();
        let (config, data, state) = (config.display(), data.display(), state.display());
        let about = match missing {
            0 => "ours alone",
            _ => "some not there yet; the first command that needs them makes them",
        };
        let message = format!("configuration {config}, data {data}, state {state}: {about}");
        let facts =
            json!({"config": config.to_string(), "data": data.to_string(), "state": state.to_string()});
        checks.push(Check::ok("home", message).with(facts));
    }
    checks
}

fn folder(home: &Home, what: &str, path: &Path, metadata: &Metadata) -> Option<Check> {
    let shown = path.display();
    if !metadata.is_dir() {
        let message = format!("{shown}, for {what}, is no folder");
        return Some(Check::problem("home", ErrorCode::Io, message, move_away_hint(path)));
    }
    if let Some(check) = of_another_user("home", path, metadata) {
        return Some(check);
    }
    let mode = metadata.permissions().mode() & 0o777;
    if access(path, Access::WRITE_OK | Access::EXEC_OK).is_err() {
        let message = format!("{shown}, for {what}, cannot be written (mode {mode:o})");
        let hint = format!("`chmod 700 {}`; if its disk is read-only, another RBEE_HOME", quoted(path));
        return Some(Check::problem("home", ErrorCode::Io, message, hint));
    }
    if home.is_ours(path).is_ok_and(|is_ours| !is_ours) {
        return Some(Check::failed("home", &HomeError::NotPrivate { path: path.to_owned() }));
    }
    (mode & 0o077 != 0).then(|| {
        let message = format!("{shown}, for {what}, is open to others (mode {mode:o})");
        Check::warning("home", message, format!("`chmod 700 {}`", quoted(path)))
    })
}

fn may_be_made(what: &str, path: &Path) -> Option<Check> {
    if let Some(link) = broken_link(path) {
        let message = format!("{}, for {what}, cannot be made", path.display());
        return Some(Check::problem("home", ErrorCode::Io, message, broken_link_hint(link)));
    }
    let above = existing(path);
    if above.is_dir() && access(&above, Access::WRITE_OK | Access::EXEC_OK).is_ok() {
        return None;
    }
    let message =
        format!("{}, for {what}, is not there and cannot be made in {}", path.display(), above.display());
    Some(Check::problem("home", ErrorCode::Io, message, "set RBEE_HOME to a folder that you may write"))
}

/// The nearest folder above, or the path itself, that is there.
fn existing(path: &Path) -> PathBuf {
    path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/")).to_owned()
}

fn of_another_user(check: &'static str, path: &Path, metadata: &Metadata) -> Option<Check> {
    let (owner, us) = (metadata.uid(), rustix::process::getuid().as_raw());
    (owner != us).then(|| {
        let message = format!("{} belongs to user {owner}, and this is user {us}", path.display());
        let hint = format!("`sudo chown -R {us} {}`, or set RBEE_HOME to a folder of your own", quoted(path));
        Check::problem(check, ErrorCode::Denied, message, hint)
    })
}

/// Whose the files are, and who else may use them.
pub(super) fn files(home: &Home) -> Vec<Check> {
    let secret = [home.operator_key_file(), home.keys_file()];
    let journal = home.journal_file();
    let mut others =
        vec![home.config_file(), home.aliases_file(), journal.clone(), home.queen_address_file()];
    for daemon in ["queen", "hive", "worker"] {
        others.extend([home.log_file(daemon), home.lock_file(daemon)]);
    }
    let [.., (_, sockets)] = home.folders();
    others.extend(fs::read_dir(sockets).into_iter().flatten().flatten().map(|entry| entry.path()));
    let mut checks = Vec::new();
    let mut looked_at = 0;
    for (path, is_secret) in
        secret.iter().map(|path| (path, true)).chain(others.iter().map(|path| (path, false)))
    {
        let Ok(metadata) = fs::metadata(path) else { continue };
        looked_at += 1;
        let mode = metadata.permissions().mode() & 0o777;
        // What nobody else may write and holds no secret may be read within a folder that is closed.
        let open = if is_secret { mode & 0o077 != 0 } else { mode & 0o022 != 0 };
        if let Some(check) = of_another_user("files", path, &metadata) {
            checks.push(check);
        } else if metadata.is_dir() {
            let message = format!("{} is a folder, and has to be a file", path.display());
            checks.push(Check::problem("files", ErrorCode::Io, message, move_away_hint(path)));
        } else if open && is_secret {
            let message = format!("{} is open to others (mode {mode:o}), so nothing uses it", path.display());
            let hint =
                format!("`chmod 600 {}`; if somebody may have read it, replace what it holds", quoted(path));
            checks.push(Check::problem("files", ErrorCode::Denied, message, hint));
        } else if open && !is_socket(&metadata) {
            let message = format!("{} can be written by others (mode {mode:o})", path.display());
            checks.push(Check::warning("files", message, format!("`chmod 600 {}`", quoted(path))));
        } else if access(path, Access::READ_OK).is_err() {
            let message = format!("{} cannot be read (mode {mode:o})", path.display());
            let hint = format!("`chmod 600 {}`", quoted(path));
            checks.push(Check::problem("files", ErrorCode::Io, message, hint));
        }
    }
    checks.extend(damaged_journal(&journal));
    if checks.is_empty() {
        let message = match looked_at {
            0 => "none yet".to_owned(),
            _ => format!("{}, ours and closed to others", count(looked_at, "file")),
        };
        checks.push(Check::ok("files", message));
    }
    checks
}

fn is_socket(metadata: &Metadata) -> bool {
    use std::os::unix::fs::FileTypeExt;
    metadata.file_type().is_socket()
}

fn damaged_journal(path: &Path) -> Option<Check> {
    let mut start = [0; SQLITE_MARK.len()];
    let mut file = File::open(path).ok()?;
    // One that is empty has yet to be written.
    if file.metadata().ok()?.len() == 0 || file.read_exact(&mut start).is_ok() && start == SQLITE_MARK {
        return None;
    }
    let message = format!("{} is no journal of ours, or damaged", path.display());
    Some(Check::problem("files", ErrorCode::BadData, message, journal_hint(path)))
}

/// The settings that were understood.
pub(super) fn settings(home: &Home) -> Check {
    let path = home.config_file();
    let mut named: Vec<String> = std::env::vars_os()
        .filter_map(|(name, _)| name.into_string().ok())
        .filter(|name| name.starts_with("RBEE_") && name != "RBEE_HOME")
        .collect();
    named.sort();
    let from =
        if path.exists() { path.display().to_string() } else { "the defaults, no config.toml".to_owned() };
    let besides = if named.is_empty() {
        String::new()
    } else {
        format!("; set in the environment: {}", named.join(" "))
    };
    Check::ok("config", format!("{from}{besides}")).with(json!({"variables": named}))
}

/// Whether the keys can be used.
pub(super) fn keys(home: &Home) -> Vec<Check> {
    let mut checks = Vec::new();
    let operator = home.operator_key_file();
    match read_key(&operator) {
        // That others may use it was said of the files already.
        Ok(_) | Err(HomeError::OpenToOthers { .. }) => {}
        Err(HomeError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {}
        Err(error) => checks.push(Check::failed("keys", &error)),
    }
    let keys = home.keys_file();
    let mut others = 0;
    match read_private(&keys) {
        Ok(text) => match serde_json::from_str::<Value>(&text) {
            Ok(file) if file["keys"].is_array() => others = file["keys"].as_array().map_or(0, Vec::len),
            outcome => {
                let reason =
                    outcome.err().map_or_else(|| "it has no `keys`".to_owned(), |error| error.to_string());
                checks.push(Check::failed("keys", &HomeError::DamagedKeys { path: keys, reason }));
            }
        },
        Err(HomeError::OpenToOthers { .. }) => {}
        Err(HomeError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {}
        Err(error) => checks.push(Check::failed("keys", &error)),
    }
    let aliases = home.aliases_file();
    // What else is wrong with the file is said of the files.
    if let Ok(text) = read_private(&aliases)
        && !serde_json::from_str::<Value>(&text).is_ok_and(|file| file["aliases"].is_object())
    {
        let message = format!("{} is damaged: it has no `aliases`", aliases.display());
        let hint = "correct it, or remove it and make the aliases again";
        checks.push(Check::problem("config", ErrorCode::BadData, message, hint));
    }
    if checks.is_empty() {
        let operator =
            if operator.exists() { "the operator's" } else { "none yet; the first start makes one" };
        let message = match others {
            0 => operator.to_owned(),
            others => format!("{operator}, and {others} of others"),
        };
        checks.push(Check::ok("keys", message).with(json!({"of_others": others})));
    }
    checks
}

/// How much room there is on the disks that the models and the journal lie on.
pub(super) fn disk(home: &Home) -> Vec<Check> {
    let models = home.models_dir();
    let journal = home.journal_file();
    let room =
        |path: &Path| statvfs(existing(path)).ok().map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    let (for_models, for_state) = (room(&models), room(&journal));
    let facts = json!({"models_free_bytes": for_models, "state_free_bytes": for_state});
    let mut checks = Vec::new();
    if let Some(free) = for_state.filter(|free| *free < STATE_ROOM_BYTES) {
        checks.push(state_room(free, &journal));
    }
    if let Some(free) = for_models.filter(|free| *free < MODELS_ROOM_BYTES) {
        let message = format!("{} free where models lie, {}", bytes(free), models.display());
        let hint = "`rbee model list` shows their sizes, and `rbee model rm NAME` takes one away";
        checks.push(Check::warning("disk", message, hint));
    }
    if checks.is_empty() {
        let shown = |free: Option<u64>| free.map_or("an unknown part".to_owned(), bytes);
        let message = format!("{} free for models, {} for jobs", shown(for_models), shown(for_state));
        checks.push(Check::ok("disk", message));
    }
    checks.into_iter().map(|check| check.with(facts.clone())).collect()
}

/// That there is little room where jobs are kept, or none.
fn state_room(free: u64, journal: &Path) -> Check {
    let message = format!("{} free where jobs are kept, {}", bytes(free), journal.display());
    if free < RESERVE_BYTES && !journal.with_extension("reserve").exists() {
        let hint = "free some room on that disk: as long as it is full, new jobs are refused";
        return Check::problem("disk", ErrorCode::DiskFull, message, hint);
    }
    Check::warning("disk", message, "free some room on that disk: once it is full, new jobs are refused")
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn little_room_for_jobs_is_a_warning_and_none_a_problem() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let journal = folder.path().join("journal.sqlite");
        let state = |free| state_room(free, &journal).state;
        assert_eq!(state(STATE_ROOM_BYTES - 1), State::Warning);
        assert_eq!(state(RESERVE_BYTES), State::Warning);
        assert_eq!(state(RESERVE_BYTES - 1), State::Problem);
        fs::write(folder.path().join("journal.reserve"), "").expect("room for a small file");
        assert_eq!(state(0), State::Warning, "jobs are taken as long as it is there");
    }

    #[test]
    fn a_journal_is_known_by_how_it_begins() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("journal.sqlite");
        assert!(damaged_journal(&path).is_none(), "there is none");
        for (start, is_damaged) in [
            (&b""[..], false),
            (b"SQLite format 3\0 and more", false),
            (b"nonsense that is long enough", true),
            (b"SQ", true),
        ] {
            fs::write(&path, start).expect("room for a small file");
            assert_eq!(damaged_journal(&path).is_some(), is_damaged, "{start:?}");
        }
    }
}
