use std::future::Future;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rbee_protocol::{ApiError, DaemonInfo, End, ErrorCode, Operation, StopRequest, SubmitRequest};

use crate::access::Principal;
use crate::log::JobWriter;

/// What a daemon does with the jobs that its router takes.
pub trait Service: Send + Sync + 'static {
    /// Which program this is.
    fn info(&self) -> DaemonInfo;

    /// Looks at a job that `by` asks for, before it is created.
    ///
    /// # Errors
    /// What is wrong with it; nothing is created then.
    fn check(&self, request: &SubmitRequest, by: &Principal) -> Result<(), ApiError>;

    /// Does the job. When `job` is cancelled it returns soon, with an end or an error that says so.
    fn run(
        self: Arc<Self>,
        operation: Operation,
        job: JobWriter,
    ) -> impl Future<Output = Result<End, ApiError>> + Send;

    /// Goes on with a job that a predecessor of this process left unfinished. `operation` is absent
    /// when a next hop has the job.
    fn resume(
        self: Arc<Self>,
        operation: Option<Operation>,
        job: JobWriter,
    ) -> impl Future<Output = Result<End, ApiError>> + Send {
        let _ = (operation, job);
        async { Err(interrupted_by_restart()) }
    }

    /// Begins to stop the daemon.
    fn stop(&self, request: StopRequest);
}

/// The error of a job that cannot be gone on with.
pub fn interrupted_by_restart() -> ApiError {
    ApiError::new(ErrorCode::Interrupted, "the daemon ended in the middle of the job").hint("try again")
}

/// What this process, the daemon called `daemon`, answers to `GET /v1/info`.
pub fn daemon_info(daemon: &str, started_at_ms: u64) -> DaemonInfo {
    DaemonInfo {
        daemon: daemon.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        started_at_ms,
    }
}

/// The time in milliseconds since the Unix epoch.
pub fn now_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}
