//! What a worker cannot do: each operation is tried by a program that confines itself as a worker does, and
//! by one that does not, which shows that the operation is possible.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use landlock::{ABI, Access, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr};

use crate::support::{Worker, say, whole_model};

const EPERM: i32 = 1;
const EACCES: i32 = 13;

/// How an operation went: done, or the system's error number.
type Outcome = Result<(), i32>;

fn program() -> PathBuf {
    let programs = Path::new(env!("CARGO_BIN_EXE_rbee-worker")).parent().expect("a program is in a folder");
    let program = programs.join("examples/forbidden");
    assert!(program.is_file(), "run `cargo xtask test`, which builds {}", program.display());
    program
}

/// Tries an operation, in a world of its own.
fn attempt(how: &str, operation: &str) -> Outcome {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for name in ["model", "other"] {
        fs::write(folder.path().join(name), name).expect("a file in the test's folder");
    }
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = tcp.local_addr().expect("it is bound").port();
    let _socket = UnixListener::bind(folder.path().join("socket")).expect("a socket in the test's folder");
    let name = SocketAddr::from_abstract_name(folder.path().as_os_str().as_encoded_bytes());
    let _abstract = UnixListener::bind_addr(&name.expect("a short name")).expect("an unused name");
    // Bound beforehand, as a worker's is; somebody connects.
    let served = folder.path().join("served");
    let listener = UnixListener::bind(&served).expect("a socket in the test's folder");
    let mut client = UnixStream::connect(&served).expect("it listens");

    let ran = Command::new(program())
        .args([how, operation])
        .arg(folder.path())
        .arg(port.to_string())
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(listener)))
        .output()
        .expect("the program starts");
    if operation == "allowed: accept a connection" {
        let mut said = String::new();
        client.read_to_string(&mut said).expect("a connection that is closed");
        assert_eq!(said, port.to_string(), "{how}");
    }
    match ran.status.code() {
        Some(0) => Ok(()),
        Some(1) => Err(String::from_utf8_lossy(&ran.stdout).trim().parse().expect("an error number")),
        _ => panic!("{how}: {operation}: {} {}", ran.status, String::from_utf8_lossy(&ran.stderr)),
    }
}

/// Whether this kernel offers Landlock, asked without the code that is being tested.
fn landlock_is_offered() -> bool {
    let ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    ruleset.handle_access(AccessFs::from_all(ABI::V1)).and_then(Ruleset::create).is_ok()
}

#[test]
fn what_a_worker_must_not_do_is_denied_and_what_it_needs_is_not() {
    let listed = Command::new(program()).arg("list").output().expect("the program starts");
    let listed = String::from_utf8(listed.stdout).expect("names are text");
    let is_root = rustix::process::geteuid().is_root();
    let landlock = landlock_is_offered();
    let (mut denied, mut wrong, mut unproven) = (0, Vec::new(), Vec::new());
    for operation in listed.lines() {
        if operation.starts_with("root: ") && !is_root {
            unproven.push(format!("{operation}: only root could"));
            continue;
        }
        if operation.starts_with("files: ") && !landlock {
            unproven.push(format!("{operation}: this kernel has no Landlock"));
            continue;
        }
        let (free, confined) = (attempt("free", operation), attempt("confined", operation));
        let is_allowed = operation.starts_with("allowed: ");
        let as_expected = match confined {
            Ok(()) => is_allowed,
            Err(errno) => !is_allowed && [EPERM, EACCES].contains(&errno),
        };
        denied += usize::from(confined.is_err());
        if free != Ok(()) || !as_expected {
            wrong.push(format!(
                "{operation}: {free:?} for any program, {confined:?} for one that is confined"
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let least = if landlock { 33 } else { 28 };
    assert!(denied >= least, "only {denied} operations were tried");
    // Shown with `--no-capture`.
    unproven.iter().for_each(|line| say(&format!("not proven here: {line}")));
}

#[test]
fn every_thread_of_a_worker_is_confined_and_it_answers() {
    let mut worker = Worker::start(&whole_model());
    assert_eq!(worker.loaded(), Ok(()), "{}", worker.log());
    let answer = worker.infer();
    assert!(answer.contains(r#""state":"succeeded""#), "{answer}");

    let threads = fs::read_dir(format!("/proc/{}/task", worker.pid())).expect("the worker runs");
    let mut count = 0;
    for thread in threads {
        let status = fs::read_to_string(thread.expect("a thread").path().join("status")).expect("it runs");
        let facts: BTreeMap<&str, &str> = status
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(key, value)| (key, value.trim()))
            .collect();
        assert_eq!((facts["Seccomp"], facts["NoNewPrivs"]), ("2", "1"), "{status}");
        // At most the one to read others' files.
        let capabilities = u64::from_str_radix(facts["CapEff"], 16).expect("a number");
        assert_eq!(capabilities & !(1 << 2), 0, "{status}");
        count += 1;
    }
    assert!(count > 2, "a worker has more than {count} threads");

    let log = worker.log();
    let expected = match landlock_is_offered() {
        true => "Landlock, system calls by seccomp",
        false => "system calls by seccomp",
    };
    assert!(log.contains("Confined: files ") && log.contains(expected), "{log}");
}
