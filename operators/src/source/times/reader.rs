//! Reads the times of one column, as its form says.

use super::error::TimeError;
use super::form::{EpochUnit, FormMistake, TimeForm};
use super::iso;
use super::number::{Decimal, time_of, time_of_integer};
use super::pattern::Pattern;
use super::variants;
use arrow::array::timezone::Tz;

/// Reads the times, or the days, of one column. By default in all usual forms, and UTC where a text names no zone.
#[derive(Debug, Clone, Default)]
pub struct TimeReader {
    unit: Option<EpochUnit>,
    pattern: Option<Pattern>,
    zone: Option<Zone>,
    /// The usual form may be tried first: neither a format nor a zone is declared.
    told: bool,
}

/// A zone and its name.
#[derive(Debug, Clone)]
pub(super) struct Zone {
    pub(super) name: String,
    pub(super) rules: Tz,
}

impl TimeReader {
    /// A reader for a form.
    ///
    /// # Errors
    /// When the format is none, or the zone is unknown.
    pub fn new(form: &TimeForm) -> Result<Self, FormMistake> {
        let zone = form.timezone.as_ref().map(|name| match name.parse() {
            Ok(rules) => Ok(Zone { name: name.clone(), rules }),
            Err(_) => Err(FormMistake {
                key: "timezone",
                message: format!("there is no time zone \"{name}\""),
                expected: "a name like \"Europe/Berlin\", \"UTC\", or an offset like \"+09:00\"",
            }),
        });
        let zone = zone.transpose()?;
        let pattern = form.format.as_deref().map(Pattern::new).transpose()?;
        let told = pattern.is_some() || zone.is_some();
        Ok(TimeReader { unit: form.unit, pattern, zone, told })
    }

    pub(super) fn check_times(&self) -> Result<(), FormMistake> {
        self.pattern.as_ref().map_or(Ok(()), |pattern| pattern.check_times(self.zone.as_ref()))
    }

    pub(super) fn check_days(&self) -> Result<(), FormMistake> {
        self.pattern.as_ref().map_or(Ok(()), Pattern::check_days)
    }

    /// A time written as text, in milliseconds since the epoch.
    ///
    /// # Errors
    /// When it is none: says why.
    #[inline]
    pub fn text(&self, text: &str) -> Result<i64, TimeError> {
        if !self.told
            && let Some(time) = iso::time(text)
        {
            return Ok(time);
        }
        self.unusual_text(text)
    }

    #[cold]
    fn unusual_text(&self, text: &str) -> Result<i64, TimeError> {
        let text = text.trim();
        // Numbers are often put into quotes; with a format and no unit, digits are for the format.
        if (self.unit.is_some() || self.pattern.is_none())
            && let Some(number) = Decimal::parse(text)
        {
            return time_of(number, self.unit);
        }
        match &self.pattern {
            Some(pattern) => pattern.time(text, self.zone.as_ref()),
            None => variants::time(text, self.zone.as_ref()),
        }
    }

    /// A time written as a number like `1646352001` or `1646352001.25`, in milliseconds since the epoch.
    ///
    /// # Errors
    /// When it is none in the column's unit, or might be something else than milliseconds where none is declared.
    #[inline]
    pub fn number(&self, text: &str) -> Result<i64, TimeError> {
        match text.parse() {
            Ok(number) => self.integer(number),
            Err(_) => {
                let unit = self.unit.unwrap_or(EpochUnit::Milliseconds);
                time_of(Decimal::parse(text).ok_or(TimeError::Number(unit))?, self.unit)
            }
        }
    }

    /// The same for a whole number.
    ///
    /// # Errors
    /// As [`Self::number`].
    #[inline]
    pub fn integer(&self, number: i64) -> Result<i64, TimeError> {
        time_of_integer(number, self.unit)
    }

    /// The same for an exact number.
    ///
    /// # Errors
    /// As [`Self::number`].
    pub fn decimal(&self, number: Decimal) -> Result<i64, TimeError> {
        time_of(number, self.unit)
    }

    /// A day written as text, in days since the epoch.
    ///
    /// # Errors
    /// When it is none: says why.
    pub fn day(&self, text: &str) -> Result<i32, TimeError> {
        match &self.pattern {
            None => iso::day(text).map_or_else(|| variants::date(text.trim()), Ok),
            Some(pattern) => pattern.day(text.trim()),
        }
    }
}
