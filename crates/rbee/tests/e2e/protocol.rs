use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use rbee_protocol::ErrorCode;
use regex::Regex;
use serde_json::Value;

use crate::support::{Home, MODEL};

const DOCUMENT: &str = include_str!("../../../../docs/protocol.md");
/// How a block of commands begins that is run as it stands.
const RUN: &str = "```sh run\n";
/// What stands between the outputs of two blocks.
const NEXT: &str = "--- the next block ---";

/// The commands are run one block after the other, in one shell. What a block prints is what its last comments say, in
/// which `…` stands for any text, also of several lines.
#[test]
fn the_commands_in_the_protocols_document_print_what_it_says() {
    let blocks: Vec<(&str, String)> = DOCUMENT
        .split(RUN)
        .skip(1)
        .map(|rest| {
            let block = rest.split_once("```").expect("a block ends").0;
            (block, expected(block))
        })
        .collect();
    assert!(blocks.len() >= 6, "only {} blocks", blocks.len());

    let home = Home::with_model();
    assert_eq!(home.run(["queen", "start"]).code, Some(0));
    let folder = home.path("work");
    fs::create_dir(&folder).expect("a folder in the test's home");
    let commands: Vec<&str> = blocks.iter().map(|(block, _)| *block).collect();
    let script = format!("set -eu\n{}", commands.join(&format!("\necho '{NEXT}'\n")));
    let programs = Path::new(env!("CARGO_BIN_EXE_rbee")).parent().expect("a program is in a folder");
    let path = env::join_paths(
        [programs.to_owned()].into_iter().chain(env::split_paths(&env::var_os("PATH").unwrap_or_default())),
    );
    let output = Command::new("sh")
        .args(["-c", &script])
        .current_dir(&folder)
        .env("PATH", path.expect("no folder has a colon"))
        .env("RBEE_HOME", home.path(""))
        .stdin(Stdio::null())
        .output()
        .expect("there is a shell");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}\n{stderr}");
    let printed: Vec<&str> = stdout.split(&format!("{NEXT}\n")).collect();
    assert_eq!(printed.len(), blocks.len(), "{stdout}\n{stderr}");
    for ((block, expected), printed) in blocks.iter().zip(printed) {
        let pattern = regex::escape(expected).replace('…', ".*");
        let pattern = Regex::new(&format!("(?s)^{pattern}$")).expect("escaped text and wildcards");
        assert!(pattern.is_match(printed.trim_end()), "{block}\nprinted\n{printed}\n{stderr}");
    }
    assert!(DOCUMENT.contains(MODEL), "the document names the model that its commands were tried with");
}

fn schemas() -> Value {
    let description = include_str!("../../../../docs/openapi.json");
    let description: Value = serde_json::from_str(description).expect("it is JSON");
    description["components"]["schemas"].clone()
}

#[test]
fn the_protocols_document_has_every_error_with_its_status_and_exit_code() {
    let rows = DOCUMENT.lines().filter_map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let code = cells.get(1)?.strip_prefix('`')?.strip_suffix('`')?;
        Some((code.to_owned(), cells.get(2)?.parse::<u16>().ok()?, cells.get(3)?.parse::<u8>().ok()?))
    });
    let mut rows: Vec<_> = rows.collect();
    rows.sort();
    let codes = schemas()["ErrorCode"]["enum"].as_array().expect("the codes").clone();
    let mut expected: Vec<_> = codes
        .into_iter()
        .map(|code| {
            let parsed: ErrorCode = serde_json::from_value(code.clone()).expect("a code");
            (code.as_str().expect("a text").to_owned(), parsed.http_status(), parsed.exit_code())
        })
        .collect();
    expected.sort();
    assert_eq!(rows, expected);
}

#[test]
fn the_protocols_document_names_every_operation_event_field_and_value() {
    let schemas = schemas();
    let mut names = Vec::new();
    for request in schemas["SubmitRequest"]["oneOf"].as_array().expect("the operations") {
        collect_names(request, &mut names);
    }
    for schema in
        ["JobEvent", "Line", "Level", "Progress", "Phase", "Unit", "Token", "End", "EndState", "FinishReason"]
            .into_iter()
            .chain(["Usage", "Submitted", "JobInfo", "JobState", "CreateKey", "KeyRole", "Message", "Role"])
            .chain(["SystemEvent", "SystemEventKind", "WorkerRef", "JobRef", "StopRequest"])
            .chain(["Timings", "EmbedReport", "Pooling", "Embedding", "TokenLogprobs", "Logprob"])
            .chain(["ToolCallPart", "ToolCall", "Tool", "ToolChoice"])
    {
        assert!(schemas[schema].is_object(), "there is no {schema}");
        collect_names(&schemas[schema], &mut names);
    }
    assert!(names.len() > 60, "only {}", names.len());
    for name in names {
        let is_named = DOCUMENT.contains(&format!("`{name}`")) || DOCUMENT.contains(&format!("\"{name}\""));
        assert!(is_named, "the document does not name `{name}`");
    }
}

#[test]
fn the_protocols_document_names_every_figure_and_no_other() {
    let home = Home::empty();
    assert_eq!(home.run(["queen", "start"]).code, Some(0));
    let (status, text) = home.request("GET", "/metrics", "");
    assert_eq!(status, 200);
    let figures = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let rows = DOCUMENT.lines().filter_map(|line| line.strip_prefix("| `rbee_")?.split(" | ").next());
    let named = rows.flat_map(|row| row.split(", ")).map(|name| name.trim_matches('`'));
    let named = named.map(|name| format!("rbee_{}", name.trim_start_matches("rbee_")));
    assert_eq!(named.collect::<BTreeSet<_>>(), figures.map(str::to_owned).collect());
}

/// The fields that a schema has, and the values that it allows.
fn collect_names(schema: &Value, names: &mut Vec<String>) {
    let values = schema["enum"].as_array().into_iter().flatten().filter_map(Value::as_str);
    names.extend(values.map(str::to_owned));
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        names.push(name.clone());
        collect_names(field, names);
    }
    for part in ["oneOf", "allOf"].into_iter().filter_map(|keyword| schema[keyword].as_array()).flatten() {
        collect_names(part, names);
    }
}

/// What the comments at the end of a block say.
fn expected(block: &str) -> String {
    let lines: Vec<&str> = block.lines().collect();
    let comments = lines.iter().rev().take_while(|line| line.starts_with('#')).count();
    let said = lines[lines.len() - comments..].iter();
    let said: Vec<&str> =
        said.map(|line| line.trim_start_matches('#').strip_prefix(' ').unwrap_or("")).collect();
    said.join("\n").trim_end().to_owned()
}
