//! The check of a GGUF file's header, with any bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rbee_gguf::testing::try_bytes;

fuzz_target!(|bytes: &[u8]| {
    try_bytes(bytes);
});
