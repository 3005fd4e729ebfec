//! What is typed while nobody reads it, as while an answer comes: it is not shown among that, nothing in it is acted on,
//! and it waits in the next line that is edited.

use std::convert::Infallible;
use std::future::pending;
use std::io::{self, Stdin};
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::ioctl_fionread;
use rustix::process::Signal;
use rustix::termios::{LocalModes, SpecialCodeIndex, Termios};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{self, SignalKind};
use tokio::time::{Instant, timeout_at};

use super::input::MESSAGE_MAX_BYTES;
use crate::terminal::Terminal;

/// The pieces of what is pasted come no further apart.
const PASTE_GAP: Duration = Duration::from_millis(300);
/// No key is longer, and what comes at once and is, is a piece of what is pasted.
const KEY_MAX_BYTES: usize = 8;

/// A terminal that keeps to itself what is typed.
pub(super) struct Ahead {
    terminal: Arc<Terminal>,
    quiet: Termios,
    /// Tells of keys, on a system that can.
    keys: Option<AsyncFd<Stdin>>,
    /// Tells that the program was stopped and goes on.
    continued: unix::Signal,
    /// What was typed since the last line.
    typed: Vec<u8>,
    /// When something was pasted last.
    pasted: Option<Instant>,
}

impl Ahead {
    /// Has the terminal show nothing of what is typed. Keys that send signals do so still.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn of_terminal(terminal: Arc<Terminal>) -> io::Result<Self> {
        let mut quiet = terminal.before().clone();
        quiet.local_modes -= LocalModes::ECHO | LocalModes::ICANON;
        // What stands before Ctrl-C is kept.
        quiet.local_modes |= LocalModes::NOFLSH;
        // Whoever reads after a program that was stopped or killed waits for a key: nothing at once would be an end to it.
        quiet.special_codes[SpecialCodeIndex::VMIN] = 1;
        quiet.special_codes[SpecialCodeIndex::VTIME] = 0;
        #[expect(
            deprecated,
            reason = "stdin stays open, and what takes its place is unsafe for those that do not"
        )]
        let keys = AsyncFd::with_interest(io::stdin(), Interest::READABLE).ok();
        let ahead = Self {
            quiet,
            keys,
            continued: unix::signal(SignalKind::from_raw(Signal::CONT.as_raw()))?,
            typed: Vec::new(),
            pasted: None,
            terminal,
        };
        ahead.terminal.set(&ahead.quiet);
        Ok(ahead)
    }

    /// Reads what is typed, for ever: a terminal holds 4 KiB, and hears no Ctrl-C behind them.
    pub(super) async fn collect(&mut self) -> Infallible {
        self.read();
        loop {
            self.keys_come().await;
            self.read();
        }
    }

    /// Reads what was typed until now, with the rest of what is being pasted.
    pub(super) async fn collect_rest(&mut self) {
        self.read();
        while let Some(pasted) = self.pasted
            && timeout_at(pasted + PASTE_GAP, self.keys_come()).await.is_ok()
        {
            self.read();
        }
    }

    /// What has been read.
    pub(super) fn take(&mut self) -> String {
        self.pasted = None;
        text(&mem::take(&mut self.typed))
    }

    /// Whether no more than what has been read is kept.
    pub(super) fn is_full(&self) -> bool {
        self.typed.len() == MESSAGE_MAX_BYTES
    }

    /// Waits until there may be keys to read. Cancel-safe.
    async fn keys_come(&mut self) {
        let keys = async {
            let Some(keys) = &self.keys else { return pending().await };
            match keys.readable().await {
                // Reading tells which there are; those that come later are told of anew.
                Ok(mut ready) if !ready.ready().is_read_closed() => ready.clear_ready(),
                // The terminal is gone.
                Ok(_) | Err(_) => pending().await,
            }
        };
        tokio::select! {
            () = keys => {}
            Some(()) = self.continued.recv() => {}
        }
    }

    /// Reads what is there, and does not wait.
    fn read(&mut self) {
        if !self.terminal.is_ours() {
            return;
        }
        // Again: whoever stopped the program and let it go on may have changed it.
        self.terminal.set(&self.quiet);
        let mut read = 0;
        let mut buffer = [0; 4096];
        while ioctl_fionread(io::stdin()).is_ok_and(|there| there > 0)
            && let Ok(length @ 1..) = rustix::io::read(io::stdin(), &mut buffer)
        {
            let room = MESSAGE_MAX_BYTES - self.typed.len();
            self.typed.extend_from_slice(&buffer[..length.min(room)]);
            read += length;
        }
        if read > KEY_MAX_BYTES {
            self.pasted = Some(Instant::now());
        }
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.terminal.give_back();
    }
}

/// The text that these keys make up, as far as a line editor need not be there for it.
fn text(typed: &[u8]) -> String {
    let mut text = String::new();
    let typed = String::from_utf8_lossy(typed);
    let mut keys = typed.chars();
    while let Some(key) = keys.next() {
        match key {
            '\r' | '\n' => text.push('\n'),
            '\u{8}' | '\u{7f}' => drop(text.pop()),
            // Ctrl-U takes the line back.
            '\u{15}' => text.truncate(text.rfind('\n').map_or(0, |at| at + 1)),
            // Arrows and their like, and the marks around what is pasted.
            '\u{1b}' => {
                if let Some('[' | 'O') = keys.next() {
                    keys.find(|key| ('@'..='~').contains(key));
                }
            }
            key if key.is_control() && key != '\t' => {}
            key => text.push(key),
        }
    }
    text.truncate(text.trim_end_matches('\n').len());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_make_up_a_text_that_can_be_edited_on() {
        let check = |typed: &str, expected| assert_eq!(text(typed.as_bytes()), expected, "{typed:?}");
        check("", "");
        check("five\rsix\r", "five\nsix");
        check("fn a() {\n\t1\n}\n", "fn a() {\n\t1\n}");
        check("hellp\u{7f}o", "hello");
        check("\u{7f}ä\u{8}b", "b");
        check("one\rtwo\u{15}three", "one\nthree");
        check("a\u{1b}[A\u{1b}[1;5C\u{1b}OPb\u{1b}fc", "abc");
        check("\u{1b}[200~/quit\r\u{1b}[201~", "/quit");
        check("a\u{4}\u{1}\u{1b}", "a");
        assert_eq!(text(b"gr\xfcn"), "gr\u{fffd}n");
    }
}
