//! Says where the worker's own libraries are.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // llama.cpp's, where they are libraries: beside the worker.
    if std::env::var_os("CARGO_FEATURE_DYNAMIC_BACKENDS").is_some() {
        println!("cargo:rustc-link-arg-bins=-Wl,-rpath,$ORIGIN");
    }
}
