//! The job log, its store, and the router that every rbee daemon serves.
//!
//! A job's log is append-only: events numbered 1, 2, 3 …, closed by exactly one end event.
//! [`JobWriter`] is the only way to append to it and comes with the job; [`JobReader`] is a cursor
//! over it. There is no way from one job's writer to another job's log.
#![forbid(unsafe_code)]

mod access;
mod committer;
mod door;
mod events;
mod exchange;
mod http;
mod io;
mod kept;
mod limits;
mod log;
mod metrics;
mod openapi;
mod reader;
mod registry;
mod relay;
mod render;
mod routes;
mod serve;
mod service;
mod store;
mod stream_answer;
mod streams;
mod sync;

pub use access::{Permission, Principal};
pub use door::{Access, Answer, Authenticate, Failed, Json, error_response, without_strings};
pub use events::SystemLog;
pub use exchange::{Exchange, Translate, failure};
pub use http::{job_routes, router, system_routes};
pub use limits::Limits;
pub use log::{Closed, JobWriter};
pub use metrics::Exposition;
pub use openapi::describe;
pub use reader::{JobReader, ReadError};
pub use registry::{Jobs, Unfinished};
pub use relay::{Child, Relayed, relay};
pub use routes::{Route, Routes, Shape};
pub use serve::{Listener, bind_unix, run};
pub use service::{Service, daemon_info, interrupted_by_restart, now_ms};
pub use store::{Change, Frame, JobRecord, JobStore, Placement, StoreError, StoredJob};
pub use sync::lock;
