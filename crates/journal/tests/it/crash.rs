//! A journal as a crash leaves it.

use std::fs;
use std::path::Path;

use rbee_jobs::{Frame, JobStore};
use rbee_journal::Journal;
use rbee_protocol::JobId;

use crate::store::{append, create, folder, open};

/// The journal's file and its write-ahead log, of which only so many bytes have reached the disk.
fn torn(from: &Path, to: &Path, wal_bytes: usize) -> Journal {
    fs::copy(from.join("journal.sqlite"), to.join("journal.sqlite")).expect("the journal can be copied");
    let wal = fs::read(from.join("journal.sqlite-wal")).expect("the journal has a log");
    fs::write(to.join("journal.sqlite-wal"), &wal[..wal_bytes]).expect("our own folder");
    let _ = fs::remove_file(to.join("journal.sqlite-shm"));
    Journal::open(&to.join("journal.sqlite")).expect("a torn log is no obstacle")
}

#[test]
fn a_log_that_is_torn_at_any_byte_has_all_commits_before_it_whole() {
    let (folder, copy) = (folder(), folder_for_copies());
    let journal = open(folder.path());
    let wal = folder.path().join("journal.sqlite-wal");
    let length = || usize::try_from(fs::metadata(&wal).expect("it has a log").len()).expect("it is small");

    journal.write(&[create(1), append(1, [1])]).expect("there is room");
    let mut commits = vec![length()];
    for seq in [2, 3] {
        journal.write(&[append(1, [seq])]).expect("there is room");
        commits.push(length());
    }
    let first = commits[0];
    // Each byte where there is time for it, else so many that every part of every page is met.
    let stride = if std::env::var_os("RBEE_TEST_LONG").is_some() { 1 } else { 61 };
    for wal_bytes in (first..length()).step_by(stride).chain(commits.clone()) {
        let torn = torn(folder.path(), copy.path(), wal_bytes);
        let jobs = torn.load().expect("a journal of ours");
        let committed = commits.iter().filter(|end| **end <= wal_bytes).count() as u64;
        assert_eq!(jobs[0].seq, committed, "with {wal_bytes} bytes of {commits:?}");
        let frames = torn.read(&JobId::from_bits(1), 0, usize::MAX).expect("it can be read");
        assert_eq!(frames.iter().map(Frame::seq).collect::<Vec<_>>(), (1..=committed).collect::<Vec<_>>());
        torn.write(&[append(1, [committed + 1])]).expect("it goes on from there");
    }
}

/// In memory where there is such a folder: thousands of journals are opened in it.
fn folder_for_copies() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| folder())
}
