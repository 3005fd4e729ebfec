mod default;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::UNIX_EPOCH;

use rbee_gguf::Facts;
use rbee_home::{HINT_SHOWN, HomeError, NamedModel, quoted};
use rbee_jobs::{JobWriter, lock};
use rbee_narration::Level;
use rbee_protocol::{
    ApiError, ErrorCode, ErrorDraft, HiveId, MemoryAt, ModelFacts, ModelFile, ModelInfo, ModelRef,
    ModelRemoved, ModelReport, ModelSearch, ModelVerification, Phase, Place, Progress, Unit, VerifiedModel,
    nearest,
};
use tokio_util::sync::CancellationToken;

use crate::caches;
use crate::catalog;
use crate::download::sha256_unless;
use crate::hub::Hub;
use crate::reference::Reference;
use crate::sources::Source;
use crate::store::{self, Manifest, Store};
use crate::web::Retry;
use default::KnownModel;

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
    /// Those that were pulled.
    store: Arc<Store>,
    /// What was read of files before.
    facts: Mutex<HashMap<PathBuf, (FileVersion, Option<Facts>)>>,
    /// Held by the one job that fetches the default model; the others wait for it.
    fetching: tokio::sync::Mutex<()>,
}

/// A model that is here, in one place or another.
struct Entry {
    name: String,
    place: Place,
    reference: Option<String>,
    asked: Option<String>,
    license: Option<String>,
    /// What to load: its file, or the first of them.
    path: PathBuf,
    files: Vec<ModelFile>,
}

impl Entry {
    fn file(name: String, place: Place, path: PathBuf) -> Self {
        let files = rbee_gguf::model_files(&path).into_iter().map(|path| ModelFile {
            size_bytes: fs::metadata(&path).map_or(0, |file| file.len()),
            path: path.display().to_string(),
            sha256: None,
        });
        Self { name, place, reference: None, asked: None, license: None, files: files.collect(), path }
    }

    /// Sees that its files are there, which somebody may have taken away.
    fn check_there(&self) -> Result<(), ApiError> {
        match self.files.iter().find(|file| !Path::new(&file.path).is_file()) {
            None => Ok(()),
            Some(file) => {
                let message = format!("the file {} of the model {} is not there", file.path, self.name);
                let hint = match (self.place, &self.reference) {
                    (Place::Store, Some(reference)) => {
                        format!("`rbee model pull {}` brings it again", quoted(Path::new(reference)))
                    }
                    (Place::Store, None) | (Place::File, Some(_)) => {
                        format!(
                            "put it back, or take the model out of the list: `rbee model rm {}`",
                            quoted(Path::new(&self.name))
                        )
                    }
                    _ => "put it back".to_owned(),
                };
                Err(ApiError::new(ErrorCode::NotFound, message).hint(hint))
            }
        }
    }

    fn size_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size_bytes).sum()
    }

    /// Whether this is the model that `wanted` means.
    fn is(&self, wanted: &Reference) -> bool {
        let is = |text: &String| matches!(Reference::parse(text), Ok(Some(own)) if wanted.means(&own));
        self.reference.as_ref().is_some_and(is) || self.asked.as_ref().is_some_and(is)
    }
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
        let store = Store::open(&folder)?;
        let (facts, fetching) = Default::default();
        Ok(Arc::new(Self { folder, hive, default: default::known(), named, store, facts, fetching }))
    }

    /// The file of the model that `model` names, or of the default model, which is fetched when it is
    /// not here yet.
    ///
    /// # Errors
    /// `not_found` for a model that is not here, and what went wrong with fetching the default one.
    pub(crate) async fn find(
        self: &Arc<Self>,
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
    pub(crate) async fn stand_in(
        self: &Arc<Self>,
        name: &str,
        mut loaded: Vec<LocalModel>,
        job: &JobWriter,
    ) -> Result<LocalModel, ApiError> {
        let models = self.clone();
        let names = blocking(move || models.names()).await;
        let (model, why) = match (loaded.pop(), names.as_slice()) {
            (Some(model), _) if loaded.is_empty() => (model, "loaded"),
            (None, [only])
                if only == self.default.name
                    && let Some(path) = self.default_path() =>
            {
                (LocalModel::at(self.default.name, path)?, "here")
            }
            (_, names) => {
                let names: Vec<&str> = names.iter().take(NAMES_SHOWN_MAX).map(String::as_str).collect();
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
    pub(crate) async fn knows(self: &Arc<Self>, name: &str) -> bool {
        if name == self.default.name || self.named.contains_key(name) {
            return true;
        }
        let (models, name) = (self.clone(), name.to_owned());
        blocking(move || match Path::new(&name) {
            path if path.is_absolute() => path.exists(),
            _ => matches!(models.entry(&name), Ok(Some(_))),
        })
        .await
    }

    /// Whether this is the model of the jobs that name none.
    pub(crate) fn is_default(&self, name: &str) -> bool {
        name == self.default.name
    }

    /// The same as [`Self::find`], without anything being fetched: `None` for a default model that is not here.
    pub(crate) async fn look(
        self: &Arc<Self>,
        model: Option<&ModelRef>,
    ) -> Result<Option<LocalModel>, ApiError> {
        let (models, name) = (self.clone(), model.map(|model| model.as_str().to_owned()));
        blocking(move || {
            let named = name.as_deref().and_then(|name| models.named.get_key_value(name));
            let base = named.map_or(name.as_deref(), |(_, named)| named.base.as_deref());
            let found = match base.filter(|base| *base != models.default.name) {
                None => {
                    models.default_path().map(|path| LocalModel::at(models.default.name, path)).transpose()?
                }
                Some(base) => Some(models.file_of(base)?),
            };
            match (found, named) {
                (Some(found), Some((name, named))) => found.named(name, named).map(Some),
                (found, _) => Ok(found),
            }
        })
        .await
    }

    /// Once in the life of this folder, while it has the default model alone: whether to tell of a better one.
    pub(crate) async fn should_hint(self: &Arc<Self>) -> bool {
        let models = self.clone();
        blocking(move || {
            let shown = models.folder.join(HINT_SHOWN);
            // Where this cannot be noted, it would be told each time.
            !shown.exists() && fs::File::create_new(shown).is_ok() && models.names().len() == 1
        })
        .await
    }

    /// What a model takes by its file's header: its weights and the context that most prompts and answers fit into.
    ///
    /// # Errors
    /// `bad_model` for a damaged one.
    pub(crate) async fn memory(self: &Arc<Self>, model: &LocalModel) -> Result<Option<MemoryAt>, ApiError> {
        let (models, path) = (self.clone(), model.path.clone());
        let facts = blocking(move || models.facts(&path).map_or_else(|| rbee_gguf::read(&path), Ok)).await;
        let facts = facts.map_err(|error| bad_model(&error))?;
        Ok(told(&facts).memory.into_iter().next())
    }

    /// The model of this name or at this path, which is not the default one.
    fn file_of(&self, name: &str) -> Result<LocalModel, ApiError> {
        if name.starts_with('/') {
            return local_file(Path::new(name));
        }
        let entry = self.entry(name)?.ok_or_else(|| self.not_here(name))?;
        entry.check_there()?;
        LocalModel::at(&entry.name, entry.path)
    }

    /// The same without the operator's names.
    async fn find_file(
        self: &Arc<Self>,
        model: Option<&str>,
        job: &JobWriter,
    ) -> Result<LocalModel, ApiError> {
        match model {
            None => self.default_model(job).await,
            Some(name) if name == self.default.name => self.default_model(job).await,
            Some(name) => {
                let (models, name) = (self.clone(), name.to_owned());
                blocking(move || models.file_of(&name)).await
            }
        }
    }

    /// The model that goes by this name, or came from there.
    fn entry(&self, name: &str) -> Result<Option<Entry>, ApiError> {
        let plain = self.plain_path(name);
        if !name.contains('/') && plain.is_file() {
            return Ok(Some(self.plain(name, plain)));
        }
        if let Some(manifest) = self.store.model(name) {
            return Ok(Some(self.pulled(name.to_owned(), manifest)));
        }
        let reference = Reference::parse(name)?;
        if reference.is_none() && name.contains('/') {
            let message = format!("the path {} of a model must be absolute", rbee_narration::printable(name));
            let error = ApiError::new(ErrorCode::BadRequest, message);
            return Err(error.hint("the `rbee` command line makes it so"));
        }
        let reference = match (reference, catalog::find(name)) {
            (None, Some(known)) => Reference::parse(known.reference)?,
            (reference, _) => reference,
        };
        let is_meant = |entry: &Entry| {
            entry.name == name || reference.as_ref().is_some_and(|reference| entry.is(reference))
        };
        let pulled = self.store.models().into_iter().map(|(name, manifest)| self.pulled(name, manifest));
        // Other programs' folders are walked only where it is none of ours.
        Ok(pulled.chain(std::iter::once_with(cached).flatten()).find(is_meant))
    }

    fn not_here(&self, name: &str) -> ApiError {
        if let Ok(Some(reference)) = Reference::parse(name) {
            let text = reference.text();
            let message = format!("the model {} is not here", rbee_narration::printable(&text));
            return ApiError::new(ErrorCode::NotFound, message)
                .hint(format!("`rbee model pull {}` brings it", rbee_narration::printable(&text)));
        }
        if let Some(known) = catalog::find(name) {
            let message = format!("the model {} is not here", known.name);
            return ApiError::new(ErrorCode::NotFound, message)
                .hint(format!("`rbee model pull {}` brings it", known.name));
        }
        let names = self.names();
        let near = nearest(name, names.iter().map(String::as_str).filter(|other| *other != name));
        unknown(name).hint(match near {
            Some(near) => format!("did you mean `{near}`? `rbee model list` shows what there is"),
            None => "`rbee model list` shows what there is; a file is named by its path, `./model.gguf`"
                .to_owned(),
        })
    }

    /// What models there are, the default one first.
    pub(crate) async fn list(self: &Arc<Self>) -> Vec<ModelInfo> {
        let models = self.clone();
        // Headers are read, and those of many models are many megabytes.
        blocking(move || models.list_now()).await
    }

    fn list_now(&self) -> Vec<ModelInfo> {
        let mut models: Vec<ModelInfo> = self.entries().iter().map(|entry| self.info(entry)).collect();
        if !models.iter().any(|model| model.default) {
            models.push(self.default_info());
        }
        models.extend(self.named.iter().map(|(name, NamedModel { adapter, draft, .. })| {
            let files = || adapter.iter().chain(draft);
            ModelInfo {
                size_bytes: files().filter_map(|file| fs::metadata(file).ok()).map(|file| file.len()).sum(),
                downloaded: files().all(|file| file.is_file()),
                path: files().next().map(|file| file.display().to_string()),
                modified_at_ms: files().filter_map(|file| modified_at_ms(file)).max(),
                place: Place::File,
                ..self.no_info(name)
            }
        }));
        models.sort_by(|a, b| b.default.cmp(&a.default).then_with(|| a.model.cmp(&b.model)));
        models
    }

    /// Their names.
    fn names(&self) -> Vec<String> {
        let entries = self.entries().into_iter().map(|entry| entry.name);
        let mut names: Vec<String> = entries.chain(self.named.keys().cloned()).collect();
        names.push(self.default.name.to_owned());
        names.sort();
        names.dedup();
        names
    }

    /// Those that are here, each name once.
    fn entries(&self) -> Vec<Entry> {
        let plain = fs::read_dir(&self.folder).into_iter().flatten().flatten().filter_map(|entry| {
            let path = entry.path();
            let file_name = path.file_name()?.to_str()?;
            let name = file_name.strip_suffix(".gguf").filter(|_| caches::is_model(file_name))?;
            path.is_file().then(|| self.plain(name, path.clone()))
        });
        let pulled = self.store.models().into_iter().map(|(name, manifest)| self.pulled(name, manifest));
        let mut names = HashSet::new();
        plain.chain(pulled).chain(cached()).filter(|entry| names.insert(entry.name.clone())).collect()
    }

    /// A model that lies in the folder itself: the default one, or one that somebody has put there.
    fn plain(&self, name: &str, path: PathBuf) -> Entry {
        let mut entry = Entry::file(name.to_owned(), Place::Store, path);
        if name == self.default.name
            && let [file] = entry.files.as_mut_slice()
            && file.size_bytes == self.default.size_bytes
        {
            file.sha256 = Some(self.default.sha256.to_owned());
        }
        entry
    }

    fn pulled(&self, name: String, manifest: Manifest) -> Entry {
        let files = manifest.files.iter().map(|file| ModelFile {
            path: self.store.file(file).display().to_string(),
            size_bytes: file.size_bytes,
            sha256: Some(file.sha256.clone()),
        });
        let is_ours = manifest.files.iter().all(|file| file.path.is_none());
        Entry {
            path: self.store.path(&name, &manifest),
            place: if is_ours { Place::Store } else { Place::File },
            files: files.collect(),
            name,
            reference: Some(manifest.reference),
            asked: manifest.asked,
            license: manifest.license,
        }
    }

    fn info(&self, entry: &Entry) -> ModelInfo {
        let facts = self.facts(&entry.path);
        ModelInfo {
            size_bytes: entry.size_bytes(),
            modified_at_ms: modified_at_ms(&entry.path),
            downloaded: entry.files.iter().all(|file| Path::new(&file.path).is_file()),
            path: Some(entry.path.display().to_string()),
            place: entry.place,
            parameters: facts.as_ref().map(|facts| facts.parameters),
            quantization: facts.and_then(|facts| facts.quantization),
            ..self.no_info(&entry.name)
        }
    }

    fn default_info(&self) -> ModelInfo {
        ModelInfo { size_bytes: self.default.size_bytes, ..self.no_info(self.default.name) }
    }

    fn no_info(&self, name: &str) -> ModelInfo {
        ModelInfo {
            default: name == self.default.name,
            model: name.to_owned(),
            hive: self.hive.clone(),
            size_bytes: 0,
            modified_at_ms: None,
            downloaded: false,
            path: None,
            place: Place::Store,
            parameters: None,
            quantization: None,
        }
    }

    /// What the file says of its model, if it is one.
    fn facts(&self, path: &Path) -> Option<Facts> {
        let version = file_version(path).ok()?;
        if let Some((_, facts)) = lock(&self.facts).get(path).filter(|(known, _)| *known == version) {
            return facts.clone();
        }
        let facts = rbee_gguf::read(path).ok();
        lock(&self.facts).insert(path.to_owned(), (version, facts.clone()));
        facts
    }

    /// All that is known of one model.
    ///
    /// # Errors
    /// `not_found` for a model that is neither here nor the default one, and `bad_model` for a damaged one.
    pub(crate) async fn show(self: &Arc<Self>, model: Option<ModelRef>) -> Result<ModelReport, ApiError> {
        let models = self.clone();
        blocking(move || models.show_now(model.as_ref().map(ModelRef::as_str))).await
    }

    fn show_now(&self, model: Option<&str>) -> Result<ModelReport, ApiError> {
        let name = model.unwrap_or(self.default.name);
        if let Some(named) = self.named.get(name) {
            let base = self.show_now(named.base.as_deref())?;
            let model = self.list_now().into_iter().find(|info| info.model == name);
            return Ok(ModelReport { model: model.expect("what is named is listed"), ..base });
        }
        let entry = match Path::new(name) {
            path if path.is_absolute() => {
                let model = local_file(path)?;
                Some(Entry::file(model.name, Place::File, model.path))
            }
            _ => self.entry(name)?,
        };
        let Some(entry) = entry else {
            if name != self.default.name {
                return Err(self.not_here(name));
            }
            let reference = Some(self.default.source.describe());
            return Ok(ModelReport {
                model: self.default_info(),
                reference,
                license: None,
                files: Vec::new(),
                facts: None,
            });
        };
        entry.check_there()?;
        let facts = rbee_gguf::read(&entry.path).map_err(|error| bad_model(&error))?;
        Ok(ModelReport {
            model: self.info(&entry),
            reference: entry.reference,
            license: entry.license.or_else(|| facts.license.clone()),
            files: entry.files,
            facts: Some(told(&facts)),
        })
    }

    /// Brings the model that `model` refers to.
    ///
    /// # Errors
    /// What the source, the network or the disk says; what came of it is kept for the next time.
    pub(crate) async fn pull(
        self: &Arc<Self>,
        model: &ModelRef,
        job: &JobWriter,
    ) -> Result<ModelReport, ApiError> {
        let text = model.as_str();
        let narrator = job.narrator("hive");
        let known = catalog::find(text);
        let reference = match known {
            Some(known) => Reference::parse(known.reference)?,
            None => Reference::parse(text)?,
        };
        let name = match reference {
            None if text == self.default.name => self.default_model(job).await?.name,
            None => {
                let near = catalog::near(text);
                let error = ApiError::new(
                    ErrorCode::NotFound,
                    format!("no place is known from which to pull `{}`", rbee_narration::printable(text)),
                );
                return Err(error.hint(match near {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "`rbee model search WORDS` looks for models; `hf:owner/repository` names one"
                        .to_owned(),
                }));
            }
            Some(Reference::Path(path)) => self.take_in(&path, job).await?,
            Some(reference) => {
                let address = reference.text();
                let draft = narrator.action("model_find").target(&address).context(&address);
                draft.human("Looking at {}").emit();
                let asked = if matches!(reference, Reference::Url(_)) { address.as_str() } else { text };
                self.pull_from(&reference, asked, None, job).await?
            }
        };
        let draft = narrator.action("model_ready").target(&name).context(&name);
        draft.human("Model {} is here and verified").emit();
        self.show(Some(ModelRef::new(name))).await
    }

    /// Gives a name to a file that is here. It stays where it is.
    async fn take_in(&self, path: &Path, job: &JobWriter) -> Result<String, ApiError> {
        let entry = Entry::file(local_file(path)?.name, Place::File, path.to_owned());
        let total = entry.size_bytes();
        let mut files = Vec::new();
        let mut before = 0;
        for file in &entry.files {
            let path = PathBuf::from(&file.path);
            let sha256 = digest(&path, before, total, job).await?;
            let sha256 = sha256.map_err(|error| io_error("read the model's file", &error))?;
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let path = Some(path);
            files.push(store::File { name, size_bytes: file.size_bytes, sha256, path, version: None });
            before += file.size_bytes;
        }
        self.store.take_in(&Reference::Path(path.to_owned()), files).await
    }

    /// Pulls what is there: the model that is `known`, under its name, or one that gets a name.
    async fn pull_from(
        &self,
        reference: &Reference,
        asked: &str,
        known: Option<&KnownModel>,
        job: &JobWriter,
    ) -> Result<String, ApiError> {
        let told = |retry: Retry| retry.tell(job);
        let mut source = tokio::select! {
            source = Source::find(reference, self.store.web(), &told) => source?,
            () = job.cancelled() => return Err(job.cancel_error()),
        };
        let cached = blocking(caches::find).await;
        let cached: Vec<(String, PathBuf)> =
            cached.into_iter().filter_map(|cached| Some((cached.sha256?, cached.path))).collect();
        let narrator = job.narrator("hive");
        let draft =
            narrator.action("model_pull").target(source.reference.text()).context(source.reference.text());
        match source.size_bytes() {
            Some(bytes) => draft.context(rbee_narration::bytes(bytes)).human("Pulling {} ({})").emit(),
            None => draft.human("Pulling {}").emit(),
        }
        // Whatever its source says of it.
        if let (Some(known), [file]) = (known, source.files.as_mut_slice()) {
            file.remote.sha256 = Some(known.sha256.to_owned());
        }
        self.store.pull(source, asked, known.map(|known| known.name), cached, job).await
    }

    /// Takes a model away.
    ///
    /// # Errors
    /// `not_found` where there is none, and `bad_request` for files that are not the hive's own.
    pub(crate) fn remove(&self, model: &ModelRef) -> Result<ModelRemoved, ApiError> {
        let name = model.as_str();
        let elsewhere = |what: &str, hint: &str| {
            let message = format!("the files of {} are {what}", rbee_narration::printable(name));
            Err(ApiError::new(ErrorCode::BadRequest, message).hint(hint))
        };
        if self.named.contains_key(name) {
            return elsewhere("named in config.toml", "take it out there, and `rbee queen stop` once");
        }
        if name.starts_with('/') {
            return elsewhere("yours", "remove the file itself");
        }
        let Some(entry) = self.entry(name)? else { return Err(self.not_here(name)) };
        if entry.name != name
            && let Some(wanted) = Reference::parse(name)?
        {
            let of_it = self.entries().into_iter().filter(|entry| entry.is(&wanted)).map(|entry| entry.name);
            let names: Vec<String> = of_it.collect();
            if names.len() > 1 {
                let message =
                    format!("{} may mean any of {}", rbee_narration::printable(name), names.join(", "));
                return Err(ApiError::new(ErrorCode::BadRequest, message).hint("name the one that is to go"));
            }
        }
        match entry.place {
            Place::HuggingFace => {
                return elsewhere("those of Hugging Face's programs", "`hf cache delete` removes them");
            }
            Place::Ollama => return elsewhere("Ollama's", "`ollama rm` removes them"),
            Place::LmStudio => return elsewhere("LM Studio's", "remove the model there"),
            Place::LlamaCpp => return elsewhere("llama.cpp's", "remove them from its cache"),
            Place::Store | Place::File => {}
        }
        let freed_bytes = if self.store.model(&entry.name).is_some() {
            self.store.remove(&entry.name)?
        } else {
            for file in &entry.files {
                match fs::remove_file(&file.path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        return Err(io_error("remove the model", &error));
                    }
                    _ => {}
                }
            }
            entry.size_bytes()
        };
        Ok(ModelRemoved { model: entry.name, freed_bytes })
    }

    /// Looks for models that could be pulled.
    pub(crate) async fn search(
        &self,
        words: &str,
        limit: u32,
        job: &JobWriter,
    ) -> Result<ModelSearch, ApiError> {
        let mut models = catalog::search(words);
        models.truncate(limit as usize);
        let told = |retry: Retry| retry.tell(job);
        let found = async { Hub::from_env()?.search(self.store.web(), words, limit, &told).await };
        let found = tokio::select! {
            found = found => found,
            () = job.cancelled() => return Err(job.cancel_error()),
        };
        match found {
            Ok(found) => models.extend(found),
            // Short names are worth something without a network.
            Err(error) if !models.is_empty() => {
                let narrator = job.narrator("hive");
                let draft = narrator.action("model_search").level(Level::Warn);
                draft.context(&error.message).human("Only rbee's own list was searched: {}").emit();
            }
            Err(error) => return Err(error),
        }
        models.truncate(limit as usize);
        Ok(ModelSearch { models })
    }

    /// Compares models' files with their digests.
    ///
    /// # Errors
    /// `not_found` for a model that is not here.
    pub(crate) async fn verify(
        self: &Arc<Self>,
        model: Option<&ModelRef>,
        job: &JobWriter,
    ) -> Result<ModelVerification, ApiError> {
        let (models, named) = (self.clone(), model.cloned());
        let find = move || match named.as_ref().map(ModelRef::as_str) {
            Some(name) => models.entry(name)?.map(|entry| vec![entry]).ok_or_else(|| models.not_here(name)),
            None => Ok(models.entries()),
        };
        let entries = blocking(find).await?;
        let is_one = model.is_some();
        let mut models = Vec::new();
        for entry in entries {
            let digests: Option<Vec<String>> = entry.files.iter().map(|file| file.sha256.clone()).collect();
            let reason = match digests {
                None if !is_one => continue,
                None => Some("its digest is known to nobody".to_owned()),
                Some(digests) => self.damage(&entry, digests, job).await?,
            };
            models.push(VerifiedModel { model: entry.name, intact: reason.is_none(), reason });
        }
        Ok(ModelVerification { models })
    }

    /// What is wrong with a model's files.
    async fn damage(
        &self,
        entry: &Entry,
        digests: Vec<String>,
        job: &JobWriter,
    ) -> Result<Option<String>, ApiError> {
        let total = entry.size_bytes();
        let mut before = 0;
        for (file, expected) in entry.files.iter().zip(digests) {
            match digest(Path::new(&file.path), before, total, job).await? {
                Ok(sha256) if sha256 == expected => {}
                Ok(sha256) => {
                    return Ok(Some(format!("{} has the SHA-256 {sha256} instead of {expected}", file.path)));
                }
                Err(error) => return Ok(Some(format!("{} cannot be read: {error}", file.path))),
            }
            before += file.size_bytes;
        }
        Ok(None)
    }

    /// Where a file of this name would be that somebody has put into the folder.
    fn plain_path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.gguf"))
    }
}

const STAGING_PREFIX: &str = ".staging-";

/// A hint with more names than these is not read.
const NAMES_SHOWN_MAX: usize = 10;

/// The models of other programs.
fn cached() -> impl Iterator<Item = Entry> {
    caches::find().into_iter().map(|cached| {
        let mut entry = Entry::file(cached.name, cached.place, cached.path);
        if let [file] = entry.files.as_mut_slice() {
            file.sha256 = cached.sha256;
        }
        Entry { reference: cached.reference.map(|reference| reference.text()), ..entry }
    })
}

/// Does what waits for the disk where that holds up nobody: the hive's own thread is for streams.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("what waits for the disk does not panic")
}

/// The SHA-256 of a file, with progress of `before` bytes more of `total`.
pub(crate) async fn digest(
    path: &Path,
    before: u64,
    total: u64,
    job: &JobWriter,
) -> Result<io::Result<String>, ApiError> {
    let (done, mut read) = tokio::sync::watch::channel(0);
    let path = path.to_owned();
    let unwanted = CancellationToken::new();
    let _on_drop = unwanted.clone().drop_guard();
    let mut hashing = tokio::task::spawn_blocking(move || {
        let told = |bytes| {
            done.send_replace(bytes);
        };
        sha256_unless(&path, told, || unwanted.is_cancelled())
    });
    loop {
        tokio::select! {
            hashed = &mut hashing => return Ok(hashed.expect("hashing does not panic")),
            Ok(()) = read.changed() => {
                let done = before + *read.borrow_and_update();
                job.progress(Progress::new(Phase::Verify, done, Some(total), Unit::Bytes));
            }
            () = job.cancelled() => return Err(job.cancel_error()),
        }
    }
}

fn told(facts: &Facts) -> ModelFacts {
    let lengths = MEMORY_SHOWN_AT.into_iter().filter(|length| *length < facts.context_length);
    let memory = lengths.chain([facts.context_length]).filter_map(|context_length| {
        let bytes = facts.tensor_bytes + facts.whole_context_bytes(context_length)?;
        Some(MemoryAt { context_length, bytes })
    });
    ModelFacts {
        architecture: facts.architecture.clone(),
        name: facts.name.clone(),
        context_length: facts.context_length,
        layers: facts.layers,
        embedding_length: facts.embedding_length,
        vocabulary: facts.vocabulary,
        has_chat_template: facts.has_chat_template,
        memory: memory.collect(),
    }
}

fn bad_model(error: &rbee_gguf::GgufError) -> ApiError {
    let code = match error {
        rbee_gguf::GgufError::NotFound { .. } => ErrorCode::NotFound,
        rbee_gguf::GgufError::Io { .. } => ErrorCode::Io,
        rbee_gguf::GgufError::Bad { .. } => ErrorCode::BadModel,
    };
    ApiError::new(code, error.to_string()).hint("take the model from where it came from again")
}

/// Context lengths at which people are told what a model takes.
const MEMORY_SHOWN_AT: [u32; 3] = [4096, 16_384, 65_536];

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
