use std::future::poll_fn;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use hyper::header::{self, HeaderMap};
use hyper::{Request, Version};
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use crate::events::SystemReader;
use crate::exchange::{Exchange, Translate};
use crate::io::Io;
use crate::reader::{JobReader, ReadError};
use crate::render::{Form, Renderer};
use crate::streams::OpenStream;

/// A stream that has nothing to say says so this often, so that nobody takes it for dead.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// The answer to a request for a stream.
///
/// It is written here and not by hyper, which keeps several times the memory for a connection that waits
/// and copies what is sent more often.
pub(crate) struct StreamAnswer {
    source: Source,
    _open: OpenStream,
}

/// What a stream is made of, and its form.
pub(crate) enum Source {
    Job(JobReader, Renderer),
    System(SystemReader, Renderer),
    Translated(Exchange, Box<dyn Translate>),
}

/// A [`StreamAnswer`] on its way from the handler to the connection that sends it.
#[derive(Clone)]
struct Parcel(Arc<Mutex<Option<StreamAnswer>>>);

/// How a request wants to be answered.
#[derive(Clone, Copy)]
pub(crate) struct Framing {
    /// HTTP/1.0 has no chunks: its bodies end with the connection.
    chunked: bool,
    /// Whether another request may follow.
    pub(crate) keep_alive: bool,
}

impl Framing {
    pub(crate) fn of<B: http_body::Body>(request: &Request<B>) -> Self {
        let chunked = request.version() >= Version::HTTP_11;
        let mut options = request.headers().get_all(header::CONNECTION).iter();
        let close = options.any(|value| {
            let mut options = value.as_bytes().split(|byte| *byte == b',');
            options.any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"))
        });
        // What is left of a body must not be read as the next request.
        Self { chunked, keep_alive: chunked && !close && request.body().is_end_stream() }
    }

    /// `bytes` as the next part of a body.
    fn chunk(self, bytes: Vec<u8>) -> Vec<u8> {
        if !self.chunked || bytes.is_empty() {
            return bytes;
        }
        let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
        chunk.reserve_exact(bytes.len() + 2);
        chunk.extend_from_slice(&bytes);
        chunk.extend_from_slice(b"\r\n");
        chunk
    }

    /// What says that a body is whole.
    fn end(self) -> &'static [u8] {
        if self.chunked { b"0\r\n\r\n" } else { b"" }
    }
}

impl StreamAnswer {
    pub(crate) fn new(source: Source, open: OpenStream) -> Self {
        Self { source, _open: open }
    }

    /// The head of the answer, which carries the rest of it along for [`StreamAnswer::take`].
    pub(crate) fn into_response(self) -> Response {
        Response::builder()
            .header(header::CONTENT_TYPE, self.source.content_type())
            .header(header::CACHE_CONTROL, "no-store")
            .header("x-accel-buffering", "no")
            .extension(Parcel(Arc::new(Mutex::new(Some(self)))))
            // Of no length that anybody could put into the head.
            .body(Body::from_stream(stream::empty::<io::Result<Bytes>>()))
            .expect("the parts are constants")
    }

    /// What `response` carries along, if it is the head of a stream.
    pub(crate) fn take(response: &Response) -> Option<Self> {
        let Parcel(parcel) = response.extensions().get()?;
        parcel.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Sends the answer, with `headers` in its head, as far as the client takes it.
    ///
    /// # Errors
    /// When the client has gone, or the stream cannot be read any further. It is cut then, which is not an
    /// end: its reader comes back and is told.
    pub(crate) async fn send(mut self, io: &mut Io, headers: &HeaderMap, framing: Framing) -> io::Result<()> {
        io.write_all(&head(headers, framing)).await?;
        let heartbeat = tokio::time::sleep(HEARTBEAT);
        tokio::pin!(heartbeat);
        let mut last = Instant::now();
        loop {
            let bytes = tokio::select! {
                biased;
                next = self.source.next() => match next.map_err(io::Error::other)? {
                    Some(bytes) => bytes,
                    None => break,
                },
                () = &mut heartbeat => {
                    let is_due = last.elapsed() >= HEARTBEAT;
                    heartbeat.as_mut().reset(if is_due { Instant::now() } else { last } + HEARTBEAT);
                    if !is_due {
                        continue;
                    }
                    self.source.heartbeat().to_vec()
                }
                gone = poll_fn(|cx| io.poll_gone(cx)) => return Err(gone),
            };
            // What is translated to nothing is no sign of life.
            if !bytes.is_empty() {
                io.write_all(&framing.chunk(bytes)).await?;
                last = Instant::now();
            }
        }
        let mut end = framing.chunk(self.source.done());
        end.extend_from_slice(framing.end());
        io.write_all(&end).await
    }
}

impl Source {
    pub(crate) fn job(reader: JobReader, form: Form) -> Self {
        Self::Job(reader, Renderer::new(form))
    }

    pub(crate) fn system(reader: SystemReader, form: Form) -> Self {
        Self::System(reader, Renderer::new(form))
    }

    fn content_type(&self) -> &'static str {
        match self {
            Self::Job(_, renderer) | Self::System(_, renderer) => renderer.content_type(),
            Self::Translated(_, translate) => translate.content_type(),
        }
    }

    /// The bytes that come next, or `None` after the end. Cancel-safe.
    async fn next(&mut self) -> Result<Option<Vec<u8>>, ReadError> {
        Ok(match self {
            Self::Job(reader, renderer) => reader.next().await?.map(|frames| renderer.frames(&frames)),
            Self::System(reader, renderer) => reader.next().await.map(|frames| renderer.frames(&frames)),
            Self::Translated(exchange, translate) => exchange.translated(translate.as_mut()).await?,
        })
    }

    /// What says that the stream is alive, if there is something that its reader would skip.
    fn heartbeat(&self) -> &'static [u8] {
        match self {
            Self::Job(_, renderer) | Self::System(_, renderer) => renderer.heartbeat(),
            Self::Translated(_, translate) => translate.heartbeat(),
        }
    }

    /// What follows the end.
    fn done(&mut self) -> Vec<u8> {
        match self {
            Self::Job(_, renderer) | Self::System(_, renderer) => renderer.done().to_vec(),
            Self::Translated(_, translate) => {
                let mut out = Vec::new();
                translate.done(&mut out);
                out
            }
        }
    }
}

fn head(headers: &HeaderMap, framing: Framing) -> Vec<u8> {
    let date = httpdate::fmt_http_date(SystemTime::now());
    let mut head = format!("HTTP/1.1 200 OK\r\ndate: {date}\r\n").into_bytes();
    for (name, value) in headers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            head.extend_from_slice(part);
        }
    }
    if framing.chunked {
        head.extend_from_slice(b"transfer-encoding: chunked\r\n");
    }
    if !framing.keep_alive {
        head.extend_from_slice(b"connection: close\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framing(version: Version, connection: &[&str]) -> Framing {
        let mut request = Request::builder().version(version);
        for options in connection {
            request = request.header(header::CONNECTION, *options);
        }
        Framing::of(&request.body(Body::empty()).expect("a request"))
    }

    #[test]
    fn a_connection_is_kept_unless_its_client_says_otherwise_or_cannot_tell() {
        for (version, connection, chunked, keep_alive) in [
            (Version::HTTP_11, &[][..], true, true),
            (Version::HTTP_11, &["keep-alive"], true, true),
            (Version::HTTP_11, &["TE, Close"], true, false),
            (Version::HTTP_11, &["te", "close"], true, false),
            (Version::HTTP_10, &["keep-alive"], false, false),
        ] {
            let framing = framing(version, connection);
            assert_eq!((framing.chunked, framing.keep_alive), (chunked, keep_alive), "{connection:?}");
        }
    }

    #[test]
    fn nothing_makes_no_chunk_since_that_would_end_the_body() {
        let chunked = framing(Version::HTTP_11, &[]);
        assert_eq!(chunked.chunk(b"0123456789abcdef".to_vec()), b"10\r\n0123456789abcdef\r\n");
        assert!(chunked.chunk(Vec::new()).is_empty());
        let plain = framing(Version::HTTP_10, &[]);
        assert_eq!(plain.chunk(b"abc".to_vec()), b"abc");
        assert!(plain.end().is_empty());
    }

    #[test]
    fn what_is_left_of_a_requests_body_is_not_taken_for_another_request() {
        let request = Request::builder().body(Body::from("GET / HTTP/1.1")).expect("a request");
        assert!(!Framing::of(&request).keep_alive);
    }
}
