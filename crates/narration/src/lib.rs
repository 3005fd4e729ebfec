//! The narration line: its fields, its one format, redaction, and the narrators that emit it.
//!
//! A line belongs to a job or to the system, and the handle decides which: a [`JobNarrator`] is made
//! from one job's [`JobSink`] and can reach nothing else; a [`SystemNarrator`] has no job to reach.
//!
//! ```compile_fail
//! // A job's narrator cannot be had without the job.
//! let (log, _) = rbee_narration::Log::capture();
//! rbee_narration::JobNarrator::new("queen", log).action("job_create").human("Job created").emit();
//! ```
//!
//! ```compile_fail
//! // The system's narrator cannot be pointed at a job.
//! let (log, _) = rbee_narration::Log::capture();
//! rbee_narration::SystemNarrator::new("queen", log).job("job-1").action("x").human("y").emit();
//! ```
#![forbid(unsafe_code)]

mod figures;
mod line;
mod log;
mod narrator;
mod redact;
mod terminal;

pub use figures::{bytes, bytes_of, count};
pub use line::{Level, Line};
pub use log::{Capture, Log, rotate};
pub use narrator::{Draft, JobNarrator, JobSink, SystemNarrator};
pub use redact::redact;
pub use terminal::{printable, printable_text};
