//! `rbee infer`.

use std::path::{Path, absolute};

use anyhow::Result;
use rbee_protocol::{
    End, ErrorCode, FinishReason, InferRequest, Message, ModelRef, Operation, Role, SubmitRequest, Tool,
};
use serde_json::Value;

use crate::cli::{Infer, Output, Sampling};
use crate::commands::explain::rehearse;
use crate::connection::Connection;
use crate::error::Failure;
use crate::follow::{View, follow};
use crate::human;
use crate::printer::Printer;
use crate::prompt;
use crate::signals::Signals;

/// Submits the prompt, and prints the answer as it comes.
pub(crate) async fn infer(arguments: Infer, signals: &mut Signals, printer: &mut Printer) -> Result<u8> {
    let model = arguments.model.as_deref().map(model).transpose()?;
    let tools = arguments.tools.as_deref().map(tools).transpose()?.unwrap_or_default();
    let prompt = prompt::read(&arguments.prompt, arguments.no_stdin, printer).await?;
    let max_tokens = arguments.max_tokens;
    let (detached, dry_run) = (arguments.detach, arguments.dry_run);
    let json_schema = arguments.json_schema.as_deref().map(json_schema).transpose()?;
    let grammar = arguments.grammar.as_deref().map(read).transpose()?;
    let request = InferRequest { json_schema, grammar, tools, ..request(arguments, model, prompt) };
    let operation = Operation::Infer(request);

    let mut connection = Connection::open(printer).await?;
    let name = operation.name();
    let request = SubmitRequest { detached, ..SubmitRequest::new(operation) };
    let submitted = connection.client.submit(&request).await?;
    let job = submitted.job_id.clone();
    if dry_run {
        return rehearse(&connection.client, &job, printer).await;
    }
    if detached {
        match printer.output() {
            Output::Text => printer.page(&format!("{job}\n"))?,
            Output::Json | Output::Ndjson => printer.json(&submitted)?,
        }
        printer.note(&format!("`rbee job attach {job}` follows it, `rbee job cancel {job}` ends it"))?;
        return Ok(0);
    }
    let outcome = follow(View::of_ours(job, name), &mut connection, signals, printer).await?;
    if let Some(note) = cut_note(&outcome.end, max_tokens) {
        printer.note(&note)?;
    }
    Ok(outcome.exit_code()?)
}

fn request(arguments: Infer, model: Option<ModelRef>, prompt: String) -> InferRequest {
    let (messages, prompt) = if arguments.raw {
        (Vec::new(), Some(prompt))
    } else {
        let system = arguments.system.map(|content| Message::new(Role::System, content));
        (system.into_iter().chain([Message::new(Role::User, prompt)]).collect(), None)
    };
    InferRequest {
        model,
        messages,
        prompt,
        max_tokens: arguments.max_tokens,
        keep_alive_s: arguments.keep_alive.keep_alive_s,
        dry_run: arguments.dry_run,
        stop: arguments.stop,
        logprobs: arguments.logprobs,
        truncate: arguments.truncate,
        ..sampled(&arguments.sampling)
    }
}

/// A request for nothing yet, with its tokens chosen so.
pub(super) fn sampled(sampling: &Sampling) -> InferRequest {
    InferRequest {
        temperature: sampling.temperature,
        top_k: sampling.top_k,
        top_p: sampling.top_p,
        min_p: sampling.min_p,
        seed: sampling.seed,
        typical_p: sampling.typical_p,
        repetition_penalty: sampling.repetition_penalty,
        presence_penalty: sampling.presence_penalty,
        frequency_penalty: sampling.frequency_penalty,
        ..InferRequest::default()
    }
}

/// A schema that is given as such, or the one in a file.
fn json_schema(text: &str) -> Result<Value, Failure> {
    let is_file = !text.trim_start().starts_with('{') && !["true", "false"].contains(&text);
    let (name, json) =
        if is_file { (text, read(Path::new(text))?) } else { ("--json-schema", text.to_owned()) };
    serde_json::from_str(&json).map_err(|error| {
        let message = format!("{name} is no JSON: {error}");
        let code = if is_file { ErrorCode::BadData } else { ErrorCode::BadRequest };
        Failure::new(code, message, "give it a JSON Schema, or the path of a file with one")
    })
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|error| {
        let (code, hint) = match error.kind() {
            std::io::ErrorKind::NotFound => (ErrorCode::NotFound, "check the path"),
            std::io::ErrorKind::InvalidData => {
                (ErrorCode::BadData, "name a file of text in UTF-8, or convert it, e.g. with iconv")
            }
            _ => (ErrorCode::Io, "check the path and its permissions"),
        };
        Failure::new(code, format!("{} cannot be read: {error}", path.display()), hint)
    })
}

/// The tools that a file lists, as we write them or with OpenAI's wrapping.
fn tools(path: &Path) -> Result<Vec<Tool>, Failure> {
    let hint = "it is a JSON list: [{\"name\": …, \"description\": …, \"parameters\": {a JSON schema}}, …]";
    let name = path.display();
    let text = read(path)?;
    let bad = |error| Failure::new(ErrorCode::BadData, format!("{name} lists no tools: {error}"), hint);
    let listed: Vec<Value> = serde_json::from_str(&text).map_err(bad)?;
    let unwrapped = listed.into_iter().map(|mut tool| match tool.get_mut("function") {
        Some(function) => function.take(),
        None => tool,
    });
    unwrapped.map(serde_json::from_value).collect::<Result<_, _>>().map_err(bad)
}

/// What `text` names: a path, which is made absolute because the hive works in another folder, a place elsewhere, or a
/// model in a hive's store.
pub(super) fn model(text: &str) -> Result<ModelRef, Failure> {
    let model = ModelRef::new(text);
    // The hive says which of them it fetches.
    let is_url = text.contains("://");
    if model.is_elsewhere() || is_url || (!text.contains('/') && !text.ends_with(".gguf")) {
        return Ok(model);
    }
    if is_repository(text) && !Path::new(text).exists() {
        return Ok(ModelRef::new(format!("hf:{text}")));
    }
    let unusable = |why: &str| {
        let hint = "check the path; `rbee model list` shows the models that need none";
        Failure::new(ErrorCode::NotFound, format!("the model file {text} {why}"), hint)
    };
    let path = absolute(Path::new(text)).map_err(|error| unusable(&format!("cannot be found: {error}")))?;
    match path.metadata() {
        Ok(metadata) if metadata.is_file() => match path.to_str() {
            Some(path) => Ok(ModelRef::new(path)),
            None => Err(unusable("is in a folder whose name is not UTF-8 text")),
        },
        Ok(_) => Err(unusable("is not a file")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(unusable("does not exist")),
        Err(error) => Err(unusable(&format!("cannot be used: {error}"))),
    }
}

/// Whether this looks like `owner/repository`, with or without what is wanted of it.
fn is_repository(text: &str) -> bool {
    let (repository, wanted) = text.split_once(':').unwrap_or((text, ""));
    let is_plain = |name: &str| !name.is_empty() && !name.starts_with(['.', '~']) && !name.contains('/');
    repository.split_once('/').is_some_and(|(owner, name)| is_plain(owner) && is_plain(name))
        && (!wanted.is_empty() || !text.ends_with(".gguf"))
}

/// What to say about an answer that stops before its end.
pub(super) fn cut_note(end: &End, max_tokens: Option<u32>) -> Option<String> {
    if end.finish_reason != Some(FinishReason::Length) {
        return None;
    }
    let tokens = end.usage.as_ref().map_or(0, |usage| usage.completion_tokens);
    let count = human::count(tokens, "token");
    Some(match max_tokens {
        Some(max_tokens) if tokens >= max_tokens.into() => {
            format!("The answer was cut at {count} (--max-tokens {} allows more)", (2 * tokens).max(1))
        }
        _ => {
            format!(
                "The answer was cut at {count}: the model's context is full (a shorter prompt leaves more room)"
            )
        }
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use rbee_protocol::Usage;

    use super::*;
    use crate::cli::{Cli, Command};

    #[test]
    fn arguments_become_a_request() {
        let line = "rbee infer hi --system sys --temperature 0.5 --top-k 40 --top-p 0.9 --min-p 0.05 --seed 7 \
                    --max-tokens 9 --stop a --stop b --typical-p 0.9 --repetition-penalty 1.1 --presence-penalty -1 \
                    --frequency-penalty 0.5 --truncate --logprobs 2 --output json";
        let Some(Command::Infer(arguments)) =
            Cli::try_parse_from(line.split_whitespace()).expect("a command").command
        else {
            panic!("it is infer")
        };
        let request = request(*arguments, Some(ModelRef::new("m")), "hi".to_owned());
        let expected = InferRequest {
            model: Some(ModelRef::new("m")),
            messages: vec![Message::new(Role::System, "sys"), Message::new(Role::User, "hi")],
            max_tokens: Some(9),
            temperature: Some(0.5),
            top_k: Some(40),
            top_p: Some(0.9),
            min_p: Some(0.05),
            seed: Some(7),
            stop: vec!["a".into(), "b".into()],
            typical_p: Some(0.9),
            repetition_penalty: Some(1.1),
            presence_penalty: Some(-1.0),
            frequency_penalty: Some(0.5),
            truncate: true,
            logprobs: Some(2),
            ..Default::default()
        };
        assert_eq!(request, expected);
    }

    #[test]
    fn a_raw_prompt_is_no_message() {
        let Some(Command::Infer(arguments)) =
            Cli::try_parse_from(["rbee", "infer", "--raw", "Once"]).expect("a command").command
        else {
            panic!("it is infer")
        };
        let expected = InferRequest { prompt: Some("Once".into()), ..Default::default() };
        assert_eq!(request(*arguments, None, "Once".to_owned()), expected);
    }

    #[test]
    fn a_schema_is_given_as_such_or_in_a_file() {
        assert_eq!(
            json_schema(r#" {"type":"null"}"#).expect("a schema"),
            serde_json::json!({"type": "null"})
        );
        assert_eq!(json_schema("true").expect("a schema"), Value::Bool(true));
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("schema.json");
        std::fs::write(&path, "{}").expect("our own folder");
        assert_eq!(json_schema(path.to_str().expect("UTF-8")).expect("it exists"), serde_json::json!({}));
        assert_eq!(json_schema("{").expect_err("no JSON").exit_code(), 2);
        assert_eq!(json_schema("missing.json").expect_err("no file").exit_code(), 66);
        std::fs::write(&path, b"gr\xfcn").expect("our own folder");
        let Failure::Told { exit_code, hint, .. } = super::read(&path).expect_err("Latin-1") else {
            panic!("it is told")
        };
        assert!(exit_code == 65 && hint.is_some_and(|hint| hint.contains("UTF-8")));
    }

    #[test]
    fn tools_are_read_with_and_without_wrapping() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("tools.json");
        let read = |text: &str| {
            std::fs::write(&path, text).expect("our own folder");
            tools(&path)
        };
        let plain = read(r#"[{"name":"f","parameters":{"type":"object"}},{"name":"g"}]"#).expect("tools");
        let wrapped =
            r#"[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}},{"name":"g"}]"#;
        assert_eq!(read(wrapped).expect("tools"), plain);
        assert_eq!(plain[0].parameters.as_ref().expect("it has some")["type"], "object");
        for bad in ["", "{}", "[1]", "[{}]", r#"[{"name":"f","colour":1}]"#] {
            assert_eq!(read(bad).expect_err(bad).exit_code(), 65, "{bad}");
        }
        assert_eq!(tools(Path::new("/missing")).expect_err("it is not there").exit_code(), 66);
    }

    #[test]
    fn a_models_path_is_made_absolute_and_must_exist() {
        assert_eq!(model("smollm2").expect("a name").as_str(), "smollm2");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("m.gguf");
        std::fs::write(&path, "").expect("our own folder");
        let path = path.to_str().expect("UTF-8");
        assert_eq!(model(path).expect("it exists").as_str(), path);
        let here = model("./Cargo.toml").expect("tests run in the crate's folder");
        assert!(Path::new(here.as_str()).is_absolute(), "{here}");
        for missing in ["missing.gguf", "./missing", "/", "a/b.gguf", "../a/b", "a/b/c"] {
            assert_eq!(model(missing).expect_err(missing).exit_code(), 66);
        }
    }

    #[test]
    fn a_model_elsewhere_is_named_as_people_write_it() {
        for (text, expected) in [
            ("hf:a/b:Q4_K_M", "hf:a/b:Q4_K_M"),
            ("a/b", "hf:a/b"),
            ("a/b:c.gguf", "hf:a/b:c.gguf"),
            ("ollama:llama3.2:1b", "ollama:llama3.2:1b"),
            ("https://example.org/m.gguf", "https://example.org/m.gguf"),
        ] {
            assert_eq!(model(text).expect(text).as_str(), expected);
        }
    }

    #[test]
    fn an_answer_that_was_cut_is_mentioned() {
        let end = |completion_tokens| End {
            finish_reason: Some(FinishReason::Length),
            usage: Some(Usage { prompt_tokens: 1, cached_tokens: 0, completion_tokens }),
            ..End::succeeded()
        };
        let note = |tokens, max| cut_note(&end(tokens), max).expect("it was cut");
        assert_eq!(note(16, Some(16)), "The answer was cut at 16 tokens (--max-tokens 32 allows more)");
        assert!(note(512, None).contains("context is full"));
        assert!(note(100, Some(500)).contains("context is full"));
        assert_eq!(cut_note(&End { finish_reason: Some(FinishReason::Stop), ..end(16) }, Some(16)), None);
    }
}
