//! The process-wide side of llama.cpp: its initialisation and its log.

use std::collections::VecDeque;
use std::ffi::{CStr, c_char, c_void};
use std::sync::{Mutex, PoisonError};

use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_sys_2::{GGML_LOG_LEVEL_CONT, GGML_LOG_LEVEL_ERROR, ggml_log_level, llama_log_set};

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

#[derive(Default)]
struct ErrorLog(Mutex<Lines>);

#[derive(Default)]
struct Lines {
    finished: VecDeque<String>,
    /// A line that a message without a newline began, if that message was an error.
    unfinished: Option<String>,
}

impl ErrorLog {
    fn lock(&self) -> std::sync::MutexGuard<'_, Lines> {
        // The lines are whole whatever happened while they were locked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    fn add(&mut self, level: ggml_log_level, text: &str) {
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
    use llama_cpp_sys_2::{GGML_LOG_LEVEL_INFO, GGML_LOG_LEVEL_WARN};

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
    fn the_last_lines_are_kept() {
        let many: Vec<String> = (0..20).map(|n| format!("{n}\n")).collect();
        let messages: Vec<_> = many.iter().map(|text| (GGML_LOG_LEVEL_ERROR, text.as_str())).collect();
        check(&messages, &["12", "13", "14", "15", "16", "17", "18", "19"]);
    }
}
