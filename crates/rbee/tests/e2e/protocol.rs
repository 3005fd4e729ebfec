use std::collections::BTreeSet;

use rbee_protocol::ErrorCode;
use serde_json::Value;

use crate::document::run_blocks;
use crate::support::{Home, MODEL};

const DOCUMENT: &str = include_str!("../../../../docs/protocol.md");
#[test]
fn the_commands_in_the_protocols_document_print_what_it_says() {
    let home = Home::with_model();
    assert_eq!(home.run(["queen", "start"]).code, Some(0));
    run_blocks(DOCUMENT, &home.path("work"), |command| {
        command.env("RBEE_HOME", home.path(""));
    });
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
