//! Points in event time as people write and read them: RFC 3339, or seconds since 1970.

use chrono::{DateTime, SecondsFormat};

/// What a point in time looks like, for messages.
pub const EXAMPLES: &str = "a time as in \"2022-03-04T00:00:00Z\", or seconds since 1970 as in \"1646352000\"";

/// Reads a point in time, in milliseconds since the epoch; `None` when the text is none.
pub fn parse(text: &str) -> Option<i64> {
    let text = text.trim();
    match text.parse::<i64>() {
        Ok(seconds) => seconds.checked_mul(1_000),
        Err(_) => Some(DateTime::parse_from_rfc3339(text).ok()?.timestamp_millis()),
    }
}

/// Writes a point in time as RFC 3339 in UTC; beyond the calendar, as milliseconds.
pub fn show(milliseconds: i64) -> String {
    match DateTime::from_timestamp_millis(milliseconds) {
        Some(time) => time.to_rfc3339_opts(SecondsFormat::AutoSi, true),
        None => format!("{milliseconds} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_and_written() {
        let start = 1_646_352_000_000;
        assert_eq!(parse("2022-03-04T00:00:00Z"), Some(start));
        assert_eq!(parse("2022-03-04T01:00:00+01:00"), Some(start));
        assert_eq!(parse(" 1646352000 "), Some(start));
        assert_eq!(show(start), "2022-03-04T00:00:00Z");
        assert_eq!(parse(&show(start + 7)), Some(start + 7));
        for text in ["", "yesterday", "2022-03-04", "9223372036854775807", "1.5"] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(show(i64::MAX), "9223372036854775807 ms");
    }
}
