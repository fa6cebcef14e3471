//! How a value is stored: one byte of format, eight of checksum, then JSON. What does not match is damaged, never absent.

use serde::{Serialize, de::DeserializeOwned};
use weir_engine::{EngineError, Result};
use xxhash_rust::xxh3::xxh3_64;

const FORMAT: u8 = 1;
const HEADER: usize = 9;

/// The stored form of a value.
///
/// # Errors
/// When it has none; nothing of ours hasn't.
pub(super) fn encode<T: Serialize>(what: &str, value: &T) -> Result<Vec<u8>> {
    let json = serde_json::to_vec(value)
        .map_err(|error| EngineError::internal(format!("{what} cannot be encoded: {error}")))?;
    Ok(frame(&json))
}

/// The value of a stored form.
///
/// # Errors
/// When it is damaged, or of a format that this Weir does not know.
pub(super) fn decode<T: DeserializeOwned>(what: &str, stored: &[u8]) -> Result<T> {
    serde_json::from_slice(unframe(what, stored)?)
        .map_err(|error| damaged(what, &format!("its content is invalid: {error}")))
}

/// Bytes with their header.
pub(super) fn frame(bytes: &[u8]) -> Vec<u8> {
    let mut framed = Vec::with_capacity(HEADER + bytes.len());
    framed.push(FORMAT);
    framed.extend_from_slice(&xxh3_64(bytes).to_le_bytes());
    framed.extend_from_slice(bytes);
    framed
}

/// Bytes without their header, which is checked.
///
/// # Errors
/// When it is damaged, or of a format that this Weir does not know.
pub(super) fn unframe<'a>(what: &str, stored: &'a [u8]) -> Result<&'a [u8]> {
    let Some(([format, checksum @ ..], bytes)) = stored.split_first_chunk::<HEADER>() else {
        return Err(damaged(what, &format!("it has {} bytes, fewer than its header", stored.len())));
    };
    if *format != FORMAT {
        return Err(EngineError::corrupt(format!(
            "{what} has stored format {format}; this Weir reads format {FORMAT}"
        )));
    }
    if *checksum != xxh3_64(bytes).to_le_bytes() {
        return Err(damaged(what, "its checksum does not match"));
    }
    Ok(bytes)
}

fn damaged(what: &str, how: &str) -> EngineError {
    EngineError::corrupt(format!("{what} is damaged: {how}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_engine::ErrorKind;

    #[test]
    fn every_changed_or_missing_byte_is_noticed() {
        let stored = encode("a list", &vec![1, 2, 3]).unwrap();
        assert_eq!(decode::<Vec<u32>>("a list", &stored).unwrap(), [1, 2, 3]);
        for at in 0..stored.len() {
            let mut changed = stored.clone();
            changed[at] ^= 1;
            let error = decode::<Vec<u32>>("a list", &changed).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Corrupt);
            assert!(error.message.contains("a list"), "{error}");
            assert!(decode::<Vec<u32>>("a list", &stored[..at]).is_err(), "cut to {at} bytes");
        }
    }
}
