use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::id::{JobId, PrincipalId};

/// The answer to a submitted job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Submitted {
    /// The job's id.
    pub job_id: JobId,
    /// The path of its stream.
    pub sse_url: String,
    /// The state it is in.
    pub state: JobState,
}

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Accepted, waiting for its turn.
    Queued,
    /// Being worked on.
    Running,
    /// Ended: did what it was asked to.
    Succeeded,
    /// Ended: could not.
    Failed,
    /// Ended: was told to stop.
    Cancelled,
}

impl JobState {
    /// The state's name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether the job is not to go on.
    pub fn has_ended(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }
}

/// What is known about a job besides its stream; nothing of its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobInfo {
    /// The job's id.
    pub job_id: JobId,
    /// The operation's name, e.g. `infer`.
    pub operation: String,
    /// Where it stands.
    pub state: JobState,
    /// To whom it belongs.
    pub principal: PrincipalId,
    /// Whether it runs on when nobody reads it.
    pub detached: bool,
    /// When it was created, in milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    /// When it ended, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at_ms: Option<u64>,
    /// How many events its stream has.
    pub events: u64,
    /// How many readers follow its stream at the moment.
    pub readers: u64,
}

/// The jobs of whoever asked, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobList {
    /// The jobs.
    pub jobs: Vec<JobInfo>,
}

/// What `GET /health` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// Always `ok`: a daemon that is not does not answer.
    pub status: String,
}

/// What `GET /v1/info` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DaemonInfo {
    /// Which program: `queen`, `hive` or `worker`.
    pub daemon: String,
    /// Its version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// Since when it runs, in milliseconds since the Unix epoch.
    pub started_at_ms: u64,
}

/// The body of `POST /v1/system/stop`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StopRequest {
    /// Whether a queen leaves its local hive running.
    #[serde(default)]
    pub keep_hive: bool,
}
