//! Texts of ids and numbers, made once for each record and in no place of their own.

use std::io::Write;

/// The text of a UUID.
#[derive(Clone, Copy, Debug)]
pub(super) struct UuidText([u8; uuid::fmt::Hyphenated::LENGTH]);

impl Default for UuidText {
    fn default() -> Self {
        UuidText([0; uuid::fmt::Hyphenated::LENGTH])
    }
}

impl UuidText {
    /// Of these bytes.
    pub fn of(&mut self, bytes: [u8; 16]) -> &[u8] {
        uuid::Uuid::from_bytes(bytes).hyphenated().encode_lower(&mut self.0).as_bytes()
    }
}

/// The text of a number.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct NumberText([u8; 20]);

impl NumberText {
    /// Of this one.
    pub fn of(&mut self, number: i64) -> &[u8] {
        let mut rest = self.0.as_mut_slice();
        // The longest has a sign and nineteen digits.
        let _ = write!(rest, "{number}");
        let unused = rest.len();
        &self.0[..self.0.len() - unused]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_what_their_types_say() {
        let (mut id, mut text) = (UuidText::default(), NumberText::default());
        for byte in [0, 7, 0xf2, 0xff] {
            assert_eq!(id.of([byte; 16]), uuid::Uuid::from_bytes([byte; 16]).to_string().as_bytes());
        }
        for number in [i64::MIN, -1, 0, 7, 1_234, i64::MAX] {
            assert_eq!(text.of(number), number.to_string().as_bytes());
        }
    }
}
