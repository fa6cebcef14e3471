//! The cluster's shared secret, at every door.

/// Whether a secret is the right one, in a time that does not tell how much of it is.
pub(crate) fn is_secret(shown: &[u8], right: &[u8]) -> bool {
    let differences = right
        .iter()
        .enumerate()
        .fold(0, |differences, (index, byte)| differences | (byte ^ shown.get(index).copied().unwrap_or(!byte)));
    differences == 0 && shown.len() == right.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_secret_is_right() {
        assert!(is_secret(b"", b""));
        assert!(is_secret(b"abc", b"abc"));
        for wrong in ["", "ab", "abd", "abcd", "xbc"] {
            assert!(!is_secret(wrong.as_bytes(), b"abc"), "{wrong}");
        }
        assert!(!is_secret(b"x", b""));
    }
}
