//! The worker as a process.

mod confined;
mod damaged;
mod requests;
mod support;
