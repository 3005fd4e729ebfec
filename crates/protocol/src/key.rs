use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::id::PrincipalId;

/// A key's name has so many characters at most.
const NAME_MAX: usize = 64;

/// A text that is no name of a key.
#[derive(Debug, thiserror::Error)]
#[error(
    "a key's name is 1 to {NAME_MAX} of the characters a-z, 0-9, `.`, `_` and `-`, and begins with a letter or a digit"
)]
pub struct InvalidKeyName;

/// Names a key, and with it whoever holds it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(pattern = "^[a-z0-9][a-z0-9._-]{0,63}$", example = "ada")]
pub struct KeyName(String);

impl KeyName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whoever holds the key.
    pub fn principal(&self) -> PrincipalId {
        PrincipalId::new(&self.0)
    }
}

impl FromStr for KeyName {
    type Err = InvalidKeyName;

    fn from_str(text: &str) -> Result<Self, InvalidKeyName> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let well_formed = text.len() <= NAME_MAX
            && text.bytes().next().is_some_and(plain)
            && text.bytes().all(|b| plain(b) || b".-_".contains(&b));
        if well_formed { Ok(Self(text.to_owned())) } else { Err(InvalidKeyName) }
    }
}

impl TryFrom<String> for KeyName {
    type Error = InvalidKeyName;

    fn try_from(text: String) -> Result<Self, InvalidKeyName> {
        text.parse()
    }
}

impl From<KeyName> for String {
    fn from(name: KeyName) -> Self {
        name.0
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the holder of a key may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyRole {
    /// Have jobs of their own.
    #[default]
    User,
    /// Also operate the service: keys, and everybody's jobs, whose streams they cannot read.
    Operator,
}

impl KeyRole {
    /// The role's name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Operator => "operator",
        }
    }
}

/// The body of `POST /v1/keys`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateKey {
    /// Its name.
    pub name: KeyName,
    /// What its holder may do.
    #[serde(default)]
    pub role: KeyRole,
}

/// What `POST /v1/keys` answers. The one type that carries a key, and that has no `Debug` therefore.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct NewKey {
    /// Its name.
    pub name: KeyName,
    /// What its holder may do.
    pub role: KeyRole,
    /// The key itself.
    pub key: String,
    /// When it was created, in milliseconds since the Unix epoch.
    pub created_at_ms: u64,
}

/// What is known about a key; nothing of the key itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyInfo {
    /// Its name.
    pub name: KeyName,
    /// What its holder may do.
    pub role: KeyRole,
    /// When it was created, in milliseconds since the Unix epoch.
    pub created_at_ms: u64,
}

/// The keys that there are, by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyList {
    /// The keys.
    pub keys: Vec<KeyInfo>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_short_and_plain() {
        for good in ["a", "7", "ada", "ada.lovelace", "ci-2_x", &"a".repeat(64)] {
            assert_eq!(good.parse::<KeyName>().expect(good).as_str(), good);
        }
        let long = "a".repeat(65);
        for bad in ["", ".", "..", "-a", "_a", ".a", "Ada", "a b", "a/b", "a?b", "a\n", "ä", &long] {
            assert!(bad.parse::<KeyName>().is_err(), "{bad}");
            assert!(serde_json::from_value::<KeyName>(bad.into()).is_err(), "{bad}");
        }
    }
}
