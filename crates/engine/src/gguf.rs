//! A check of a GGUF file's header, before C++ reads it.
//!
//! Only the header is read, a field at a time; nothing that the file claims decides how much
//! memory is used. The answer is a reason a person understands, where llama.cpp would end the
//! process or say less.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::path::Path;

use crate::error::EngineError;

/// Headers hold the vocabulary and are some megabytes; a claim beyond this is damage.
const MAX_HEADER_BYTES: u64 = 1 << 30;
const MAX_KEY_BYTES: u64 = 65_535;
/// llama.cpp's limits.
const MAX_TENSOR_NAME_BYTES: u64 = 63;
const MAX_DIMENSIONS: u32 = 4;
const DEFAULT_ALIGNMENT: u64 = 32;

/// Checks that the file at `path` is a GGUF file whose header makes sense and whose tensors lie
/// within it.
///
/// # Errors
/// [`EngineError::NotFound`], [`EngineError::Io`], or [`EngineError::BadModel`] with the reason.
pub(crate) fn check(path: &Path) -> Result<(), EngineError> {
    let io_error = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => EngineError::NotFound { path: path.to_owned() },
        _ => EngineError::Io { path: path.to_owned(), source },
    };
    // Before opening, for opening a pipe would wait for a writer.
    let metadata = std::fs::metadata(path).map_err(io_error)?;
    if metadata.is_dir() {
        return Err(io_error(io::ErrorKind::IsADirectory.into()));
    }
    if !metadata.is_file() {
        return Err(io_error(io::Error::other("it is not a regular file")));
    }
    let file = File::open(path).map_err(io_error)?;
    let size = file.metadata().map_err(io_error)?.len();
    check_header(BufReader::new(file), size).map_err(|problem| match problem {
        Problem::Io(source) => io_error(source),
        Problem::Bad(reason) => EngineError::BadModel { path: path.to_owned(), reason },
    })
}

enum Problem {
    Io(io::Error),
    Bad(String),
}

impl From<io::Error> for Problem {
    fn from(source: io::Error) -> Self {
        Problem::Io(source)
    }
}

fn bad<T>(reason: impl Into<String>) -> Result<T, Problem> {
    Err(Problem::Bad(reason.into()))
}

fn check_header(input: impl BufRead + Seek, size: u64) -> Result<(), Problem> {
    let mut header = Header { input, size, at: 0 };
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
    header.check_count(tensors, 8 + 4 + 4 + 8, "tensors")?;
    header.check_count(pairs, 8 + 4 + 1, "metadata entries")?;

    let mut alignment = DEFAULT_ALIGNMENT;
    for _ in 0..pairs {
        let key = header.string(MAX_KEY_BYTES, "metadata key")?;
        let value_type = header.u32()?;
        if key == b"general.alignment" && value_type == TYPE_U32 {
            alignment = header.u32()?.into();
            if !alignment.is_power_of_two() {
                return bad(format!("its alignment is {alignment}, not a power of two"));
            }
        } else {
            header.skip_value(value_type, &key)?;
        }
    }

    // Each tensor's data follows the one before, padded to the alignment; the place of those
    // after a type that is not known here is for llama.cpp to judge.
    let mut expected_offset = Some(0);
    let mut data_len = 0;
    for _ in 0..tensors {
        let tensor = header.tensor()?;
        if let Some(expected) = expected_offset
            && tensor.offset != expected
        {
            return bad(format!(
                "the data of its tensor `{}` is said to be at {}, where {expected} was expected",
                tensor.name, tensor.offset
            ));
        }
        let end = tensor.data_len.and_then(|len| tensor.offset.checked_add(len));
        data_len = data_len.max(end.unwrap_or(tensor.offset));
        expected_offset = end.and_then(|end| end.checked_next_multiple_of(alignment));
        if tensor.data_len.is_some() && expected_offset.is_none() {
            return bad(format!("its tensor `{}` is impossibly large", tensor.name));
        }
    }
    let needed = header.at.checked_next_multiple_of(alignment).and_then(|start| start.checked_add(data_len));
    match needed {
        Some(needed) if needed <= size => Ok(()),
        Some(needed) => {
            bad(format!("it ends at byte {size}, but its tensors need {needed} bytes: the file is truncated"))
        }
        None => bad("its tensors are impossibly large"),
    }
}

struct Tensor {
    name: String,
    offset: u64,
    /// `None` for a type that is not known here.
    data_len: Option<u64>,
}

/// Reads a header's fields; every one is checked against the file's size first.
struct Header<R> {
    input: R,
    size: u64,
    at: u64,
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

    fn skip_value(&mut self, value_type: u32, key: &[u8]) -> Result<(), Problem> {
        let (element_type, count) = match value_type {
            TYPE_ARRAY => (self.u32()?, self.u64()?),
            scalar => (scalar, 1),
        };
        let unknown_type = || {
            bad(format!("its metadata entry `{}` has the unknown type {element_type}", key.escape_ascii()))
        };
        match element_type {
            TYPE_STRING => {
                self.check_count(count, 8, "strings in one metadata entry")?;
                for _ in 0..count {
                    let len = self.u64()?;
                    self.skip(len)?;
                }
                Ok(())
            }
            scalar => match scalar_bytes(scalar) {
                Some(bytes) => self.skip(count.saturating_mul(bytes)),
                None => unknown_type(),
            },
        }
    }

    fn tensor(&mut self) -> Result<Tensor, Problem> {
        let name = self.string(MAX_TENSOR_NAME_BYTES, "tensor name")?;
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
            elements = product;
            if dimension == 0 {
                row = extent;
            }
        }
        let tensor_type = self.u32()?;
        let offset = self.u64()?;
        let data_len = match block(tensor_type) {
            None => None,
            Some(block) if row % block.elements != 0 => {
                return bad(format!(
                    "the rows of its tensor `{name}` have {row} elements, not a multiple of {}",
                    block.elements
                ));
            }
            Some(block) => {
                let blocks = elements.unsigned_abs() / block.elements;
                let Some(len) = blocks.checked_mul(block.bytes) else {
                    return bad(format!("its tensor `{name}` is impossibly large"));
                };
                Some(len)
            }
        };
        Ok(Tensor { name, offset, data_len })
    }

    /// Refuses a count of things that the rest of the file has no room for.
    fn check_count(&self, count: u64, least_bytes_each: u64, what: &str) -> Result<(), Problem> {
        let room = (self.size - self.at) / least_bytes_each;
        if count > room {
            return bad(format!(
                "it claims {count} {what}, but what follows has room for {room}: the file is \
                 truncated or damaged"
            ));
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

const TYPE_U32: u32 = 4;
const TYPE_STRING: u32 = 8;
const TYPE_ARRAY: u32 = 9;

fn scalar_bytes(value_type: u32) -> Option<u64> {
    match value_type {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

/// How a tensor type stores its elements.
#[derive(Debug, PartialEq, Eq)]
struct Block {
    elements: u64,
    bytes: u64,
}

fn block(tensor_type: u32) -> Option<Block> {
    let (elements, bytes) = match tensor_type {
        0 | 26 => (1, 4),      // F32, I32
        1 | 25 | 30 => (1, 2), // F16, I16, BF16
        24 => (1, 1),          // I8
        27 | 28 => (1, 8),     // I64, F64
        2 | 20 => (32, 18),    // Q4_0, IQ4_NL
        3 => (32, 20),         // Q4_1
        6 => (32, 22),         // Q5_0
        7 => (32, 24),         // Q5_1
        8 => (32, 34),         // Q8_0
        9 => (32, 36),         // Q8_1
        10 => (256, 84),       // Q2_K
        11 | 21 => (256, 110), // Q3_K, IQ3_S
        12 => (256, 144),      // Q4_K
        13 => (256, 176),      // Q5_K
        14 => (256, 210),      // Q6_K
        15 => (256, 292),      // Q8_K
        16 | 35 => (256, 66),  // IQ2_XXS, TQ2_0
        17 => (256, 74),       // IQ2_XS
        18 => (256, 98),       // IQ3_XXS
        19 => (256, 50),       // IQ1_S
        22 => (256, 82),       // IQ2_S
        23 => (256, 136),      // IQ4_XS
        29 => (256, 56),       // IQ1_M
        34 => (256, 54),       // TQ1_0
        39 => (32, 17),        // MXFP4
        40 => (64, 36),        // NVFP4
        41 => (128, 18),       // Q1_0
        42 => (64, 18),        // Q2_0
        _ => return None,
    };
    Some(Block { elements, bytes })
}

#[cfg(test)]
#[path = "gguf_tests.rs"]
mod tests;
