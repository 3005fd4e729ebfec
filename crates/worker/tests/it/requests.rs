//! A worker that is asked for nonsense: each request is refused with a reason, and the next good one is answered.

use fastrand::Rng;
use serde_json::Value;

use crate::support::{Worker, whole_model};

const REQUESTS: usize = 500;
const MOST_SECONDS: f64 = 1.0;
const MOST_BYTES: u64 = 64 << 20;

/// Values that are wrong, by field. What is wrong as JSON is here too.
const WRONG: [(&str, &[&str]); 10] = [
    ("operation", &["null", "7", "[]", "{}", r#""infer ""#, r#""hive_status""#, r#""model_list""#]),
    (
        "messages",
        &[
            "null",
            "[]",
            "{}",
            r#""hello""#,
            "[1]",
            "[{}]",
            r#"[{"role":"user"}]"#,
            r#"[{"content":"hello"}]"#,
            r#"[{"role":"root","content":"hello"}]"#,
            r#"[{"role":"user","content":5}]"#,
            r#"[{"role":"user","content":{"text":"hello"}}]"#,
            r#"[{"role":"user","content":"hello \ud800"}]"#,
        ],
    ),
    ("temperature", &[r#""hot""#, "-1", "-0.001", "100.5", "1e300", "1e999", "NaN", "[]", "true"]),
    ("top_k", &[r#""1""#, "-1", "1.5", "4294967296", "1e20", "[1]", "false"]),
    ("top_p", &[r#""1""#, "-0.1", "1.1", "1e39", "[]", "{}", "Infinity"]),
    ("min_p", &[r#""0""#, "-0.1", "1.0001", "1e999", "[0]", "true"]),
    ("seed", &[r#""1""#, "-1", "0.5", "18446744073709551616", "[]"]),
    ("max_tokens", &["0", "-1", "1.5", "4294967296", r#""many""#, "[]", "{}"]),
    ("stop", &["5", "[5]", "[null]", r#"[""]"#, r#"["a",["b"]]"#, "{}", "true"]),
    ("no_such_field", &["1", "null", "{}"]),
];

const GOOD: [(&str, &str); 3] = [
    ("operation", r#""infer""#),
    ("messages", r#"[{"role":"user","content":"hello"}]"#),
    ("max_tokens", "1"),
];

#[test]
fn five_hundred_bad_requests_are_refused_and_the_next_good_one_is_answered() {
    let mut worker = Worker::start(&whole_model());
    assert_eq!(worker.loaded(), Ok(()), "{}", worker.log());
    let (_, at_first) = worker.used();
    let mut rng = Rng::with_seed(5);
    let mut bodies: Vec<Vec<u8>> = large();
    for (field, values) in WRONG {
        bodies.extend(values.iter().map(|value| object(&[(field, value)]).into_bytes()));
    }
    while bodies.len() < REQUESTS {
        bodies.push(random(&mut rng));
    }
    let mut wrong = Vec::new();
    for body in &bodies {
        let (before, _) = worker.used();
        let answer = worker.submit(body);
        let (after, _) = worker.used();
        let error = error_of(&answer);
        if error.as_deref().is_none_or(|code| code == "internal") || after - before > MOST_SECONDS {
            let (body, answer) =
                (String::from_utf8_lossy(body), answer.chars().take(2000).collect::<String>());
            wrong.push(format!("{:.200}: {answer} ({} s)", body, after - before));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let (_, at_last) = worker.used();
    assert!(at_last - at_first < MOST_BYTES, "{} MiB more", (at_last - at_first) >> 20);
    let answer = worker.infer();
    assert!(answer.contains(r#""state":"succeeded""#), "{answer}");
}

/// The code of the error with which a request was refused, or its job ended.
fn error_of(answer: &str) -> Option<String> {
    let objects = answer.lines().filter_map(|line| line.find('{').map(|at| &line[at..]));
    let values = objects.filter_map(|object| serde_json::from_str::<Value>(object).ok());
    values.filter_map(|value| value["error"]["code"].as_str().map(str::to_owned)).next_back()
}

/// A good request with these fields in place of its own, or besides.
fn object(changed: &[(&str, &str)]) -> String {
    let kept = GOOD.iter().filter(|(field, _)| changed.iter().all(|(other, _)| other != field));
    let fields: Vec<String> =
        kept.chain(changed).map(|(field, value)| format!("\"{field}\":{value}")).collect();
    format!("{{{}}}", fields.join(","))
}

/// Requests that are wrong by their size.
fn large() -> Vec<Vec<u8>> {
    let message = r#"{"role":"user","content":"word"}"#;
    [
        ("messages", format!("[{}]", vec![message; 20_000].join(","))),
        ("messages", format!(r#"[{{"role":"user","content":"{}"}}]"#, "word ".repeat(150_000))),
        ("messages", format!("{}{}", "[".repeat(100_000), "]".repeat(100_000))),
        ("stop", format!("[{}]", vec![r#""a""#; 100_000].join(","))),
        ("stop", format!(r#"["{}"]"#, "a".repeat(500_000))),
        ("seed", "9".repeat(500_000)),
        ("temperature", format!("0.{}1e{}", "0".repeat(1000), "9".repeat(1000))),
        ("no_such_field", format!("{}1{}", r#"{"a":"#.repeat(50_000), "}".repeat(50_000))),
    ]
    .map(|(field, value)| object(&[(field, &value)]).into_bytes())
    .to_vec()
}

/// Several fields that are wrong, one of them at least; or bytes that are no JSON.
fn random(rng: &mut Rng) -> Vec<u8> {
    let changed: Vec<(&str, &str)> = (0..rng.usize(1..4))
        .map(|_| {
            let (field, values) = WRONG[rng.usize(..WRONG.len())];
            (field, values[rng.usize(..values.len())])
        })
        .collect();
    let mut body = object(&changed).into_bytes();
    match rng.u32(0..4) {
        0 => body = object(&[]).into_bytes()[..rng.usize(1..object(&[]).len())].to_vec(),
        1 => {
            let text = b"hello";
            body = object(&[]).into_bytes();
            let at = body.windows(text.len()).position(|bytes| bytes == text).expect("its message");
            body[at + rng.usize(..text.len())] = rng.u8(0x80..0xc0);
        }
        2 => body.push(rng.u8(b'a'..=b'z')),
        _ => {}
    }
    body
}
