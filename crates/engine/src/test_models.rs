//! Tiny models of kinds that the test model is none of, with random weights, written as they are wanted.

use std::io::Write;

use tempfile::NamedTempFile;

const U32: u32 = 4;
const I32: u32 = 5;
const F32: u32 = 6;
const BOOL: u32 = 7;
const STRING: u32 = 8;
const ARRAY: u32 = 9;
const ALIGNMENT: usize = 32;

/// A GGUF file that is being written.
pub(crate) struct ModelFile {
    architecture: &'static str,
    entries: Vec<u8>,
    count: u64,
    tensors: Vec<(String, Vec<usize>, Vec<f32>)>,
    random: u64,
}

impl ModelFile {
    pub(crate) fn new(architecture: &'static str) -> Self {
        let mut file = Self {
            architecture,
            entries: Vec::new(),
            count: 0,
            tensors: Vec::new(),
            random: 0x9e37_79b9_7f4a_7c15,
        };
        file.entry("general.architecture", STRING, &text(architecture));
        file
    }

    fn entry(&mut self, key: &str, kind: u32, value: &[u8]) {
        self.entries.extend(text(key));
        self.entries.extend(kind.to_le_bytes());
        self.entries.extend(value);
        self.count += 1;
    }

    fn own(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture)
    }

    fn numbers(&mut self, numbers: &[(&str, u32)]) {
        for (key, number) in numbers {
            let key = self.own(key);
            self.entry(&key, U32, &number.to_le_bytes());
        }
    }

    fn number(&mut self, key: &str, number: u32) {
        self.entry(key, U32, &number.to_le_bytes());
    }

    fn float(&mut self, key: &str, number: f32) {
        let key = self.own(key);
        self.entry(&key, F32, &number.to_le_bytes());
    }

    fn list(&mut self, key: &str, kind: u32, count: usize, values: &[u8]) {
        let mut value = kind.to_le_bytes().to_vec();
        value.extend((count as u64).to_le_bytes());
        value.extend(values);
        self.entry(key, ARRAY, &value);
    }

    fn tokens(&mut self, kind: &str, tokens: &[(String, i32)]) {
        self.entry("tokenizer.ggml.model", STRING, &text(kind));
        let texts: Vec<u8> = tokens.iter().flat_map(|(token, _)| text(token)).collect();
        self.list("tokenizer.ggml.tokens", STRING, tokens.len(), &texts);
        let scores: Vec<u8> = (0..tokens.len()).flat_map(|index| (-(index as f32)).to_le_bytes()).collect();
        self.list("tokenizer.ggml.scores", F32, tokens.len(), &scores);
        let kinds: Vec<u8> = tokens.iter().flat_map(|(_, kind)| kind.to_le_bytes()).collect();
        self.list("tokenizer.ggml.token_type", I32, tokens.len(), &kinds);
    }

    /// A tensor of random numbers up to `most`.
    fn weights(&mut self, name: impl Into<String>, extents: &[usize], most: f32) {
        let count = extents.iter().product();
        let values = (0..count).map(|_| self.next_random() * most).collect();
        self.tensors.push((name.into(), extents.to_vec(), values));
    }

    /// A tensor of one number again and again.
    fn constant(&mut self, name: impl Into<String>, extents: &[usize], value: f32) {
        let count = extents.iter().product();
        self.tensors.push((name.into(), extents.to_vec(), vec![value; count]));
    }

    /// From -1 to 1; the same ones each time.
    fn next_random(&mut self) -> f32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    fn finish(self) -> NamedTempFile {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(3_u32.to_le_bytes());
        bytes.extend((self.tensors.len() as u64).to_le_bytes());
        bytes.extend(self.count.to_le_bytes());
        bytes.extend(&self.entries);
        let mut data: Vec<u8> = Vec::new();
        for (name, extents, values) in &self.tensors {
            bytes.extend(text(name));
            bytes.extend((extents.len() as u32).to_le_bytes());
            extents.iter().for_each(|extent| bytes.extend((*extent as u64).to_le_bytes()));
            bytes.extend(0_u32.to_le_bytes());
            bytes.extend((data.len() as u64).to_le_bytes());
            data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
            data.resize(data.len().next_multiple_of(ALIGNMENT), 0);
        }
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
        bytes.extend(data);
        let mut file = NamedTempFile::with_suffix(".gguf").expect("a temporary file");
        file.write_all(&bytes).expect("room for a tiny model");
        file
    }
}

fn text(text: &str) -> Vec<u8> {
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes
}

/// Those of a sentence-piece vocabulary that every text can be made of.
fn byte_tokens() -> Vec<(String, i32)> {
    const UNKNOWN: i32 = 2;
    const CONTROL: i32 = 3;
    const BYTE: i32 = 6;
    let control = [("<unk>", UNKNOWN), ("<s>", CONTROL), ("</s>", CONTROL)];
    let control = control.map(|(token, kind)| (token.to_owned(), kind));
    control.into_iter().chain((0..=255).map(|byte| (format!("<0x{byte:02X}>"), BYTE))).collect()
}

/// An adapter of rank 1 for the test model: it adds one direction to what the last layer says.
pub(crate) fn adapter() -> NamedTempFile {
    const EMBEDDING: usize = 576;
    const FORWARD: usize = 1536;
    let mut file = ModelFile::new("llama");
    file.entry("general.type", STRING, &text("adapter"));
    file.entry("adapter.type", STRING, &text("lora"));
    file.entry("adapter.lora.alpha", F32, &1_f32.to_le_bytes());
    file.weights("blk.29.ffn_down.weight.lora_a", &[FORWARD, 1], 1.0);
    file.weights("blk.29.ffn_down.weight.lora_b", &[1, EMBEDDING], 1.0);
    file.finish()
}

/// The same for a model of another shape.
pub(crate) fn adapter_of_another_shape() -> NamedTempFile {
    let mut file = ModelFile::new("llama");
    file.entry("general.type", STRING, &text("adapter"));
    file.entry("adapter.type", STRING, &text("lora"));
    file.weights("blk.0.ffn_down.weight.lora_a", &[64, 1], 1.0);
    file.weights("blk.0.ffn_down.weight.lora_b", &[1, 64], 1.0);
    file.finish()
}

/// A recurrent model: its memory is a state, which cannot be taken back.
pub(crate) fn mamba() -> NamedTempFile {
    const EMBEDDING: usize = 32;
    const INNER: usize = 2 * EMBEDDING;
    const STATE: usize = 16;
    const RANK: usize = 4;
    let mut file = ModelFile::new("mamba");
    file.numbers(&[
        ("context_length", 1024),
        ("embedding_length", EMBEDDING as u32),
        ("feed_forward_length", 0),
        ("attention.head_count", 0),
        ("block_count", 2),
        ("ssm.conv_kernel", 4),
        ("ssm.inner_size", INNER as u32),
        ("ssm.state_size", STATE as u32),
        ("ssm.time_step_rank", RANK as u32),
    ]);
    file.float("attention.layer_norm_rms_epsilon", 1e-5);
    let tokens = byte_tokens();
    file.tokens("llama", &tokens);
    file.weights("token_embd.weight", &[EMBEDDING, tokens.len()], 1.0);
    file.constant("output_norm.weight", &[EMBEDDING], 1.0);
    for layer in 0..2 {
        let name = |name: &str| format!("blk.{layer}.{name}");
        file.constant(name("attn_norm.weight"), &[EMBEDDING], 1.0);
        file.weights(name("ssm_in.weight"), &[EMBEDDING, 2 * INNER], 0.3);
        file.weights(name("ssm_conv1d.weight"), &[4, INNER], 0.5);
        file.weights(name("ssm_conv1d.bias"), &[INNER], 0.1);
        file.weights(name("ssm_x.weight"), &[INNER, RANK + 2 * STATE], 0.3);
        file.weights(name("ssm_dt.weight"), &[RANK, INNER], 0.3);
        file.weights(name("ssm_dt.bias"), &[INNER], 0.3);
        // What it forgets.
        file.constant(name("ssm_a"), &[STATE, INNER], -0.5);
        file.weights(name("ssm_d"), &[INNER], 0.5);
        file.weights(name("ssm_out.weight"), &[INNER, EMBEDDING], 0.3);
    }
    file.finish()
}

/// A model whose layers but every sixth see only the last tokens.
pub(crate) fn sliding() -> NamedTempFile {
    const EMBEDDING: usize = 64;
    const HEADS: usize = 2;
    const HEAD: usize = 32;
    const FORWARD: usize = 128;
    const LAYERS: usize = 6;
    let mut file = ModelFile::new("gemma3");
    file.numbers(&[
        ("context_length", 2048),
        ("embedding_length", EMBEDDING as u32),
        ("feed_forward_length", FORWARD as u32),
        ("attention.head_count", HEADS as u32),
        ("attention.head_count_kv", 1),
        ("attention.key_length", HEAD as u32),
        ("attention.value_length", HEAD as u32),
        ("attention.sliding_window", 48),
        ("block_count", LAYERS as u32),
    ]);
    file.float("attention.layer_norm_rms_epsilon", 1e-6);
    let tokens = byte_tokens();
    file.tokens("llama", &tokens);
    file.weights("token_embd.weight", &[EMBEDDING, tokens.len()], 0.5);
    file.constant("output_norm.weight", &[EMBEDDING], 1.0);
    for layer in 0..LAYERS {
        let name = |name: &str| format!("blk.{layer}.{name}");
        for norm in ["attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"] {
            file.constant(name(&format!("{norm}.weight")), &[EMBEDDING], 1.0);
        }
        for norm in ["attn_k_norm", "attn_q_norm"] {
            file.constant(name(&format!("{norm}.weight")), &[HEAD], 2.0);
        }
        file.weights(name("attn_q.weight"), &[EMBEDDING, HEADS * HEAD], 0.3);
        file.weights(name("attn_k.weight"), &[EMBEDDING, HEAD], 0.3);
        file.weights(name("attn_v.weight"), &[EMBEDDING, HEAD], 0.3);
        file.weights(name("attn_output.weight"), &[HEADS * HEAD, EMBEDDING], 0.3);
        file.weights(name("ffn_gate.weight"), &[EMBEDDING, FORWARD], 0.3);
        file.weights(name("ffn_up.weight"), &[EMBEDDING, FORWARD], 0.3);
        file.weights(name("ffn_down.weight"), &[FORWARD, EMBEDDING], 0.3);
    }
    file.finish()
}

/// A model that only makes embeddings: each token sees those after it, too.
pub(crate) fn bert() -> NamedTempFile {
    const EMBEDDING: usize = 32;
    const FORWARD: usize = 64;
    const CONTEXT: usize = 128;
    let mut file = ModelFile::new("bert");
    file.numbers(&[
        ("context_length", CONTEXT as u32),
        ("embedding_length", EMBEDDING as u32),
        ("feed_forward_length", FORWARD as u32),
        ("attention.head_count", 2),
        ("block_count", 2),
        ("pooling_type", 2),
    ]);
    file.float("attention.layer_norm_epsilon", 1e-12);
    file.entry("bert.attention.causal", BOOL, &[0]);
    let control = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"].map(|token| (token.to_owned(), 3));
    let letters = ('a'..='z').flat_map(|letter| [(format!("\u{2581}{letter}"), 1), (letter.to_string(), 1)]);
    let tokens: Vec<(String, i32)> = control.into_iter().chain(letters).collect();
    file.tokens("bert", &tokens);
    file.number("tokenizer.ggml.token_type_count", 2);
    for (key, token) in
        [("padding", 0), ("unknown", 1), ("bos", 2), ("cls", 2), ("seperator", 3), ("mask", 4)]
    {
        file.number(&format!("tokenizer.ggml.{key}_token_id"), token);
    }
    file.weights("token_embd.weight", &[EMBEDDING, tokens.len()], 1.0);
    file.weights("token_types.weight", &[EMBEDDING, 2], 0.1);
    file.weights("position_embd.weight", &[EMBEDDING, CONTEXT], 0.3);
    file.constant("token_embd_norm.weight", &[EMBEDDING], 1.0);
    file.constant("token_embd_norm.bias", &[EMBEDDING], 0.0);
    for layer in 0..2 {
        let name = |name: &str| format!("blk.{layer}.{name}");
        for part in ["attn_q", "attn_k", "attn_v", "attn_output"] {
            file.weights(name(&format!("{part}.weight")), &[EMBEDDING, EMBEDDING], 0.4);
            file.weights(name(&format!("{part}.bias")), &[EMBEDDING], 0.1);
        }
        for norm in ["attn_output_norm", "layer_output_norm"] {
            file.constant(name(&format!("{norm}.weight")), &[EMBEDDING], 1.0);
            file.constant(name(&format!("{norm}.bias")), &[EMBEDDING], 0.0);
        }
        file.weights(name("ffn_up.weight"), &[EMBEDDING, FORWARD], 0.4);
        file.weights(name("ffn_up.bias"), &[FORWARD], 0.1);
        file.weights(name("ffn_down.weight"), &[FORWARD, EMBEDDING], 0.4);
        file.weights(name("ffn_down.bias"), &[EMBEDDING], 0.1);
    }
    file.finish()
}
