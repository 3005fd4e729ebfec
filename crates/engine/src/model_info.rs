//! What a loaded model says about itself.

use std::path::Path;

use llama_cpp_2::model::LlamaModel;

use crate::memory::Memory;
use crate::room::Room;

/// Facts about the loaded model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelInfo {
    /// The name in the file, or else the file's own.
    pub name: String,
    /// llama.cpp's name for the family, such as `llama` or `qwen3`.
    pub architecture: String,
    /// The number of parameters.
    pub parameters: u64,
    /// Bytes of the weights, as they lie in the file or files.
    pub size_bytes: u64,
    /// How the weights are stored, such as `Q4_K_M`; `unknown` where the file does not say.
    pub quantization: String,
    /// The context length in use, in tokens: what one request may have.
    pub context_length: u32,
    /// How many requests are worked on at once.
    pub slots: u32,
    /// The context length that the model was trained with, in tokens.
    pub train_context_length: u32,
    /// What the model takes of the machine's memory.
    pub memory: Memory,
}

impl ModelInfo {
    pub(crate) fn read(model: &LlamaModel, path: &Path, room: &Room, memory: Memory) -> Self {
        let text = |key: &str| {
            let value = model.meta_val_str(key).ok();
            value.filter(|value| !value.is_empty())
        };
        let file_name = || {
            let stem = path.file_stem().unwrap_or_default();
            stem.to_string_lossy().into_owned()
        };
        let file_type = text("general.file_type").and_then(|number| number.parse().ok());
        let quantization = file_type.and_then(rbee_gguf::file_type).unwrap_or("unknown");
        Self {
            name: text("general.name").unwrap_or_else(file_name),
            architecture: text("general.architecture").unwrap_or_else(|| "unknown".to_owned()),
            parameters: model.n_params(),
            size_bytes: model.size(),
            quantization: quantization.to_owned(),
            context_length: room.context_length,
            slots: room.slots,
            train_context_length: model.n_ctx_train(),
            memory,
        }
    }
}
