//! The process-wide side of llama.cpp: its initialisation and its log.

use std::collections::VecDeque;
use std::ffi::{CStr, c_char, c_void};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_sys_2::{
    GGML_LOG_LEVEL_CONT, GGML_LOG_LEVEL_ERROR, GGML_LOG_LEVEL_INFO, ggml_log_level, llama_log_set,
};

use crate::error::EngineError;

/// How many of the last error lines are kept; the first of a failure is rarely further back.
const KEPT_ERROR_LINES: usize = 8;

/// llama.cpp, initialised, with its log captured. There is at most one in a process.
pub(crate) struct Llama {
    pub(crate) backend: LlamaBackend,
    log: Box<ErrorLog>,
}

impl Llama {
    pub(crate) fn init() -> Result<Self, EngineError> {
        #[cfg(feature = "dynamic-backends")]
        if let Some(folder) = std::env::current_exe().ok().as_deref().and_then(Path::parent) {
            llama_cpp_2::llama_backend::load_backends_from_path(folder);
        }
        let backend = LlamaBackend::init().map_err(|error| EngineError::Internal {
            reason: format!("this process already has an engine ({error})"),
        })?;
        let log = Box::new(ErrorLog::default());
        let user_data = (&raw const *log).cast_mut().cast::<c_void>();
        // SAFETY: `on_log` has the expected signature and takes `user_data` for an `ErrorLog`,
        // which stays where it is, in its box, until `drop` has taken the callback back. The
        // backend is the only one in the process, so no other thread is within llama.cpp.
        unsafe { llama_log_set(Some(on_log), user_data) };
        Ok(Self { backend, log })
    }

    /// A failure with what llama.cpp logged about it.
    pub(crate) fn internal(&self, what: impl std::fmt::Display) -> EngineError {
        EngineError::Internal {
            reason: match self.take_errors() {
                Some(errors) => format!("{what}: {errors}"),
                None => what.to_string(),
            },
        }
    }

    /// What is wrong with the model at `path` according to llama.cpp, which has just refused it.
    pub(crate) fn bad_model(&self, path: &Path) -> EngineError {
        let reason = self.take_errors().unwrap_or_else(|| "llama.cpp does not say why".to_owned());
        EngineError::BadModel { path: path.to_owned(), reason }
    }

    /// What a context takes, as llama.cpp says in its log while `make` makes it. That is the only place where it
    /// says so in C.
    pub(crate) fn sizes_of<T>(&self, make: impl FnOnce() -> T) -> (T, ContextSizes) {
        self.log.lock().sizes = Some(ContextSizes::default());
        let made = make();
        let sizes = self.log.lock().sizes.take().unwrap_or_default();
        (made, sizes)
    }

    /// The error lines since the last call, as one.
    pub(crate) fn take_errors(&self) -> Option<String> {
        let mut lines = self.log.lock();
        let errors: Vec<String> = lines.finished.drain(..).collect();
        (!errors.is_empty()).then(|| errors.join("; "))
    }
}

impl Drop for Llama {
    fn drop(&mut self) {
        // SAFETY: replaces the callback before the log that it writes to is freed. Models and
        // contexts are dropped before the engine's `Llama`, so nothing logs at the same time.
        unsafe { llama_log_set(Some(discard), std::ptr::null_mut()) };
    }
}

/// What a context takes besides its tables, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ContextSizes {
    /// Computed keys and values, or the states of recurrent models.
    pub(crate) memory_bytes: u64,
    /// What is in between while a batch is computed.
    pub(crate) compute_bytes: u64,
}

impl ContextSizes {
    /// Reads a line such as `name: size =  360.00 MiB ( 16384 cells, …` or `name:  CPU compute buffer size =  37.75 MiB`.
    /// Lines of the other buffers say again what the first of these does, or nothing where memory is not allocated.
    fn add(&mut self, line: &str) {
        let Some((what, size)) = line.split_once("size =") else { return };
        let mib = size.split_once("MiB").and_then(|(mib, _)| mib.trim().parse::<f64>().ok());
        let bytes = (mib.unwrap_or(0.0) * f64::from(1 << 20)) as u64;
        if what.ends_with("compute buffer ") {
            self.compute_bytes += bytes;
        } else if !what.ends_with("buffer ") {
            self.memory_bytes += bytes;
        }
    }
}

#[derive(Default)]
struct ErrorLog(Mutex<Lines>);

#[derive(Default)]
struct Lines {
    finished: VecDeque<String>,
    /// A line that a message without a newline began, if that message was an error.
    unfinished: Option<String>,
    /// What the context that is being made takes, while somebody asks.
    sizes: Option<ContextSizes>,
}

impl ErrorLog {
    fn lock(&self) -> std::sync::MutexGuard<'_, Lines> {
        // The lines are whole whatever happened while they were locked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    fn add(&mut self, level: ggml_log_level, text: &str) {
        if let Some(sizes) = self.sizes.as_mut().filter(|_| level == GGML_LOG_LEVEL_INFO) {
            sizes.add(text);
        }
        let line = match level {
            GGML_LOG_LEVEL_ERROR => self.unfinished.take().unwrap_or_default() + text,
            GGML_LOG_LEVEL_CONT => match self.unfinished.take() {
                Some(beginning) => beginning + text,
                None => return,
            },
            _ => return,
        };
        if !line.ends_with('\n') {
            self.unfinished = Some(line);
            return;
        }
        let line = without_function_name(line.trim());
        if line.is_empty() {
            return;
        }
        if self.finished.len() == KEPT_ERROR_LINES {
            self.finished.pop_front();
        }
        self.finished.push_back(line.to_owned());
    }
}

/// llama.cpp begins its messages with the name of the C++ function.
fn without_function_name(line: &str) -> &str {
    match line.split_once(": ") {
        Some((name, rest)) if name.contains('_') && !name.contains(' ') => rest,
        _ => line,
    }
}

/// # Safety
/// `text` is a C string, and `user_data` points to an [`ErrorLog`] that outlives the call.
unsafe extern "C" fn on_log(level: ggml_log_level, text: *const c_char, user_data: *mut c_void) {
    // SAFETY: as the function's contract says.
    let (text, log) = unsafe { (CStr::from_ptr(text), &*user_data.cast::<ErrorLog>()) };
    log.lock().add(level, &text.to_string_lossy());
}

unsafe extern "C" fn discard(_: ggml_log_level, _: *const c_char, _: *mut c_void) {}

/// Has faults in C++ end this process at once, by their own signal.
///
/// Rust's runtime handles SIGSEGV and SIGBUS to report stack overflows, and goes on after one that
/// came from outside, expecting the same instruction to fault again.
pub fn die_of_faults() {
    for signal in [libc::SIGSEGV, libc::SIGBUS] {
        // SAFETY: the default action replaces a handler; no code of ours runs in a signal's context.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

#[cfg(test)]
mod tests {
    use llama_cpp_sys_2::GGML_LOG_LEVEL_WARN;

    use super::*;

    fn check(messages: &[(ggml_log_level, &str)], expected: &[&str]) {
        let mut lines = Lines::default();
        for (level, text) in messages {
            lines.add(*level, text);
        }
        assert_eq!(lines.finished, expected);
    }

    #[test]
    fn only_errors_are_kept_without_the_function_name() {
        check(
            &[
                (GGML_LOG_LEVEL_INFO, "llama_load: loading\n"),
                (GGML_LOG_LEVEL_WARN, "llama_load: strange\n"),
                (GGML_LOG_LEVEL_ERROR, "llama_load: bad: file\n"),
            ],
            &["bad: file"],
        );
    }

    #[test]
    fn a_message_in_parts_is_one_line() {
        check(
            &[
                (GGML_LOG_LEVEL_ERROR, "one "),
                (GGML_LOG_LEVEL_CONT, "line\n"),
                (GGML_LOG_LEVEL_INFO, "begun "),
                (GGML_LOG_LEVEL_CONT, "and ended\n"),
            ],
            &["one line"],
        );
    }

    #[test]
    fn the_sizes_of_a_context_are_read_from_its_log() {
        let mut sizes = ContextSizes::default();
        for line in [
            "llama_context: n_ctx = 16384",
            "llama_context:        CPU  output buffer size =     1.50 MiB",
            "llama_kv_cache:        CPU KV buffer size =     0.00 MiB",
            "llama_kv_cache: size =  360.50 MiB ( 16384 cells,  30 layers,  8/1 seqs), K (f16):  180.00 MiB, V (f16):  180.00 MiB",
            "sched_reserve:        CPU compute buffer size =    37.75 MiB",
        ] {
            sizes.add(line);
        }
        assert_eq!(
            (sizes.memory_bytes >> 10, sizes.compute_bytes >> 10),
            (360 * 1024 + 512, 37 * 1024 + 768)
        );
    }

    #[test]
    fn the_last_lines_are_kept() {
        let many: Vec<String> = (0..20).map(|n| format!("{n}\n")).collect();
        let messages: Vec<_> = many.iter().map(|text| (GGML_LOG_LEVEL_ERROR, text.as_str())).collect();
        check(&messages, &["12", "13", "14", "15", "16", "17", "18", "19"]);
    }
}
