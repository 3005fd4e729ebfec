//! Small files for tests, which are whole models by their headers.

use std::io::Cursor;

use crate::facts::Facts;
use crate::header::{
    DEFAULT_ALIGNMENT, Part, TYPE_ARRAY, TYPE_BOOL, TYPE_STRING, TYPE_U16, TYPE_U32, check_header,
};

/// A model that [`read`](crate::read) accepts, with about so many bytes of weights, all of them 0. Nothing can compute
/// with it.
pub fn valid_model(tensor_bytes: usize, name: &str) -> Vec<u8> {
    let mut file = TestFile::model("llama", 2);
    file.text("general.name", name);
    file.number("llama.attention.head_count", 4);
    file.tensor("token_embd.weight", (tensor_bytes / 4).max(1));
    file.finish()
}

/// Reads the bytes as each part of a model, with whatever comes out, and whatever can be asked of that.
pub fn try_bytes(bytes: &[u8]) {
    for part in [Part::Model, Part::Split(1), Part::Adapter] {
        let checked = check_header(Cursor::new(bytes), bytes.len() as u64, part);
        if let (Part::Model, Ok(checked)) = (part, checked) {
            let facts = Facts::new(&checked.metadata, &checked.weights);
            for tokens in [0, 1, facts.context_length, u32::MAX] {
                let (some, all) = (facts.context_bytes(tokens), facts.whole_context_bytes(tokens));
                assert!(all.is_none() || some <= all, "{facts:?}");
            }
        }
    }
}

/// A file that is being written.
#[derive(Debug)]
pub struct TestFile {
    count: u64,
    entries: Vec<u8>,
    tensors: Vec<(String, usize)>,
}

impl TestFile {
    /// What every model says: its family and layers, which represent tokens by 64 numbers, a context of 128
    /// tokens, and a vocabulary of three.
    pub fn model(architecture: &str, layers: u32) -> Self {
        let mut file = Self { count: 0, entries: Vec::new(), tensors: Vec::new() };
        file.text("general.architecture", architecture);
        for (key, number) in [("block_count", layers), ("context_length", 128), ("embedding_length", 64)] {
            file.number(&format!("{architecture}.{key}"), number);
        }
        file.text("tokenizer.ggml.model", "gpt2");
        file.list("tokenizer.ggml.tokens", TYPE_STRING, 3);
        ["one", "two", "three"].iter().for_each(|token| put_text(&mut file.entries, token));
        file
    }

    /// Adds an entry with a text.
    pub fn text(&mut self, key: &str, text: &str) {
        self.entry(key, TYPE_STRING);
        put_text(&mut self.entries, text);
    }

    /// Adds an entry with a number.
    pub fn number(&mut self, key: &str, number: u32) {
        self.entry(key, TYPE_U32);
        self.entries.extend(number.to_le_bytes());
    }

    /// Says which of a model's files it is, from 0, and of how many.
    pub fn split(&mut self, no: u16, count: u16) {
        for (key, number) in [("split.no", no), ("split.count", count)] {
            self.entry(key, TYPE_U16);
            self.entries.extend(number.to_le_bytes());
        }
    }

    /// Adds an entry that says whether something is so.
    pub fn flag(&mut self, key: &str, is_so: bool) {
        self.entry(key, TYPE_BOOL);
        self.entries.push(is_so.into());
    }

    /// Adds an entry with a number for each layer.
    pub fn numbers(&mut self, key: &str, numbers: &[u32]) {
        self.list(key, TYPE_U32, numbers.len());
        numbers.iter().for_each(|number| self.entries.extend(number.to_le_bytes()));
    }

    /// Adds an entry that says of each layer whether something is so.
    pub fn flags(&mut self, key: &str, flags: &[bool]) {
        self.list(key, TYPE_BOOL, flags.len());
        self.entries.extend(flags.iter().map(|&is_so| u8::from(is_so)));
    }

    /// Adds a tensor of so many numbers of 32 bits.
    pub fn tensor(&mut self, name: &str, elements: usize) {
        self.tensors.push((name.to_owned(), elements));
    }

    /// The file's bytes.
    pub fn finish(self) -> Vec<u8> {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(3_u32.to_le_bytes());
        bytes.extend((self.tensors.len() as u64).to_le_bytes());
        bytes.extend(self.count.to_le_bytes());
        bytes.extend(self.entries);
        let mut data_len: usize = 0;
        for (name, elements) in &self.tensors {
            put_tensor(&mut bytes, name, &[*elements as u64], 0, data_len as u64);
            data_len = (data_len + elements * size_of::<f32>()).next_multiple_of(DEFAULT_ALIGNMENT as usize);
        }
        bytes.resize(bytes.len().next_multiple_of(DEFAULT_ALIGNMENT as usize) + data_len, 0);
        bytes
    }

    fn entry(&mut self, key: &str, value_type: u32) {
        self.count += 1;
        put_text(&mut self.entries, key);
        self.entries.extend(value_type.to_le_bytes());
    }

    fn list(&mut self, key: &str, element_type: u32, count: usize) {
        self.entry(key, TYPE_ARRAY);
        self.entries.extend(element_type.to_le_bytes());
        self.entries.extend((count as u64).to_le_bytes());
    }
}

pub(crate) fn put_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}

pub(crate) fn put_tensor(bytes: &mut Vec<u8>, name: &str, extents: &[u64], tensor_type: u32, offset: u64) {
    put_text(bytes, name);
    bytes.extend((extents.len() as u32).to_le_bytes());
    for extent in extents {
        bytes.extend(extent.to_le_bytes());
    }
    bytes.extend(tensor_type.to_le_bytes());
    bytes.extend(offset.to_le_bytes());
}
