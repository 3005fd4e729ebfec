//! What a store owes to those above it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rbee_jobs::{Change, Frame, JobRecord, JobStore, Placement, StoreError, StoredJob};
use rbee_journal::Journal;
use rbee_protocol::{HiveId, JobEvent, JobId, JobState, Operation, PrincipalId, SubmitRequest, Token};
use tempfile::TempDir;

pub(crate) fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

pub(crate) fn open(folder: &Path) -> Journal {
    let journal = Journal::open(&folder.join("journal.sqlite")).expect("a journal of ours");
    journal.load().expect("a journal of ours");
    journal
}

pub(crate) fn record(bits: u128) -> JobRecord {
    JobRecord {
        id: JobId::from_bits(bits),
        operation: "infer".to_owned(),
        principal: PrincipalId::new("ada"),
        detached: true,
        origin: None,
        created_at_ms: 1_700_000_000_000,
    }
}

pub(crate) fn create(bits: u128) -> Change {
    Change::Create { record: record(bits), request: Box::new(SubmitRequest::new(Operation::Status {})) }
}

pub(crate) fn frame(seq: u64, text: &str) -> Frame {
    Frame::encode(seq, &JobEvent::Token(Token::new(text, seq)))
}

pub(crate) fn append(bits: u128, seqs: impl IntoIterator<Item = u64>) -> Change {
    let frames = seqs.into_iter().map(|seq| frame(seq, &format!("job {bits}\n\nevent {seq}"))).collect();
    Change::Append { job: JobId::from_bits(bits), frames, child_seq: None, end: None }
}

fn end(change: Change) -> Change {
    match change {
        Change::Append { job, frames, child_seq, .. } => {
            Change::Append { job, frames, child_seq, end: Some((JobState::Cancelled, 7)) }
        }
        other => other,
    }
}

fn seqs(journal: &Journal, bits: u128, after: u64, max_bytes: usize) -> Vec<u64> {
    let frames = journal.read(&JobId::from_bits(bits), after, max_bytes).expect("it can be read");
    frames.iter().map(Frame::seq).collect()
}

#[test]
fn what_is_written_is_there_when_the_journal_is_opened_again() {
    let folder = folder();
    let placement =
        Placement { hive: HiveId::new("local"), child: JobId::from_bits(9), slot: "a model".to_owned() };
    {
        let journal = open(folder.path());
        journal.write(&[create(1), append(1, [1, 2]), create(2), append(2, [1])]).expect("there is room");
        let Change::Append { job, frames, .. } = append(1, 3..=100) else { unreachable!("it is one") };
        let place = Change::Place { job: job.clone(), placement: placement.clone() };
        journal
            .write(&[place, Change::Append { job, frames, child_seq: Some(42), end: None }])
            .expect("there is room");
        journal.write(&[end(append(2, [2]))]).expect("there is room");
    }
    let journal = Journal::open(&folder.path().join("journal.sqlite")).expect("a journal of ours");
    let jobs = journal.load().expect("a journal of ours");
    let bytes = |seqs: std::ops::RangeInclusive<u64>, bits| {
        let Change::Append { frames, .. } = append(bits, seqs) else { unreachable!("it is one") };
        frames.iter().map(|frame| frame.sse().len() as u64).sum()
    };
    let expected = [
        StoredJob {
            record: record(1),
            request: None,
            placement: Some(placement),
            child_seq: 42,
            state: JobState::Running,
            ended_at_ms: None,
            seq: 100,
            bytes: bytes(1..=100, 1),
        },
        StoredJob {
            record: record(2),
            request: None,
            placement: None,
            child_seq: 0,
            state: JobState::Cancelled,
            ended_at_ms: Some(7),
            seq: 2,
            bytes: bytes(1..=2, 2),
        },
    ];
    assert_eq!(jobs, expected);
    let read = journal.read(&JobId::from_bits(1), 0, usize::MAX).expect("it can be read");
    let Change::Append { frames, .. } = append(1, 1..=100) else { unreachable!("it is one") };
    assert_eq!(read, frames);
}

#[test]
fn a_request_is_kept_until_a_hive_has_the_job() {
    let folder = folder();
    let journal = open(folder.path());
    journal.write(&[create(1)]).expect("there is room");
    let request = |journal: &Journal| journal.load().expect("a journal of ours")[0].request.clone();
    assert_eq!(request(&journal), Some(SubmitRequest::new(Operation::Status {})));
    let placement = Placement { hive: HiveId::new("h"), child: JobId::from_bits(2), slot: String::new() };
    journal.write(&[Change::Place { job: JobId::from_bits(1), placement }]).expect("there is room");
    assert_eq!(request(&journal), None);
}

#[test]
fn a_page_holds_as_much_as_fits_and_at_least_one_frame() {
    let folder = folder();
    let journal = open(folder.path());
    journal.write(&[create(1), append(1, 1..=40), create(2), append(2, 1..=2)]).expect("there is room");
    journal.write(&[append(1, 41..=45)]).expect("there is room");
    let check = |after, max_bytes, expected: std::ops::Range<u64>| {
        let expected: Vec<u64> = expected.collect();
        assert_eq!(seqs(&journal, 1, after, max_bytes), expected, "after {after}, up to {max_bytes} bytes");
    };
    let length = frame(33, "job 1\n\nevent 33").sse().len();
    check(0, usize::MAX, 1..46);
    check(0, 0, 1..2);
    check(31, 0, 32..33);
    check(32, 2 * length, 33..35);
    check(32, 2 * length - 1, 33..34);
    check(39, usize::MAX, 40..46);
    check(44, usize::MAX, 45..46);
    check(45, usize::MAX, 46..46);
    assert!(seqs(&journal, 3, 0, usize::MAX).is_empty());
}

#[test]
fn a_request_that_a_hive_has_is_in_no_file_once_the_journal_is_tidied() {
    let folder = folder();
    let journal = open(folder.path());
    let mut request = create(1);
    if let Change::Create { request, .. } = &mut request {
        request.operation = Operation::HiveStatus { hive: Some(HiveId::new("a secret of its owner")) };
    }
    journal.write(&[request]).expect("there is room");
    let placement = Placement { hive: HiveId::new("h"), child: JobId::from_bits(2), slot: String::new() };
    journal.write(&[Change::Place { job: JobId::from_bits(1), placement }]).expect("there is room");
    journal.tidy();
    for file in fs::read_dir(folder.path()).expect("our own folder") {
        let path = file.expect("our own folder").path();
        let bytes = fs::read(&path).expect("our own file");
        assert!(!bytes.windows(8).any(|bytes| bytes == b"a secret"), "{}", path.display());
    }
}

#[test]
fn a_removed_job_leaves_nothing_in_the_file() {
    let folder = folder();
    let journal = open(folder.path());
    let secret = |bits| {
        let frames = vec![frame(1, "a secret of its owner")];
        Change::Append { job: JobId::from_bits(bits), frames, child_seq: None, end: None }
    };
    journal.write(&[create(1), secret(1), create(2), append(2, [1])]).expect("there is room");
    journal.write(&[Change::Remove { job: JobId::from_bits(1) }]).expect("there is room");
    assert!(seqs(&journal, 1, 0, usize::MAX).is_empty());
    assert_eq!(seqs(&journal, 2, 0, usize::MAX), [1]);
    // Closing it moves everything into the one file.
    drop(journal);
    let file = fs::read(folder.path().join("journal.sqlite")).expect("the journal's file");
    let holds = |text: &[u8]| file.windows(text.len()).any(|bytes| bytes == text);
    assert!(holds(b"event 1") && !holds(b"a secret"));
    let jobs = open(folder.path()).load().expect("a journal of ours");
    assert_eq!(jobs.iter().map(|job| job.record.id.clone()).collect::<Vec<_>>(), [JobId::from_bits(2)]);
}

#[test]
fn changes_are_written_all_or_none() {
    let folder = folder();
    let journal = open(folder.path());
    journal.write(&[create(1), append(1, [1])]).expect("there is room");
    // The second of them has a number that the job has already.
    let error = journal.write(&[create(2), append(1, [1])]);
    assert!(matches!(error, Err(StoreError::Failed { .. })), "{error:?}");
    assert_eq!(journal.load().expect("a journal of ours").len(), 1);
    journal.write(&[create(2), append(1, [2])]).expect("nothing of it was kept");
    assert_eq!(seqs(&journal, 1, 0, usize::MAX), [1, 2]);
}

#[test]
fn where_there_is_no_room_to_spare_jobs_can_end_and_do_nothing_else() {
    let folder = folder();
    open(folder.path()).write(&[create(1), append(1, [1]), create(2)]).expect("there is room");
    let reserve = folder.path().join("journal.reserve");
    // What cannot be reserved does not stay there.
    let fill = || {
        let _ = fs::remove_file(&reserve);
        std::os::unix::fs::symlink("/dev/full", &reserve).expect("our own folder");
    };
    fill();
    let journal = open(folder.path());
    for changes in [vec![create(3)], vec![append(1, [2])], vec![end(append(2, [1])), append(1, [2])]] {
        fill();
        let error = journal.write(&changes).expect_err("there is no room");
        assert!(matches!(error, StoreError::DiskFull { .. }), "{error:?}");
    }
    fill();
    let remove = Change::Remove { job: JobId::from_bits(2) };
    journal.write(&[end(append(1, [2])), remove]).expect("it is for this that room is kept");
    fill();
    journal.tidy();
    assert!(matches!(journal.check_room(), Err(StoreError::DiskFull { .. })));
    journal.tidy();
    journal.write(&[create(3)]).expect("there is room again");
    assert_eq!(seqs(&journal, 1, 0, usize::MAX), [1, 2]);
}

#[test]
fn the_files_are_for_their_owner_alone() {
    let folder = folder();
    let journal = open(folder.path());
    journal.write(&[create(1)]).expect("there is room");
    for file in fs::read_dir(folder.path()).expect("our own folder") {
        let file = file.expect("our own folder");
        let mode = file.metadata().expect("our own file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.path().display());
    }
}

#[test]
fn what_is_no_journal_of_ours_is_refused() {
    let folder = folder();
    let path = folder.path().join("journal.sqlite");
    fs::write(
        &path,
        "this is a text and no journal, long enough not to be taken for an empty one. ".repeat(9),
    )
    .expect("our own folder");
    let error = Journal::open(&path).err().expect("it is no journal");
    assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
    assert!(error.to_string().contains("journal.sqlite"), "{error}");

    fs::remove_file(&path).expect("our own file");
    drop(open(folder.path()));
    let newer = rusqlite::Connection::open(&path).expect("a database");
    newer.pragma_update(None, "user_version", 99).expect("it can be written");
    drop(newer);
    let error = Journal::open(&path).err().expect("it is too new");
    assert!(matches!(error, StoreError::Failed { .. }), "{error:?}");
    assert!(error.to_string().contains("newer version"), "{error}");
}
