//! Answers of a form, with a real, small model.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::*;
use crate::engine::tests::{TestEngine, greedy, request};
use crate::request::{FinishReason, GenerateEvent, GenerateRequest, Message, Role, Sampling};
use crate::slots::{Begin, Ended};

/// A compiler of forms with as much stack as the worker gives it.
fn compile(engine: &TestEngine, form: &Form) -> Result<Constraint, EngineError> {
    let constraints = engine.engine.constraints();
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(64 << 20);
        let compiling = thread.spawn_scoped(scope, || constraints.compile(form)).expect("a thread starts");
        compiling.join().expect("it does not panic")
    })
}

fn with(engine: &TestEngine, form: &Form, request: GenerateRequest) -> GenerateRequest {
    let constraint = compile(engine, form).unwrap_or_else(|error| panic!("{error}: {form:?}"));
    GenerateRequest { constraint: Some(constraint), ..request }
}

fn gbnf(text: &str) -> Form {
    Form::Gbnf(text.to_owned())
}

/// The answers to several requests at once: each text, and why it ended.
fn answers(engine: &mut TestEngine, requests: &[GenerateRequest]) -> Vec<(String, FinishReason)> {
    let engine = &mut engine.engine;
    let (mut slots, mut texts, mut ends) = (Vec::new(), HashMap::new(), HashMap::new());
    let mut waiting = requests.iter().map(|request| engine.prompter().prepare(request).expect("it fits"));
    let mut waiting: std::collections::VecDeque<_> = waiting.by_ref().collect();
    while slots.len() < requests.len() || engine.busy() > 0 {
        while let Some(prompt) = waiting.pop_front() {
            match engine.begin(prompt).expect("there are random numbers") {
                Begin::Begun(slot) => slots.push(slot),
                Begin::Full(prompt) => {
                    waiting.push_front(prompt);
                    break;
                }
            }
        }
        let ended = engine.step(&|_| false, &mut |slot, event| {
            if let GenerateEvent::Token { text, .. } = event {
                texts.entry(slot).or_insert_with(String::new).push_str(text);
            }
        });
        for Ended { slot, outcome } in ended {
            ends.insert(slot, outcome.expect("it is answered").finish_reason);
        }
    }
    slots.iter().map(|slot| (texts.remove(slot).unwrap_or_default(), ends[slot])).collect()
}

type Check = fn(&Value) -> bool;

fn is_string(value: &Value, least: usize, most: usize) -> bool {
    value.as_str().is_some_and(|text| (least..=most).contains(&text.chars().count()))
}

/// Schemas, with what meets them.
fn schemas() -> Vec<(Value, Check)> {
    let word = json!({"type": "string", "maxLength": 12});
    vec![
        (json!({"type": "null"}), Value::is_null),
        (json!({"type": "boolean"}), Value::is_boolean),
        (json!({"type": "integer", "minimum": 3, "maximum": 250}), |v| {
            v.as_i64().is_some_and(|n| (3..=250).contains(&n))
        }),
        (json!({"type": "number", "exclusiveMinimum": 0, "maximum": 1}), |v| {
            v.as_f64().is_some_and(|n| n > 0.0 && n <= 1.0)
        }),
        (json!({"type": "string", "minLength": 3, "maxLength": 9}), |v| is_string(v, 3, 9)),
        (json!({"const": "only this"}), |v| v == "only this"),
        (json!({"enum": ["red", "green", 7, null]}), |v| {
            [json!("red"), json!("green"), json!(7), Value::Null].contains(v)
        }),
        (json!({"type": "string", "pattern": "^[A-Z]{2}-[0-9]{4}$"}), |v| {
            let bytes = v.as_str().unwrap_or_default().as_bytes().to_vec();
            bytes.len() == 7
                && bytes[..2].iter().all(u8::is_ascii_uppercase)
                && bytes[2] == b'-'
                && bytes[3..].iter().all(u8::is_ascii_digit)
        }),
        (json!({"type": "string", "format": "date"}), |v| {
            is_string(v, 10, 10) && v.as_str().is_some_and(|text| text.as_bytes()[4] == b'-')
        }),
        (
            json!({"type": "array", "items": {"type": "integer", "maximum": 99, "minimum": 0}, "minItems": 2, "maxItems": 4}),
            |v| {
                v.as_array()
                    .is_some_and(|items| (2..=4).contains(&items.len()) && items.iter().all(Value::is_u64))
            },
        ),
        (
            json!({"type": "array", "prefixItems": [{"type": "boolean"}, {"type": "null"}], "items": false, "minItems": 2}),
            |v| {
                v.as_array()
                    .is_some_and(|items| items.len() == 2 && items[0].is_boolean() && items[1].is_null())
            },
        ),
        (
            json!({"type": "object", "properties": {"name": word, "age": {"type": "integer", "minimum": 0, "maximum": 150}},
                "required": ["name", "age"], "additionalProperties": false}),
            |v| {
                v.as_object().is_some_and(|object| object.len() == 2)
                    && is_string(&v["name"], 0, 12)
                    && v["age"].as_u64().is_some_and(|age| age <= 150)
            },
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "boolean"}, "b": word}, "additionalProperties": false}),
            |v| {
                v.as_object().is_some_and(|object| object.keys().all(|key| key == "a" || key == "b"))
                    && (v["a"].is_null() || v["a"].is_boolean())
            },
        ),
        (
            json!({"type": "object", "properties": {"point": {"$ref": "#/$defs/point"}}, "required": ["point"],
                "additionalProperties": false, "$defs": {"point": {"type": "object", "properties": {
                    "x": {"type": "integer", "minimum": 0, "maximum": 9}, "y": {"type": "integer", "minimum": 0, "maximum": 9}},
                    "required": ["x", "y"], "additionalProperties": false}}}),
            |v| v["point"]["x"].is_u64() && v["point"]["y"].is_u64(),
        ),
        (json!({"anyOf": [{"type": "boolean"}, {"type": "string", "maxLength": 6}]}), |v| {
            v.is_boolean() || is_string(v, 0, 6)
        }),
        (
            json!({"oneOf": [{"type": "null"}, {"type": "array", "items": {"type": "null"}, "maxItems": 3}]}),
            |v| v.is_null() || v.as_array().is_some_and(|items| items.iter().all(Value::is_null)),
        ),
        (json!({"allOf": [{"type": "integer", "minimum": 3}, {"maximum": 7}]}), |v| {
            v.as_i64().is_some_and(|n| (3..=7).contains(&n))
        }),
        (json!({"type": ["integer", "null"], "minimum": -5, "maximum": 5}), |v| {
            v.is_null() || v.as_i64().is_some_and(|n| (-5..=5).contains(&n))
        }),
        (json!({"type": "integer", "multipleOf": 5, "minimum": 5, "maximum": 995}), |v| {
            v.as_i64().is_some_and(|n| n % 5 == 0 && n > 0)
        }),
        (
            json!({"type": "object", "properties": {"tags": {"type": "array", "items": {"enum": ["x", "y"]}, "minItems": 1, "maxItems": 3}},
                "required": ["tags"], "additionalProperties": false}),
            |v| v["tags"].as_array().is_some_and(|tags| tags.iter().all(|tag| tag == "x" || tag == "y")),
        ),
    ]
}

#[test]
fn answers_meet_their_schemas() {
    let mut engine = TestEngine::load();
    let schemas = schemas();
    let mut requests = Vec::new();
    for (schema, _) in &schemas {
        for (temperature, seed) in [(0.0, 0), (1.0, 1), (2.0, 2)] {
            let mut asked = request("Describe Anna, who is 42, in JSON.", temperature);
            asked.sampling.seed = Some(seed);
            asked.max_tokens = Some(100);
            requests.push(with(&engine, &Form::JsonSchema(schema.clone()), asked));
        }
    }
    let answers = answers(&mut engine, &requests);
    for (index, (text, finish_reason)) in answers.iter().enumerate() {
        let (schema, check) = &schemas[index / 3];
        if schema["type"] == "number" && *finish_reason == FinishReason::Length {
            // A number may have digits without end.
            continue;
        }
        assert_eq!(*finish_reason, FinishReason::Stop, "{schema}: {text}");
        let value: Value =
            serde_json::from_str(text).unwrap_or_else(|error| panic!("{schema}: {text:?}: {error}"));
        assert!(check(&value), "{schema}: {text}");
    }
}

#[test]
fn any_json_is_json() {
    let mut engine = TestEngine::load();
    for schema in [json!(true), json!({}), json!({"type": "object"})] {
        let asked = GenerateRequest { max_tokens: Some(300), ..greedy("Describe Anna, who is 42, in JSON.") };
        let asked = with(&engine, &Form::JsonSchema(schema.clone()), asked);
        let (text, finish_reason) = answers(&mut engine, &[asked]).remove(0);
        if finish_reason == FinishReason::Stop {
            serde_json::from_str::<Value>(&text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
        }
        assert!(schema["type"] != "object" || text.starts_with('{'), "{text:?}");
    }
}

#[test]
fn a_grammar_decides_what_is_said_and_where_it_ends() {
    let mut engine = TestEngine::load();
    for (grammar, expected) in [
        (r#"root ::= "yes" | "no""#, &["yes", "no"][..]),
        (r#"root ::= "Bonjour, " [A-Z] "!""#, &["Bonjour, "]),
        ("root ::= [0-9]{3} \"-\" [0-9]{3}", &[""]),
        ("root ::= \"🦀é\"", &["🦀é"]),
    ] {
        let asked =
            with(&engine, &gbnf(grammar), GenerateRequest { max_tokens: Some(40), ..greedy("hello") });
        let (text, finish_reason) = answers(&mut engine, &[asked]).remove(0);
        assert_eq!(finish_reason, FinishReason::Stop, "{text:?}");
        assert!(expected.iter().any(|expected| text.starts_with(expected)), "{text:?}");
    }
    // Not a token more than it takes.
    let asked = with(&engine, &gbnf("root ::= \"a\""), greedy("hello"));
    let (generated, pieces) = engine.run(&asked);
    assert_eq!((pieces.concat().as_str(), generated.completion_tokens), ("a", 1));
}

#[test]
fn an_answer_ends_where_the_model_wants_if_the_grammar_lets_it() {
    let mut engine = TestEngine::load();
    let asked = with(&engine, &gbnf("root ::= .*"), greedy("hello"));
    let (generated, pieces) = engine.run(&asked);
    assert_eq!(pieces.concat(), "Hello! How can I assist you today?");
    assert_eq!(generated.finish_reason, FinishReason::Stop);
}

#[test]
fn a_token_limit_and_a_stop_string_end_an_answer_within_its_form() {
    let mut engine = TestEngine::load();
    let list = gbnf("root ::= (\"- \" [a-z]+ \"\\n\")+");
    let asked = with(&engine, &list, GenerateRequest { max_tokens: Some(5), ..greedy("List fruits.") });
    let (text, finish_reason) = answers(&mut engine, &[asked]).remove(0);
    assert_eq!(finish_reason, FinishReason::Length);
    assert!(text.starts_with("- "), "{text:?}");
    let asked =
        GenerateRequest { stop: vec!["\n-".to_owned()], max_tokens: Some(40), ..greedy("List fruits.") };
    let asked = with(&engine, &list, asked);
    let (text, finish_reason) = answers(&mut engine, &[asked]).remove(0);
    assert_eq!(finish_reason, FinishReason::Stop);
    assert!(text.starts_with("- ") && !text.contains('\n'), "{text:?}");
}

#[test]
fn no_grammar_lets_a_control_token_in() {
    let mut engine = TestEngine::load();
    let control = engine.engine.model.vocab().tokenize(b"<|im_start|>", false, true)[0];
    let asked = GenerateRequest {
        sampling: Sampling {
            temperature: 0.0,
            logit_bias: vec![(control.0 as u32, 100.0)],
            ..Sampling::default()
        },
        max_tokens: Some(12),
        ..greedy("hello")
    };
    let asked = with(&engine, &gbnf("root ::= .{4,}"), asked);
    let mut prompt = engine.engine.prompter().prepare(&asked).expect("it fits");
    prompt.scope = Some("a".to_owned());
    let before = prompt.tokens.len();
    engine.engine.generate(prompt, &|| false, &mut |_| {}).expect("it is answered");
    let tokens =
        engine.engine.slots.iter().map(|slot| slot.held()).max_by_key(|held| held.len()).expect("a slot");
    assert!(tokens.len() > before && !tokens[before..].contains(&control));
}

/// A prompt whose answer repeats it, so that drafts are many.
fn repeating(temperature: f32) -> GenerateRequest {
    let say = |role, content: &str| Message::new(role, content);
    let json = r#"[{"name": "Anna", "age": 42}, {"name": "Bert", "age": 43}, {"name": "Cleo", "age": 44}]"#;
    let mut asked = request("Write three people as JSON.", temperature);
    asked.messages.push(say(Role::Assistant, json));
    asked.messages.push(say(Role::User, "Write the same again."));
    asked.sampling.seed = Some(3);
    asked.max_tokens = Some(90);
    asked
}

#[test]
fn drafts_do_not_change_an_answer_with_a_form_penalties_or_bias() {
    let mut engine = TestEngine::load();
    let person = json!({"type": "object", "properties": {"name": {"type": "string", "maxLength": 9},
        "age": {"type": "integer", "minimum": 0, "maximum": 99}}, "required": ["name", "age"], "additionalProperties": false});
    let schema = Form::JsonSchema(json!({"type": "array", "items": person, "minItems": 2, "maxItems": 4}));
    let mut penalised = repeating(0.0);
    penalised.sampling.repetition_penalty = 1.05;
    penalised.sampling.frequency_penalty = 0.05;
    penalised.sampling.penalty_last_n = 30;
    let mut biased = repeating(0.6);
    biased.sampling.logit_bias = vec![(28, 3.0), (34, -2.0)];
    for asked in [
        penalised,
        biased,
        with(&engine, &schema, repeating(0.0)),
        with(&engine, &schema, repeating(0.7)),
        with(&engine, &gbnf("root ::= [^\\n]+"), repeating(0.0)),
    ] {
        engine.engine.can_cut = false;
        let (_, without) = engine.run(&asked);
        engine.engine.can_cut = true;
        let (_, drafted) = engine.run(&asked);
        assert_eq!(drafted.concat(), without.concat());
    }
}

#[test]
fn what_cannot_be_met_or_is_too_much_is_refused_soon() {
    let engine = TestEngine::load();
    let constraints = engine.engine.constraints();
    constraints.warm_up().expect("the vocabulary is usable");
    let mut wrong = Vec::new();
    for form in hostile() {
        let began = Instant::now();
        let compiled = std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().stack_size(64 << 20);
            let compiling =
                thread.spawn_scoped(scope, || constraints.compile(&form)).expect("a thread starts");
            compiling.join().expect("it does not panic")
        });
        let took = began.elapsed();
        let what: String = format!("{form:?}").chars().take(120).collect();
        match compiled {
            Err(EngineError::BadRequest { reason })
                if reason.len() < 400 && took < Duration::from_secs(1) => {}
            other => wrong.push(format!("{what}: {other:?} in {took:?}")),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Schemas and grammars that are refused.
fn hostile() -> Vec<Form> {
    let schema = |schema: Value| Form::JsonSchema(schema);
    vec![
        schema(json!(false)),
        schema(json!({"type": "unicorn"})),
        schema(json!({"type": "string", "minLength": 5, "maxLength": 4})),
        schema(json!({"type": "integer", "minimum": 5, "maximum": 4})),
        schema(json!({"allOf": [{"type": "string"}, {"type": "integer"}]})),
        schema(json!({"not": {"type": "string"}})),
        schema(json!({"$ref": "#/$defs/none"})),
        schema(json!({"$ref": "https://example.com/schema.json"})),
        schema(json!({"$ref": "#"})),
        schema(
            json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}),
        ),
        schema(json!({"type": "string", "pattern": "("})),
        gbnf("root ::= root"),
        gbnf("root ::= \"a\" root"),
        gbnf(&format!("root ::= {}\"a\"{}", "(".repeat(20_000), ")".repeat(20_000))),
        gbnf("root ::= <[5]>"),
        // Large sets, each of which meets all others.
        gbnf(&format!(
            "root ::= \"z\" | x\na ::= [{}]\nr ::= root\nx ::= {}",
            (0..2000).filter_map(|n| char::from_u32(0x4e00 + 2 * n)).collect::<String>(),
            "a? r ".repeat(1900)
        )),
    ]
}
