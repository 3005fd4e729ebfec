use std::io::Cursor;
use std::ops::Range;

use proptest::prelude::*;

use super::*;
use crate::header::{TYPE_ARRAY, TYPE_F32, TYPE_I32, TYPE_STRING, TYPE_U32};
use crate::testing::{put_tensor, put_text, try_bytes};

/// A small GGUF file, and where its parts are.
struct Sample {
    bytes: Vec<u8>,
    tensors: Range<usize>,
    data: Range<usize>,
}

impl Sample {
    /// Where the type of this entry's value is; the value follows.
    fn entry(&self, key: &str) -> usize {
        let found = self.bytes.windows(key.len()).position(|bytes| bytes == key.as_bytes());
        found.expect("the sample has such an entry") + key.len()
    }

    /// The file without this entry, of which only the key is changed.
    fn without(mut self, key: &str) -> Vec<u8> {
        let end = self.entry(key);
        self.bytes[end - 1] = b'?';
        self.bytes
    }
}

fn text_entry(bytes: &mut Vec<u8>, key: &str, text: &str) {
    put_text(bytes, key);
    bytes.extend(TYPE_STRING.to_le_bytes());
    put_text(bytes, text);
}

fn number_entry(bytes: &mut Vec<u8>, key: &str, number: u32) {
    put_text(bytes, key);
    bytes.extend(TYPE_U32.to_le_bytes());
    bytes.extend(number.to_le_bytes());
}

fn array_entry(bytes: &mut Vec<u8>, key: &str, element_type: u32, count: u64) {
    put_text(bytes, key);
    bytes.extend(TYPE_ARRAY.to_le_bytes());
    bytes.extend(element_type.to_le_bytes());
    bytes.extend(count.to_le_bytes());
}

fn sample() -> Sample {
    let mut bytes = b"GGUF".to_vec();
    bytes.extend(3_u32.to_le_bytes());
    bytes.extend(2_u64.to_le_bytes());
    bytes.extend(16_u64.to_le_bytes());
    text_entry(&mut bytes, "general.architecture", "llama");
    number_entry(&mut bytes, "general.alignment", 64);
    number_entry(&mut bytes, "llama.block_count", 1);
    number_entry(&mut bytes, "llama.context_length", 128);
    number_entry(&mut bytes, "llama.embedding_length", 64);
    number_entry(&mut bytes, "llama.attention.head_count", 4);
    put_text(&mut bytes, "llama.attention.layer_norm_rms_epsilon");
    bytes.extend(TYPE_F32.to_le_bytes());
    bytes.extend(1e-5_f32.to_le_bytes());
    number_entry(&mut bytes, "llama.rope.dimension_count", 16);
    text_entry(&mut bytes, "llama.rope.scaling.type", "linear");
    number_entry(&mut bytes, "llama.expert_count", 0);
    number_entry(&mut bytes, "llama.pooling_type", 0);
    text_entry(&mut bytes, "tokenizer.ggml.model", "gpt2");
    array_entry(&mut bytes, "tokenizer.ggml.tokens", TYPE_STRING, 3);
    put_text(&mut bytes, "hello");
    put_text(&mut bytes, "");
    put_text(&mut bytes, "jello");
    array_entry(&mut bytes, "tokenizer.ggml.scores", TYPE_F32, 3);
    bytes.extend([0; 12]);
    array_entry(&mut bytes, "tokenizer.ggml.token_type", TYPE_I32, 3);
    bytes.extend([0; 12]);
    array_entry(&mut bytes, "tokenizer.ggml.merges", TYPE_STRING, 1);
    put_text(&mut bytes, "h e");
    let tensors = bytes.len();
    put_tensor(&mut bytes, "token_embd.weight", &[64, 2], 8, 0);
    put_tensor(&mut bytes, "outputnorm.weight", &[3], 0, 192);
    let header = bytes.len();
    bytes.resize(header.next_multiple_of(64), 0);
    let data = bytes.len();
    bytes.extend([0; 192 + 12]);
    Sample { tensors: tensors..header, data: data..bytes.len(), bytes }
}

fn reason(bytes: &[u8]) -> Option<String> {
    reason_as(Part::Model, bytes)
}

fn reason_as(part: Part, bytes: &[u8]) -> Option<String> {
    match check_header(Cursor::new(bytes), bytes.len() as u64, part) {
        Ok(_) => None,
        Err(Problem::Bad(reason)) => Some(reason),
        Err(Problem::Io(error)) => panic!("a cursor does not fail: {error}"),
    }
}

#[track_caller]
fn check_reason(bytes: &[u8], expected: &str) {
    check_reason_as(Part::Model, bytes, expected);
}

#[track_caller]
fn check_reason_as(part: Part, bytes: &[u8], expected: &str) {
    let reason = reason_as(part, bytes).expect("the file is damaged");
    assert!(reason.contains(expected), "`{reason}` does not say `{expected}`");
}

/// Overwrites a part of the sample and checks the reason.
#[track_caller]
fn check_damage(at: impl FnOnce(&Sample) -> usize, value: &[u8], expected: &str) {
    let mut sample = sample();
    let at = at(&sample);
    put(&mut sample.bytes, at, value);
    check_reason(&sample.bytes, expected);
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

#[test]
fn a_whole_file_passes() {
    assert_eq!(reason(&sample().bytes), None);
}

/// What the fuzz target begins with.
#[test]
fn the_seed_is_the_sample() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/sample.gguf");
    let seed = std::fs::read(&path).unwrap_or_default();
    if seed != sample().bytes {
        std::fs::write(&path, sample().bytes).expect("the tree is writable");
        panic!("{} was not the sample, and is now: commit it", path.display());
    }
}

#[test]
fn every_truncation_is_noticed() {
    let sample = sample();
    for len in 0..sample.bytes.len() {
        let reason = reason(&sample.bytes[..len]).expect("the file is truncated");
        let expected = match len {
            0 => "it is empty",
            1..4 => "not a GGUF file",
            _ => "truncated",
        };
        assert!(reason.contains(expected), "at {len}: {reason}");
    }
}

#[test]
fn a_truncated_file_says_what_it_needs() {
    let sample = sample();
    let expected = format!(
        "it ends at byte {}, but its tensors need {} bytes: the file is truncated",
        sample.data.start + 10,
        sample.bytes.len()
    );
    check_reason(&sample.bytes[..sample.data.start + 10], &expected);
}

#[test]
fn another_kind_of_file_is_named_by_its_beginning() {
    check_reason(b"PK\x03\x04....", r#"it begins with "PK\x03\x04""#);
}

#[test]
fn unknown_versions_are_refused() {
    check_damage(|_| 4, &1_u32.to_le_bytes(), "version 1");
    check_damage(|_| 4, &4_u32.to_le_bytes(), "version 4");
    check_damage(|_| 4, &3_u32.to_be_bytes(), "big-endian");
}

#[test]
fn absurd_counts_are_refused_before_anything_is_read() {
    let absurd = u64::MAX.to_le_bytes();
    check_damage(|_| 8, &absurd, "tensors");
    check_damage(|_| 16, &absurd, "metadata entries");
    check_damage(|_| 24, &absurd, "metadata key");
    check_damage(|s| s.tensors.start, &absurd, "tensor name");
}

#[test]
fn a_length_beyond_the_end_is_refused() {
    let value = |s: &Sample| s.entry("general.architecture") + 4;
    check_damage(value, &u64::MAX.to_le_bytes(), "a text of 18446744073709551615 bytes");
    check_damage(value, &100_000_u64.to_le_bytes(), "within its header");
    let count = |s: &Sample| s.entry("tokenizer.ggml.tokens") + 8;
    check_damage(count, &u64::MAX.to_le_bytes(), "strings in one metadata entry");
    let count = |s: &Sample| s.entry("tokenizer.ggml.scores") + 8;
    check_damage(count, &u64::MAX.to_le_bytes(), "impossibly large");
}

#[test]
fn tensors_that_cannot_be_are_refused() {
    // Within the first tensor, after its name: dimensions, two extents, type, offset.
    let at = |s: &Sample, offset: usize| s.tensors.start + 8 + 17 + offset;
    check_damage(|s| at(s, 0), &5_u32.to_le_bytes(), "5 dimensions");
    check_damage(|s| at(s, 12), &u64::MAX.to_le_bytes(), "impossibly many elements");
    check_damage(|s| at(s, 12), &(1_u64 << 57).to_le_bytes(), "impossibly many elements");
    check_damage(|s| at(s, 4), &65_u64.to_le_bytes(), "not a multiple of 32");
    check_damage(|s| at(s, 24), &(1_u64 << 60).to_le_bytes(), "where 0 was expected");
    check_damage(|s| at(s, 12), &0_u64.to_le_bytes(), "no elements");
    check_damage(|s| at(s, 20), &999_u32.to_le_bytes(), "unknown type 999");
    check_damage(|s| s.tensors.start, &0_u64.to_le_bytes(), "no name");
    check_damage(|s| s.tensors.start + 8, b"\0", "no name");
}

#[test]
fn two_tensors_of_one_name_are_refused() {
    let mut sample = sample();
    let second = sample.tensors.start + 8 + 17 + 4 + 16 + 4 + 8;
    let first = sample.bytes[sample.tensors.start + 8..][..17].to_vec();
    put(&mut sample.bytes, second + 8, &first);
    check_reason(&sample.bytes, "two tensors `token_embd.weight`");
}

#[test]
fn an_unknown_metadata_type_is_refused_by_its_key() {
    check_damage(
        |s| s.entry("general.architecture"),
        &77_u32.to_le_bytes(),
        "`general.architecture` has the unknown type 77",
    );
    // llama.cpp reads no arrays of arrays.
    check_damage(|s| s.entry("tokenizer.ggml.scores") + 4, &TYPE_ARRAY.to_le_bytes(), "unknown type 9");
}

#[test]
fn metadata_that_llama_cpp_would_end_the_process_over_is_refused() {
    let number = |key: &str, number: u32, expected: &str| {
        check_damage(|s| s.entry(key) + 4, &number.to_le_bytes(), expected);
    };
    number("general.alignment", 48, "not a power of two");
    number("general.alignment", 0, "not a power of two");
    number("llama.block_count", 0, "1 to 512");
    number("llama.block_count", 513, "1 to 512");
    number("llama.context_length", 0, "`llama.context_length` is 0");
    number("llama.context_length", u32::MAX, "`llama.context_length` is 4294967295");
    number("llama.embedding_length", 1 << 31, "`llama.embedding_length`");
    number("llama.attention.head_count", 65, "heads have 0 dimensions");
    number("llama.rope.dimension_count", 15, "an even number up to 16");
    number("llama.rope.dimension_count", 18, "an even number up to 16");
    number("llama.expert_count", 8, "claims 8 experts");
    number("llama.pooling_type", 77, "`llama.pooling_type` is 77");
    number("llama.attention.layer_norm_rms_epsilon", (-1.0_f32).to_bits(), "none below 0");
    number("llama.attention.layer_norm_rms_epsilon", f32::NAN.to_bits(), "is NaN");
    check_damage(|s| s.entry("llama.rope.scaling.type") + 12, b"L", "none that is known");
    check_damage(|s| s.entry("llama.block_count"), &TYPE_F32.to_le_bytes(), "not a number of 32 bits");
}

#[test]
fn metadata_that_is_missing_is_named() {
    for (key, expected) in [
        ("general.architecture", "of which architecture"),
        ("llama.block_count", "no `llama.block_count`"),
        ("llama.context_length", "no `llama.context_length`"),
        ("llama.embedding_length", "no `llama.embedding_length`"),
        ("tokenizer.ggml.model", "how to make tokens"),
        ("tokenizer.ggml.tokens", "no vocabulary"),
    ] {
        check_reason(&sample().without(key), expected);
    }
}

#[test]
fn an_entry_that_is_there_twice_is_refused() {
    let mut sample = sample();
    let at = sample.entry("llama.expert_count") - "llama.expert_count".len();
    put(&mut sample.bytes, at, b"llama.pooling_type");
    check_reason(&sample.bytes, "two metadata entries `llama.pooling_type`");
}

#[test]
fn a_vocabulary_that_llama_cpp_would_end_the_process_over_is_refused() {
    let third = |s: &Sample| s.entry("tokenizer.ggml.tokens") + 16 + 8 + 5 + 8 + 8;
    check_damage(third, b"hello", "two tokens of its vocabulary are the same");
    // As C++ reads them.
    let mut short = sample();
    let at = third(&short);
    put(&mut short.bytes, at - 8 - 8 - 5, b"h\0llo");
    put(&mut short.bytes, at, b"h\0xyz");
    check_reason(&short.bytes, "two tokens of its vocabulary are the same");
    check_damage(|s| s.entry("tokenizer.ggml.model") + 4, b"\x04\0\0\0\0\0\0\0none", "no vocabulary");
    let element_type = |s: &Sample| s.entry("tokenizer.ggml.token_type") + 4;
    check_damage(element_type, &TYPE_F32.to_le_bytes(), "does not fit its vocabulary of 3 tokens");
}

#[test]
fn a_vocabulary_of_pieces_needs_a_token_for_every_byte() {
    for (token, byte) in
        [("a", Some(b'a')), ("<0x0A>", Some(10)), ("<0x0a>", None), ("<0xA>", None), ("ab", None)]
    {
        assert_eq!(metadata::byte_of(token.as_bytes()), byte, "{token}");
    }
    let mut sample = sample();
    let at = sample.entry("tokenizer.ggml.model") + 4;
    sample.bytes.splice(at..at + 12, *b"\x05\0\0\0\0\0\0\0llama");
    check_reason(&sample.bytes, "tokens for only 0 of the 256 bytes");
}

#[test]
fn a_divided_model_is_known_by_its_name() {
    let names = |path: &str| -> Vec<String> {
        model_files(Path::new(path)).iter().map(|path| path.display().to_string()).collect()
    };
    assert_eq!(names("/m/a-00001-of-00002.gguf"), ["/m/a-00001-of-00002.gguf", "/m/a-00002-of-00002.gguf"]);
    for one in
        ["/m/a.gguf", "/m/a-00002-of-00003.gguf", "/m/a-00001-of-00001.gguf", "/m/a-00001-of-2.gguf", "/"]
    {
        assert_eq!(names(one), [one]);
    }
    assert_eq!(split("a-b-00002-of-00003.gguf"), Some(("a-b", 2, 3)));
    for whole in ["a.gguf", "a-00001-of-2.gguf", "a-+0001-of-00002.gguf", "a-00001-of-00002", "-of-.gguf"] {
        assert_eq!(split(whole), None, "{whole}");
    }
    check_reason_as(Part::Split(1), &sample().bytes, "it is not part 2 of its model");
}

#[test]
fn a_missing_file_a_directory_and_a_short_file_are_told_apart() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let missing = check(&folder.path().join("missing.gguf"));
    assert!(matches!(missing, Err(GgufError::NotFound { .. })));
    let directory = check(folder.path());
    assert!(matches!(directory, Err(GgufError::Io { .. })));
    let path = folder.path().join("short.gguf");
    std::fs::write(&path, b"GGUF").expect("the folder is writable");
    let short = check(&path);
    assert!(matches!(short, Err(GgufError::Bad { .. })));
}

proptest! {
    #[test]
    fn no_mutation_panics(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = sample().bytes;
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        try_bytes(&bytes);
    }

    #[test]
    fn no_bytes_panic(rest in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut bytes = b"GGUF\x03\0\0\0\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0".to_vec();
        bytes.extend(rest);
        try_bytes(&bytes);
    }
}
