//! Times as numbers since 1970, exactly: no number goes through a float.
//!
//! Digits below the millisecond are cut off. A number whose column says no unit is taken for milliseconds where that gives a
//! time between 1980 and 2199, or is 0, which is the same time in every unit. Any other is refused: seconds taken for
//! milliseconds would be counted in January 1970 without a word.

use super::error::TimeError;
use super::form::EpochUnit;
use crate::source::PLAUSIBLE_EVENT_TIMES;

/// 1980-01-01: a number that as milliseconds is older than this is not known to be milliseconds.
const LEAST_WITHOUT_UNIT: i64 = 315_532_800_000;

/// Times that a number of unknown unit is probably meant to be: 1990 to 2099.
const PROBABLE: std::ops::Range<i64> = 631_152_000_000..4_102_444_800_000;

/// Digits that fit 128 bits whatever they are.
const MOST_DIGITS: usize = 38;

/// A decimal number as written: `digits` times ten to the power of `exponent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decimal {
    /// All digits as one number, with the sign.
    digits: i128,
    exponent: i32,
}

impl Decimal {
    /// `digits` times ten to the power of `exponent`.
    pub fn new(digits: i128, exponent: i32) -> Self {
        Decimal { digits, exponent }
    }

    /// Reads a number like `1646352001`, `-1.25` or `1.646352001E9`; none when the text is something else, or has more than
    /// 38 digits.
    pub fn parse(text: &str) -> Option<Self> {
        let (number, exponent) = match text.find(['e', 'E']) {
            Some(place) => (&text[..place], text[place + 1..].parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (negative, number) = match number.as_bytes().first()? {
            b'-' => (true, &number[1..]),
            b'+' => (false, &number[1..]),
            _ => (false, number),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let fraction = fraction.trim_end_matches('0');
        let mut digits: i128 = 0;
        let mut significant = 0;
        for byte in whole.bytes().chain(fraction.bytes()) {
            if !byte.is_ascii_digit() {
                return None;
            }
            significant += usize::from(significant > 0 || byte != b'0');
            if significant > MOST_DIGITS {
                return None;
            }
            digits = digits * 10 + i128::from(byte - b'0');
        }
        let exponent = exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?;
        Some(Decimal { digits: if negative { -digits } else { digits }, exponent })
    }

    /// The number times ten to the power of `places`, as a whole number; none when it is none, or has more than 38 digits.
    pub fn exactly(self, places: i32) -> Option<i128> {
        let (number, rest) = self.scaled(places)?;
        (rest == 0).then_some(number)
    }

    /// The same with further digits cut off.
    fn cut_off(self, places: i32) -> Option<i128> {
        self.scaled(places).map(|(number, _)| number)
    }

    /// The whole number, and what is left over.
    fn scaled(self, places: i32) -> Option<(i128, i128)> {
        if self.digits == 0 {
            return Some((0, 0));
        }
        let power = self.exponent.checked_add(places)?;
        let Some(factor) = 10i128.checked_pow(power.unsigned_abs()) else {
            // Beyond all digits: nothing is left of a number that is divided by so much.
            return (power < 0).then_some((0, self.digits));
        };
        if power >= 0 {
            let number = self.digits.checked_mul(factor)?;
            return (number.unsigned_abs() < 10u128.pow(MOST_DIGITS as u32)).then_some((number, 0));
        }
        Some((self.digits / factor, self.digits % factor))
    }
}

/// Milliseconds since 1970 of a number in a unit, or in none.
pub(super) fn time_of(number: Decimal, unit: Option<EpochUnit>) -> Result<i64, TimeError> {
    let in_unit = |unit: EpochUnit| number.cut_off(unit.to_milliseconds()).and_then(|time| i64::try_from(time).ok());
    let Some(unit) = unit else {
        let milliseconds = in_unit(EpochUnit::Milliseconds).ok_or(TimeError::Number(EpochUnit::Milliseconds))?;
        if milliseconds == 0 || (LEAST_WITHOUT_UNIT..PLAUSIBLE_EVENT_TIMES.end).contains(&milliseconds) {
            return Ok(milliseconds);
        }
        let probable = |unit: EpochUnit| Some((unit, in_unit(unit).filter(|time| PROBABLE.contains(time))?));
        return Err(TimeError::WithoutUnit { milliseconds, probably: EpochUnit::ALL.into_iter().find_map(probable) });
    };
    in_unit(unit).ok_or(TimeError::Number(unit))
}

/// The same for a whole number.
pub(super) fn time_of_integer(number: i64, unit: Option<EpochUnit>) -> Result<i64, TimeError> {
    match unit {
        Some(EpochUnit::Milliseconds) => Ok(number),
        Some(EpochUnit::Microseconds) => Ok(number / 1_000),
        Some(EpochUnit::Nanoseconds) => Ok(number / 1_000_000),
        Some(unit @ EpochUnit::Seconds) => number.checked_mul(1_000).ok_or(TimeError::Number(unit)),
        None if (LEAST_WITHOUT_UNIT..PLAUSIBLE_EVENT_TIMES.end).contains(&number) => Ok(number),
        None => time_of(Decimal::new(i128::from(number), 0), None),
    }
}
