//! Times and days in their usual form: `2022-03-04 00:00:01`, `2022-03-04T00:00:01.250Z`, `2022-03-04`.
//!
//! This is the fast path: what it does not know is looked at again by [`super::variants`], which also finds the words for
//! what is wrong. Invariant: what comes out is a moment that exists in the proleptic Gregorian calendar. Nothing is rounded
//! up: digits below the millisecond are cut off.

const MILLIS_PER_SECOND: i64 = 1_000;
pub(super) const MILLIS_PER_MINUTE: i64 = 60 * MILLIS_PER_SECOND;
pub(super) const MILLIS_PER_HOUR: i64 = 60 * MILLIS_PER_MINUTE;
pub(super) const MILLIS_PER_DAY: i64 = 24 * MILLIS_PER_HOUR;

/// Reads `YYYY-MM-DD HH:MM:SS[.fraction][zone]` (or with `T`) as milliseconds since the epoch. Without a zone the time is UTC.
#[inline]
pub(super) fn time(text: &str) -> Option<i64> {
    let (moment, rest) = text.as_bytes().split_first_chunk::<19>()?;
    if !matches!(moment[10], b' ' | b'T' | b't') || moment[13] != b':' || moment[16] != b':' {
        return None;
    }
    let days = civil_day(&moment[..10])?;
    let hour = two_digits(moment[11], moment[12])?;
    let minute = two_digits(moment[14], moment[15])?;
    let second = two_digits(moment[17], moment[18])?;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let whole = days * MILLIS_PER_DAY + time_of_day(hour, minute, second);
    if rest.is_empty() { Some(whole) } else { Some(whole + fraction_and_zone(rest)?) }
}

/// Reads `YYYY-MM-DD` as days since the epoch.
#[inline]
pub(super) fn day(text: &str) -> Option<i32> {
    // Four-digit years span less than 4 million days.
    civil_day(text.as_bytes()).map(|days| days as i32)
}

/// Milliseconds since midnight.
#[inline]
pub(super) fn time_of_day(hour: u32, minute: u32, second: u32) -> i64 {
    let (hour, minute, second) = (i64::from(hour), i64::from(minute), i64::from(second));
    hour * MILLIS_PER_HOUR + minute * MILLIS_PER_MINUTE + second * MILLIS_PER_SECOND
}

/// Milliseconds to add for what follows the seconds.
fn fraction_and_zone(rest: &[u8]) -> Option<i64> {
    let (millis, zone) = match rest.split_first() {
        Some((b'.', after)) => {
            let digits = after.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if digits == 0 || digits > 9 {
                return None;
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
        [] | [b'Z' | b'z'] => Some(millis),
        [sign @ (b'+' | b'-'), hour_tens, hour_ones, b':', minute_tens, minute_ones] => {
            let hours = two_digits(hour_tens, hour_ones).filter(|hours| *hours < 24)?;
            let minutes = two_digits(minute_tens, minute_ones).filter(|minutes| *minutes < 60)?;
            let offset = time_of_day(hours, minutes, 0);
            Some(if sign == b'+' { millis - offset } else { millis + offset })
        }
        _ => None,
    }
}

/// Days since the epoch of ten bytes `YYYY-MM-DD`.
#[inline]
fn civil_day(date: &[u8]) -> Option<i64> {
    let &[y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = date else {
        return None;
    };
    let year = two_digits(y1, y2)? * 100 + two_digits(y3, y4)?;
    let month = two_digits(m1, m2)?;
    let day = two_digits(d1, d2)?;
    let exists = (1..=12).contains(&month) && day > 0 && (day <= 28 || day <= days_in_month(year, month));
    exists.then(|| days_from_civil(i64::from(year), i64::from(month), i64::from(day)))
}

#[inline]
pub(super) fn two_digits(tens: u8, ones: u8) -> Option<u32> {
    let tens = u32::from(tens.wrapping_sub(b'0'));
    let ones = u32::from(ones.wrapping_sub(b'0'));
    (tens < 10 && ones < 10).then_some(tens * 10 + ones)
}

pub(super) fn days_in_month(year: u32, month: u32) -> u32 {
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
pub(super) fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let shifted_year = if month <= 2 { year - 1 } else { year };
    let period = shifted_year.div_euclid(400);
    let year_of_period = shifted_year.rem_euclid(400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_period = year_of_period * 365 + year_of_period / 4 - year_of_period / 100 + day_of_year;
    period * 146_097 + day_of_period - 719_468
}
