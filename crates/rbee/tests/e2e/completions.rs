use std::env;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::process::{Child, Command};

use crate::support::{Home, MODEL, Ran, programs};
use crate::terminal::start_on_a_terminal;

const SHELLS: [&str; 5] = ["bash", "elvish", "fish", "powershell", "zsh"];
/// A queen that a busy machine keeps from answering in time is asked again, as somebody would who sees nothing.
const TABS_MAX: usize = 300;

/// What `shell` is given to complete the last of these words.
fn complete(home: &Home, shell: &str, words: &[&str]) -> Vec<String> {
    let mut command = home.command(["--", "rbee"].iter().chain(words));
    let last = words.len().to_string();
    let ran = command.env("RBEE_COMPLETE", shell).env("_CLAP_COMPLETE_INDEX", last).output();
    let ran = Ran::from(ran.expect("rbee starts"));
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{words:?}");
    // What a shell shows beside a word stands behind a tab, and in zsh behind a colon.
    let word = |line: &str| {
        let end = if shell == "zsh" { line.find(':') } else { line.find('\t') };
        line[..end.unwrap_or(line.len())].to_owned()
    };
    ran.stdout.lines().map(word).collect()
}

/// What completes the last of these words, once it is among it or `expected` is empty.
fn complete_with(home: &Home, words: &[&str], expected: &str) -> Vec<String> {
    for _ in 0..TABS_MAX {
        let found = complete(home, "fish", words);
        if found.iter().any(|found| found == expected) {
            return found;
        }
    }
    panic!("{words:?} is never completed with {expected}");
}

#[test]
fn every_shell_is_given_commands_options_and_their_values_without_a_queen() {
    let home = Home::empty();
    for shell in SHELLS {
        let script = home.run(["completions", shell]);
        assert_eq!(script.code, Some(0), "{}", script.stderr);
        assert!(script.stdout.contains("RBEE_COMPLETE"), "{shell}");
        assert_eq!(complete(&home, shell, &["hi"]), ["hive"], "{shell}");
        assert_eq!(complete(&home, shell, &["hive", "st"]), ["status"], "{shell}");
        assert_eq!(complete(&home, shell, &["job", "list", "--al"]), ["--all"], "{shell}");
        assert_eq!(complete(&home, shell, &["--output=nd"]), ["--output=ndjson"], "{shell}");
        assert_eq!(complete(&home, shell, &["infer", "-m", "a"]), [""; 0], "{shell}");
    }
    assert!(!home.path("state").exists() && !home.path("config").exists(), "completing has left something");
}

#[test]
fn names_are_those_that_the_running_queen_knows() {
    let home = Home::scripted();
    assert_eq!(home.run(["infer", "hello"]).code, Some(0));
    home.new_key("ada");
    assert_eq!(home.run(["model", "alias", "gpt-4o", MODEL]).code, Some(0));
    let jobs = home.ask(&["job", "list"]);
    let mut jobs = jobs["jobs"].as_array().expect("a list of jobs").iter();
    let id = jobs.find_map(|job| (job["operation"] == "infer").then(|| job["job_id"].as_str())).flatten();
    let id = id.expect("the id of the inference");
    for (words, expected) in [
        (&["infer", "-m", ""][..], MODEL),
        (&["infer", "-m", "gpt"], "gpt-4o"),
        (&["worker", "start", "--model=Smol"], &format!("--model={MODEL}")),
        (&["model", "rm", "S"], MODEL),
        (&["model", "alias", ""], "gpt-4o"),
        (&["hive", "status", ""], "local"),
        (&["worker", "stop", "w"], "worker-1"),
        (&["job", "show", "job-"], id),
        (&["key", "revoke", ""], "ada"),
    ] {
        complete_with(&home, words, expected);
    }
    assert!(!complete_with(&home, &["infer", "-m", "Smol"], MODEL).contains(&"gpt-4o".to_owned()));
    // It has ended.
    assert!(!complete(&home, "fish", &["job", "cancel", "job-"]).contains(&id.to_owned()));
}

#[test]
fn a_name_that_a_shell_would_not_take_for_itself_is_not_offered() {
    let home = Home::with_model();
    let models = home.path("data/models");
    for name in ["plain", "$(reboot)", "two words", "`x`", "-rf"] {
        fs::hard_link(models.join(format!("{MODEL}.gguf")), models.join(format!("{name}.gguf")))
            .expect("a model of another name");
    }
    assert!(home.run(["model", "list"]).stdout.contains("$(reboot)"));
    let mut found = complete_with(&home, &["model", "show", ""], "plain");
    found.retain(|word| !word.starts_with("--") && word.len() > 2);
    assert_eq!(found, [MODEL, "plain"]);
}

/// The shell `name`, which finds our `rbee` first, where there is that shell.
fn shell(home: &Home, name: &str, args: &[&str]) -> Option<Command> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders: Vec<_> = [programs()].into_iter().chain(env::split_paths(&path)).collect();
    folders.iter().find(|folder| folder.join(name).is_file())?;
    let mut command = home.command_of(name, args);
    command.env("PATH", env::join_paths(folders).expect("folders of a PATH"));
    command.env("PS1", "ready> ").current_dir(home.path(""));
    Some(command)
}

/// A shell on a terminal.
struct Typing {
    shell: Child,
    terminal: File,
}

impl Typing {
    fn start(shell: Command) -> Self {
        let (shell, terminal) = start_on_a_terminal(shell);
        let mut typing = Self { shell, terminal };
        typing.read_until(|screen| screen.contains("ready> "));
        typing
    }

    /// Types the beginning of a line and TAB, and returns what the line has become.
    fn complete(&mut self, line: &str) -> String {
        // From the line's beginning on, a command that prints the rest.
        self.run(&format!("{line}\t\u{1}echo $((6 * 7)) "))
    }

    /// Runs a line that prints 42 and something.
    fn run(&mut self, line: &str) -> String {
        self.terminal.write_all(format!("{line}\n").as_bytes()).expect("the shell reads");
        let printed = |screen: &str| Some(screen.split_once("42 ")?.1.split_once('\r')?.0.to_owned());
        printed(&self.read_until(|screen| printed(screen).is_some())).expect("it was read so far")
    }

    fn read_until(&mut self, is_enough: impl Fn(&str) -> bool) -> String {
        let mut screen = Vec::new();
        loop {
            let mut buffer = [0; 4096];
            let count = self.terminal.read(&mut buffer).expect("the shell goes on");
            screen.extend_from_slice(&buffer[..count]);
            let text = String::from_utf8_lossy(&screen);
            if is_enough(&text) {
                return text.into_owned();
            }
        }
    }
}

impl Drop for Typing {
    fn drop(&mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

/// What every shell that is typed into is to make of a line.
fn check_typed(home: &Home, typing: &mut Typing) {
    fs::create_dir_all(home.path("models")).expect("a folder in the test's home");
    for name in ["tiny one.gguf", "notes.txt"] {
        fs::write(home.path("models").join(name), "").expect("a file in the test's home");
    }
    for (line, expected) in [
        ("rbee hi\tsta", "rbee hive status"),
        ("rbee --output=j", "rbee --output=json"),
        ("rbee --output nd\thive li", "rbee --output ndjson hive list"),
        ("rbee completions --color=al\tba", "rbee completions --color=always bash"),
        ("rbee infer -m ./mo\tti", "rbee infer -m ./models/tiny one.gguf"),
        ("rbee model show ./models/n", "rbee model show ./models/n"),
    ] {
        assert_eq!(typing.complete(line).trim_end(), expected, "{line}");
    }
    assert!((0..TABS_MAX).any(|_| typing.complete("rbee key revoke a").trim_end() == "rbee key revoke ada"));
    assert!(
        (0..TABS_MAX)
            .any(|_| typing.complete("rbee model alias gpt:4").trim_end() == "rbee model alias gpt:4o")
    );
}

#[test]
fn bash_completes_what_is_typed() {
    let home = Home::scripted();
    home.new_key("ada");
    assert_eq!(home.run(["model", "alias", "gpt:4o", MODEL]).code, Some(0));
    let bash = shell(&home, "bash", &["--norc", "--noprofile", "-i"]).expect("`./rbee` needs bash as well");
    let mut typing = Typing::start(bash);
    typing.run("source <(rbee completions bash); echo $((6 * 7)) ready");
    check_typed(&home, &mut typing);
}

#[test]
fn zsh_completes_what_is_typed_where_there_is_one() {
    let home = Home::scripted();
    let Some(zsh) = shell(&home, "zsh", &["-f", "-i"]) else { return };
    home.new_key("ada");
    assert_eq!(home.run(["model", "alias", "gpt:4o", MODEL]).code, Some(0));
    let mut typing = Typing::start(zsh);
    // The file is run by the first TAB.
    fs::create_dir_all(home.path("functions")).expect("a folder in the test's home");
    typing.run("rbee completions zsh > functions/_rbee; fpath+=($PWD/functions); echo $((6 * 7)) ready");
    typing.run("autoload -Uz compinit; compinit -u -D; echo $((6 * 7)) ready");
    check_typed(&home, &mut typing);
}

#[test]
fn fish_completes_what_is_typed_where_there_is_one() {
    let home = Home::scripted();
    let completed = |line: &str| {
        let script = format!("rbee completions fish | source; complete --do-complete '{line}'");
        let mut fish = shell(&home, "fish", &["--no-config", "--command", &script])?;
        Some(Ran::from(fish.output().expect("fish starts")).stdout)
    };
    let Some(commands) = completed("rbee hi") else { return };
    home.new_key("ada");
    assert!(commands.starts_with("hive\t"), "{commands}");
    assert!((0..TABS_MAX).any(|_| completed("rbee key revoke a").as_deref() == Some("ada\tuser\n")));
}
