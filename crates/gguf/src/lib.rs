//! What a GGUF file's header says, checked before anything trusts it.
//!
//! Only the header is read, a field at a time; nothing that the file claims decides how much
//! memory is used. The answer is a reason a person understands, where llama.cpp would end the
//! process, take all of the memory or say less. [`read`] tells besides what the header says of the model, for
//! people and for decisions on memory.

#![forbid(unsafe_code)]

mod cache;
mod error;
mod facts;
mod header;
mod metadata;
pub mod testing;
mod types;

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

pub use error::GgufError;
pub use facts::Facts;
use header::{Checked, Part, Problem, check_header};
pub use types::{TensorType, file_type, tensor_type};

/// Tokens of the shortest context: less is no room for any prompt and answer.
pub const MIN_CONTEXT_LENGTH: u32 = 8;

/// Checks that the files at `path` are a model in GGUF, whose headers make sense and whose tensors
/// lie within them, and tells what they say of it.
///
/// # Errors
/// [`GgufError::NotFound`], [`GgufError::Io`], or [`GgufError::Bad`] with the reason.
pub fn read(path: &Path) -> Result<Facts, GgufError> {
    let Checked { metadata, weights } = check_files(path)?;
    Ok(Facts::new(&metadata, &weights))
}

/// Checks the same, and returns only how many bytes the tensors have.
///
/// # Errors
/// Those of [`read`].
pub fn check(path: &Path) -> Result<u64, GgufError> {
    Ok(check_files(path)?.weights.bytes)
}

/// The same for an adapter, which has only tensors for some of a model's.
///
/// # Errors
/// Those of [`read`].
pub fn check_adapter(path: &Path) -> Result<u64, GgufError> {
    Ok(check_file(path, Part::Adapter)?.weights.bytes)
}

/// The files that the model at `path` consists of, that one first: a name such as
/// `model-00001-of-00003.gguf` stands for three.
pub fn model_files(path: &Path) -> Vec<PathBuf> {
    match path.file_name().and_then(|name| split(name.to_str()?)) {
        Some((model, 1, count @ 2..)) => {
            (1..=count).map(|n| path.with_file_name(format!("{model}-{n:05}-of-{count:05}.gguf"))).collect()
        }
        _ => vec![path.to_owned()],
    }
}

/// What the name of one of a model's files says: the model's name, which of the files it is, from 1 on, and how many
/// there are. `model-00001-of-00003.gguf` is such a name.
pub fn split(name: &str) -> Option<(&str, u16, u16)> {
    let number = |text: &str| {
        let is_one = text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|_| is_one)
    };
    let (first, count) = name.strip_suffix(".gguf")?.rsplit_once("-of-")?;
    let (model, no) = first.rsplit_once('-')?;
    Some((model, number(no)?, number(count)?))
}

/// What the first of a model's files says, with the tensors of all.
fn check_files(path: &Path) -> Result<Checked, GgufError> {
    let mut model = check_file(path, Part::Model)?;
    let files = model_files(path);
    let splits = model.metadata.splits();
    if splits.max(1) as usize != files.len() {
        return Err(GgufError::Bad {
            path: path.to_owned(),
            reason: format!("it is the first of {splits} files, but its name says {}", files.len()),
        });
    }
    for (file, index) in files.iter().zip(0..).skip(1) {
        model.weights.add_all(&check_file(file, Part::Split(index))?.weights);
    }
    Ok(model)
}

fn check_file(path: &Path, part: Part) -> Result<Checked, GgufError> {
    let io_error = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => GgufError::NotFound { path: path.to_owned() },
        _ => GgufError::Io { path: path.to_owned(), source },
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
    check_header(BufReader::new(file), size, part).map_err(|problem| match problem {
        Problem::Io(source) => io_error(source),
        Problem::Bad(reason) => GgufError::Bad { path: path.to_owned(), reason },
    })
}

#[cfg(test)]
mod tests;
