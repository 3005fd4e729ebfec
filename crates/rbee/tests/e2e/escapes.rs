use std::fs::{self, File};
use std::process::Child;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Home, MODEL};

const ANSWER: &str = "an-answer-that-nothing-else-says";

/// Every command with what it is run with, what its exit code is, and, if it answers, the answer.
///
/// `JOB` and `FILE` stand for a job that has ended and a model's file. They are run in this order.
const COMMANDS: &[(&str, i32, &str)] = &[
    ("infer an-answer-that-nothing-else-says", 0, ANSWER),
    ("infer -v escapes", 0, "pwned"),
    ("infer --output json hello", 0, "\"text\":\"hello\""),
    ("infer -m missing hello", 66, ""),
    ("chat", 0, ""),
    ("embed hello", 0, "1\n"),
    ("status", 0, "local"),
    ("hive status", 0, "local"),
    ("hive list", 0, "local"),
    ("worker list", 0, "worker-1"),
    ("hive pause", 0, ""),
    ("hive resume", 0, ""),
    ("worker start", 0, ""),
    ("worker logs", 0, ""),
    ("worker drain worker-9", 66, ""),
    ("worker stop worker-9", 66, ""),
    ("model list", 0, MODEL),
    ("model pull FILE", 0, ""),
    ("model show", 0, ""),
    ("model search nothing-has-this-name", 69, ""),
    ("model verify", 0, ""),
    ("model alias big FILE", 0, ""),
    ("model rm missing", 66, ""),
    ("job list", 0, "JOB"),
    ("job show JOB", 0, "JOB"),
    ("job attach JOB", 0, ANSWER),
    ("job logs JOB", 0, ANSWER),
    ("job cancel JOB", 0, ""),
    ("job explain JOB", 0, ""),
    ("key create ada", 0, "rbee_"),
    ("key list", 0, "ada"),
    ("key revoke ada", 0, ""),
    ("completions bash", 0, "complete"),
    ("doctor", 0, ""),
    ("uninstall --dry-run", 0, "journal"),
    ("queen install --dry-run", 0, "rbee-queen"),
    ("queen start", 0, ""),
    ("queen status", 0, ""),
    ("queen logs", 0, ""),
    ("queen run", 69, ""),
    ("queen stop", 0, ""),
];

/// Commands that go on until the queen stops.
const FOLLOWING: &[&str] = &["events", "queen logs --follow", "worker logs --follow"];

/// The commands that have none under them, as the help lists them.
fn listed(home: &Home, above: &[String]) -> Vec<String> {
    let help = home.run(above.iter().map(String::as_str).chain(["--help"]));
    let Some((_, list)) = help.stdout.split_once("\nCommands:\n") else { return vec![above.join(" ")] };
    let names = list.lines().take_while(|line| !line.is_empty()).filter_map(|line| {
        let name = line.strip_prefix("  ")?.split(' ').next()?;
        (!name.is_empty() && name != "help").then(|| name.to_owned())
    });
    names.flat_map(|name| listed(home, &[above, &[name]].concat())).collect()
}

fn start(home: &Home, line: &str) -> Child {
    let open = |name| File::create(home.path(name)).expect("a file in the test's home");
    let mut command = home.command(line.split(' '));
    command.stdout(open("stdout")).stderr(open("stderr")).spawn().expect("rbee starts")
}

/// Sees that both files are as any file of text is, and that stderr has nothing of the answer.
fn check(home: &Home, line: &str) -> (String, String) {
    let [stdout, stderr] =
        ["stdout", "stderr"].map(|name| fs::read_to_string(home.path(name)).expect("UTF-8"));
    for line_of_stdout in stdout.lines().filter(|line| line.trim().len() > 1) {
        assert!(!stderr.contains(line_of_stdout), "{line}: {line_of_stdout:?} is on stderr, too:\n{stderr}");
    }
    // What a model writes is the answer, byte for byte; what is said about it is ours.
    let said = if line.ends_with("escapes") { &stderr } else { &format!("{stdout}{stderr}") };
    assert!(!said.contains(['\u{1b}', '\r']), "{line}: {said:?}");
    (stdout, stderr)
}

#[test]
fn no_command_writes_an_escape_byte_to_a_file_or_an_answer_to_stderr() {
    let mut home = Home::scripted();
    home.set("HF_ENDPOINT", "http://127.0.0.1:1");
    let commands = listed(&home, &[]);
    assert!(commands.len() > 30, "{commands:?}");
    for command in commands {
        let lines = COMMANDS.iter().map(|(line, ..)| line).chain(FOLLOWING);
        let is_it = |line: &&str| **line == command || line.starts_with(&format!("{command} "));
        assert!(lines.copied().any(|line| is_it(&line)), "`rbee {command}` is not in the table");
    }

    let file = home.path("own.gguf");
    fs::copy(home.path(&format!("data/models/{MODEL}.gguf")), &file).expect("room for a model");
    let mut job = String::new();
    for (line, code, answer) in COMMANDS {
        let line = line.replace("JOB", &job).replace("FILE", file.to_str().expect("UTF-8"));
        let ended = start(&home, &line).wait().expect("rbee ends");
        let (stdout, stderr) = check(&home, &line);
        assert_eq!(ended.code(), Some(*code), "{line}: {stdout}{stderr}");
        assert!(stdout.contains(&answer.replace("JOB", &job)), "{line}: {stdout:?}\n{stderr}");
        assert_eq!(*code == 0, !stderr.contains("error: "), "{line}: {stderr}");
        if job.is_empty() {
            let created = stderr.split("Job ").nth(1).and_then(|rest| rest.split(' ').next());
            created.expect("narration names the job").clone_into(&mut job);
        }
    }
    for line in FOLLOWING {
        assert_eq!(home.run(["infer", "hello"]).code, Some(0));
        let mut following = start(&home, line);
        while fs::read(home.path("stdout")).expect("its file").is_empty() {}
        assert_eq!(home.run(["queen", "stop"]).code, Some(0));
        if line.starts_with("events") {
            following.wait().expect("rbee ends");
        } else {
            kill_process(Pid::from_child(&following), Signal::INT).expect("it follows on");
            assert_eq!(following.wait().expect("rbee ends").code(), Some(130));
        }
        check(&home, line);
    }
}
