use std::env;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use serde::Deserialize;

use crate::{Home, HomeError};

/// More than llama.cpp takes makes no sense.
const THREADS_MAX: usize = 512;

/// The settings: environment variables beat the configuration file, which beats the defaults.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the queen listens: `queen.listen`, `RBEE_QUEEN_LISTEN`.
    pub queen_listen: Option<SocketAddr>,
    /// The worker program in place of our own: `hive.worker_program`, `RBEE_WORKER_PROGRAM`.
    pub worker_program: Option<PathBuf>,
    /// Context length of a worker, in tokens: `worker.context_length`, `RBEE_CONTEXT_LENGTH`.
    pub context_length: Option<u32>,
    /// Threads that a worker computes with: `worker.threads`, `RBEE_THREADS`.
    pub threads: Option<usize>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    queen: QueenSection,
    hive: HiveSection,
    worker: WorkerSection,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct QueenSection {
    listen: Option<SocketAddr>,
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
            return Err(HomeError::BadSetting { origin: "hive.worker_program".to_owned(), reason });
        }
        let bad =
            |setting: &str, reason: String| HomeError::BadSetting { origin: setting.to_owned(), reason };
        let queen_listen: Option<SocketAddr> = variable("RBEE_QUEEN_LISTEN")?.or(file.queen.listen);
        if let Some(address) = queen_listen.filter(|address| !address.ip().is_loopback()) {
            let reason = format!("{address} is not a loopback address, and the queen listens on no other");
            return Err(bad("queen.listen", reason));
        }
        let context_length = variable("RBEE_CONTEXT_LENGTH")?.or(file.worker.context_length);
        if context_length == Some(0) {
            return Err(bad("worker.context_length", "0 leaves no room for a prompt".to_owned()));
        }
        let threads = variable("RBEE_THREADS")?.or(file.worker.threads);
        if threads.is_some_and(|threads| !(1..=THREADS_MAX).contains(&threads)) {
            return Err(bad("worker.threads", format!("it must be from 1 to {THREADS_MAX}")));
        }
        Ok(Self { queen_listen, worker_program, context_length, threads })
    }
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
