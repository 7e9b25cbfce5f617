//! Takes out of a line what is meant for a terminal and not for a reader.
//!
//! Invariant: what comes out moves no cursor, changes no colour and reorders no text, wherever it is shown.

use std::iter::Peekable;
use std::str::Chars;

const ESCAPE: char = '\u{1b}';
const BELL: char = '\u{7}';

/// One line as a terminal would leave it: escape sequences are gone, and a carriage return starts the line anew, as
/// progress bars do.
pub(crate) fn plain_line(line: &str) -> String {
    let line = line.trim_end_matches(['\r', '\n']);
    let last = line.rsplit('\r').find(|part| !part.trim().is_empty()).unwrap_or_default();
    plain(last, |it| it == '\t')
}

/// Text of several lines, without escape sequences.
pub(crate) fn plain_text(text: &str) -> String {
    plain(&text.replace("\r\n", "\n"), |it| it == '\t' || it == '\n')
}

fn plain(text: &str, is_kept: impl Fn(char) -> bool) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(it) = chars.next() {
        match it {
            ESCAPE => skip_sequence(&mut chars),
            // The one-character form of `ESC [`.
            '\u{9b}' => skip_parameters(&mut chars),
            it if is_kept(it) => shown.push(it),
            it if it.is_control() || is_reordering(it) => {}
            it => shown.push(it),
        }
    }
    shown
}

/// Skips what follows an escape character (ECMA-48, "control functions").
fn skip_sequence(chars: &mut Peekable<Chars<'_>>) {
    match chars.next() {
        Some('[') => skip_parameters(chars),
        // Strings, such as a window's title or a link's address; they end with BEL or `ESC \`.
        Some(']' | 'P' | 'X' | '^' | '_') => {
            while let Some(it) = chars.next() {
                if it == BELL || (it == ESCAPE && chars.next_if_eq(&'\\').is_some()) {
                    break;
                }
            }
        }
        Some(' '..='/') => {
            while chars.next_if(|it| (' '..='/').contains(it)).is_some() {}
            chars.next();
        }
        Some(_) | None => {}
    }
}

fn skip_parameters(chars: &mut Peekable<Chars<'_>>) {
    while chars.next_if(|it| (' '..='?').contains(it)).is_some() {}
    chars.next_if(|it| ('@'..='~').contains(it));
}

/// Characters that make text read in another order than it is stored.
fn is_reordering(it: char) -> bool {
    matches!(it, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn colours_titles_and_links_are_gone() {
        assert_eq!(
            plain_line("\u{1b}[1m\u{1b}[38;5;9merror\u{1b}[0m: no\u{9b}31m such\u{1b}(B file"),
            "error: no such file"
        );
        assert_eq!(plain_line("\u{1b}]8;;http://x/\u{7}link\u{1b}]8;;\u{1b}\\ end"), "link end");
        assert_eq!(plain_line("a\tb\u{8}\u{202e}c\u{1b}[31"), "a\tbc");
    }

    #[test]
    fn a_progress_bar_shows_its_last_state() {
        assert_eq!(plain_line(" 10%\r 50%\r100% done\r\n"), "100% done");
        assert_eq!(plain_line("\r\n"), "");
    }

    proptest! {
        #[test]
        fn nothing_that_a_terminal_acts_on_comes_through(text in "(?s).{0,60}") {
            prop_assert!(plain_line(&text).chars().all(|it| it == '\t' || !it.is_control()));
            prop_assert!(plain_text(&text).chars().all(|it| matches!(it, '\t' | '\n') || !it.is_control()));
        }
    }
}
