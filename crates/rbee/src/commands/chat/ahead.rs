//! What is typed while nobody reads it, as while an answer comes: it is not shown among that, nothing in it is acted on,
//! and it waits in the next line that is edited.

use std::convert::Infallible;
use std::io;
use std::mem;
use std::time::Duration;

use rustix::process::getpgrp;
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetpgrp, tcsetattr,
};
use tokio::time::sleep;

/// How often it is read: a terminal holds 4 KiB, and hears no Ctrl-C behind them.
const INTERVAL: Duration = Duration::from_millis(50);

/// A terminal that keeps to itself what is typed.
pub(super) struct Ahead {
    /// How the terminal was before.
    before: Termios,
    quiet: Termios,
    /// What was typed since the last line.
    typed: Vec<u8>,
}

impl Ahead {
    /// Has this process's terminal, which is as `before`, show nothing of what is typed. Keys that send signals do so
    /// still.
    pub(super) fn of_terminal(before: Termios) -> Self {
        let mut quiet = before.clone();
        quiet.local_modes -= LocalModes::ECHO | LocalModes::ICANON;
        // What stands before Ctrl-C is kept.
        quiet.local_modes |= LocalModes::NOFLSH;
        // What is there is read, and nothing is waited for.
        quiet.special_codes[SpecialCodeIndex::VMIN] = 0;
        quiet.special_codes[SpecialCodeIndex::VTIME] = 0;
        let ahead = Self { before, quiet, typed: Vec::new() };
        ahead.be_quiet();
        ahead
    }

    fn be_quiet(&self) {
        if is_in_foreground() {
            // A terminal that does not take it goes on as it is.
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.quiet);
        }
    }

    /// Reads what is typed, for ever.
    pub(super) async fn collect(&mut self) -> Infallible {
        loop {
            self.read();
            sleep(INTERVAL).await;
        }
    }

    /// What was typed until now, with the rest of what is being pasted.
    pub(super) async fn take(&mut self) -> String {
        // Again: whoever stopped the program and let it go on may have changed the terminal.
        self.be_quiet();
        while self.read() {
            sleep(INTERVAL).await;
        }
        text(&mem::take(&mut self.typed))
    }

    /// Reads what is there, and says whether that was anything.
    fn read(&mut self) -> bool {
        // Otherwise reading would wait, or stop us.
        let is_quiet =
            tcgetattr(io::stdin()).is_ok_and(|mode| !mode.local_modes.contains(LocalModes::ICANON));
        if !is_quiet || !is_in_foreground() {
            return false;
        }
        let before = self.typed.len();
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = rustix::io::read(io::stdin(), &mut buffer) {
            self.typed.extend_from_slice(&buffer[..length]);
        }
        self.typed.len() > before
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        // Where the terminal is gone, there is nothing to give back.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// Whether the terminal is ours: the system stops who uses it in the background.
fn is_in_foreground() -> bool {
    tcgetpgrp(io::stdin()).is_ok_and(|group| group == getpgrp())
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
