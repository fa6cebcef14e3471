//! What stands before a record in a message of a registry: a zero byte, the number of its schema in four bytes, and for
//! Protobuf which of the schema's messages it is.

use prost::encoding::decode_varint;

/// How many bytes stand before the record, or before what Protobuf has there.
pub const ID_BYTES: usize = 5;

/// The number of the schema that a message was written with.
///
/// # Errors
/// When it does not begin as it should.
pub fn schema_id(message: &[u8]) -> Result<u32, String> {
    match message {
        [0, a, b, c, d, ..] => Ok(u32::from_be_bytes([*a, *b, *c, *d])),
        [] => Err("the message is empty".to_owned()),
        [0, ..] => Err(format!("the message ends after {} bytes, within the number of its schema", message.len())),
        [first, ..] => Err(format!(
            "the message begins with 0x{first:02x}, and not with the zero byte that stands before the number of a schema"
        )),
    }
}

/// Which message of its file a record of Protobuf is: places among the messages of the file, then among those within. And how
/// many bytes say so.
///
/// # Errors
/// When the bytes say nothing of the kind.
pub fn message_indexes(bytes: &[u8]) -> Result<(Vec<usize>, usize), String> {
    let mut rest = bytes;
    let count = zigzag(&mut rest)?;
    if count == 0 {
        return Ok((vec![0], bytes.len() - rest.len()));
    }
    if count > rest.len() {
        return Err(broken());
    }
    let indexes = (0..count).map(|_| zigzag(&mut rest)).collect::<Result<_, _>>()?;
    Ok((indexes, bytes.len() - rest.len()))
}

fn zigzag(bytes: &mut &[u8]) -> Result<usize, String> {
    let number = decode_varint(bytes).map_err(|_| broken())?;
    if number & 1 == 1 {
        return Err(broken());
    }
    usize::try_from(number >> 1).map_err(|_| broken())
}

#[cold]
fn broken() -> String {
    "what should say which message of its schema it is says nothing of the kind".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_number_stands_behind_a_zero_byte() {
        assert_eq!(schema_id(&[0, 0, 0, 1, 2, 9]), Ok(258));
        assert!(schema_id(b"{\"a\":1}").unwrap_err().contains("begins with 0x7b"));
        assert!(schema_id(&[0, 1]).unwrap_err().contains("ends after 2 bytes"));
        assert!(schema_id(&[]).unwrap_err().contains("empty"));
    }

    #[test]
    fn messages_are_counted_from_their_file_down() {
        assert_eq!(message_indexes(&[0, 7]), Ok((vec![0], 1)));
        assert_eq!(message_indexes(&[4, 2, 0, 7]), Ok((vec![1, 0], 3)));
        for wrong in [&[][..], &[1], &[4, 2], &[2, 1], &[0xff; 11]] {
            assert!(message_indexes(wrong).is_err(), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..30)) {
            let _ = schema_id(&bytes);
            if let Ok((_, taken)) = message_indexes(&bytes) {
                prop_assert!(taken <= bytes.len());
            }
        }
    }
}
