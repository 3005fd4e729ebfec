use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::support::Home;

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
    on_a_terminal_typing("", command)
}

/// The same, where somebody types this.
fn on_a_terminal_typing(typed: &str, command: Command) -> (Option<i32>, String) {
    let (mut child, mut terminal) = start_on_a_terminal(command);
    terminal.write_all(typed.as_bytes()).expect("the terminal takes what is typed");
    let mut screen = Vec::new();
    // A terminal whose users have gone reads as an error, which is its end.
    let _ = terminal.read_to_end(&mut screen);
    let code = child.wait().expect("rbee ends").code();
    (code, String::from_utf8(screen).expect("a screen in UTF-8"))
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
    // What was typed is shown before it is asked for.
    assert!(screen.contains("[y/N] removed ") && !key.exists(), "{screen}");
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
