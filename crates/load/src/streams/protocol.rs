//! What each server is sent, and how what it sends is read: as little of its protocol as will do.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::streams::serve::KEY;

/// The length of every message, in bytes.
pub(crate) const MESSAGE_BYTES: usize = 200;
/// A message begins so, and contains it nowhere else.
const MARK: &[u8] = b"@#";
const SEQ_DIGITS: usize = 10;
const DUE_DIGITS: usize = 17;
/// The mark, the number, and when it was due, each with a blank after it but the mark.
const STAMP_BYTES: usize = MARK.len() + SEQ_DIGITS + 1 + DUE_DIGITS + 1;

/// The servers that are measured side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Protocol {
    Rbee,
    /// The same, with a journal on the disk.
    RbeeJournal,
    Nchan,
    Redis,
    Nats,
}

impl Protocol {
    pub(crate) const ALL: [Self; 5] = [Self::Rbee, Self::RbeeJournal, Self::Nchan, Self::Redis, Self::Nats];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rbee => "rbee, in memory",
            Self::RbeeJournal => "rbee, journal",
            Self::Nchan => "nginx + nchan",
            Self::Redis => "Redis Streams",
            Self::Nats => "NATS (core)",
        }
    }

    /// Whether the server is ours.
    pub(crate) fn is_ours(self) -> bool {
        matches!(self, Self::Rbee | Self::RbeeJournal)
    }

    /// Whether a reader that comes later can have what was sent before.
    pub(crate) fn keeps(self) -> bool {
        self != Self::Nats
    }

    /// What a reader sends in order to be sent everything after message `after` of a channel, which
    /// `id` names. Readers of nchan begin with the oldest message that there is.
    pub(crate) fn subscribe(self, id: &str, after: u64) -> String {
        match self {
            Self::Rbee | Self::RbeeJournal => {
                // The job's first event says that it was created.
                let field =
                    if after > 0 { format!("Last-Event-ID: {}\r\n", after + 1) } else { String::new() };
                format!(
                    "GET /v1/jobs/{id}/stream HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n{field}\r\n"
                )
            }
            Self::Nchan => {
                format!("GET /sub/{id} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
            }
            Self::Redis => {
                let last = format!("{after}-0");
                format!(
                    "*8\r\n$5\r\nXREAD\r\n$5\r\nBLOCK\r\n$1\r\n0\r\n$5\r\nCOUNT\r\n$4\r\n1000\r\n$7\r\nSTREAMS\r\n${}\r\n{id}\r\n${}\r\n{last}\r\n",
                    id.len(),
                    last.len()
                )
            }
            Self::Nats => format!("CONNECT {{\"verbose\":false}}\r\nSUB {id} 1\r\nPING\r\n"),
        }
    }

    /// What the server's first answer to a subscription contains; `None` when it answers with messages only.
    pub(crate) fn subscribed(self) -> Option<&'static [u8]> {
        match self {
            Self::Rbee | Self::RbeeJournal | Self::Nchan => Some(b"200 OK"),
            Self::Redis => None,
            Self::Nats => Some(b"PONG"),
        }
    }

    /// What a publisher sends before its first message.
    pub(crate) fn hello(self) -> &'static str {
        if self == Self::Nats { "CONNECT {\"verbose\":false}\r\n" } else { "" }
    }

    /// Appends to `out` what publishes message `seq` of a channel, which was due at `due_us`; 0 for a
    /// message whose latency does not matter.
    pub(crate) fn publish(self, channel: usize, id: &str, seq: u64, due_us: u64, out: &mut String) {
        let start = out.len();
        // Writing to a text does not fail.
        let _ = match self {
            Self::Rbee | Self::RbeeJournal => write!(out, "{channel} "),
            Self::Nchan => {
                write!(
                    out,
                    "POST /pub/{id} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {MESSAGE_BYTES}\r\n\r\n"
                )
            }
            Self::Redis => {
                let entry = format!("{seq}-0");
                write!(
                    out,
                    "*8\r\n$4\r\nXADD\r\n${}\r\n{id}\r\n$6\r\nMAXLEN\r\n$1\r\n~\r\n$4\r\n1000\r\n${}\r\n{entry}\r\n$1\r\nm\r\n${MESSAGE_BYTES}\r\n",
                    id.len(),
                    entry.len()
                )
            }
            Self::Nats => write!(out, "PUB {id} {MESSAGE_BYTES}\r\n"),
        };
        let message = out.len();
        let _ = write!(out, "@#{seq:0SEQ_DIGITS$} {due_us:0DUE_DIGITS$} ");
        let padding = MESSAGE_BYTES - (out.len() - message);
        out.extend(std::iter::repeat_n('x', padding));
        match self {
            Self::Rbee | Self::RbeeJournal => out.push('\n'),
            Self::Nchan => {}
            Self::Redis | Self::Nats => out.push_str("\r\n"),
        }
        debug_assert!(out.len() > start + MESSAGE_BYTES, "a message has a frame around it");
    }
}

/// A message as it was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) seq: u64,
    pub(crate) due_us: u64,
}

/// Finds the messages in what a reader receives, whatever is around them.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    received: Vec<u8>,
    place: usize,
}

impl Inbox {
    /// Where the next bytes are to be received.
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        self.received.drain(..self.place);
        self.place = 0;
        &mut self.received
    }

    pub(crate) fn next(&mut self) -> Option<Message> {
        let rest = &self.received[self.place..];
        let Some(start) = memchr::memmem::find(rest, MARK) else {
            // Half a mark may be at the end.
            self.place += rest.len().saturating_sub(MARK.len() - 1);
            return None;
        };
        // The padding is waited for as well: a message counts when all of it is here.
        let Some(message) = rest.get(start..start + MESSAGE_BYTES) else {
            self.place += start;
            return None;
        };
        self.place += start + MESSAGE_BYTES;
        let number = |range| std::str::from_utf8(&message[range]).ok()?.parse().ok();
        Some(Message {
            seq: number(MARK.len()..MARK.len() + SEQ_DIGITS)?,
            due_us: number(STAMP_BYTES - 1 - DUE_DIGITS..STAMP_BYTES - 1)?,
        })
    }
}

/// How many messages the reply of Redis that begins here holds, once its head is here.
pub(crate) fn redis_count(reply: &[u8]) -> Option<usize> {
    let text = |line: &[u8]| std::str::from_utf8(line).ok().map(str::to_owned);
    let mut lines = reply.split(|byte| *byte == b'\n');
    // One stream: its name, of a length, and its messages.
    let count = lines.nth(4)?;
    lines.next()?;
    text(count)?.trim_end().strip_prefix('*')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_server_is_sent_messages_of_the_same_length() {
        for protocol in Protocol::ALL {
            let mut text = String::new();
            protocol.publish(3, "c3", 7, 1_700_000_000_000_000, &mut text);
            let mut inbox = Inbox::default();
            let mut messages = Vec::new();
            for piece in text.as_bytes().chunks(7) {
                inbox.buffer().extend_from_slice(piece);
                messages.extend(inbox.next());
            }
            let message = Message { seq: 7, due_us: 1_700_000_000_000_000 };
            assert_eq!(messages, [message], "{protocol:?}");
        }
    }

    #[test]
    fn a_reply_of_redis_tells_how_many_messages_it_holds() {
        assert_eq!(redis_count(b"*1\r\n*2\r\n$2\r\nc3\r\n*12\r\n*2\r\n"), Some(12));
        assert_eq!(redis_count(b"*1\r\n*2\r\n$2\r\nc3\r\n*12"), None);
    }
}
