//! The check of a GGUF file's header, with any bytes.
#![no_main]

// By their path, without the rest of their crate, which is llama.cpp.
#[path = "../../crates/engine/src"]
mod engine {
    #[expect(dead_code, reason = "only the check is tried")]
    pub(crate) mod error;
    #[expect(dead_code, reason = "only the check is tried")]
    pub(crate) mod gguf;
}

use std::io::Cursor;

use engine::error;
use engine::gguf::{Part, check_header};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for part in [Part::Model, Part::Split(1), Part::Adapter] {
        let _ = check_header(Cursor::new(bytes), bytes.len() as u64, part);
    }
});
