//! A log on somebody's terminal.
//!
//! Invariants: of what a job has printed, text, line ends and colours reach the terminal, and nothing that sets its title, fills
//! its clipboard, moves its cursor or reorders what is read; what is no terminal gets every byte as it is.

use std::io::{self, IsTerminal as _};

use anstyle_parse::{Params, Parser, Perform};

use super::output::{bytes, is_shown};

/// Prints the pieces of one log.
pub(super) struct LogPrinter {
    filter: Option<Filter>,
}

impl LogPrinter {
    /// For standard output, as it is now.
    pub(super) fn new() -> LogPrinter {
        LogPrinter { filter: io::stdout().is_terminal().then(Filter::default) }
    }

    /// Prints a piece, which may end in the middle of a letter or a sequence. Says when nobody reads any more.
    pub(super) fn print(&mut self, piece: &[u8]) -> io::Result<()> {
        match &mut self.filter {
            None => bytes(piece),
            Some(filter) => bytes(filter.pass(piece).as_bytes()),
        }
    }
}

impl Drop for LogPrinter {
    fn drop(&mut self) {
        if self.filter.as_ref().is_some_and(|filter| filter.shown.is_coloured) {
            let _ = bytes(RESET.as_bytes());
        }
    }
}

const RESET: &str = "\u{1b}[0m";

#[derive(Default)]
struct Filter {
    parser: Parser,
    shown: Shown,
}

impl Filter {
    fn pass(&mut self, piece: &[u8]) -> String {
        for byte in piece {
            self.parser.advance(&mut self.shown, *byte);
        }
        std::mem::take(&mut self.shown.text)
    }
}

#[derive(Default)]
struct Shown {
    text: String,
    is_coloured: bool,
}

impl Perform for Shown {
    fn print(&mut self, letter: char) {
        if is_shown(letter) {
            self.text.push(letter);
        }
    }

    fn execute(&mut self, byte: u8) {
        // A progress bar goes back to the start of its line, no further.
        if matches!(byte, b'\n' | b'\r' | b'\t') {
            self.text.push(char::from(byte));
        }
    }

    fn csi_dispatch(&mut self, params: &Params, intermediates: &[u8], is_cut: bool, action: u8) {
        // "Select graphic rendition" (ECMA-48, 8.3.117).
        if action != b'm' || !intermediates.is_empty() || is_cut {
            return;
        }
        let parameters = params.iter().map(|parts| {
            let parts: Vec<String> = parts.iter().map(u16::to_string).collect();
            parts.join(":")
        });
        let parameters = parameters.collect::<Vec<_>>().join(";");
        self.is_coloured = !parameters.is_empty() && parameters != "0";
        self.text.push_str(&format!("\u{1b}[{parameters}m"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_pass_and_what_would_act_on_the_terminal_does_not_wherever_it_is_cut() {
        let log = "\u{1b}]52;c;aGk=\u{7}\u{1b}]0;owned\u{1b}\\\u{1b}[2J\u{1b}[H\u{1b}P1$r\u{1b}\\\u{1b}[31;1mréd\u{1b}[0m\r\n\
                   \tplain\u{9b}2J\u{202e}x\u{8}\u{1b}c\u{1b}[38;5;9mmore\u{1b}[?25l";
        let expected = "\u{1b}[31;1mréd\u{1b}[0m\r\n\tplain2Jx\u{1b}[38;5;9mmore";
        for size in 1..log.len() {
            let mut filter = Filter::default();
            let passed: String = log.as_bytes().chunks(size).map(|piece| filter.pass(piece)).collect();
            assert_eq!(passed, expected, "in pieces of {size}");
            assert!(filter.shown.is_coloured);
        }
    }

    #[test]
    fn a_sequence_without_an_end_takes_no_memory() {
        let mut filter = Filter::default();
        filter.pass(b"\x1b]0;");
        for _ in 0..1000 {
            assert_eq!(filter.pass(&[b'x'; 1000]), "");
        }
        assert_eq!(filter.pass(b"\x07after"), "after");
    }
}
