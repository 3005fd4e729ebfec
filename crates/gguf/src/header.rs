//! Reads a header, a field at a time, and checks each before anything rests on it.

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, BufRead, Seek, SeekFrom};

use crate::metadata::{self, Metadata, Value};
use crate::types::tensor_type;

/// Headers hold the vocabulary and are some megabytes, at most 20; a claim beyond this is damage.
const MAX_HEADER_BYTES: u64 = 128 << 20;
/// The largest vocabularies have a quarter of a million tokens and twice as many merges.
const MAX_STRINGS: u64 = 1 << 21;
/// Some files have the whole `tokenizer.json` as one text.
const MAX_TEXT_BYTES: u64 = 32 << 20;
const MAX_TOKEN_BYTES: u64 = 65_535;
/// Models have fewer than a hundred entries and some thousands of tensors.
const MAX_PAIRS: u64 = 4096;
const MAX_TENSORS: u64 = 65_536;
const MAX_KEY_BYTES: u64 = 1024;
/// llama.cpp's limits.
const MAX_TENSOR_NAME_BYTES: u64 = 63;
const MAX_DIMENSIONS: u32 = 4;
pub(crate) const DEFAULT_ALIGNMENT: u64 = 32;
/// The beginning of a text that is kept: names of things are shorter.
const KEPT_TEXT_BYTES: usize = 256;

/// Which file of a model it is.
#[derive(Clone, Copy)]
pub(crate) enum Part {
    /// The only one, or the first: it describes the model.
    Model,
    /// One that has only tensors, and its index.
    Split(u16),
    /// One that has what is added to a model's tensors.
    Adapter,
}

/// What a file that was checked says.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) metadata: Metadata,
    pub(crate) weights: Weights,
}

/// What the tensors of a file, or of all of a model's, are together.
#[derive(Debug, Default)]
pub(crate) struct Weights {
    /// What their data take.
    pub(crate) bytes: u64,
    /// How many elements there are of each type.
    pub(crate) elements: BTreeMap<u32, u64>,
}

impl Weights {
    fn add_tensor(&mut self, tensor: &Tensor) {
        self.add(tensor.tensor_type, tensor.elements);
        self.bytes = self.bytes.saturating_add(tensor.data_len);
    }

    pub(crate) fn add_all(&mut self, others: &Weights) {
        for (&tensor_type, &elements) in &others.elements {
            self.add(tensor_type, elements);
        }
        self.bytes = self.bytes.saturating_add(others.bytes);
    }

    fn add(&mut self, tensor_type: u32, elements: u64) {
        let sum = self.elements.entry(tensor_type).or_default();
        *sum = sum.saturating_add(elements);
    }
}

#[derive(Debug)]
pub(crate) enum Problem {
    Io(io::Error),
    Bad(String),
}

impl From<io::Error> for Problem {
    fn from(source: io::Error) -> Self {
        Problem::Io(source)
    }
}

pub(crate) fn bad<T>(reason: impl Into<String>) -> Result<T, Problem> {
    Err(Problem::Bad(reason.into()))
}

pub(crate) fn check_header(input: impl BufRead + Seek, size: u64, part: Part) -> Result<Checked, Problem> {
    let mut header = Header { input, size, at: 0, strings: 0 };
    if size == 0 {
        return bad("it is empty");
    }
    let magic = header.up_to_four_bytes()?;
    if magic != b"GGUF" {
        return bad(format!("it is not a GGUF file (it begins with \"{}\")", magic.escape_ascii()));
    }
    match header.u32()? {
        2 | 3 => {}
        1 => return bad("it is GGUF version 1, which nothing reads any more: convert it anew"),
        version if version.swap_bytes() <= 3 => return bad("it is a big-endian GGUF file"),
        version => {
            return bad(format!("it is GGUF version {version}, but only 2 and 3 are known"));
        }
    }
    let tensors = header.u64()?;
    let pairs = header.u64()?;
    // The least bytes that a tensor's description and a key with its value take.
    header.check_count(tensors, 8 + 4 + 4 + 8, MAX_TENSORS, "tensors")?;
    header.check_count(pairs, 8 + 4 + 1, MAX_PAIRS, "metadata entries")?;

    let mut metadata = Metadata::default();
    for _ in 0..pairs {
        let key = header.name(MAX_KEY_BYTES, "metadata key")?;
        let value_type = header.u32()?;
        let value = header.value(value_type, &key)?;
        metadata.add(key, value)?;
    }
    let alignment = metadata.alignment()?;
    match part {
        Part::Model => metadata.check_model()?,
        Part::Split(index) => metadata.check_split(index)?,
        Part::Adapter => metadata.check_adapter()?,
    }

    // Each tensor's data follows the one before, padded to the alignment.
    let mut names = HashSet::new();
    let mut expected_offset = 0;
    let (mut data_len, mut weights) = (0, Weights::default());
    for _ in 0..tensors {
        let tensor = header.tensor()?;
        if tensor.offset != expected_offset {
            return bad(format!(
                "the data of its tensor `{}` is said to be at {}, where {expected_offset} was expected",
                tensor.name, tensor.offset
            ));
        }
        let end = tensor.offset.checked_add(tensor.data_len);
        let Some((end, next)) = end.and_then(|end| Some((end, end.checked_next_multiple_of(alignment)?)))
        else {
            return bad(format!("its tensor `{}` is impossibly large", tensor.name));
        };
        (data_len, expected_offset) = (end, next);
        weights.add_tensor(&tensor);
        if let Some(twice) = names.replace(tensor.name) {
            return bad(format!("it has two tensors `{twice}`"));
        }
    }
    let needed = header.at.checked_next_multiple_of(alignment).and_then(|start| start.checked_add(data_len));
    match needed {
        Some(needed) if needed <= size => Ok(Checked { metadata, weights }),
        Some(needed) => {
            bad(format!("it ends at byte {size}, but its tensors need {needed} bytes: the file is truncated"))
        }
        None => bad("its tensors are impossibly large"),
    }
}

struct Tensor {
    name: String,
    tensor_type: u32,
    elements: u64,
    offset: u64,
    data_len: u64,
}

/// Reads a header's fields; every one is checked against the file's size first.
struct Header<R> {
    input: R,
    size: u64,
    at: u64,
    /// How many strings its arrays have so far.
    strings: u64,
}

impl<R: BufRead + Seek> Header<R> {
    fn up_to_four_bytes(&mut self) -> Result<Vec<u8>, Problem> {
        let mut bytes = vec![0; self.size.min(4) as usize];
        self.read(&mut bytes)?;
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32, Problem> {
        let mut bytes = [0; 4];
        self.read(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn u64(&mut self) -> Result<u64, Problem> {
        let mut bytes = [0; 8];
        self.read(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn string(&mut self, max_len: u64, what: &str) -> Result<Vec<u8>, Problem> {
        let len = self.u64()?;
        if len > max_len {
            return bad(format!("it has a {what} of {len} bytes, where at most {max_len} are allowed"));
        }
        let mut bytes = vec![0; len as usize];
        self.read(&mut bytes)?;
        Ok(bytes)
    }

    /// A name by which llama.cpp finds something: C++ would see it end at a zero.
    fn name(&mut self, max_len: u64, what: &str) -> Result<Vec<u8>, Problem> {
        let name = self.string(max_len, what)?;
        if name.is_empty() || name.contains(&0) {
            return bad(format!("it has a {what} that is no name: `{}`", name.escape_ascii()));
        }
        Ok(name)
    }

    fn value(&mut self, value_type: u32, key: &[u8]) -> Result<Value, Problem> {
        Ok(match value_type {
            TYPE_U16 => {
                let mut bytes = [0; 2];
                self.read(&mut bytes)?;
                Value::U16(u16::from_le_bytes(bytes))
            }
            TYPE_U32 => Value::U32(self.u32()?),
            TYPE_F32 => Value::F32(f32::from_bits(self.u32()?)),
            TYPE_BOOL => {
                let mut byte = [0];
                self.read(&mut byte)?;
                Value::Bool(byte != [0])
            }
            TYPE_STRING => Value::Text(self.text()?),
            TYPE_ARRAY => {
                let (element_type, count) = (self.u32()?, self.u64()?);
                self.array(element_type, count, key)?
            }
            scalar => match scalar_bytes(scalar) {
                Some(bytes) => {
                    self.skip(bytes)?;
                    Value::Other
                }
                None => return unknown_type(key, scalar),
            },
        })
    }

    /// The beginning of a text.
    fn text(&mut self) -> Result<Vec<u8>, Problem> {
        let len = self.u64()?;
        if len > MAX_TEXT_BYTES {
            return bad(format!("it has a text of {len} bytes, where at most {MAX_TEXT_BYTES} are allowed"));
        }
        let mut kept = vec![0; (len as usize).min(KEPT_TEXT_BYTES)];
        self.read(&mut kept)?;
        self.skip(len - kept.len() as u64)?;
        Ok(kept)
    }

    fn array(&mut self, element_type: u32, count: u64, key: &[u8]) -> Result<Value, Problem> {
        match element_type {
            TYPE_STRING => {
                let left = MAX_STRINGS - self.strings;
                self.check_count(count, 8, left, "strings in one metadata entry")?;
                self.strings += count;
                if key == metadata::TOKENS {
                    return self.tokens(count);
                }
                for _ in 0..count {
                    let len = self.u64()?;
                    self.skip(len)?;
                }
                Ok(Value::Array { element_type, count })
            }
            // One number for each layer, or whether it is so.
            TYPE_U32 | TYPE_I32 if count <= metadata::MAX_LAYERS.into() => {
                let numbers = (0..count).map(|_| self.u32());
                Ok(Value::Layers { element_type, numbers: numbers.collect::<Result<_, _>>()? })
            }
            TYPE_BOOL if count <= metadata::MAX_LAYERS.into() => {
                let mut bytes = vec![0; count as usize];
                self.read(&mut bytes)?;
                let numbers = bytes.iter().map(|&byte| u32::from(byte != 0)).collect();
                Ok(Value::Layers { element_type, numbers })
            }
            scalar => match scalar_bytes(scalar) {
                Some(bytes) => {
                    self.skip(count.saturating_mul(bytes))?;
                    Ok(Value::Array { element_type, count })
                }
                None => unknown_type(key, scalar),
            },
        }
    }

    /// The vocabulary. llama.cpp ends the process when two tokens are the same.
    fn tokens(&mut self, count: u64) -> Result<Value, Problem> {
        let mut hashes = Vec::new();
        let mut bytes = HashSet::new();
        for index in 0..count {
            let mut token = self.string(MAX_TOKEN_BYTES, "token")?;
            // As C++ reads it.
            if let Some(end) = token.iter().position(|&byte| byte == 0) {
                token.truncate(end);
            }
            if token.is_empty() {
                token = format!("[EMPTY_{index}]").into_bytes();
            }
            bytes.extend(metadata::byte_of(&token));
            let mut hasher = DefaultHasher::new();
            token.hash(&mut hasher);
            hashes.push(hasher.finish());
        }
        hashes.sort_unstable();
        if hashes.windows(2).any(|pair| pair[0] == pair[1]) {
            return bad("two tokens of its vocabulary are the same");
        }
        Ok(Value::Tokens { count, bytes: bytes.len() })
    }

    fn tensor(&mut self) -> Result<Tensor, Problem> {
        let name = self.name(MAX_TENSOR_NAME_BYTES, "tensor name")?;
        let name = name.escape_ascii().to_string();
        let dimensions = self.u32()?;
        if dimensions > MAX_DIMENSIONS {
            return bad(format!(
                "its tensor `{name}` has {dimensions} dimensions, where at most {MAX_DIMENSIONS} are allowed"
            ));
        }
        let mut row = 1;
        let mut elements: i64 = 1;
        for dimension in 0..dimensions {
            let extent = self.u64()?;
            let product = i64::try_from(extent).ok().and_then(|extent| elements.checked_mul(extent));
            let Some(product) = product else {
                return bad(format!("its tensor `{name}` has impossibly many elements"));
            };
            if product == 0 {
                return bad(format!("its tensor `{name}` has no elements"));
            }
            elements = product;
            if dimension == 0 {
                row = extent;
            }
        }
        let elements = elements.unsigned_abs();
        let number = self.u32()?;
        let offset = self.u64()?;
        let data_len = match tensor_type(number) {
            None => return bad(format!("its tensor `{name}` has the unknown type {number}")),
            Some(stored) if row % stored.block_elements != 0 => {
                return bad(format!(
                    "the rows of its tensor `{name}` have {row} elements, not a multiple of {}",
                    stored.block_elements
                ));
            }
            Some(stored) => {
                let Some(len) = (elements / stored.block_elements).checked_mul(stored.block_bytes) else {
                    return bad(format!("its tensor `{name}` is impossibly large"));
                };
                len
            }
        };
        Ok(Tensor { name, tensor_type: number, elements, offset, data_len })
    }

    /// Refuses a count of things that the rest of the file has no room for, or beyond `most`.
    fn check_count(&self, count: u64, least_bytes_each: u64, most: u64, what: &str) -> Result<(), Problem> {
        let room = (self.size - self.at) / least_bytes_each;
        if count > room {
            return bad(format!(
                "it claims {count} {what}, but what follows has room for {room}: the file is \
                 truncated or damaged"
            ));
        }
        if count > most {
            return bad(format!("it claims {count} {what}, where at most {most} are allowed"));
        }
        Ok(())
    }

    fn read(&mut self, bytes: &mut [u8]) -> Result<(), Problem> {
        self.advance(bytes.len() as u64)?;
        match self.input.read_exact(bytes) {
            // The file has become shorter since its size was asked.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => self.truncated(),
            result => Ok(result?),
        }
    }

    fn skip(&mut self, len: u64) -> Result<(), Problem> {
        self.advance(len)?;
        // A seek within the buffer costs nothing and one beyond it drops the buffer, so the many
        // short strings of a vocabulary are read, and a long array is jumped over.
        let buffered = self.input.fill_buf()?.len() as u64;
        if len <= buffered {
            self.input.consume(len as usize);
        } else {
            self.input.seek(SeekFrom::Start(self.at))?;
        }
        Ok(())
    }

    fn advance(&mut self, len: u64) -> Result<(), Problem> {
        match self.at.checked_add(len) {
            Some(at) if at > self.size => self.truncated(),
            Some(at) if at <= MAX_HEADER_BYTES => {
                self.at = at;
                Ok(())
            }
            _ => bad("its header is impossibly large"),
        }
    }

    fn truncated<T>(&self) -> Result<T, Problem> {
        bad(format!("it ends at byte {}, within its header: the file is truncated or damaged", self.size))
    }
}

fn unknown_type<T>(key: &[u8], value_type: u32) -> Result<T, Problem> {
    bad(format!("its metadata entry `{}` has the unknown type {value_type}", key.escape_ascii()))
}

pub(crate) const TYPE_U16: u32 = 2;
pub(crate) const TYPE_U32: u32 = 4;
pub(crate) const TYPE_I32: u32 = 5;
pub(crate) const TYPE_F32: u32 = 6;
pub(crate) const TYPE_BOOL: u32 = 7;
pub(crate) const TYPE_STRING: u32 = 8;
pub(crate) const TYPE_ARRAY: u32 = 9;

fn scalar_bytes(value_type: u32) -> Option<u64> {
    match value_type {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}
