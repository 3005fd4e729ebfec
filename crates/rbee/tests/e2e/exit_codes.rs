use std::collections::BTreeSet;
use std::fs::{self, File};

use rustix::process::{Signal, kill_process};

use crate::support::{Following, Home, is_progress, is_token};

/// What is done, and the exit code that it has.
type Case = (i32, &'static str, fn() -> Option<i32>);

const CASES: [Case; 21] = [
    (0, "an answer", || Home::scripted().run(["infer", "hello"]).code),
    (0, "an answer that is cut", || Home::with_model().run(["infer", "hello", "--max-tokens", "1"]).code),
    (0, "an answer whose reader has gone", || {
        let home = Home::scripted();
        let mut command = home.command(["infer", "-q", "tokens 1000000 0 x"]);
        let mut child = command.spawn().expect("rbee starts");
        drop(child.stdout.take());
        child.wait().expect("rbee ends").code()
    }),
    (1, "an answer that somebody else cancels", || {
        let home = Home::scripted();
        let following = begun(&home);
        let jobs = home.ask(&["job", "list"]);
        let id = jobs["jobs"][0]["job_id"].as_str().expect("an id");
        assert_eq!(home.run(["job", "cancel", id]).code, Some(0));
        following.finish().0.code()
    }),
    (2, "a command that there is not", || Home::empty().run(["infre"]).code),
    (2, "a value that makes no sense", || Home::empty().run(["infer", "--temperature", "hot", "hello"]).code),
    (2, "no prompt", || Home::empty().run(["infer"]).code),
    (65, "a file that is no model", || {
        let home = Home::with_model();
        fs::write(home.path("bad.gguf"), "no model").expect("a file in the test's home");
        home.run(["infer".into(), "-m".into(), home.path("bad.gguf").into_os_string(), "hello".into()]).code
    }),
    (65, "a prompt that does not fit", || {
        let mut home = Home::with_model();
        home.set("RBEE_CONTEXT_LENGTH", "512");
        home.run(["infer", &"word ".repeat(600)]).code
    }),
    (66, "a model that there is not", || Home::scripted().run(["infer", "-m", "nosuch", "hello"]).code),
    (66, "a job that there is not", || Home::empty().run(["job", "show", "c0ffee"]).code),
    (69, "no queen", || Home::empty().run(["queen", "status"]).code),
    (69, "too little memory", || {
        let home = Home::scripted();
        let models = home.path("data/models");
        let large = models.join("large.gguf");
        fs::copy(models.join(format!("{}.gguf", crate::support::MODEL)), large).expect("another model");
        let other = begun(&home);
        let code = home.run(["infer", "-m", "large", "hello"]).code;
        other.signal(Signal::INT);
        other.finish();
        code
    }),
    (70, "a worker that dies", || {
        let home = Home::scripted();
        let following = begun(&home);
        kill_process(home.worker_pid(), Signal::KILL).expect("the worker runs");
        following.finish().0.code()
    }),
    (74, "a disk that is full", || {
        let home = Home::scripted();
        let mut command = home.command(["infer", "hello"]);
        command.stdout(File::options().write(true).open("/dev/full").expect("a full device"));
        command.status().expect("rbee starts").code()
    }),
    (75, "a job too many", || {
        let mut home = Home::scripted();
        home.set("RBEE_JOBS_PER_KEY", "1");
        let following = begun(&home);
        let code = home.run(["infer", "hello"]).code;
        following.signal(Signal::INT);
        following.finish();
        code
    }),
    (77, "a key that nobody has", || {
        let home = Home::scripted();
        assert_eq!(home.run(["status"]).code, Some(0));
        let (file, key) = (home.path("config/operator.key"), home.key());
        fs::write(&file, format!("{}\n", key.chars().rev().collect::<String>())).expect("the key file");
        let code = home.run(["status"]).code;
        fs::write(&file, key).expect("the key file");
        code
    }),
    (129, "a terminal that is closed during an answer", || signalled(Signal::HUP)),
    (130, "Ctrl-C in an answer", || signalled(Signal::INT)),
    (130, "Ctrl-C while the model is loaded", || {
        let home = Home::with_model();
        let mut following = home.follow(&["hello"]);
        following.until(is_progress("load"));
        following.signal(Signal::INT);
        following.finish().0.code()
    }),
    (143, "an answer that is told to end", || signalled(Signal::TERM)),
];

fn signalled(signal: Signal) -> Option<i32> {
    let home = Home::scripted();
    let following = begun(&home);
    following.signal(signal);
    following.finish().0.code()
}

/// An answer that goes on until somebody ends it.
fn begun(home: &Home) -> Following {
    let mut following = home.follow(&["tokens 1000000 20 x"]);
    following.until(is_token);
    following
}

#[test]
fn every_exit_code_of_the_contract_comes_when_it_says() {
    let help = Home::empty().run(["--help"]).stdout;
    let (_, codes) = help.split_once("Exit codes:\n").expect("the help lists them");
    let promised: BTreeSet<i32> =
        codes.lines().filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect();
    assert_eq!(promised, CASES.iter().map(|(code, ..)| *code).collect());
    for (code, what, run) in CASES {
        assert_eq!(run(), Some(code), "{what}");
    }
}
