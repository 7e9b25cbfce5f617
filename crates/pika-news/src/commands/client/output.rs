//! What client commands print.
//!
//! Invariants: a reader that went away ends nothing. What comes from the forge is shown without characters that control; logs,
//! which `terminal` prints, have colours too.

use std::fmt;
use std::io::{self, Write as _};

use serde::Serialize;

use super::failure::Failure;

/// Prints text and a line end.
pub(super) fn line(text: &str) {
    let _ = bytes(format!("{text}\n").as_bytes());
}

/// Prints bytes at once. Says when nobody reads them any more.
pub(super) fn bytes(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}

/// Prints one JSON document, indented for people.
pub(super) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(Failure::infrastructure)?;
    line(&text);
    Ok(())
}

/// Whether a letter is one to be read: neither a control character nor a mark that reorders the others, with which a name
/// could say what it is not.
pub(super) fn is_shown(letter: char) -> bool {
    !letter.is_control() && !matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A text of one line that moves no cursor.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|letter| if is_shown(letter) { letter } else { ' ' }).collect()
}

/// A text of several lines that moves no cursor.
pub(super) fn plain_lines(text: &str) -> String {
    let shown = |letter: char| match letter {
        '\n' => '\n',
        letter if is_shown(letter) => letter,
        _ => ' ',
    };
    text.chars().map(shown).collect()
}

/// Words separated by commas, at most so many.
pub(super) fn list(words: &[&str], count_max: usize) -> String {
    let mut text = words.iter().take(count_max).map(|word| plain(word)).collect::<Vec<_>>().join(", ");
    if words.len() > count_max {
        text.push_str(&format!(" and {} more", words.len() - count_max));
    }
    text
}

/// Milliseconds as people say them.
pub(super) fn duration(milliseconds: i64) -> String {
    let seconds = milliseconds.max(0) / 1000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {:02} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// How long ago that was.
pub(super) fn age(at_ms: i64) -> String {
    duration(jiff::Timestamp::now().as_millisecond() - at_ms)
}

/// Lines of cells, aligned. The first line is the heading.
#[derive(Debug)]
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub(super) fn new(headings: &[&str]) -> Table {
        Table { rows: vec![headings.iter().map(|&heading| heading.to_owned()).collect()] }
    }

    /// Adds a line.
    pub(super) fn push(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| plain(&cell)).collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let cells = |column: usize| self.rows.iter().filter_map(move |row| row.get(column));
        let widths: Vec<usize> = (0..columns)
            .map(|column| cells(column).map(|cell| cell.chars().count()).max().unwrap_or(0))
            .collect();
        for (number, row) in self.rows.iter().enumerate() {
            let padded = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            let text = padded.collect::<Vec<_>>().join("  ");
            let end = if number + 1 < self.rows.len() { "\n" } else { "" };
            write!(formatter, "{}{end}", text.trim_end())?;
        }
        Ok(())
    }
}
