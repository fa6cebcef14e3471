//! Page headers in Thrift's compact protocol, for the two kinds of page that are written here.
//!
//! The `parquet` crate writes headers only together with a page body that lies in one piece; ours is levels and an Arrow
//! buffer, and joining them would copy every value. Field numbers: `parquet.thrift`, struct `PageHeader`.

use super::hybrid::push_varint;

/// Value encodings that occur, with their numbers in `parquet.thrift`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ValueEncoding {
    Plain = 0,
    Dictionary = 8,
}

const LEVELS_RLE: i32 = 3;
const TYPE_I32: u8 = 5;
const TYPE_STRUCT: u8 = 12;

/// Writes the header of a version-1 data page with `values` values (nulls included) and `bytes` bytes of body.
pub(super) fn data_page(out: &mut Vec<u8>, values: i32, bytes: i32, encoding: ValueEncoding) {
    page_start(out, 0, bytes);
    field(out, 2, TYPE_STRUCT); // 5: data_page_header
    i32_field(out, values);
    i32_field(out, encoding as i32);
    i32_field(out, LEVELS_RLE); // definition levels
    i32_field(out, LEVELS_RLE); // repetition levels, of which a flat column has none
    out.extend([0, 0]); // end of data_page_header, end of header
}

/// Writes the header of a dictionary page with `entries` PLAIN entries.
pub(super) fn dictionary_page(out: &mut Vec<u8>, entries: i32, bytes: i32) {
    page_start(out, 2, bytes);
    field(out, 4, TYPE_STRUCT); // 7: dictionary_page_header
    i32_field(out, entries);
    i32_field(out, ValueEncoding::Plain as i32);
    out.extend([0, 0]);
}

/// Fields 1 to 3: type, size, and the size compressed, which is the same.
fn page_start(out: &mut Vec<u8>, page_type: i32, bytes: i32) {
    i32_field(out, page_type);
    i32_field(out, bytes);
    i32_field(out, bytes);
}

/// A field's head: its distance from the field before, and its type.
fn field(out: &mut Vec<u8>, distance: u8, kind: u8) {
    out.push((distance << 4) | kind);
}

/// The next field, an i32 in zigzag form.
fn i32_field(out: &mut Vec<u8>, value: i32) {
    field(out, 1, TYPE_I32);
    push_varint(out, u64::from(((value << 1) ^ (value >> 31)) as u32));
}
