//! What `rbee-gguf` knows of llama.cpp is what llama.cpp does.

use std::ffi::CStr;
use std::path::Path;

use rbee_gguf::{TensorType, file_type, tensor_type};

use crate::engine::tests::{TestEngine, model_path, options};
use crate::{LoadOptions, test_models};

#[test]
fn tensor_types_are_those_of_ggml() {
    for number in 0..llama_cpp_sys_2::GGML_TYPE_COUNT {
        // SAFETY: these are lookups in a table that has an entry for each type below the count, with a name that
        // lives as long as the program.
        let (name, block_elements, block_bytes) = unsafe {
            let name = CStr::from_ptr(llama_cpp_sys_2::ggml_type_name(number));
            let elements = llama_cpp_sys_2::ggml_blck_size(number) as u64;
            (name.to_string_lossy(), elements, llama_cpp_sys_2::ggml_type_size(number) as u64)
        };
        let known = tensor_type(number);
        // Types that are no more have none.
        assert_eq!(known.is_some(), block_elements != 0, "type {number}");
        if let Some(known) = known {
            assert_eq!(known, TensorType { block_elements, block_bytes, ..known }, "type {number}");
            assert!(known.name.eq_ignore_ascii_case(&name), "{} is {name}", known.name);
        }
    }
}

#[test]
fn file_types_are_those_of_llama_cpp() {
    for number in 0..64 {
        // SAFETY: it takes any number, and the name lives as long as the program.
        let name = unsafe { CStr::from_ptr(llama_cpp_sys_2::llama_ftype_name(number)) };
        // `Q4_K - Medium`, `IQ2_XS - 2.3125 bpw`, `all F32`; and one that file names call otherwise.
        let name = name.to_str().expect("the names are ASCII").trim_start_matches("all ");
        let name = if name.starts_with("IQ3_S mix") { "IQ3_M" } else { name };
        let known = name.split(' ').next().filter(|_| !name.starts_with("unknown"));
        match (file_type(number), known) {
            (Some(ours), Some(theirs)) => assert!(ours.starts_with(theirs), "{ours} is {name}"),
            (ours, theirs) => assert_eq!(ours, theirs, "type {number}"),
        }
    }
}

/// llama.cpp says in hundredths of a MiB what each of a model's two caches takes.
const ROUNDING_BYTES: u64 = (1 << 20) / 100 + 2;

/// Checks what a header says against the model when it is loaded.
#[track_caller]
fn check_facts(path: &Path, has_state: bool) {
    let facts = rbee_gguf::read(path).expect("it is a model");
    // As many cells as one request may have.
    let engine = TestEngine::load_from(path, LoadOptions { slots: Some(1), ..options() });
    let info = engine.engine.info();
    assert_eq!(facts.architecture, info.architecture);
    assert_eq!((facts.parameters, facts.tensor_bytes), (info.parameters, info.size_bytes));
    assert_eq!(facts.context_length, info.train_context_length);
    // On a graphics card it would lie beside weights.
    assert_eq!(info.memory.device_bytes, 0);
    let (told, loaded) = (facts.whole_context_bytes(info.context_length), info.memory.context_bytes);
    match has_state {
        true => assert_eq!((told, loaded > 0), (Some(0), true)),
        false => {
            assert!(told.is_some_and(|told| told.abs_diff(loaded) <= ROUNDING_BYTES), "{told:?}: {loaded}")
        }
    }
}

#[test]
fn a_header_says_what_the_loaded_model_is() {
    check_facts(&model_path(), false);
    check_facts(test_models::sliding().path(), false);
    check_facts(test_models::bert().path(), false);
    check_facts(test_models::mamba().path(), true);
}
