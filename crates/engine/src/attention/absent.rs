//! Processors for which there is no attention of our own.

use std::ffi::c_void;

use llama_cpp_sys_2::ggml_tensor;

pub(crate) enum Attention {}

impl Attention {
    pub(crate) fn new(_threads: usize, _gpu_layers: u32) -> Option<Self> {
        None
    }

    pub(crate) fn callback(&self) -> (Callback, *mut c_void) {
        match *self {}
    }
}

pub(crate) type Callback = unsafe extern "C" fn(*mut ggml_tensor, bool, *mut c_void) -> bool;
