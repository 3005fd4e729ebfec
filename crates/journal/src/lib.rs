//! Keeps jobs in SQLite, so that they outlast their daemon.
//!
//! One table holds the jobs, another their events: in rows of up to 32, as the server-sent events that
//! they are sent as. A commit is on the disk when it returns.
#![forbid(unsafe_code)]

mod reserve;

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use bytes::Bytes;
use rbee_jobs::{Change, Frame, JobRecord, JobStore, Placement, StoreError, StoredJob, lock};
use rbee_protocol::{HiveId, JobId, JobState, PrincipalId};
use rusqlite::types::{Type, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags, Row, Transaction, TransactionBehavior, params};

use crate::reserve::Reserve;

/// So many events lie in one row at most.
const CHUNK_EVENTS: usize = 32;
/// The version of the tables below.
const VERSION: i64 = 1;
/// How a job can have ended.
const ENDS: [JobState; 3] = [JobState::Succeeded, JobState::Failed, JobState::Cancelled];

const SCHEMA: &str = "
    CREATE TABLE job (
        -- Never one that a job before had: who reads that may still be at it.
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        job_id TEXT NOT NULL UNIQUE,
        operation TEXT NOT NULL,
        principal TEXT NOT NULL,
        detached INTEGER NOT NULL,
        origin TEXT,
        created_at_ms INTEGER NOT NULL,
        -- What was asked for, as long as no hive has it.
        request TEXT,
        hive TEXT,
        child TEXT,
        slot TEXT,
        -- Once it has ended: how, when, and what there is of it.
        state TEXT,
        ended_at_ms INTEGER,
        seq INTEGER,
        bytes INTEGER
    ) STRICT;
    CREATE TABLE chunk (
        job INTEGER NOT NULL,
        first_seq INTEGER NOT NULL,
        events INTEGER NOT NULL,
        child_seq INTEGER,
        frames BLOB NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX chunk_of_job ON chunk (job, first_seq);
";

/// The jobs in one file.
pub struct Journal {
    path: PathBuf,
    /// Connections for reading that nobody uses at the moment. Closed before the writer: the last to be closed
    /// moves what is in the log to the file, which those cannot.
    readers: Mutex<Vec<Connection>>,
    writer: Mutex<Writer>,
    reserve: Reserve,
}

struct Writer {
    connection: Connection,
    jobs: HashMap<JobId, Known>,
}

/// What has to be known of a job in order to add to it.
#[derive(Clone, Copy)]
struct Known {
    id: i64,
    bytes: u64,
}

impl Journal {
    /// Opens the journal in the file at `path`, which is created with mode 0600.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be used, or was written by a newer version.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        // SQLite gives the files beside it the mode of this one.
        let created = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
        created.map_err(|error| failed(path, &error))?;
        let connection = open(path).map_err(|error| from_sqlite(path, &error))?;
        let journal = Self {
            path: path.to_owned(),
            writer: Mutex::new(Writer { connection, jobs: HashMap::new() }),
            readers: Mutex::default(),
            reserve: Reserve::at(path.with_extension("reserve")),
        };
        // Where there is no room for it now, there may be later.
        let _ = journal.reserve.hold();
        Ok(journal)
    }

    fn error(&self, error: &rusqlite::Error) -> StoreError {
        from_sqlite(&self.path, error)
    }

    fn try_read(&self, job: &JobId, after: u64, max_bytes: usize) -> rusqlite::Result<Vec<Frame>> {
        let idle = lock(&self.readers).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => open_to_read(&self.path)?,
        };
        let frames = read(&connection, job, after, max_bytes)?;
        lock(&self.readers).push(connection);
        Ok(frames)
    }
}

impl JobStore for Journal {
    fn check_room(&self) -> Result<(), StoreError> {
        match self.reserve.is_held() {
            true => Ok(()),
            false => Err(StoreError::DiskFull { path: self.path.display().to_string() }),
        }
    }

    fn tidy(&self) {
        // There may be room the next time.
        let _ = self.reserve.hold();
        // What was removed is still in the log beside the file, until that begins anew. A reader that is in the
        // middle of a page keeps it from that, which is as well the next time.
        let _ = lock(&self.writer).connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    }

    fn load(&self) -> Result<Vec<StoredJob>, StoreError> {
        let mut writer = lock(&self.writer);
        let Writer { connection, jobs } = &mut *writer;
        let stored = load(connection).map_err(|error| self.error(&error))?;
        let known =
            |(id, job): &(i64, StoredJob)| (job.record.id.clone(), Known { id: *id, bytes: job.bytes });
        jobs.extend(stored.iter().map(known));
        Ok(stored.into_iter().map(|(_, job)| job).collect())
    }

    fn write(&self, changes: &[Change]) -> Result<(), StoreError> {
        // What was given up so that jobs can end is not for those that go on.
        if !changes.iter().all(is_last_of_a_job) {
            self.check_room()?;
        }
        let mut writer = lock(&self.writer);
        let written = writer.write(changes).map_err(|error| self.error(&error));
        if let Err(StoreError::DiskFull { .. }) = written {
            // Room for the ends of those jobs that cannot go on.
            self.reserve.release();
        }
        written
    }

    fn read(&self, job: &JobId, after: u64, max_bytes: usize) -> Result<Vec<Frame>, StoreError> {
        self.try_read(job, after, max_bytes).map_err(|error| self.error(&error))
    }
}

impl Writer {
    fn write(&mut self, changes: &[Change]) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // What holds once the transaction is committed.
        let mut known: HashMap<&JobId, Option<Known>> = HashMap::new();
        for change in changes {
            match change {
                Change::Create { record, request } => {
                    let request = serde_json::to_string(request).expect("a request is plain data");
                    let id = create(&transaction, record, &request)?;
                    known.insert(&record.id, Some(Known { id, bytes: 0 }));
                }
                Change::Place { job, placement } => {
                    let mut statement = transaction.prepare_cached(
                        "UPDATE job SET hive = ?2, child = ?3, slot = ?4, request = NULL WHERE job_id = ?1",
                    )?;
                    let Placement { hive, child, slot } = placement;
                    statement.execute(params![job.as_str(), hive.as_str(), child.as_str(), slot])?;
                }
                Change::Append { job, frames, child_seq, end } => {
                    let before = known.get(job).copied().flatten().or_else(|| self.jobs.get(job).copied());
                    let Known { id, bytes } = before.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
                    let bytes = bytes + append(&transaction, id, frames, *child_seq)?;
                    if let Some((state, at_ms)) = end {
                        let seq = frames.last().map(Frame::seq);
                        let mut statement = transaction.prepare_cached(
                            "UPDATE job SET state = ?2, ended_at_ms = ?3, seq = ?4, bytes = ?5, request = NULL
                             WHERE id = ?1",
                        )?;
                        statement.execute(params![id, state.name(), at_ms, seq, bytes])?;
                    }
                    known.insert(job, Some(Known { id, bytes }));
                }
                Change::Remove { job } => {
                    if let Some(Known { id, .. }) = self.jobs.get(job) {
                        transaction.prepare_cached("DELETE FROM chunk WHERE job = ?1")?.execute([id])?;
                        transaction.prepare_cached("DELETE FROM job WHERE id = ?1")?.execute([id])?;
                    }
                    known.insert(job, None);
                }
            }
        }
        transaction.commit()?;
        for (job, known) in known {
            match known {
                Some(known) => drop(self.jobs.insert(job.clone(), known)),
                None => drop(self.jobs.remove(job)),
            }
        }
        Ok(())
    }
}

/// Whether the job needs no more room after this.
fn is_last_of_a_job(change: &Change) -> bool {
    matches!(change, Change::Append { end: Some(_), .. } | Change::Remove { .. })
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let mut connection = Connection::open(path)?;
    connection.set_prepared_statement_cache_capacity(32);
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // Prompts and answers whose time is up are to be gone.
    connection.pragma_update(None, "secure_delete", "ON")?;
    connection.pragma_update(None, "wal_autocheckpoint", 4000)?;
    connection.pragma_update(None, "journal_size_limit", 32 << 20)?;
    connection.pragma_update(None, "cache_size", -8192)?;
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    match version {
        0 => {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            transaction.execute_batch(SCHEMA)?;
            transaction.pragma_update(None, "user_version", VERSION)?;
            transaction.commit()?;
        }
        VERSION => {}
        _ => {
            let newer = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_SCHEMA);
            let reason = "it was written by a newer version of rbee".to_owned();
            return Err(rusqlite::Error::SqliteFailure(newer, Some(reason)));
        }
    }
    Ok(connection)
}

fn open_to_read(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.pragma_update(None, "cache_size", -1024)?;
    Ok(connection)
}

fn load(connection: &Connection) -> rusqlite::Result<Vec<(i64, StoredJob)>> {
    let mut statement = connection.prepare(
        "SELECT id, job_id, operation, principal, detached, origin, created_at_ms, request, hive, child,
                state, ended_at_ms, seq, bytes, slot
         FROM job ORDER BY id",
    )?;
    let jobs = statement.query_map([], stored_job)?.collect::<rusqlite::Result<Vec<_>>>()?;
    let mut unfinished = connection.prepare(
        "SELECT max(first_seq + events - 1), sum(length(frames)), max(child_seq) FROM chunk WHERE job = ?1",
    )?;
    let mut complete = Vec::with_capacity(jobs.len());
    for (id, mut job) in jobs {
        if job.ended_at_ms.is_none() {
            let of_log = |row: &Row<'_>| {
                Ok((
                    row.get::<_, Option<u64>>(0)?,
                    row.get::<_, Option<u64>>(1)?,
                    row.get::<_, Option<u64>>(2)?,
                ))
            };
            let (seq, bytes, child_seq) = unfinished.query_row([id], of_log)?;
            job.seq = seq.unwrap_or(0);
            job.bytes = bytes.unwrap_or(0);
            job.child_seq = child_seq.unwrap_or(0);
        }
        complete.push((id, job));
    }
    Ok(complete)
}

fn stored_job(row: &Row<'_>) -> rusqlite::Result<(i64, StoredJob)> {
    let text = |column: usize| row.get::<_, Option<String>>(column);
    let job_id = |column: usize| {
        let id = text(column)?.map(|id| id.parse::<JobId>());
        id.transpose().map_err(|_| unreadable("a job has no id that is one"))
    };
    let request = text(7)?.map(|json| serde_json::from_str(&json));
    let placement = match (text(8)?, job_id(9)?, text(14)?) {
        (Some(hive), Some(child), Some(slot)) => Some(Placement { hive: HiveId::new(hive), child, slot }),
        _ => None,
    };
    let record = JobRecord {
        id: job_id(1)?.ok_or_else(|| unreadable("a job has no id"))?,
        operation: row.get(2)?,
        principal: PrincipalId::new(row.get::<_, String>(3)?),
        detached: row.get(4)?,
        origin: job_id(5)?,
        created_at_ms: row.get(6)?,
    };
    let state = match text(10)? {
        Some(name) => {
            let end = ENDS.into_iter().find(|end| end.name() == name);
            end.ok_or_else(|| unreadable("a job has no state that is one"))?
        }
        None if placement.is_some() => JobState::Running,
        None => JobState::Queued,
    };
    let job = StoredJob {
        record,
        // A request that this version does not understand cannot be gone on with.
        request: request.and_then(Result::ok),
        placement,
        child_seq: 0,
        state,
        ended_at_ms: row.get(11)?,
        seq: row.get::<_, Option<u64>>(12)?.unwrap_or(0),
        bytes: row.get::<_, Option<u64>>(13)?.unwrap_or(0),
    };
    Ok((row.get(0)?, job))
}

fn create(transaction: &Transaction<'_>, record: &JobRecord, request: &str) -> rusqlite::Result<i64> {
    let JobRecord { id, operation, principal, detached, origin, created_at_ms } = record;
    let origin = origin.as_ref().map(JobId::as_str);
    let mut statement = transaction.prepare_cached(
        "INSERT INTO job (job_id, operation, principal, detached, origin, created_at_ms, request)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    statement.insert(params![
        id.as_str(),
        operation,
        principal.as_str(),
        detached,
        origin,
        created_at_ms,
        request
    ])
}

/// Adds the frames to the job's log and returns how many bytes they are.
fn append(
    transaction: &Transaction<'_>,
    id: i64,
    frames: &[Frame],
    child_seq: Option<u64>,
) -> rusqlite::Result<u64> {
    let mut statement = transaction.prepare_cached(
        "INSERT INTO chunk (job, first_seq, events, child_seq, frames) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    let mut bytes = 0;
    let mut text = Vec::new();
    for chunk in frames.chunks(CHUNK_EVENTS) {
        text.clear();
        chunk.iter().for_each(|frame| text.extend_from_slice(frame.sse()));
        bytes += text.len() as u64;
        statement.execute(params![id, chunk[0].seq(), chunk.len(), child_seq, text])?;
    }
    Ok(bytes)
}

fn read(connection: &Connection, job: &JobId, after: u64, max_bytes: usize) -> rusqlite::Result<Vec<Frame>> {
    // From the row that the next event lies in.
    let mut chunks = connection.prepare_cached(
        "SELECT chunk.first_seq, chunk.frames FROM job JOIN chunk ON chunk.job = job.id
         WHERE job.job_id = ?1 AND chunk.first_seq >= (
             SELECT max(first.first_seq) FROM chunk AS first WHERE first.job = job.id AND first.first_seq <= ?2 + 1
         )
         ORDER BY chunk.first_seq",
    )?;
    let mut rows = chunks.query(params![job.as_str(), after])?;
    let mut page = Vec::new();
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        let ValueRef::Blob(text) = row.get_ref(1)? else {
            return Err(rusqlite::Error::InvalidColumnType(1, "frames".to_owned(), Type::Blob));
        };
        let frames = Frame::split(row.get(0)?, &Bytes::copy_from_slice(text));
        let frames = frames.ok_or_else(|| unreadable("what should be events is not"))?;
        for frame in frames.into_iter().filter(|frame| frame.seq() > after) {
            bytes += frame.sse().len();
            if !page.is_empty() && bytes > max_bytes {
                return Ok(page);
            }
            page.push(frame);
        }
    }
    Ok(page)
}

fn unreadable(reason: &str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, Type::Null, reason.into())
}

fn from_sqlite(path: &Path, error: &rusqlite::Error) -> StoreError {
    let path = path.display().to_string();
    let full = [rusqlite::ffi::SQLITE_FULL, rusqlite::ffi::SQLITE_IOERR_SHMSIZE];
    match error {
        rusqlite::Error::SqliteFailure(code, _)
            if code.code == ErrorCode::DiskFull || full.contains(&code.extended_code) =>
        {
            StoreError::DiskFull { path }
        }
        rusqlite::Error::SqliteFailure(code, _)
            if matches!(code.code, ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) =>
        {
            StoreError::Damaged { path, reason: error.to_string() }
        }
        rusqlite::Error::FromSqlConversionFailure(_, _, reason) => {
            StoreError::Damaged { path, reason: reason.to_string() }
        }
        error => StoreError::Failed { path, reason: error.to_string() },
    }
}

fn failed(path: &Path, error: &io::Error) -> StoreError {
    let path = path.display().to_string();
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::DiskFull { path },
        _ => StoreError::Failed { path, reason: error.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_waits_for_the_disk() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let journal = Journal::open(&folder.path().join("journal.sqlite")).expect("a new journal");
        let writer = lock(&journal.writer);
        let synchronous = writer.connection.pragma_query_value(None, "synchronous", |row| row.get(0));
        // No test here takes the power away. This is FULL: with less, a commit is somewhere in the system's
        // memory for a while.
        assert_eq!(synchronous, Ok(2));
    }
}
