use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::schema::problems;
use crate::support::{Home, MODEL};

const LISTS: &str = include_str!("../../../../docs/cli-json.md");
const DESCRIPTION: &str = include_str!("../../../../docs/openapi.json");

/// Compares a command's stdout with a snapshot in which what differs between runs has fixed names.
macro_rules! assert_shown {
    ($home:expr, $args:expr, @$expected:literal) => {{
        let ran = $home.run($args);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        insta::with_settings!({ filters => vec![
            (r"job-[0-9a-f]{32}", "[job]"),
            (r"\d+\.\d [GM]iB", "[size]"),
            (r"http://127\.0\.0\.1:\d+", "[url]"),
            (r"(host +)\S+", "$1[host]"),
            (r"((?:pid|version|uptime|instructions) +)\S.*", "$1[fact]"),
            (r"(?m)^cpu .*$", "cpu  [processor]"),
            (r"(idle|busy) +(\d+)/\d+ +\d+", "$1  $2/[slots]  [pid]"),
            (r"/\S+\.gguf", "[path]"),
            (r" +\n", "\n"),
            (r" {2,}", "  "),
        ] }, {
            insta::assert_snapshot!(ran.stdout, @$expected);
        });
    }};
}

#[test]
fn hive_status_shows_devices_memory_models_and_workers() {
    let home = Home::with_model();
    assert_shown!(home, ["hive", "status"], @r"
    hive  local
    host  [host]
    version  [fact]
    pid  [fact]
    uptime  [fact]
    state  ready
    memory  [size] free of [size]
    instructions  [fact]

    Devices
    KIND  NAME  CORES  THREADS  MEMORY  FREE
    cpu  [processor]

    Models
    MODEL  HIVE  SIZE  WEIGHTS  STATE  PATH
    SmolLM2-135M-Instruct.Q4_1  local  [size]  135M Q4_1  here, default  [path]

    Workers
    no workers: the first `rbee infer` starts one
    ");
    assert_eq!(home.run(["infer", "hello", "--max-tokens", "1"]).code, Some(0));
    let report = home.ask(&["hive", "status"]);
    assert_eq!(report["hive"], "local");
    assert!(report["memory_total_bytes"].as_u64() > report["memory_available_bytes"].as_u64());
    assert_eq!(report["devices"][0]["kind"], "cpu");
    assert_eq!(report["models"][0]["model"], MODEL);
    assert_eq!(report["workers"][0]["state"], "idle");
}

#[test]
fn lists_are_tables_and_json() {
    let home = Home::with_model();
    assert_shown!(home, ["worker", "list"], @"no workers: the first `rbee infer` starts one");
    assert_shown!(home, ["hive", "list"], @r"
    HIVE  STATE  WORKERS  JOBS  REASON
    local  ready  0  0
    ");
    assert_shown!(home, ["model", "list"], @r"
    MODEL  HIVE  SIZE  WEIGHTS  STATE  PATH
    SmolLM2-135M-Instruct.Q4_1  local  [size]  135M Q4_1  here, default  [path]
    ");
    assert_eq!(home.run(["infer", "hello", "--max-tokens", "1"]).code, Some(0));
    assert_shown!(home, ["worker", "list"], @r"
    WORKER  HIVE  MODEL  STATE  JOBS  PID
    worker-1  local  SmolLM2-135M-Instruct.Q4_1  idle  0/[slots]  [pid]
    ");
    assert_eq!(home.ask(&["model", "list"])["models"][0]["default"], true);
    assert_eq!(home.ask(&["status"])["hives"][0]["state"], "ready");
}

#[test]
fn a_job_can_be_listed_shown_and_read_again() {
    let home = Home::scripted();
    let first = home.run(["infer", "once upon a time"]);
    let jobs = home.ask(&["job", "list"]);
    let job = &jobs["jobs"].as_array().and_then(|jobs| jobs.first()).expect("the job is listed")["job_id"];
    let id = job.as_str().expect("an id");
    assert_eq!(home.ask(&["job", "show", id])["state"], "succeeded");
    let logs = home.run(["job", "logs", &id[..12]]);
    assert_eq!((logs.code, &logs.stdout), (Some(0), &first.stdout), "{}", logs.stderr);
    assert!(logs.stderr.contains("job_create"), "{}", logs.stderr);
}

#[test]
fn a_job_that_failed_is_shown_with_the_reason() {
    let home = Home::scripted();
    let failed = home.run(["infer", "-q", "-m", "nosuch", "hello"]);
    let id = home.ask(&["job", "list"])["jobs"][0]["job_id"].as_str().expect("it is listed").to_owned();
    let shown = home.run(["job", "show", "-q", &id]);
    assert!(shown.stdout.ends_with(&format!("\n\n{}", failed.stderr)), "{}\n{}", shown.stdout, failed.stderr);
    let job = home.ask(&["job", "show", &id]);
    assert_eq!((&job["state"], &job["error"]["code"]), (&"failed".into(), &"not_found".into()), "{job}");
    assert!(job["error"]["hint"].is_string(), "{job}");
    assert_eq!(home.run(["infer", "hello"]).code, Some(0));
    let last = home.ask(&["job", "list"])["jobs"][0]["job_id"].as_str().expect("it is listed").to_owned();
    assert!(home.ask(&["job", "show", &last]).get("error").is_none());
}

/// The rows of the table that follows `heading`, each with its cells.
fn rows<'a>(heading: &str, columns: usize) -> Vec<Vec<&'a str>> {
    let (_, below) = LISTS.split_once(heading).expect(heading);
    let rows = below.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    let rows = rows.map_while(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let rows: Vec<Vec<_>> = rows.map(|row| row.split(" | ").collect()).collect();
    assert!(!rows.is_empty() && rows.iter().all(|row| row.len() == columns), "{heading}: {rows:?}");
    rows
}

fn code(cell: &str) -> &str {
    cell.strip_prefix('`').and_then(|cell| cell.strip_suffix('`')).expect(cell)
}

#[test]
fn lists_in_json_are_as_their_document_says() {
    let description: Value = serde_json::from_str(DESCRIPTION).expect("JSON");
    let mut home = Home::scripted();
    // Nobody is to be asked: the short names are enough.
    home.set("HF_ENDPOINT", "http://127.0.0.1:9");
    assert_eq!(home.run(["infer", "hello"]).code, Some(0));

    for row in rows("| command | the list |", 3) {
        let [command, list, kind] = row[..] else { unreachable!("they are counted") };
        let (list, kind) = (code(list), code(kind));
        let words: Vec<_> = code(command).strip_prefix("rbee ").expect(command).split(' ').collect();
        let answer = home.ask(&words);
        let entries = answer[list].as_array().unwrap_or_else(|| panic!("{command}: {answer}"));
        assert_eq!(answer.as_object().map(|fields| fields.len()), Some(1), "{command}: {answer}");
        assert!(!entries.is_empty(), "{command}");
        let schema = json!({"$ref": format!("#/components/schemas/{kind}")});
        for entry in entries {
            let problems = problems(&description, &schema, entry);
            assert!(problems.is_empty(), "{command}: {problems:?} in {entry}");
            assert!(entry.as_object().expect("an object").values().all(|value| !value.is_null()), "{entry}");
        }

        let schema = &description["components"]["schemas"][kind];
        let required = schema["required"].as_array().expect("a list of names");
        let fields = schema["properties"].as_object().expect("schemas by name").keys();
        let described: BTreeMap<_, _> = fields
            .map(|field| (field.as_str(), if required.contains(&json!(field)) { "always" } else { "maybe" }))
            .collect();
        let told: BTreeMap<_, _> =
            rows(&format!("## `{kind}`"), 3).into_iter().map(|row| (code(row[0]), row[1])).collect();
        assert_eq!(told, described, "{kind}");
    }
}
