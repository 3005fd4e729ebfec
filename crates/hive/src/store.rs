//! The models that were pulled: each file under its digest, and for each model what belongs to it.
//!
//! `blobs/<sha256>` are the files, `manifests/<name>.json` says whose they are, and `partial` has what is not whole. A
//! model of several files is loaded from `divided/<name>`, whose links have the names that llama.cpp goes by.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use rbee_gguf::GgufError;
use rbee_home::HomeError;
use rbee_jobs::{JobWriter, lock, now_ms};
use rbee_narration::{bytes_of, printable};
use rbee_protocol::{ApiError, ErrorCode, Phase, Progress, Unit};
use serde::{Deserialize, Serialize};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::caches::name_of;
use crate::download::{Come, Fetched, Remote, check_room, is_sha256};
use crate::models::{digest, io_error};
use crate::reference::Reference;
use crate::sources::{Source, safe_name};
use crate::web::Web;

/// What nobody goes on with for so long is not wanted any more.
const PARTIAL_AGE_MAX: Duration = Duration::from_secs(14 * 24 * 3600);

/// A model that was pulled.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// Where it came from.
    pub(crate) reference: String,
    /// What it was asked for as, where that is something else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) asked: Option<String>,
    pub(crate) files: Vec<File>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) license: Option<String>,
    pub(crate) pulled_at_ms: u64,
}

/// One of its files.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct File {
    /// What its source calls it.
    pub(crate) name: String,
    pub(crate) size_bytes: u64,
    pub(crate) sha256: String,
    /// Where it is, if not among the blobs: files of other programs stay theirs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<PathBuf>,
    /// What its server called this version of it, where that tells no digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<String>,
}

/// What was pulled, and what is being pulled.
pub(crate) struct Store {
    folder: PathBuf,
    web: Arc<Web>,
    /// Downloads have a thread of their own: the hive's is for streams.
    runtime: Option<Runtime>,
    running: Mutex<HashMap<String, Weak<Download>>>,
    /// Held while manifests and blobs change.
    changing: Mutex<()>,
}

/// A download that goes on as long as somebody waits for it.
struct Download {
    state: watch::Receiver<State>,
    _task: AbortOnDropHandle<()>,
}

#[derive(Clone, Default)]
struct State {
    come: Come,
    outcome: Option<Result<Fetched, ApiError>>,
}

/// Where the links to files are that are not known to be a model yet: no name begins with a dot.
const NEW_LINKS: &str = ".new";
/// Where those are whose model another one is just taking the place of.
const OLD_LINKS: &str = ".old";

/// A name has room for a number behind so many characters.
const NUMBERED_MAX: usize = 116;

/// How a pull comes by a file.
enum Way {
    /// It is here, at `path` if it is another program's.
    Here {
        sha256: String,
        path: Option<PathBuf>,
        size_bytes: u64,
    },
    Comes(Arc<Download>),
}

impl Download {
    /// Whether it will bring the file, or has, and nobody has taken that away since.
    fn is_of_use(&self) -> bool {
        match &self.state.borrow().outcome {
            None => true,
            Some(outcome) => outcome.as_ref().is_ok_and(|fetched| fetched.path.is_file()),
        }
    }
}

impl Store {
    /// The store in `folder`.
    ///
    /// # Errors
    /// What the disk says, or why nothing could be downloaded.
    pub(crate) fn open(folder: &Path) -> Result<Arc<Self>, HomeError> {
        for name in ["blobs", "manifests", "partial"] {
            let folder = folder.join(name);
            fs::create_dir_all(&folder).map_err(|source| HomeError::Io {
                action: "create",
                path: folder,
                source,
            })?;
        }
        let partial = folder.join("partial");
        for path in fs::read_dir(&partial).into_iter().flatten().flatten().map(|entry| entry.path()) {
            // What says how far it is may be as old as its beginning.
            let file = fs::metadata(path.with_extension("")).or_else(|_| fs::metadata(&path));
            let age = file.and_then(|file| file.modified()).map(|at| at.elapsed().unwrap_or_default());
            if age.is_ok_and(|age| age > PARTIAL_AGE_MAX) {
                let _ = fs::remove_file(path);
            }
        }
        // One, so that no download goes on with a file which the one before, just given up, still writes.
        let runtime =
            Builder::new_multi_thread().worker_threads(1).thread_name("downloads").enable_all().build();
        let io = |source| HomeError::Io { action: "use", path: folder.to_owned(), source };
        let store = Self {
            folder: folder.to_owned(),
            web: Arc::new(Web::new()),
            runtime: Some(runtime.map_err(io)?),
            running: Mutex::default(),
            changing: Mutex::default(),
        };
        store.mend();
        Ok(Arc::new(store))
    }

    /// Gives models of several files their links again, which a hive has not that ended while it changed them.
    fn mend(&self) {
        for (name, manifest) in self.models() {
            let links = self.divided(&name);
            let is_right = |file: &File| {
                fs::read_link(links.join(&file.name)).is_ok_and(|target| target == self.file(file))
            };
            if manifest.files.len() > 1
                && !manifest.files.iter().all(is_right)
                && self.link(&manifest).is_ok()
            {
                let _ = fs::remove_dir_all(&links);
                let _ = fs::rename(self.divided(NEW_LINKS), &links);
            }
        }
    }

    pub(crate) fn web(&self) -> &Web {
        &self.web
    }

    /// The models that were pulled, by name.
    pub(crate) fn models(&self) -> BTreeMap<String, Manifest> {
        let manifests = self.manifests().into_iter().flatten();
        manifests.filter_map(|(name, manifest)| Some((name, manifest.ok()?))).collect()
    }

    pub(crate) fn model(&self, name: &str) -> Option<Manifest> {
        (safe_name(name) == name)
            .then(|| fs::read(self.manifest_path(name)).ok())
            .flatten()
            .and_then(|text| serde_json::from_slice(&text).ok())
    }

    /// Where a model's file is, or the first of its files.
    pub(crate) fn path(&self, name: &str, manifest: &Manifest) -> PathBuf {
        match manifest.files.as_slice() {
            [file] => self.file(file),
            files => self.divided(name).join(&files[0].name),
        }
    }

    /// Where one of its files is.
    pub(crate) fn file(&self, file: &File) -> PathBuf {
        file.path.clone().unwrap_or_else(|| self.blob(&file.sha256))
    }

    /// Brings all files of `source` here, and calls the model `name`, or as its file is called.
    pub(crate) async fn pull(
        self: &Arc<Self>,
        mut source: Source,
        asked: &str,
        name: Option<&str>,
        mut cached: Vec<(String, PathBuf)>,
        job: &JobWriter,
    ) -> Result<String, ApiError> {
        if source.files.len() > 1 && source.files.iter().any(|file| safe_name(&file.name) != file.name) {
            return Err(ApiError::new(ErrorCode::BadData, "one of the model's files has an odd name")
                .hint("take the model from another repository"));
        }
        tokio::select! {
            known = self.recognise(&mut source, job) => known?,
            () = job.cancelled() => return Err(job.cancel_error()),
        }
        // What is damaged, or was taken away by another job meanwhile, has to be fetched again.
        loop {
            if let Some(name) = self.try_to_pull(&source, asked, name, &mut cached, job).await? {
                return Ok(name);
            }
        }
    }

    /// Finds the digest of a file whose server tells none, and has the same version of it as when it was pulled.
    async fn recognise(&self, source: &mut Source, job: &JobWriter) -> Result<(), ApiError> {
        let [file] = source.files.as_mut_slice() else { return Ok(()) };
        if file.remote.sha256.is_some() {
            return Ok(());
        }
        let text = source.reference.text();
        let pulled = self.models().into_values().find(|model| model.reference == text);
        let Some(known) = pulled.and_then(|model| model.files.into_iter().next()) else { return Ok(()) };
        if known.version.is_some() {
            let seen = file.remote.look(&self.web, &|retry| retry.tell(job)).await?;
            if (seen.size_bytes, &seen.version) == (known.size_bytes, &known.version) {
                (file.remote.sha256, file.version) = (Some(known.sha256), known.version);
            }
        }
        Ok(())
    }

    async fn try_to_pull(
        self: &Arc<Self>,
        source: &Source,
        asked: &str,
        name: Option<&str>,
        cached: &mut Vec<(String, PathBuf)>,
        job: &JobWriter,
    ) -> Result<Option<String>, ApiError> {
        let partial = self.folder.join("partial");
        let missing = source.files.iter().filter(|file| self.here(&file.remote, cached).is_none());
        let missing = missing.map(|file| file.remote.missing_bytes(&partial)).reduce(u64::saturating_add);
        missing.map_or(Ok(()), |missing| check_room(&partial, missing))?;
        let total = source.size_bytes();
        // A download is held until its file is a model's, so that whoever else wants it finds one or the other.
        let (mut files, mut fetched, mut downloads) = (Vec::new(), Vec::new(), Vec::new());
        let mut before = 0_u64;
        for file in &source.files {
            let started = Instant::now();
            let (sha256, path, size_bytes, version) = match self.way(&file.remote, cached) {
                Way::Here { sha256, path, size_bytes } => {
                    let at = path.clone().unwrap_or_else(|| self.blob(&sha256));
                    let is_intact = digest(&at, before, total.unwrap_or(size_bytes), job).await?;
                    if is_intact.is_ok_and(|digest| digest == sha256) {
                        (sha256, path, size_bytes, file.version.clone())
                    } else {
                        cached.retain(|(_, theirs)| *theirs != at);
                        if path.is_none() {
                            remove_damaged(&at).map_err(|error| io_error("remove a damaged file", &error))?;
                        }
                        return Ok(None);
                    }
                }
                Way::Comes(download) => {
                    let file = watch(&download, started, before, total, job).await?;
                    let (sha256, size_bytes) = (file.sha256.clone(), file.size_bytes);
                    let version = file.version.clone();
                    fetched.push(file);
                    downloads.push(download);
                    (sha256, None, size_bytes, version)
                }
            };
            before = before.saturating_add(size_bytes);
            files.push(File { name: file.name.clone(), size_bytes, sha256, path, version });
        }
        let text = source.reference.text();
        let manifest = Manifest {
            asked: (asked != text).then(|| asked.to_owned()),
            reference: text,
            files,
            license: source.license.clone(),
            pulled_at_ms: now_ms(),
        };
        self.add(name, &source.reference, manifest, fetched).await
    }

    /// Makes a model of files that are somebody's, and stay that.
    pub(crate) async fn take_in(
        self: &Arc<Self>,
        reference: &Reference,
        files: Vec<File>,
    ) -> Result<String, ApiError> {
        let text = reference.text();
        let manifest =
            Manifest { reference: text, asked: None, files, license: None, pulled_at_ms: now_ms() };
        let name = self.add(None, reference, manifest, Vec::new()).await?;
        name.ok_or_else(|| io_error("keep the model", &io::ErrorKind::NotFound.into()))
    }

    /// Makes files that are here a model; `None` where they are not here any more.
    async fn add(
        self: &Arc<Self>,
        name: Option<&str>,
        reference: &Reference,
        manifest: Manifest,
        fetched: Vec<Fetched>,
    ) -> Result<Option<String>, ApiError> {
        let (store, name, reference) = (self.clone(), name.map(str::to_owned), reference.clone());
        // It reads headers, and removes what may be many gigabytes.
        let added = tokio::task::spawn_blocking(move || store.add_now(name, &reference, &manifest, &fetched));
        added.await.expect("keeping a model does not panic")
    }

    fn add_now(
        &self,
        name: Option<String>,
        reference: &Reference,
        manifest: &Manifest,
        fetched: &[Fetched],
    ) -> Result<Option<String>, ApiError> {
        let io = |error: io::Error| io_error("keep the model", &error);
        let _changing = lock(&self.changing);
        for file in fetched {
            file.keep(&self.blob(&file.sha256)).map_err(io)?;
        }
        if !manifest.files.iter().all(|file| self.file(file).is_file()) {
            return Ok(None);
        }
        let name = name.unwrap_or_else(|| self.free_name(reference, manifest));
        // Apart from those of a model that is here under this name, which stays until this one is known to be one.
        self.link(manifest).map_err(io)?;
        if let Err(error) = rbee_gguf::read(&self.path(NEW_LINKS, manifest)) {
            let _ = fs::remove_dir_all(self.divided(NEW_LINKS));
            self.sweep();
            let reason = match error {
                GgufError::Bad { reason, .. } => reason,
                error => error.to_string(),
            };
            let message = format!("{} is not a usable model: {reason}", printable(&reference.text()));
            return Err(ApiError::new(ErrorCode::BadModel, message).hint(match reference {
                Reference::Path(_) => "name another file, or fetch this one again",
                _ => "take the model from elsewhere",
            }));
        }
        let path = self.manifest_path(&name);
        let text = serde_json::to_string_pretty(manifest).expect("a manifest is plain data");
        let new = path.with_extension("new");
        fs::write(&new, text + "\n").map_err(io)?;
        let (links, old_links) = (self.divided(&name), self.divided(OLD_LINKS));
        let _ = fs::remove_dir_all(&old_links);
        match fs::rename(&links, &old_links) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
            _ => {}
        }
        let put = || {
            if manifest.files.len() > 1 {
                fs::rename(self.divided(NEW_LINKS), &links)?;
            }
            fs::rename(&new, &path)
        };
        if let Err(error) = put() {
            let _ = fs::remove_dir_all(&links);
            let _ = fs::rename(&old_links, &links);
            return Err(io(error));
        }
        let _ = fs::remove_dir_all(&old_links);
        self.sweep();
        Ok(Some(name))
    }

    /// Makes the links to a model's several files, where they are until it is known to be one.
    fn link(&self, manifest: &Manifest) -> io::Result<()> {
        let links = self.divided(NEW_LINKS);
        let _ = fs::remove_dir_all(&links);
        if manifest.files.len() > 1 {
            fs::create_dir_all(&links)?;
            for file in &manifest.files {
                symlink(self.file(file), links.join(&file.name))?;
            }
        }
        Ok(())
    }

    /// The name of the model's file, unless another model has it.
    fn free_name(&self, reference: &Reference, manifest: &Manifest) -> String {
        let name = name_of(Path::new(&manifest.files[0].name));
        let is_free = |name: &str| {
            let plain = self.folder.join(format!("{name}.gguf"));
            !plain.exists() && self.model(name).is_none_or(|other| other.reference == manifest.reference)
        };
        if is_free(&name) {
            return name;
        }
        let whole = match reference {
            Reference::Hub { repository, .. } => safe_name(&format!("{repository}-{name}")),
            Reference::Url(url) => safe_name(&format!("{}-{name}", url.host_str().unwrap_or_default())),
            _ => name,
        };
        let short: String = whole.chars().take(NUMBERED_MAX).collect();
        let numbered = (2..).map(|n: u32| format!("{short}-{n}"));
        let mut names = std::iter::once(whole.clone()).chain(numbered);
        names.find(|name| is_free(name)).expect("there are more numbers than models")
    }

    /// Takes a model away, and returns how many bytes are free again.
    pub(crate) fn remove(&self, name: &str) -> Result<u64, ApiError> {
        let _changing = lock(&self.changing);
        fs::remove_file(self.manifest_path(name)).map_err(|error| io_error("remove the model", &error))?;
        let _ = fs::remove_dir_all(self.divided(name));
        Ok(self.sweep())
    }

    /// Removes the files that belong to no model, and returns how many bytes they had.
    fn sweep(&self) -> u64 {
        // Where it cannot be read whose they are, none is nobody's.
        let Ok(models) = self.manifests().and_then(|manifests| {
            manifests.into_iter().map(|(_, manifest)| manifest).collect::<io::Result<Vec<Manifest>>>()
        }) else {
            return 0;
        };
        // One that is somebody else's lies elsewhere, whatever has the same bytes here.
        let used: HashSet<PathBuf> =
            models.iter().flat_map(|model| &model.files).map(|file| self.file(file)).collect();
        let mut freed = 0;
        for blob in fs::read_dir(self.folder.join("blobs")).into_iter().flatten().flatten() {
            let name = blob.file_name();
            // What is not named by a digest somebody else has put there.
            let is_unused = name.to_str().is_some_and(is_sha256) && !used.contains(&blob.path());
            let size = blob.metadata().map_or(0, |blob| blob.len());
            if is_unused && fs::remove_file(blob.path()).is_ok() {
                freed += size;
            }
        }
        freed
    }

    /// The file, if it is here or another program has it.
    fn here(&self, remote: &Remote, cached: &[(String, PathBuf)]) -> Option<Way> {
        let sha256 = remote.sha256.clone()?;
        let size_of =
            |path: &Path| fs::metadata(path).ok().filter(fs::Metadata::is_file).map(|file| file.len());
        if let Some(size_bytes) = size_of(&self.blob(&sha256)) {
            return Some(Way::Here { sha256, path: None, size_bytes });
        }
        let theirs = cached.iter().filter(|(digest, _)| *digest == sha256);
        let (path, size_bytes) =
            theirs.into_iter().find_map(|(_, path)| Some((path.clone(), size_of(path)?)))?;
        let is_whole = remote.size_bytes.is_none_or(|expected| expected == size_bytes);
        is_whole.then_some(Way::Here { sha256, path: Some(path), size_bytes })
    }

    /// How to come by a file: with the download that is under way, with none, or with one that begins.
    fn way(&self, remote: &Remote, cached: &[(String, PathBuf)]) -> Way {
        let key = remote.key();
        let mut running = lock(&self.running);
        running.retain(|_, download| download.strong_count() > 0);
        if let Some(download) =
            running.get(&key).and_then(Weak::upgrade).filter(|download| download.is_of_use())
        {
            return Way::Comes(download);
        }
        // Only now: whoever held a download until a moment ago has made its file a model's before.
        if let Some(here) = self.here(remote, cached) {
            return here;
        }
        let (sender, receiver) = watch::channel(State::default());
        let (web, remote, folder) = (self.web.clone(), remote.clone(), self.folder.join("partial"));
        let runtime = self.runtime.as_ref().expect("it is there until the store goes");
        let task = runtime.spawn(async move {
            let (come, mut comes) = watch::channel(Come::default());
            let fetching = remote.fetch(&web, &folder, &come);
            tokio::pin!(fetching);
            let outcome = loop {
                tokio::select! {
                    outcome = &mut fetching => break outcome,
                    changed = comes.changed() => {
                        changed.expect("the sender is held here");
                        let come = comes.borrow_and_update().clone();
                        sender.send_modify(|state| state.come = come);
                    }
                }
            };
            sender.send_modify(|state| state.outcome = Some(outcome));
        });
        let download = Arc::new(Download { state: receiver, _task: AbortOnDropHandle::new(task) });
        running.insert(key, Arc::downgrade(&download));
        Way::Comes(download)
    }

    /// Each model's name, and what is written of it.
    fn manifests(&self) -> io::Result<Vec<(String, io::Result<Manifest>)>> {
        let mut manifests = Vec::new();
        for entry in fs::read_dir(self.folder.join("manifests"))? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".json"));
            if let Some(name) = name {
                let manifest = fs::read(&path).and_then(|text| Ok(serde_json::from_slice(&text)?));
                manifests.push((name.to_owned(), manifest));
            }
        }
        Ok(manifests)
    }

    fn blob(&self, sha256: &str) -> PathBuf {
        self.folder.join("blobs").join(sha256)
    }

    /// Where the links to a model's several files are.
    fn divided(&self, name: &str) -> PathBuf {
        self.folder.join("divided").join(name)
    }

    fn manifest_path(&self, name: &str) -> PathBuf {
        self.folder.join("manifests").join(format!("{name}.json"))
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn remove_damaged(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        // Another job has found it damaged, too.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Waits for a download that is wanted since `started`; reports `before` bytes more of `total`.
async fn watch(
    download: &Arc<Download>,
    started: Instant,
    before: u64,
    total: Option<u64>,
    job: &JobWriter,
) -> Result<Fetched, ApiError> {
    let mut state = download.state.clone();
    let mut first = None;
    let mut is_whole = false;
    let mut told = 0;
    loop {
        let State { come, outcome } = state.borrow_and_update().clone();
        for (count, retry) in come.waits.iter() {
            if *count > told {
                told = *count;
                if let Some(retry) = retry.heard_from(started) {
                    retry.tell(job);
                }
            }
        }
        let total = total.unwrap_or(come.total);
        let so_far =
            |phase, done| Progress::new(phase, before.saturating_add(done), Some(total), Unit::Bytes);
        if !is_whole && (come.verifying || matches!(outcome, Some(Ok(_)))) {
            is_whole = true;
            job.progress(so_far(Phase::Download, come.total));
        }
        if let Some(outcome) = outcome {
            return outcome;
        }
        if come.verifying {
            job.progress(so_far(Phase::Verify, come.done));
        } else if come.total > 0 {
            let first = *first.get_or_insert(come.done);
            let mut progress = so_far(Phase::Download, come.done);
            let missing = total.saturating_sub(progress.done);
            progress.estimate_ms = estimate_ms(come.done.saturating_sub(first), missing, started.elapsed());
            job.progress(progress);
        }
        tokio::select! {
            changed = state.changed() => if changed.is_err() {
                let error = ApiError::new(ErrorCode::Internal, "the download ended without a word");
                return Err(error.hint("try again"));
            },
            () = job.cancelled() => {
                let come = state.borrow().come.clone();
                let here = before.saturating_add(if come.verifying { come.total } else { come.done });
                let is_others_too = Arc::strong_count(download) > 1;
                if come.goes_on && here > 0 && !is_others_too {
                    let narrator = job.narrator("hive");
                    let draft = narrator.action("model_pull").context(bytes_of(here, total));
                    draft.human("{} stay here: the next pull goes on from there").emit();
                }
                return Err(job.cancel_error());
            }
        }
    }
}

/// How long the rest takes at the pace so far.
fn estimate_ms(came: u64, missing: u64, elapsed: Duration) -> Option<u64> {
    const LEAST_MS: u128 = 2000;
    let ms = elapsed.as_millis();
    (came > 0 && ms >= LEAST_MS)
        .then(|| u64::try_from(u128::from(missing) * ms / u128::from(came)).unwrap_or(u64::MAX))
}
