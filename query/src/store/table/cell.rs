//! A value of a row.

use super::Holds;
use crate::store::StoreError;
use serde::{Serialize, Serializer};
use sqlx::any::AnyRow;
use weir_store::row::{bytes_or_null, integer_or_null, number_or_null, text_or_null};

/// Bytes of a UUID.
const UUID: usize = 16;

/// A value of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Nothing.
    Null,
    /// A moment, in milliseconds since the epoch.
    Time(i64),
    /// A whole number.
    Integer(i64),
    /// A floating-point number.
    Number(f64),
    /// A text; of bytes, their hexadecimal digits, and of sixteen bytes a UUID.
    Text(String),
}

impl Cell {
    pub(super) fn read(row: &AnyRow, place: usize, holds: Holds) -> Result<Self, StoreError> {
        let cell = match holds {
            Holds::Time => integer_or_null(row, place)?.map(Cell::Time),
            Holds::Integer => integer_or_null(row, place)?.map(Cell::Integer),
            Holds::Number => number_or_null(row, place)?.map(Cell::Number),
            Holds::Decimal | Holds::Text => text_or_null(row, place)?.map(Cell::Text),
            Holds::Bytes => bytes_or_null(row, place)?.map(|bytes| Cell::Text(shown(&bytes))),
        };
        Ok(cell.unwrap_or(Cell::Null))
    }
}

/// Bytes as people know them.
fn shown(bytes: &[u8]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    if bytes.len() != UUID {
        return hex;
    }
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

impl Serialize for Cell {
    /// Moments as Unix seconds; a number that JSON has no word for as text.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Cell::Null => serializer.serialize_unit(),
            Cell::Time(ms) if ms % 1000 == 0 => serializer.serialize_i64(ms / 1000),
            Cell::Time(ms) => serializer.serialize_f64(*ms as f64 / 1000.0),
            Cell::Integer(number) => serializer.serialize_i64(*number),
            Cell::Number(number) if number.is_finite() => serializer.serialize_f64(*number),
            Cell::Number(number) => serializer.collect_str(number),
            Cell::Text(text) => serializer.serialize_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn cells_are_written_as_json_knows_them() {
        let written = |cell: Cell| serde_json::to_value(cell).unwrap();
        assert_eq!(written(Cell::Time(1_646_352_000_000)), json!(1_646_352_000));
        assert_eq!(written(Cell::Time(1_646_352_000_250)), json!(1_646_352_000.25));
        assert_eq!((written(Cell::Null), written(Cell::Number(0.5))), (json!(null), json!(0.5)));
        assert_eq!(written(Cell::Number(f64::NAN)), json!("NaN"));
        assert_eq!((written(Cell::Integer(-3)), written(Cell::Text("x".into()))), (json!(-3), json!("x")));
        assert_eq!(shown(&[0xab, 0x01]), "ab01");
        assert_eq!(shown(&[0x11; 16]), "11111111-1111-1111-1111-111111111111");
    }
}
