use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// So much is taken from a client that sends its next request while its stream goes on.
const EARLY_MAX_BYTES: usize = 64 << 10;

/// What a connection's bytes go through.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<IO: AsyncRead + AsyncWrite + Unpin + Send> Stream for IO {}

/// A connection, with those bytes that have come before anybody wanted them.
pub(crate) struct Io {
    stream: Box<dyn Stream>,
    early: BytesMut,
    write_blocked: bool,
}

impl Io {
    pub(crate) fn new(stream: Box<dyn Stream>) -> Self {
        Self { stream, early: BytesMut::new(), write_blocked: false }
    }

    /// The same with `early` to be read first.
    pub(crate) fn rewound(mut self, early: &[u8]) -> Self {
        if !early.is_empty() {
            let later = std::mem::replace(&mut self.early, early.into());
            self.early.extend_from_slice(&later);
        }
        self
    }

    /// Whether whoever wrote last has something left that the client did not take.
    pub(crate) fn is_write_blocked(&self) -> bool {
        self.write_blocked
    }

    /// Waits until the client sends no more, or too much, and keeps what it sends until then.
    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let mut bytes = [0; 512];
        while self.early.len() < EARLY_MAX_BYTES {
            let mut buffer = ReadBuf::new(&mut bytes);
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer)) {
                Ok(()) if buffer.filled().is_empty() => {
                    return Poll::Ready(io::ErrorKind::ConnectionAborted.into());
                }
                Ok(()) => self.early.extend_from_slice(buffer.filled()),
                Err(error) => return Poll::Ready(error),
            }
        }
        // Without reading on there is no knowing whether it is still there.
        Poll::Ready(io::ErrorKind::QuotaExceeded.into())
    }
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.early.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        let count = self.early.len().min(buffer.remaining());
        buffer.put_slice(&self.early[..count]);
        self.early.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.write_blocked = written.is_pending();
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
