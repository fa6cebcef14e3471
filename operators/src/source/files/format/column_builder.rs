//! Appends the text of a field to an Arrow column of the declared type.
//!
//! Invariant: a call either appends exactly one value, or appends nothing and says why the text does not fit.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Date32Builder, Float64Builder, Int64Builder, StringBuilder, TimestampMillisecondBuilder,
};

use super::timestamp::{TimeError, parse_date, parse_timestamp};
use crate::source::column_type::ColumnType;

/// Why a field does not fit the type of its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueError {
    /// A time or a day that is malformed or does not exist.
    Time(TimeError),
    /// Not a whole number between -2^63 and 2^63 - 1.
    Integer,
    /// Not a number.
    Float,
    /// Neither true nor false.
    Boolean,
    /// The value is of another kind than the column (JSON only).
    Kind(ColumnType),
}

impl std::fmt::Display for ValueError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Time(error) => write!(formatter, "is not a time that exists: {error}"),
            Self::Integer => formatter.write_str("is not an int: a whole number between -2^63 and 2^63 - 1 is expected"),
            Self::Float => formatter.write_str("is not a float: a number like 1.5 or 2e3 is expected"),
            Self::Boolean => formatter.write_str("is not a bool: true or false is expected"),
            Self::Kind(ColumnType::Timestamp) => {
                formatter.write_str("is not a timestamp: a text like \"2022-03-04T00:00:01Z\" or milliseconds since 1970 as a whole number is expected")
            }
            Self::Kind(ColumnType::String) => formatter.write_str("is not a string: text in double quotes is expected"),
            Self::Kind(ColumnType::Date) => formatter.write_str("is not a date: a text like \"2022-03-04\" is expected"),
            Self::Kind(column_type) => write!(formatter, "is not a {column_type}"),
        }
    }
}

/// A column under construction.
#[derive(Debug)]
pub enum ColumnBuilder {
    /// Text.
    String(StringBuilder),
    /// Integers.
    Integer(Int64Builder),
    /// Floating-point numbers.
    Float(Float64Builder),
    /// True or false.
    Boolean(BooleanBuilder),
    /// Milliseconds since the epoch, UTC.
    Timestamp(TimestampMillisecondBuilder),
    /// Days since the epoch.
    Date(Date32Builder),
}

/// Calls the same method on the builder of whichever type.
macro_rules! each {
    ($self:expr, $builder:ident => $call:expr) => {
        match $self {
            ColumnBuilder::String($builder) => $call,
            ColumnBuilder::Integer($builder) => $call,
            ColumnBuilder::Float($builder) => $call,
            ColumnBuilder::Boolean($builder) => $call,
            ColumnBuilder::Timestamp($builder) => $call,
            ColumnBuilder::Date($builder) => $call,
        }
    };
}

impl ColumnBuilder {
    /// An empty column of a type.
    pub fn new(column_type: ColumnType) -> Self {
        match column_type {
            ColumnType::String => Self::String(StringBuilder::new()),
            ColumnType::Integer => Self::Integer(Int64Builder::new()),
            ColumnType::Float => Self::Float(Float64Builder::new()),
            ColumnType::Boolean => Self::Boolean(BooleanBuilder::new()),
            ColumnType::Timestamp => Self::Timestamp(TimestampMillisecondBuilder::new().with_timezone("UTC")),
            ColumnType::Date => Self::Date(Date32Builder::new()),
        }
    }

    /// Values so far.
    pub fn value_count(&self) -> usize {
        use arrow::array::ArrayBuilder;
        each!(self, builder => builder.len())
    }

    /// The error for a value of another kind than the column.
    #[cold]
    pub fn kind_error(&self) -> ValueError {
        ValueError::Kind(match self {
            Self::String(_) => ColumnType::String,
            Self::Integer(_) => return ValueError::Integer,
            Self::Float(_) => return ValueError::Float,
            Self::Boolean(_) => return ValueError::Boolean,
            Self::Timestamp(_) => ColumnType::Timestamp,
            Self::Date(_) => ColumnType::Date,
        })
    }

    /// Appends a null.
    pub fn append_null(&mut self) {
        each!(self, builder => builder.append_null());
    }

    /// Appends a field written as text, as CSV and the click log have it.
    #[inline]
    pub fn append_text(&mut self, text: &str) -> Result<(), ValueError> {
        match self {
            Self::String(builder) => builder.append_value(text),
            Self::Timestamp(builder) => builder.append_value(parse_timestamp(text).map_err(ValueError::Time)?),
            Self::Integer(builder) => builder.append_value(text.parse().map_err(|_| ValueError::Integer)?),
            Self::Float(builder) => builder.append_value(text.parse().map_err(|_| ValueError::Float)?),
            Self::Boolean(builder) => builder.append_value(parse_bool(text)?),
            Self::Date(builder) => builder.append_value(parse_date(text).map_err(ValueError::Time)?),
        }
        Ok(())
    }

    /// The column so far; the builder begins anew.
    pub fn finish(&mut self) -> ArrayRef {
        match self {
            // The time zone is a part of the type, and `finish` keeps it.
            Self::Timestamp(builder) => Arc::new(builder.finish()),
            Self::String(builder) => Arc::new(builder.finish()),
            Self::Integer(builder) => Arc::new(builder.finish()),
            Self::Float(builder) => Arc::new(builder.finish()),
            Self::Boolean(builder) => Arc::new(builder.finish()),
            Self::Date(builder) => Arc::new(builder.finish()),
        }
    }
}

fn parse_bool(text: &str) -> Result<bool, ValueError> {
    if text.eq_ignore_ascii_case("true") {
        Ok(true)
    } else if text.eq_ignore_ascii_case("false") {
        Ok(false)
    } else {
        Err(ValueError::Boolean)
    }
}
