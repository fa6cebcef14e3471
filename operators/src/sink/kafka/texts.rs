//! Texts of numbers, made once for each record and in no place of their own.

use std::io::Write;

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
        let mut text = NumberText::default();
        for number in [i64::MIN, -1, 0, 7, 1_234, i64::MAX] {
            assert_eq!(text.of(number), number.to_string().as_bytes());
        }
    }
}
