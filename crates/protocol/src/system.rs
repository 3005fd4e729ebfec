use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::ErrorCode;
use crate::id::{HiveId, JobId, PrincipalId, WorkerId};
use crate::job::JobState;
use crate::key::{KeyName, KeyRole};

/// One event of `GET /v1/system/events`, as its `data:` line carries it.
///
/// It tells of jobs, never of what is in them. Each queen numbers its own events, from the
/// `queen_started` that is its first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SystemEvent {
    /// Its place: 1, 2, 3 …; of `lost` the place of the last event that is lost.
    pub seq: u64,
    /// When it happened, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What happened.
    #[serde(flatten)]
    pub kind: SystemEventKind,
}

/// What happens to a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum SystemEventKind {
    /// The queen has started.
    QueenStarted {
        /// Its version.
        version: String,
    },
    /// The queen ends its jobs, and then itself.
    QueenStopping {},
    /// A hive takes jobs.
    HiveReady {
        /// Which.
        hive: HiveId,
    },
    /// A hive that was there is gone.
    HiveGone {
        /// Which.
        hive: HiveId,
        /// What the queen saw of it.
        reason: String,
    },
    /// A hive cannot be reached.
    HiveUnreachable {
        /// Which.
        hive: HiveId,
        /// What the queen saw of it.
        reason: String,
    },
    /// A worker process has started.
    WorkerStarted(WorkerRef),
    /// A worker has loaded its model.
    WorkerLoaded(WorkerRef),
    /// A worker process has ended.
    WorkerEnded(WorkerRef),
    /// Somebody submitted a job.
    JobCreated(JobRef),
    /// A job has its turn.
    JobStarted(JobRef),
    /// A job has ended.
    JobEnded {
        /// Which.
        #[serde(flatten)]
        job: JobRef,
        /// How.
        state: JobState,
        /// What kind of failure it was, if it was one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<ErrorCode>,
    },
    /// The queen takes up the jobs that the one before it left unfinished.
    JobsResumed {
        /// How many.
        jobs: u64,
    },
    /// An operator made a key.
    KeyCreated {
        /// Whose.
        name: KeyName,
        /// What its holder may do.
        role: KeyRole,
        /// Who made it.
        by: PrincipalId,
    },
    /// An operator revoked a key.
    KeyRevoked {
        /// Whose.
        name: KeyName,
        /// Who revoked it.
        by: PrincipalId,
    },
    /// These are no longer kept, and this stands for them.
    Lost {
        /// The first.
        from: u64,
        /// The last.
        to: u64,
    },
    /// Something that a newer version tells of; nobody sends it.
    #[serde(other, skip_serializing)]
    Unknown,
}

impl SystemEventKind {
    /// The kind's name, which is also its name as a server-sent event.
    pub fn name(&self) -> &'static str {
        match self {
            Self::QueenStarted { .. } => "queen_started",
            Self::QueenStopping {} => "queen_stopping",
            Self::HiveReady { .. } => "hive_ready",
            Self::HiveGone { .. } => "hive_gone",
            Self::HiveUnreachable { .. } => "hive_unreachable",
            Self::WorkerStarted(_) => "worker_started",
            Self::WorkerLoaded(_) => "worker_loaded",
            Self::WorkerEnded(_) => "worker_ended",
            Self::JobCreated(_) => "job_created",
            Self::JobStarted(_) => "job_started",
            Self::JobEnded { .. } => "job_ended",
            Self::JobsResumed { .. } => "jobs_resumed",
            Self::KeyCreated { .. } => "key_created",
            Self::KeyRevoked { .. } => "key_revoked",
            Self::Lost { .. } => "lost",
            Self::Unknown => "unknown",
        }
    }
}

/// Which worker it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkerRef {
    /// Its hive.
    pub hive: HiveId,
    /// Its name.
    pub worker: WorkerId,
    /// The model it runs.
    pub model: String,
}

/// Which job it was: nothing of what it was asked or said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobRef {
    /// Its id.
    pub job_id: JobId,
    /// The operation's name, e.g. `infer`.
    pub operation: String,
    /// To whom it belongs.
    pub principal: PrincipalId,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_a_flat_object_whose_kind_is_its_name() {
        let job = JobRef {
            job_id: JobId::from_bits(1),
            operation: "infer".to_owned(),
            principal: PrincipalId::new("ada"),
        };
        let kind = SystemEventKind::JobEnded { job, state: JobState::Failed, error: Some(ErrorCode::Quota) };
        let event = SystemEvent { seq: 7, at_ms: 1, kind };
        let json = serde_json::to_string(&event).expect("plain data");
        assert_eq!(
            json,
            r#"{"seq":7,"at_ms":1,"kind":"job_ended","job_id":"job-00000000000000000000000000000001","operation":"infer","principal":"ada","state":"failed","error":"quota"}"#
        );
        assert_eq!(event.kind.name(), "job_ended");
        assert_eq!(serde_json::from_str::<SystemEvent>(&json).expect("its own JSON"), event);
    }

    #[test]
    fn what_a_newer_queen_tells_of_is_read_as_unknown() {
        let event = serde_json::from_str::<SystemEvent>(r#"{"seq":1,"at_ms":2,"kind":"comet","size":3}"#);
        assert_eq!(event.expect("it is read").kind, SystemEventKind::Unknown);
    }
}
