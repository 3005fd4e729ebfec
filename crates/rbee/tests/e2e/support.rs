use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

pub(crate) const MODEL: &str = "SmolLM2-135M-Instruct.Q4_1";

/// What says where other programs keep their models, by what way hubs are reached, and whom they take somebody for.
const OTHER_PROGRAMS: [&str; 17] = [
    "ALL_PROXY",
    "HF_ENDPOINT",
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_TOKEN",
    "HF_TOKEN_PATH",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "LLAMA_CACHE",
    "NO_PROXY",
    "OLLAMA_MODELS",
    "RBEE_OLLAMA_REGISTRY",
    "XDG_CACHE_HOME",
    "all_proxy",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];

/// A home of its own for one test, whose daemons end with it.
pub(crate) struct Home {
    folder: TempDir,
    variables: Vec<(&'static str, PathBuf)>,
}

impl Home {
    /// A home with the real model in its store.
    pub(crate) fn with_model() -> Self {
        let home = Self::empty();
        let models = home.path("data/models");
        fs::create_dir_all(&models).expect("a folder in the test's home");
        let file = models.join(format!("{MODEL}.gguf"));
        fs::hard_link(model_file(), &file)
            .or_else(|_| fs::copy(model_file(), &file).map(drop))
            .expect("the test model can be linked or copied");
        home
    }

    /// A home whose workers do what the prompt says.
    pub(crate) fn scripted() -> Self {
        let mut home = Self::with_model();
        let program = programs().join("examples/scripted_worker");
        assert!(program.is_file(), "run `cargo xtask test`, which builds {}", program.display());
        home.set("RBEE_WORKER_PROGRAM", program);
        home
    }

    /// A home as it is before the first command.
    pub(crate) fn empty() -> Self {
        for program in ["rbee-queen", "rbee-hive", "rbee-worker"] {
            let path = programs().join(program);
            assert!(path.is_file(), "run `cargo xtask test`, which builds {}", path.display());
        }
        Self { folder: tempfile::tempdir().expect("a temporary folder"), variables: Vec::new() }
    }

    pub(crate) fn set(&mut self, name: &'static str, value: impl Into<PathBuf>) {
        self.variables.push((name, value.into()));
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// The command `rbee` with these arguments, in this home.
    pub(crate) fn command<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        self.command_of(env!("CARGO_BIN_EXE_rbee"), args)
    }

    /// The command `program` with these arguments, in this home.
    pub(crate) fn command_of<A: AsRef<OsStr>>(
        &self,
        program: &str,
        args: impl IntoIterator<Item = A>,
    ) -> Command {
        let mut command = Command::new(program);
        command
            .args(args)
            .env("RBEE_HOME", self.folder.path())
            .env("RBEE_QUEEN_LISTEN", "127.0.0.1:0")
            // Tests run side by side, and llama.cpp's threads wait for one another by spinning.
            .env("RBEE_THREADS", "1")
            .env_remove("NO_COLOR")
            .env("TERM", "xterm")
            // What other programs keep on this machine is not this test's.
            .env("HOME", self.path("home"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        for name in OTHER_PROGRAMS {
            command.env_remove(name);
        }
        for (name, value) in &self.variables {
            command.env(name, value);
        }
        command
    }

    /// Runs `rbee` with these arguments to its end.
    pub(crate) fn run<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Ran {
        Ran::from(self.command(args).output().expect("rbee starts"))
    }

    /// Runs `rbee` with these arguments and this stdin to its end.
    pub(crate) fn run_with_stdin<A: AsRef<OsStr>>(
        &self,
        stdin: &[u8],
        args: impl IntoIterator<Item = A>,
    ) -> Ran {
        let mut child = self.command(args).stdin(Stdio::piped()).spawn().expect("rbee starts");
        child.stdin.take().expect("stdin is piped").write_all(stdin).expect("rbee reads its stdin");
        Ran::from(child.wait_with_output().expect("rbee ends"))
    }

    /// What a question answers with `--output json`.
    pub(crate) fn ask(&self, question: &[&str]) -> Value {
        let ran = self.run(question.iter().chain(&["--output", "json"]));
        assert_eq!(ran.code, Some(0), "{ran:?}");
        serde_json::from_str(&ran.stdout).expect("JSON on stdout")
    }

    /// Starts `rbee infer … --output ndjson`.
    pub(crate) fn follow(&self, args: &[&str]) -> Following {
        let args: Vec<_> = ["infer"].iter().chain(args).copied().collect();
        self.follow_with(&args)
    }

    /// Starts a command with `--output ndjson`.
    pub(crate) fn follow_with(&self, args: &[&str]) -> Following {
        let args = args.iter().chain(&["--output", "ndjson"]);
        let mut child = self.command(args).spawn().expect("rbee starts");
        let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        Following { child, stdout, events: Vec::new() }
    }

    pub(crate) fn worker_pid(&self) -> Pid {
        let workers = self.ask(&["worker", "list"]);
        pid(&workers["workers"][0]["pid"])
    }

    /// Asks for the workers until there is one and all are idle.
    pub(crate) fn wait_for_idle_workers(&self) {
        for _ in 0..500 {
            let list = self.ask(&["worker", "list"]);
            let workers = list["workers"].as_array().expect("a list of workers");
            if !workers.is_empty() && workers.iter().all(|worker| worker["state"] == "idle") {
                return;
            }
        }
        panic!("the workers do not become idle");
    }

    pub(crate) fn key(&self) -> String {
        fs::read_to_string(self.path("config/operator.key")).expect("the key file").trim().to_owned()
    }

    pub(crate) fn queen_address(&self) -> Value {
        let text = fs::read_to_string(self.path("state/queen.json")).expect("a queen runs");
        serde_json::from_str(&text).expect("an address in JSON")
    }

    /// Sends a request to the queen, with the key and as JSON, and returns status and body.
    pub(crate) fn request(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        self.request_with(&self.key(), method, path, body)
    }

    /// Sends a request with this key and as JSON, and returns status and body.
    pub(crate) fn request_with(&self, key: &str, method: &str, path: &str, body: &str) -> (u16, String) {
        let headers = format!("Authorization: Bearer {key}\r\nContent-Type: application/json");
        self.raw_request(method, path, &headers, body)
    }

    /// A new key of this name.
    pub(crate) fn new_key(&self, name: &str) -> String {
        let ran = self.run(["key", "create", name]);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        let key = ran.stdout.strip_suffix('\n').expect("a whole line").to_owned();
        assert!(key.len() == "rbee_".len() + 64 && key.starts_with("rbee_"), "{key}");
        key
    }

    /// Sends a request with these headers to the queen, and returns status and body.
    pub(crate) fn raw_request(&self, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
        let (status, _, body) = self.exchange(method, path, headers, body);
        (status, body)
    }

    /// Sends a request with these headers to the queen, and returns status, head and body.
    pub(crate) fn exchange(
        &self,
        method: &str,
        path: &str,
        headers: &str,
        body: &str,
    ) -> (u16, String, String) {
        answer(self.send(method, path, headers, body))
    }

    /// Sends a request with these headers to the queen, which answers on what this returns.
    pub(crate) fn send(&self, method: &str, path: &str, headers: &str, body: &str) -> TcpStream {
        let url = self.queen_address()["url"].as_str().expect("a URL").to_owned();
        let address = url.trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).expect("the queen listens");
        let length = body.len();
        let host = if headers.contains("Host:") { String::new() } else { format!("Host: {address}\r\n") };
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\n{host}Connection: close\r\nContent-Length: {length}\r\n{headers}\r\n\r\n{body}"
        )
        .expect("the queen reads the request");
        stream
    }
}

/// Reads an answer to its end, and returns status, head and body.
pub(crate) fn answer(mut stream: TcpStream) -> (u16, String, String) {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("the queen answers");
    let answer = String::from_utf8(answer).expect("an answer in UTF-8");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    let body = if head.contains("chunked") { dechunk(body) } else { body.to_owned() };
    (status, head.to_owned(), body)
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = self.command(["queen", "stop"]).output();
    }
}

/// How a command ended, and what it wrote.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("stdout in UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("stderr in UTF-8"),
        }
    }
}

/// An `infer` that is being followed, event by event.
pub(crate) struct Following {
    pub(crate) child: Child,
    stdout: BufReader<ChildStdout>,
    pub(crate) events: Vec<Value>,
}

impl Following {
    /// Reads up to the first event that `wanted` takes.
    pub(crate) fn until(&mut self, wanted: impl Fn(&Value) -> bool) {
        while let Some(event) = self.next() {
            if wanted(&event) {
                return;
            }
        }
        panic!("no such event came: {:?}", self.events);
    }

    fn next(&mut self) -> Option<Value> {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("stdout can be read");
        (!line.is_empty()).then(|| {
            let event: Value = serde_json::from_str(&line).expect("an event in JSON");
            self.events.push(event.clone());
            event
        })
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("rbee still runs");
    }

    /// Reads the rest and waits for the end.
    pub(crate) fn finish(mut self) -> (ExitStatus, Vec<Value>, String) {
        while self.next().is_some() {}
        let mut stderr = String::new();
        let pipe = self.child.stderr.take();
        pipe.expect("stderr is piped").read_to_string(&mut stderr).expect("stderr in UTF-8");
        (self.child.wait().expect("rbee ends"), self.events, stderr)
    }
}

/// The lines of these events' narration.
pub(crate) fn narration(events: &[Value]) -> String {
    let lines = events.iter().filter(|event| event["kind"] == "narration");
    lines.map(|line| format!("{}\n", line["formatted"].as_str().expect("a line"))).collect()
}

/// Whether an event is progress of this phase.
pub(crate) fn is_progress(phase: &'static str) -> impl Fn(&Value) -> bool {
    move |event| event["kind"] == "progress" && event["phase"] == phase
}

pub(crate) fn is_token(event: &Value) -> bool {
    event["kind"] == "token"
}

/// The texts of the token events, joined.
pub(crate) fn text(events: &[Value]) -> String {
    events.iter().filter(|event| is_token(event)).filter_map(|event| event["text"].as_str()).collect()
}

pub(crate) fn pid(value: &Value) -> Pid {
    let raw = value.as_i64().and_then(|raw| i32::try_from(raw).ok());
    raw.and_then(Pid::from_raw).expect("a process id")
}

/// Whether the process exists and is not a corpse.
pub(crate) fn is_alive(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    let state = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().next());
    state.is_some_and(|state| state != "Z" && state != "X")
}

pub(crate) fn model_file() -> PathBuf {
    let fallback = || Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../target/models/{MODEL}.gguf"));
    let path = std::env::var_os("RBEE_TEST_MODEL").map_or_else(fallback, PathBuf::from);
    assert!(path.is_file(), "run `cargo xtask test`, which fetches the test model {}", path.display());
    path
}

/// The folder with the programs that belong to the one under test.
pub(crate) fn programs() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_rbee")).parent().expect("a program is in a folder").to_owned()
}

fn dechunk(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).expect("a chunk's size");
        whole.push_str(&rest[..size]);
        body = rest[size..].trim_start_matches("\r\n");
        if size == 0 {
            break;
        }
    }
    whole
}
