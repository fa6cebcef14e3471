//! Times by a format of strftime's, as in `%d/%b/%Y:%H:%M:%S %z`. What it means is chrono's to say.

use super::error::TimeError;
use super::form::FormMistake;
use super::reader::Zone;
use super::variants::in_zone;
use chrono::format::{Fixed, Item, Parsed, StrftimeItems, parse};
use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime};

/// What a format looks like, for messages.
const EXPECTED: &str = "a format like \"%d/%b/%Y:%H:%M:%S %z\"";

/// A moment with all its parts unlike: formatted and read back, it shows what a format can say.
const SAMPLE: &str = "2022-11-04T17:08:09.123456789+00:00";

/// A format, taken apart.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    format: Box<str>,
    items: Vec<Item<'static>>,
}

impl Pattern {
    pub(super) fn new(format: &str) -> Result<Self, FormMistake> {
        let refuse = |message: &str| FormMistake { key: "format", message: message.to_owned(), expected: EXPECTED };
        let items = StrftimeItems::new(format).parse_to_owned();
        let items = items.map_err(|_| refuse("there is a `%` that begins nothing strftime knows"))?;
        Ok(Pattern { format: format.into(), items })
    }

    /// Whether times can be read by it.
    pub(super) fn check_times(&self, zone: Option<&Zone>) -> Result<(), FormMistake> {
        // A zone's name is passed over when it is read, and would be taken for UTC in silence.
        let named = self.items.iter().any(|item| matches!(item, Item::Fixed(Fixed::TimezoneName)));
        if named && zone.is_none() {
            return Err(FormMistake {
                key: "format",
                message: "a zone's name (%Z) does not say how far it is from UTC".to_owned(),
                expected: "%z for an offset like +0100, or `timezone` beside it",
            });
        }
        self.check(|sample| self.time(sample, zone).map(drop))
    }

    /// Whether days can be read by it.
    pub(super) fn check_days(&self) -> Result<(), FormMistake> {
        self.check(|sample| self.day(sample).map(drop))
    }

    fn check(&self, read: impl Fn(&str) -> Result<(), TimeError>) -> Result<(), FormMistake> {
        let Ok(sample) = DateTime::parse_from_rfc3339(SAMPLE) else { return Ok(()) };
        let sample = sample.format_with_items(self.items.iter()).to_string();
        read(&sample).map_err(|error| {
            let problem = match error {
                TimeError::Pattern { problem, .. } => problem.into_string(),
                other => other.to_string(),
            };
            let message = format!("what is written like this, such as \"{sample}\", can't be read: {problem}");
            FormMistake { key: "format", message, expected: EXPECTED }
        })
    }

    /// A time in milliseconds since the epoch.
    pub(super) fn time(&self, text: &str, zone: Option<&Zone>) -> Result<i64, TimeError> {
        let parsed = self.parse(text)?;
        if let Some(offset) = parsed.offset() {
            let local = self.local(&parsed, offset)?;
            return Ok(local.and_utc().timestamp_millis() - i64::from(offset) * 1_000);
        }
        if parsed.timestamp().is_some() {
            return Ok(self.local(&parsed, 0)?.and_utc().timestamp_millis());
        }
        in_zone(self.local(&parsed, 0)?, zone)
    }

    /// A day in days since the epoch.
    pub(super) fn day(&self, text: &str) -> Result<i32, TimeError> {
        let parsed = self.parse(text)?;
        let date = match parsed.timestamp() {
            Some(_) => self.local(&parsed, parsed.offset().unwrap_or(0))?.date(),
            None => parsed.to_naive_date().map_err(|error| self.refuse(error))?,
        };
        let epoch = NaiveDate::default();
        i32::try_from(date.signed_duration_since(epoch).num_days()).map_err(|_| TimeError::DateForm)
    }

    fn parse(&self, text: &str) -> Result<Parsed, TimeError> {
        let mut parsed = Parsed::new();
        parse(&mut parsed, text, self.items.iter()).map_err(|error| self.refuse(error))?;
        Ok(parsed)
    }

    /// The time as it stands there; where no time of day does, the beginning of the day, or of the hour.
    fn local(&self, parsed: &Parsed, offset: i32) -> Result<NaiveDateTime, TimeError> {
        if parsed.timestamp().is_none() {
            let hour = parsed.hour_mod_12().is_some() || parsed.hour_div_12().is_some();
            if !hour && parsed.minute().is_none() {
                let date = parsed.to_naive_date().map_err(|error| self.refuse(error))?;
                return Ok(date.and_time(NaiveTime::MIN));
            }
            if parsed.minute().is_none() {
                let mut parsed = parsed.clone();
                parsed.set_minute(0).map_err(|error| self.refuse(error))?;
                return parsed.to_naive_datetime_with_offset(offset).map_err(|error| self.refuse(error));
            }
        }
        parsed.to_naive_datetime_with_offset(offset).map_err(|error| self.refuse(error))
    }

    #[cold]
    fn refuse(&self, error: chrono::format::ParseError) -> TimeError {
        use chrono::format::ParseErrorKind;
        let problem = match error.kind() {
            ParseErrorKind::NotEnough => {
                "it says too little: a year, a month and a day are needed, and of 12 hours which half"
            }
            ParseErrorKind::OutOfRange => "a part of it is out of its range",
            ParseErrorKind::Impossible => "its parts contradict each other",
            ParseErrorKind::TooShort => "it ends too early",
            ParseErrorKind::TooLong => "something follows it",
            _ => "a part of it does not fit",
        };
        TimeError::Pattern { format: self.format.clone(), problem: problem.into() }
    }
}
