//! Whole numbers in as few bytes as they need, and the reading of what states have written.

use weir_engine::{EngineError, Result};

/// Appends a number in groups of seven bits, the lowest first; all bytes but the last have the top bit set.
pub(super) fn write_varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// The bytes of a state that are still to be read.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    whole: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Reader { rest: bytes, whole: bytes.len() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// What [`write_varint`] has written.
    pub(super) fn varint(&mut self) -> Result<u64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array::<1>()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(self.damaged())
    }

    /// So many bytes.
    pub(super) fn bytes(&mut self, length: u64) -> Result<&'a [u8]> {
        let split = usize::try_from(length).ok().and_then(|length| self.rest.split_at_checked(length));
        let (bytes, rest) = split.ok_or_else(|| self.damaged())?;
        self.rest = rest;
        Ok(bytes)
    }

    /// A whole number of eight bytes, little-endian.
    pub(super) fn int64(&mut self) -> Result<i64> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    fn array<const LENGTH: usize>(&mut self) -> Result<[u8; LENGTH]> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or_else(|| self.damaged())?;
        self.rest = rest;
        Ok(*bytes)
    }

    pub(super) fn damaged(&self) -> EngineError {
        EngineError::corrupt(format!("the state of an aggregate, {} bytes, is damaged", self.whole))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_and_damage_is_told() {
        for number in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            let mut bytes = Vec::new();
            write_varint(number, &mut bytes);
            let mut reader = Reader::new(&bytes);
            assert_eq!((reader.varint().unwrap(), reader.is_empty()), (number, true));
            bytes.pop();
            assert!(Reader::new(&bytes).varint().is_err(), "{number}");
        }
        assert!(Reader::new(&[0xff; 12]).varint().is_err());
        assert!(Reader::new(&[1, 2]).bytes(3).is_err() && Reader::new(&[1, 2]).int64().is_err());
    }
}
