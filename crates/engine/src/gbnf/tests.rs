use llguidance::toktrie::{ApproximateTokEnv, InferenceCapabilities};
use llguidance::{Matcher, ParserFactory, api::TopLevelGrammar};
use proptest::prelude::*;

use super::*;

/// Whether llguidance, with a token for each byte, takes a text for one of the grammar's.
fn accepts(factory: &ParserFactory, lark: &str, text: &str) -> bool {
    let parser = factory.create_parser(TopLevelGrammar::from_lark(lark.to_owned()));
    let mut matcher = Matcher::new(Ok(parser.unwrap_or_else(|error| panic!("{error}\n{lark}"))));
    for byte in text.bytes() {
        if matcher.is_stopped() || matcher.validate_tokens(&[byte.into()]).expect("it goes on") == 0 {
            return false;
        }
        matcher.consume_token(byte.into()).expect("it is allowed");
    }
    matcher.is_stopped() || matcher.is_accepting().expect("it goes on")
}

fn factory() -> ParserFactory {
    let env = ApproximateTokEnv::single_byte_env();
    let mut factory = ParserFactory::new(&env, InferenceCapabilities::default(), &[]).expect("a vocabulary");
    factory.quiet();
    factory
}

fn check(grammar: &str, good: &[&str], bad: &[&str]) {
    let lark = to_lark(grammar).unwrap_or_else(|error| panic!("{error}\n{grammar}"));
    let factory = factory();
    for text in good {
        assert!(accepts(&factory, &lark, text), "{text:?} is refused\n{grammar}\n{lark}");
    }
    for text in bad {
        assert!(!accepts(&factory, &lark, text), "{text:?} is accepted\n{grammar}\n{lark}");
    }
}

fn check_wrong(grammar: &str, expected: &str) {
    let error = to_lark(grammar).expect_err(grammar);
    assert!(matches!(error, EngineError::BadRequest { .. }), "{error:?}");
    assert!(error.to_string().contains(expected), "`{error}` does not say `{expected}`");
}

const JSON: &str = r#"
# All of JSON, with blanks that end some time.
root ::= blank value
value ::= ( object | array | string | number | "true" | "false" | "null" ) blank
object ::= "{" blank ( member ( "," blank member )* )? "}"
member ::= string blank ":" blank value
array ::= "[" blank ( value ( "," blank value )* )? "]"
string ::= "\"" ( [^"\\\x00-\x1f] | "\\" ( ["\\/bfnrt] | "u" [0-9a-fA-F]{4} ) )* "\""
number ::= "-"? ( "0" | [1-9] [0-9]* ) ( "." [0-9]+ )? ( [eE] [-+]? [0-9]+ )?
blank ::= [ \t\n]{0,20}
"#;

#[test]
fn literals_classes_and_repetitions_mean_what_they_say() {
    check(r#"root ::= "a" "bc"?"#, &["a", "abc"], &["", "ab", "abcc", "b"]);
    check(r#"root ::= [a-c-] [^x\]]"#, &["ab", "-[", "cé", "c🦀"], &["a", "ax", "a]", "dx"]);
    check(r#"root ::= "x"{2} [0-9]{1,} ("," | ";"){0,2}"#, &["xx1", "xx12,;"], &["x1", "xxx1", "xx1,,,"]);
    check("root ::= . \"\\u00e9\" \"\\x41\" \"\\U0001F980\"", &["éé\u{41}🦀", "\néA🦀"], &["éA🦀"]);
    check("root ::= \"\\\"\\\\\\n\\t\\r\\[\\]\"", &["\"\\\n\t\r[]"], &["\""]);
    check("root ::= a{0} \"b\"\na ::= \"a\"", &["b"], &["ab"]);
}

#[test]
fn blanks_comments_and_line_breaks_stand_where_llama_cpp_lets_them() {
    let grammar = "# at first\r\nroot ::= # a comment\n  \"a\" | # or\n  \"b\" (\n  \"c\"\n  | \"d\" )\r\n\nx-1 ::=\n\"\"\n";
    check(grammar, &["a", "bc", "bd"], &["b", "ac"]);
    check("root ::= | \"a\"", &["", "a"], &["aa"]);
}

#[test]
fn recursion_of_every_kind_is_understood() {
    check(r#"root ::= "(" root ")" | [a-z]+ "x""#, &["ax", "((aax))"], &["(ax", "a", "(a)x"]);
    check(r#"root ::= root "+" root | [0-9]+"#, &["1", "1+23+4"], &["+1", "1+"]);
    check(r#"root ::= "a" root "b" |"#, &["", "ab", "aaabbb"], &["aab", "ba"]);
    check("root ::= x\nx ::= y | \"q\"\ny ::= x \"!\"", &["q", "q!", "q!!"], &["!"]);
}

#[test]
fn what_follows_is_not_swallowed_by_what_repeats() {
    check(r#"root ::= "<" [a-z]* "end" root? ">""#, &["<end>", "<xendend>", "<end<end>>"], &["<en>", "<>"]);
    let keywords = r#"
        root ::= statement ";" root?
        statement ::= "return" [ ]+ name | name [ ]* "=" [ ]* value
        value ::= name | "(" value ")"
        name ::= [a-z] [a-z0-9]*"#;
    let good = ["return x;", "returned=x;", "return =y;", "a=((b));return a;"];
    check(keywords, &good, &["return;", "a=();", "a=b"]);
}

#[test]
fn a_grammar_of_json_takes_json() {
    let good = [
        "{}",
        "[1, -2.5e+10, \"a\\u00e9\\n\", null]",
        "{\"a\": {\"b\": [true, false]}, \"c\": \"🦀\"}",
        " 0 ",
    ];
    check(JSON, &good, &["{", "[1,]", "01", "\"\n\"", "{\"a\" 1}", "nul"]);
    let lark = to_lark(JSON).expect("it is right");
    // The text of a string is found as one: by rules it would take a step for each character.
    assert!(lark.lines().filter(|line| line.starts_with('n')).count() < 20, "{lark}");
}

#[test]
fn what_is_wrong_is_said_with_its_line() {
    check_wrong("", "line 1 of the grammar: there is no rule `root`");
    check_wrong("x ::= \"a\"", "no rule `root`");
    check_wrong(
        "root ::= \"a\"\nroot ::= \"b\"",
        "line 2 of the grammar: the rule `root` is defined a second time",
    );
    check_wrong("root ::= x |\n  y\nx ::= \"a\"", "line 2 of the grammar: there is no rule `y`");
    check_wrong("root ::= \"a", "no second `\"`");
    check_wrong("\n\nroot ::= [a", "line 3 of the grammar: a `[` has no `]`");
    check_wrong("root ::= [b-a]", "ends before it begins");
    check_wrong("root ::= []", "no characters");
    check_wrong("root ::= ( \"a\"", "`)` is missing before the end");
    check_wrong("root ::= \"a\" )", "`)` is not expected here");
    check_wrong("root ::= *", "nothing before `*`");
    check_wrong("root ::= \"a\"{2,1}", "at most less than at least");
    check_wrong("root ::= \"a\"{2001}", "at most 2000");
    check_wrong("root ::= \"a\"{99999999999999999999}", "at most 2000");
    check_wrong("root ::= \"a\"{x}", "a number is missing");
    check_wrong("root ::= \"\\q\"", "no escape `\\q`");
    check_wrong("root ::= \"\\xg0\"", "hexadecimal");
    check_wrong("root ::= \"\\ud800\"", "hexadecimal digits of a character");
    check_wrong("root = \"a\"", "`::=` must follow");
    check_wrong("root ::= \"a\"\n\n<think>", "line 3 of the grammar: a rule begins with its name");
    check_wrong(
        "root ::= \"a\" |\n  <[1000]>",
        "`<[1000]>` names a token of a model, which is not supported",
    );
    check_wrong("root ::= !<think>", "not supported");
}

#[test]
fn rules_that_never_end_are_named() {
    check_wrong("root ::= root", "line 1 of the grammar: no text of the rule `root` comes to an end");
    check_wrong("root ::= \"a\" | x\nx ::= \"b\" x", "line 2 of the grammar: no text of the rule `x`");
    check_wrong("root ::= a\na ::= b\nb ::= a", "comes to an end");
}

#[test]
fn what_is_nested_without_measure_is_refused() {
    let deep = 100_000;
    check_wrong(
        &format!("root ::= {}\"a\"{}", "(".repeat(deep), ")".repeat(deep)),
        "nested more than 100 deep",
    );
    let chain: String = (0..5000).map(|n| format!("a{n} ::= \"x\" a{}\n", n + 1)).collect();
    check_wrong(&format!("root ::= a0\n{chain}a5000 ::= \"y\""), "too large, or nested too deep");
    check_wrong(&format!("root ::= a0\n{chain}a5000 ::= a0 | \"y\""), "too large, or nested too deep");
}

/// Grammars of a few rules over two letters.
fn grammars() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("\"a\"".to_owned()),
        Just("\"b\"".to_owned()),
        Just("[ab]".to_owned()),
        Just("\"ab\"".to_owned()),
        Just("r0".to_owned()),
        Just("r1".to_owned()),
        Just("r2".to_owned()),
    ];
    let node = leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..4).prop_map(|nodes| format!("({})", nodes.join(" "))),
            prop::collection::vec(inner.clone(), 1..4).prop_map(|nodes| format!("({})", nodes.join(" | "))),
            (inner, prop_oneof![Just("*"), Just("+"), Just("?"), Just("{1,3}")])
                .prop_map(|(node, times)| format!("{node}{times}")),
        ]
    });
    prop::collection::vec(node, 4).prop_map(|nodes| {
        format!("root ::= {}\nr0 ::= {}\nr1 ::= {}\nr2 ::= {}\n", nodes[0], nodes[1], nodes[2], nodes[3])
    })
}

/// Whether a text is of a grammar, found by trying all there is.
fn is_of(grammar: &Grammar, text: &str) -> bool {
    let text: Vec<u32> = text.chars().map(u32::from).collect();
    let len = text.len();
    // Where a node that begins at a place may end.
    let mut ends = vec![vec![vec![false; len + 1]; len + 1]; grammar.nodes.len()];
    let then = |from: &[bool], ends: &[Vec<bool>]| -> Vec<bool> {
        (0..=len).map(|to| (0..=len).any(|middle| from[middle] && ends[middle][to])).collect()
    };
    loop {
        let before = ends.clone();
        for (id, node) in grammar.nodes.iter().enumerate() {
            for at in 0..=len {
                let mut here = vec![false; len + 1];
                here[at] = true;
                ends[id][at] = match node {
                    Node::Chars(chars) => (0..=len)
                        .map(|to| to == at + 1 && chars.meets(&Chars::new(vec![(text[at], text[at])])))
                        .collect(),
                    Node::Sequence(nodes) => {
                        nodes.iter().fold(here, |from, &node| then(&from, &before[node]))
                    }
                    Node::Choice(nodes) => {
                        (0..=len).map(|to| nodes.iter().any(|&node| before[node][at][to])).collect()
                    }
                    &Node::Repeat(node, least, most) => {
                        let mut found = vec![false; len + 1];
                        for times in 0..=most.unwrap_or(len as u32 + least) {
                            if times >= least {
                                found.iter_mut().zip(&here).for_each(|(found, &here)| *found |= here);
                            }
                            here = then(&here, &before[node]);
                        }
                        found
                    }
                    Node::Rule(rule) => before[grammar.rules[*rule].body.expect("defined")][at].clone(),
                };
            }
        }
        if ends == before {
            return ends[grammar.root][0][len];
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn a_grammar_has_the_same_texts_for_llguidance(grammar in grammars(), texts in prop::collection::vec("[ab]{0,6}", 12)) {
        let Ok(lark) = to_lark(&grammar) else { return Ok(()) };
        let mut linked = parse::parse(&grammar).expect("it was parsed before");
        linked.link().expect("it was linked before");
        let factory = factory();
        for text in texts {
            prop_assert_eq!(accepts(&factory, &lark, &text), is_of(&linked, &text), "{:?} of\n{}\n{}", text, grammar, lark);
        }
    }

    #[test]
    fn any_text_is_a_grammar_or_is_refused(text in "[a-z \\n\"'\\[\\](){}|*+?.:=#<>!\\\\-]{0,60}") {
        if let Err(error) = to_lark(&text) {
            prop_assert!(error.to_string().starts_with("line "), "{}", error);
        }
    }
}
