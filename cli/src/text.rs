//! Numbers, sizes, spans and moments as people read them; and standard output, which may close before we do.

use crate::failure::Failure;
use indicatif::HumanCount;
use std::{
    io::{ErrorKind, Write},
    time::Duration,
};

/// `12,345,678`
pub fn number(number: u64) -> String {
    HumanCount(number).to_string()
}

/// `1.4 MB`, in powers of ten. (`indicatif`'s sizes have a digit too many to be read in passing, and its durations a unit too
/// few: `2 minutes`.)
pub fn bytes(bytes: u64) -> String {
    let mut size = bytes as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if size < 1000.0 {
            return if unit == "B" { format!("{bytes} B") } else { format!("{size:.1} {unit}") };
        }
        size /= 1000.0;
    }
    format!("{size:.1} TB")
}

/// `restoring 1.2 GB of 2.0 GB`
pub fn restoring(restored: u64, all: u64) -> String {
    format!("restoring {} of {}", bytes(restored), bytes(all))
}

/// `0.7 ms`, `12 ms`, `3.4 s`, `2 min 5 s`
pub fn span(span: Duration) -> String {
    let milliseconds = span.as_secs_f64() * 1000.0;
    match milliseconds {
        ms if ms < 10.0 => format!("{ms:.1} ms"),
        ms if ms < 1000.0 => format!("{ms:.0} ms"),
        ms if ms < 60_000.0 => format!("{:.1} s", ms / 1000.0),
        ms => format!("{} min {} s", (ms / 60_000.0) as u64, (ms / 1000.0) as u64 % 60),
    }
}

/// `2022-03-04 00:00:01 UTC`
pub fn moment(milliseconds: i64) -> String {
    arrow::temporal_conversions::timestamp_ms_to_datetime(milliseconds).map_or_else(
        || format!("{milliseconds} ms since 1970"),
        |time| format!("{} UTC", time.format("%Y-%m-%d %H:%M:%S")),
    )
}

/// `1 event`, `2 events`
pub fn count_of(count: u64, one: &str) -> String {
    format!("{} {one}{}", number(count), if count == 1 { "" } else { "s" })
}

/// Writes to standard output. A reader that has had enough (`weir explain JOB | head`) is no failure.
pub fn print(text: &str) -> Result<(), Failure> {
    write(text.as_bytes()).map(|_| ())
}

/// Writes to standard output; says whether anybody still reads.
pub fn write(bytes: &[u8]) -> Result<bool, Failure> {
    let mut output = std::io::stdout().lock();
    match output.write_all(bytes).and_then(|()| output.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::failed(format!("cannot write to standard output: {error}"))),
    }
}

/// A table with a heading, numbers to the right.
pub fn table(columns: &[String], rows: &[Vec<String>]) -> String {
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::NOTHING);
    table.set_header(columns);
    for row in rows {
        table.add_row(row);
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        let numeric = rows.iter().all(|row| row[index].is_empty() || row[index].parse::<f64>().is_ok());
        let leading_zero = rows.iter().any(|row| row[index].len() > 1 && row[index].starts_with('0'));
        if numeric && !leading_zero {
            column.set_cell_alignment(comfy_table::CellAlignment::Right);
        }
    }
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// Two columns: names to the left, values right-aligned where they are numbers.
pub fn pairs(rows: &[(String, String)]) -> String {
    let wide = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let numeric = |value: &str| value.starts_with(|c: char| c.is_ascii_digit()) && !value.contains(' ');
    let right = rows.iter().filter(|(_, value)| numeric(value)).map(|(_, value)| value.len()).max().unwrap_or(0);
    let mut text = String::new();
    for (name, value) in rows {
        let value = if numeric(value) { format!("{value:>right$}") } else { value.clone() };
        text.push_str(&format!("  {name:<wide$}  {value}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        let numbers = [0, 999, 1_000, 12_345, 123_456, 1_234_567];
        assert_eq!(numbers.map(number), ["0", "999", "1,000", "12,345", "123,456", "1,234,567"]);
    }

    #[test]
    fn sizes_and_spans_have_a_fitting_unit() {
        assert_eq!([999, 1_000, 1_440_000].map(bytes), ["999 B", "1.0 kB", "1.4 MB"]);
        let spans = [700, 12_000, 3_400_000, 125_000_000].map(Duration::from_micros);
        assert_eq!(spans.map(span), ["0.7 ms", "12 ms", "3.4 s", "2 min 5 s"]);
    }

    #[test]
    fn moments_are_in_utc() {
        assert_eq!(moment(1_646_352_001_000), "2022-03-04 00:00:01 UTC");
        assert_eq!(moment(i64::MAX), format!("{} ms since 1970", i64::MAX));
    }
}
