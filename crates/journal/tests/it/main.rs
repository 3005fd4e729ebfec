//! The journal, and the same jobs over it and in memory.

mod crash;
mod model;
mod restart;
mod store;
