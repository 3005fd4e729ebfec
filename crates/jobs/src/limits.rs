use std::time::Duration;

use crate::serve::connections_max;

/// How much a daemon's jobs and connections may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Jobs kept at once, ended ones included.
    pub jobs: usize,
    /// Jobs of one principal that have not ended. Without a limit by default: on a hive and in a worker all
    /// jobs belong to the hop above.
    pub jobs_per_principal: usize,
    /// Streams that one principal reads at once. Without a limit by default, likewise.
    pub streams_per_principal: usize,
    /// Connections at once. By default as many as the system's limit on open files leaves, at most 16,384.
    pub connections: usize,
    /// How long the head of a request may take to arrive, and a connection may serve nobody who is known.
    pub head: Duration,
    /// Bytes of one job's stream.
    pub job_bytes: u64,
    /// Bytes of all jobs' streams together. A job is taken only while `job_bytes` of them are free, and
    /// ended jobs are removed until they are.
    pub total_bytes: u64,
    /// Bytes of all streams together that are kept in memory besides being in a store.
    pub window_bytes: u64,
    /// How long a job is kept after its end.
    pub retention: Duration,
    /// After so long without a reader, a job that was not submitted detached is cancelled.
    pub unread: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            jobs: 10_000,
            jobs_per_principal: usize::MAX,
            streams_per_principal: usize::MAX,
            connections: connections_max(),
            head: Duration::from_secs(10),
            job_bytes: 64 << 20,
            total_bytes: 1 << 30,
            window_bytes: 256 << 20,
            retention: Duration::from_secs(3600),
            unread: Duration::from_secs(30),
        }
    }
}
