//! Text that was meant for a terminal, as markup: colours become classes, everything else that is no text is left out.
//!
//! Invariant: what comes out holds escaped text and `<span>`s with classes of this file, whatever went in.

/// How text looks at one point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Look {
    is_bold: bool,
    is_faint: bool,
    is_italic: bool,
    is_underlined: bool,
    colour: Option<u8>,
}

/// Converts text of a log to markup.
pub(crate) fn to_html(text: &str) -> String {
    let mut html = String::with_capacity(text.len() + text.len() / 8);
    let mut look = Look::default();
    let mut is_open = false;
    let mut rest = text;
    while let Some(position) = rest.find('\u{1b}') {
        push_text(&mut html, &rest[..position]);
        let (parameters, length) = sequence(&rest[position..]);
        rest = &rest[position + length..];
        let Some(parameters) = parameters else { continue };
        let before = look;
        look.select(parameters);
        if look != before {
            open(&mut html, look, &mut is_open);
        }
    }
    push_text(&mut html, rest);
    open(&mut html, Look::default(), &mut is_open);
    html
}

fn open(html: &mut String, look: Look, is_open: &mut bool) {
    if std::mem::take(is_open) {
        html.push_str("</span>");
    }
    if look != Look::default() {
        html.push_str(&format!("<span class=\"{}\">", look.classes()));
        *is_open = true;
    }
}

impl Look {
    /// Follows a "select graphic rendition" (ECMA-48, 8.3.117). Colours beyond the sixteen are left out.
    fn select(&mut self, parameters: &str) {
        let mut codes = parameters.split([';', ':']).map(|code| code.parse::<u16>().unwrap_or(0));
        while let Some(code) = codes.next() {
            match code {
                0 => *self = Look::default(),
                1 => self.is_bold = true,
                2 => self.is_faint = true,
                3 => self.is_italic = true,
                4 => self.is_underlined = true,
                22 => (self.is_bold, self.is_faint) = (false, false),
                23 => self.is_italic = false,
                24 => self.is_underlined = false,
                30..=37 => self.colour = u8::try_from(code - 30).ok(),
                90..=97 => self.colour = u8::try_from(code - 90).ok(),
                39 => self.colour = None,
                38 | 48 => {
                    let values = if codes.next() == Some(5) { 1 } else { 3 };
                    codes.by_ref().take(values).for_each(drop);
                }
                _ => {}
            }
        }
    }

    fn classes(self) -> String {
        let mut classes: Vec<String> = Vec::new();
        let flags = [
            (self.is_bold, "a-bold"),
            (self.is_faint, "a-faint"),
            (self.is_italic, "a-italic"),
            (self.is_underlined, "a-underline"),
        ];
        classes.extend(flags.iter().filter(|(is_set, _)| *is_set).map(|(_, class)| (*class).to_owned()));
        classes.extend(self.colour.map(|colour| format!("a-{colour}")));
        classes.join(" ")
    }
}

/// Measures the escape sequence at the start of `text`; with its parameters when it selects a look.
fn sequence(text: &str) -> (Option<&str>, usize) {
    let bytes = text.as_bytes();
    match bytes.get(1) {
        Some(b'[') => {
            let end = bytes[2..].iter().position(|byte| !(0x20..=0x3f).contains(byte)).map(|end| end + 2);
            match end {
                Some(end) if bytes[end] == b'm' => (Some(&text[2..end]), end + 1),
                Some(end) if bytes[end].is_ascii() => (None, end + 1),
                Some(end) => (None, end),
                None => (None, bytes.len()),
            }
        }
        // A window's title or a link's address; it ends with BEL or `ESC \`. Without an end in sight only its opening goes.
        Some(b']' | b'P' | b'X' | b'^' | b'_') => {
            let body = &bytes[2..bytes.len().min(4096)];
            let bell = body.iter().position(|byte| *byte == 0x07).map(|end| end + 3);
            let string_end = body.windows(2).position(|pair| pair == b"\x1b\\").map(|end| end + 4);
            let end = bell.into_iter().chain(string_end).min();
            (None, end.unwrap_or(2))
        }
        // Intermediate bytes, then a final one: character sets and the like.
        Some(0x20..=0x2f) => {
            let end = bytes[1..]
                .iter()
                .position(|byte| !(0x20..=0x2f).contains(byte))
                .map_or(bytes.len(), |end| end + 1);
            (
                None,
                if bytes.get(end).is_some_and(|byte| (0x30..=0x7e).contains(byte)) { end + 1 } else { end },
            )
        }
        Some(0x30..=0x7e) => (None, 2),
        Some(_) | None => (None, 1),
    }
}

fn push_text(html: &mut String, text: &str) {
    let mut chars = text.chars().peekable();
    while let Some(letter) = chars.next() {
        match letter {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            // A lone carriage return is a progress bar's; each of its states gets a line.
            '\r' if chars.peek() == Some(&'\n') => {}
            '\r' => html.push('\n'),
            '\n' | '\t' => html.push(letter),
            // Marks that reorder what is read could make a log say what it does not.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {}
            letter if letter.is_control() => {}
            letter => html.push(letter),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn colours_become_classes_and_are_closed() {
        let html = to_html("a \x1b[1;31merror\x1b[0m b \x1b[38;5;200mx\x1b[92mok");
        assert_eq!(html, "a <span class=\"a-bold a-1\">error</span> b x<span class=\"a-2\">ok</span>");
    }

    #[test]
    fn what_moves_the_cursor_or_sets_a_title_is_left_out() {
        assert_eq!(
            to_html("\x1b[2K\x1b[1Gdone\x1b]0;title\x07!\x1b]8;;http://x\x1b\\link\x1b(B"),
            "done!link"
        );
    }

    #[test]
    fn markup_in_a_log_is_text() {
        assert_eq!(to_html("<script>\"&'"), "&lt;script&gt;&quot;&amp;&#39;");
        assert_eq!(to_html("\x1b[31\"><b>m"), "&gt;m");
    }

    #[test]
    fn a_progress_bar_becomes_lines() {
        assert_eq!(to_html("10%\r20%\r\nend"), "10%\n20%\nend");
    }

    proptest! {
        #[test]
        fn tags_are_balanced_and_nothing_else_is_markup(text in "([a-z<>&\"]|\\x1b|\\[|[0-9;m]|\\]|\\x07|é){0,60}") {
            let html = to_html(&text);
            let bare = html.replace("</span>", "");
            prop_assert_eq!(html.matches("<span class=\"a-").count(), html.matches("</span>").count());
            prop_assert_eq!(bare.matches('<').count(), bare.matches("<span class=\"a-").count());
        }
    }
}
