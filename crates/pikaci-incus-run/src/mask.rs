//! Takes secrets out of what a command prints, before it is written anywhere.
//!
//! Invariants: what comes out does not depend on how the input was cut into pieces; what is held back is shorter than the
//! longest secret, and only what may be the beginning of one; every byte of every occurrence is masked, also where two
//! overlap.

/// What stands in a log for a secret.
pub(crate) const MASK: &[u8] = b"***";

/// Masks one stream.
pub(crate) struct Masker {
    secrets: Vec<Vec<u8>>,
    /// What was not decided yet.
    held: Vec<u8>,
    /// How many bytes at the beginning of `held` are known to be of a secret.
    masked: usize,
    /// Whether the last thing that was handed out is a mask, which what follows at once may share.
    is_in_mask: bool,
}

impl Masker {
    /// Masks these texts; an empty one is none.
    pub(crate) fn new(mut secrets: Vec<Vec<u8>>) -> Masker {
        secrets.retain(|secret| !secret.is_empty());
        Masker { secrets, held: Vec::new(), masked: 0, is_in_mask: false }
    }

    /// Takes the next piece, and returns what is decided.
    pub(crate) fn push(&mut self, piece: &[u8]) -> Vec<u8> {
        if self.secrets.is_empty() {
            return piece.to_vec();
        }
        self.held.extend_from_slice(piece);
        let undecided = self.undecided();
        self.release(undecided)
    }

    /// Returns the rest, when nothing follows.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        self.release(self.held.len())
    }

    /// Where in `held` the first place is that may begin a secret whose end has not come yet.
    fn undecided(&self) -> usize {
        let begins_at = |secret: &Vec<u8>| {
            let longest = (secret.len() - 1).min(self.held.len());
            let is_beginning = |length: &usize| self.held.ends_with(&secret[..*length]);
            self.held.len() - (1..=longest).rev().find(is_beginning).unwrap_or(0)
        };
        self.secrets.iter().map(begins_at).min().unwrap_or(self.held.len())
    }

    /// Hands out everything before `end`, masked.
    fn release(&mut self, end: usize) -> Vec<u8> {
        let mut is_secret = vec![false; self.held.len()];
        is_secret[..self.masked].fill(true);
        for secret in &self.secrets {
            let mut from = 0;
            while let Some(place) = find(&self.held[from..], secret) {
                is_secret[from + place..from + place + secret.len()].fill(true);
                from += place + 1;
            }
        }
        let mut out = Vec::with_capacity(end);
        for (byte, is_secret) in self.held.drain(..end).zip(&is_secret) {
            if !is_secret {
                out.push(byte);
            } else if !self.is_in_mask {
                out.extend_from_slice(MASK);
            }
            self.is_in_mask = *is_secret;
        }
        // A secret of which only the beginning is handed out is one to its end.
        self.masked = is_secret[end..].iter().take_while(|is_secret| **is_secret).count();
        out
    }
}

/// The first place where a text is.
fn find(bytes: &[u8], text: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let place = from + bytes[from..].iter().position(|byte| *byte == text[0])?;
        if bytes[place..].starts_with(text) {
            return Some(place);
        }
        from = place + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn masked(secrets: &[&str], pieces: &[&str]) -> String {
        let mut masker = Masker::new(secrets.iter().map(|secret| secret.as_bytes().to_vec()).collect());
        let mut out: Vec<u8> = pieces.iter().flat_map(|piece| masker.push(piece.as_bytes())).collect();
        out.extend(masker.finish());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_secret_is_masked_wherever_a_write_cuts_it() {
        let text = "user=ada password=hunter22, again hunter22!";
        for cut in 0..=text.len() {
            let pieces = [&text[..cut], &text[cut..]];
            assert_eq!(masked(&["hunter22"], &pieces), "user=ada password=***, again ***!", "cut at {cut}");
        }
    }

    #[test]
    fn what_only_begins_like_a_secret_is_handed_out_in_the_end() {
        assert_eq!(masked(&["hunter22"], &["hunt", "er2"]), "hunter2");
        assert_eq!(masked(&["hunter22"], &["hunt", "ing hunter22"]), "hunting ***");
    }

    #[test]
    fn nothing_is_held_back_that_begins_no_secret() {
        let mut masker = Masker::new(vec![b"hunter22".to_vec()]);
        assert_eq!(masker.push(b"ready\n"), b"ready\n");
        assert_eq!(masker.push(b"x hun"), b"x ");
        assert_eq!(masker.push(b"t"), b"");
        assert_eq!(masker.push(b"\n"), b"hunt\n");
    }

    #[test]
    fn overlapping_secrets_leave_no_byte_of_either() {
        assert_eq!(masked(&["abcd", "cdef"], &["xabcdefx"]), "x***x");
        assert_eq!(masked(&["abc", "abcdef"], &["abc", "def-abc-"]), "***-***-");
        assert_eq!(masked(&["aa"], &["aa", "aaa", "b"]), "***b");
    }

    #[test]
    fn what_is_held_stays_short() {
        let mut masker = Masker::new(vec![b"aaaa".to_vec()]);
        for _ in 0..1000 {
            masker.push(b"aaaaaaa");
            assert!(masker.held.len() < 4);
        }
    }

    /// What the whole text becomes, by looking at each byte apart.
    fn by_bytes(secrets: &[Vec<u8>], text: &[u8]) -> Vec<u8> {
        let mut is_secret = vec![false; text.len()];
        for secret in secrets {
            for place in 0..text.len() {
                if text[place..].starts_with(secret) {
                    is_secret[place..place + secret.len()].fill(true);
                }
            }
        }
        let mut out = Vec::new();
        for (place, byte) in text.iter().enumerate() {
            match (is_secret[place], place > 0 && is_secret[place - 1]) {
                (false, _) => out.push(*byte),
                (true, false) => out.extend_from_slice(MASK),
                (true, true) => {}
            }
        }
        out
    }

    proptest! {
        #[test]
        fn however_a_text_is_cut_it_is_masked_alike(
            secrets in prop::collection::vec("[ab]{1,4}", 1..4),
            pieces in prop::collection::vec("[abc]{0,6}", 0..8),
        ) {
            let secrets: Vec<Vec<u8>> = secrets.into_iter().map(String::into_bytes).collect();
            let mut masker = Masker::new(secrets.clone());
            let mut out: Vec<u8> = pieces.iter().flat_map(|piece| masker.push(piece.as_bytes())).collect();
            out.extend(masker.finish());
            prop_assert_eq!(out, by_bytes(&secrets, pieces.concat().as_bytes()));
        }
    }
}
