//! Durations as people write them: `500ms`, `15s`, `10m`, `1h`, `2d`.

use std::time::Duration;

/// What a duration looks like, for messages.
pub const EXAMPLES: &str = "a number and a unit, as in \"500ms\", \"15s\", \"10m\", \"1h\" or \"2d\"";

/// Longer than any job runs, and short enough that sums of durations and event times cannot overflow.
const LONGEST_MS: u128 = 1_000 * 365 * 24 * 3_600_000;

/// Reads a duration; `None` when the text is not one, or longer than a thousand years.
pub fn parse(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let number: u64 = text[..digits].parse().ok()?;
    let unit_ms: u64 = match text[digits..].trim_start() {
        "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    let milliseconds = number.checked_mul(unit_ms)?;
    (u128::from(milliseconds) <= LONGEST_MS).then(|| Duration::from_millis(milliseconds))
}

/// What is wrong with a duration that is none only because of its size.
pub fn out_of_range(text: &str) -> Option<&'static str> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).filter(|digits| *digits > 0)?;
    match text[digits..].trim_start() {
        "ns" | "us" | "µs" => Some("finer than a millisecond, the resolution of times"),
        "ms" | "s" | "m" | "min" | "h" | "d" if parse(text).is_none() => Some("longer than a thousand years"),
        _ => None,
    }
}

/// Writes a duration of whole milliseconds in the largest unit that divides it.
pub fn show(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    for (unit, size) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
        if milliseconds > 0 && milliseconds.is_multiple_of(size) {
            return format!("{}{unit}", milliseconds / size);
        }
    }
    format!("{milliseconds}ms")
}

/// In milliseconds, as operators take it.
pub fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_out_of_range_are_told_from_others() {
        assert_eq!(out_of_range("1000000000d"), Some("longer than a thousand years"));
        assert_eq!(out_of_range("99999999999999999999s"), Some("longer than a thousand years"));
        assert!(out_of_range("1ns").unwrap().contains("millisecond"));
        assert_eq!(["15s", "15", "s", "-1s"].map(out_of_range), [None; 4]);
    }

    #[test]
    fn durations_are_read_and_written() {
        for text in ["500ms", "15s", "10m", "1h", "2d", "1500ms", "0ms"] {
            assert_eq!(show(parse(text).unwrap()), text);
        }
        assert_eq!(parse("90s"), Some(Duration::from_secs(90)));
        assert_eq!(parse(" 5 min "), Some(Duration::from_secs(300)));
        for text in
            ["", "15", "s", "-1s", "1.5s", "15 parsecs", "99999999999999999999s", "18446744073709551615d", "366001d"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
