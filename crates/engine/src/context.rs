//! The context in which slots compute: what it is made with.

use std::num::NonZeroU32;

use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::params::LlamaContextParams;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_sys_2::{LLAMA_FLASH_ATTN_TYPE_AUTO, llama_context_params};

use crate::abort::Abort;
use crate::attention::Attention;
use crate::error::EngineError;
use crate::llama::Llama;
use crate::room::Room;
use crate::slots;

/// How large a context is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// Tokens of all slots together.
    pub(crate) cells: u32,
    pub(crate) slots: u32,
    /// Tokens that are computed at once.
    pub(crate) batch_tokens: usize,
    /// How many of those are sampled behind, at most, drafts among them. llama.cpp ends the process when there are more.
    pub(crate) outputs: usize,
}

impl Shape {
    pub(crate) fn new(room: &Room, prefill_chunk: usize) -> Self {
        let outputs = slots::outputs(room.slots as usize);
        Self { cells: room.cells, slots: room.slots, batch_tokens: prefill_chunk + outputs, outputs }
    }
}

/// # Errors
/// [`EngineError::Internal`], usually for lack of memory.
pub(crate) fn create<'model>(
    llama: &Llama,
    model: &'model LlamaModel,
    shape: &Shape,
    threads: usize,
    abort: Option<&Abort>,
    attention: Option<&Attention>,
) -> Result<LlamaContext<'model>, EngineError> {
    let Shape { cells, slots, batch_tokens, outputs } = *shape;
    let params = LlamaContextParams::default()
        .with_n_ctx(NonZeroU32::new(cells))
        .with_n_seq_max(slots)
        // Sequences share their cells, so that one may be as long as all together, and so that a
        // common beginning is there once. Attention passes over others' cells.
        .with_kv_unified(true)
        .with_flash_attention_policy(LLAMA_FLASH_ATTN_TYPE_AUTO)
        // A sequence can be taken back to its beginning only if all of it is still there.
        .with_swa_full(true)
        .with_n_batch(batch_tokens as u32)
        .with_n_ubatch(batch_tokens as u32)
        .with_n_threads(threads as i32)
        .with_n_threads_batch(threads as i32);
    model
        .new_context(&llama.backend, with_more(params, outputs as u32, abort, attention))
        .map_err(|_| llama.internal(format_args!("a context of {cells} tokens could not be created")))
}

/// Sets what the binding has no setting for. There is room for so many rows of logits, and not for one behind each token
/// of a batch: a large vocabulary's rows are megabytes.
fn with_more(
    mut params: LlamaContextParams,
    outputs: u32,
    abort: Option<&Abort>,
    attention: Option<&Attention>,
) -> LlamaContextParams {
    inner(&mut params).n_outputs_max = outputs;
    if let Some(attention) = attention {
        let (callback, data) = attention.callback();
        inner(&mut params).cb_eval = callback;
        inner(&mut params).cb_eval_user_data = data;
    }
    match abort {
        Some(abort) => with_abort(params, abort),
        None => params,
    }
}

/// Has the context ask `abort`, which must live as long.
pub(crate) fn with_abort(mut params: LlamaContextParams, abort: &Abort) -> LlamaContextParams {
    let inner = inner(&mut params);
    let (callback, data) = abort.callback();
    inner.abort_callback = Some(callback);
    inner.abort_callback_data = data;
    params
}

fn inner(params: &mut LlamaContextParams) -> &mut llama_context_params {
    const { assert!(size_of::<LlamaContextParams>() == size_of::<llama_context_params>()) };
    const { assert!(align_of::<LlamaContextParams>() == align_of::<llama_context_params>()) };
    let inner = std::ptr::from_mut(params).cast::<llama_context_params>();
    // SAFETY: the binding's type has llama.cpp's as its only field, which as the sizes show begins where it does.
    // The binding's version is pinned.
    unsafe { &mut *inner }
}
