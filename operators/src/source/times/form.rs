//! What a definition can say about how the times of a column are written.

use super::reader::TimeReader;
use serde::{Deserialize, Serialize};
use std::fmt;

/// How the times, or the days, of a column are written. Empty: in one of the usual forms.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeForm {
    /// What numbers count since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<EpochUnit>,
    /// The form of texts, as strftime has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// The zone of texts that say none: a name of the IANA database, or an offset. UTC unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
}

impl TimeForm {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        self.unit.is_none() && self.format.is_none() && self.timezone.is_none()
    }

    /// Checks the form for a column of times or, with `days`, of days.
    ///
    /// # Errors
    /// When a format cannot be read by, or a zone is unknown.
    pub fn check(&self, days: bool) -> Result<(), FormMistake> {
        let reader = TimeReader::new(self)?;
        if days { reader.check_days() } else { reader.check_times() }
    }
}

/// What is wrong with a form, and which key of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormMistake {
    /// `format` or `timezone`.
    pub key: &'static str,
    /// What is wrong, for people.
    pub message: String,
    /// What would be right.
    pub expected: &'static str,
}

impl fmt::Display for FormMistake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}; expected: {}", self.key, self.message, self.expected)
    }
}

/// What a number counts since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum EpochUnit {
    /// Seconds.
    #[serde(rename = "s")]
    Seconds,
    /// Milliseconds.
    #[serde(rename = "ms")]
    Milliseconds,
    /// Microseconds.
    #[serde(rename = "us")]
    Microseconds,
    /// Nanoseconds.
    #[serde(rename = "ns")]
    Nanoseconds,
}

impl EpochUnit {
    /// All of them, the longest first.
    pub const ALL: [EpochUnit; 4] =
        [EpochUnit::Seconds, EpochUnit::Milliseconds, EpochUnit::Microseconds, EpochUnit::Nanoseconds];

    /// As a definition has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Seconds => "s",
            Self::Milliseconds => "ms",
            Self::Microseconds => "us",
            Self::Nanoseconds => "ns",
        }
    }

    /// The unit's name for people, in the plural.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Seconds => "seconds",
            Self::Milliseconds => "milliseconds",
            Self::Microseconds => "microseconds",
            Self::Nanoseconds => "nanoseconds",
        }
    }

    /// Powers of ten from this unit to milliseconds.
    pub(super) fn to_milliseconds(self) -> i32 {
        match self {
            Self::Seconds => 3,
            Self::Milliseconds => 0,
            Self::Microseconds => -3,
            Self::Nanoseconds => -6,
        }
    }
}

impl fmt::Display for EpochUnit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}
