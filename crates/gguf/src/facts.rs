//! What a header says of its model.

use crate::cache::Cache;
use crate::header::Weights;
use crate::metadata::{ARCHITECTURE, Metadata};
use crate::types::{file_type, tensor_type};

/// Families that write an answer without going from token to token; they say that they see a text as a whole, as
/// embedding models do.
const DIFFUSION: [&str; 4] = ["dream", "llada", "llada-moe", "rnd1"];

/// What a model's header says of it.
///
/// The texts come from whoever made the file. Of each there is at most the beginning, some hundred bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// llama.cpp's name for the family, such as `llama` or `qwen3`.
    pub architecture: String,
    /// The model's name.
    pub name: Option<String>,
    /// The licence's name, such as `apache-2.0`.
    pub license: Option<String>,
    /// What the maker calls its size, such as `8x7B`.
    pub size_label: Option<String>,
    /// Elements of all tensors.
    pub parameters: u64,
    /// What the tensors take in the file or files, in bytes.
    pub tensor_bytes: u64,
    /// How the weights are stored, such as `Q4_K_M`; where the file does not say, the type of most of them.
    pub quantization: Option<String>,
    /// The longest context that the model was trained with, in tokens.
    pub context_length: u32,
    /// Layers, with those that only guess further tokens.
    pub layers: u32,
    /// Numbers by which a token is represented between layers.
    pub embedding_length: u32,
    /// Attention heads of the layer that has most; 0 without attention.
    pub heads: u32,
    /// Heads for keys and values of the layer that has most; 0 without attention.
    pub kv_heads: u32,
    /// Numbers of a key in one head; 0 without attention.
    pub key_length: u32,
    /// Numbers of a value in one head; 0 without attention.
    pub value_length: u32,
    /// How many tokens back some layers see, if it says so.
    pub sliding_window: Option<u32>,
    /// Experts in each layer; 0 without.
    pub experts: u32,
    /// Experts that compute a token, in the layer that has most; 0 without.
    pub experts_used: u32,
    /// Tokens of the vocabulary.
    pub vocabulary: u64,
    /// How texts become tokens, such as `gpt2` or `llama`.
    pub tokenizer: String,
    /// Whether it says how a conversation is put to it.
    pub has_chat_template: bool,
    /// Whether it is made to represent texts, or to rank them, and not to answer.
    pub is_embedding_model: bool,
    cache: Option<Cache>,
}

impl Facts {
    /// Of metadata that [`Metadata::check_model`] found to be a model's.
    pub(crate) fn new(metadata: &Metadata, weights: &Weights) -> Self {
        let architecture = metadata.text(ARCHITECTURE).unwrap_or_default();
        let key = |name: &str| format!("{architecture}.{name}");
        let number = |name: &str| metadata.u32(&key(name));
        let most = |name: &str| metadata.most(&key(name)).unwrap_or(0);

        let embedding_length = number("embedding_length").unwrap_or(0);
        let layers = number("block_count").unwrap_or(0);
        let heads = most("attention.head_count");
        // llama.cpp goes by the first layer.
        let first_heads = metadata.per_layer(&key("attention.head_count"), layers);
        let first_heads = first_heads.and_then(|heads| heads.first().copied()).unwrap_or(0);
        let head_length = |name: &str| match embedding_length.checked_div(first_heads) {
            Some(equal_part) => number(name).unwrap_or(equal_part),
            None => 0,
        };
        let pooling = number("pooling_type").unwrap_or(0);
        let is_causal = metadata.bool(&key("attention.causal")).unwrap_or(true);
        let cache = Cache::new(&architecture, metadata);
        let has_cache = cache.is_none_or(|cache| cache.is_there());
        Self {
            name: metadata.text("general.name"),
            license: metadata.text("general.license"),
            size_label: metadata.text("general.size_label"),
            parameters: weights.elements.values().fold(0, |sum: u64, &elements| sum.saturating_add(elements)),
            tensor_bytes: weights.bytes,
            quantization: quantization(metadata, weights).map(str::to_owned),
            context_length: number("context_length").unwrap_or(0),
            layers,
            embedding_length,
            heads,
            kv_heads: metadata.most(&key("attention.head_count_kv")).unwrap_or(heads),
            key_length: head_length("attention.key_length"),
            value_length: head_length("attention.value_length"),
            sliding_window: number("attention.sliding_window").filter(|&window| window > 0),
            experts: most("expert_count"),
            experts_used: most("expert_used_count"),
            vocabulary: metadata.vocabulary(),
            tokenizer: metadata.text("tokenizer.ggml.model").unwrap_or_default(),
            has_chat_template: metadata.text("tokenizer.chat_template").is_some(),
            is_embedding_model: pooling > 0
                || (!is_causal || !has_cache) && !DIFFUSION.contains(&architecture.as_str()),
            cache,
            architecture,
        }
    }

    /// What the keys and values of so many tokens of one sequence take, in bytes, as llama.cpp keeps them unless it is
    /// told otherwise: in 16 bits, and in layers with a window only what is in it, beside a batch of 512 tokens.
    ///
    /// What recurrent layers keep does not grow with the tokens, and is not counted. `None` where the family's layers
    /// keep more or less than the header tells.
    pub fn context_bytes(&self, tokens: u32) -> Option<u64> {
        self.cache?.bytes(tokens)
    }

    /// The same where layers with a window keep all tokens too, so that a sequence can be taken back to any of them.
    pub fn whole_context_bytes(&self, tokens: u32) -> Option<u64> {
        self.cache?.whole_bytes(tokens)
    }
}

fn quantization(metadata: &Metadata, weights: &Weights) -> Option<&'static str> {
    if let Some(name) = metadata.u32("general.file_type").and_then(file_type) {
        return Some(name);
    }
    let (&commonest, _) = weights.elements.iter().max_by_key(|&(_, elements)| elements)?;
    Some(tensor_type(commonest)?.name)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::header::{Checked, Part, check_header};
    use crate::testing::{TestFile, valid_model};

    fn facts(file: TestFile) -> Facts {
        let bytes = file.finish();
        let checked = check_header(Cursor::new(&bytes), bytes.len() as u64, Part::Model);
        let Checked { metadata, weights } = checked.expect("the file is whole");
        Facts::new(&metadata, &weights)
    }

    #[test]
    fn a_header_tells_of_its_model() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("model.gguf");
        std::fs::write(&path, valid_model(100_000, "A model")).expect("the folder is writable");
        let facts = crate::read(&path).expect("it is a model");
        assert_eq!((facts.architecture.as_str(), facts.name.as_deref()), ("llama", Some("A model")));
        assert_eq!((facts.license, facts.size_label), (None, None));
        assert_eq!((facts.parameters, facts.tensor_bytes), (25_000, 100_000));
        assert_eq!(facts.quantization.as_deref(), Some("F32"));
        assert_eq!((facts.context_length, facts.layers, facts.embedding_length), (128, 2, 64));
        assert_eq!((facts.heads, facts.kv_heads, facts.key_length, facts.value_length), (4, 4, 16, 16));
        assert_eq!((facts.sliding_window, facts.experts, facts.experts_used), (None, 0, 0));
        assert_eq!((facts.vocabulary, facts.tokenizer.as_str()), (3, "gpt2"));
        assert!(!facts.has_chat_template && !facts.is_embedding_model);
    }

    #[test]
    fn the_weights_of_all_files_count() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let write = |no: u16, elements| {
            let mut file = TestFile::model("llama", 2);
            file.split(no, 2);
            file.tensor(&format!("blk.{no}.attn_q.weight"), elements);
            let path = folder.path().join(format!("model-{:05}-of-00002.gguf", no + 1));
            std::fs::write(&path, file.finish()).expect("the folder is writable");
            path
        };
        let (first, _) = (write(0, 100), write(1, 1000));
        let facts = crate::read(&first).expect("it is a model");
        assert_eq!((facts.parameters, facts.tensor_bytes), (1100, 4400));
        assert_eq!(crate::check(&first).expect("it is a model"), 4400);
    }

    #[test]
    fn a_file_type_has_the_name_that_file_names_have() {
        for (number, expected) in
            [(None, Some("F32")), (Some(15), Some("Q4_K_M")), (Some(7), Some("Q8_0")), (Some(4), Some("F32"))]
        {
            let mut file = TestFile::model("llama", 2);
            file.tensor("a", 32);
            if let Some(number) = number {
                file.number("general.file_type", number);
            }
            assert_eq!(facts(file).quantization.as_deref(), expected, "{number:?}");
        }
        assert_eq!(facts(TestFile::model("llama", 2)).quantization, None);
    }

    #[test]
    fn of_long_texts_the_beginning_is_told() {
        let mut file = TestFile::model("llama", 2);
        file.text("general.name", &format!("-{}", "ä".repeat(1000)));
        file.text("general.license", " ");
        file.text("tokenizer.chat_template", "{{ messages }}");
        let facts = facts(file);
        assert_eq!(facts.name, Some(format!("-{}", "ä".repeat(127))));
        assert_eq!(facts.license, None);
        assert!(facts.has_chat_template);
    }

    #[test]
    fn layers_that_differ_are_told_by_the_most() {
        let mut file = TestFile::model("llama", 2);
        file.numbers("llama.attention.head_count", &[4, 8]);
        file.numbers("llama.attention.head_count_kv", &[2, 1]);
        file.number("llama.attention.value_length", 32);
        file.number("llama.expert_count", 8);
        file.numbers("llama.expert_used_count", &[2, 3]);
        file.number("llama.attention.sliding_window", 512);
        let facts = facts(file);
        assert_eq!((facts.heads, facts.kv_heads, facts.key_length, facts.value_length), (8, 2, 16, 32));
        assert_eq!((facts.experts, facts.experts_used, facts.sliding_window), (8, 3, Some(512)));
    }

    #[test]
    fn embedding_models_are_known() {
        let check = |family: &str, pooling: Option<u32>, causal: Option<bool>, expected: bool| {
            let mut file = TestFile::model(family, 2);
            pooling.into_iter().for_each(|kind| file.number(&format!("{family}.pooling_type"), kind));
            causal.into_iter().for_each(|is_so| file.flag(&format!("{family}.attention.causal"), is_so));
            assert_eq!(facts(file).is_embedding_model, expected, "{family} {pooling:?} {causal:?}");
        };
        check("qwen3", None, None, false);
        check("qwen3", Some(0), Some(true), false);
        check("qwen3", Some(3), None, true);
        check("llama", None, Some(false), true);
        check("bert", None, None, true);
        check("llada", None, Some(false), false);
        check("mamba", None, None, false);
        check("deepseek4", None, None, false);
    }

    /// Checks what tokens take, with windows and without.
    #[track_caller]
    fn check_context(file: TestFile, tokens: u32, expected: Option<(u64, u64)>) {
        let facts = facts(file);
        let bytes = facts.context_bytes(tokens).zip(facts.whole_context_bytes(tokens));
        assert_eq!(bytes, expected, "{facts:?}");
    }

    /// A model whose heads have keys and values of 16 numbers, so that a token takes 64 bytes in each.
    fn model(family: &str, layers: u32, kv_heads: &[u32]) -> TestFile {
        let mut file = TestFile::model(family, layers);
        file.number(&format!("{family}.attention.head_count"), 4);
        match kv_heads {
            [] => {}
            [number] => file.number(&format!("{family}.attention.head_count_kv"), *number),
            numbers => file.numbers(&format!("{family}.attention.head_count_kv"), numbers),
        }
        file
    }

    fn windowed(family: &str, layers: u32, window: u32) -> TestFile {
        let mut file = model(family, layers, &[1]);
        file.number(&format!("{family}.attention.sliding_window"), window);
        file
    }

    #[test]
    fn each_layer_keeps_keys_and_values_for_each_head() {
        let bytes = |bytes| Some((bytes, bytes));
        check_context(model("llama", 2, &[]), 256, bytes(256 * 64 * 2 * 4));
        check_context(model("llama", 2, &[1]), 257, bytes(512 * 64 * 2));
        check_context(model("llama", 2, &[1]), 0, bytes(0));
        // As SmolLM2-135M.
        let mut file = model("llama", 30, &[3]);
        file.number("llama.attention.key_length", 64);
        file.number("llama.attention.value_length", 64);
        check_context(file, 8192, bytes(8192 * 23_040));
        // Layers without heads for keys are recurrent.
        check_context(model("jamba", 3, &[0, 2, 0]), 256, bytes(256 * 64 * 2));
        check_context(TestFile::model("mamba", 2), 256, bytes(0));
        check_context(model("bert", 2, &[]), 256, bytes(0));
        // A window that llama.cpp takes no notice of.
        check_context(windowed("phi3", 2, 512), 8192, bytes(8192 * 64 * 2));
    }

    #[test]
    fn layers_with_a_window_keep_what_is_in_it() {
        let check = |file, tokens, whole_layers: u64, windowed_layers: u64, in_window: u64| {
            let layer = |cells: u64| cells * 64;
            let whole = layer(tokens) * (whole_layers + windowed_layers);
            let expected = layer(tokens) * whole_layers + layer(in_window) * windowed_layers;
            check_context(file, tokens as u32, Some((expected, whole)));
        };
        // As Gemma 3 270M.
        check(windowed("gemma3", 18, 512), 8192, 3, 15, 1024);
        check(windowed("gemma3", 18, 512), 512, 3, 15, 512);
        check(model("gemma3", 18, &[1]), 8192, 18, 0, 0);
        check(model("gemma2", 4, &[1]), 8192, 2, 2, 4608);
        check(windowed("cohere2moe", 5, 512), 8192, 2, 3, 1024);
        check(windowed("gemma3n", 35, 512), 8192, 4, 16, 1024);
        check(windowed("llama4", 4, 0), 16_384, 4, 0, 0);
        check(model("llama4", 4, &[1]), 16_384, 1, 3, 8704);

        let mut every_third = windowed("gemma3", 6, 512);
        every_third.number("gemma3.attention.sliding_window_pattern", 3);
        check(every_third, 8192, 2, 4, 1024);
        let mut said = windowed("gemma3", 3, 512);
        said.flags("gemma3.attention.sliding_window_pattern", &[true, true, false]);
        check(said, 8192, 1, 2, 1024);
    }

    #[test]
    fn shared_and_differing_layers_count_as_they_are() {
        let mut file = windowed("gemma4", 4, 512);
        file.flags("gemma4.attention.sliding_window_pattern", &[true, false, true, false]);
        file.number("gemma4.attention.shared_kv_layers", 2);
        file.number("gemma4.attention.key_length_swa", 8);
        file.number("gemma4.attention.value_length_swa", 8);
        check_context(file, 8192, Some((8192 * 64 + 1024 * 32, 8192 * (64 + 32))));
        // Without what it needs to say.
        check_context(windowed("gemma4", 4, 512), 8192, None);
    }

    #[test]
    fn what_only_some_layers_keep_is_known_by_the_family() {
        let bytes = |bytes| Some((bytes, bytes));
        check_context(model("qwen3next", 8, &[1]), 256, bytes(256 * 64 * 2));
        let mut file = model("qwen35", 4, &[1]);
        file.flags("qwen35.attention.recurrent_layers", &[true, false, true, false]);
        check_context(file, 256, bytes(256 * 64 * 2));
        let mut file = model("qwen3next", 4, &[1]);
        file.number("qwen3next.full_attention_interval", 0);
        check_context(file, 256, None);
        // Those that guess further tokens keep nothing in a context that does not.
        let mut file = model("glm4moe", 3, &[1]);
        file.number("glm4moe.nextn_predict_layers", 1);
        check_context(file, 256, bytes(256 * 64 * 2));
        // Compressed keys, of which the values are computed.
        let mut file = model("deepseek2", 2, &[1]);
        file.number("deepseek2.attention.key_length", 576);
        file.number("deepseek2.attention.value_length", 512);
        file.number("deepseek2.attention.key_length_mla", 192);
        file.number("deepseek2.attention.value_length_mla", 128);
        check_context(file, 256, bytes(256 * 576 * 2 * 2));
        check_context(model("deepseek4", 2, &[1]), 256, None);
    }

    #[test]
    fn what_cannot_be_counted_is_not_told() {
        let mut file = model("llama", 2, &[u32::MAX]);
        file.number("llama.attention.value_length", u32::MAX);
        check_context(file, u32::MAX, None);
        // One number for three layers.
        check_context(model("llama", 3, &[1, 1]), 256, None);
    }
}
