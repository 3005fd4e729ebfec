//! A client of HTTP/1.1 that reads no more of an answer than a load test needs, so that what is
//! measured is the server.

use std::fmt::Write;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A head longer than this is no answer of ours.
const HEAD_MAX_BYTES: usize = 16 << 10;
/// So much is read from a socket at once.
const READ_BYTES: usize = 16 << 10;
/// A connection that was idle for longer is made anew: a daemon closes idle ones after 10 s.
const IDLE_MAX: Duration = Duration::from_secs(5);

/// What is asked of a server.
#[derive(Clone, Copy, Default)]
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) key: Option<&'a str>,
    /// Further fields of the head, each with its line end.
    pub(crate) fields: &'a str,
    pub(crate) body: Option<&'a str>,
}

impl<'a> Request<'a> {
    pub(crate) fn new(method: &'a str, path: &'a str, key: &'a str) -> Self {
        Self { method, path, key: Some(key), ..Self::default() }
    }

    fn text(&self, address: SocketAddr) -> String {
        let Self { method, path, fields, .. } = self;
        let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\n{fields}");
        if let Some(key) = self.key {
            let _ = write!(text, "Authorization: Bearer {key}\r\n");
        }
        if let Some(body) = self.body {
            let _ = write!(text, "Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
        }
        text.push_str("\r\n");
        text.push_str(self.body.unwrap_or_default());
        text
    }
}

/// A status and a whole body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// A connection that is kept alive from one request to the next.
pub(crate) struct Connection {
    address: SocketAddr,
    stream: TcpStream,
    /// What has been received; what lies before `place` has been used.
    inbox: Vec<u8>,
    place: usize,
    body: Body,
    used: Instant,
}

/// How the rest of the body that is being read is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    Whole { left: usize },
    Chunk { left: usize },
    ChunkHead,
    Done,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Result<Self> {
        let stream =
            TcpStream::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
        Self::over(address, stream)
    }

    pub(crate) fn over(address: SocketAddr, stream: TcpStream) -> Result<Self> {
        stream.set_nodelay(true).context("cannot set up the connection")?;
        Ok(Self { address, stream, inbox: Vec::new(), place: 0, body: Body::Done, used: Instant::now() })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends requests, all in one write, without waiting for an answer.
    pub(crate) async fn send(&mut self, requests: &[Request<'_>]) -> Result<()> {
        if self.body == Body::Done && self.used.elapsed() > IDLE_MAX {
            *self = Self::open(self.address).await?;
        }
        let text: String = requests.iter().map(|request| request.text(self.address)).collect();
        self.stream.write_all(text.as_bytes()).await.context("cannot send a request")
    }

    /// Reads the head of the next answer, and returns its status.
    pub(crate) async fn head(&mut self) -> Result<u16> {
        if self.body != Body::Done {
            bail!("the answer before has not been read to its end");
        }
        let length = loop {
            let received = &self.inbox[self.place..];
            if let Some(end) = memmem::find(received, b"\r\n\r\n") {
                break end;
            }
            if received.len() > HEAD_MAX_BYTES {
                bail!("an answer's head does not end");
            }
            if self.receive().await.context("cannot read an answer")? == 0 {
                return Err(closed()).context("no answer came");
            }
        };
        let head = std::str::from_utf8(&self.inbox[self.place..self.place + length])
            .context("an answer's head is not text")?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.with_context(|| format!("no status in {head:?}"))?;
        self.body = body(head).with_context(|| format!("no length in {head:?}"))?;
        self.place += length + 4;
        Ok(status)
    }

    /// Appends what there is of the body to `out`, waiting for some; `false` when it has ended.
    ///
    /// Cancel-safe: what has been received stays received.
    pub(crate) async fn read(&mut self, out: &mut Vec<u8>) -> io::Result<bool> {
        let before = out.len();
        loop {
            self.take(out)?;
            if out.len() > before {
                return Ok(true);
            }
            if self.body == Body::Done {
                return Ok(false);
            }
            if self.receive().await? == 0 {
                return Err(closed());
            }
        }
    }

    /// Asks and reads the whole answer.
    pub(crate) async fn ask(&mut self, request: Request<'_>) -> Result<Answer> {
        self.send(&[request]).await?;
        self.answer().await
    }

    /// Reads the whole of the next answer.
    pub(crate) async fn answer(&mut self) -> Result<Answer> {
        let status = self.head().await?;
        let mut body = Vec::new();
        while self.read(&mut body).await.context("cannot read an answer")? {}
        Ok(Answer { status, body: String::from_utf8(body).context("an answer is not text")? })
    }

    async fn receive(&mut self) -> io::Result<usize> {
        if self.place > 0 {
            self.inbox.drain(..self.place);
            self.place = 0;
        }
        self.inbox.reserve(READ_BYTES);
        self.used = Instant::now();
        self.stream.read_buf(&mut self.inbox).await
    }

    /// Moves what has been received of the body to `out`.
    fn take(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        loop {
            let received = &self.inbox[self.place..];
            match &mut self.body {
                Body::Done => return Ok(()),
                Body::Whole { left } | Body::Chunk { left } => {
                    let count = received.len().min(*left);
                    out.extend_from_slice(&received[..count]);
                    self.place += count;
                    *left -= count;
                    if *left > 0 {
                        return Ok(());
                    }
                    self.body =
                        if matches!(self.body, Body::Chunk { .. }) { Body::ChunkHead } else { Body::Done };
                }
                Body::ChunkHead => {
                    // The line end of the chunk before comes first, where there was one.
                    let line_start = if received.starts_with(b"\r\n") { 2 } else { 0 };
                    let Some(length) = memmem::find(&received[line_start..], b"\r\n") else { return Ok(()) };
                    let size = std::str::from_utf8(&received[line_start..line_start + length]).ok();
                    let size = size.and_then(|size| usize::from_str_radix(size, 16).ok());
                    let size = size.ok_or_else(|| {
                        io::Error::new(io::ErrorKind::InvalidData, "a chunk without its size")
                    })?;
                    let after = line_start + length + 2;
                    if size > 0 {
                        self.place += after;
                        self.body = Body::Chunk { left: size };
                    } else if received.len() >= after + 2 {
                        self.place += after + 2;
                        self.body = Body::Done;
                    } else {
                        return Ok(());
                    }
                }
            }
        }
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the connection was closed")
}

/// How the body after this head is framed.
fn body(head: &str) -> Option<Body> {
    head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        if name.eq_ignore_ascii_case("content-length") {
            return value.trim().parse().ok().map(|left| Body::Whole { left });
        }
        let chunked = name.eq_ignore_ascii_case("transfer-encoding") && value.trim() == "chunked";
        chunked.then_some(Body::ChunkHead)
    })
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// Has a server send `answer` in pieces of `size` bytes, and reads it.
    async fn check(answer: &'static str, size: usize, status: u16, body: &str) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
        let address = listener.local_addr().expect("it is bound");
        let server = async {
            let (mut stream, _) = listener.accept().await.expect("the client connects");
            stream.set_nodelay(true).expect("the stream is open");
            for piece in answer.as_bytes().chunks(size) {
                stream.write_all(piece).await.expect("the client reads");
                tokio::task::yield_now().await;
            }
        };
        let client = async {
            let mut connection = Connection::open(address).await.expect("the server listens");
            connection.answer().await.expect("the answer makes sense")
        };
        let ((), got) = tokio::join!(server, client);
        assert_eq!((got.status, got.body.as_str()), (status, body));
    }

    #[tokio::test]
    async fn bodies_are_read_however_they_are_framed_and_cut() {
        for size in [1, 2, 3, 1000] {
            check("HTTP/1.1 201 Created\r\nContent-Length: 5\r\n\r\nhello", size, 201, "hello").await;
            check("HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n", size, 202, "").await;
            let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\na\r\n0123456789\r\n0\r\n\r\n";
            check(chunked, size, 200, "abc0123456789").await;
        }
    }
}
