//! What a model will take of the machine's memory, before any of it is taken.
//!
//! The file says what the weights take. The rest depends on the family of the model in ways that
//! llama.cpp knows best, so it makes the model and a context for us without their memory, and says
//! what they would have been given.

use std::path::Path;

use llama_cpp_2::LlamaModelLoadError;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::model::params::LlamaModelParams;

use crate::context::{self, Shape};
use crate::error::EngineError;
use crate::llama::{ContextSizes, Llama};

/// Threads' stacks, allocators' slack, requests and their answers: what a worker has besides that
/// depends little on its model.
const BESIDES_BYTES: u64 = 8 << 20;

/// What a loaded model takes of the machine's memory, in bytes, as computed before it is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// The weights, which lie in the file: the system counts them as memory that it could free.
    pub weights_bytes: u64,
    /// The computed keys and values of tokens, or the states of a recurrent model.
    pub context_bytes: u64,
    /// What lies in between while a batch is computed, and what comes out.
    pub buffers_bytes: u64,
    /// The program, with the model's vocabulary.
    pub process_bytes: u64,
    /// What lies in the memory of graphics cards instead. It is no part of the sum.
    pub device_bytes: u64,
    /// What is kept of conversations that have no slot any more may grow to this, and only this
    /// grows. It is no part of the sum.
    pub saved_bytes_max: u64,
}

impl Memory {
    /// All that the model takes from the first prompt or text on. A model that writes answers takes a second context
    /// while it computes embeddings.
    pub fn total_bytes(&self) -> u64 {
        self.weights_bytes + self.context_bytes + self.buffers_bytes + self.process_bytes
    }
}

/// A model without its weights.
pub(crate) struct HollowModel {
    pub(crate) model: LlamaModel,
}

impl HollowModel {
    /// Reads what `path` says of the model, and its vocabulary.
    pub(crate) fn load(llama: &Llama, path: &Path) -> Result<Self, EngineError> {
        let params = LlamaModelParams::default().with_no_alloc(true);
        match LlamaModel::load_from_file(&llama.backend, path, &params) {
            Ok(model) => Ok(Self { model }),
            Err(LlamaModelLoadError::NullResult) => Err(llama.bad_model(path)),
            Err(error) => Err(EngineError::BadModel { path: path.to_owned(), reason: error.to_string() }),
        }
    }

    /// What a context of this shape would take.
    pub(crate) fn context_sizes(
        &self,
        llama: &Llama,
        shape: &Shape,
        threads: usize,
    ) -> Result<ContextSizes, EngineError> {
        let (context, sizes) =
            llama.sizes_of(|| context::create(llama, &self.model, shape, threads, None, None));
        drop(context?);
        // One row of logits for each token that is sampled.
        let outputs = shape.outputs as u64 * u64::try_from(self.model.n_vocab()).unwrap_or(0) * 4;
        Ok(ContextSizes { compute_bytes: sizes.compute_bytes + outputs, ..sizes })
    }

    /// What this process takes with the vocabulary, which a loaded model has just so.
    pub(crate) fn process_bytes(&self) -> u64 {
        resident_bytes().unwrap_or(0) + BESIDES_BYTES
    }
}

/// Memory that this machine has for another program, or this process's group of programs; `None` where the system
/// does not say.
pub(crate) fn free_bytes() -> Option<u64> {
    let memory = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = memory.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some((kib * 1024).min(free_in_group().unwrap_or(u64::MAX)))
}

/// What a container's limit leaves, of which the file cache could be freed.
fn free_in_group() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let mut folder = Path::new("/sys/fs/cgroup").join(own);
    let mut least: Option<u64> = None;
    // Limits hold for all that is below.
    while folder.starts_with("/sys/fs/cgroup") {
        let number = |name: &str| std::fs::read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok();
        if let (Some(most), Some(used)) = (number("memory.max"), number("memory.current")) {
            let statistics = std::fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
            let cached = statistics.lines().filter_map(|line| {
                let file = line.strip_prefix("inactive_file ").or(line.strip_prefix("active_file "))?;
                file.parse::<u64>().ok()
            });
            let free = most.saturating_sub(used.saturating_sub(cached.sum()));
            least = Some(least.map_or(free, |least| least.min(free)));
        }
        if !folder.pop() {
            break;
        }
    }
    least
}

/// What this process has of the machine's memory.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Gives back the pages of the model's file that loading has touched.
///
/// llama.cpp has the system map all of a file at once, and then copies those weights that it lays
/// out differently for this processor. What it goes on reading comes back from the system's cache as it is read,
/// and the rest need not lie in memory twice.
#[cfg(target_os = "linux")]
pub(crate) fn give_back_file_pages(files: &[std::path::PathBuf]) {
    use std::os::unix::fs::MetadataExt;

    let Ok(maps) = std::fs::read_to_string("/proc/self/maps") else { return };
    let inodes: Vec<u64> =
        files.iter().filter_map(|file| std::fs::metadata(file).ok()).map(|file| file.ino()).collect();
    for line in maps.lines() {
        // `7f00c0000000-7f00c5c00000 r--s 00000000 fe:01 1234   /path`
        let mut fields = line.split_ascii_whitespace();
        let (Some(range), Some(access)) = (fields.next(), fields.next()) else { continue };
        let inode = fields.nth(2).and_then(|inode| inode.parse::<u64>().ok());
        let range = range.split_once('-').and_then(|(from, to)| {
            Some((usize::from_str_radix(from, 16).ok()?, usize::from_str_radix(to, 16).ok()?))
        });
        let (Some((from, to)), Some(inode)) = (range, inode) else { continue };
        if access.starts_with("r--s") && inodes.contains(&inode) {
            // SAFETY: the range is a mapping of this process, shared with a file and never written to, so that what
            // is given back is read anew from the file.
            unsafe { libc::madvise(from as *mut libc::c_void, to - from, libc::MADV_DONTNEED) };
        }
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn give_back_file_pages(_files: &[std::path::PathBuf]) {}
