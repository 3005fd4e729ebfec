//! The wire types of rbee's job API and its typed client.
//!
//! Queen, hive and worker all serve this API, and each is the next one's client: a request becomes a
//! job, and the job's log flows back.
#![forbid(unsafe_code)]

mod client;
mod error;
mod event;
mod id;
mod job;
mod key;
mod near;
mod operation;
mod read;
mod report;
mod system;
mod tool;

pub use client::{Client, ClientError, Follow, FollowSystem, Followed, FollowedSystem, Heard};
pub use error::{ApiError, ErrorBody, ErrorCode, ErrorDraft};
pub use event::{
    Embedding, End, EndState, Event, FinishReason, JobEvent, Logprob, Phase, Progress, Timings, Token,
    TokenLogprobs, ToolCallPart, Unit, Usage,
};
pub use id::{HiveId, InvalidId, JobId, ModelRef, PrincipalId, WorkerId};
pub use job::{DaemonInfo, Health, JobInfo, JobList, JobState, StopRequest, Submitted};
pub use key::{CreateKey, InvalidKeyName, KeyInfo, KeyList, KeyName, KeyRole, NewKey};
pub use near::nearest;
pub use operation::{EmbedRequest, InferRequest, Message, Operation, Role, SubmitRequest};
pub use read::read;
pub use report::{
    Device, DeviceKind, EmbedReport, FoundModel, HiveList, HivePause, HiveReport, HiveState, HiveSummary,
    Instructions, Loaded, MachineFacts, MemoryAt, ModelAlias, ModelFacts, ModelFile, ModelInfo, ModelList,
    ModelRemoved, ModelReport, ModelSearch, ModelVerification, Place, Pooling, QueenReport, TokenCount,
    VerifiedModel, WatchedWorker, WorkerInfo, WorkerList, WorkerMemory, WorkerState, WorkerStopped,
    WorkerWatch,
};
pub use system::{JobRef, SystemEvent, SystemEventKind, WorkerRef};
pub use tool::{Tool, ToolCall, ToolChoice};
