use std::fs;
use std::os::unix::fs::PermissionsExt;

use rustix::process::{Signal, kill_process};
use rustix::termios::{LocalModes, SpecialCodeIndex};
use serde_json::{Value, json};

use crate::support::{Home, pid};
use crate::tty::Tty;

/// Starts a chat on a terminal and waits for its first prompt.
fn chat(home: &Home, arguments: &[&str]) -> Tty {
    let mut tty = Tty::of_size(home.command(["chat"].iter().chain(arguments)), 200, 40);
    tty.until_last(">");
    tty
}

/// Types a message, and waits until the answer is there and the next one can be typed.
fn say(tty: &mut Tty, message: &str, answer: &str) {
    tty.types(&format!("{message}\r"));
    tty.until_it(&format!("answers {message:?} with {answer:?}"), |screen| {
        screen.ends_with(&format!("> {message}\n{answer}\n>"))
    });
}

fn leave(mut tty: Tty) -> String {
    tty.types("\u{4}");
    let (code, raw) = tty.finish();
    assert_eq!(code, Some(0), "{raw}");
    raw
}

/// Waits until the worker has a job, to which Ctrl-C is said from then on.
fn until_busy(home: &Home) {
    for _ in 0..1000 {
        if home.ask(&["worker", "list"])["workers"][0]["state"] == "busy" {
            return;
        }
    }
    panic!("the worker has nothing to do");
}

fn kept(home: &Home) -> Vec<Value> {
    let files = fs::read_dir(home.path("state/conversations")).expect("the folder of conversations");
    let read = |file: fs::DirEntry| {
        let mode = file.metadata().expect("it exists").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file:?}");
        serde_json::from_slice(&fs::read(file.path()).expect("our own file")).expect("JSON")
    };
    files.flatten().map(read).collect()
}

#[test]
fn each_line_of_a_pipe_is_answered_with_all_that_was_said_before() {
    let home = Home::scripted();
    let ran = home.run_with_stdin(b"hello\n\none\\\ntwo\necho\n", ["chat", "--system", "Be brief."]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    let (answers, conversation) = ran.stdout.split_once("hello\none\ntwo\n").expect(&ran.stdout);
    assert_eq!(answers, "");
    let conversation: Value =
        serde_json::from_str(conversation.strip_suffix('\n').expect("a line")).expect("JSON");
    let expected = json!([
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "hello"},
        {"role": "user", "content": "one\ntwo"},
        {"role": "assistant", "content": "one\ntwo"},
        {"role": "user", "content": "echo"},
    ]);
    assert_eq!(conversation, expected);
}

#[test]
fn a_conversation_is_kept_and_goes_on_and_nothing_of_it_is_in_a_log() {
    let home = Home::scripted();
    assert_eq!(home.run(["chat", "-c"]).code, Some(66));
    assert_eq!(home.run_with_stdin(b"a-canary\n/save birds\n", ["chat"]).code, Some(0));
    let expected = json!([{
        "version": 1,
        "messages": [{"role": "user", "content": "a-canary"}, {"role": "assistant", "content": "a-canary"}],
    }]);
    assert_eq!(Value::from(kept(&home)), expected);
    assert!(home.path("state/conversations/birds.json").is_file());

    let ran = home.run_with_stdin(b"/clear\nother\n/load birds\necho\n", ["chat", "--continue"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stdout.starts_with("other\n[{") && ran.stdout.contains("a-canary"), "{}", ran.stdout);
    assert!(!ran.stdout.contains(r#""other""#), "{}", ran.stdout);
    assert_eq!(kept(&home).len(), 2);
    for log in ["queen", "hive", "worker"] {
        let text = fs::read_to_string(home.path(&format!("state/{log}.log"))).expect("the log");
        assert!(text.contains("job-") && !text.contains("canary"), "{log}: {text}");
    }
}

#[test]
fn what_fails_in_a_pipe_is_told_and_the_other_lines_are_answered() {
    let home = Home::scripted();
    let ran = home.run_with_stdin(b"first\n/nope\n/model missing\nsecond\n/clear\n/regenerate\n", ["chat"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), "first\nsecond\n"), "{}", ran.stderr);
    let errors: Vec<_> = ran.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 3, "{}", ran.stderr);
    assert!(errors[0].contains("/nope") && errors[1].contains("missing"), "{}", ran.stderr);
    assert_eq!(ran.stderr.matches("\nhint: ").count(), 3, "{}", ran.stderr);
    let ran = home.run_with_stdin(b"gr\xfcn\ngreen\n", ["chat"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(65), "green\n"), "{}", ran.stderr);
}

#[test]
fn a_model_that_is_not_there_ends_a_chat_that_asks_for_it_and_no_other() {
    let home = Home::scripted();
    let ran = home.run_with_stdin(b"first\n", ["chat", "-m", "missing"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(66), ""), "{}", ran.stderr);
    assert!(ran.stderr.contains("there is no model `missing`"), "{}", ran.stderr);

    assert_eq!(home.run(["model", "alias", "mine", crate::support::MODEL]).code, Some(0));
    assert_eq!(home.run_with_stdin(b"first\n/save it\n", ["chat", "-m", "mine"]).code, Some(0));
    assert_eq!(home.run(["model", "alias", "mine", "--remove"]).code, Some(0));
    let said = format!("/model {}\nsecond\n", crate::support::MODEL);
    let ran = home.run_with_stdin(said.as_bytes(), ["chat", "--continue"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(66), "second\n"), "{}", ran.stderr);
    assert!(ran.stderr.contains("there is no model `mine`"), "{}", ran.stderr);
}

#[test]
fn answers_in_json_are_a_line_each() {
    let home = Home::scripted();
    let ran = home.run_with_stdin(b"one\ntwo\n", ["chat", "--output", "json"]);
    let texts = ran.stdout.lines().map(|line| {
        let answer: Value = serde_json::from_str(line).expect("JSON");
        answer["text"].as_str().expect("a text").to_owned()
    });
    assert_eq!(texts.collect::<Vec<_>>(), ["one", "two"], "{}", ran.stderr);
}

#[test]
fn markdown_is_rendered_on_a_terminal_with_colours_and_nowhere_else() {
    let home = Home::scripted();
    let mut tty = chat(&home, &[]);
    say(&mut tty, "so **bold** and `code`", "so bold and code");
    let line = "so bold and code";
    assert!(tty.is_shown(line, "bold", avt::Pen::is_bold) && tty.is_shown(line, "so ", avt::Pen::is_default));
    assert!(tty.is_shown(line, "code", |pen| pen.foreground().is_some()));
    leave(tty);

    for (variable, value) in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let mut command = home.command(["chat"]);
        command.env(variable, value);
        let mut tty = Tty::start(command);
        tty.until_last(">");
        say(&mut tty, "so **bold** and `code`", "so **bold** and `code`");
        let raw = leave(tty);
        assert!(!raw.contains("\u{1b}[3") && !raw.contains("\u{1b}[1m"), "{raw:?}");
        assert!(variable == "NO_COLOR" || !raw.contains('\u{1b}'), "{raw:?}");
    }
    let mut command = home.command(["chat", "--color", "never"]);
    command.env("TERM", "xterm-256color");
    let mut tty = Tty::start(command);
    tty.until_last(">");
    say(&mut tty, "*so*", "*so*");
    leave(tty);
    let piped = home.run_with_stdin(b"so **bold**\n", ["chat"]);
    assert_eq!(piped.stdout, "so **bold**\n");
}

#[test]
fn escape_sequences_of_a_model_do_not_reach_a_chats_terminal() {
    let home = Home::scripted();
    let mut tty = chat(&home, &[]);
    say(&mut tty, "escapes", "\\u{1b}[2J\\u{1b}[1;1H\\u{9b}31m\\u{1b}]0;pwned\\u{7}\\r\\u{202e}end");
    let raw = leave(tty);
    assert!(
        !raw.contains("pwned\u{7}") && !raw.contains("\u{1b}[1;1H") && !raw.contains('\u{202e}'),
        "{raw:?}"
    );
}

#[test]
fn ctrl_c_stops_the_answer_and_the_chat_goes_on() {
    let home = Home::scripted();
    let mut tty = chat(&home, &[]);
    tty.types("tokens 100000 5 so~\r");
    tty.until("so~so~so~");
    tty.types("\u{3}");
    tty.until_last(">");
    tty.until("Cancelling…");
    let jobs = home.ask(&["job", "list"]);
    let infer = jobs["jobs"].as_array().and_then(|jobs| jobs.iter().find(|job| job["operation"] == "infer"));
    assert_eq!(infer.expect("the job is listed")["state"], "cancelled");
    home.wait_for_idle_workers();
    // What was seen of the answer is part of the conversation.
    tty.types("echo\r");
    tty.until(r#""role":"assistant","content":"so~so~"#);
    tty.until_last(">");
    // What had no answer yet is none.
    tty.types("wait\r");
    tty.until("\n> wait");
    until_busy(&home);
    tty.types("\u{3}");
    tty.until_last(">");
    tty.types("/regenerate\r");
    tty.until("> /regenerate");
    until_busy(&home);
    tty.types("\u{3}");
    tty.until_last(">");
    say(&mut tty, "hello", "hello");
    leave(tty);
    let said = kept(&home)[0]["messages"].to_string();
    assert!(said.contains(r#""content":"so~so~"#) && !said.contains("wait"), "{said}");
}

#[test]
fn ctrl_c_at_the_prompt_takes_the_line_back_and_ctrl_d_leaves() {
    let home = Home::scripted();
    let note = "Ctrl-D or /quit leaves\n>";
    let mut tty = chat(&home, &[]);
    tty.types("never sent\u{3}");
    tty.until_it("leaves the prompt empty", |screen| screen.ends_with(&format!("> never sent\n{note}")));
    tty.types("\u{3}");
    tty.until_it("says it again", |screen| screen.ends_with(&format!("{note}\n{note}")));
    leave(tty);

    // A terminal that cannot be edited on sends a signal instead.
    let mut dumb = home.command(["chat"]);
    dumb.env("TERM", "dumb");
    let mut tty = Tty::start(dumb);
    tty.until_last(">");
    tty.types("never sent\u{3}");
    tty.until_it("leaves the prompt empty", |screen| screen.ends_with(note));
    say(&mut tty, "hello", "hello");
    tty.types("/quit\r");
    assert_eq!(tty.finish().0, Some(0));
    assert_eq!(kept(&home).len(), 1);
}

#[test]
fn what_is_typed_can_be_edited_recalled_completed_and_have_several_lines() {
    let home = Home::scripted();
    let mut tty = chat(&home, &[]);
    tty.types("hellp\u{7f}o\r");
    tty.until_it("answers", |screen| screen.ends_with("> hello\nhello\n>"));
    tty.types("\u{1b}[A");
    tty.until_last("> hello");
    tty.types(" again\r");
    tty.until_it("answers", |screen| screen.ends_with("> hello again\nhello again\n>"));
    tty.types("/mod\t Smol\t");
    tty.until_last(&format!("> /model {}", crate::support::MODEL));
    tty.types("\u{3}");
    tty.until_last(">");
    tty.types("/reg\t");
    tty.until_last("> /regenerate");
    tty.types("\r");
    tty.until_it("answers", |screen| screen.ends_with("> /regenerate\nhello again\n>"));
    tty.types("\"\"\"\rone\rtwo\"\"\"\r");
    tty.until_it("answers", |screen| screen.ends_with("two\"\"\"\none\ntwo\n>"));
    // What is pasted is one message, whatever is in it.
    tty.types("\u{1b}[200~three\nfour\u{1b}[201~\r");
    tty.until_it("answers", |screen| screen.ends_with("four\nthree\nfour\n>"));
    tty.types("\u{1b}[200~/quit\nfive\u{1b}[201~\r");
    tty.until_it("answers", |screen| screen.ends_with("five\n/quit\nfive\n>"));
    say(&mut tty, "six", "six");
    leave(tty);
    let mut tty = chat(&home, &["-c"]);
    assert!(tty.screen().contains(", 12 messages, and the default model"), "{}", tty.screen());
    tty.types("\u{1b}[A\u{1b}[A");
    tty.until_it("recalls it", |screen| screen.ends_with("> /quit\nfive"));
    tty.types("\u{3}");
    tty.until_last(">");
    leave(tty);
}

/// More than a terminal's buffer holds is typed, too: Ctrl-C must come through behind it.
#[test]
fn what_is_typed_while_an_answer_comes_waits_in_the_next_line() {
    let home = Home::scripted();
    let mut tty = chat(&home, &[]);
    tty.types("tokens 100000 5 so~\r");
    tty.until("so~so~so~");
    tty.types("/clear\r/quit\r");
    tty.types(&format!("{}\r", "not shown ".repeat(600)));
    tty.types("typed ahead\r");
    tty.types("\u{3}");
    tty.until_last("typed ahead");
    // What comes of it stands behind this.
    let before_cancel = |raw: String| raw.rsplit_once("Cancelling…").map(|(before, _)| before.to_owned());
    assert!(before_cancel(tty.raw()).is_some_and(|raw| !raw.contains("clear")), "{:?}", tty.raw());
    // Nothing of it has been done, and it can be edited.
    tty.types("\u{3}");
    tty.until_last(">");
    tty.types("wait\r");
    tty.until_last("> wait");
    until_busy(&home);
    tty.types("/quit\rhellp\u{7f}o");
    tty.types("\u{3}");
    tty.until_it("has what was typed", |screen| screen.ends_with("\n> /quit\nhello"));
    assert!(before_cancel(tty.raw()).is_some_and(|raw| !raw.contains("hell")), "{:?}", tty.raw());
    tty.types("!\r");
    tty.until_it("answers it as one message", |screen| screen.ends_with("> /quit\nhello!\n/quit\nhello!\n>"));
    leave(tty);
    let said = kept(&home)[0]["messages"].to_string();
    assert!(said.contains("so~so~") && said.contains(r#""content":"/quit\nhello!""#), "{said}");
    assert!(!said.contains("not shown"), "{said}");
}

#[test]
fn a_chat_that_is_told_to_end_twice_during_an_answer_gives_the_terminal_back() {
    let home = Home::scripted();
    let mut tty = Tty::start(home.command(["chat"]));
    let before = tty.begin.local_modes;
    tty.until_last(">");
    // Its worker does not hear of a cancel.
    tty.types("quiet 1000 100\r");
    until_busy(&home);
    let during = tty.mode().local_modes;
    assert!(!during.contains(LocalModes::ECHO) && during.contains(LocalModes::ISIG));
    tty.signal(Signal::TERM);
    tty.until("Cancelling…");
    tty.signal(Signal::TERM);
    let (code, raw, after) = tty.finish_with_mode();
    assert_eq!((code, after.local_modes), (Some(143), before), "{raw:?}");
    let jobs = home.ask(&["job", "list"]);
    let infer = jobs["jobs"].as_array().and_then(|jobs| jobs.iter().find(|job| job["operation"] == "infer"));
    assert_eq!(infer.expect("the job is listed")["state"], "running", "it was waited for");
    kill_process(home.worker_pid(), Signal::KILL).expect("the worker runs");
}

/// A shell's script has the job control of a shell, and reads from the terminal that a stopped chat leaves.
#[test]
fn a_chat_that_is_stopped_leaves_a_terminal_to_read_from_goes_on_quietly_and_ends_in_the_background() {
    let home = Home::scripted();
    let script = r#"set -m; "$0" chat; echo "stopped once"; read line && echo "read $line"; read line; fg %1
        echo "stopped again"; bg %1; kill %1; wait %1; echo "ended with $?""#;
    let mut shell = home.command_of("sh", ["-c", script]);
    shell.arg(env!("CARGO_BIN_EXE_rbee"));
    let mut tty = Tty::start(shell);
    let before = tty.begin.clone();
    tty.until_last(">");
    tty.types("wait\r");
    until_busy(&home);
    let during = tty.mode();
    assert!(!during.local_modes.intersects(LocalModes::ECHO | LocalModes::ICANON));
    assert_eq!(during.special_codes[SpecialCodeIndex::VMIN], 1);
    tty.types("\u{1a}");
    tty.until("stopped once");
    tty.types("something\r");
    tty.until("read something");
    // Other shells give the terminal back themselves.
    tty.set_mode(&before);
    tty.types("\r");
    while tty.mode().local_modes.contains(LocalModes::ECHO) {}
    tty.types("\u{1a}");
    tty.until("stopped again");
    tty.until("ended with 143");
    assert_eq!(tty.finish().0, Some(0));
}

#[test]
fn ctrl_z_at_the_prompt_takes_nothing_away() {
    let home = Home::scripted();
    let mut tty = chat(&home, &[]);
    tty.types("one");
    tty.until_last("> one");
    tty.types("\u{1a}two\r");
    tty.until("> onetwo\nonetwo\n");
    tty.types("\u{4}");
    assert_eq!(tty.finish().0, Some(0));
}

#[test]
fn ctrl_c_stops_asking_a_queen_that_does_not_answer_whether_there_is_a_model() {
    let home = Home::scripted();
    let mut tty = chat(&home, &[]);
    let queen = pid(&home.queen_address()["pid"]);
    kill_process(queen, Signal::STOP).expect("the queen runs");
    tty.types(&format!("/model {}\r", crate::support::MODEL));
    // From then on it is no key for the line editor.
    while !tty.mode().local_modes.contains(LocalModes::ISIG) {}
    tty.types("\u{3}");
    tty.until_it("asks for the next message", |screen| screen.ends_with("Q4_1\n>"));
    kill_process(queen, Signal::CONT).expect("the queen runs");
    say(&mut tty, "hello", "hello");
    leave(tty);
}

/// More comes at once than the line editor reads for a line.
#[test]
fn lines_that_come_at_once_at_the_prompt_are_messages_in_their_order() {
    let home = Home::scripted();
    let mut tty = chat(&home, &[]);
    tty.types("five\rsix\r");
    tty.until_it("answers both", |screen| screen.ends_with("> six\nsix\n>"));
    leave(tty);
    let said = kept(&home)[0]["messages"].to_string();
    assert!(said.contains(r#""content":"five"},{"#) && said.ends_with(r#""content":"six"}]"#), "{said}");
}

#[test]
fn a_chat_outlives_a_worker_and_a_queen() {
    let home = Home::scripted();
    let mut tty = chat(&home, &[]);
    say(&mut tty, "first", "first");
    tty.types("wait\r");
    until_busy(&home);
    kill_process(home.worker_pid(), Signal::KILL).expect("the worker runs");
    tty.until("error: ");
    tty.until("hint: ");
    tty.until_last(">");
    say(&mut tty, "second", "second");
    assert_eq!(home.run(["queen", "stop"]).code, Some(0));
    tty.types("echo\r");
    tty.until(r#""content":"first"},{"role":"user","content":"second"},{"role":"assistant","content":"second"},{"role":"user","content":"echo"}]"#);
    tty.until_last(">");
    leave(tty);
}

#[test]
fn a_chat_that_is_told_to_end_gives_the_terminal_back() {
    let home = Home::scripted();
    let mut tty = Tty::start(home.command(["chat"]));
    let before = tty.begin.local_modes;
    assert!(before.contains(LocalModes::ECHO | LocalModes::ICANON));
    tty.until_last(">");
    while tty.mode().local_modes.contains(LocalModes::ICANON) {}
    tty.signal(Signal::TERM);
    let (code, raw, after) = tty.finish_with_mode();
    assert_eq!(code, Some(143), "{raw:?}");
    assert_eq!(after.local_modes, before);
    assert!(raw.ends_with("\u{1b}[?2004l\r\n"), "{raw:?}");
}

#[test]
fn a_line_that_is_being_typed_fits_a_window_of_another_size() {
    let home = Home::scripted();
    let mut tty = chat(&home, &[]);
    let line = "0123456789".repeat(9);
    tty.types(&line);
    tty.until_last(&format!("> {line}"));
    tty.resize(50, 20);
    tty.types("!");
    tty.until_it("shows all of it in its width", |screen| {
        let last: Vec<_> = screen.lines().rev().take(2).collect();
        last == [&format!("{}!", &line[48..]), &format!("> {}", &line[..48])]
    });
    tty.types("\r");
    tty.until_last(">");
    let said = kept(&home)[0]["messages"][0]["content"].to_string();
    assert_eq!(said, format!("\"{line}!\""));
    leave(tty);
}

#[test]
fn the_commands_do_what_the_help_says() {
    let home = Home::scripted();
    let typed = "/help\n/system Be brief.\n/system\necho\n/system \"\"\n/system\n/save birds\n/clear\n/load\n/model\n/quit\nnever";
    let ran = home.run_with_stdin(typed.as_bytes(), ["chat"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    for shown in
        ["/regenerate ", "Be brief.\n[{\"role\":\"system\"", "birds  just now\n", crate::support::MODEL]
    {
        assert!(ran.stdout.contains(shown), "{shown:?}: {}", ran.stdout);
    }
    assert!(
        ran.stderr.contains("There are no instructions") && ran.stderr.contains("birds.json"),
        "{}",
        ran.stderr
    );
    assert!(!ran.stdout.contains("never"), "{}", ran.stdout);

    let ran = home.run_with_stdin(b"/load birds\n/model SmolLM2-135M-Instruct.Q4_1\nhello\n", ["chat"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "hello\n"), "{}", ran.stderr);
    assert_eq!(kept(&home)[0]["model"], crate::support::MODEL);
    let ran = home.run_with_stdin(b"/save birds\n/load fish\n", ["chat"]);
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("birds already") && ran.stderr.contains("no conversation fish"),
        "{}",
        ran.stderr
    );
}

#[test]
fn what_an_answer_waits_for_is_a_bar_that_leaves_nothing_behind() {
    let home = Home::scripted();
    let mut first = home.follow(&["wait"]);
    first.until(|event| event["action"] == "schedule");
    let mut tty = chat(&home, &[]);
    tty.types("hello\r");
    tty.until_it("has the bar below what was typed", |screen| {
        screen.lines().last().is_some_and(|line| line.contains("Waiting for a turn: 1 job ahead"))
    });
    first.signal(Signal::INT);
    first.finish();
    tty.until_it("has the answer and no bar", |screen| screen.ends_with("Ctrl-D leaves\n> hello\nhello\n>"));
    leave(tty);
}

#[test]
fn answers_can_go_to_a_file_while_somebody_types_on_a_terminal() {
    let home = Home::scripted();
    let file = home.path("answers");
    let shell = format!("exec {} chat > {}", env!("CARGO_BIN_EXE_rbee"), file.display());
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &shell]);
    for (name, value) in home.command([""; 0]).get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let mut tty = Tty::start(command);
    tty.until_last(">");
    for message in ["**one**", "two"] {
        tty.types(&format!("{message}\r"));
        tty.until_it("asks for the next message", |screen| screen.ends_with(&format!("> {message}\n>")));
    }
    leave(tty);
    assert_eq!(fs::read_to_string(file).expect("the file of answers"), "**one**\ntwo\n");
}
