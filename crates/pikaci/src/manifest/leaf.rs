//! The values of a manifest, but for its patterns: what each may hold, and how each is described in the schema.
//!
//! Invariant: what is read here needs no second look. A name is one path component, a duration is within its
//! bounds.

use std::borrow::Cow;
use std::ops::Range;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use toml::de::DeValue;

use super::nearest::{listed, nearest};
use super::paths::Globs;
use super::problem::Problems;
use super::quantity;
use super::table::{Located, Read, kind, shown};
use super::{ENTRIES_MAX, Trigger};
use crate::guest::STAGED_PATH;
use crate::id::{JobId, TargetId};
use crate::job::{InstanceType, JobCommand, Provider, SECRET_NAME_BYTES_MAX};

/// The longest command, in bytes.
const COMMAND_BYTES_MAX: usize = 64 * 1024;
/// The longest glob, image or expression, in bytes.
const WORD_BYTES_MAX: usize = 1024;
/// More is a slip of the pen.
const COUNT_MAX: i64 = 1024;
const NAME_PATTERN: &str = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$";

/// Writes how a type shows in the schema; types of this file are always shown in place.
macro_rules! described {
    ($($leaf:ident: $schema:tt)*) => {$(
        impl JsonSchema for $leaf {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                stringify!($leaf).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )*};
}

described! {
    Name: { "type": "string", "pattern": NAME_PATTERN }
    SecretName: { "type": "string", "pattern": "^[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}$" }
    JobId: { "type": "string", "pattern": NAME_PATTERN }
    TargetId: { "type": "string", "pattern": NAME_PATTERN }
    Timeout: { "type": "string", "pattern": "^([0-9]+h)?([0-9]+m)?([0-9]+s)?$", "minLength": 2 }
    Memory: { "type": "string", "pattern": "^[0-9]+(KiB|MiB|GiB|TiB)$" }
    Count: { "type": "integer", "minimum": 1, "maximum": COUNT_MAX }
    Globs: {
        "type": "array",
        "items": { "type": "string", "minLength": 1, "maxLength": WORD_BYTES_MAX },
        "maxItems": ENTRIES_MAX
    }
    Word: { "type": "string", "minLength": 1, "maxLength": WORD_BYTES_MAX }
    Image: { "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._/:-]*$" }
    Mount: { "type": "string", "pattern": "^/staged/." }
    Command: { "anyOf": [
        { "type": "string", "minLength": 1, "maxLength": COMMAND_BYTES_MAX },
        { "type": "array", "items": { "type": "string" }, "minItems": 1 }
    ] }
    Environment: {
        "type": "object",
        "propertyNames": { "pattern": "^[A-Za-z_][A-Za-z0-9_]*$" },
        "additionalProperties": { "type": "string" }
    }
}

/// A name that the author chose: of a concurrency group or a prepared output.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name(pub(super) String);

impl Read for Name {
    fn read(
        key: &str,
        value: &DeValue<'_>,
        span: &Range<usize>,
        problems: &mut Problems<'_>,
    ) -> Option<Name> {
        // The grammar is the one of every name that becomes a path component.
        JobId::read(key, value, span, problems).map(|id| Name(id.to_string()))
    }
}

/// The name of a secret, which becomes a file's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SecretName(pub(super) String);

impl Read for SecretName {
    fn read(
        key: &str,
        value: &DeValue<'_>,
        span: &Range<usize>,
        problems: &mut Problems<'_>,
    ) -> Option<SecretName> {
        let text = String::read(key, value, span, problems)?;
        if crate::job::is_secret_name(&text) {
            return Some(SecretName(text));
        }
        let message = format!(
            "{text:?} is not the name of a secret; use up to {SECRET_NAME_BYTES_MAX} letters, digits, '_', '-' and '.', not '.' first"
        );
        problems.push(span, message);
        None
    }
}

impl Read for JobId {
    fn read(
        key: &str,
        value: &DeValue<'_>,
        span: &Range<usize>,
        problems: &mut Problems<'_>,
    ) -> Option<JobId> {
        let text = String::read(key, value, span, problems)?;
        noted(JobId::parse(&text), span, problems)
    }
}

impl Read for TargetId {
    fn read(
        key: &str,
        value: &DeValue<'_>,
        span: &Range<usize>,
        problems: &mut Problems<'_>,
    ) -> Option<TargetId> {
        let text = String::read(key, value, span, problems)?;
        noted(TargetId::parse(&text), span, problems)
    }
}

/// A deadline, in seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timeout(pub(super) u64);

impl Read for Timeout {
    fn read(
        key: &str,
        value: &DeValue<'_>,
        span: &Range<usize>,
        problems: &mut Problems<'_>,
    ) -> Option<Timeout> {
        if let DeValue::Integer(number) = value {
            problems.push(span, format!("`{key}` takes text with a unit; write \"{number}s\" for seconds"));
            return None;
        }
        let text = String::read(key, value, span, problems)?;
        noted(quantity::parse_timeout_secs(&text), span, problems).map(Timeout)
    }
}

/// A size, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory(pub(super) u64);

impl Read for Memory {
    fn read(
        key: &str,
        value: &DeValue<'_>,
        span: &Range<usize>,
        problems: &mut Problems<'_>,
    ) -> Option<Memory> {
        if let DeValue::Integer(number) = value {
            problems.push(
                span,
                format!("`{key}` takes text with a unit; write \"{number}GiB\" or \"{number}MiB\""),
            );
            return None;
        }
        let text = String::read(key, value, span, problems)?;
        noted(quantity::parse_guest_bytes(&text), span, problems).map(Memory)
    }
}

/// How many of something: at least one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Count(pub(super) u32);

impl Read for Count {
    fn read(
        key: &str,
        value: &DeValue<'_>,
        span: &Range<usize>,
        problems: &mut Problems<'_>,
    ) -> Option<Count> {
        let number = i64::read(key, value, span, problems)?;
        let count = u32::try_from(number).ok().filter(|_| (1..=COUNT_MAX).contains(&number));
        if count.is_none() {
            problems.push(span, format!("`{key}` is {number}; write a number from 1 to {COUNT_MAX}"));
        }
        count.map(Count)
    }
}

/// Text that is neither empty nor endless.
#[derive(Clone, Debug)]
pub(super) struct Word(pub(super) String);

impl Read for Word {
    fn read(
        key: &str,
        value: &DeValue<'_>,
        span: &Range<usize>,
        problems: &mut Problems<'_>,
    ) -> Option<Word> {
        let text = String::read(key, value, span, problems)?;
        if text.trim().is_empty() {
            problems.push(span, format!("`{key}` is empty; leave the key away or give it a text"));
            return None;
        }
        if text.len() > WORD_BYTES_MAX {
            problems
                .push(span, format!("`{key}` has {} bytes; at most {WORD_BYTES_MAX} are read", text.len()));
            return None;
        }
        Some(Word(text))
    }
}

/// An image's alias or fingerprint.
#[derive(Clone, Debug)]
pub(super) struct Image(pub(super) String);

impl Read for Image {
    fn read(
        key: &str,
        value: &DeValue<'_>,
        span: &Range<usize>,
        problems: &mut Problems<'_>,
    ) -> Option<Image> {
        let Word(text) = Word::read(key, value, span, problems)?;
        let is_image = text.as_bytes()[0].is_ascii_alphanumeric()
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._/:-".contains(&byte));
        if !is_image {
            problems.push(
                span,
                format!(
                    "\"{}\" is no image; write an alias, such as \"pikaci/dev\", or a fingerprint",
                    shown(&text)
                ),
            );
        }
        is_image.then_some(Image(text))
    }
}

/// Where a prepared output is mounted in the guest.
#[derive(Clone, Debug)]
pub(super) struct Mount(pub(super) String);

impl Read for Mount {
    fn read(
        key: &str,
        value: &DeValue<'_>,
        span: &Range<usize>,
        problems: &mut Problems<'_>,
    ) -> Option<Mount> {
        let Word(text) = Word::read(key, value, span, problems)?;
        let below = text.strip_prefix(STAGED_PATH).and_then(|rest| rest.strip_prefix('/'));
        let is_below = below.is_some_and(|below| {
            below.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
        });
        if !is_below {
            problems.push(
                span,
                format!(
                    "\"{}\" is not below {STAGED_PATH}; write a path such as \"{STAGED_PATH}/name\"",
                    shown(&text)
                ),
            );
        }
        is_below.then_some(Mount(text))
    }
}

/// What a job runs.
#[derive(Clone, Debug)]
pub(super) struct Command(pub(super) JobCommand);

impl Read for Command {
    fn read(
        key: &str,
        value: &DeValue<'_>,
        span: &Range<usize>,
        problems: &mut Problems<'_>,
    ) -> Option<Command> {
        let (command, bytes, is_empty) = if value.is_array() {
            let items: Vec<Located<String>> = Vec::read(key, value, span, problems)?;
            let arguments: Vec<String> = items.into_iter().map(|item| item.value).collect();
            let bytes = arguments.iter().map(|argument| argument.len() + 1).sum();
            let is_empty = arguments.first().is_none_or(|program| program.trim().is_empty());
            (JobCommand::Argv(arguments), bytes, is_empty)
        } else {
            let script = String::read(key, value, span, problems)?;
            let (bytes, is_empty) = (script.len(), script.trim().is_empty());
            (JobCommand::Shell(script), bytes, is_empty)
        };
        if is_empty {
            problems.push(span, format!("`{key}` is empty; write what to run, such as \"cargo test\""));
            return None;
        }
        if bytes > COMMAND_BYTES_MAX {
            problems.push(
                span,
                format!(
                    "`{key}` has {bytes} bytes; at most {COMMAND_BYTES_MAX} are allowed, put it into a script \
                     of the repository"
                ),
            );
            return None;
        }
        Some(Command(command))
    }
}

/// Variables for a command.
#[derive(Clone, Debug, Default)]
pub(super) struct Environment(pub(super) Vec<(String, String)>);

impl Read for Environment {
    fn read(
        key: &str,
        value: &DeValue<'_>,
        span: &Range<usize>,
        problems: &mut Problems<'_>,
    ) -> Option<Environment> {
        let DeValue::Table(table) = value else {
            problems.push(
                span,
                format!("`{key}` takes a table, such as {{ NAME = \"value\" }}, not {}", kind(value)),
            );
            return None;
        };
        if table.len() > ENTRIES_MAX {
            problems
                .push(span, format!("`{key}` has {} entries; at most {ENTRIES_MAX} are read", table.len()));
            return None;
        }
        let mut variables = Vec::with_capacity(table.len());
        for (name, value) in table {
            let text = name.get_ref().as_ref();
            let is_name = text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            if !is_name {
                problems.push(
                    &name.span(),
                    format!(
                        "\"{}\" is no variable's name; use letters, digits and '_', no digit first",
                        shown(text)
                    ),
                );
            }
            let value = String::read(text, value.get_ref(), &value.span(), problems);
            variables.extend(value.map(|value| (text.to_owned(), value)));
        }
        Some(Environment(variables))
    }
}

/// Reads one of a few words.
fn read_word<T: Copy>(
    key: &str,
    value: &DeValue<'_>,
    span: &Range<usize>,
    words: &[(&str, T)],
    problems: &mut Problems<'_>,
) -> Option<T> {
    let text = String::read(key, value, span, problems)?;
    let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
    if found.is_none() {
        let known = words.iter().map(|(word, _)| *word);
        let remedy = match nearest(&text, known.clone()) {
            Some(similar) => format!("did you mean `{similar}`?"),
            None => format!("write {}", listed(known)),
        };
        problems.push(span, format!("`{key}` knows no \"{}\"; {remedy}", shown(&text)));
    }
    found
}

impl Read for Trigger {
    fn read(
        key: &str,
        value: &DeValue<'_>,
        span: &Range<usize>,
        problems: &mut Problems<'_>,
    ) -> Option<Trigger> {
        read_word(key, value, span, &[("branch", Trigger::Branch), ("nightly", Trigger::Nightly)], problems)
    }
}

impl Read for InstanceType {
    fn read(
        key: &str,
        value: &DeValue<'_>,
        span: &Range<usize>,
        problems: &mut Problems<'_>,
    ) -> Option<InstanceType> {
        let words =
            [("virtual-machine", InstanceType::VirtualMachine), ("container", InstanceType::Container)];
        read_word(key, value, span, &words, problems)
    }
}

impl Read for Provider {
    fn read(
        key: &str,
        value: &DeValue<'_>,
        span: &Range<usize>,
        problems: &mut Problems<'_>,
    ) -> Option<Provider> {
        read_word(key, value, span, &[("command", Provider::Command), ("nix", Provider::Nix)], problems)
    }
}

/// Notes the error of a parser.
fn noted<T, E: std::fmt::Display>(
    parsed: Result<T, E>,
    span: &Range<usize>,
    problems: &mut Problems<'_>,
) -> Option<T> {
    match parsed {
        Ok(value) => Some(value),
        Err(error) => {
            problems.push(span, error.to_string());
            None
        }
    }
}
