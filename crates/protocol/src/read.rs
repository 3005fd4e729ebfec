use std::fmt::Display;

use serde::{Deserialize, Deserializer};

/// An error names a field in so many bytes at most: names that are not ours may have any length.
const PATH_MAX: usize = 64;

/// Reads a `T`. An error begins with the field that is wrong, e.g. `messages[0].role`, where that is known.
///
/// # Errors
/// What is wrong.
pub fn read<'de, T: Deserialize<'de>, D: Deserializer<'de>>(reader: D) -> Result<T, String>
where
    D::Error: Display,
{
    serde_path_to_error::deserialize(reader).map_err(|error| {
        let (path, error) = (error.path().to_string(), error.inner());
        if path == "." || path.len() > PATH_MAX { error.to_string() } else { format!("`{path}`: {error}") }
    })
}
