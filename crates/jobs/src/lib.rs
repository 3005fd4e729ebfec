//! The job log, its store, and the router that every rbee daemon serves.
//!
//! A job's log is append-only: events numbered 1, 2, 3 …, closed by exactly one end event.
//! [`JobWriter`] is the only way to append to it and comes with the job; [`JobReader`] is a cursor
//! over it. There is no way from one job's writer to another job's log.
#![forbid(unsafe_code)]

mod door;
mod http;
mod log;
mod reader;
mod registry;
mod relay;
mod render;
mod serve;
mod service;
mod store;

pub use door::{Access, Authenticate, Principal};
pub use http::router;
pub use log::{Closed, JobWriter};
pub use reader::JobReader;
pub use registry::{Jobs, Limits};
pub use relay::{Relayed, relay};
pub use serve::{Listener, run};
pub use service::{Service, daemon_info, now_ms};
pub use store::{Frame, JobStore, MemoryStore, StoredLog};
