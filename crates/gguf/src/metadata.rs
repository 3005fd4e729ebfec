//! What a model's metadata must say, for llama.cpp to be able to load it.
//!
//! llama.cpp judges most of it itself, with a message. Here is what it would end the process over,
//! or divide or allocate by without a look.

use std::collections::HashMap;

use crate::MIN_CONTEXT_LENGTH;
use crate::header::{DEFAULT_ALIGNMENT, Problem, TYPE_BOOL, TYPE_F32, TYPE_I32, TYPE_STRING, bad};

/// llama.cpp's limits.
pub(crate) const MAX_LAYERS: u32 = 512;
const MAX_EXPERTS: u32 = 1024;
const ROPE_SCALING_TYPES: [&[u8]; 4] = [b"none", b"linear", b"yarn", b"longrope"];
const MAX_POOLING_TYPE: u32 = 4;
/// Far beyond any model, which have some millions and some ten thousands.
const MAX_CONTEXT_LENGTH: u32 = 1 << 28;
const MAX_EMBEDDING_LENGTH: u32 = 1 << 20;

pub(crate) const TOKENS: &[u8] = b"tokenizer.ggml.tokens";
pub(crate) const ARCHITECTURE: &str = "general.architecture";

/// What of an entry's value matters.
#[derive(Debug)]
pub(crate) enum Value {
    U16(u16),
    U32(u32),
    F32(f32),
    Bool(bool),
    /// The beginning of a text.
    Text(Vec<u8>),
    /// A number for each layer, where there are not more than there may be layers.
    Layers {
        element_type: u32,
        numbers: Vec<u32>,
    },
    /// Any other list.
    Array {
        element_type: u32,
        count: u64,
    },
    /// The vocabulary, and how many of the 256 bytes have a token.
    Tokens {
        count: u64,
        bytes: usize,
    },
    Other,
}

impl Value {
    /// The type of a list's elements, and how many it has.
    fn list(&self) -> Option<(u32, u64)> {
        match self {
            Value::Layers { element_type, numbers } => Some((*element_type, numbers.len() as u64)),
            Value::Array { element_type, count } => Some((*element_type, *count)),
            _ => None,
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Metadata(HashMap<Vec<u8>, Value>);

impl Metadata {
    pub(crate) fn add(&mut self, key: Vec<u8>, value: Value) -> Result<(), Problem> {
        let shown = key.escape_ascii().to_string();
        if let Value::F32(number) = value {
            if !number.is_finite() {
                return bad(format!("its metadata entry `{shown}` is {number}"));
            }
            // Normalisation ends the process over it.
            if number < 0.0 && key.ends_with(b"epsilon") {
                return bad(format!(
                    "its metadata entry `{shown}` is {number}, where none below 0 is allowed"
                ));
            }
        }
        match self.0.insert(key, value) {
            None => Ok(()),
            Some(_) => bad(format!("it has two metadata entries `{shown}`")),
        }
    }

    pub(crate) fn alignment(&self) -> Result<u64, Problem> {
        match self.get("general.alignment") {
            None => Ok(DEFAULT_ALIGNMENT),
            Some(Value::U32(alignment)) if alignment.is_power_of_two() => Ok((*alignment).into()),
            Some(Value::U32(alignment)) => bad(format!("its alignment is {alignment}, not a power of two")),
            Some(_) => bad("its alignment is not a number of 32 bits"),
        }
    }

    /// How many files the model is divided into; 0 where it does not say.
    pub(crate) fn splits(&self) -> u16 {
        match self.get("split.count") {
            Some(Value::U16(count)) => *count,
            _ => 0,
        }
    }

    /// Checks a file that has only tensors.
    pub(crate) fn check_split(&self, index: u16) -> Result<(), Problem> {
        match self.get("split.no") {
            Some(Value::U16(no)) if *no == index => Ok(()),
            _ => bad(format!("it is not part {} of its model", index + 1)),
        }
    }

    /// Checks what describes an adapter. llama.cpp ends the process over values of other types.
    pub(crate) fn check_adapter(&self) -> Result<(), Problem> {
        for (key, expected) in [("general.type", &b"adapter"[..]), ("adapter.type", b"lora")] {
            match self.get(key) {
                Some(Value::Text(kind)) if kind == expected => {}
                _ => return bad("it is no LoRA adapter"),
            }
        }
        match (self.get(ARCHITECTURE), self.get("adapter.lora.alpha")) {
            (Some(Value::Text(_)), None | Some(Value::F32(_))) => Ok(()),
            (Some(Value::Text(_)), Some(_)) => bad("its `adapter.lora.alpha` is not a number of 32 bits"),
            _ => bad("it does not say of which architecture its model is"),
        }
    }

    /// Checks what describes a model.
    pub(crate) fn check_model(&self) -> Result<(), Problem> {
        if self.splits() > 1 {
            self.check_split(0)?;
        }
        let architecture = match self.get(ARCHITECTURE) {
            Some(Value::Text(name)) => String::from_utf8_lossy(name).into_owned(),
            _ => return bad("it does not say of which architecture the model is"),
        };
        if architecture == "clip" {
            return bad("it is only the part of a model that sees or hears");
        }
        let layers = self.number(&architecture, "block_count", MAX_LAYERS)?;
        let context_length = self.number(&architecture, "context_length", MAX_CONTEXT_LENGTH)?;
        if context_length < MIN_CONTEXT_LENGTH {
            return bad(format!(
                "`{architecture}.context_length` is {context_length}, where {MIN_CONTEXT_LENGTH} at least was expected"
            ));
        }
        let embedding = self.number(&architecture, "embedding_length", MAX_EMBEDDING_LENGTH)?;
        self.check_attention(&architecture, embedding)?;
        self.check_experts(&architecture)?;

        let key = |name: &str| format!("{architecture}.{name}");
        self.at_most(&key("nextn_predict_layers"), layers)?;
        self.at_most(&key("pooling_type"), MAX_POOLING_TYPE)?;
        match self.get(&key("rope.scaling.type")) {
            None => {}
            Some(Value::Text(kind)) if ROPE_SCALING_TYPES.contains(&kind.as_slice()) => {}
            Some(_) => return bad(format!("its `{}` is none that is known", key("rope.scaling.type"))),
        }
        self.check_vocabulary()
    }

    fn check_attention(&self, architecture: &str, embedding: u32) -> Result<(), Problem> {
        let key = |name: &str| format!("{architecture}.{name}");
        let head = match (self.most(&key("attention.key_length")), self.get(&key("attention.head_count"))) {
            (Some(length), _) => length,
            (None, Some(Value::U32(heads @ 1..))) => embedding / heads,
            // Without attention, or with heads that differ by layer.
            _ => return Ok(()),
        };
        if head == 0 || head > MAX_EMBEDDING_LENGTH {
            return bad(format!("its attention heads have {head} dimensions"));
        }
        if let Some(Value::U32(rotated)) = self.get(&key("rope.dimension_count"))
            && (*rotated > head || rotated % 2 != 0)
        {
            return bad(format!(
                "`{}` is {rotated}, where an even number up to {head} was expected",
                key("rope.dimension_count")
            ));
        }
        Ok(())
    }

    fn check_experts(&self, architecture: &str) -> Result<(), Problem> {
        let key = |name: &str| format!("{architecture}.{name}");
        let count = |name: &str| self.most(&key(name)).unwrap_or(0);
        let (experts, used) = (count("expert_count"), count("expert_used_count"));
        let (groups, groups_used) = (count("expert_group_count"), count("expert_group_used_count"));
        let sense = match experts {
            // These say so of models without.
            0 | 1 if architecture.starts_with("hunyuan") => true,
            0 => used == 0 && groups == 0,
            _ => {
                let grouped = groups > 1;
                (1..=experts).contains(&used)
                    && experts <= MAX_EXPERTS
                    && groups < experts
                    && (!grouped || experts % groups == 0 && (1..groups).contains(&groups_used))
            }
        };
        if !sense {
            return bad(format!(
                "it claims {experts} experts in {groups} groups, of which {used} experts and {groups_used} groups \
                 are used"
            ));
        }
        Ok(())
    }

    fn check_vocabulary(&self) -> Result<(), Problem> {
        let kind = match self.get("tokenizer.ggml.model") {
            Some(Value::Text(kind)) => kind.as_slice(),
            _ => return bad("it does not say how to make tokens of text"),
        };
        let tokens = self.0.get(TOKENS);
        let Some(Value::Tokens { count: count @ 1.., bytes }) =
            tokens.filter(|_| !matches!(kind, b"none" | b"no_vocab"))
        else {
            return bad("it has no vocabulary");
        };
        // What such a vocabulary has no token for is made of tokens for bytes, which llama.cpp expects to be there.
        if kind == b"llama" && *bytes < 256 {
            return bad(format!("its vocabulary has tokens for only {bytes} of the 256 bytes"));
        }
        // llama.cpp puts a token before each text, and has none of its own for these.
        if matches!(kind, b"t5" | b"gemma4") && self.get("tokenizer.ggml.bos_token_id").is_none() {
            return bad("it does not say which token begins a text");
        }
        for (key, element_types) in [
            ("tokenizer.ggml.scores", [TYPE_F32, TYPE_I32]),
            ("tokenizer.ggml.token_type", [TYPE_I32, TYPE_I32]),
        ] {
            match self.get(key).map(Value::list) {
                None => {}
                Some(Some((element_type, values)))
                    if values >= *count && element_types.contains(&element_type) => {}
                Some(_) => return bad(format!("its `{key}` does not fit its vocabulary of {count} tokens")),
            }
        }
        match self.get("tokenizer.ggml.merges") {
            None | Some(Value::Array { element_type: TYPE_STRING, .. }) => Ok(()),
            Some(_) => bad("its `tokenizer.ggml.merges` is no list of texts"),
        }
    }

    fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key.as_bytes())
    }

    /// A number that must be there, from 1 to `most`.
    fn number(&self, architecture: &str, name: &str, most: u32) -> Result<u32, Problem> {
        match self.get(&format!("{architecture}.{name}")) {
            Some(Value::U32(number)) if (1..=most).contains(number) => Ok(*number),
            Some(Value::U32(number)) => {
                bad(format!("`{architecture}.{name}` is {number}, where 1 to {most} was expected"))
            }
            Some(_) => bad(format!("`{architecture}.{name}` is not a number of 32 bits")),
            None => bad(format!("it has no `{architecture}.{name}`")),
        }
    }

    fn at_most(&self, key: &str, most: u32) -> Result<(), Problem> {
        match self.most(key) {
            Some(number) if number > most => {
                bad(format!("`{key}` is {number}, where at most {most} was expected"))
            }
            _ => Ok(()),
        }
    }

    /// A number, or the largest of one for each layer.
    pub(crate) fn most(&self, key: &str) -> Option<u32> {
        match self.get(key)? {
            Value::U32(number) => Some(*number),
            Value::Layers { element_type: TYPE_BOOL, .. } | Value::Array { .. } => Some(0),
            Value::Layers { numbers, .. } => Some(numbers.iter().copied().max().unwrap_or(0)),
            _ => None,
        }
    }

    /// The beginning of a text, if there is anything in it.
    pub(crate) fn text(&self, key: &str) -> Option<String> {
        let Value::Text(bytes) = self.get(key)? else { return None };
        let text = String::from_utf8_lossy(bytes);
        // Where the beginning ends within a character.
        let text = text.trim_end_matches(char::REPLACEMENT_CHARACTER).trim();
        (!text.is_empty()).then(|| text.to_owned())
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    pub(crate) fn u32(&self, key: &str) -> Option<u32> {
        match self.get(key)? {
            Value::U32(number) => Some(*number),
            _ => None,
        }
    }

    pub(crate) fn bool(&self, key: &str) -> Option<bool> {
        match self.get(key)? {
            Value::Bool(is_so) => Some(*is_so),
            _ => None,
        }
    }

    /// A list with a number for each layer, however many it has.
    pub(crate) fn list(&self, key: &str) -> Option<&[u32]> {
        match self.get(key)? {
            Value::Layers { numbers, .. } => Some(numbers),
            _ => None,
        }
    }

    /// A number for each of so many layers, of which there may be a list; `None` where llama.cpp would take neither.
    pub(crate) fn per_layer(&self, key: &str, layers: u32) -> Option<Vec<u32>> {
        match self.get(key)? {
            Value::U32(number) => Some(vec![*number; layers as usize]),
            Value::Layers { numbers, .. } if numbers.len() == layers as usize => Some(numbers.clone()),
            _ => None,
        }
    }

    /// How many tokens the vocabulary has.
    pub(crate) fn vocabulary(&self) -> u64 {
        match self.0.get(TOKENS) {
            Some(Value::Tokens { count, .. }) => *count,
            _ => 0,
        }
    }
}

/// The byte that a token stands for, where it stands for one.
pub(crate) fn byte_of(token: &[u8]) -> Option<u8> {
    match token {
        [byte] => Some(*byte),
        [b'<', b'0', b'x', digits @ .., b'>']
            if digits.len() == 2 && !digits.iter().any(u8::is_ascii_lowercase) =>
        {
            u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
        }
        _ => None,
    }
}
