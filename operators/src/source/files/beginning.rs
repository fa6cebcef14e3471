//! What the first bytes of a file say about it.

use super::compression::Compression;

/// What a file begins with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Beginning {
    /// Text, as far as can be told.
    Text,
    /// Text behind a byte order mark of so many bytes.
    Marked(usize),
    /// Something that has no lines to be read; in words.
    NoText(String),
}

/// So many bytes tell all of it.
pub(super) const TELLING_BYTES: usize = 10;

/// What a file is that begins with these bytes.
pub(super) fn beginning_of(bytes: &[u8]) -> Beginning {
    match bytes {
        [0xef, 0xbb, 0xbf, ..] => Beginning::Marked(3),
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => of_other_encoding("UTF-32"),
        [0xff, 0xfe, ..] => of_other_encoding("UTF-16, little-endian"),
        [0xfe, 0xff, ..] => of_other_encoding("UTF-16, big-endian"),
        [b'P', b'K', 3 | 5, 4 | 6, ..] => packed("a zip archive"),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => packed("compressed with xz"),
        [b'7', b'z', 0xbc, 0xaf, 0x27, 0x1c, ..] => packed("a 7-Zip archive"),
        [4, 0x22, 0x4d, 0x18, ..] => packed("compressed with LZ4"),
        [b'P', b'A', b'R', b'1', 0x00..=0x1f, ..] => {
            Beginning::NoText("the file is Parquet: format = \"parquet\" reads it".into())
        }
        _ => match Compression::of_bytes(bytes) {
            Some(compression) => packed(&format!("compressed with {}", compression.name())),
            None => Beginning::Text,
        },
    }
}

/// Whether more bytes might say something else.
pub(super) fn may_be_more(bytes: &[u8]) -> bool {
    let marks = [&b"\xef\xbb"[..], b"\xff\xfe", b"\xfe\xff", b"\0\0"];
    let packed = [&b"PK"[..], b"\xfd7", b"7z", b"\x04\x22", b"PA", b"\x1f\x8b", b"\x28\xb5", b"BZ"];
    let first = &bytes[..bytes.len().min(2)];
    bytes.len() < TELLING_BYTES && marks.iter().chain(&packed).any(|start| start.starts_with(first))
}

fn of_other_encoding(encoding: &str) -> Beginning {
    let advice = "only UTF-8 is read: convert it, such as with `iconv -t UTF-8`";
    Beginning::NoText(format!("the file is text in {encoding}, by its byte order mark, and {advice}"))
}

fn packed(what: &str) -> Beginning {
    Beginning::NoText(format!("the file is {what}, and no text: unpack it first"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell_text_from_the_rest() {
        assert_eq!(beginning_of(b"\xef\xbb\xbf{"), Beginning::Marked(3));
        for text in [&b""[..], b"[AdClickEvent] a", b"{}", b"PAR1,PAR2\n", b"PK,n\n", b"7z,n", b"\xef\xbb"] {
            assert_eq!(beginning_of(text), Beginning::Text, "{text:?}");
        }
        for (bytes, what) in [
            (&b"\xff\xfe{\0"[..], "UTF-16, little-endian"),
            (b"\xfe\xff\0{", "UTF-16, big-endian"),
            (b"\xff\xfe\0\0", "UTF-32"),
            (b"PK\x03\x04", "zip"),
            (b"\x1f\x8b\x08\0", "gzip"),
            (b"PAR1\x15\x04", "Parquet"),
        ] {
            assert!(may_be_more(&bytes[..1]) && may_be_more(&bytes[..2]), "{what}");
            let Beginning::NoText(reason) = beginning_of(bytes) else { panic!("{what}") };
            assert!(reason.contains(what), "{reason}");
        }
        assert!(!may_be_more(b"[A") && !may_be_more(b"\xef\xbb\xbf{\"ad_id\":1"));
    }
}
