//! Downloads: in parts, each from where it was left.
//!
//! A file grows in a folder of its own until it is whole. It is divided into parts, which several connections fetch, and
//! how much of each is there stands in a second file, so that nothing is fetched twice, whatever was cut: a
//! connection, the download, the hive.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::future::try_join_all;
use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::{
    CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, HeaderName, HeaderValue, IF_RANGE, LAST_MODIFIED, RANGE,
};
use rbee_jobs::lock;
use rbee_narration::bytes;
use rbee_protocol::{ApiError, ErrorCode};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::models::io_error;
use crate::web::{Credential, Retry, SILENCE_TIMEOUT, Told, Tries, Web, WebError, host};

/// One connection seldom fills a line, and hubs do not like many.
const CONNECTIONS: usize = 4;
/// Large enough that asking for each costs nothing, small enough that all connections have some until near the end.
const PART_BYTES_MIN: u64 = 1 << 20;
const PART_BYTES_MAX: u64 = 64 << 20;
const PARTS: u64 = 64;
/// Is left free on the disk.
const DISK_RESERVE_BYTES: u64 = 256 << 20;
const HASH_BUFFER_BYTES: usize = 1 << 20;

/// A file somewhere else.
#[derive(Clone)]
pub(crate) struct Remote {
    pub(crate) url: Url,
    pub(crate) credential: Option<Credential>,
    /// What its source says of it.
    pub(crate) size_bytes: Option<u64>,
    pub(crate) sha256: Option<String>,
}

/// How far a download has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Come {
    pub(crate) done: u64,
    pub(crate) total: u64,
    /// Whether another download goes on from here if this one ends.
    pub(crate) goes_on: bool,
    /// Whether it is all here and is being verified.
    pub(crate) verifying: bool,
    /// The last waits before other tries, counted.
    pub(crate) waits: Arc<VecDeque<(u64, Retry)>>,
}

/// Whoever looks less often than so many waits come has no use for all of them.
const WAITS_KEPT: usize = 16;

/// How the key of a download begins whose file's digest nobody tells.
const NO_DIGEST: &str = "url-";
/// What Linux says here differs each time that it was started.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// A file that is here, whole and as its source says, but where it was downloaded to.
#[derive(Clone, Debug)]
pub(crate) struct Fetched {
    pub(crate) path: PathBuf,
    /// What tells it from a file that another download begins in its place.
    inode: u64,
    pub(crate) size_bytes: u64,
    pub(crate) sha256: String,
    /// Its server's name for what it is now, where there is one and no digest.
    pub(crate) version: Option<String>,
}

impl Remote {
    /// What tells its download from others.
    pub(crate) fn key(&self) -> String {
        match &self.sha256 {
            Some(sha256) => sha256.clone(),
            None => format!("{NO_DIGEST}{}", hex(&Sha256::digest(self.url.as_str()))),
        }
    }

    /// How much of it is still to come to `folder`, where its size is known.
    pub(crate) fn missing_bytes(&self, folder: &Path) -> u64 {
        missing_bytes(&folder.join(self.key()), self.size_bytes.unwrap_or(0))
    }

    /// Fetches the file into `folder`, from where an earlier try was left.
    ///
    /// # Errors
    /// What the server or the disk says, after some tries; what is there stays. `bad_data` for a file that is not what
    /// its source says, of which nothing stays.
    pub(crate) async fn fetch(
        &self,
        web: &Web,
        folder: &Path,
        come: &watch::Sender<Come>,
    ) -> Result<Fetched, ApiError> {
        let seen = match self.size_bytes {
            Some(size_bytes) => Seen { size_bytes, version: None },
            None => self.look(web, &|retry| tell_retry(come, retry)).await?,
        };
        // Of what has neither digest nor version nobody knows whether it is still the same.
        let goes_on = self.sha256.is_some() || seen.version.is_some();
        let partial = Partial::open(folder, &self.key(), seen, goes_on, come)?;
        match self.fill(web, &partial).await {
            Ok(()) => {}
            Err(Stop::NoRanges) => self.read_whole(web, &partial).await?,
            Err(Stop::Failed(error)) => return Err(error),
            Err(Stop::Web(error)) => return Err(error.into()),
            Err(Stop::Changed(reason)) => return Err(partial.discard(&reason)),
        }
        self.verify(partial).await
    }

    /// Asks how large the file is, and which version of it that is.
    pub(crate) async fn look(&self, web: &Web, told: &Told<'_>) -> Result<Seen, ApiError> {
        let mut headers = HeaderMap::new();
        headers.insert(RANGE, HeaderValue::from_static("bytes=0-0"));
        let host = host(&self.url);
        let empty = || {
            let message = format!("the file at {host} is empty");
            ApiError::new(ErrorCode::BadData, message).hint("check the address")
        };
        let response = match web.get_in_time(&self.url, &headers, self.credential.as_ref(), told).await {
            Err(WebError::Status { status: StatusCode::RANGE_NOT_SATISFIABLE, .. }) => return Err(empty()),
            response => response?,
        };
        let size_bytes = match response.status() {
            StatusCode::PARTIAL_CONTENT => content_range(response.headers()).map(|(_, total)| total),
            _ => number(response.headers(), &CONTENT_LENGTH),
        };
        let version = [ETAG, LAST_MODIFIED].iter().find_map(|name| {
            let version = response.headers().get(name)?.to_str().ok()?;
            (!version.starts_with("W/")).then(|| version.to_owned())
        });
        match size_bytes {
            Some(size_bytes @ 1..) => Ok(Seen { size_bytes, version }),
            Some(0) => Err(empty()),
            None => {
                let message = format!("{host} does not say how large the file is");
                Err(ApiError::new(ErrorCode::BadData, message).hint("check the address"))
            }
        }
    }

    /// Fetches the parts that are not whole, on several connections.
    async fn fill(&self, web: &Web, partial: &Partial<'_>) -> Result<(), Stop> {
        let parts: VecDeque<usize> = (0..partial.parts.len()).filter(|&i| !partial.is_whole(i)).collect();
        let parts = Mutex::new(parts);
        let connections = (0..CONNECTIONS).map(|_| async {
            loop {
                let Some(part) = lock(&parts).pop_front() else { return Ok(()) };
                self.fill_part(web, partial, part).await?;
            }
        });
        try_join_all(connections).await.map(drop)
    }

    async fn fill_part(&self, web: &Web, partial: &Partial<'_>, part: usize) -> Result<(), Stop> {
        let mut tries = Tries::default();
        while !partial.is_whole(part) {
            let before = partial.have(part);
            let Err(error) = self.read_part(web, partial, part).await else { continue };
            let Stop::Web(error) = error else { return Err(error) };
            let told = |retry| tell_retry(partial.come, retry);
            tries.wait(error, partial.have(part) > before, &told).await?;
        }
        Ok(())
    }

    /// Reads what is missing of a part, until it is whole or something happens.
    async fn read_part(&self, web: &Web, partial: &Partial<'_>, part: usize) -> Result<(), Stop> {
        let range = partial.range(part);
        let from = range.start + partial.have(part);
        let mut headers = HeaderMap::new();
        let asked = format!("bytes={from}-{}", range.end - 1);
        headers.insert(RANGE, HeaderValue::from_str(&asked).expect("digits are a header's text"));
        if let Some(version) = &partial.seen.version
            && let Ok(version) = HeaderValue::from_str(version)
        {
            headers.insert(IF_RANGE, version);
        }
        let response = match web.get(&self.url, &headers, self.credential.as_ref()).await {
            Err(WebError::Status { host, status: StatusCode::RANGE_NOT_SATISFIABLE, .. }) => {
                return Err(Stop::Changed(format!("{host} does not have as many bytes as it said")));
            }
            response => response?,
        };
        partial.check_version(&self.url, response.headers())?;
        if response.status() != StatusCode::PARTIAL_CONTENT {
            return Err(Stop::NoRanges);
        }
        match content_range(response.headers()) {
            Some((start, total)) if start == from && total == partial.seen.size_bytes => {}
            Some((_, total)) if total != partial.seen.size_bytes => {
                return Err(partial.another_size(&self.url, total));
            }
            _ => {
                let reason = format!("bytes from {from} were asked for, and others came");
                return Err(WebError::Nonsense { host: host(&self.url), reason }.into());
            }
        }
        let mut body = Body { body: response.into_body(), host: host(&self.url) };
        while !partial.is_whole(part) {
            let Some(data) = body.next().await? else { return Err(body.ended_early().into()) };
            partial.write(part, &data)?;
        }
        Ok(())
    }

    /// Reads the whole file from a server that knows no ranges, and keeps what is missing of it.
    async fn read_whole(&self, web: &Web, partial: &Partial<'_>) -> Result<(), ApiError> {
        let mut tries = Tries::default();
        loop {
            let before = partial.done();
            match self.read_through(web, partial).await {
                Ok(()) => return Ok(()),
                Err(Stop::Web(error)) => {
                    let told = |retry| tell_retry(partial.come, retry);
                    tries.wait(error, partial.done() > before, &told).await?;
                }
                Err(Stop::Failed(error)) => return Err(error),
                Err(Stop::Changed(reason)) => return Err(partial.discard(&reason)),
                Err(Stop::NoRanges) => unreachable!("no ranges are asked for"),
            }
        }
    }

    async fn read_through(&self, web: &Web, partial: &Partial<'_>) -> Result<(), Stop> {
        let response = web.get(&self.url, &HeaderMap::new(), self.credential.as_ref()).await?;
        partial.check_version(&self.url, response.headers())?;
        if let Some(total) = number(response.headers(), &CONTENT_LENGTH)
            && total != partial.seen.size_bytes
        {
            return Err(partial.another_size(&self.url, total));
        }
        let mut body = Body { body: response.into_body(), host: host(&self.url) };
        let mut at = 0;
        while at < partial.seen.size_bytes {
            let mut data = body.next().await?.ok_or_else(|| body.ended_early())?;
            while !data.is_empty() && at < partial.seen.size_bytes {
                let part = usize::try_from(at / partial.part_bytes).expect("there are few parts");
                let range = partial.range(part);
                let data = data.split_to(bounded(range.end - at, data.len()));
                let known = bounded((range.start + partial.have(part)).saturating_sub(at), data.len());
                partial.write(part, &data[known..])?;
                at += data.len() as u64;
            }
        }
        Ok(())
    }

    async fn verify(&self, partial: Partial<'_>) -> Result<Fetched, ApiError> {
        let size_bytes = partial.seen.size_bytes;
        let file = partial.file.try_clone().map_err(|error| io_error("write the download", &error))?;
        let inode = file.metadata().map_err(|error| io_error("write the download", &error))?.ino();
        let path = partial.path.clone();
        let come = partial.come.clone();
        let unwanted = CancellationToken::new();
        let _on_drop = unwanted.clone().drop_guard();
        let hashed = tokio::task::spawn_blocking(move || {
            let told = |done| {
                come.send_modify(|come| (come.done, come.verifying) = (done, true));
            };
            file.sync_all()?;
            sha256_unless(&path, told, || unwanted.is_cancelled())
        });
        let hashed = hashed.await.expect("hashing does not panic");
        let sha256 = hashed.map_err(|error| io_error("read the download", &error))?;
        if let Some(expected) = &self.sha256
            && *expected != sha256
        {
            let from = host(&self.url);
            let reason = format!("what {from} gave has the SHA-256 {sha256} instead of {expected}");
            return Err(partial.discard(&reason));
        }
        Ok(Fetched { path: partial.path, inode, size_bytes, sha256, version: partial.seen.version })
    }
}

/// Keeps a wait, unless it is what another connection waits for as well.
fn tell_retry(come: &watch::Sender<Come>, retry: Retry) {
    come.send_if_modified(|come| {
        if come.waits.iter().any(|(_, other)| other.is_also(&retry)) {
            return false;
        }
        let count = come.waits.back().map_or(0, |(count, _)| *count);
        let waits = Arc::make_mut(&mut come.waits);
        waits.push_back((count + 1, retry));
        if waits.len() > WAITS_KEPT {
            waits.pop_front();
        }
        true
    });
}

/// What a server says of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub(crate) size_bytes: u64,
    /// What says whether it is still the same file.
    pub(crate) version: Option<String>,
}

/// Why reading a part came to an end.
enum Stop {
    /// Something that another try may mend.
    Web(WebError),
    /// The server gives whole files alone.
    NoRanges,
    /// The file is not the one that was begun.
    Changed(String),
    Failed(ApiError),
}

impl From<WebError> for Stop {
    fn from(error: WebError) -> Self {
        Self::Web(error)
    }
}

/// A file that is not whole yet.
struct Partial<'a> {
    path: PathBuf,
    counts: File,
    file: File,
    seen: Seen,
    part_bytes: u64,
    /// How many bytes of each part are there, from its beginning.
    parts: Vec<AtomicU64>,
    come: &'a watch::Sender<Come>,
}

impl<'a> Partial<'a> {
    /// Goes on with the file of this `key` in `folder`, or begins it.
    fn open(
        folder: &Path,
        key: &str,
        seen: Seen,
        goes_on: bool,
        come: &'a watch::Sender<Come>,
    ) -> Result<Self, ApiError> {
        let io = |error: io::Error| io_error("write the download", &error);
        let path = folder.join(key);
        let part_bytes = (seen.size_bytes / PARTS).clamp(PART_BYTES_MIN, PART_BYTES_MAX);
        // Counts may outlive a power cut that the bytes do not, which only a digest would tell.
        let boot = key.starts_with(NO_DIGEST).then(|| fs::read_to_string(BOOT_ID).unwrap_or_default());
        let about = serde_json::to_string(&(&seen, part_bytes, boot)).expect("it is plain data");
        let is_same = fs::read_to_string(path.with_extension("json")).is_ok_and(|before| before == about);
        if !(is_same && goes_on && path.exists()) {
            remove(&path);
        }
        come.send_modify(|come| come.goes_on = goes_on);
        // Before there are parts, of which a size that is a lie would make many.
        check_room(folder, missing_bytes(&path, seen.size_bytes))?;
        fs::write(path.with_extension("json"), about).map_err(io)?;
        let open = |path: &Path| {
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(io)
        };
        let (file, counts) = (open(&path)?, open(&path.with_extension("parts"))?);
        let mut partial = Self { path, counts, file, seen, part_bytes, parts: Vec::new(), come };
        let parts = partial.seen.size_bytes.div_ceil(part_bytes);
        for part in 0..parts as usize {
            let mut bytes = [0; 8];
            let known = partial.counts.read_exact_at(&mut bytes, 8 * part as u64).is_ok();
            let range = partial.range(part);
            let have = if known { u64::from_le_bytes(bytes).min(range.end - range.start) } else { 0 };
            partial.parts.push(AtomicU64::new(have));
        }
        partial.tell();
        Ok(partial)
    }

    fn range(&self, part: usize) -> std::ops::Range<u64> {
        let start = part as u64 * self.part_bytes;
        start..(start + self.part_bytes).min(self.seen.size_bytes)
    }

    fn have(&self, part: usize) -> u64 {
        self.parts[part].load(Ordering::Relaxed)
    }

    fn is_whole(&self, part: usize) -> bool {
        let range = self.range(part);
        self.have(part) == range.end - range.start
    }

    fn done(&self) -> u64 {
        self.parts.iter().map(|have| have.load(Ordering::Relaxed)).sum()
    }

    fn tell(&self) {
        let (done, total) = (self.done(), self.seen.size_bytes);
        self.come.send_modify(|come| (come.done, come.total) = (done, total));
    }

    /// Keeps what has come of a part. What is beyond it is left out.
    fn write(&self, part: usize, data: &[u8]) -> Result<(), Stop> {
        let range = self.range(part);
        let have = self.have(part);
        let data = &data[..bounded(range.end - range.start - have, data.len())];
        let count = have + data.len() as u64;
        let written = self.file.write_all_at(data, range.start + have);
        let written = written.and_then(|()| self.counts.write_all_at(&count.to_le_bytes(), 8 * part as u64));
        written.map_err(|error| Stop::Failed(io_error("write the download", &error)))?;
        self.parts[part].store(count, Ordering::Relaxed);
        self.tell();
        Ok(())
    }

    /// Sees that the server does not speak of another version of the file than before.
    fn check_version(&self, url: &Url, headers: &HeaderMap) -> Result<(), Stop> {
        let mut versions = [ETAG, LAST_MODIFIED].into_iter().filter_map(|name| headers.get(name)).peekable();
        match self.seen.version.as_deref().filter(|_| versions.peek().is_some()) {
            Some(version) if !versions.any(|other| other == version) => {
                Err(Stop::Changed(format!("{} has another file there now", host(url))))
            }
            _ => Ok(()),
        }
    }

    fn another_size(&self, url: &Url, total: u64) -> Stop {
        let expected = self.seen.size_bytes;
        Stop::Changed(format!("{} says that the file has {total} bytes instead of {expected}", host(url)))
    }

    /// Lets go of what has come, which is of no use.
    fn discard(&self, reason: &str) -> ApiError {
        remove(&self.path);
        ApiError::new(ErrorCode::BadData, reason)
            .hint("nothing of it was kept: try again, and if it stays so, take the model from elsewhere")
    }
}

impl Fetched {
    /// Moves the file to where it is to be, unless it is not here any more.
    pub(crate) fn keep(&self, at: &Path) -> io::Result<()> {
        match fs::metadata(&self.path) {
            Ok(file) if file.ino() == self.inode => {}
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        }
        fs::rename(&self.path, at)?;
        remove(&self.path);
        Ok(())
    }
}

/// Sees that the disk of `folder` has room for so many bytes more.
///
/// # Errors
/// `disk_full` when it has not.
pub(crate) fn check_room(folder: &Path, missing_bytes: u64) -> Result<(), ApiError> {
    let disk = rustix::fs::statvfs(folder).map_err(|error| io_error("look at the disk", &error.into()))?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if missing_bytes.saturating_add(DISK_RESERVE_BYTES) <= free {
        return Ok(());
    }
    let missing = match missing_bytes {
        // Whose server does not say how much it is.
        0 => "a file is".to_owned(),
        missing => format!("{} are", bytes(missing)),
    };
    let message = format!(
        "{missing} still to be downloaded, and the disk has {} free, of which {} are to stay so",
        bytes(free),
        bytes(DISK_RESERVE_BYTES)
    );
    Err(ApiError::new(ErrorCode::DiskFull, message)
        .hint("free some room on that disk, e.g. with `rbee model rm`, then try again"))
}

/// What the file at `path`, in which there may be holes, takes less of the disk than it will when it is whole.
fn missing_bytes(path: &Path, size_bytes: u64) -> u64 {
    const BLOCK_BYTES: u64 = 512;
    let there = fs::metadata(path).map_or(0, |file| file.blocks().saturating_mul(BLOCK_BYTES));
    size_bytes.saturating_sub(there)
}

/// Removes a partial file and what belongs to it.
pub(crate) fn remove(path: &Path) {
    for path in [path, &path.with_extension("parts"), &path.with_extension("json")] {
        let _ = fs::remove_file(path);
    }
}

/// An answer's body.
struct Body {
    body: Incoming,
    host: String,
}

impl Body {
    async fn next(&mut self) -> Result<Option<bytes::Bytes>, WebError> {
        loop {
            let frame = match timeout(SILENCE_TIMEOUT, self.body.frame()).await {
                Err(_) => return Err(WebError::Silent { host: self.host.clone() }),
                Ok(None) => return Ok(None),
                Ok(Some(Err(error))) => {
                    return Err(WebError::Cut { host: self.host.clone(), reason: error.to_string() });
                }
                Ok(Some(Ok(frame))) => frame,
            };
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
    }

    fn ended_early(&self) -> WebError {
        WebError::Cut { host: self.host.clone(), reason: "the file ended before its end".to_owned() }
    }
}

/// From which byte on an answer's body is, and how many the file has.
fn content_range(headers: &HeaderMap) -> Option<(u64, u64)> {
    let text = headers.get(CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes ")?;
    let (range, total) = text.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    Some((start.trim().parse().ok()?, total.trim().parse().ok()?))
}

/// `count`, but no more than `most`.
fn bounded(count: u64, most: usize) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX).min(most)
}

fn number(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

/// The SHA-256 of a file; `told` hears how many bytes were read.
pub(crate) fn sha256(path: &Path, told: impl FnMut(u64)) -> io::Result<String> {
    sha256_unless(path, told, || false)
}

/// The same, unless it is `unwanted` before the end, which is an error.
pub(crate) fn sha256_unless(
    path: &Path,
    mut told: impl FnMut(u64),
    unwanted: impl Fn() -> bool,
) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; HASH_BUFFER_BYTES];
    let mut done = 0;
    loop {
        match io::Read::read(&mut file, &mut buffer)? {
            0 => break,
            _ if unwanted() => return Err(io::ErrorKind::Interrupted.into()),
            n => {
                hasher.update(&buffer[..n]);
                done += n as u64;
                told(done);
            }
        }
    }
    Ok(hex(&hasher.finalize()))
}

/// Whether this is the SHA-256 of something, and so may be the name of a file.
pub(crate) fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
