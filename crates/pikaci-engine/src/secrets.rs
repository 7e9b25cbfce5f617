//! The secrets of a run: what jobs get of them, and what is masked in their logs.
//!
//! Invariant: they are in this process's memory and on their way into a guest's, and nowhere else; nothing here prints them.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use pikaci::{SECRET_NAME_BYTES_MAX, is_secret_name};

/// What is shorter is not masked: it would be found everywhere.
const MASKED_BYTES_MIN: usize = 4;
/// All secrets of a run together; the guest runner takes twice that, masks included, and no more.
pub const SECRETS_BYTES_MAX: usize = 64 * 1024;

/// Secrets by their names.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets(BTreeMap<String, Vec<u8>>);

/// Why something can't be a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// The name is no file's name.
    #[error(
        "{name:?} is not the name of a secret; use 1 to {SECRET_NAME_BYTES_MAX} letters, digits, '_', '-' and '.', not '.' first"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// There is too much of them.
    #[error("the secrets of a run have more than {SECRETS_BYTES_MAX} bytes together")]
    TooLarge,
}

impl Secrets {
    /// Checks names and sizes.
    pub fn new(secrets: BTreeMap<String, Vec<u8>>) -> Result<Secrets, SecretError> {
        if let Some(name) = secrets.keys().find(|name| !is_secret_name(name)) {
            return Err(SecretError::Name { name: name.clone() });
        }
        if secrets.values().map(Vec::len).sum::<usize>() > SECRETS_BYTES_MAX {
            return Err(SecretError::TooLarge);
        }
        Ok(Secrets(secrets))
    }

    /// The names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// What the guest runner is told about these names, and about everything that is to be masked; `None` when no name is
    /// there. The form is the runner's (docs/formats/guest.md).
    pub(crate) fn for_job(&self, names: &[String]) -> Option<Told> {
        let files: Vec<(&String, &Vec<u8>)> =
            self.0.iter().filter(|(name, _)| names.contains(name)).collect();
        if files.is_empty() {
            return None;
        }
        let mut told = b"pikaci-secrets 1\n".to_vec();
        let mut add = |head: String, bytes: &[u8]| {
            told.extend_from_slice(head.as_bytes());
            told.extend_from_slice(bytes);
            told.push(b'\n');
        };
        for (name, value) in &files {
            add(format!("file {name} {}\n", value.len()), value);
        }
        for mask in files.iter().flat_map(|(_, value)| shapes(value)) {
            add(format!("mask {}\n", mask.len()), &mask);
        }
        told.extend_from_slice(b"end\n");
        Some(Told(told))
    }
}

/// What a guest runner reads of a job's secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Told(Vec<u8>);

impl Told {
    /// The bytes, for the runner's standard input.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Told {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("***")
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.0.keys()).finish()
    }
}

/// The shapes in which a secret gets into a log: as it is, without the line end that files end with, each of its lines, and
/// base64 of it.
fn shapes(value: &[u8]) -> Vec<Vec<u8>> {
    let trimmed = value.trim_ascii();
    let mut shapes = vec![trimmed.to_vec()];
    shapes.extend(trimmed.split(|byte| *byte == b'\n').map(|line| line.trim_ascii().to_vec()));
    for text in [value, trimmed] {
        let encoded =
            [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD].map(|engine| engine.encode(text));
        shapes.extend(encoded.map(String::into_bytes));
    }
    shapes.retain(|shape| shape.len() >= MASKED_BYTES_MIN);
    shapes.sort();
    shapes.dedup();
    shapes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(pairs: &[(&str, &str)]) -> Secrets {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()));
        Secrets::new(pairs.collect()).unwrap()
    }

    #[test]
    fn a_job_is_told_what_it_names_and_nothing_else() {
        let secrets = secrets(&[("DEPLOY", "hunter22\n"), ("OTHER", "letmein")]);
        let told = secrets.for_job(&["DEPLOY".to_owned(), "GONE".to_owned()]).unwrap();
        assert_eq!(format!("{told:?}"), "***");
        let told = String::from_utf8(told.0).unwrap();
        assert!(told.starts_with("pikaci-secrets 1\nfile DEPLOY 9\nhunter22\n\n"), "{told}");
        assert!(
            told.contains("\nmask 8\nhunter22\n") && told.contains("\nmask 12\naHVudGVyMjI=\n"),
            "{told}"
        );
        assert!(!told.contains("letmein") && told.ends_with("\nend\n"));
        assert_eq!(secrets.for_job(&["GONE".to_owned()]), None);
    }

    #[test]
    fn each_line_of_a_key_is_masked_and_what_is_short_is_not() {
        let shapes = shapes(b"-----BEGIN-----\nabcdefgh\nxy\n-----END-----\n");
        let has = |text: &str| shapes.iter().any(|shape| shape == text.as_bytes());
        assert!(has("abcdefgh") && has("-----BEGIN-----\nabcdefgh\nxy\n-----END-----") && !has("xy"));
    }

    #[test]
    fn nothing_prints_a_secret() {
        assert_eq!(format!("{:?}", secrets(&[("DEPLOY", "hunter22")])), "{\"DEPLOY\"}");
    }

    #[test]
    fn names_that_are_paths_and_too_much_of_it_are_refused() {
        for name in ["", "../a", ".a", "a/b", "a b"] {
            let refused = Secrets::new(BTreeMap::from([(name.to_owned(), vec![1])]));
            assert!(matches!(refused, Err(SecretError::Name { .. })), "{name:?}");
        }
        let large = Secrets::new(BTreeMap::from([("A".to_owned(), vec![1; SECRETS_BYTES_MAX + 1])]));
        assert_eq!(large, Err(SecretError::TooLarge));
    }
}
