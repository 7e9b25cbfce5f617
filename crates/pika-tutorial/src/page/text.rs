//! Foreign texts for a page: what can't be seen is made visible.

use askama::filters::{Html, escape};

/// A text in which letters that hide or reorder others are written by their numbers (Unicode TR 36, "bidirectional text
/// spoofing"). A tab stays one.
pub(super) fn visible(text: &str) -> String {
    let is_hidden = |letter: char| {
        letter.is_control() && letter != '\t'
            || matches!(letter, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    if !text.contains(is_hidden) {
        return text.to_owned();
    }
    let mut visible = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        if is_hidden(letter) {
            visible.push_str(&format!("⟨U+{:04X}⟩", u32::from(letter)));
        } else {
            visible.push(letter);
        }
    }
    visible
}

/// A text of several lines, each as [`visible`] has it.
pub(super) fn visible_lines(text: &str) -> String {
    text.split('\n').map(visible).collect::<Vec<_>>().join("\n")
}

/// A line of text as HTML, with what stands between backticks as code.
pub(super) fn with_code(text: &str) -> String {
    let text = visible(text);
    let mut html = String::new();
    let parts: Vec<&str> = text.split('`').collect();
    for (index, part) in parts.iter().enumerate() {
        let escaped = escape(part, Html).map_or_else(|_| String::new(), |escaped| escaped.to_string());
        let is_code = index % 2 == 1;
        match (is_code, index + 1 == parts.len()) {
            (true, false) => html.push_str(&format!("<code>{escaped}</code>")),
            // A backtick that has no other half.
            (true, true) => html.push_str(&format!("`{escaped}")),
            (false, _) => html.push_str(&escaped),
        }
    }
    html
}
