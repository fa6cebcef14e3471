//! Values of records that know their types, as Avro and Protobuf have them, and how a column takes them over.
//!
//! Invariant: a value becomes what the same value in a JSON line would become, so that a declared type means one thing. Nothing
//! is rounded, and a value that does not fit is refused with a reason.

use super::column_builder::{ColumnBuilder, ValueError};
use crate::source::times::Decimal;

/// A value of a record.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// None.
    Null,
    /// Text, and whatever else is only there to be read by people.
    Text(&'a str),
    /// A whole number.
    Integer(i64),
    /// A floating-point number.
    Float(f64),
    /// True or false.
    Boolean(bool),
    /// A moment, in milliseconds since the epoch.
    Moment(i64),
    /// A day, since the epoch.
    Day(i32),
    /// An exact number: so many units of its last digit, and how many digits are behind the point.
    Decimal(i128, i8),
}

impl Value<'_> {
    /// As a reason names it.
    #[cold]
    pub fn for_people(&self) -> String {
        match self {
            Value::Null => "null".to_owned(),
            Value::Text(text) => format!("\"{}\"", shortened(text)),
            Value::Integer(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
            Value::Boolean(value) => value.to_string(),
            Value::Moment(ms) => format!("the time {ms} ms"),
            Value::Day(day) => format!("the day {day}"),
            Value::Decimal(digits, 0) => digits.to_string(),
            Value::Decimal(digits, scale) => format!("{digits}e{}", -i16::from(*scale)),
        }
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

impl ColumnBuilder {
    /// Appends a value that knows its type.
    ///
    /// # Errors
    /// When it does not fit the type of the column; nothing is appended then.
    #[inline]
    pub fn append(&mut self, value: Value<'_>) -> Result<(), ValueError> {
        match (&mut *self, value) {
            (_, Value::Null) => self.append_null(),
            (_, Value::Text(text)) => return self.append_quoted(text),
            (_, Value::Boolean(value)) => return self.append_bool(value),
            (Self::Integer(builder), Value::Integer(number)) => builder.append_value(number),
            (Self::Float(builder), Value::Integer(number)) => builder.append_value(number as f64),
            (Self::Timestamp(builder, times), Value::Integer(number)) => {
                builder.append_value(times.integer(number).map_err(ValueError::Time)?);
            }
            (Self::Float(builder), Value::Float(number)) if number.is_finite() => builder.append_value(number),
            (Self::Timestamp(..) | Self::Decimal(..), Value::Float(number)) => {
                return self.append_number(&number.to_string());
            }
            (Self::Timestamp(builder, _), Value::Moment(ms)) => builder.append_value(ms),
            (Self::Timestamp(builder, _), Value::Day(day)) => builder.append_value(i64::from(day) * 86_400_000),
            (Self::Date(builder, _), Value::Day(day)) => builder.append_value(day),
            (Self::Decimal(builder, digits), Value::Integer(number)) => {
                builder.append_value(digits.fit(Decimal::new(number.into(), 0))?);
            }
            (_, Value::Decimal(digits, scale)) => return self.append_decimal(digits, scale),
            _ => return Err(self.kind_error()),
        }
        Ok(())
    }

    fn append_decimal(&mut self, digits: i128, scale: i8) -> Result<(), ValueError> {
        let number = Decimal::new(digits, -i32::from(scale));
        match self {
            Self::Decimal(builder, wanted) => builder.append_value(wanted.fit(number)?),
            Self::Integer(builder) => {
                let whole = number.exactly(0).and_then(|whole| i64::try_from(whole).ok());
                builder.append_value(whole.ok_or(ValueError::Integer)?);
            }
            Self::Timestamp(builder, times) => builder.append_value(times.decimal(number).map_err(ValueError::Time)?),
            Self::Float(_) => return self.append_number(&format!("{digits}e{}", -i16::from(scale))),
            _ => return Err(self.kind_error()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::column_type::{ColumnType, DeclaredColumn};
    use arrow::util::display::array_value_to_string;

    fn appended(column_type: ColumnType, value: Value<'_>) -> Result<String, String> {
        let mut builder = ColumnBuilder::new(&DeclaredColumn::new("a", column_type)).expect("a column");
        let outcome = builder.append(value);
        assert_eq!(builder.value_count(), usize::from(outcome.is_ok()), "one value or none");
        outcome.map_err(|error| error.to_string())?;
        Ok(array_value_to_string(&builder.finish(), 0).expect("displayable"))
    }

    #[test]
    fn values_become_what_they_are_in_json() {
        use ColumnType::{Boolean, Date, Decimal, Float, Integer, String, Timestamp};
        let price = Decimal { precision: 8, scale: 2 };
        for (column_type, value, expected) in [
            (Integer, Value::Integer(-7), "-7"),
            (Integer, Value::Decimal(700, 2), "7"),
            (Float, Value::Integer(3), "3.0"),
            (Float, Value::Float(1.5), "1.5"),
            (Float, Value::Decimal(125, 2), "1.25"),
            (price, Value::Integer(3), "3.00"),
            (price, Value::Float(1.25), "1.25"),
            (price, Value::Decimal(125, 1), "12.50"),
            (price, Value::Text("1.5"), "1.50"),
            (String, Value::Text("a"), "a"),
            (Boolean, Value::Boolean(true), "true"),
            (Timestamp, Value::Moment(1_646_352_001_250), "2022-03-04T00:00:01.250Z"),
            (Timestamp, Value::Integer(1_646_352_001_000), "2022-03-04T00:00:01Z"),
            (Timestamp, Value::Text("2022-03-04 00:00:01"), "2022-03-04T00:00:01Z"),
            (Timestamp, Value::Day(1), "1970-01-02T00:00:00Z"),
            (Date, Value::Day(1), "1970-01-02"),
            (Date, Value::Text("2022-03-04"), "2022-03-04"),
            (Integer, Value::Null, ""),
        ] {
            assert_eq!(appended(column_type, value).as_deref(), Ok(expected), "{column_type} {value:?}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        use ColumnType::{Boolean, Date, Decimal, Float, Integer, String, Timestamp};
        let price = Decimal { precision: 4, scale: 2 };
        for (column_type, value) in [
            (Integer, Value::Float(1.0)),
            (Integer, Value::Decimal(15, 1)),
            (Integer, Value::Decimal(i128::from(u64::MAX), 0)),
            (Float, Value::Float(f64::NAN)),
            (Float, Value::Float(f64::INFINITY)),
            (price, Value::Decimal(1, 3)),
            (price, Value::Integer(100)),
            (price, Value::Float(f64::NAN)),
            (String, Value::Integer(1)),
            (String, Value::Moment(1)),
            (Boolean, Value::Integer(1)),
            (Date, Value::Moment(0)),
            (Timestamp, Value::Integer(1_646_352_001)),
            (Timestamp, Value::Float(f64::NAN)),
            (Timestamp, Value::Boolean(true)),
        ] {
            assert!(appended(column_type, value).is_err(), "{column_type} {value:?}");
        }
    }
}
