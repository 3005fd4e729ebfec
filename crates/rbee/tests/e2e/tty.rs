use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, Termios, Winsize, tcgetattr, tcsetattr, tcsetwinsize};

use crate::support::programs;

/// What has not happened on a terminal after so long will not.
const PATIENCE: Duration = Duration::from_secs(30);

/// A program on a terminal of its own, whose screen shows what one would see there.
pub(crate) struct Tty {
    child: Child,
    master: File,
    /// How it treated keys before the program began.
    pub(crate) begin: Termios,
    written: Receiver<Vec<u8>>,
    screen: avt::Terminal,
    raw: Vec<u8>,
    /// How much of `raw` the screen has.
    shown: usize,
}

impl Tty {
    /// Starts a command on a terminal of 80 columns and 24 rows.
    pub(crate) fn start(command: Command) -> Self {
        Self::of_size(command, 80, 24)
    }

    /// Starts a command on a terminal of this size.
    pub(crate) fn of_size(command: Command, columns: u16, rows: u16) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&master).and_then(|()| unlockpt(&master)).expect("the terminal is ours");
        let master = File::from(master);
        set_size(&master, columns, rows);
        let begin = tcgetattr(&master).expect("the terminal is there");
        let name = ptsname(&master, Vec::new()).expect("the terminal has a name");
        let name = name.into_string().expect("a plain name");
        let open =
            || OwnedFd::from(File::options().read(true).write(true).open(&name).expect("the terminal opens"));
        // What is held here does not end, so that each holder but the program has to go.
        let mut command = owning_its_terminal(&command);
        let child = command.stdin(open()).stdout(open()).stderr(open()).spawn().expect("rbee starts");
        drop(command);

        let (tell, written) = channel();
        let mut reading = master.try_clone().expect("a second descriptor");
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            // A terminal whose users have gone reads as an error, which is its end.
            while let Ok(length @ 1..) = reading.read(&mut buffer) {
                if tell.send(buffer[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        let screen = avt::Terminal::new(columns.into(), rows.into()).expect("a size");
        Self { child, master, begin, written, screen, raw: Vec::new(), shown: 0 }
    }

    /// Presses these keys.
    pub(crate) fn types(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).expect("the terminal takes keys");
    }

    /// Waits until this text is on the screen.
    pub(crate) fn until(&mut self, text: &str) {
        self.until_it(&format!("shows {text:?}"), |screen| screen.contains(text));
    }

    /// Waits until the last line of what is on the screen is this.
    pub(crate) fn until_last(&mut self, line: &str) {
        self.until_it(&format!("ends in {line:?}"), |screen| screen.lines().last() == Some(line));
    }

    /// Waits until the screen is as it is `wanted`.
    pub(crate) fn until_it(&mut self, what: &str, wanted: impl Fn(&str) -> bool) {
        let give_up = Instant::now() + PATIENCE;
        while !wanted(&self.screen()) {
            match self.next(give_up) {
                Ok(bytes) => self.show(&bytes),
                Err(error) => {
                    panic!("the screen never {what} ({error}):\n{}\n{:?}", self.screen(), self.raw())
                }
            }
        }
    }

    /// What is on the screen: its lines without the blanks at their ends, and without empty ones at the end.
    pub(crate) fn screen(&self) -> String {
        let lines: Vec<_> =
            self.screen.screen().visible_lines().map(|line| line.text().trim_end().to_owned()).collect();
        lines.join("\n").trim_end_matches('\n').to_owned()
    }

    /// Whether all of this text, in the line that is this, is shown in this way.
    pub(crate) fn is_shown(&self, line: &str, text: &str, how: impl Fn(&avt::Pen) -> bool) -> bool {
        let shown = self.screen.screen().visible_lines().find(|shown| shown.text().trim_end() == line);
        let shown = shown.unwrap_or_else(|| panic!("{line:?} is not on the screen:\n{}", self.screen()));
        let (before, _) = line.split_once(text).expect("the line has that text");
        let cells = shown.cells().iter().skip(before.chars().count());
        cells.take(text.chars().count()).all(|cell| how(cell.pen()))
    }

    /// All that was written to the terminal so far.
    pub(crate) fn raw(&self) -> String {
        String::from_utf8_lossy(&self.raw).into_owned()
    }

    /// Makes the window another size.
    pub(crate) fn resize(&mut self, columns: u16, rows: u16) {
        set_size(&self.master, columns, rows);
        self.screen.resize(columns.into(), rows.into());
    }

    /// How the terminal treats keys.
    pub(crate) fn mode(&self) -> Termios {
        tcgetattr(&self.master).expect("the terminal is there")
    }

    /// Has the terminal treat keys so.
    pub(crate) fn set_mode(&self, mode: &Termios) {
        tcsetattr(&self.master, OptionalActions::Now, mode).expect("the terminal is there");
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("rbee still runs");
    }

    /// Waits for the program's end, and returns its exit code and all that it wrote.
    pub(crate) fn finish(mut self) -> (Option<i32>, String) {
        let give_up = Instant::now() + PATIENCE;
        loop {
            match self.next(give_up) {
                Ok(bytes) => self.show(&bytes),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    panic!("it does not end:\n{}\n{:?}", self.screen(), self.raw())
                }
            }
        }
        let code = self.child.wait().expect("rbee ends").code();
        (code, self.raw())
    }

    /// Like [`Tty::finish`], and also returns how the terminal treats keys then.
    pub(crate) fn finish_with_mode(self) -> (Option<i32>, String, Termios) {
        let master = self.master.try_clone().expect("a second descriptor");
        let (code, raw) = self.finish();
        (code, raw, tcgetattr(&master).expect("the terminal is there"))
    }

    /// What is written next, also by a program that never stops writing.
    fn next(&self, give_up: Instant) -> Result<Vec<u8>, RecvTimeoutError> {
        match give_up.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(RecvTimeoutError::Timeout),
            left => self.written.recv_timeout(left),
        }
    }

    fn show(&mut self, bytes: &[u8]) {
        self.raw.extend_from_slice(bytes);
        // The rest of a character may be on its way.
        let new = &self.raw[self.shown..];
        let length = std::str::from_utf8(new).map_or_else(|error| error.valid_up_to(), str::len);
        self.screen.feed(std::str::from_utf8(&new[..length]).expect("it was looked at"));
        self.shown += length;
    }
}

impl Drop for Tty {
    fn drop(&mut self) {
        // Of a test that has failed; others have waited for the end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn set_size(terminal: &File, columns: u16, rows: u16) {
    let size = Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(terminal, size).expect("a terminal has a size");
}

/// The same command, whose terminal is its own.
fn owning_its_terminal(command: &Command) -> Command {
    let helper = programs().join("examples/on_terminal");
    assert!(helper.is_file(), "run `cargo xtask test`, which builds {}", helper.display());
    let mut owning = Command::new(helper);
    owning.arg(command.get_program()).args(command.get_args());
    let variables: Vec<(OsString, Option<OsString>)> =
        command.get_envs().map(|(name, value)| (name.to_owned(), value.map(OsString::from))).collect();
    for (name, value) in variables {
        match value {
            Some(value) => owning.env(name, value),
            None => owning.env_remove(name),
        };
    }
    owning
}
