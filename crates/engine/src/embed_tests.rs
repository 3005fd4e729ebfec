use std::cell::Cell;
use std::path::Path;

use super::*;
use crate::engine::tests::{TestEngine, greedy, options};
use crate::test_models;

/// The vectors of `texts`, computed together.
fn embed(engine: &mut TestEngine, texts: &[&str]) -> Vec<Vec<f32>> {
    let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
    let mut texts = engine.engine.prepare_texts(&texts, false).expect("the texts fit");
    let mut vectors = vec![Vec::new(); texts.len()];
    while !texts.is_done() {
        let stepped =
            engine.engine.embed_step(1, &mut texts, &|| false, &mut |Embedding { index, values, .. }| {
                vectors[index] = values;
            });
        stepped.expect("the model computes them");
    }
    vectors
}

fn cosine(one: &[f32], other: &[f32]) -> f32 {
    one.iter().zip(other).map(|(one, other)| one * other).sum()
}

const TEXTS: [&str; 4] = [
    "The cat sat on the mat and looked at the birds in the garden.",
    "A cat is sitting on a rug, watching birds outside.",
    "Quarterly revenue grew by twelve percent, driven by cloud sales.",
    "a",
];

/// Alone, and in company, each text has the same vector but for rounding: of length 1.
fn check_company(engine: &mut TestEngine, texts: &[&str]) {
    let together = embed(engine, texts);
    for (text, vector) in texts.iter().zip(&together) {
        assert!((cosine(vector, vector) - 1.0).abs() < 1e-4, "{text}");
        let alone = &embed(engine, &[text])[0];
        assert_eq!(alone.len(), engine.engine.embedding_info().expect("embeddings").dimensions as usize);
        // In company the sums of quantised weights are rounded differently.
        assert!(cosine(vector, alone) > 0.999, "{text}: {}", cosine(vector, alone));
    }
}

#[test]
fn near_texts_have_near_vectors_and_company_changes_none() {
    let mut engine = TestEngine::load();
    let info = engine.engine.embedding_info().expect("embeddings");
    assert_eq!((info.dimensions, info.pooling, info.is_declared), (576, Pooling::Mean, false));
    let vectors = embed(&mut engine, &TEXTS);
    let (near, far) = (cosine(&vectors[0], &vectors[1]), cosine(&vectors[0], &vectors[2]));
    assert!(near > far + 0.05, "{near} {far}");
    // One of them takes several steps, and there are more texts than are computed at once.
    let long = TEXTS.join(" ").repeat(6);
    let mut texts = vec![long.as_str()];
    texts.extend((0..20).map(|index| TEXTS[index % 4]));
    check_company(&mut engine, &texts);
}

#[test]
fn embeddings_leave_answers_as_they_are() {
    let mut engine = TestEngine::load();
    let request = greedy("hello");
    let prompt = engine.engine.prompter().prepare(&request).expect("it fits");
    let crate::Begin::Begun(slot) = engine.engine.begin(prompt).expect("begins") else {
        panic!("a slot is free")
    };
    let texts: Vec<String> = TEXTS.iter().map(|text| (*text).to_owned()).collect();
    let mut texts = engine.engine.prepare_texts(&texts, false).expect("the texts fit");
    let (mut answer, mut done, mut has_ended) = (String::new(), 0, false);
    while !(has_ended && texts.is_done()) {
        if !texts.is_done() {
            engine.engine.embed_step(7, &mut texts, &|| false, &mut |_| done += 1).expect("computes");
        }
        let ended = engine.engine.step(&|_| false, &mut |of, event| {
            if let crate::GenerateEvent::Token { text, .. } = event {
                assert_eq!(of, slot);
                answer.push_str(text);
            }
        });
        has_ended |= !ended.is_empty();
    }
    assert_eq!((done, answer.as_str()), (4, "Hello! How can I assist you today?"));
}

#[test]
fn texts_that_do_not_fit_are_refused_with_the_numbers_or_cut_off_where_that_is_asked_for() {
    let engine = TestEngine::load();
    let long = ["short".to_owned(), "word ".repeat(1500)];
    match engine.engine.prepare_texts(&long, false) {
        Err(EngineError::TextTooLong { index: 1, tokens: 1500.., most: 1024 }) => {}
        other => panic!("{other:?}"),
    }
    let cut = engine.engine.prepare_texts(&long, true).expect("it is cut off");
    assert_eq!(cut.tokens[1].len(), 1024);
    let huge = ["word ".repeat(4_000_000)];
    assert!(matches!(engine.engine.prepare_texts(&huge, false), Err(EngineError::TextTooLong { .. })));
    assert_eq!(engine.engine.prepare_texts(&huge, true).expect("it is cut off").tokens[0].len(), 1024);
    for texts in [vec![], vec![String::new()], vec!["x".to_owned(); MAX_TEXTS + 1]] {
        assert!(matches!(engine.engine.prepare_texts(&texts, true), Err(EngineError::BadRequest { .. })));
    }
}

#[test]
fn an_abandoned_request_leaves_nothing_to_the_next() {
    let mut engine = TestEngine::load();
    let expected = embed(&mut engine, &[TEXTS[0]]);
    let long = [TEXTS.join(" ").repeat(6)];
    let mut abandoned = engine.engine.prepare_texts(&long, false).expect("it fits");
    engine
        .engine
        .embed_step(99, &mut abandoned, &|| false, &mut |_| panic!("it takes several steps"))
        .expect("computes");
    assert_eq!(embed(&mut engine, &[TEXTS[0]]), expected);
}

fn load(path: &Path) -> TestEngine {
    TestEngine::load_from(path, options())
}

#[test]
fn a_model_that_only_embeds_says_how_and_refuses_to_write() {
    let file = test_models::bert();
    let mut engine = load(file.path());
    let info = engine.engine.embedding_info().expect("embeddings");
    assert_eq!((info.dimensions, info.pooling, info.is_declared), (32, Pooling::First, true));
    check_company(
        &mut engine,
        &["a b c", "hello world", "x", "the bee is on the flower and the flower is in the bee"],
    );
    let written = engine.engine.prompter().prepare(&greedy("hello"));
    assert!(matches!(&written, Err(EngineError::BadRequest { .. })), "{written:?}");
    let long = ["ab ".repeat(200)];
    let refused = engine.engine.prepare_texts(&long, false);
    assert!(matches!(&refused, Err(EngineError::TextTooLong { most: 128, .. })), "{refused:?}");
    let mut cut = engine.engine.prepare_texts(&long, true).expect("it is cut off");
    // The token that ends each text is still there.
    assert_eq!((cut.tokens[0].len(), cut.tokens[0].last()), (128, Some(&LlamaToken(3))));
    engine.engine.embed_step(5, &mut cut, &|| false, &mut |_| {}).expect("computes");
}

#[test]
fn a_text_that_is_seen_whole_is_cancelled_in_the_middle_of_its_step() {
    let file = test_models::bert();
    let mut engine = load(file.path());
    let expected = embed(&mut engine, &["hello world"]);
    let mut texts = engine.engine.prepare_texts(&["ab ".repeat(200)], true).expect("it is cut off");
    let asked = Cell::new(0);
    let cancelled = || {
        asked.set(asked.get() + 1);
        asked.get() > 10
    };
    let stepped = engine.engine.embed_step(2, &mut texts, &cancelled, &mut |_| panic!("it was cancelled"));
    assert!(matches!(stepped, Err(EngineError::Cancelled)), "{stepped:?}");
    assert_eq!(embed(&mut engine, &["hello world"]), expected);
}

#[test]
fn models_of_other_kinds_embed_as_well() {
    for file in [test_models::mamba(), test_models::sliding()] {
        check_company(&mut load(file.path()), &TEXTS);
    }
}
