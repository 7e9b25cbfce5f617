//! Keeps an agent's answers short, and free of what moves a terminal.
//!
//! Invariant: what was left out is said, with its size.

/// No answer is longer.
pub const ANSWER_BYTES_MAX: usize = 16 << 10;
/// What is kept of the end of a text that is too long: there stands the command that repeats a failure.
const END_BYTES: usize = 4 << 10;
/// What the note about the gap may take.
const NOTE_BYTES: usize = 512;

/// A text whose middle is left out when it is too long. `hint` says how to get at the rest.
pub fn bounded(text: &str, hint: &str) -> String {
    if text.len() <= ANSWER_BYTES_MAX {
        return text.to_owned();
    }
    let begin = floor(text, ANSWER_BYTES_MAX - END_BYTES - NOTE_BYTES);
    let end = ceil(text, text.len() - END_BYTES);
    let hint = if hint.is_empty() { String::new() } else { format!("; {hint}") };
    format!("{}\n[… {} bytes left out here{hint} …]\n{}", &text[..begin], end - begin, &text[end..])
}

/// A text whose beginning is left out when it is longer than `bytes_max`.
pub fn bounded_end(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let begin = ceil(text, text.len() - bytes_max.saturating_sub(NOTE_BYTES));
    format!("[… {begin} bytes left out here; ask for fewer bytes …]\n{}", &text[begin..])
}

/// A text without control characters and escape sequences; lines stay.
pub fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\n' | '\t' => plain.push(letter),
            // A sequence such as `ESC [ 3 1 m`: parameters, then one letter.
            '\u{1b}' if letters.peek() == Some(&'[') => {
                letters.next();
                while letters.next_if(|letter| matches!(letter, '0'..='?' | ' '..='/')).is_some() {}
                letters.next_if(|letter| matches!(letter, '@'..='~'));
            }
            letter if letter.is_control() => {}
            letter => plain.push(letter),
        }
    }
    plain
}

fn floor(text: &str, wanted: usize) -> usize {
    (0..=wanted).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

fn ceil(text: &str, wanted: usize) -> usize {
    (wanted..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_keeps_both_ends_and_says_how_much_is_gone() {
        let text = format!("begin {} the end", "é".repeat(ANSWER_BYTES_MAX));
        let cut = bounded(&text, "read_log shows it");
        assert!(cut.len() <= ANSWER_BYTES_MAX && cut.starts_with("begin é") && cut.ends_with("é the end"));
        let note = cut.lines().nth(1).unwrap();
        let gone: usize = note.split_whitespace().nth(1).unwrap().parse().unwrap();
        assert_eq!(cut.len() + gone - note.len() - 2, text.len());
        assert!(note.contains("read_log shows it"), "{note}");
        assert_eq!(bounded("short", ""), "short");
        let end = bounded_end(&text, 2048);
        assert!(end.len() <= 2048 && end.ends_with("the end") && end.starts_with("[… "));
    }

    #[test]
    fn colours_and_bells_are_not_told() {
        assert_eq!(plain("\u{1b}[1;31merror\u{1b}[0m: a\tb\r\n\u{7}c\u{1b}"), "error: a\tb\nc");
    }
}
