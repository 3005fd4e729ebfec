use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;

use crate::{Home, HomeError};

/// With fewer, a job's end could be gone before its owner has read it.
const RETENTION_JOBS_MIN: u32 = 100;
/// More than llama.cpp takes makes no sense.
const THREADS_MAX: usize = 512;
/// Less is no room for any prompt and answer.
const CONTEXT_LENGTH_MIN: u32 = 8;
/// llama.cpp has 256 sequences in a context, but more than these share too little of a machine to be of use.
pub const SLOTS_MAX: u32 = 64;
/// Less is over between two tokens of a model that is only slow, or two signs of a worker, and more is as good as none.
const WATCHDOG_S: RangeInclusive<f64> = 1.0..=86_400.0;

/// The settings: environment variables beat the configuration file, which beats the defaults.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Where the queen listens: `queen.listen`, `RBEE_QUEEN_LISTEN`.
    pub queen_listen: Option<SocketAddr>,
    /// Where the queen keeps its jobs: `queen.journal`, `RBEE_JOURNAL`.
    pub journal: JournalKind,
    /// How many hours the queen keeps a job after its end: `queen.retention_hours`, `RBEE_RETENTION_HOURS`.
    pub retention_hours: Option<u32>,
    /// How many jobs the queen keeps at most: `queen.retention_jobs`, `RBEE_RETENTION_JOBS`.
    pub retention_jobs: Option<u32>,
    /// How many jobs that have not ended the holder of a key may have: `queen.jobs_per_key`, `RBEE_JOBS_PER_KEY`.
    pub jobs_per_key: Option<u32>,
    /// How many streams the holder of a key may read at once: `queen.streams_per_key`, `RBEE_STREAMS_PER_KEY`.
    pub streams_per_key: Option<u32>,
    /// How many jobs may wait for a turn: `queen.waiting_jobs`, `RBEE_WAITING_JOBS`.
    pub waiting_jobs: Option<u32>,
    /// How many of those the holder of a key may have: `queen.waiting_jobs_per_key`, `RBEE_WAITING_JOBS_PER_KEY`.
    pub waiting_jobs_per_key: Option<u32>,
    /// The origins of web pages that may use the queen, with a key, besides its own: `queen.origins`.
    pub origins: Vec<String>,
    /// Whether the queen answers Ollama's API, which knows no keys, to everybody on this machine: `queen.ollama`,
    /// `RBEE_OLLAMA`.
    pub ollama: bool,
    /// The worker program in place of our own: `hive.worker_program`, `RBEE_WORKER_PROGRAM`.
    pub worker_program: Option<PathBuf>,
    /// Context length of a worker, in tokens: `worker.context_length`, `RBEE_CONTEXT_LENGTH`.
    pub context_length: Option<u32>,
    /// Threads that a worker computes with: `worker.threads`, `RBEE_THREADS`.
    pub threads: Option<usize>,
    /// How many jobs a worker answers at once: `worker.slots`, `RBEE_SLOTS`.
    pub slots: Option<u32>,
    /// What a worker keeps of conversations that no slot has any more, in MB at most: `worker.saved_mb`, `RBEE_SAVED_MB`.
    pub saved_mb: Option<u32>,
    /// A worker that has jobs and makes no progress for so long is killed, unless this is zero:
    /// `worker.watchdog_s`, `RBEE_WATCHDOG_S`, in seconds.
    pub watchdog: Option<Duration>,
    /// For so many seconds without a job a model stays loaded, for ever below 0: `worker.keep_alive_s`,
    /// `RBEE_KEEP_ALIVE_S`.
    pub keep_alive_s: Option<i64>,
    /// Models by names of the operator's own: `[models.NAME]`.
    pub models: BTreeMap<String, NamedModel>,
}

/// A model with what an operator adds to it: an adapter, which makes another model of it, a model that drafts, or both.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedModel {
    /// The name or the absolute path of the model that it is added to: `base`; the default model when absent.
    pub base: Option<String>,
    /// The absolute path of an adapter, a LoRA in GGUF: `adapter`.
    pub adapter: Option<PathBuf>,
    /// How much of the adapter is added: `scale`.
    #[serde(default = "whole")]
    pub scale: f32,
    /// The absolute path of a smaller model in GGUF with the same vocabulary, which writes drafts of the answers: `draft`.
    pub draft: Option<PathBuf>,
}

fn whole() -> f32 {
    1.0
}

/// Where a queen keeps its jobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JournalKind {
    /// On the disk: prompts until a hive has them, and answers. They outlast the queen.
    #[default]
    Disk,
    /// In memory: prompts and answers are never written, and gone with the queen.
    Memory,
}

impl FromStr for JournalKind {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "disk" => Ok(Self::Disk),
            "memory" => Ok(Self::Memory),
            _ => Err("it is `disk` or `memory`"),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    queen: QueenSection,
    hive: HiveSection,
    worker: WorkerSection,
    models: BTreeMap<String, NamedModel>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct QueenSection {
    listen: Option<SocketAddr>,
    journal: Option<JournalKind>,
    retention_hours: Option<u32>,
    retention_jobs: Option<u32>,
    jobs_per_key: Option<u32>,
    streams_per_key: Option<u32>,
    waiting_jobs: Option<u32>,
    waiting_jobs_per_key: Option<u32>,
    origins: Vec<String>,
    ollama: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct HiveSection {
    worker_program: Option<PathBuf>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct WorkerSection {
    context_length: Option<u32>,
    threads: Option<usize>,
    slots: Option<u32>,
    saved_mb: Option<u32>,
    watchdog_s: Option<f64>,
    keep_alive_s: Option<i64>,
}

impl Config {
    /// Reads the settings of `home`.
    ///
    /// # Errors
    /// [`HomeError::BadSetting`] names the file or variable that makes no sense.
    pub fn load(home: &Home) -> Result<Self, HomeError> {
        let path = home.config_file();
        let file: File = match fs::read_to_string(&path) {
            Ok(text) => toml::from_str(&text).map_err(|error| HomeError::BadSetting {
                origin: path.display().to_string(),
                reason: error.to_string().trim_end().to_owned(),
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => File::default(),
            Err(error) => return Err(HomeError::io("read", path)(error)),
        };
        let worker_program: Option<PathBuf> = variable("RBEE_WORKER_PROGRAM")?.or(file.hive.worker_program);
        if let Some(program) = worker_program.as_ref().filter(|program| !program.is_absolute()) {
            // Daemons have a working folder of their own.
            let reason = format!("the path {} is not absolute", program.display());
            return Err(bad("hive.worker_program", "RBEE_WORKER_PROGRAM", reason));
        }
        let queen_listen: Option<SocketAddr> = variable("RBEE_QUEEN_LISTEN")?.or(file.queen.listen);
        if let Some(address) = queen_listen.filter(|address| !address.ip().is_loopback()) {
            let reason = format!("{address} is not a loopback address, and the queen listens on no other");
            return Err(bad("queen.listen", "RBEE_QUEEN_LISTEN", reason));
        }
        let context_length = variable("RBEE_CONTEXT_LENGTH")?.or(file.worker.context_length);
        if context_length.is_some_and(|length| length < CONTEXT_LENGTH_MIN) {
            return Err(bad(
                "worker.context_length",
                "RBEE_CONTEXT_LENGTH",
                format!("it must be at least {CONTEXT_LENGTH_MIN}"),
            ));
        }
        let threads = variable("RBEE_THREADS")?.or(file.worker.threads);
        if threads.is_some_and(|threads| !(1..=THREADS_MAX).contains(&threads)) {
            return Err(bad("worker.threads", "RBEE_THREADS", format!("it must be from 1 to {THREADS_MAX}")));
        }
        let slots = variable("RBEE_SLOTS")?.or(file.worker.slots);
        if slots.is_some_and(|slots| !(1..=SLOTS_MAX).contains(&slots)) {
            return Err(bad("worker.slots", "RBEE_SLOTS", format!("it must be from 1 to {SLOTS_MAX}")));
        }
        let saved_mb = variable("RBEE_SAVED_MB")?.or(file.worker.saved_mb);
        let watchdog_s: Option<f64> = variable("RBEE_WATCHDOG_S")?.or(file.worker.watchdog_s);
        if watchdog_s.is_some_and(|seconds| seconds != 0.0 && !WATCHDOG_S.contains(&seconds)) {
            let (least, most) = (WATCHDOG_S.start(), WATCHDOG_S.end());
            let reason = format!("it must be from {least} to {most} seconds, or 0 for no watchdog");
            return Err(bad("worker.watchdog_s", "RBEE_WATCHDOG_S", reason));
        }
        for (name, model) in &file.models {
            let bad = |reason: &str| {
                let origin = format!("models.{name}");
                Err(HomeError::BadSetting { origin, reason: reason.to_owned() })
            };
            if name.is_empty() || name.contains('/') || name.ends_with(".gguf") {
                return bad("a name has no `/` and does not end in `.gguf`, which would make it a path");
            }
            if model.adapter.is_none() && model.draft.is_none() {
                return bad("it has neither an `adapter` nor a `draft`");
            }
            if model.adapter.as_deref().is_some_and(Path::is_relative) {
                return bad("the path of its `adapter` is not absolute");
            }
            if model.draft.as_deref().is_some_and(Path::is_relative) {
                return bad("the path of its `draft` is not absolute");
            }
            if model.base.as_deref().is_some_and(|base| base.contains('/') && !Path::new(base).is_absolute())
            {
                return bad("the path of its `base` is not absolute");
            }
            if model.adapter.is_none() && model.scale != whole() {
                return bad("it has a `scale`, but no `adapter`");
            }
            if !model.scale.is_finite() {
                return bad("its `scale` is not a number");
            }
        }
        let journal = variable("RBEE_JOURNAL")?.or(file.queen.journal).unwrap_or_default();
        let retention_hours = variable("RBEE_RETENTION_HOURS")?.or(file.queen.retention_hours);
        let retention_jobs = variable("RBEE_RETENTION_JOBS")?.or(file.queen.retention_jobs);
        if retention_hours == Some(0) {
            let reason =
                "0 leaves no time to read an answer; `queen.journal = \"memory\"` writes none".to_owned();
            return Err(bad("queen.retention_hours", "RBEE_RETENTION_HOURS", reason));
        }
        if retention_jobs.is_some_and(|jobs| jobs < RETENTION_JOBS_MIN) {
            return Err(bad(
                "queen.retention_jobs",
                "RBEE_RETENTION_JOBS",
                format!("it must be at least {RETENTION_JOBS_MIN}"),
            ));
        }
        let jobs_per_key = variable("RBEE_JOBS_PER_KEY")?.or(file.queen.jobs_per_key);
        let streams_per_key = variable("RBEE_STREAMS_PER_KEY")?.or(file.queen.streams_per_key);
        let waiting_jobs = variable("RBEE_WAITING_JOBS")?.or(file.queen.waiting_jobs);
        let waiting_jobs_per_key = variable("RBEE_WAITING_JOBS_PER_KEY")?.or(file.queen.waiting_jobs_per_key);
        for (setting, variable, limit) in [
            ("queen.jobs_per_key", "RBEE_JOBS_PER_KEY", jobs_per_key),
            ("queen.streams_per_key", "RBEE_STREAMS_PER_KEY", streams_per_key),
            ("queen.waiting_jobs", "RBEE_WAITING_JOBS", waiting_jobs),
            ("queen.waiting_jobs_per_key", "RBEE_WAITING_JOBS_PER_KEY", waiting_jobs_per_key),
        ] {
            if limit == Some(0) {
                return Err(bad(setting, variable, "with 0 nobody could do anything".to_owned()));
            }
        }
        if let Some(origin) = file.queen.origins.iter().find(|origin| !is_origin(origin)) {
            let reason = format!("`{origin}` is no origin of a page, such as `http://localhost:3000`");
            return Err(HomeError::BadSetting { origin: "queen.origins".to_owned(), reason });
        }
        Ok(Self {
            queen_listen,
            journal,
            retention_hours,
            retention_jobs,
            jobs_per_key,
            streams_per_key,
            waiting_jobs,
            waiting_jobs_per_key,
            origins: file.queen.origins,
            ollama: variable("RBEE_OLLAMA")?.or(file.queen.ollama).unwrap_or_default(),
            worker_program,
            context_length,
            threads,
            slots,
            saved_mb,
            watchdog: watchdog_s.map(Duration::from_secs_f64),
            keep_alive_s: variable("RBEE_KEEP_ALIVE_S")?.or(file.worker.keep_alive_s),
            models: file.models,
        })
    }
}

/// Whether this is what a browser sends of a page: scheme, host and port, and nothing behind them.
fn is_origin(text: &str) -> bool {
    let host = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    host.is_some_and(|host| {
        !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_graphic() && !b"/?#@*\\".contains(&byte))
    })
}

/// A setting that makes no sense, by the name of the `variable` if that is what it has been given in.
fn bad(setting: &str, variable: &str, reason: String) -> HomeError {
    let is_given = env::var_os(variable).is_some_and(|value| !value.is_empty());
    let origin = if is_given { variable } else { setting };
    HomeError::BadSetting { origin: origin.to_owned(), reason }
}

fn variable<T: FromStr<Err: std::fmt::Display>>(name: &str) -> Result<Option<T>, HomeError> {
    let bad = |reason| HomeError::BadSetting { origin: name.to_owned(), reason };
    match env::var(name) {
        Ok(text) if text.is_empty() => Ok(None),
        Ok(text) => text.parse().map(Some).map_err(|error: T::Err| bad(format!("`{text}`: {error}"))),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(error) => Err(bad(error.to_string())),
    }
}
