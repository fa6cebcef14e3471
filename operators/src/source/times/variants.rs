//! Timestamps in the forms that other programs write: variants of ISO 8601, and RFC 2822.
//!
//! A day `2022-03-04`, `2022/03/04` or `20220304`; a blank or `T`; a time `00:01`, `00:01:00` or `000100` with a fraction of 1
//! to 9 digits behind a point or a comma; then nothing, `Z`, `UTC`, `GMT` or an offset `+01`, `+0100`, `+01:00`, a blank before
//! it or not. A zone's name behind an offset, in brackets as Java has it or not, adds nothing and is passed over. Only what is
//! unambiguous is read: `03/04/2022` is two days, and CET is none in summer.

use super::error::TimeError;
use super::iso::{
    MILLIS_PER_DAY, MILLIS_PER_HOUR, MILLIS_PER_MINUTE, days_from_civil, days_in_month, time_of_day, two_digits,
};
use super::reader::Zone;
use chrono::{DateTime, NaiveDateTime, TimeZone, offset::LocalResult};

/// A time in milliseconds since the epoch; `text` is without blanks around it.
pub(super) fn time(text: &str, zone: Option<&Zone>) -> Result<i64, TimeError> {
    match iso(text.as_bytes(), zone) {
        // A mail's or a web server's date begins with a weekday or with a day.
        Err(TimeError::Form) => match DateTime::parse_from_rfc2822(text) {
            Ok(time) => Ok(time.timestamp_millis()),
            Err(_) => Err(TimeError::Form),
        },
        read => read,
    }
}

/// A day in days since the epoch: `YYYY-MM-DD`.
pub(super) fn date(text: &str) -> Result<i32, TimeError> {
    match day(text.as_bytes()) {
        // Four-digit years span less than 4 million days.
        Ok((days, true, [])) if !text.contains('/') => Ok(days as i32),
        Ok(_) | Err(TimeError::Form) => Err(TimeError::DateForm),
        Err(error) => Err(error),
    }
}

fn iso(text: &[u8], zone: Option<&Zone>) -> Result<i64, TimeError> {
    let (day, extended, rest) = day(text)?;
    let rest = match rest {
        [] => return Err(TimeError::NoTimeOfDay),
        [b' ' | b'T' | b't', rest @ ..] => rest,
        _ => return Err(TimeError::Form),
    };
    let (time_of_day, rest) = clock(rest, extended)?;
    let (fraction, rest) = fraction(rest)?;
    let local = day * MILLIS_PER_DAY + time_of_day + fraction;
    match offset(rest)? {
        Offset::None => match zone {
            None => Ok(local),
            Some(_) => in_zone(naive(local)?, zone),
        },
        Offset::Milliseconds(offset) => Ok(local - offset),
        Offset::Named(name) => {
            let rules = name.parse().map_err(|_| TimeError::NamedZone(name.into()))?;
            in_zone(naive(local)?, Some(&Zone { name: name.to_owned(), rules }))
        }
    }
}

/// The day, whether it is written with signs between its parts, and what follows.
fn day(text: &[u8]) -> Result<(i64, bool, &[u8]), TimeError> {
    let four = |y: [u8; 4]| Some(two_digits(y[0], y[1])? * 100 + two_digits(y[2], y[3])?);
    let (parts, extended, rest): (_, bool, &[u8]) = match *text {
        [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, ref rest @ ..]
        | [y1, y2, y3, y4, b'/', m1, m2, b'/', d1, d2, ref rest @ ..] => {
            ((four([y1, y2, y3, y4]), two_digits(m1, m2), two_digits(d1, d2)), true, rest)
        }
        [y1, y2, y3, y4, m1, m2, d1, d2, ref rest @ ..] if matches!(rest, [b'T' | b't', ..]) => {
            ((four([y1, y2, y3, y4]), two_digits(m1, m2), two_digits(d1, d2)), false, rest)
        }
        _ => return Err(TimeError::Form),
    };
    let (Some(year), Some(month), Some(day)) = parts else { return Err(TimeError::Form) };
    Ok((day_of(year, month, day)?, extended, rest))
}

fn day_of(year: u32, month: u32, day: u32) -> Result<i64, TimeError> {
    if !(1..=12).contains(&month) {
        return Err(TimeError::Month(month));
    }
    if day == 0 || day > days_in_month(year, month) {
        return Err(TimeError::Day { year, month, day });
    }
    Ok(days_from_civil(i64::from(year), i64::from(month), i64::from(day)))
}

/// Milliseconds since midnight of `HH:MM[:SS]` or `HHMM[SS]`, and what follows.
fn clock(text: &[u8], extended: bool) -> Result<(i64, &[u8]), TimeError> {
    let (hour, minute, second, rest) = match *text {
        [h1, h2, b':', m1, m2, b':', s1, s2, ref rest @ ..] if extended => {
            (two_digits(h1, h2), two_digits(m1, m2), two_digits(s1, s2), rest)
        }
        [h1, h2, b':', m1, m2, ref rest @ ..] if extended => (two_digits(h1, h2), two_digits(m1, m2), Some(0), rest),
        [h1, h2, m1, m2, s1 @ b'0'..=b'9', s2, ref rest @ ..] if !extended => {
            (two_digits(h1, h2), two_digits(m1, m2), two_digits(s1, s2), rest)
        }
        [h1, h2, m1, m2, ref rest @ ..] if !extended => (two_digits(h1, h2), two_digits(m1, m2), Some(0), rest),
        _ => return Err(TimeError::Form),
    };
    let (Some(hour), Some(minute), Some(second)) = (hour, minute, second) else { return Err(TimeError::Form) };
    if hour > 23 {
        return Err(TimeError::Hour(hour));
    }
    if minute > 59 {
        return Err(TimeError::Minute(minute));
    }
    if second > 59 {
        return Err(TimeError::Second(second));
    }
    Ok((time_of_day(hour, minute, second), rest))
}

/// Milliseconds of a fraction of a second, and what follows.
fn fraction(text: &[u8]) -> Result<(i64, &[u8]), TimeError> {
    let [b'.' | b',', after @ ..] = text else { return Ok((0, text)) };
    let digits = after.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 || digits > 9 {
        return Err(TimeError::Zone);
    }
    let digit = |place: usize| if place < digits { i64::from(after[place] - b'0') } else { 0 };
    Ok(((0..3).fold(0, |sum, place| sum * 10 + digit(place)), &after[digits..]))
}

enum Offset<'text> {
    None,
    /// From UTC.
    Milliseconds(i64),
    /// A zone of which only the name is known.
    Named(&'text str),
}

fn offset(text: &[u8]) -> Result<Offset<'_>, TimeError> {
    let text = text.trim_ascii_start();
    let (sign, digits) = match text {
        [] => return Ok(Offset::None),
        [b'[', ..] => return Ok(Offset::Named(bracketed(text).ok_or(TimeError::Zone)?)),
        [b'+', digits @ ..] => (1, digits),
        [b'-', digits @ ..] => (-1, digits),
        _ => {
            let letters = text.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
            let (word, rest) = text.split_at(letters);
            let utc = ["Z", "UTC", "GMT"].iter().any(|name| name.as_bytes().eq_ignore_ascii_case(word));
            return match std::str::from_utf8(word) {
                Ok(_) if utc => passed_over(rest).map(|()| Offset::Milliseconds(0)),
                Ok(word) if letters > 0 && rest.is_empty() => Err(TimeError::NamedZone(word.into())),
                _ => Err(TimeError::Zone),
            };
        }
    };
    let (hours, minutes, rest) = match *digits {
        [h1, h2, b':', m1, m2, ref rest @ ..] | [h1, h2, m1 @ b'0'..=b'9', m2, ref rest @ ..] => {
            (two_digits(h1, h2), two_digits(m1, m2), rest)
        }
        [h1, h2, ref rest @ ..] => (two_digits(h1, h2), Some(0), rest),
        _ => return Err(TimeError::Zone),
    };
    let hours = hours.filter(|hours| *hours < 24).ok_or(TimeError::Zone)?;
    let minutes = minutes.filter(|minutes| *minutes < 60).ok_or(TimeError::Zone)?;
    passed_over(rest)?;
    Ok(Offset::Milliseconds(sign * (i64::from(hours) * MILLIS_PER_HOUR + i64::from(minutes) * MILLIS_PER_MINUTE)))
}

/// Behind an offset there may be a zone's name, and nothing else.
fn passed_over(rest: &[u8]) -> Result<(), TimeError> {
    let name = |text: &[u8]| !text.is_empty() && text.len() <= 5 && text.iter().all(u8::is_ascii_alphabetic);
    match rest {
        [] => Ok(()),
        [b' ', word @ ..] if name(word) => Ok(()),
        _ => bracketed(rest.trim_ascii_start()).map(drop).ok_or(TimeError::Zone),
    }
}

/// The name in `[Europe/Paris]`.
fn bracketed(text: &[u8]) -> Option<&str> {
    let name = text.strip_prefix(b"[")?.strip_suffix(b"]")?;
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'_' | b'-' | b'+' | b':');
    std::str::from_utf8(name).ok().filter(|name| !name.is_empty() && name.bytes().all(|byte| allowed(&byte)))
}

fn naive(milliseconds: i64) -> Result<NaiveDateTime, TimeError> {
    DateTime::from_timestamp_millis(milliseconds).map(|time| time.naive_utc()).ok_or(TimeError::Form)
}

/// The moment at which clocks of a zone (UTC, if none) show a time: the first, where they show it twice.
pub(super) fn in_zone(local: NaiveDateTime, zone: Option<&Zone>) -> Result<i64, TimeError> {
    let Some(zone) = zone else { return Ok(local.and_utc().timestamp_millis()) };
    match zone.rules.from_local_datetime(&local) {
        LocalResult::Single(time) | LocalResult::Ambiguous(time, _) => Ok(time.timestamp_millis()),
        LocalResult::None => Err(TimeError::Skipped(zone.name.as_str().into())),
    }
}
