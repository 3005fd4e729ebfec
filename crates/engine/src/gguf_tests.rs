use std::io::Cursor;
use std::ops::Range;

use proptest::prelude::*;

use super::*;

/// A small GGUF file, and where its parts are.
struct Sample {
    bytes: Vec<u8>,
    pairs: Range<usize>,
    tensors: Range<usize>,
    data: Range<usize>,
}

fn string(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}

fn tensor(bytes: &mut Vec<u8>, name: &str, extents: &[u64], tensor_type: u32, offset: u64) {
    string(bytes, name);
    bytes.extend((extents.len() as u32).to_le_bytes());
    for extent in extents {
        bytes.extend(extent.to_le_bytes());
    }
    bytes.extend(tensor_type.to_le_bytes());
    bytes.extend(offset.to_le_bytes());
}

fn sample() -> Sample {
    let mut bytes = b"GGUF".to_vec();
    bytes.extend(3_u32.to_le_bytes());
    bytes.extend(2_u64.to_le_bytes());
    bytes.extend(4_u64.to_le_bytes());
    let pairs = bytes.len();
    string(&mut bytes, "general.architecture");
    bytes.extend(TYPE_STRING.to_le_bytes());
    string(&mut bytes, "llama");
    string(&mut bytes, "general.alignment");
    bytes.extend(TYPE_U32.to_le_bytes());
    bytes.extend(64_u32.to_le_bytes());
    string(&mut bytes, "tokens");
    bytes.extend(TYPE_ARRAY.to_le_bytes());
    bytes.extend(TYPE_STRING.to_le_bytes());
    bytes.extend(2_u64.to_le_bytes());
    string(&mut bytes, "hello");
    string(&mut bytes, "");
    string(&mut bytes, "scores");
    bytes.extend(TYPE_ARRAY.to_le_bytes());
    bytes.extend(6_u32.to_le_bytes());
    bytes.extend(3_u64.to_le_bytes());
    bytes.extend([0; 12]);
    let tensors = bytes.len();
    tensor(&mut bytes, "token_embd.weight", &[64, 2], 8, 0);
    tensor(&mut bytes, "output_norm.weight", &[3], 0, 192);
    let header = bytes.len();
    bytes.resize(header.next_multiple_of(64), 0);
    let data = bytes.len();
    bytes.extend([0; 192 + 12]);
    Sample { pairs: pairs..tensors, tensors: tensors..header, data: data..bytes.len(), bytes }
}

fn reason(bytes: &[u8]) -> Option<String> {
    match check_header(Cursor::new(bytes), bytes.len() as u64) {
        Ok(()) => None,
        Err(Problem::Bad(reason)) => Some(reason),
        Err(Problem::Io(error)) => panic!("a cursor does not fail: {error}"),
    }
}

fn check_reason(bytes: &[u8], expected: &str) {
    let reason = reason(bytes).expect("the file is damaged");
    assert!(reason.contains(expected), "`{reason}` does not say `{expected}`");
}

/// Overwrites a part of the sample and checks the reason.
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
    check_damage(|s| s.pairs.start, &absurd, "metadata key");
    check_damage(|s| s.tensors.start, &absurd, "tensor name");
}

#[test]
fn a_length_beyond_the_end_is_refused() {
    // The length of the value "llama", then the count of the array of strings.
    let value = |s: &Sample| s.pairs.start + 8 + 20 + 4;
    check_damage(value, &u64::MAX.to_le_bytes(), "impossibly large");
    check_damage(value, &100_000_u64.to_le_bytes(), "within its header");
    let count = |s: &Sample| value(s) + 8 + 5 + (8 + 17 + 4 + 4) + (8 + 6 + 4 + 4);
    check_damage(count, &u64::MAX.to_le_bytes(), "strings in one metadata entry");
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
}

#[test]
fn an_unknown_metadata_type_is_refused_by_its_key() {
    check_damage(
        |s| s.pairs.start + 8 + 20,
        &77_u32.to_le_bytes(),
        "`general.architecture` has the unknown type 77",
    );
}

#[test]
fn an_unknown_tensor_type_is_left_to_llama_cpp() {
    let mut sample = sample();
    let at = sample.tensors.start + 8 + 17 + 4 + 16;
    put(&mut sample.bytes, at, &999_u32.to_le_bytes());
    assert_eq!(reason(&sample.bytes), None);
}

#[test]
fn the_block_table_is_that_of_ggml() {
    for tensor_type in 0..llama_cpp_sys_2::GGML_TYPE_COUNT {
        let Some(block) = block(tensor_type) else {
            continue;
        };
        // SAFETY: both are lookups in a table that has an entry for each type below the count.
        let ggml = unsafe {
            Block {
                elements: llama_cpp_sys_2::ggml_blck_size(tensor_type) as u64,
                bytes: llama_cpp_sys_2::ggml_type_size(tensor_type) as u64,
            }
        };
        assert_eq!(block, ggml, "type {tensor_type}");
    }
}

#[test]
fn a_missing_file_a_directory_and_a_short_file_are_told_apart() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let missing = check(&folder.path().join("missing.gguf"));
    assert!(matches!(missing, Err(EngineError::NotFound { .. })));
    let directory = check(folder.path());
    assert!(matches!(directory, Err(EngineError::Io { .. })));
    let path = folder.path().join("short.gguf");
    std::fs::write(&path, b"GGUF").expect("the folder is writable");
    let short = check(&path);
    assert!(matches!(short, Err(EngineError::BadModel { .. })));
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
        let _ = reason(&bytes);
    }

    #[test]
    fn no_bytes_panic(rest in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut bytes = b"GGUF\x03\0\0\0\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0".to_vec();
        bytes.extend(rest);
        let _ = reason(&bytes);
    }
}
