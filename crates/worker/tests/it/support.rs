use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// The model that tests run.
pub(crate) fn whole_model() -> PathBuf {
    let path = std::env::var_os("RBEE_TEST_MODEL").map_or_else(
        || {
            PathBuf::from(env!("CARGO_MANIFEST_DIR"))
                .join("../../target/models/SmolLM2-135M-Instruct.Q4_1.gguf")
        },
        PathBuf::from,
    );
    assert!(path.is_file(), "run `cargo xtask test`, which fetches the test model");
    path
}

/// Says something to whoever watches the tests.
#[expect(clippy::print_stderr, reason = "the test runner shows it on demand")]
pub(crate) fn say(text: &str) {
    eprintln!("{text}");
}

/// A worker without a hive.
pub(crate) struct Worker {
    child: Child,
    stdout: BufReader<ChildStdout>,
    home: TempDir,
}

/// Why a worker has no model.
#[derive(Debug, PartialEq)]
pub(crate) enum Failure {
    /// It says why.
    Refused { code: String, message: String },
    /// It ended without a word.
    Ended(String),
}

impl Worker {
    /// Starts a worker of the model at `path` and waits until it listens.
    pub(crate) fn start(path: &Path) -> Self {
        Self::start_with(path, &[])
    }

    /// The same with more arguments.
    pub(crate) fn start_with(path: &Path, arguments: &[&str]) -> Self {
        let home = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir_all(home.path().join("state")).expect("a folder in the test's home");
        let log = fs::File::create(home.path().join("stderr")).expect("a file in the test's home");
        let mut child = Command::new(env!("CARGO_BIN_EXE_rbee-worker"))
            .args(["--name", "tested", "--context-length", "256", "--threads", "1", "--model"])
            .arg(path)
            .arg("--socket")
            .arg(home.path().join("socket"))
            .args(arguments)
            .env("RBEE_HOME", home.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("the worker starts");
        let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let mut worker = Self { child, stdout, home };
        assert_eq!(worker.announced(), Ok(()), "{}", worker.log());
        worker
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the model is loaded, or will not be.
    pub(crate) fn loaded(&mut self) -> Result<(), Failure> {
        self.announced()
    }

    /// The next thing that it says to its hive.
    pub(crate) fn said(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("a pipe can be read");
        line
    }

    fn announced(&mut self) -> Result<(), Failure> {
        let line = self.said();
        if line.is_empty() {
            let status = self.child.wait().expect("it is our child");
            let how = status.signal().map_or(status.to_string(), |signal| format!("signal {signal}"));
            return Err(Failure::Ended(how));
        }
        let said: Value = serde_json::from_str(&line).expect("an announcement is JSON");
        match said.get("failed") {
            None => Ok(()),
            Some(failed) => Err(Failure::Refused {
                code: failed["code"].as_str().expect("a code").to_owned(),
                message: failed["message"].as_str().expect("a message").to_owned(),
            }),
        }
    }

    /// Has the worker answer in two tokens; returns the stream as it came.
    pub(crate) fn infer(&self) -> String {
        self.submit(br#"{"operation":"infer","messages":[{"role":"user","content":"hello"}],"max_tokens":2}"#)
    }

    /// Submits a job; returns its stream as it came, or why there is none.
    pub(crate) fn submit(&self, job: &[u8]) -> String {
        let head = "POST /v1/jobs HTTP/1.1\r\ncontent-type: application/json\r\n";
        let submitted = self.request(&format!("{head}content-length: {}\r\n", job.len()), job);
        let answer = submitted.lines().find(|line| line.starts_with('{')).unwrap_or_default();
        let answer: Value = serde_json::from_str(answer).unwrap_or_default();
        match answer["sse_url"].as_str() {
            Some(stream) => self.request(&format!("GET {stream} HTTP/1.1\r\n"), b""),
            None => submitted,
        }
    }

    /// The answer to one request, head and all; what there is of it when the worker dies.
    fn request(&self, head: &str, body: &[u8]) -> String {
        let mut stream = UnixStream::connect(self.home.path().join("socket")).expect("the worker listens");
        let head = format!("{head}host: localhost\r\nconnection: close\r\n\r\n");
        let mut answer = Vec::new();
        // A body that is too large is answered before it has been read.
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Processor time that it has used, in seconds, and the most memory that it has had, in bytes.
    pub(crate) fn used(&self) -> (f64, u64) {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap_or_default();
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        let ticks =
            |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
        let kib = peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0);
        // Linux counts in hundredths of a second for programs, whatever its own clock is.
        ((ticks(11) + ticks(12)) / 100.0, kib << 10)
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.home.path().join("stderr")).unwrap_or_default()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
