//! Processors for which there is no attention of our own.

use std::ffi::c_void;

use llama_cpp_sys_2::ggml_backend_sched_eval_callback;

pub(crate) enum Attention {}

impl Attention {
    pub(crate) fn new(_threads: usize, _gpu_layers: u32) -> Option<Self> {
        None
    }

    pub(crate) fn callback(&self) -> (ggml_backend_sched_eval_callback, *mut c_void) {
        match *self {}
    }
}
