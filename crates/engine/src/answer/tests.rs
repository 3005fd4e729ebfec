use proptest::prelude::*;

use super::*;
use crate::chat::Dialect;

const FIELDS: Dialect = Dialect::Fields { object_arguments: true, empty_content: true };

/// A text that only this family's templates have.
const HERMES: &str = "<tool_call> </tool_call> <think>";
const LLAMA: &str = "<|python_tag|> parameters";
const MISTRAL: &str = "[TOOL_CALLS] [THINK]";
const FUNCTIONARY: &str = "<function=";
const DEEPSEEK: &str = "<｜tool▁call▁begin｜> </think>";
const COMMAND_R: &str = "<|START_ACTION|> <|START_THINKING|>";
const GRANITE: &str = "<|tool_call|>";
const QWEN_CODER: &str = "<tool_call> <function= <parameter=";
const GLM: &str = "<tool_call> <arg_key> <think>";
const HARMONY: &str = "<|channel|> <|message|>";
const ALL: [&str; 10] =
    [HERMES, LLAMA, MISTRAL, FUNCTIONARY, DEEPSEEK, COMMAND_R, GRANITE, QWEN_CODER, GLM, HARMONY];

fn tools() -> Vec<Tool> {
    let tool = |name: &str| Tool { name: name.to_owned(), description: None, parameters: None };
    vec![tool("f"), tool("get_weather")]
}

fn parser(family: &str) -> AnswerParser {
    AnswerParser::new(Format::of(family, FIELDS), &tools(), false, "")
}

fn run(mut parser: AnswerParser, pieces: &[&str]) -> (Vec<AnswerEvent>, bool) {
    let mut out = Out::default();
    let mut tell = |event| match event {
        AnswerEvent::Text(text) => out.text(&text),
        AnswerEvent::Reasoning(text) => out.reasoning(&text),
        AnswerEvent::Arguments { index, text } => out.arguments(index, &text),
        call @ AnswerEvent::Call { .. } => out.events.push(call),
    };
    for piece in pieces {
        if parser.push(piece, &mut tell) {
            break;
        }
    }
    parser.finish(&mut tell);
    (out.events, parser.has_called())
}

/// The events in short: `text`, `(reasoning)`, `name[arguments]`.
fn short(events: &[AnswerEvent]) -> String {
    let mut short = String::new();
    let mut open = false;
    for event in events {
        if open && !matches!(event, AnswerEvent::Arguments { .. }) {
            short.push(']');
            open = false;
        }
        match event {
            AnswerEvent::Text(text) => short.push_str(text),
            AnswerEvent::Reasoning(text) => short.push_str(&format!("({text})")),
            AnswerEvent::Call { name, .. } => {
                short.push_str(&format!("{name}["));
                open = true;
            }
            AnswerEvent::Arguments { text, .. } => short.push_str(text),
        }
    }
    if open { short + "]" } else { short }
}

/// Checks what becomes of a text in which all calls are whole.
fn check(family: &str, text: &str, expected: &str) {
    let (events, has_called) = run(parser(family), &[text]);
    assert_eq!(short(&events), expected, "{text}");
    assert_eq!(has_called, events.iter().any(|event| matches!(event, AnswerEvent::Call { .. })), "{text}");
}

#[test]
fn hermes_calls_are_told() {
    check(
        HERMES,
        "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Bern\", \"days\": [1, 2]}}\n</tool_call>",
        "get_weather[{\"city\": \"Bern\", \"days\": [1, 2]}]",
    );
    check(
        HERMES,
        "Let me see.\n<tool_call>\n{\"name\":\"f\",\"arguments\":{}}\n</tool_call>\n<tool_call>\n{\"name\":\"g\",\"arguments\":{\"a\":1}}\n</tool_call>\n",
        "Let me see.f[{}]g[{\"a\":1}]",
    );
    // The arguments may come first, may be missing, and may be the text of JSON.
    check(HERMES, "<tool_call>{\"arguments\": {\"a\": 1}, \"name\": \"f\"}</tool_call>", "f[{\"a\": 1}]");
    check(HERMES, "<tool_call>{\"name\": \"f\"}</tool_call>", "f[{}]");
    check(HERMES, r#"<tool_call>{"name":"f","arguments":"{\"a\":1}"}</tool_call>"#, "f[{\"a\":1}]");
    check(HERMES, "<tool_call>{\"name\":\"f\",\"arguments\":null}</tool_call>", "f[{}]");
    // Other fields are nothing, a list is several calls, and the last sign may be missing.
    check(HERMES, "<tool_call>{\"id\":7,\"name\":\"f\",\"x\":[{}],\"arguments\":{}}", "f[{}]");
    check(HERMES, "<tool_call>[{\"name\":\"f\"}, {\"name\":\"g\"}]</tool_call>", "f[{}]g[{}]");
    // What follows the calls is text again.
    check(HERMES, "<tool_call>{\"name\":\"f\"}</tool_call>\nDone.", "f[{}]Done.");
}

#[test]
fn what_is_no_call_stays_text() {
    for text in [
        "<tool_call> is what calls begin with",
        "<tool_call>\n{\"name\": 5, \"arguments\": {}}\n</tool_call>",
        "<tool_call>{\"name\": \"two words\"}</tool_call>",
        "<tool_call>{\"arguments\": {}}</tool_call>",
        "<tool_call>{\"name\": \"f\", \"arguments\": [1]}</tool_call>",
        "<tool_call>{\"name\": \"f\" \"arguments\": {}}</tool_call>",
        "<tool_call>{\"name\": \"f\", \"name\": \"g\"}</tool_call>",
        "<tool_call>{\"name\": f}</tool_call>",
        "<tool_call>{\"nam",
        "<tool_cal",
        "a < b <",
        "<tool_call><tool_call>",
        "</tool_call>",
        "   ",
        " leading and trailing \n",
    ] {
        check(HERMES, text, text);
    }
    // A call that is written within a text that is none is found.
    check(HERMES, "<tool_call><tool_call>{\"name\":\"f\"}</tool_call>", "<tool_call>f[{}]");
}

#[test]
fn a_call_that_breaks_off_is_told_as_far_as_it_came() {
    let broken = |text: &str, expected: &str| {
        let (events, has_called) = run(parser(HERMES), &[text]);
        assert_eq!((short(&events).as_str(), has_called), (expected, false), "{text}");
    };
    broken("<tool_call>{\"name\":\"f\",\"arguments\":{\"a\":\"b", "f[{\"a\":\"b]");
    broken("<tool_call>{\"name\":\"f\",\"arguments\":{\"a\":}}</tool_call>", "f[{\"a\":]}}</tool_call>");
    let (events, _) = run(parser(HERMES), &["<tool_call>[{\"name\":\"f\"}, {\"name\": 5}]</tool_call>"]);
    assert_eq!(short(&events), "f[{}], {\"name\": 5}]</tool_call>");
    broken("<tool_call>{\"name\":\"f\",\"arguments\":{\"a\":1.2.3}}", "f[{\"a\":1.2.3]}}");
}

#[test]
fn without_tools_there_are_no_calls() {
    let text = "<think>hm</think><tool_call>{\"name\":\"f\"}</tool_call>";
    let parser = AnswerParser::new(Format::of(HERMES, FIELDS), &[], false, "");
    assert_eq!(short(&run(parser, &[text]).0), "(hm)<tool_call>{\"name\":\"f\"}</tool_call>");
}

#[test]
fn one_call_ends_the_answer_if_there_may_be_no_more() {
    for (family, text) in [
        (HERMES, "<tool_call>{\"name\":\"f\"}</tool_call><tool_call>{\"name\":\"g\"}</tool_call>"),
        (HERMES, "<tool_call>[{\"name\":\"f\"},{\"name\":\"g\"}]</tool_call>"),
        (MISTRAL, "[TOOL_CALLS]f[ARGS]{}[TOOL_CALLS]g[ARGS]{}"),
        (HARMONY, "<|channel|>commentary to=functions.f<|message|>{}<|call|><|start|>assistant"),
    ] {
        let mut parser = AnswerParser::new(Format::of(family, FIELDS), &tools(), true, "");
        let mut events = Vec::new();
        assert!(parser.push(text, &mut |event| events.push(event)), "{text}");
        assert_eq!(short(&events), "f[{}]", "{text}");
    }
}

#[test]
fn thinking_is_told_apart() {
    check(HERMES, "<think>\nIs it 4?\n</think>\n\nIt is 4.", "(Is it 4?)It is 4.");
    check(HERMES, "\n<think></think>Yes", "Yes");
    check(HERMES, "<think>never ends", "(never ends)");
    check(HERMES, "<think>call f</think>\n<tool_call>{\"name\":\"f\"}</tool_call>", "(call f)f[{}]");
    // Only at the beginning.
    check(HERMES, "Write <think>a</think>.", "Write <think>a</think>.");
    check(MISTRAL, "[THINK]hm[/THINK]Yes", "(hm)Yes");
    check(COMMAND_R, "<|START_THINKING|>hm<|END_THINKING|>Yes", "(hm)Yes");
}

#[test]
fn thinking_that_the_prompt_has_begun_goes_on() {
    let parser = |end: &str| AnswerParser::new(Format::of(DEEPSEEK, FIELDS), &tools(), false, end);
    let run = |end: &str, text: &str| short(&run(parser(end), &[text]).0);
    assert_eq!(run("<assistant><think>\n", "hm\n</think>\n\nYes"), "(hm)Yes");
    assert_eq!(run("<assistant><think>\n\n</think>\n\n", "Yes"), "Yes");
}

#[test]
fn llama_calls_are_told() {
    check(LLAMA, r#"{"name": "f", "parameters": {"a": "b"}}"#, r#"f[{"a": "b"}]"#);
    check(LLAMA, r#"<|python_tag|>{"type": "function", "name": "f", "parameters": {}}"#, "f[{}]");
    check(
        LLAMA,
        "{\"name\":\"f\",\"parameters\":{}}; {\"name\":\"f\",\"parameters\":{\"a\":1}}",
        "f[{}]f[{\"a\":1}]",
    );
    // An answer in JSON is an answer, and so is a call of what there is not.
    for text in [
        r#"{"answer": 4}"#,
        r#"{"name": "Peter", "parameters": {}}"#,
        r#"It is {"name": "f", "parameters": {}}"#,
        "<|python_tag|>print(1)",
    ] {
        check(LLAMA, text, text);
    }
}

#[test]
fn mistral_calls_are_told() {
    check(
        MISTRAL,
        r#"[TOOL_CALLS] [{"name": "f", "arguments": {"a": 1}, "id": "123456789"}, {"name": "f", "arguments": {}}]"#,
        r#"f[{"a": 1}]f[{}]"#,
    );
    check(
        MISTRAL,
        r#"So: [TOOL_CALLS]f[ARGS]{"a": 1}[TOOL_CALLS]f[CALL_ID]123[ARGS]{}"#,
        r#"So:f[{"a": 1}]f[{}]"#,
    );
    check(MISTRAL, r#"[TOOL_CALLS]f{"a": {"b": "}"}}"#, r#"f[{"a": {"b": "}"}}]"#);
    check(MISTRAL, "[TOOL_CALLS] are what these are.", "[TOOL_CALLS] are what these are.");
}

#[test]
fn the_calls_of_other_families_are_told() {
    check(FUNCTIONARY, "<function=f>{\"a\": 1}</function>", "f[{\"a\": 1}]");
    check(
        DEEPSEEK,
        "Well.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{\"a\": 1}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        "Well.f[{\"a\": 1}]f[{}]",
    );
    check(
        DEEPSEEK,
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{\"a\": 1}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        "f[{\"a\": 1}]",
    );
    check(
        COMMAND_R,
        "<|START_THINKING|>hm<|END_THINKING|><|START_ACTION|>[\n {\"tool_call_id\": \"0\", \"tool_name\": \"f\", \"parameters\": {}}\n]<|END_ACTION|>",
        "(hm)f[{}]",
    );
    check(GRANITE, "<|tool_call|>[{\"name\": \"f\", \"arguments\": {\"a\": 1}}]", "f[{\"a\": 1}]");
    check(
        QWEN_CODER,
        "<tool_call>\n<function=f>\n<parameter=city>\nBern\n</parameter>\n<parameter=days>\n3\n</parameter>\n</function>\n</tool_call>",
        "f[{\"city\":\"Bern\",\"days\":3}]",
    );
    check(QWEN_CODER, "<tool_call>\n<function=f>\n</function>\n</tool_call>", "f[{}]");
    check(
        GLM,
        "<think></think><tool_call>f\n<arg_key>city</arg_key>\n<arg_value>Bern</arg_value>\n</tool_call>",
        "f[{\"city\":\"Bern\"}]",
    );
    for text in [
        "<tool_call>hello</tool_cal",
        "<tool_call>two words</tool_call>",
        "<tool_call>f <arg_key>a</tool_call>",
    ] {
        check(GLM, text, text);
    }
    check(QWEN_CODER, "<tool_call>\n<fun>", "<tool_call>\n<fun>");
}

#[test]
fn channels_are_told_apart() {
    check(
        HARMONY,
        "<|channel|>analysis<|message|>Is it 4?<|end|><|start|>assistant<|channel|>final<|message|>It is 4.",
        "(Is it 4?)It is 4.",
    );
    check(
        HARMONY,
        "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>commentary to=functions.f <|constrain|>json<|message|>{\"a\": 1}",
        "(hm)f[{\"a\": 1}]",
    );
    check(
        HARMONY,
        "<|channel|>commentary<|message|>I will call f.<|end|><|start|>assistant to=functions.f<|channel|>commentary<|message|>{}<|call|>",
        "I will call f.f[{}]",
    );
    check(HARMONY, "<|channel|>commentary to=functions.f<|message|>", "f[{}]");
    check(HARMONY, "plain", "plain");
    let (events, has_called) =
        run(parser(HARMONY), &["<|channel|>commentary to=functions.f<|message|>{\"a\": "]);
    assert_eq!((short(&events).as_str(), has_called), ("f[{\"a\": ]", false));
}

#[test]
fn a_call_goes_out_as_it_comes() {
    let mut parser = parser(HERMES);
    let mut told = Vec::new();
    let mut push = |text: &str| {
        parser.push(text, &mut |event| told.push(event));
        std::mem::take(&mut told)
    };
    assert_eq!(push("<tool_call>\n{\"name\": \"f\", "), []);
    let begun = AnswerEvent::Call { index: 0, name: "f".to_owned() };
    let arguments = |text: &str| AnswerEvent::Arguments { index: 0, text: text.to_owned() };
    assert_eq!(push("\"arguments\": {\"a\""), [begun, arguments("{\"a\"")]);
    assert_eq!(push(": \"b"), [arguments(": \"b")]);
    assert_eq!(push("\"}}"), [arguments("\"}")]);
}

#[test]
fn what_is_held_back_has_a_limit() {
    let text = format!("<tool_call>{{\"x\": \"{}", "y".repeat(2 * MOST_HELD_BYTES));
    let mut parser = parser(HERMES);
    let mut told = 0;
    parser.push(&text, &mut |event| match event {
        AnswerEvent::Text(text) => told += text.len(),
        event => panic!("{event:?}"),
    });
    assert!(told >= MOST_HELD_BYTES, "{told}");
    parser.finish(&mut |event| match event {
        AnswerEvent::Text(text) => told += text.len(),
        event => panic!("{event:?}"),
    });
    assert_eq!(told, text.len());
}

/// Pieces that answers are made of, and broken ones.
fn part() -> impl Strategy<Value = String> {
    let signs = prop::sample::select(vec![
        "<think>",
        "</think>",
        "[THINK]",
        "[/THINK]",
        "<tool_call>",
        "</tool_call>",
        "[TOOL_CALLS]",
        "[ARGS]",
        "<|python_tag|>",
        "<function=",
        "</function>",
        "<parameter=a>",
        "</parameter>",
        "<arg_key>a</arg_key>",
        "<arg_value>1</arg_value>",
        "<｜tool▁calls▁begin｜>",
        "<｜tool▁call▁begin｜>",
        "<｜tool▁sep｜>",
        "<｜tool▁call▁end｜>",
        "<|tool_call|>",
        "<|START_ACTION|>",
        "<|END_ACTION|>",
        "<|channel|>",
        "<|message|>",
        "<|end|>",
        "<|call|>",
        "<|start|>",
        "analysis",
        "final",
        "commentary to=functions.f ",
        "{\"name\":\"f\",\"arguments\":{\"a\":[1,\"é\\n\"]}}",
        "{\"name\":\"f\",\"parameters\":{}}",
        "[{\"name\":\"f\"},",
        "{\"arguments\":{\"b\":null},\"name\":\"f\"}",
        "f",
        "f>",
        "\n```json\n",
        "```",
        "{",
        "}",
        "\"",
        ":",
        ";",
        " ",
        "\n",
        "<",
    ]);
    prop_oneof![4 => signs.prop_map(str::to_owned), 1 => "[a-z{}\"<> é]{0,6}"]
}

fn divide<'a>(text: &'a str, cuts: &[prop::sample::Index]) -> Vec<&'a str> {
    let bounds: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| bounds[cut.index(bounds.len())]).collect();
    cuts.sort_unstable();
    let mut from = 0;
    let mut pieces = Vec::new();
    for cut in cuts.into_iter().chain([text.len()]) {
        pieces.push(&text[from..cut]);
        from = cut;
    }
    pieces
}

/// All that was told, in order, without white space.
fn all_text(events: &[AnswerEvent]) -> String {
    let texts = events.iter().map(|event| match event {
        AnswerEvent::Text(text) | AnswerEvent::Reasoning(text) | AnswerEvent::Arguments { text, .. } => text,
        AnswerEvent::Call { name, .. } => name,
    });
    texts.flat_map(|text| text.chars()).filter(|c| !c.is_whitespace()).collect()
}

fn is_subsequence(part: &str, of: &str) -> bool {
    let mut rest = of.chars();
    part.chars().all(|c| rest.any(|other| other == c))
}

proptest! {
    #[test]
    fn any_division_tells_the_same(
        family in prop::sample::select(ALL.to_vec()),
        parts in prop::collection::vec(part(), 0..14),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
    ) {
        let text = parts.concat();
        let whole = run(parser(family), &[&text]);
        prop_assert_eq!(run(parser(family), &divide(&text, &cuts)), whole);
    }

    #[test]
    fn a_text_without_signs_is_told_as_it_is(
        family in prop::sample::select(ALL.to_vec()),
        text in "[a-z <\\[|{}\":\n]{0,40}",
    ) {
        let (events, has_called) = run(parser(family), &[&text]);
        prop_assert!(!has_called);
        prop_assert_eq!(events.iter().map(|event| match event {
            AnswerEvent::Text(text) => text.as_str(),
            _ => "not a text",
        }).collect::<String>(), text);
    }

    #[test]
    fn nothing_is_told_twice_or_made_up(
        family in prop::sample::select(vec![HERMES, LLAMA, FUNCTIONARY, GRANITE]),
        parts in prop::collection::vec(part(), 0..14),
    ) {
        let text = parts.concat();
        // Arguments that come before the name are told behind it.
        prop_assume!(!text.contains("{\"arguments\""));
        let (events, _) = run(parser(family), &[&text]);
        let told = all_text(&events);
        // A call without arguments is told to have none.
        let made_up = events.iter().filter(|event| matches!(event, AnswerEvent::Arguments { text, .. } if text == "{}"));
        if made_up.count() == 0 {
            prop_assert!(is_subsequence(&told, &text), "{} is not in {}", told, text);
        }
    }

    /// Whatever else is written, a call that is whole is told, with the very arguments.
    #[test]
    fn a_whole_call_is_told_whole(value in json(), before in "[a-z ]{0,8}", cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..10)) {
        let arguments = serde_json::json!({"a": value}).to_string();
        for (family, text) in [
            (HERMES, format!("{before}<tool_call>\n{{\"name\": \"f\", \"arguments\": {arguments}}}\n</tool_call>")),
            (MISTRAL, format!("{before}[TOOL_CALLS]f[ARGS]{arguments}")),
            (HARMONY, format!("<|channel|>final<|message|>{before}<|end|><|start|>assistant<|channel|>commentary to=functions.f<|message|>{arguments}<|call|>")),
        ] {
            let (events, has_called) = run(parser(family), &divide(&text, &cuts));
            prop_assert!(has_called);
            prop_assert_eq!(
                &events[events.len() - 2..],
                [
                    AnswerEvent::Call { index: 0, name: "f".to_owned() },
                    AnswerEvent::Arguments { index: 0, text: arguments.clone() },
                ]
            );
        }
    }
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::Value;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e9..1e9).prop_map(Value::from),
        "[a-z\"\\\\\n{}\\[\\]é<]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z\"]{0,4}", inner, 0..4).prop_map(Value::from_iter),
        ]
    })
}
