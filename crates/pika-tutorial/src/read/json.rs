//! Reads JSON, and what models write in its place.
//!
//! Understood besides JSON: comments, commas too many or missing, single quotes, names without quotes, line ends and bare
//! quotes within strings, unknown escapes, `None` and its like, and an end in the middle. Valid JSON is read as what it is.
//!
//! Invariants: recursion is bounded; every byte is looked at a bounded number of times.

use std::iter::Peekable;
use std::str::CharIndices;

/// How deep values may be nested. A tutorial needs five.
const DEPTH_MAX: usize = 32;

/// A value, complete or cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Text {
        text: String,
        is_complete: bool,
    },
    List {
        items: Vec<Value>,
        is_complete: bool,
    },
    Object {
        entries: Vec<(String, Value)>,
        is_complete: bool,
    },
    /// A number, or a word such as `null`, as it was written.
    Other(String),
}

impl Value {
    pub(super) fn is_complete(&self) -> bool {
        match self {
            Value::Text { is_complete, .. }
            | Value::List { is_complete, .. }
            | Value::Object { is_complete, .. } => *is_complete,
            Value::Other(_) => true,
        }
    }
}

/// How a value was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reading {
    /// How far it reaches.
    pub(super) bytes: usize,
    /// Whether it was not quite JSON.
    pub(super) is_mended: bool,
}

/// Reads the object or list that the text begins with. `None` when there is none; the reading says how far that took.
pub(super) fn read(text: &str) -> (Option<Value>, Reading) {
    let mut reader = Reader { text, letters: text.char_indices().peekable(), is_mended: false };
    let value = reader.value(0);
    let bytes = reader.position();
    (value, Reading { bytes, is_mended: reader.is_mended })
}

struct Reader<'a> {
    text: &'a str,
    letters: Peekable<CharIndices<'a>>,
    is_mended: bool,
}

impl Reader<'_> {
    fn peek(&mut self) -> Option<char> {
        self.letters.peek().map(|(_, letter)| *letter)
    }

    fn next(&mut self) -> Option<char> {
        self.letters.next().map(|(_, letter)| letter)
    }

    fn position(&mut self) -> usize {
        self.letters.peek().map_or(self.text.len(), |(position, _)| *position)
    }

    fn rest(&mut self) -> &str {
        let position = self.position();
        &self.text[position..]
    }

    fn skip(&mut self, count: usize) {
        for _ in 0..count {
            self.next();
        }
    }

    /// Skips white space and comments.
    fn blank(&mut self) {
        loop {
            match self.peek() {
                Some(letter) if letter.is_whitespace() || letter == '\u{feff}' => self.skip(1),
                Some('/') if self.rest().starts_with("//") => {
                    self.is_mended = true;
                    while self.peek().is_some_and(|letter| letter != '\n') {
                        self.skip(1);
                    }
                }
                Some('/') if self.rest().starts_with("/*") => {
                    self.is_mended = true;
                    while self.peek().is_some() && !self.rest().starts_with("*/") {
                        self.skip(1);
                    }
                    self.skip(2);
                }
                _ => return,
            }
        }
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        self.blank();
        match self.peek()? {
            '{' if depth < DEPTH_MAX => self.object(depth),
            '[' if depth < DEPTH_MAX => Some(self.list(depth)),
            '"' | '\'' | '“' => Some(self.text()),
            letter if letter.is_alphanumeric() || "-+._".contains(letter) => Some(self.word()),
            _ => None,
        }
    }

    fn word(&mut self) -> Value {
        let mut word = String::new();
        while let Some(letter) = self.peek()
            && (letter.is_alphanumeric() || "-+._".contains(letter))
        {
            word.push(letter);
            self.skip(1);
        }
        let is_json = matches!(word.as_str(), "null" | "true" | "false") || word.parse::<f64>().is_ok();
        self.is_mended |= !is_json;
        Value::Other(word)
    }

    /// Returns `None` for a brace that begins no object: prose and code have those.
    fn object(&mut self, depth: usize) -> Option<Value> {
        self.skip(1);
        let mut entries = Vec::new();
        let mut needs_comma = false;
        loop {
            self.blank();
            match self.peek() {
                None => return Some(Value::Object { entries, is_complete: false }),
                Some('}') => {
                    self.skip(1);
                    return Some(Value::Object { entries, is_complete: true });
                }
                Some(',') => {
                    self.is_mended |= !needs_comma;
                    needs_comma = false;
                    self.skip(1);
                    continue;
                }
                // The list around it goes on, or ends: the brace was forgotten.
                Some(']') => {
                    self.is_mended = true;
                    return Some(Value::Object { entries, is_complete: true });
                }
                Some(_) => {}
            }
            self.is_mended |= needs_comma;
            let Some(key) = self.key() else {
                if self.peek().is_none() {
                    return Some(Value::Object { entries, is_complete: false });
                }
                if entries.is_empty() {
                    return None;
                }
                // What is no key after a value is the rest of a string that ended too early.
                self.is_mended = true;
                self.resume();
                continue;
            };
            let Some(value) = self.value(depth + 1) else {
                if self.peek().is_none() {
                    return Some(Value::Object { entries, is_complete: false });
                }
                if entries.is_empty() && depth == 0 {
                    return None;
                }
                self.is_mended = true;
                self.resume();
                continue;
            };
            let is_complete = value.is_complete();
            entries.push((key, value));
            if !is_complete {
                return Some(Value::Object { entries, is_complete: false });
            }
            needs_comma = true;
        }
    }

    /// Reads a name and its colon. `None`, at an unchanged or later place, when there is none.
    fn key(&mut self) -> Option<String> {
        let key = match self.peek()? {
            '"' | '\'' | '“' => match self.text() {
                Value::Text { text, is_complete: true } => text,
                _ => return None,
            },
            letter if letter.is_alphabetic() || letter == '_' => {
                self.is_mended = true;
                match self.word() {
                    Value::Other(word) => word,
                    _ => return None,
                }
            }
            _ => return None,
        };
        self.blank();
        if self.peek() != Some(':') {
            return None;
        }
        self.skip(1);
        Some(key)
    }

    fn list(&mut self, depth: usize) -> Value {
        self.skip(1);
        let mut items: Vec<Value> = Vec::new();
        let mut needs_comma = false;
        loop {
            self.blank();
            match self.peek() {
                None => return Value::List { items, is_complete: false },
                Some(']') => {
                    self.skip(1);
                    return Value::List { items, is_complete: true };
                }
                Some(',') => {
                    self.is_mended |= !needs_comma;
                    needs_comma = false;
                    self.skip(1);
                    continue;
                }
                // The object around it goes on: the bracket was forgotten.
                Some('}') if depth > 0 => {
                    self.is_mended = true;
                    return Value::List { items, is_complete: true };
                }
                Some(_) => {}
            }
            self.is_mended |= needs_comma;
            match self.value(depth + 1) {
                Some(value) => {
                    let is_complete = value.is_complete();
                    items.push(value);
                    if !is_complete {
                        return Value::List { items, is_complete: false };
                    }
                    needs_comma = true;
                }
                None => {
                    self.is_mended = true;
                    self.resume();
                }
            }
        }
    }

    /// Goes on at the next place where an entry could begin or end; by one letter at least.
    fn resume(&mut self) {
        self.skip(1);
        while self.peek().is_some_and(|letter| !matches!(letter, ',' | '}' | ']' | '{' | '"')) {
            self.skip(1);
        }
    }

    fn text(&mut self) -> Value {
        let open = self.next().unwrap_or('"');
        let close = if open == '“' { '”' } else { open };
        self.is_mended |= open != '"';
        let mut text = String::new();
        loop {
            let Some(letter) = self.next() else { return Value::Text { text, is_complete: false } };
            match letter {
                '\\' => {
                    if !self.escape(&mut text) {
                        return Value::Text { text, is_complete: false };
                    }
                }
                letter if letter == close => {
                    if self.ends_here() {
                        return Value::Text { text, is_complete: true };
                    }
                    self.is_mended = true;
                    text.push(letter);
                }
                letter => {
                    self.is_mended |= letter < ' ';
                    text.push(letter);
                }
            }
        }
    }

    /// Whether a quote ends the string: what follows must be able to follow a string. Models forget to escape quotes.
    fn ends_here(&mut self) -> bool {
        let rest = self.rest();
        let after = rest.trim_start();
        let is_new_line = rest[..rest.len() - after.len()].contains('\n');
        match after.chars().next() {
            None | Some(',' | '}' | ']' | ':') => true,
            Some('/') => after.starts_with("//") || after.starts_with("/*"),
            Some('"' | '\'' | '{') => is_new_line,
            Some(_) => false,
        }
    }

    /// Reads an escape. Returns whether it was whole.
    fn escape(&mut self, text: &mut String) -> bool {
        let Some(letter) = self.next() else { return false };
        match letter {
            'n' => text.push('\n'),
            't' => text.push('\t'),
            'r' => text.push('\r'),
            'b' => text.push('\u{8}'),
            'f' => text.push('\u{c}'),
            '"' | '\\' | '/' => text.push(letter),
            '\'' => {
                self.is_mended = true;
                text.push('\'');
            }
            'u' => return self.unicode(text),
            other => {
                // A pattern or a path whose backslash was not doubled.
                self.is_mended = true;
                text.push('\\');
                text.push(other);
            }
        }
        true
    }

    fn unicode(&mut self, text: &mut String) -> bool {
        let Some(first) = self.hex4() else {
            // The text ends within the digits.
            if self.rest().len() < 4 && self.rest().bytes().all(|byte| byte.is_ascii_hexdigit()) {
                self.skip(4);
                return false;
            }
            self.is_mended = true;
            text.push_str("\\u");
            return true;
        };
        let is_high = (0xd800..0xdc00).contains(&first);
        if is_high && self.rest().starts_with("\\u") {
            let before = self.letters.clone();
            self.skip(2);
            if let Some(second) = self.hex4()
                && (0xdc00..0xe000).contains(&second)
            {
                let joined = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                text.push(char::from_u32(joined).unwrap_or(char::REPLACEMENT_CHARACTER));
                return true;
            }
            self.letters = before;
        }
        text.push(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER));
        true
    }

    /// Reads four hexadecimal digits, or nothing.
    fn hex4(&mut self) -> Option<u32> {
        let digits = self.rest().get(..4)?;
        let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u32::from_str_radix(digits, 16).ok().filter(|_| is_hex)?;
        self.skip(4);
        Some(number)
    }
}
