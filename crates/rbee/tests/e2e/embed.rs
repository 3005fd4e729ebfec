use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Following, Home, is_progress};

const TEXTS: [&str; 3] = [
    "The cat sat on the mat and looked at the birds.",
    "A cat is sitting on a rug, watching birds.",
    "Quarterly revenue grew by twelve percent.",
];

fn numbers(vector: &Value) -> Vec<f64> {
    let values = vector["values"].as_array().expect("a vector");
    values.iter().map(|value| value.as_f64().expect("a number")).collect()
}

fn cosine(one: &[f64], other: &[f64]) -> f64 {
    one.iter().zip(other).map(|(one, other)| one * other).sum()
}

#[test]
fn texts_become_vectors_that_are_near_where_the_texts_are() {
    let home = Home::with_model();
    let ran = home.run(["embed", TEXTS[0], TEXTS[1], TEXTS[2], "--output", "json"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let answer: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!((&answer["dimensions"], &answer["pooling"]), (&576.into(), &"mean".into()), "{answer}");
    assert_eq!(answer["pooling_is_the_models"], false);
    let vectors: Vec<Vec<f64>> = (0..3).map(|index| numbers(&answer["embeddings"][index])).collect();
    let (near, far) = (cosine(&vectors[0], &vectors[1]), cosine(&vectors[0], &vectors[2]));
    assert!(near > far + 0.05, "{near} {far}");
    let tokens: u64 =
        (0..3).map(|index| answer["embeddings"][index]["tokens"].as_u64().expect("a count")).sum();
    assert_eq!(answer["usage"]["prompt_tokens"], tokens);
    assert!(ran.stderr.contains("the model says nothing"), "{}", ran.stderr);

    // As text each vector is a line, and each line of stdin is a text.
    let ran = home.run_with_stdin(format!("{}\n{}\n", TEXTS[0], TEXTS[2]).as_bytes(), ["embed"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let lines: Vec<Vec<f64>> = ran
        .stdout
        .lines()
        .map(|line| line.split(' ').map(|number| number.parse().expect("a number")).collect())
        .collect();
    assert_eq!(lines.len(), 2);
    assert!(cosine(&lines[0], &vectors[0]) > 0.9999 && cosine(&lines[1], &vectors[2]) > 0.9999);
}

#[test]
fn texts_that_cannot_be_embedded_are_refused_with_the_numbers() {
    let mut home = Home::with_model();
    home.set("RBEE_CONTEXT_LENGTH", "256");
    let long = "word ".repeat(400);
    let ran = home.run(["embed", "short", &long]);
    assert_eq!(ran.code, Some(65), "{}", ran.stderr);
    assert!(ran.stderr.contains("the text at 1 has 4") && ran.stderr.contains("takes 256"), "{}", ran.stderr);
    assert!(ran.stderr.contains("--truncate"), "{}", ran.stderr);
    let ran = home.run(["embed", "--truncate", "--output", "json", "short", &long]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let answer: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(answer["embeddings"][1]["tokens"], 256);
    let ran = home.run_with_stdin(b"one\n\ntwo\n", ["embed"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(65), ""), "{}", ran.stderr);
    assert!(ran.stderr.contains("line 2 on stdin is blank"), "{}", ran.stderr);
    assert_eq!(home.run(["embed"]).code, Some(2));
    assert_eq!(home.run(["embed", "-m", "missing", "x"]).code, Some(66));
}

#[test]
fn embedding_is_cancelled_at_once_and_lets_answers_pass() {
    let mut home = Home::with_model();
    home.set("RBEE_CONTEXT_LENGTH", "1024");
    let texts: Vec<String> = (0..200).map(|number| format!("{number} {}", "word ".repeat(200))).collect();
    let mut args = vec!["embed"];
    args.extend(texts.iter().map(String::as_str));
    let mut embedding = home.follow_with(&args);
    embedding.until(is_progress("prefill"));
    let ran = home.run(["infer", "hello", "--temperature", "0"]);
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (Some(0), "Hello! How can I assist you today?"),
        "{}",
        ran.stderr
    );
    embedding.signal(Signal::INT);
    let (status, events, stderr) = embedding.finish();
    assert_eq!(
        (status.code(), &events[events.len() - 1]["state"]),
        (Some(130), &"cancelled".into()),
        "{stderr}"
    );
    let vectors = events.iter().filter(|event| event["kind"] == "embedding").count();
    assert!(vectors < texts.len(), "all {vectors} texts were embedded all the same");
}

#[test]
fn embeddings_that_wait_for_others_do_not_count_the_wait_as_their_work() {
    let mut home = Home::with_model();
    home.set("RBEE_CONTEXT_LENGTH", "1024");
    home.set("RBEE_SLOTS", "4");
    let texts: Vec<String> = (0..5).map(|number| format!("{number} {}", "word ".repeat(100))).collect();
    let mut args = vec!["embed"];
    args.extend(texts.iter().map(String::as_str));
    let mut long = home.follow_with(&args);
    long.until(is_progress("prefill"));
    let short = home.follow_with(&["embed", "short"]);
    let prefill_ms = |following: Following| {
        let (status, events, stderr) = following.finish();
        assert_eq!(status.code(), Some(0), "{stderr}");
        events[events.len() - 1]["timings"]["prefill_ms"].as_f64().expect("an end with timings")
    };
    let (short, long) = (prefill_ms(short), prefill_ms(long));
    assert!(short < long / 2.0, "{short} ms after {long} ms");
}
