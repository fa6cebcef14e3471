//! Folders by hour, as in `hour=2022-03-04T00`: the only copy of the rule by which files are written and found again.

use chrono::{DateTime, NaiveDateTime};

/// An hour in milliseconds.
pub const HOUR_MS: i64 = 3_600_000;

/// What the names of such folders begin with.
const PREFIX: &str = "hour=";

/// Folder of rows that have no time; the name that Hive gave it.
const NO_HOUR: &str = "hour=__HIVE_DEFAULT_PARTITION__";

/// The folder of an hour, counted in hours since 1970; `None`: of rows without a time.
pub fn folder(hour: Option<i64>) -> String {
    let time = hour.and_then(|hour| hour.checked_mul(HOUR_MS)).and_then(DateTime::from_timestamp_millis);
    match (hour, time) {
        (None, _) => NO_HOUR.into(),
        (_, Some(time)) => format!("{PREFIX}{}", time.format("%Y-%m-%dT%H")),
        // Beyond the calendar: still a folder of its own.
        (Some(hour), None) => format!("{PREFIX}{hour}"),
    }
}

/// The hour that a file belongs to by the innermost such folder that it lies in: its start in milliseconds since 1970.
/// `None` when it lies in none, or in one whose hour is not in the calendar.
pub fn hour_of(file: &str) -> Option<i64> {
    let (folders, _) = file.rsplit_once('/')?;
    let hour = folders.rsplit('/').find_map(|folder| folder.strip_prefix(PREFIX))?;
    // Where paths are percent-encoded nothing of the format is: it has no character that would be.
    let start = NaiveDateTime::parse_from_str(&format!("{hour}:00:00"), "%Y-%m-%dT%H:%M:%S").ok()?;
    Some(start.and_utc().timestamp_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_found_again() {
        for hour in [0, 457_320, -1] {
            assert_eq!(hour_of(&format!("out/raw/{}/part-1.parquet", folder(Some(hour)))), Some(hour * HOUR_MS));
        }
        assert_eq!(hour_of("s3://b/hour=2022-03-04T00/hour=2022-03-04T05/a.parquet"), Some(1_646_370_000_000));
        for file in
            ["a.parquet", "raw/a.parquet", "hour=2022-03-04/a", "hour=2562047788015/a", "raw/hour=2022-03-04T00"]
        {
            assert_eq!(hour_of(file), None, "{file}");
        }
        assert_eq!(hour_of(&format!("{}/a.parquet", folder(None))), None);
    }
}
