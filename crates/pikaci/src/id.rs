//! Names of runs, jobs, targets and snapshots, as parsed types.
//!
//! Invariant: every type here is a single safe path component. Code that holds one may join it to a path unchecked;
//! code that holds mere text may not.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest job or target id, in bytes.
pub const NAME_BYTES_MAX: usize = 64;

const RUN_ID_BYTES: usize = "20260301T142233Z-7f3a9c10".len();
const DIGEST_BYTES: usize = 64;

/// Why a text is not an id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Not of the shape `YYYYMMDDTHHMMSSZ-xxxxxxxx`.
    #[error("{text:?} is not a run id; one looks like 20260301T142233Z-7f3a9c10")]
    Run {
        /// The text, cut to a length that is safe to show.
        text: String,
    },
    /// Not a job or target id.
    #[error(
        "{text:?} is not a name; use 1 to {NAME_BYTES_MAX} letters, digits, '-', '_' and '.', starting with a letter or digit"
    )]
    Name {
        /// The text, cut to a length that is safe to show.
        text: String,
    },
    /// Not 64 lower-case hex digits.
    #[error("{text:?} is not a digest; one is 64 lower-case hex digits")]
    Digest {
        /// The text, cut to a length that is safe to show.
        text: String,
    },
}

/// One run, such as `20260301T142233Z-7f3a9c10`: UTC start time and eight random hex digits. Sorts by start time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(String);

impl RunId {
    /// Reads an id written by [`fmt::Display`]. Rejects everything else, so that it can't be mistaken for a path.
    pub fn parse(text: &str) -> Result<RunId, IdError> {
        let is_run_id = text.len() == RUN_ID_BYTES
            && text.bytes().enumerate().all(|(position, byte)| match position {
                8 => byte == b'T',
                15 => byte == b'Z',
                16 => byte == b'-',
                0..=14 => byte.is_ascii_digit(),
                _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
            });
        if is_run_id { Ok(RunId(text.to_owned())) } else { Err(IdError::Run { text: shown(text) }) }
    }

    /// Names a run that starts at `now`; `random` tells apart runs of the same second.
    pub fn new(now: Timestamp, random: u32) -> RunId {
        RunId(format!("{}-{random:08x}", now.strftime("%Y%m%dT%H%M%SZ")))
    }

    /// Names a run that starts at `now`, with randomness from the operating system.
    pub fn random(now: Timestamp) -> RunId {
        // Falls back on the clock: an id must be unlike others, not secret.
        let random = getrandom::u32().unwrap_or_else(|_| now.subsec_nanosecond().unsigned_abs());
        RunId::new(now, random)
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One job within a run, such as `unit`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(String);

impl JobId {
    /// Reads an id: 1 to 64 bytes of `[A-Za-z0-9._-]`, the first a letter or digit, no `..`.
    pub fn parse(text: &str) -> Result<JobId, IdError> {
        parse_name(text).map(JobId)
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One target of a manifest, such as `pre-merge`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetId(String);

impl TargetId {
    /// Reads an id: 1 to 64 bytes of `[A-Za-z0-9._-]`, the first a letter or digit, no `..`.
    pub fn parse(text: &str) -> Result<TargetId, IdError> {
        parse_name(text).map(TargetId)
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A SHA-256 in lower-case hex: the address of a snapshot or of a prepared output.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(String);

impl Digest {
    /// Reads 64 lower-case hex digits.
    pub fn parse(text: &str) -> Result<Digest, IdError> {
        let is_digest = text.len() == DIGEST_BYTES
            && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        if is_digest { Ok(Digest(text.to_owned())) } else { Err(IdError::Digest { text: shown(text) }) }
    }

    /// Writes 32 bytes, such as the output of SHA-256, as a digest.
    pub fn from_bytes(bytes: [u8; 32]) -> Digest {
        use fmt::Write as _;
        let mut text = String::with_capacity(DIGEST_BYTES);
        for byte in bytes {
            let _ = write!(text, "{byte:02x}");
        }
        Digest(text)
    }

    /// The digest as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn parse_name(text: &str) -> Result<String, IdError> {
    let is_name = !text.is_empty()
        && text.len() <= NAME_BYTES_MAX
        && text.as_bytes()[0].is_ascii_alphanumeric()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
        && !text.contains("..");
    if is_name { Ok(text.to_owned()) } else { Err(IdError::Name { text: shown(text) }) }
}

/// Cuts hostile text to what an error message may hold.
fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}

macro_rules! id_as_text {
    ($($id:ident),*) => {$(
        impl fmt::Display for $id {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl FromStr for $id {
            type Err = IdError;
            fn from_str(text: &str) -> Result<$id, IdError> {
                $id::parse(text)
            }
        }

        impl AsRef<std::path::Path> for $id {
            fn as_ref(&self) -> &std::path::Path {
                std::path::Path::new(&self.0)
            }
        }

        impl Serialize for $id {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $id {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$id, D::Error> {
                let text = String::deserialize(deserializer)?;
                $id::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    )*};
}

id_as_text!(RunId, JobId, TargetId, Digest);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_run_id_is_its_start_time_and_eight_hex_digits() {
        let now: Timestamp = "2026-03-01T14:22:33.9Z".parse().unwrap();
        let id = RunId::new(now, 0x7f3a_9c10);
        assert_eq!(id.as_str(), "20260301T142233Z-7f3a9c10");
        assert_eq!(RunId::parse(id.as_str()), Ok(id));
    }

    #[test]
    fn what_a_path_could_mistake_for_more_than_one_component_is_no_id() {
        for text in ["", ".", "..", "../x", "a/b", "a\\b", "a\0b", "..%2Fx", "-rf", ".hidden", "a..b", "ü"] {
            assert!(RunId::parse(text).is_err(), "{text:?}");
            assert!(JobId::parse(text).is_err(), "{text:?}");
            assert!(Digest::parse(text).is_err(), "{text:?}");
        }
        assert!(JobId::parse(&"a".repeat(64)).is_ok());
        assert!(JobId::parse(&"a".repeat(65)).is_err());
    }

    proptest! {
        #[test]
        fn a_parsed_name_is_one_normal_path_component(text in "\\PC{0,70}") {
            if let Ok(id) = JobId::parse(&text) {
                let components: Vec<_> = std::path::Path::new(id.as_str()).components().collect();
                prop_assert!(matches!(components[..], [std::path::Component::Normal(_)]));
            }
        }
    }
}
