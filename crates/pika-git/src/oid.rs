//! Names one object of a repository.
//!
//! Invariant: an [`Oid`] is 40 or 64 lower-case hex digits and not all zeros, so it may be an argument of git unchecked.

use std::fmt;
use std::str::FromStr;

const SHA1_DIGITS: usize = 40;
const SHA256_DIGITS: usize = 64;

/// Why a text is not an object id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OidError {
    /// Not hex digits of a full id; abbreviations are not accepted.
    #[error("{text:?} is not an object id; one is 40 or 64 lower-case hex digits")]
    Shape {
        /// The text, cut to a length that is safe to show.
        text: String,
    },
    /// All zeros: git's way to write "no object".
    #[error("an object id of zeros names no object")]
    Null,
}

/// One object, by its full SHA-1 or SHA-256 name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Oid(String);

impl Oid {
    /// Reads a full id. The zeros with which git says "no object" are [`OidError::Null`].
    pub fn parse(text: &str) -> Result<Oid, OidError> {
        let is_hex = matches!(text.len(), SHA1_DIGITS | SHA256_DIGITS)
            && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        if !is_hex {
            return Err(OidError::Shape { text: text.chars().take(SHA256_DIGITS).collect() });
        }
        if text.bytes().all(|byte| byte == b'0') {
            return Err(OidError::Null);
        }
        Ok(Oid(text.to_owned()))
    }

    /// Reads a full id, or the zeros that mean "no object" as `None`.
    pub fn parse_optional(text: &str) -> Result<Option<Oid>, OidError> {
        match Oid::parse(text) {
            Ok(oid) => Ok(Some(oid)),
            Err(OidError::Null) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first ten digits, for people.
    pub fn short(&self) -> &str {
        &self.0[..10]
    }

    /// Returns the id of the empty tree in the object format of this id. Git knows that tree without storing it.
    pub(crate) fn empty_tree(&self) -> Oid {
        Oid(match self.0.len() {
            SHA256_DIGITS => "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321",
            _ => "4b825dc642cb6eb9a060e54bf8d69288fbee4904",
        }
        .to_owned())
    }
}

impl fmt::Display for Oid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for Oid {
    type Err = OidError;
    fn from_str(text: &str) -> Result<Oid, OidError> {
        Oid::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_40_or_64_lower_case_hex_digits() {
        assert!(Oid::parse(&"a".repeat(40)).is_ok());
        assert!(Oid::parse(&"0123456789abcdef".repeat(4)).is_ok());
        for text in ["", "HEAD", "-rf", &"a".repeat(39), &"A".repeat(40), &"g".repeat(40), &"ü".repeat(20)] {
            assert!(matches!(Oid::parse(text), Err(OidError::Shape { .. })), "{text:?}");
        }
    }

    #[test]
    fn zeros_are_no_object() {
        assert_eq!(Oid::parse(&"0".repeat(40)), Err(OidError::Null));
        assert_eq!(Oid::parse_optional(&"0".repeat(64)), Ok(None));
    }
}
