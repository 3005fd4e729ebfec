//! The job API as its clients see it, over real sockets.

mod access;
mod door;
mod exchange;
mod framing;
mod isolation;
mod limits;
mod matrix;
mod proxy;
mod relay;
mod resume;
mod retention;
mod shutdown;
mod stream;
mod support;
mod system;
