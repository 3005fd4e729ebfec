//! A model hub on this machine, for the tests of downloads: what Hugging Face, Ollama's registry and a plain
//! file server say, the faults that each of them has on a bad day, and a record of all that was asked.
//!
//! A file's name is `owner/repo/path` when it is of a repository, `namespace/name:tag/layer` when it is of an
//! Ollama model, and as given when it is a plain one.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// The bytes that are written, counted and held back at once.
const PIECE_BYTES: usize = 16 * 1024;

/// How often a body that is held back looks whether its reader has gone.
const POLL: Duration = Duration::from_millis(20);

/// How long a test waits for what it expects.
const PATIENCE: Duration = Duration::from_secs(30);

/// A hub that answers until it is dropped.
pub(crate) struct Hub {
    shared: Arc<Shared>,
    acceptors: Vec<JoinHandle<()>>,
}

/// Which of the hub's two hosts was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    /// Says what there is, and where.
    Hub,
    /// Holds the bytes: another address, which no credential may reach.
    Cdn,
}

/// What a file does other than it should; by default nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Behaviour {
    /// The connection ends after so many bytes of a body, which all arrive; those that there are, too, with 0.
    pub(crate) cut_after: Option<usize>,
    /// How many bodies are cut; all, unless this is said.
    pub(crate) cuts: Option<usize>,
    /// Every answer is the whole file.
    pub(crate) ignore_ranges: bool,
    /// What is added to the true `Content-Length`, and to the total in `Content-Range`. The body stays as it is,
    /// and the connection ends after it.
    pub(crate) length_error: isize,
    /// The digest in listings and manifests, instead of the true one.
    pub(crate) announced_sha256: Option<String>,
    /// The size in listings and manifests, instead of the true one.
    pub(crate) announced_bytes: Option<u64>,
    /// How many bytes may leave, on all connections together, until [`Hub::release`].
    pub(crate) allowance_bytes: Option<usize>,
    /// After so many bodies, the file has this content and the `ETag` that goes with it.
    pub(crate) change: Option<(usize, Vec<u8>)>,
    pub(crate) redirect: Redirect,
}

/// Where the request for a file leads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Redirect {
    /// To the CDN from a repository (for its GGUF files) and from Ollama's registry; nowhere for plain files.
    #[default]
    Usual,
    /// To itself, without end.
    Loop,
    /// To this URL, absolute or a path.
    To(String),
}

/// An answer that has nothing of what was asked for.
struct Refusal {
    times: usize,
    status: u16,
    retry_after_s: u64,
}

/// A request that arrived, and how far its answer got.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) host: Host,
    /// The path and the query, as sent.
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) status: u16,
    /// The file that the answer's body is from.
    pub(crate) file: Option<String>,
    /// Where in the file the body starts.
    pub(crate) first_byte: usize,
    /// How much of the file has been written to the connection.
    pub(crate) bytes_sent: usize,
    pub(crate) end: Option<End>,
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Whole,
    /// As its file's behaviour wanted it.
    Cut,
    /// The reader went away.
    HungUp,
}

impl Request {
    /// A header's value, by its name in any case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    fn query(&self, name: &str) -> Option<String> {
        let (_, query) = self.target.split_once('?')?;
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| decoded(&value.replace('+', " ")))
    }

    /// Of the file; a proxy is asked with the server's name before it.
    fn path(&self) -> &str {
        let path = self.target.split('?').next().unwrap_or_default();
        let behind_host = path.strip_prefix("http://").and_then(|path| path.find('/').map(|at| &path[at..]));
        behind_host.unwrap_or(path)
    }
}

impl Hub {
    pub(crate) fn start() -> Self {
        let hub = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let cdn = TcpListener::bind("127.0.0.2:0").expect("all of 127/8 is this machine");
        let address = |listener: &TcpListener| listener.local_addr().expect("a bound listener");
        let shared = Arc::new(Shared {
            hub: address(&hub),
            cdn: address(&cdn),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let acceptors = [(Host::Hub, hub), (Host::Cdn, cdn)].map(|(host, listener)| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.accept(host, &listener))
        });
        Self { shared, acceptors: Vec::from(acceptors) }
    }

    /// The base URL of the hub, without a slash at its end.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.shared.hub)
    }

    /// Serves a plain file, and returns its URL.
    pub(crate) fn file(&self, name: &str, bytes: impl Into<Vec<u8>>, behaviour: Behaviour) -> String {
        self.shared.lock().files.insert(name.to_owned(), File::new(bytes.into()));
        self.behave(name, behaviour);
        format!("{}/files/{name}", self.url())
    }

    /// Gives the hub a repository with these files.
    pub(crate) fn repository<B: AsRef<[u8]>>(&self, repository: &str, files: &[(&str, B)]) {
        let mut state = self.shared.lock();
        let mut commit = Sha256::new();
        let mut paths = Vec::new();
        for (path, bytes) in files {
            let file = File::new(bytes.as_ref().to_vec());
            commit.update(format!("{path} {}\n", file.content.sha256));
            state.files.insert(format!("{repository}/{path}"), file);
            paths.push((*path).to_owned());
        }
        let entry = state.repositories.entry(repository.to_owned()).or_default();
        entry.commit = hex(&commit.finalize())[..40].to_owned();
        entry.paths = paths;
    }

    /// Gives the hub a model of Ollama's, `namespace/name:tag`, from the kinds (`model`, `template`, …) and contents
    /// of its layers.
    pub(crate) fn ollama<B: AsRef<[u8]>>(&self, model: &str, layers: &[(&str, B)]) {
        let config = br#"{"model_format":"gguf","model_family":"llama","os":"linux"}"#;
        let layers = layers.iter().map(|(kind, bytes)| (*kind, bytes.as_ref()));
        let mut state = self.shared.lock();
        let mut kinds = Vec::new();
        for (kind, bytes) in [("config", &config[..])].into_iter().chain(layers) {
            state.files.insert(format!("{model}/{kind}"), File::new(bytes.to_vec()));
            kinds.push(kind.to_owned());
        }
        state.manifests.insert(model.to_owned(), kinds);
    }

    /// Has a file behave like this from now on.
    pub(crate) fn behave(&self, name: &str, behaviour: Behaviour) {
        let mut state = self.shared.lock();
        let file = state.file(name);
        file.bodies = 0;
        file.changed = behaviour.change.clone().map(|(bodies, bytes)| (bodies, Content::new(bytes)));
        file.behaviour = behaviour;
        self.shared.changed.notify_all();
    }

    /// Lets all of a file leave.
    pub(crate) fn release(&self, name: &str) {
        self.shared.lock().file(name).behaviour.allowance_bytes = None;
        self.shared.changed.notify_all();
    }

    /// Refuses requests, on both hosts, whose path starts like this, so many times.
    pub(crate) fn refuse(&self, path: &str, times: usize, status: u16, retry_after_s: u64) {
        let refusal = Refusal { times, status, retry_after_s };
        self.shared.lock().refusals.insert(path.to_owned(), refusal);
    }

    /// Has only the holder of this token get a repository's files.
    pub(crate) fn restrict(&self, repository: &str, token: &'static str) {
        self.shared.lock().repository(repository).token = Some(token);
    }

    /// What is said of a repository besides its name.
    pub(crate) fn describe(&self, repository: &str, downloads: u64, tags: &[&str]) {
        let mut state = self.shared.lock();
        let entry = state.repository(repository);
        entry.downloads = downloads;
        entry.tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
    }

    /// All that arrived, oldest first.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.shared.lock().requests.clone()
    }

    /// Which bytes of a file were sent, one part for each answer with a body, oldest first.
    pub(crate) fn sent(&self, name: &str) -> Vec<Range<usize>> {
        let state = self.shared.lock();
        let answers = state.requests.iter().filter(|request| request.file.as_deref() == Some(name));
        answers.map(|request| request.first_byte..request.first_byte + request.bytes_sent).collect()
    }

    /// Waits until the requests are as wanted.
    pub(crate) fn wait_until(&self, wanted: impl Fn(&[Request]) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.shared.lock();
        while !wanted(&state.requests) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "what the test waits for does not come: {:#?}", state.requests);
            let waited = self.shared.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.shared.lock().stopping = true;
        self.shared.changed.notify_all();
        for address in [self.shared.hub, self.shared.cdn] {
            let _ = TcpStream::connect(address);
        }
        for acceptor in self.acceptors.drain(..) {
            let ended = acceptor.join();
            assert!(ended.is_ok() || thread::panicking(), "the hub panicked");
        }
    }
}

struct Shared {
    hub: SocketAddr,
    cdn: SocketAddr,
    state: Mutex<State>,
    /// Told of every change to `state` that somebody may wait for.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    stopping: bool,
    files: BTreeMap<String, File>,
    repositories: BTreeMap<String, Repository>,
    /// The kinds of layers of Ollama's models, the configuration first.
    manifests: BTreeMap<String, Vec<String>>,
    refusals: BTreeMap<String, Refusal>,
    requests: Vec<Request>,
}

#[derive(Default)]
struct Repository {
    commit: String,
    paths: Vec<String>,
    /// What opens it, where it is not for everybody.
    token: Option<&'static str>,
    downloads: u64,
    tags: Vec<String>,
}

struct File {
    content: Content,
    changed: Option<(usize, Content)>,
    /// How many bodies were begun.
    bodies: usize,
    behaviour: Behaviour,
}

#[derive(Clone)]
struct Content {
    bytes: Arc<[u8]>,
    sha256: String,
}

struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Arc<[u8]>,
    /// Which part of `body` is written.
    part: Range<usize>,
    content_length: usize,
    cut: bool,
}

impl State {
    fn file(&mut self, name: &str) -> &mut File {
        self.files.get_mut(name).expect("a file that the test has given the hub")
    }

    fn repository(&mut self, name: &str) -> &mut Repository {
        self.repositories.get_mut(name).expect("a repository that the test has given the hub")
    }
}

impl Content {
    fn new(bytes: Vec<u8>) -> Self {
        Self { sha256: hex(&Sha256::digest(&bytes)), bytes: Arc::from(bytes) }
    }
}

impl File {
    fn new(bytes: Vec<u8>) -> Self {
        Self { content: Content::new(bytes), changed: None, bodies: 0, behaviour: Behaviour::default() }
    }

    fn now(&self) -> &Content {
        let changed = self.changed.as_ref().filter(|(bodies, _)| self.bodies >= *bodies);
        changed.map_or(&self.content, |(_, content)| content)
    }

    fn announced_sha256(&self) -> &str {
        self.behaviour.announced_sha256.as_ref().unwrap_or(&self.now().sha256)
    }

    fn announced_bytes(&self) -> u64 {
        self.behaviour.announced_bytes.unwrap_or(self.now().bytes.len() as u64)
    }
}

impl Answer {
    fn new(status: u16, headers: Vec<(&'static str, String)>, body: impl Into<Vec<u8>>) -> Self {
        let body: Arc<[u8]> = Arc::from(body.into());
        Self { status, headers, part: 0..body.len(), content_length: body.len(), body, cut: false }
    }

    fn json(status: u16, body: &Value) -> Self {
        Self::new(status, vec![("Content-Type", "application/json".to_owned())], body.to_string())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A test that fails while it waits still drops its hub.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept(self: &Arc<Self>, host: Host, listener: &TcpListener) {
        let mut connections = Vec::new();
        while let Ok((stream, _)) = listener.accept() {
            if self.lock().stopping {
                break;
            }
            let stream = Arc::new(stream);
            let (shared, served) = (Arc::clone(self), Arc::clone(&stream));
            let thread = thread::spawn(move || {
                // A reader that goes away is what many tests are about.
                let _ = shared.serve(host, &served);
                let _ = served.shutdown(Shutdown::Both);
            });
            connections.push((stream, thread));
        }
        for (stream, thread) in connections {
            let _ = stream.shutdown(Shutdown::Both);
            thread.join().expect("connections end without a panic");
        }
    }

    fn serve(&self, host: Host, stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut reader = BufReader::new(stream);
        while let Some(request) = read_head(&mut reader, host)? {
            let close = request.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
            let (index, answer) = self.record(request);
            if !self.write(stream, index, &answer)? || close {
                break;
            }
        }
        Ok(())
    }

    /// Notes what is asked and what is answered.
    fn record(&self, mut request: Request) -> (usize, Answer) {
        let mut state = self.lock();
        let answer = self.answer(&mut state, &mut request);
        request.status = answer.status;
        request.first_byte = answer.part.start;
        request.end = answer.part.is_empty().then_some(End::Whole);
        state.requests.push(request);
        self.changed.notify_all();
        (state.requests.len() - 1, answer)
    }

    fn answer(&self, state: &mut State, request: &mut Request) -> Answer {
        let path: Vec<String> = request.path().split('/').skip(1).map(decoded).collect();
        let plain = format!("/{}", path.join("/"));
        let mut refusals = state.refusals.iter_mut().filter(|(_, refusal)| refusal.times > 0);
        if let Some((_, refusal)) = refusals.find(|(path, _)| plain.starts_with(path.as_str())) {
            refusal.times -= 1;
            let mut answer = Answer::json(refusal.status, &json!({ "error": "not now" }));
            answer.headers.push(("Retry-After", refusal.retry_after_s.to_string()));
            return answer;
        }
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        match (request.host, path.as_slice()) {
            (Host::Cdn, ["cdn" | "files", name @ ..]) => file_body(state, request, &name.join("/")),
            (Host::Hub, ["files", name @ ..]) => self.lead(state, request, &name.join("/"), None),
            (Host::Hub, ["api", "models"]) => search(state, request),
            (Host::Hub, ["api", "models", owner, name]) => about(state, &format!("{owner}/{name}")),
            (Host::Hub, ["v2", namespace, name, "manifests", tag]) => {
                manifest(state, &format!("{namespace}/{name}:{tag}"))
            }
            (Host::Hub, ["v2", namespace, name, "blobs", digest]) => {
                let prefix = format!("{namespace}/{name}:");
                let mut blobs = state.files.iter().filter(|(key, _)| key.starts_with(&prefix));
                let blob =
                    blobs.find(|(_, file)| digest.strip_prefix("sha256:") == Some(file.announced_sha256()));
                match blob.map(|(name, _)| name.clone()) {
                    Some(name) => self.lead(state, request, &name, Some(307)),
                    None => Answer::json(404, &json!({ "errors": [{ "code": "BLOB_UNKNOWN" }] })),
                }
            }
            (Host::Hub, [owner, name, "resolve", revision, path @ ..]) => {
                let name = format!("{owner}/{name}");
                let repository = state.repositories.get(&name).filter(|found| found.commit == *revision);
                match repository {
                    None => Answer::json(404, &json!({ "error": "Repository not found" })),
                    Some(found) if found.token.is_some() && found.token != bearer(request) => {
                        Answer::json(401, &json!({ "error": "Access to this repository is restricted" }))
                    }
                    Some(_) => self.lead(state, request, &format!("{name}/{}", path.join("/")), Some(302)),
                }
            }
            _ => Answer::json(404, &json!({ "error": "not found" })),
        }
    }

    /// Leads from a hub's name for a file to its bytes: to the CDN with this status, or nowhere else.
    fn lead(&self, state: &mut State, request: &mut Request, name: &str, to_cdn: Option<u16>) -> Answer {
        let redirect = state.files.get(name).map(|file| &file.behaviour.redirect);
        let location = match (redirect, to_cdn) {
            (Some(Redirect::Usual), Some(_)) => {
                format!("http://{}/cdn/{name}?Signature=of-this-hub", self.cdn)
            }
            (Some(Redirect::Loop), _) => request.target.clone(),
            (Some(Redirect::To(url)), _) => url.clone(),
            _ => return file_body(state, request, name),
        };
        Answer::new(to_cdn.unwrap_or(302), vec![("Location", location)], "")
    }

    /// Writes an answer, and returns whether the connection can be used again.
    fn write(&self, mut stream: &TcpStream, index: usize, answer: &Answer) -> io::Result<bool> {
        let mut head =
            format!("HTTP/1.1 {} \r\nContent-Length: {}\r\n", answer.status, answer.content_length);
        for (name, value) in &answer.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        let mut written = stream.write_all(head.as_bytes());
        let mut left = answer.part.clone();
        while written.is_ok() && !left.is_empty() {
            written = match self.grant(stream, index, left.len(), answer.cut) {
                Some(granted) => {
                    let piece = left.start..left.start + granted;
                    left.start = piece.end;
                    stream.write_all(&answer.body[piece])
                }
                None => Err(ErrorKind::ConnectionAborted.into()),
            };
        }
        if written.is_err() {
            self.lock().requests[index].end = Some(End::HungUp);
            self.changed.notify_all();
        }
        let is_framed = answer.part.is_empty() || answer.part.len() == answer.content_length;
        written.map(|()| is_framed && !answer.cut)
    }

    /// Waits until bytes of this answer may leave, and takes some; none when reader or test have gone.
    ///
    /// They are counted before they are written, so that no reader has bytes that are not counted.
    fn grant(&self, stream: &TcpStream, index: usize, left: usize, cut: bool) -> Option<usize> {
        let mut state = self.lock();
        while !state.stopping {
            let State { files, requests, .. } = &mut *state;
            let file = requests[index].file.as_ref().and_then(|name| files.get_mut(name));
            let mut granted = left.min(PIECE_BYTES);
            if file.as_ref().is_some_and(|file| file.behaviour.cut_after == Some(0)) {
                return None;
            }
            if let Some(allowance) = file.and_then(|file| file.behaviour.allowance_bytes.as_mut()) {
                granted = granted.min(*allowance);
                *allowance -= granted;
            }
            if granted > 0 {
                let request = &mut requests[index];
                request.bytes_sent += if request.file.is_some() { granted } else { 0 };
                if granted == left {
                    request.end = Some(if cut { End::Cut } else { End::Whole });
                }
                self.changed.notify_all();
                return Some(granted);
            }
            let waited = self.changed.wait_timeout(state, POLL);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            if has_hung_up(stream) {
                return None;
            }
        }
        None
    }
}

/// A file's bytes, or those that were asked for.
fn file_body(state: &mut State, request: &mut Request, name: &str) -> Answer {
    let Some(file) = state.files.get_mut(name) else {
        return Answer::json(404, &json!({ "error": "no such file" }));
    };
    let Content { bytes, sha256 } = file.now().clone();
    let behaviour = &mut file.behaviour;
    let etag = format!("\"{sha256}\"");
    let error = behaviour.length_error;
    let said = |length: usize| length.saturating_add_signed(error);
    let mut headers = vec![("ETag", etag.clone()), ("Content-Type", "application/octet-stream".to_owned())];
    let is_current = request.header("if-range").is_none_or(|known| known == etag);
    let wanted = request.header("range").filter(|_| is_current && !behaviour.ignore_ranges);
    let wanted = wanted.and_then(|range| parse_range(range, bytes.len()));
    if !behaviour.ignore_ranges {
        headers.push(("Accept-Ranges", "bytes".to_owned()));
    }
    let (status, mut part) = match wanted {
        Some(part) if part.is_empty() => {
            headers.push(("Content-Range", format!("bytes */{}", said(bytes.len()))));
            return Answer::new(416, headers, "");
        }
        Some(part) => {
            let total = said(bytes.len());
            headers.push(("Content-Range", format!("bytes {}-{}/{total}", part.start, part.end - 1)));
            (206, part)
        }
        None => (200, 0..bytes.len()),
    };
    let content_length = said(part.len());
    let mut cut = false;
    request.file = Some(name.to_owned());
    file.bodies += 1;
    let after = behaviour.cut_after.filter(|after| *after < part.len() && behaviour.cuts != Some(0));
    if let Some(after) = after {
        part.end = part.start + after;
        cut = true;
        behaviour.cuts = behaviour.cuts.map(|cuts| cuts - 1);
    }
    Answer { status, headers, body: bytes, part, content_length, cut }
}

fn bearer(request: &Request) -> Option<&str> {
    request.header("authorization")?.strip_prefix("Bearer ")
}

/// What there is to say of a repository, with its files.
fn about(state: &State, name: &str) -> Answer {
    let Some(repository) = state.repositories.get(name) else {
        return Answer::json(401, &json!({ "error": "Invalid username or password." }));
    };
    let files = repository.paths.iter().map(|path| {
        let file = &state.files[&format!("{name}/{path}")];
        let size = file.announced_bytes();
        let lfs = json!({ "sha256": file.announced_sha256(), "size": size, "pointerSize": 135 });
        json!({ "rfilename": path, "size": size, "lfs": lfs })
    });
    let files: Vec<Value> = files.collect();
    Answer::json(
        200,
        &json!({ "id": name, "sha": repository.commit, "tags": repository.tags, "siblings": files }),
    )
}

/// Repositories by a part of their name, most downloaded first.
fn search(state: &State, request: &Request) -> Answer {
    let wanted = request.query("search").unwrap_or_default().to_lowercase();
    let tag = request.query("filter");
    let limit = request.query("limit").and_then(|limit| limit.parse().ok()).unwrap_or(usize::MAX);
    let is_found = |name: &str, found: &Repository| {
        name.to_lowercase().contains(&wanted) && tag.as_ref().is_none_or(|tag| found.tags.contains(tag))
    };
    let mut found: Vec<_> = state.repositories.iter().filter(|(name, found)| is_found(name, found)).collect();
    found.sort_by_key(|(_, found)| std::cmp::Reverse(found.downloads));
    let found = found
        .into_iter()
        .take(limit)
        .map(|(name, found)| json!({ "id": name, "downloads": found.downloads, "tags": found.tags }));
    Answer::json(200, &found.collect())
}

/// A manifest as Ollama's registry has them.
fn manifest(state: &State, model: &str) -> Answer {
    let Some(kinds) = state.manifests.get(model) else {
        return Answer::json(
            404,
            &json!({ "errors": [{ "code": "MANIFEST_UNKNOWN", "message": "manifest unknown" }] }),
        );
    };
    let layer = |kind: &String| {
        let file = &state.files[&format!("{model}/{kind}")];
        let media_type = match kind.as_str() {
            "config" => "application/vnd.docker.container.image.v1+json".to_owned(),
            kind => format!("application/vnd.ollama.image.{kind}"),
        };
        let digest = format!("sha256:{}", file.announced_sha256());
        json!({ "mediaType": media_type, "digest": digest, "size": file.announced_bytes() })
    };
    let layers: Vec<Value> = kinds[1..].iter().map(layer).collect();
    let media_type = "application/vnd.docker.distribution.manifest.v2+json";
    let body =
        json!({ "schemaVersion": 2, "mediaType": media_type, "config": layer(&kinds[0]), "layers": layers });
    Answer::new(200, vec![("Content-Type", media_type.to_owned())], body.to_string())
}

fn read_head(reader: &mut impl BufRead, host: Host) -> io::Result<Option<Request>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let Some(target) = lines.first().and_then(|line| line.split(' ').nth(1)) else { return Ok(None) };
    let headers = lines[1..].iter().filter_map(|line| line.split_once(':'));
    let headers = headers.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect();
    Ok(Some(Request {
        host,
        target: target.to_owned(),
        headers,
        status: 0,
        file: None,
        first_byte: 0,
        bytes_sent: 0,
        end: None,
    }))
}

/// The part that a `Range` names, empty when the file has nothing of it; none when it is no range of bytes.
fn parse_range(range: &str, length: usize) -> Option<Range<usize>> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    if first.is_empty() {
        return Some(length.saturating_sub(last.parse().ok()?)..length);
    }
    let first: usize = first.parse().ok()?;
    let last = if last.is_empty() { usize::MAX } else { last.parse().ok()? };
    (first <= last).then(|| first.min(length)..length.min(last.saturating_add(1)))
}

fn has_hung_up(stream: &TcpStream) -> bool {
    let peeked = stream.set_nonblocking(true).and_then(|()| stream.peek(&mut [0]));
    let alive = match peeked {
        Ok(bytes) => bytes > 0,
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    };
    !alive || stream.set_nonblocking(false).is_err()
}

fn decoded(text: &str) -> String {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let code = part.get(..2).and_then(|code| u8::from_str_radix(code, 16).ok());
        bytes.extend(code);
        bytes.extend(&part.as_bytes()[if code.is_some() { 2 } else { 0 }..]);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
