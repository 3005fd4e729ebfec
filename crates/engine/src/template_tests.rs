use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::request::Role;

const SMOLLM2: &str = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

fn compile(source: &str) -> ChatTemplate {
    ChatTemplate::compile(source, "<s>".to_owned(), "</s>".to_owned()).expect("it compiles")
}

fn user(content: &str) -> Vec<Message> {
    vec![Message { role: Role::User, content: content.to_owned() }]
}

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(951_782_400)
}

fn check(source: &str, content: &str, expected: &str) {
    let rendered = compile(source).render(&user(content), now());
    assert_eq!(rendered.expect("it renders"), expected);
}

fn check_error(source: &str, expected: &str) {
    let error = match ChatTemplate::compile(source, String::new(), String::new()) {
        Ok(template) => template.render(&user("hi"), now()).expect_err("it does not render"),
        Err(error) => error,
    };
    assert!(matches!(error, EngineError::Template { .. }), "{error:?} is not Template");
    assert!(error.to_string().contains(expected), "`{error}` does not say `{expected}`");
}

fn pieces<'a>(source: &str, content: &str, rendered: &'a mut String) -> Option<Vec<Piece<'a>>> {
    let template = compile(source);
    let messages = user(content);
    *rendered = template.render(&messages, now()).expect("it renders");
    template.pieces(rendered, &messages, now()).expect("it renders")
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
    let error = compile("{{ raise_exception('no system messages') }}")
        .render(&user("hi"), now())
        .expect_err("it refuses");
    assert!(matches!(error, EngineError::BadRequest { .. }));
    assert!(error.to_string().ends_with("no system messages"));
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

#[test]
fn pieces_tell_template_from_content() {
    let mut rendered = String::new();
    let pieces = pieces("<a>{{ messages[0].content }}</a>", "<a>", &mut rendered);
    assert_eq!(pieces, Some(vec![Piece::Template("<a>"), Piece::Content("<a>"), Piece::Template("</a>"),]));
}

#[test]
fn pieces_follow_a_template_that_trims() {
    let mut rendered = String::new();
    let pieces = pieces("[{{ messages[0].content | trim }}]", " <a>\n", &mut rendered);
    assert_eq!(pieces, Some(vec![Piece::Template("["), Piece::Content("<a>"), Piece::Template("]"),]));
}

#[test]
fn pieces_are_unknown_where_the_template_changes_content() {
    let mut rendered = String::new();
    assert_eq!(pieces("{{ messages[0].content | upper }}", "a", &mut rendered), None);
    assert_eq!(pieces("{{ messages[0].content | length }}", "a", &mut rendered), None);
}

#[test]
fn a_content_that_looks_like_a_mark_is_only_content() {
    let content = "\u{f8fe}0\u{f8fe}0\u{f8ff}";
    let mut rendered = String::new();
    let pieces = pieces("{{ messages[0].content }}.", content, &mut rendered);
    assert_eq!(pieces, Some(vec![Piece::Template(""), Piece::Content(content), Piece::Template("."),]));
}
