use std::env;
use std::fs::{self, DirBuilder};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rbee_protocol::ErrorCode;

use crate::{HomeError, Lock};

/// The model that is there for those who name none; its file among the models has this name and ends in `.gguf`.
pub const DEFAULT_MODEL: &str = "SmolLM2-135M-Instruct.Q4_1";

/// The file in the folder of models that is there once a hive has told of a better one than the default.
pub const HINT_SHOWN: &str = ".hint-shown";

/// A Unix socket's path has 108 bytes; so many are left for its folder.
const SOCKET_FOLDER_MAX: usize = 80;

/// The folders that hold rbee's files. All exist, and are ours alone, once this does.
///
/// Locks and sockets lie with the state and not in `$XDG_RUNTIME_DIR`: that differs between a
/// terminal, cron and a service, and is emptied when its user logs out, whereas one home has one
/// queen, which goes on.
#[derive(Clone, Debug)]
pub struct Home {
    config: PathBuf,
    data: PathBuf,
    state: PathBuf,
    sockets: PathBuf,
}

/// Whoever looks whether a lock is held takes it for a moment.
const CLAIMS: u32 = 20;
const CLAIM_INTERVAL: Duration = Duration::from_millis(5);

impl Home {
    /// Takes the folders from `RBEE_HOME`, else from the XDG variables and `HOME`, and makes them.
    ///
    /// # Errors
    /// [`HomeError::NoHome`], or what is wrong with a folder.
    pub fn from_env() -> Result<Self, HomeError> {
        let home = Self::locate()?;
        if let Some(base) = home.temporary_folder() {
            // Anybody may make a link here, to a folder of ours that is meant for something else.
            if base.is_symlink() {
                return Err(HomeError::NotPrivate { path: base.to_owned() });
            }
            make_private(base)?;
        }
        for (_, folder) in home.folders() {
            if !home.is_ours(folder)? {
                return Err(HomeError::NotPrivate { path: folder.to_owned() });
            }
        }
        for (_, folder) in home.folders() {
            make_private(folder)?;
        }
        Ok(home)
    }

    /// Like [`Home::from_env`], but touches nothing: for looking at what is there, whatever state it is in.
    ///
    /// # Errors
    /// [`HomeError::NoHome`].
    pub fn locate() -> Result<Self, HomeError> {
        let folder = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let (config, data, state) = if let Some(root) = folder("RBEE_HOME") {
            let root = std::path::absolute(&root).map_err(HomeError::io("find", &root))?;
            (root.join("config"), root.join("data"), root.join("state"))
        } else {
            // A relative XDG path is invalid by that standard and to be ignored.
            let xdg = |name, fallback: &str| {
                let base = folder(name).filter(|path| path.is_absolute());
                let base = base.or_else(|| folder("HOME").map(|home| home.join(fallback)));
                let base = base.ok_or(HomeError::NoHome)?;
                std::path::absolute(&base).map(|base| base.join("rbee")).map_err(HomeError::io("find", &base))
            };
            (
                xdg("XDG_CONFIG_HOME", ".config")?,
                xdg("XDG_DATA_HOME", ".local/share")?,
                xdg("XDG_STATE_HOME", ".local/state")?,
            )
        };
        let sockets = state.join("run");
        let sockets = if sockets.as_os_str().len() > SOCKET_FOLDER_MAX { temporary(&state) } else { sockets };
        Ok(Self { config, data, state, sockets })
    }

    /// The folders, each with what lies in it.
    pub fn folders(&self) -> [(&'static str, &Path); 4] {
        [
            ("configuration", &self.config),
            ("data", &self.data),
            ("state", &self.state),
            ("sockets", &self.sockets),
        ]
    }

    /// The folder of all homes of this user whose sockets lie under the temporary one, if this is such a home.
    pub fn temporary_folder(&self) -> Option<&Path> {
        self.sockets.parent().filter(|_| !self.sockets.starts_with(&self.state))
    }

    /// Whether rbee has ever run with this home: folders of these names may be anybody's.
    pub fn has_run(&self) -> bool {
        // No link is followed.
        let is_file = |path: &Path| fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file());
        let is_folder = |path: &Path| fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
        let key = self.operator_key_file();
        let has_key =
            || is_file(&key) && fs::read_to_string(&key).is_ok_and(|text| text.starts_with("rbee_"));
        let was_locked = || ["queen", "hive"].iter().any(|name| is_file(&self.lock_file(name)));
        is_folder(&self.state) && was_locked() || is_folder(&self.config) && has_key()
    }

    /// Whether this folder of this home is not one of somebody's project that `RBEE_HOME` names by mistake: it is private
    /// already, called rbee, or there is nothing else in it.
    ///
    /// # Errors
    /// What the file system says.
    pub fn is_ours(&self, folder: &Path) -> Result<bool, HomeError> {
        let is_private = match fs::metadata(folder) {
            Ok(metadata) => metadata.permissions().mode() & 0o077 == 0,
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(error) => return Err(HomeError::io("read", folder)(error)),
        };
        if is_private || folder.file_name().is_some_and(|name| name == "rbee") || self.has_run() {
            return Ok(true);
        }
        let mut ours = self.own_files();
        ours.extend([self.models_dir(), self.conversations_dir(), self.sockets.clone()]);
        let entries = fs::read_dir(folder).map_err(HomeError::io("read", folder))?;
        Ok(entries.flatten().all(|entry| ours.contains(&entry.path())))
    }

    /// Claims this home for this process as its daemon called `name`, e.g. `queen`.
    ///
    /// # Errors
    /// [`HomeError::NotStarted`] when there is one already.
    pub fn claim(&self, name: &str) -> Result<Lock, HomeError> {
        let mut lock = Lock::try_acquire(&self.lock_file(name))?;
        for _ in 0..CLAIMS {
            if lock.is_some() {
                break;
            }
            // No lock tells when it is free and gives up in time.
            std::thread::sleep(CLAIM_INTERVAL);
            lock = Lock::try_acquire(&self.lock_file(name))?;
        }
        lock.ok_or_else(|| HomeError::NotStarted {
            message: format!("another {name} of this home is running"),
            hint: Some("`rbee queen stop` stops the queen and its hive".to_owned()),
            code: ErrorCode::Unavailable,
        })
    }

    /// All files that rbee keeps in these folders, but for models, conversations and sockets; not all of them exist.
    ///
    /// What a program begins to write is to be added here: only what is named is taken away when rbee is.
    pub fn own_files(&self) -> Vec<PathBuf> {
        let journal = self.journal_file();
        let mut files =
            vec![self.config_file(), self.operator_key_file(), self.keys_file(), self.aliases_file()];
        files.push(self.paused_file());
        // A hint has people move a damaged journal to `.old`.
        for ending in ["sqlite", "reserve", "sqlite.old", "sqlite-wal", "sqlite-shm", "sqlite-journal"] {
            files.push(journal.with_extension(ending));
        }
        for daemon in ["queen", "hive", "worker"] {
            let log = self.log_file(daemon);
            files.extend([log.with_extension("log.1"), log]);
        }
        files.push(self.queen_address_file());
        files.extend(["queen", "hive", "start"].map(|name| self.lock_file(name)));
        files
    }

    /// The configuration file, which need not exist.
    pub fn config_file(&self) -> PathBuf {
        self.config.join("config.toml")
    }

    /// The file with the operator's key.
    pub fn operator_key_file(&self) -> PathBuf {
        self.config.join("operator.key")
    }

    /// The file in which the queen keeps the hashes of all other keys.
    pub fn keys_file(&self) -> PathBuf {
        self.config.join("keys.json")
    }

    /// The file in which the queen keeps the names that stand for models.
    pub fn aliases_file(&self) -> PathBuf {
        self.config.join("aliases.json")
    }

    /// The folder with the models.
    pub fn models_dir(&self) -> PathBuf {
        self.data.join("models")
    }

    /// The file that is there as long as the hive is paused.
    pub fn paused_file(&self) -> PathBuf {
        self.state.join("hive.paused")
    }

    /// The file in which the queen keeps its jobs.
    pub fn journal_file(&self) -> PathBuf {
        self.state.join("journal.sqlite")
    }

    /// The folder in which the command line keeps conversations.
    pub fn conversations_dir(&self) -> PathBuf {
        self.state.join("conversations")
    }

    /// The same, made where it is missing, and ours alone.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn make_conversations_dir(&self) -> Result<PathBuf, HomeError> {
        let folder = self.conversations_dir();
        make_private(&folder)?;
        Ok(folder)
    }

    /// The log of the daemon called `name`; all workers share one.
    pub fn log_file(&self, name: &str) -> PathBuf {
        self.state.join(format!("{name}.log"))
    }

    /// The file whose lock says that the daemon called `name` runs.
    pub fn lock_file(&self, name: &str) -> PathBuf {
        self.state.join(format!("{name}.lock"))
    }

    /// The socket of the daemon called `name`.
    pub fn socket(&self, name: &str) -> PathBuf {
        self.sockets.join(format!("{name}.sock"))
    }

    /// The file in which a running queen says where it listens.
    pub fn queen_address_file(&self) -> PathBuf {
        self.state.join("queen.json")
    }
}

/// The folder for sockets of the home whose own folder, `folder`, has too long a path.
fn temporary(folder: &Path) -> PathBuf {
    let base = env::temp_dir().join(format!("rbee-{}", rustix::process::getuid().as_raw()));
    // The same in every program: they are built together.
    let mut hasher = DefaultHasher::new();
    folder.as_os_str().as_bytes().hash(&mut hasher);
    base.join(format!("{:016x}", hasher.finish()))
}

/// Makes `folder` where it is missing, and sees that it is ours alone.
fn make_private(folder: &Path) -> Result<(), HomeError> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(HomeError::io("create", folder))?;
    let metadata = fs::metadata(folder).map_err(HomeError::io("read", folder))?;
    if metadata.uid() != rustix::process::getuid().as_raw() {
        return Err(HomeError::NotPrivate { path: folder.to_owned() });
    }
    if metadata.permissions().mode() & 0o077 != 0 {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
            .map_err(HomeError::io("protect", folder))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_somebody_elses_project_are_not_taken_for_rbees() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let folder = |name: &str| root.path().join(name);
        let home = Home {
            config: folder("config"),
            data: folder("data/rbee"),
            state: folder("state"),
            sockets: folder("state/run"),
        };
        let mode = |folder: &Path, mode| {
            fs::set_permissions(folder, fs::Permissions::from_mode(mode)).expect("our own folder");
        };
        let is_ours = |folder: &Path| home.is_ours(folder).expect("our own folder");
        assert!(is_ours(&home.config), "it is missing");
        for folder in [&home.config, &home.data, &home.state] {
            fs::create_dir_all(folder).expect("our own folder");
            mode(folder, 0o755);
            assert!(is_ours(folder), "it is empty");
            fs::write(folder.join("settings.yaml"), "").expect("our own folder");
        }
        assert!(!is_ours(&home.config) && is_ours(&home.data) && !is_ours(&home.state));
        fs::write(home.config_file(), "").expect("our own folder");
        assert!(!is_ours(&home.config), "there is something else as well");
        fs::remove_file(home.config.join("settings.yaml")).expect("our own file");
        assert!(is_ours(&home.config), "it was prepared for rbee");
        mode(&home.state, 0o700);
        assert!(is_ours(&home.state), "it is private");
        mode(&home.state, 0o755);
        fs::write(home.lock_file("queen"), "").expect("our own folder");
        assert!(is_ours(&home.state), "a queen has run");
    }
}
