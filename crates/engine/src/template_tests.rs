use serde_json::json;

use super::*;

const SMOLLM2: &str = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

fn rendering(source: &str, content: &str) -> Rendering {
    Rendering {
        source: source.to_owned(),
        bos_token: "<s>".to_owned(),
        eos_token: "</s>".to_owned(),
        now: 951_782_400,
        conversations: vec![Conversation {
            messages: json!([{"role": "user", "content": content}]),
            tools: Json::Null,
        }],
    }
}

fn outcome(source: &str, content: &str) -> Outcome {
    let outcomes = render(&rendering(source, content));
    outcomes.map_or_else(Outcome::Failed, |mut outcomes| outcomes.remove(0))
}

fn check(source: &str, content: &str, expected: &str) {
    assert_eq!(outcome(source, content), Outcome::Text(expected.to_owned()));
}

fn check_error(source: &str, expected: &str) {
    match outcome(source, "hi") {
        Outcome::Failed(reason) => assert!(reason.contains(expected), "`{reason}` does not say `{expected}`"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_default_system_message_is_the_templates_to_add() {
    check(
        SMOLLM2,
        "hello",
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n",
    );
}

#[test]
fn the_dialect_of_hugging_face_is_understood() {
    check("{{ bos_token }}{{ eos_token }}", "", "<s></s>");
    check("{{ messages[0].content.strip() }}", " a ", "a");
    check(
        "{%- for m in messages %}\n  {%- if m.role == 'user' %}\n{{ m.content | trim }}\n  {%- endif %}\n{%- endfor %}",
        " a ",
        "a",
    );
    check(
        "{% for m in messages %}{% break %}{% endfor %}{{ 'x' if messages[0]['content'].startswith('a') }}",
        "ab",
        "x",
    );
    check("{{ strftime_now('%d %b %Y') }}", "", "29 Feb 2000");
    check("{% if tools is defined and tools %}tools{% endif %}{{ messages[-1]['content'] }}", "a", "a");
    check(
        "{% for m in messages %}{%- generation -%}{{ m.content }}{% endgeneration %}{% endfor %}",
        "a",
        "a",
    );
    check(
        "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
        "",
        "1",
    );
}

#[test]
fn json_is_written_as_python_writes_it() {
    check(
        "{{ messages | tojson }}",
        r#"<é " \u003c \ '>"#,
        r#"[{"role": "user", "content": "<é \" \\u003c \\ '>"}]"#,
    );
    check("{{ [1] | tojson(indent=2) }}", "", "[\n  1\n]");
}

#[test]
fn text_is_not_escaped_as_html() {
    check("{{ messages[0].content }}", "<b>&", "<b>&");
}

#[test]
fn a_refusal_is_the_requests_fault() {
    let refused = outcome("{{ raise_exception('no system messages') }}", "hi");
    assert_eq!(refused, Outcome::Refused("no system messages".to_owned()));
}

#[test]
fn a_template_that_fails_says_why() {
    check_error("{{ messages[0].content", "end of");
    check_error("{{ nothing.here.at_all }}", "undefined");
    check_error("plain text", "never inserts");
}

#[test]
fn a_bomb_is_an_error() {
    check_error(
        "{% for a in range(100000) %}{% for b in range(100000) %}{% set c = a * b %}{% endfor %}{% endfor %}{{ 1 }}",
        "fuel",
    );
    check_error("{% for a in range(100000) %}{{ 'x' * 10000 }}{% endfor %}", "");
    check_error("{% macro m(x) %}{{ m(x) }}{% endmacro %}{{ m(1) }}", "recursion");
    check_error(&format!("{{{{ {}1{} }}}}", "(".repeat(5000), ")".repeat(5000)), "recursion");
}
