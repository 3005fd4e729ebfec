use std::collections::BTreeSet;
use std::fmt::Write;

use crate::hub::{Behaviour, Hub};
use crate::support::{Home, model_file};

/// What differs between runs and machines, and what stands for it.
const FILTERS: [(&str, &str); 25] = [
    (r"is better: rbee model pull \S+", "is better: rbee model pull [model]"),
    (r"job-[0-9a-f]{32}", "[job]"),
    (r"rbee_[A-Za-z0-9_-]{20,}", "[key]"),
    (r"http://127\.0\.0\.1:\d+", "[url]"),
    (r"/\S*?/(home|data|state|config)/", "[home]/$1/"),
    (r"/tmp/\.tmp\w+", "[home]"),
    (r"0\.1\.0", "[version]"),
    (r#""((?:\w+_)?(?:at_ms|ms|s|bytes|bytes_max|per_s)|pid|seq|threads|cores|port)":[\d.]+"#, r#""$1":[n]"#),
    (r#""(host|name)":"[^"]*""#, r#""$1":"[text]""#),
    (r#""instructions":\{[^}]*\}"#, r#""instructions":[facts]"#),
    (r#""devices":\[[^\]]*\]"#, r#""devices":[facts]"#),
    (r#""(detail|hint|message)":"[^"]*\d[^"]*""#, r#""$1":"[text with figures]""#),
    (r"\d+(\.\d+)? [GMK]i?B", "[size]"),
    (r"just now|\d+ (s|min|h|days) ago", "[ago]"),
    (r"\d+(\.\d+)? ?(ms|s|min)\b", "[time]"),
    (r"\d{4}-\d\d-\d\dT?[ \d:.Z]*", "[date] "),
    (r"\d\d:\d\d:\d\d(\.\d+)?", "[clock]"),
    (r"(?m)^(host +).*$", "$1[host]"),
    (r"(?m)^((?:pid|uptime|instructions|events|readers) +).*$", "$1[fact]"),
    (r"(?m)^cpu .*$", "cpu  [processor]"),
    (r"(?m)^nvidia .*\n", ""),
    (r"(idle|busy) +(\d+)/\d+ +\d+", "$1  $2/[slots]  [pid]"),
    (r"(?m) +$", ""),
    (r" {2,}", "  "),
    (r"(?m)process \d+|pid \d+|(ago\]) +\d+$", "$1 [pid]"),
];

/// Every command, by the words that name it.
fn commands(home: &Home) -> Vec<Vec<String>> {
    let mut found = vec![Vec::new()];
    let mut next = 0;
    while let Some(path) = found.get(next).cloned() {
        next += 1;
        let args: Vec<&str> = path.iter().map(String::as_str).chain(["--help"]).collect();
        let help = home.run(&args).stdout;
        let Some((_, rest)) = help.split_once("\nCommands:\n") else { continue };
        let names = rest.lines().take_while(|line| line.starts_with("  "));
        let names =
            names.filter(|line| !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next());
        found.extend(names.filter(|name| *name != "help").map(|name| {
            let mut path = path.clone();
            path.push(name.to_owned());
            path
        }));
    }
    found
}

#[test]
fn the_help_of_every_command_is_as_it_was() {
    let home = Home::empty();
    let mut text = String::new();
    for path in commands(&home) {
        let ran = home.run(path.iter().map(String::as_str).chain(["-h"]));
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{path:?}");
        let _ = write!(text, "$ rbee {} -h\n{}\n", path.join(" "), ran.stdout);
    }
    insta::assert_snapshot!("help", text);
}

/// What is run, in this order; `JOB` stands for the first job's id, and what begins with `HUB` for a file of a hub.
const LINES: &str = "\
rbee
rbee --nonsense
rbee infer -q --temperature 0 one two
rbee infer -q --output json hello
rbee infer --temperature hot hello
rbee infer -q -m nosuch hello
rbee infer -q --dry-run hello
rbee embed -q hello
rbee embed -q --output json hello
rbee embed -q -m nosuch hello
rbee chat -q -m nosuch
rbee chat --temperature hot
rbee status -q
rbee status -q --output json
rbee status nonsense
rbee hive status -q
rbee hive status -q --output json
rbee hive status -q nosuch
rbee hive list -q
rbee hive list -q --output json
rbee hive list nonsense
rbee hive pause -q
rbee hive pause -q --output json
rbee hive pause -q nosuch
rbee hive resume -q
rbee hive resume -q --output json
rbee hive resume -q nosuch
rbee worker list -q
rbee worker list -q --output json
rbee worker list nonsense
rbee worker start -q
rbee worker start -q --output json
rbee worker start -q -m nosuch
rbee worker drain -q worker-1
rbee worker drain -q --output json worker-9
rbee worker drain -q nosuch
rbee worker stop -q worker-9
rbee worker logs -q --nonsense
rbee model list -q
rbee model list -q --output json
rbee model list nonsense
rbee model pull -q HUB/first.gguf
rbee model pull -q --output json HUB/second.gguf
rbee model pull -q nosuch
rbee model show -q first
rbee model show -q --output json first
rbee model show -q nosuch
rbee model search -q tiny
rbee model search -q --output json tiny
rbee model search -q
rbee model verify -q
rbee model verify -q --output json
rbee model verify -q nosuch
rbee model rm -q first
rbee model rm -q --output json second
rbee model rm -q nosuch
rbee model alias -q gpt-4o SmolLM2-135M-Instruct.Q4_1
rbee model alias -q --output json --remove gpt-4o
rbee model alias -q
rbee job list -q
rbee job list -q nonsense
rbee job show -q JOB
rbee job show -q --output json JOB
rbee job show -q c0ffee
rbee job explain -q JOB
rbee job explain -q c0ffee
rbee job attach -q JOB
rbee job attach -q --output json JOB
rbee job attach -q c0ffee
rbee job logs -q JOB
rbee job logs -q c0ffee
rbee job cancel -q JOB
rbee job cancel -q --output json JOB
rbee job cancel -q c0ffee
rbee key create -q ada
rbee key create -q --output json bob
rbee key create -q Ada
rbee key list -q
rbee key list -q --output json
rbee key list nonsense
rbee key revoke -q ada
rbee key revoke -q --output json bob
rbee key revoke -q nobody
rbee events --after none
rbee queen start -q
rbee queen start nonsense
rbee queen status -q
rbee queen status -q --output json
rbee queen status nonsense
rbee queen logs nonsense
rbee queen run nonsense
rbee queen install --nonsense
rbee completions nonsense
rbee doctor nonsense
rbee queen stop -q
rbee queen status -q
rbee uninstall --dry-run -q
rbee uninstall -q
";

#[test]
fn the_tables_the_json_and_the_errors_of_every_command_are_as_they_were() {
    let hub = Hub::start();
    let model = std::fs::read(model_file()).expect("the test model");
    let [first, second] =
        ["first.gguf", "second.gguf"].map(|name| hub.file(name, model.as_slice(), Behaviour::default()));
    let mut home = Home::scripted();
    home.set("HF_ENDPOINT", hub.url());
    home.set("RBEE_SLOTS", "8");
    let known: BTreeSet<String> = commands(&home).into_iter().map(|path| path.join(" ")).collect();
    let is_missing = |command: &&String| {
        let whole = format!("rbee {command}");
        let begins = |line: &str| line == whole.trim_end() || line.starts_with(&format!("{whole} "));
        !LINES.lines().any(begins)
    };
    let missing: Vec<_> = known.iter().filter(is_missing).collect();
    assert!(missing.is_empty(), "lines for {missing:?}");

    let mut text = String::new();
    let mut job = String::new();
    for line in LINES.lines() {
        if line.contains("JOB") && job.is_empty() {
            let jobs = home.ask(&["job", "list"]);
            let jobs = jobs["jobs"].as_array().expect("a list");
            let first = jobs.iter().rfind(|job| job["operation"] == "infer").expect("an answer");
            job = first["job_id"].as_str().expect("an id").to_owned();
        }
        let line = line.replace("HUB/first.gguf", &first).replace("HUB/second.gguf", &second);
        let args: Vec<String> = line.split(' ').skip(1).map(|word| word.replace("JOB", &job)).collect();
        let ran = home.run(&args);
        let code = ran.code.expect("an exit code");
        let _ = write!(text, "$ {line}\n{}", ran.stdout);
        if !ran.stdout.is_empty() && !ran.stdout.ends_with('\n') {
            text.push('\n');
        }
        for line in ran.stderr.lines() {
            let _ = writeln!(text, "stderr: {line}");
        }
        let _ = write!(text, "exit code {code}\n\n");
    }
    insta::with_settings!({ filters => FILTERS.to_vec() }, {
        insta::assert_snapshot!("commands", text);
    });
}
