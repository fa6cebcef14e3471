//! Reads times and days as people write them: `2022-03-04 00:00:01`, `2022-03-04T00:00:01.250Z`, `2022-03-04`.
//!
//! Invariant: every text is either a moment that exists in the proleptic Gregorian calendar, or an error that
//! says in words which part is wrong. Nothing is rounded up: digits below the millisecond are cut off.

use std::fmt;

const MILLIS_PER_SECOND: i64 = 1_000;
const MILLIS_PER_MINUTE: i64 = 60 * MILLIS_PER_SECOND;
const MILLIS_PER_HOUR: i64 = 60 * MILLIS_PER_MINUTE;
const MILLIS_PER_DAY: i64 = 24 * MILLIS_PER_HOUR;

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

/// Why a text is not a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeError {
    /// Not of the form `YYYY-MM-DD HH:MM:SS`, with `T` for the blank, a fraction, or a zone.
    Form,
    /// Not of the form `YYYY-MM-DD`.
    DateForm,
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
    /// What follows the seconds is neither a fraction nor `Z` nor an offset like `+02:00`.
    Zone,
}

impl fmt::Display for TimeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Form => formatter.write_str("it should look like 2022-03-04 00:00:01 or 2022-03-04T00:00:01.250Z"),
            Self::DateForm => formatter.write_str("it should look like 2022-03-04"),
            Self::Month(month) => write!(formatter, "there is no month {month:02}"),
            Self::Day { year, month, day } => {
                let name = MONTH_NAMES.get(month as usize - 1).copied().unwrap_or("the month");
                let days = days_in_month(year, month);
                write!(formatter, "there is no day {day:02} in {name} {year:04}, which has {days} days")
            }
            Self::Hour(hour) => write!(formatter, "hour {hour:02} is not between 00 and 23"),
            Self::Minute(minute) => write!(formatter, "minute {minute:02} is not between 00 and 59"),
            Self::Second(second) => write!(formatter, "second {second:02} is not between 00 and 59"),
            Self::Zone => formatter.write_str(
                "after the seconds there may be a fraction of 1 to 9 digits, then Z or an offset like +02:00, and nothing else",
            ),
        }
    }
}

/// Reads `YYYY-MM-DD HH:MM:SS[.fraction][zone]` (or with `T`) as milliseconds since the epoch.
///
/// Without a zone the time is UTC.
pub fn parse_timestamp(text: &str) -> Result<i64, TimeError> {
    let bytes = text.as_bytes();
    let Some((moment, rest)) = bytes.split_first_chunk::<19>() else {
        return Err(TimeError::Form);
    };
    if !matches!(moment[10], b' ' | b'T' | b't') || moment[13] != b':' || moment[16] != b':' {
        return Err(TimeError::Form);
    }
    let form = TimeError::Form;
    let days = civil_day(&moment[..10], form)?;
    let hour = two_digits(moment[11], moment[12]).ok_or(form)?;
    let minute = two_digits(moment[14], moment[15]).ok_or(form)?;
    let second = two_digits(moment[17], moment[18]).ok_or(form)?;
    if hour > 23 {
        return Err(TimeError::Hour(hour));
    }
    if minute > 59 {
        return Err(TimeError::Minute(minute));
    }
    if second > 59 {
        return Err(TimeError::Second(second));
    }
    let time_of_day = i64::from(hour) * MILLIS_PER_HOUR
        + i64::from(minute) * MILLIS_PER_MINUTE
        + i64::from(second) * MILLIS_PER_SECOND;
    let whole = days * MILLIS_PER_DAY + time_of_day;
    if rest.is_empty() { Ok(whole) } else { Ok(whole + fraction_and_zone(rest)?) }
}

/// Reads `YYYY-MM-DD` as days since the epoch.
pub fn parse_date(text: &str) -> Result<i32, TimeError> {
    if text.len() != 10 {
        return Err(TimeError::DateForm);
    }
    // Four-digit years span less than 4 million days.
    civil_day(text.as_bytes(), TimeError::DateForm).map(|days| days as i32)
}

/// Milliseconds to add for what follows the seconds.
#[cold]
fn fraction_and_zone(rest: &[u8]) -> Result<i64, TimeError> {
    let (millis, zone) = match rest.split_first() {
        Some((b'.', after)) => {
            let digits = after.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if digits == 0 || digits > 9 {
                return Err(TimeError::Zone);
            }
            let millis = (0..3).fold(0, |sum, place| {
                let digit = if place < digits { i64::from(after[place] - b'0') } else { 0 };
                sum * 10 + digit
            });
            (millis, &after[digits..])
        }
        _ => (0, rest),
    };
    match *zone {
        [] | [b'Z' | b'z'] => Ok(millis),
        [sign @ (b'+' | b'-'), hour_tens, hour_ones, b':', minute_tens, minute_ones] => {
            let hours = two_digits(hour_tens, hour_ones).filter(|hours| *hours < 24).ok_or(TimeError::Zone)?;
            let minutes =
                two_digits(minute_tens, minute_ones).filter(|minutes| *minutes < 60).ok_or(TimeError::Zone)?;
            let offset = i64::from(hours) * MILLIS_PER_HOUR + i64::from(minutes) * MILLIS_PER_MINUTE;
            Ok(if sign == b'+' { millis - offset } else { millis + offset })
        }
        _ => Err(TimeError::Zone),
    }
}

/// Days since the epoch of ten bytes `YYYY-MM-DD`.
fn civil_day(date: &[u8], form: TimeError) -> Result<i64, TimeError> {
    let &[y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = date else {
        return Err(form);
    };
    let century = two_digits(y1, y2).ok_or(form)?;
    let year = century * 100 + two_digits(y3, y4).ok_or(form)?;
    let month = two_digits(m1, m2).ok_or(form)?;
    let day = two_digits(d1, d2).ok_or(form)?;
    if !(1..=12).contains(&month) {
        return Err(TimeError::Month(month));
    }
    if day == 0 || (day > 28 && day > days_in_month(year, month)) {
        return Err(TimeError::Day { year, month, day });
    }
    Ok(days_from_civil(i64::from(year), i64::from(month), i64::from(day)))
}

fn two_digits(tens: u8, ones: u8) -> Option<u32> {
    let tens = u32::from(tens.wrapping_sub(b'0'));
    let ones = u32::from(ones.wrapping_sub(b'0'));
    (tens < 10 && ones < 10).then_some(tens * 10 + ones)
}

fn days_in_month(year: u32, month: u32) -> u32 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days between 1970-01-01 and a date of the proleptic Gregorian calendar.
///
/// The method is Howard Hinnant's ("chrono-compatible low-level date algorithms"): years begin in March, so that
/// the leap day is the last of its year, and 400 years are one period of 146,097 days.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let shifted_year = if month <= 2 { year - 1 } else { year };
    let period = shifted_year.div_euclid(400);
    let year_of_period = shifted_year.rem_euclid(400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_period = year_of_period * 365 + year_of_period / 4 - year_of_period / 100 + day_of_year;
    period * 146_097 + day_of_period - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{Datelike, NaiveDate};
    use proptest::prelude::*;

    #[test]
    fn times_in_all_their_forms() {
        assert_eq!(parse_timestamp("1970-01-01 00:00:00"), Ok(0));
        assert_eq!(parse_timestamp("2022-03-04 00:00:01"), Ok(1_646_352_001_000));
        assert_eq!(parse_timestamp("2022-03-04T00:00:01Z"), Ok(1_646_352_001_000));
        assert_eq!(parse_timestamp("2022-03-04T00:00:01.25Z"), Ok(1_646_352_001_250));
        assert_eq!(parse_timestamp("2022-03-04 00:00:01.999999999"), Ok(1_646_352_001_999));
        assert_eq!(parse_timestamp("2022-03-04T02:00:01+02:00"), Ok(1_646_352_001_000));
        assert_eq!(parse_timestamp("2022-03-03T22:30:01.5-01:30"), Ok(1_646_352_001_500));
        assert_eq!(parse_timestamp("9999-12-31 23:59:59.999"), Ok(253_402_300_799_999));
        assert_eq!(parse_timestamp("1969-12-31 23:59:59"), Ok(-1_000));
        assert_eq!(parse_date("1970-01-02"), Ok(1));
    }

    #[test]
    fn what_does_not_exist_is_said_in_words() {
        let reason = |text| parse_timestamp(text).expect_err("no such time").to_string();
        assert_eq!(reason("2022-02-31 00:00:00"), "there is no day 31 in February 2022, which has 28 days");
        assert_eq!(reason("2022-13-01 00:00:00"), "there is no month 13");
        assert_eq!(reason("2022-00-01 00:00:00"), "there is no month 00");
        assert_eq!(reason("2022-01-01 24:00:00"), "hour 24 is not between 00 and 23");
        assert_eq!(reason("2022-01-01 00:60:00"), "minute 60 is not between 00 and 59");
        assert_eq!(reason("2022-01-01 23:59:60"), "second 60 is not between 00 and 59");
        assert!(reason("yesterday").starts_with("it should look like"));
        assert!(reason("2022-03-04 00:00:01.").starts_with("after the seconds"));
        assert!(reason("2022-03-04 00:00:01 UTC").starts_with("after the seconds"));
        assert!(reason("2022-03-04 00:00:01.1234567890").starts_with("after the seconds"));
        assert!(parse_date("2022-3-4").is_err());
        assert_eq!(parse_timestamp("2000-02-29 00:00:00"), Ok(951_782_400_000));
        assert!(parse_timestamp("1900-02-29 00:00:00").is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,40}") {
            let _ = parse_timestamp(&text).map_err(|error| error.to_string());
            let _ = parse_date(&text).map_err(|error| error.to_string());
        }

        #[test]
        fn near_times_never_panic(text in "[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{0,12})?(Z|[+-][0-9:]{0,6})?") {
            let _ = parse_timestamp(&text).map_err(|error| error.to_string());
        }

        #[test]
        fn days_agree_with_the_calendar(days in -719_528i32..2_932_896) {
            let date = NaiveDate::from_num_days_from_ce_opt(days + 719_163).expect("within range");
            let text = format!("{:04}-{:02}-{:02}", date.year(), date.month(), date.day());
            prop_assert_eq!(parse_date(&text), Ok(days));
        }
    }
}
