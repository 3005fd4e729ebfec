//! The programs as their users meet them: real daemons, a real model, each test in a home of its own.
#![forbid(unsafe_code)]

mod daemons;
mod http;
mod infer;
mod questions;
mod signals;
mod support;
mod terminal;
