//! The programs as their users meet them: real daemons, a real model, each test in a home of its own.
#![forbid(unsafe_code)]

mod adapters;
mod apis;
mod chat;
mod clients;
mod completions;
mod daemons;
mod doctor;
mod document;
mod durable;
mod embed;
mod escapes;
mod exit_codes;
mod explain;
mod http;
mod hub;
mod infer;
mod keys;
mod names;
mod openapi;
mod overview;
mod protocol;
mod pull;
mod questions;
mod queue;
mod schema;
mod service;
mod signals;
mod support;
mod system;
mod terminal;
mod tmux;
mod tty;
mod uninstall;
mod walk;
mod workers;
