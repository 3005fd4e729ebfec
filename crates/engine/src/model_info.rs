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
        Self {
            name: text("general.name").unwrap_or_else(file_name),
            architecture: text("general.architecture").unwrap_or_else(|| "unknown".to_owned()),
            parameters: model.n_params(),
            size_bytes: model.size(),
            quantization: file_type.map_or("unknown", quantization).to_owned(),
            context_length: room.context_length,
            slots: room.slots,
            train_context_length: model.n_ctx_train(),
            memory,
        }
    }
}

/// The name of a GGUF file type, as file names have it.
fn quantization(file_type: u32) -> &'static str {
    match file_type {
        0 => "F32",
        1 => "F16",
        2 => "Q4_0",
        3 => "Q4_1",
        7 => "Q8_0",
        8 => "Q5_0",
        9 => "Q5_1",
        10 => "Q2_K",
        11 => "Q3_K_S",
        12 => "Q3_K_M",
        13 => "Q3_K_L",
        14 => "Q4_K_S",
        15 => "Q4_K_M",
        16 => "Q5_K_S",
        17 => "Q5_K_M",
        18 => "Q6_K",
        19 => "IQ2_XXS",
        20 => "IQ2_XS",
        21 => "Q2_K_S",
        22 => "IQ3_XS",
        23 => "IQ3_XXS",
        24 => "IQ1_S",
        25 => "IQ4_NL",
        26 => "IQ3_S",
        27 => "IQ3_M",
        28 => "IQ2_S",
        29 => "IQ2_M",
        30 => "IQ4_XS",
        31 => "IQ1_M",
        32 => "BF16",
        36 => "TQ1_0",
        37 => "TQ2_0",
        38 => "MXFP4",
        39 => "NVFP4",
        40 => "Q1_0",
        41 => "Q2_0",
        _ => "unknown",
    }
}
