//! Why a value is not a timestamp: the error messages.

use super::form::EpochUnit;
use super::iso::days_in_month;
use crate::moment;
use std::fmt;

const MONTH_NAMES: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// Why a value is not a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TimeError {
    /// Not of any form that is read without being told.
    Form,
    /// Not of the form `YYYY-MM-DD`.
    DateForm,
    /// A day without a time of day.
    NoTimeOfDay,
    /// The month is not 1 to 12.
    Month(u32),
    /// The month has no such day.
    Day {
        /// The year, 0 to 9999.
        year: u32,
        /// The month, 1 to 12.
        month: u32,
        /// The day that does not exist.
        day: u32,
    },
    /// The hour is not 0 to 23.
    Hour(u32),
    /// The minute is not 0 to 59.
    Minute(u32),
    /// The second is not 0 to 59 (leap seconds are not representable).
    Second(u32),
    /// What follows the time of day is neither a fraction nor a zone.
    Zone,
    /// A name of a zone, which says too little.
    NamedZone(Box<str>),
    /// A time that clocks passed over when they were put forward.
    Skipped(Box<str>),
    /// Not as the format says.
    Pattern {
        /// The format.
        format: Box<str>,
        /// What does not fit.
        problem: Box<str>,
    },
    /// A number that says no unit, and as milliseconds would be absurd.
    WithoutUnit {
        /// What it would be, in milliseconds.
        milliseconds: i64,
        /// The unit that is probably meant, and the time that the number then is.
        probably: Option<(EpochUnit, i64)>,
    },
    /// A number that is no time in the declared unit.
    Number(EpochUnit),
}

impl fmt::Display for TimeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form => formatter.write_str(
                "it should look like 2022-03-04 00:00:01 or 2022-03-04T00:00:01.250Z; other forms are read with `format` in the schema",
            ),
            Self::DateForm => formatter
                .write_str("it should look like 2022-03-04; other forms are read with `format` in the schema"),
            Self::NoTimeOfDay => formatter.write_str(
                "it is a day without a time of day; `format = \"%Y-%m-%d\"` in the schema reads it as the beginning of that day",
            ),
            Self::Month(month) => write!(formatter, "there is no month {month:02}"),
            Self::Day { year, month, day } => {
                let name = MONTH_NAMES.get(*month as usize - 1).copied().unwrap_or("the month");
                let days = days_in_month(*year, *month);
                write!(formatter, "there is no day {day:02} in {name} {year:04}, which has {days} days")
            }
            Self::Hour(hour) => write!(formatter, "hour {hour:02} is not between 00 and 23"),
            Self::Minute(minute) => write!(formatter, "minute {minute:02} is not between 00 and 59"),
            Self::Second(second) => write!(formatter, "second {second:02} is not between 00 and 59"),
            Self::Zone => formatter.write_str(
                "after the time of day there may be a fraction of 1 to 9 digits, then Z, UTC or an offset like +02:00, and nothing else",
            ),
            Self::NamedZone(zone) => write!(
                formatter,
                "\"{zone}\" does not say how far it is from UTC; an offset like +02:00 does, or `timezone` in the schema for times without one"
            ),
            Self::Skipped(zone) => {
                write!(formatter, "in {zone} there is no such time: clocks were put forward over it")
            }
            Self::Pattern { format, problem } => write!(formatter, "it is not as format = \"{format}\" says: {problem}"),
            Self::WithoutUnit { milliseconds, probably } => {
                let as_milliseconds = moment::show(*milliseconds);
                write!(formatter, "it is a number without a unit, and as milliseconds it would be {as_milliseconds}; ")?;
                match probably {
                    Some((unit, time)) => {
                        let time = moment::show(*time);
                        write!(formatter, "with unit = \"{unit}\" in the schema it is {time}")
                    }
                    None => formatter.write_str("`unit` in the schema (s, ms, us or ns) says what it is"),
                }
            }
            Self::Number(unit) => {
                write!(formatter, "it is not a number of {} since 1970 that a time can be made of", unit.plural())
            }
        }
    }
}

impl std::error::Error for TimeError {}
