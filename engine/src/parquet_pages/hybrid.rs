//! Parquet's RLE / bit-packing hybrid, which holds definition levels and dictionary indices.
//!
//! A stream of runs, each headed by a varint: even = one value repeated (`count << 1`), odd = groups of eight values
//! packed least significant bit first (`groups << 1 | 1`).

use arrow::buffer::NullBuffer;

/// Appends an unsigned LEB128 number.
pub(super) fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends one run of `count` times `value`, for values of up to eight bits.
pub(super) fn push_repeated(out: &mut Vec<u8>, count: usize, value: u8) {
    if count > 0 {
        push_varint(out, (count as u64) << 1);
        out.push(value);
    }
}

/// Appends `values` as one bit-packed run of `width` bits each (1 to 32). The last group is filled with zeros.
pub(super) fn push_bit_packed(out: &mut Vec<u8>, values: impl ExactSizeIterator<Item = u32>, width: u32) {
    let groups = values.len().div_ceil(8);
    if groups == 0 {
        return;
    }
    push_varint(out, (groups as u64) << 1 | 1);
    let end = out.len() + groups * width as usize;
    out.reserve(groups * width as usize + 8);
    let (mut pending, mut bits) = (0u64, 0);
    for value in values {
        pending |= u64::from(value) << bits;
        bits += width;
        if bits >= 32 {
            out.extend_from_slice(&(pending as u32).to_le_bytes());
            pending >>= 32;
            bits -= 32;
        }
    }
    out.extend_from_slice(&pending.to_le_bytes());
    out.resize(end, 0);
}

/// Definition levels of a page of `rows` rows in a nullable column, with the length that precedes them.
pub(super) fn definition_levels(rows: usize, nulls: Option<&NullBuffer>) -> Vec<u8> {
    let mut out = vec![0; 4];
    match nulls {
        Some(nulls) if nulls.null_count() == rows => push_repeated(&mut out, rows, 0),
        Some(nulls) if nulls.null_count() > 0 => {
            // A validity bitmap is already the packed form of levels that are 0 or 1.
            let bytes = rows.div_ceil(8);
            let bitmap = nulls.inner().sliced();
            push_varint(&mut out, (bytes as u64) << 1 | 1);
            out.extend_from_slice(&bitmap.as_slice()[..bytes]);
        }
        _ => push_repeated(&mut out, rows, 1),
    }
    let length = (out.len() - 4) as u32;
    out[..4].copy_from_slice(&length.to_le_bytes());
    out
}

/// Bits needed for indices into a dictionary of `entries` entries, at least one.
pub(super) fn index_width(entries: usize) -> u32 {
    (usize::BITS - entries.saturating_sub(1).leading_zeros()).max(1)
}
