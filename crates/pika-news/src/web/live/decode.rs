//! Turns the bytes of a log into text, piece by piece.
//!
//! Invariant: whatever the pieces are, their texts joined are the lossy text of the whole.

/// Decodes UTF-8 and returns how many bytes were used. A broken byte becomes U+FFFD. A character that is not whole yet
/// is left for the next piece, unless this `is_last`.
pub(super) fn decode(bytes: &[u8], is_last: bool) -> (String, usize) {
    let mut text = String::with_capacity(bytes.len());
    let mut used = 0;
    while used < bytes.len() {
        match std::str::from_utf8(&bytes[used..]) {
            Ok(valid) => {
                text.push_str(valid);
                used = bytes.len();
            }
            Err(error) => {
                let valid = &bytes[used..used + error.valid_up_to()];
                text.push_str(&String::from_utf8_lossy(valid));
                used += valid.len();
                match error.error_len() {
                    Some(broken) => used += broken,
                    None if is_last => used = bytes.len(),
                    None => break,
                }
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
    }
    (text, used)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_the_bytes_are_split_the_text_is_the_same() {
        let bytes = "aé\u{2028}😀z"
            .bytes()
            .chain([0xff, b'b', 0xe2, 0x82])
            .chain(*b"c\xf0\x9f\x98")
            .collect::<Vec<_>>();
        let whole = String::from_utf8_lossy(&bytes);
        for size in 1..=bytes.len() {
            let (mut text, mut held, mut end) = (String::new(), Vec::new(), 0);
            for piece in bytes.chunks(size) {
                end += piece.len();
                held.extend_from_slice(piece);
                let (decoded, used) = decode(&held, end == bytes.len());
                held.drain(..used);
                text.push_str(&decoded);
            }
            assert_eq!(text, whole, "in pieces of {size}");
            assert!(held.is_empty());
        }
    }

    #[test]
    fn at_most_three_bytes_are_held_back() {
        for bytes in [&b"\xf0\x9f\x98"[..], b"a\xe2\x82", b"\xc3"] {
            let (_, used) = decode(bytes, false);
            assert!(bytes.len() - used <= 3 && used < bytes.len(), "{bytes:?}");
        }
        assert_eq!(decode(b"\xff\xff", false), ("\u{fffd}\u{fffd}".to_owned(), 2));
    }
}
