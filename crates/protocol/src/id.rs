use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{ApiError, ErrorCode};

/// A text that is not an id of the kind it was given for.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a job id: one is `job-` and 32 hexadecimal digits")]
pub struct InvalidId(String);

/// Names one job: `job-` and 128 random bits in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(pattern = "^job-[0-9a-f]{32}$", example = "job-dd7b4a3fba570c6d1529f887f6f1eecf")]
pub struct JobId(String);

impl JobId {
    /// The id made of these bits, which must be random.
    pub fn from_bits(bits: u128) -> Self {
        Self(format!("job-{bits:032x}"))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for JobId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let digits = text.strip_prefix("job-").filter(|digits| {
            digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        });
        digits.map(|_| Self(text.to_owned())).ok_or_else(|| InvalidId(text.to_owned()))
    }
}

impl TryFrom<String> for JobId {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<JobId> for String {
    fn from(id: JobId) -> Self {
        id.0
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! name {
    ($(#[$meta:meta])* $name:ident) => {
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
        $(#[$meta])*
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Takes `name` as it is.
            pub fn new(name: impl Into<String>) -> Self {
                Self(name.into())
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name! {
    /// Names one hive, e.g. `local` for the one on the queen's machine.
    #[schema(example = "local")]
    HiveId
}
name! {
    /// Names one worker process of one hive, e.g. `worker-3`.
    #[schema(example = "worker-3")]
    WorkerId
}
name! {
    /// Says which model is meant: a name in the hive's store, or the path of a `.gguf` file on its machine.
    #[schema(min_length = 1, example = "SmolLM2-135M-Instruct.Q4_1")]
    ModelRef
}
name! {
    /// Says to whom a job belongs.
    #[schema(example = "ada")]
    PrincipalId
}

impl ModelRef {
    /// Whether this says where outside of its machine a model is, and so is no path of a file, though it may have a `/`.
    pub fn is_elsewhere(&self) -> bool {
        ["hf:", "ollama:", "https://", "http://"].iter().any(|scheme| self.0.starts_with(scheme))
    }

    /// Sees that no URL has a name or a password in it: which model is meant is kept, and told to others.
    ///
    /// # Errors
    /// `bad_request` for one that has.
    pub fn check_login(&self) -> Result<(), ApiError> {
        let rest = self.0.split_once("://").map_or("", |(_, rest)| rest.trim_start_matches(['/', '\\']));
        if rest.split(['/', '\\', '?', '#']).next().is_some_and(|authority| authority.contains('@')) {
            let message = "a name or a password does not belong into a model's URL";
            let error = ApiError::new(ErrorCode::BadRequest, message);
            return Err(error.hint("fetch the file with another program, and name it by its path"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_in_a_url_is_found_however_it_is_written() {
        for bad in
            ["https://ada:pw@host/x.gguf", "http://ada@host", "https:///ada:pw@host/x", "https://\\a@b/x"]
        {
            assert!(ModelRef::new(bad).check_login().is_err(), "{bad}");
        }
        for good in ["hf:ada/x", "https://host/a@b.gguf", "https://host?x=a@b", "/home/a@b/x.gguf", "x"] {
            assert!(ModelRef::new(good).check_login().is_ok(), "{good}");
        }
    }

    #[test]
    fn a_job_id_survives_a_round_trip_and_others_are_refused() {
        let id = JobId::from_bits(0xab);
        assert_eq!(id.as_str(), "job-000000000000000000000000000000ab");
        assert_eq!(id.as_str().parse::<JobId>().expect("its own text"), id);
        for bad in ["", "job-", "job-AB", "../etc", "job-000000000000000000000000000000aG", "job-1"] {
            assert!(bad.parse::<JobId>().is_err(), "{bad}");
        }
    }
}
