//! Appends the text of a field to an Arrow column of the declared type.
//!
//! Invariant: a call either appends exactly one value, or appends nothing and says why the text does not fit.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Date32Builder, Decimal128Builder, Float64Builder, Int64Builder, StringBuilder,
    TimestampMillisecondBuilder,
};

use super::FormatError;
use crate::source::column_type::{ColumnType, DeclaredColumn};
use crate::source::times::{Decimal, TimeError, TimeReader};

/// Why a field does not fit the type of its column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueError {
    /// A time or a day that is malformed or does not exist.
    Time(TimeError),
    /// Not a whole number between -2^63 and 2^63 - 1.
    Integer,
    /// Not a number.
    Float,
    /// Neither true nor false.
    Boolean,
    /// Not a number of so many digits, so many of them behind the point.
    Decimal {
        /// How many it may have.
        precision: u8,
        /// How many of them behind the point.
        scale: i8,
    },
    /// The value is of another kind than the column (JSON only).
    Kind(ColumnType),
}

impl std::fmt::Display for ValueError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Time(error) => write!(formatter, "is not a time that exists: {error}"),
            Self::Integer => {
                formatter.write_str("is not an int: a whole number between -2^63 and 2^63 - 1 is expected")
            }
            Self::Float => formatter.write_str("is not a float: a finite number like 1.5 or 2e3 is expected"),
            Self::Decimal { precision, scale } => write!(
                formatter,
                "is not a decimal({precision}, {scale}): a number with at most {} digits before the point and {scale} after it is expected",
                i16::from(*precision) - i16::from(*scale)
            ),
            Self::Boolean => formatter.write_str("is not a bool: true or false is expected"),
            Self::Kind(ColumnType::Timestamp) => formatter.write_str(
                "is not a timestamp: a text like \"2022-03-04T00:00:01Z\" or a number since 1970 is expected",
            ),
            Self::Kind(ColumnType::String) => formatter.write_str("is not a string: text in double quotes is expected"),
            Self::Kind(ColumnType::Date) => {
                formatter.write_str("is not a date: a text like \"2022-03-04\" is expected")
            }
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
    Timestamp(TimestampMillisecondBuilder, TimeReader),
    /// Days since the epoch.
    Date(Date32Builder, TimeReader),
    /// Exact numbers.
    Decimal(Decimal128Builder, DecimalDigits),
}

/// How many digits the numbers of a column may have.
#[derive(Debug, Clone, Copy)]
pub struct DecimalDigits {
    precision: u8,
    scale: i8,
}

impl DecimalDigits {
    /// The number in units of its last digit. Nothing is rounded.
    fn read(self, text: &str) -> Result<i128, ValueError> {
        let DecimalDigits { precision, scale } = self;
        self.fit(Decimal::parse(text).ok_or(ValueError::Decimal { precision, scale })?)
    }

    /// The same of a number.
    pub(super) fn fit(self, number: Decimal) -> Result<i128, ValueError> {
        let DecimalDigits { precision, scale } = self;
        number
            .exactly(i32::from(scale))
            .filter(|number| number.unsigned_abs() < 10u128.pow(u32::from(precision)))
            .ok_or(ValueError::Decimal { precision, scale })
    }
}

/// Calls the same method on the builder of whichever type.
macro_rules! each {
    ($self:expr, $builder:ident => $call:expr) => {
        match $self {
            ColumnBuilder::String($builder) => $call,
            ColumnBuilder::Integer($builder) => $call,
            ColumnBuilder::Float($builder) => $call,
            ColumnBuilder::Boolean($builder) => $call,
            ColumnBuilder::Timestamp($builder, _) => $call,
            ColumnBuilder::Date($builder, _) => $call,
            ColumnBuilder::Decimal($builder, _) => $call,
        }
    };
}

impl ColumnBuilder {
    /// An empty column as declared.
    ///
    /// # Errors
    /// When the declaration contradicts itself; a checked one does not.
    pub fn new(declared: &DeclaredColumn) -> Result<Self, FormatError> {
        let times = || {
            TimeReader::new(&declared.time).map_err(|mistake| FormatError::Declaration {
                column: declared.name.clone(),
                problem: mistake.to_string(),
            })
        };
        Ok(match declared.column_type {
            ColumnType::String => Self::String(StringBuilder::new()),
            ColumnType::Integer => Self::Integer(Int64Builder::new()),
            ColumnType::Float => Self::Float(Float64Builder::new()),
            ColumnType::Boolean => Self::Boolean(BooleanBuilder::new()),
            ColumnType::Timestamp => Self::Timestamp(TimestampMillisecondBuilder::new().with_timezone("UTC"), times()?),
            ColumnType::Date => Self::Date(Date32Builder::new(), times()?),
            ColumnType::Decimal { precision, scale } => {
                let digits = DecimalDigits { precision, scale: scale as i8 };
                let builder = Decimal128Builder::new().with_data_type(declared.column_type.data_type());
                Self::Decimal(builder, digits)
            }
        })
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
            Self::Timestamp(..) => ColumnType::Timestamp,
            Self::Date(..) => ColumnType::Date,
            Self::Decimal(_, digits) => {
                return ValueError::Decimal { precision: digits.precision, scale: digits.scale };
            }
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
            Self::Timestamp(builder, times) => builder.append_value(times.text(text).map_err(ValueError::Time)?),
            Self::Integer(builder) => builder.append_value(text.parse().map_err(|_| ValueError::Integer)?),
            Self::Float(builder) => builder.append_value(parse_float(text)?),
            Self::Boolean(builder) => builder.append_value(parse_bool(text)?),
            Self::Date(builder, times) => builder.append_value(times.day(text).map_err(ValueError::Time)?),
            Self::Decimal(builder, digits) => builder.append_value(digits.read(text)?),
        }
        Ok(())
    }

    /// Appends a number as it is written, as JSON has it.
    #[inline]
    pub fn append_number(&mut self, number: &str) -> Result<(), ValueError> {
        match self {
            Self::Timestamp(builder, times) => builder.append_value(times.number(number).map_err(ValueError::Time)?),
            Self::Integer(builder) => builder.append_value(number.parse().map_err(|_| ValueError::Integer)?),
            Self::Float(builder) => builder.append_value(parse_float(number)?),
            Self::Decimal(builder, digits) => builder.append_value(digits.read(number)?),
            Self::String(_) | Self::Boolean(_) | Self::Date(..) => return Err(self.kind_error()),
        }
        Ok(())
    }

    /// Appends what stands in quotes, as JSON has it: numbers and truth do not.
    #[inline]
    pub fn append_quoted(&mut self, text: &str) -> Result<(), ValueError> {
        match self {
            // An exact number is put into quotes so that no reader makes a float of it.
            Self::String(_) | Self::Timestamp(..) | Self::Date(..) | Self::Decimal(..) => self.append_text(text),
            Self::Integer(_) | Self::Float(_) | Self::Boolean(_) => Err(self.kind_error()),
        }
    }

    /// Appends true or false.
    #[inline]
    pub fn append_bool(&mut self, value: bool) -> Result<(), ValueError> {
        match self {
            Self::Boolean(builder) => builder.append_value(value),
            _ => return Err(self.kind_error()),
        }
        Ok(())
    }

    /// The column so far; the builder starts over.
    pub fn finish(&mut self) -> ArrayRef {
        match self {
            // The time zone is a part of the type, and `finish` keeps it; so it does the digits of a decimal.
            Self::Timestamp(builder, _) => Arc::new(builder.finish()),
            Self::String(builder) => Arc::new(builder.finish()),
            Self::Integer(builder) => Arc::new(builder.finish()),
            Self::Float(builder) => Arc::new(builder.finish()),
            Self::Boolean(builder) => Arc::new(builder.finish()),
            Self::Date(builder, _) => Arc::new(builder.finish()),
            Self::Decimal(builder, _) => Arc::new(builder.finish()),
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

/// Infinity and what is not a number are refused in words, too: one of them would swallow every sum it comes into.
#[inline]
fn parse_float(text: &str) -> Result<f64, ValueError> {
    text.parse().ok().filter(|number: &f64| number.is_finite()).ok_or(ValueError::Float)
}
