//! Every unknown key of a text, not only the first.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue, Error};

use super::{Checker, RawConfig};

/// So many mistakes are told at once.
const TOLD_MAX: usize = 20;

impl Checker<'_> {
    /// Reads a text. A key that is not known is told and left out, so that what follows it is told too.
    pub(super) fn read(&mut self, text: &str) -> Option<RawConfig> {
        let mut text = text.to_owned();
        for _ in 0..TOLD_MAX {
            let error = match toml::from_str(&text) {
                Ok(raw) => return Some(raw),
                Err(error) => error,
            };
            let span = error.span().unwrap_or(0..0);
            self.push(span.clone(), error.message().replace('\n', "; "));
            text = without(&text, &error, &span)?;
        }
        None
    }
}

/// The text with blanks in the place of the unknown key that the error is about, and of its value.
fn without(text: &str, error: &Error, key: &Range<usize>) -> Option<String> {
    if !error.message().starts_with("unknown field") {
        return None;
    }
    let table = DeTable::parse(text).ok()?;
    let value = find(table.get_ref(), key).filter(|value| value.start > key.start)?;
    // Of a table with a header the other keys would be left to the one before.
    if !text[key.end..value.start].trim_start().starts_with('=') {
        return None;
    }
    let part = text.get(key.start..value.end)?;
    let blank: String = part.chars().map(|letter| if letter == '\n' { '\n' } else { ' ' }).collect();
    // A letter of several bytes would move what comes after it.
    (blank.len() == part.len()).then(|| [&text[..key.start], &blank, &text[value.end..]].concat())
}

/// Where the value of the key at this place is.
fn find(table: &DeTable<'_>, wanted: &Range<usize>) -> Option<Range<usize>> {
    table.iter().find_map(|(key, value)| match value.get_ref() {
        _ if key.span() == *wanted => Some(value.span()),
        DeValue::Table(inner) => find(inner, wanted),
        DeValue::Array(items) => items.iter().find_map(|item: &Spanned<DeValue<'_>>| match item.get_ref() {
            DeValue::Table(inner) => find(inner, wanted),
            _ => None,
        }),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::Config;

    #[test]
    fn each_unknown_key_is_told_with_its_line_and_so_is_what_else_is_wrong() {
        let text = "data = \"d\"\nlissten = \"x\"\n[ci]\nslots = 0\nslotz = [\n1,\n2]\n[[repositories]]\nname = \"a\"\nrulez = {a = 1}\n";
        let error = Config::parse(text, "f", Path::new("/srv")).unwrap_err().to_string();
        let told: Vec<&str> =
            error.lines().map(|line| &line[..line.find(",").unwrap_or(line.len())]).collect();
        assert_eq!(
            told,
            [
                "f:2:1: unknown field `lissten`",
                "f:4:9: `slots` is 0; write a number from 1 to 256",
                "f:5:1: unknown field `slotz`",
                "f:10:1: unknown field `rulez`",
            ],
            "{error}"
        );
        // What cannot be left out ends the reading.
        let text = "data = \"d\"\n[nothing]\nslots = 3\n[ci]\nslots = 0\n";
        let error = Config::parse(text, "f", Path::new("/srv")).unwrap_err().to_string();
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(error.starts_with("f:2:2: unknown field `nothing`"), "{error}");
    }
}
