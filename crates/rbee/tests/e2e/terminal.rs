use std::fs::File;
use std::os::fd::OwnedFd;
use std::process::{Child, Command};

use rustix::process::Signal;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::support::{Following, Home, is_progress};
use crate::tty::Tty;

/// Starts a command on a terminal of its own, whose other end this returns.
pub(crate) fn start_on_a_terminal(mut command: Command) -> (Child, File) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&master).and_then(|()| unlockpt(&master)).expect("the terminal is ours");
    let name = ptsname(&master, Vec::new()).expect("the terminal has a name");
    let name = name.into_string().expect("a plain name");
    let open =
        || OwnedFd::from(File::options().read(true).write(true).open(&name).expect("the terminal opens"));
    let child = command.stdin(open()).stdout(open()).stderr(open()).spawn().expect("it starts");
    // The terminal ends when its last user does, and `command`, which ends here, holds it too.
    (child, File::from(master))
}

/// Runs a command on a terminal of its own and returns all that it wrote there.
fn on_a_terminal(command: Command) -> (Option<i32>, String) {
    Tty::start(command).finish()
}

/// The same, where somebody answers a question so.
fn on_a_terminal_typing(typed: &str, command: Command) -> (Option<i32>, String) {
    let mut tty = Tty::start(command);
    tty.until("[y/N]");
    tty.types(typed);
    tty.finish()
}

#[test]
fn escape_sequences_of_a_model_do_not_reach_a_terminal() {
    let home = Home::scripted();
    let (code, screen) = on_a_terminal(home.command(["infer", "escapes", "-q", "--color", "never"]));
    assert_eq!(code, Some(0), "{screen}");
    assert_eq!(screen, "\\u{1b}[2J\\u{1b}[1;1H\\u{9b}31m\\u{1b}]0;pwned\\u{7}\\r\\u{202e}end\r\n");
    let piped = home.run(["infer", "escapes", "-q"]);
    assert_eq!(piped.stdout, "\u{1b}[2J\u{1b}[1;1H\u{9b}31m\u{1b}]0;pwned\u{7}\r\u{202e}end");
}

#[test]
fn what_was_typed_does_not_control_the_terminal_when_it_makes_no_sense() {
    let home = Home::empty();
    for arguments in
        [["key", "create", "\u{1b}[2J"], ["job", "\u{1b}[2J", "x"], ["infer", "--temperature", "\u{1b}[2J"]]
    {
        let (code, screen) = on_a_terminal(home.command(arguments));
        assert_eq!(code, Some(2), "{screen}");
        assert!(screen.contains("error:") && !screen.contains("\u{1b}[2J"), "{screen}");
    }
}

#[test]
fn what_is_to_be_removed_is_shown_and_asked_for() {
    let home = Home::scripted();
    assert_eq!(home.run(["queen", "start"]).code, Some(0));
    let key = home.path("config/operator.key");
    for typed in ["n\n", "\n", "perhaps\n"] {
        let (code, screen) = on_a_terminal_typing(typed, home.command(["uninstall", "--color", "never"]));
        assert_eq!(code, Some(1), "{screen}");
        assert!(screen.contains("operator.key") && screen.contains("[y/N]"), "{screen}");
        assert!(screen.contains("error: nothing was removed") && key.exists(), "{screen}");
    }
    assert!(home.path("state/queen.json").exists(), "the queen was stopped");
    let (code, screen) = on_a_terminal_typing("y\n", home.command(["uninstall", "--color", "never"]));
    assert_eq!(code, Some(0), "{screen}");
    assert!(screen.contains("[y/N] y\r\nremoved ") && !key.exists(), "{screen}");
}

#[test]
fn an_answer_on_a_terminal_ends_its_line_and_in_a_pipe_it_ends_with_itself() {
    let home = Home::scripted();
    let (_, screen) = on_a_terminal(home.command(["infer", "one line", "-q", "--color", "never"]));
    assert_eq!(screen, "one line\r\n");
    let (_, screen) = on_a_terminal(home.command(["infer", "two lines\n", "-q", "--color", "never"]));
    assert_eq!(screen.trim_end_matches("\r\n"), "two lines");
    assert_eq!(home.run(["infer", "one line"]).stdout, "one line");
}

#[test]
fn colour_is_for_terminals_that_want_it() {
    let home = Home::scripted();
    let status = ["hive", "status"];
    assert!(!home.run(status).stderr.contains('\u{1b}'));
    let (_, screen) = on_a_terminal(home.command(status));
    assert!(screen.contains("\u{1b}["), "{screen}");
    let mut plain = home.command(status);
    plain.env("NO_COLOR", "1");
    let (_, screen) = on_a_terminal(plain);
    assert!(!screen.contains("\u{1b}[3") && screen.contains("[hive      ]"), "{screen}");
}

#[test]
fn ctrl_c_on_a_terminal_cancels_an_answer_and_ends_the_command() {
    let home = Home::scripted();
    let mut tty = Tty::start(home.command(["infer", "tokens 100000 5 so~"]));
    tty.until("so~so~so~");
    tty.types("\u{3}");
    let (code, raw) = tty.finish();
    assert_eq!(code, Some(130), "{raw:?}");
    assert!(raw.contains("^C") && raw.contains("\r\nCancelling…\r\n"), "{raw:?}");
    home.wait_for_idle_workers();
}

/// A job that has the one worker, and a command with a bar in a window of 60 columns that waits for it.
fn waiting_behind(home: &Home) -> (Following, Tty) {
    let mut first = home.follow(&["wait"]);
    first.until(|event| event["action"] == "schedule");
    let command = home.command(["infer", "answered", "--color", "never", "--narration", "off"]);
    let mut tty = Tty::of_size(command, 60, 12);
    tty.until("Waiting for a turn: 1 job ahead");
    (first, tty)
}

#[test]
fn a_bar_is_drawn_in_the_width_of_the_window_and_leaves_nothing_behind() {
    let home = Home::scripted();
    let (first, mut tty) = waiting_behind(&home);
    tty.resize(100, 12);
    tty.until_it("has the bar and nothing else", |screen| {
        screen.lines().count() == 1 && screen.contains("Waiting for a turn: 1 job ahead")
    });
    first.signal(Signal::INT);
    first.finish();
    tty.until_it("has the answer and nothing else", |screen| screen == "answered");
    let (code, raw) = tty.finish();
    assert_eq!(code, Some(0), "{raw:?}");
}

/// What a narrower window has made of the bar that was there is the terminal's affair; the next one is in its place.
#[test]
fn a_bar_keeps_to_one_line_of_a_window_that_has_become_narrow() {
    let home = Home::scripted();
    let (first, mut tty) = waiting_behind(&home);
    tty.resize(24, 12);
    tty.until_it("has a bar that fits", |screen| screen.ends_with("Waiting for a turn: 1"));
    first.signal(Signal::INT);
    first.finish();
    tty.until_it("has the answer in its place", |screen| {
        screen.ends_with("\nanswered") || screen == "answered"
    });
    let (code, raw) = tty.finish();
    assert_eq!(code, Some(0), "{raw:?}");
}

#[test]
fn a_dumb_terminal_gets_no_bar_and_no_escape_byte() {
    let home = Home::scripted();
    let mut first = home.follow(&["wait"]);
    first.until(|event| event["action"] == "schedule");
    let mut second = home.follow(&["wait"]);
    second.until(is_progress("queued"));
    let mut dumb = home.command(["infer", "answered"]);
    dumb.env("TERM", "dumb");
    let mut tty = Tty::start(dumb);
    tty.until("Waiting for a turn: 2 jobs ahead");
    first.signal(Signal::INT);
    first.finish();
    second.signal(Signal::INT);
    second.finish();
    let (code, raw) = tty.finish();
    assert_eq!(code, Some(0), "{raw:?}");
    assert!(!raw.contains('\u{1b}') && !raw.replace("\r\n", "\n").contains('\r'), "{raw:?}");
    assert!(raw.contains("answered\r\n"), "{raw:?}");
}
