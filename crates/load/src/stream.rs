//! A job's stream as a reader sees it, event by event.

use std::ops::Range;

use anyhow::{Context, Result, bail};
use memchr::memmem;
use rbee_protocol::JobId;

use crate::http::{Connection, Request};

/// A job's stream of server-sent events over a connection that is used again afterwards.
pub(crate) struct Stream<'c> {
    connection: &'c mut Connection,
    blocks: Blocks,
}

/// The blocks of lines of an event stream, whoever sends it.
#[derive(Default)]
pub(crate) struct Blocks {
    received: Vec<u8>,
    place: usize,
}

/// What comes next in a stream.
pub(crate) enum Next<'s> {
    Event(Event<'s>),
    /// The stream has ended as it should, after `[DONE]`.
    Done,
}

/// One event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event<'s> {
    pub(crate) seq: u64,
    pub(crate) kind: Kind,
    /// All of it as it was sent, but the blank line after it.
    pub(crate) bytes: &'s [u8],
    /// The JSON in it.
    pub(crate) data: &'s [u8],
}

/// What a load test tells apart among events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Token,
    End,
    Other,
}

/// A stream that was asked for.
pub(crate) enum Opened<'c> {
    Stream(Stream<'c>),
    /// The server refused, with this status and body.
    Refused(u16, String),
}

impl<'c> Stream<'c> {
    /// Asks for the stream of `job` after event number `after`.
    pub(crate) async fn open(
        connection: &'c mut Connection,
        key: &str,
        job: &JobId,
        after: u64,
    ) -> Result<Opened<'c>> {
        let path = format!("/v1/jobs/{job}/stream");
        // 0 is what a reader that has seen nothing leaves out.
        let fields = if after > 0 { format!("Last-Event-ID: {after}\r\n") } else { String::new() };
        let request = Request { fields: &fields, ..Request::new("GET", &path, key) };
        connection.send(&[request]).await?;
        match connection.head().await? {
            200 => Ok(Opened::Stream(Self { connection, blocks: Blocks::default() })),
            status => {
                let mut body = Vec::new();
                while connection.read(&mut body).await.context("cannot read an answer")? {}
                Ok(Opened::Refused(status, String::from_utf8_lossy(&body).into_owned()))
            }
        }
    }

    /// The next event.
    ///
    /// # Errors
    /// When the stream is cut, or carries something that is no event.
    pub(crate) async fn next(&mut self) -> Result<Next<'_>> {
        loop {
            let block = self.blocks.next(self.connection).await?;
            let Some(block) = block else { bail!("the stream ended without `[DONE]`") };
            let bytes = self.blocks.bytes(block.clone());
            if bytes.starts_with(b":") {
                continue;
            }
            if bytes == b"data: [DONE]" {
                if self.blocks.next(self.connection).await?.is_some() {
                    bail!("something follows `[DONE]`");
                }
                return Ok(Next::Done);
            }
            return Event::parse(self.blocks.bytes(block)).map(Next::Event);
        }
    }
}

impl Blocks {
    /// What is in a block.
    pub(crate) fn bytes(&self, block: Range<usize>) -> &[u8] {
        &self.received[block]
    }

    /// Where the next block of lines is, less the blank line that ends it; `None` at the end of the body.
    ///
    /// Cancel-safe: what has been received stays received.
    pub(crate) async fn next(&mut self, connection: &mut Connection) -> Result<Option<Range<usize>>> {
        let mut searched = self.place;
        loop {
            if let Some(length) = memmem::find(&self.received[searched..], b"\n\n") {
                let block = self.place..searched + length;
                self.place = block.end + 2;
                return Ok(Some(block));
            }
            self.received.drain(..self.place);
            self.place = 0;
            searched = self.received.len().saturating_sub(1);
            if !connection.read(&mut self.received).await.context("the stream was cut")? {
                if !self.received.is_empty() {
                    bail!("the stream ended in the middle of an event");
                }
                return Ok(None);
            }
        }
    }
}

impl<'s> Event<'s> {
    fn parse(bytes: &'s [u8]) -> Result<Self> {
        let parsed = || {
            let rest = bytes.strip_prefix(b"id: ")?;
            let (id, rest) = rest.split_at(memchr::memchr(b'\n', rest)?);
            let rest = rest.strip_prefix(b"\nevent: ")?;
            let (kind, rest) = rest.split_at(memchr::memchr(b'\n', rest)?);
            let data = rest.strip_prefix(b"\ndata: ")?;
            let again = data.strip_prefix(b"{\"seq\":")?.strip_prefix(id)?;
            let seq = std::str::from_utf8(id).ok()?.parse().ok()?;
            let kind = match kind {
                b"token" => Kind::Token,
                b"end" => Kind::End,
                _ => Kind::Other,
            };
            again.starts_with(b",").then_some(Self { seq, kind, bytes, data })
        };
        parsed().with_context(|| format!("not an event: {}", String::from_utf8_lossy(bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_the_same_number_twice() {
        let event = Event::parse(b"id: 7\nevent: token\ndata: {\"seq\":7,\"kind\":\"token\"}");
        let event = event.expect("an event");
        assert_eq!((event.seq, event.kind, event.data.len()), (7, Kind::Token, 24));
        for bad in [
            "id: 7\nevent: token\ndata: {\"seq\":8,\"kind\":\"token\"}",
            "id: 7\nevent: token\ndata: {\"seq\":71,\"kind\":\"token\"}",
            "id: x\nevent: token\ndata: {\"seq\":x,}",
            "event: token\ndata: {}",
        ] {
            Event::parse(bad.as_bytes()).expect_err(bad);
        }
    }
}
