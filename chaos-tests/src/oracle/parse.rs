//! Reading clicks the plain way: a line at a time, split at commas or read by serde_json; Parquet by its own crate.

use crate::workload::{Click, InputFormat};
use anyhow::{Context, Result};
use arrow::{
    array::{Array, AsArray},
    datatypes::TimestampMillisecondType,
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::{fs::File, path::Path};

/// A line or a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// One that can be read.
    Click {
        /// What it says.
        click: Click,
        /// Where it begins, in bytes or rows.
        offset: i64,
    },
    /// One that cannot.
    DeadLetter {
        /// Where it begins, in bytes or rows.
        offset: i64,
    },
}

/// The year 2200: event times from here on, and those before 1970, are taken for mistakes.
const TOO_LATE_MS: i64 = 7_258_118_400_000;

/// All lines of a file.
pub fn parse_lines(content: &[u8], format: InputFormat, max_line_bytes: usize) -> Vec<Parsed> {
    let mut parsed = Vec::new();
    let mut offset = 0;
    for line in content.split_inclusive(|byte| *byte == b'\n') {
        let stripped = line.strip_suffix(b"\n").unwrap_or(line);
        let stripped = stripped.strip_suffix(b"\r").unwrap_or(stripped);
        let click = match std::str::from_utf8(stripped) {
            Ok(text) if stripped.len() <= max_line_bytes && !text.contains('\0') => match format {
                InputFormat::Json => parse_json(text),
                _ => parse_log(text),
            },
            _ => None,
        };
        parsed.push(match click.filter(|click| (0..TOO_LATE_MS).contains(&click.click_timestamp)) {
            Some(click) => Parsed::Click { click, offset },
            None => Parsed::DeadLetter { offset },
        });
        offset += line.len() as i64;
    }
    parsed
}

/// All lines of a file as records of a partition: the place of one is its number.
pub fn parse_records(content: &[u8], format: InputFormat, max_line_bytes: usize) -> Vec<Parsed> {
    let numbered = (0..).zip(parse_lines(content, format, max_line_bytes));
    let at = |(offset, parsed)| match parsed {
        Parsed::Click { click, .. } => Parsed::Click { click, offset },
        Parsed::DeadLetter { .. } => Parsed::DeadLetter { offset },
    };
    numbered.map(at).collect()
}

fn parse_log(line: &str) -> Option<Click> {
    let fields: Vec<&str> =
        line.strip_prefix("[AdClickEvent]")?.split(',').map(|field| field.trim_matches([' ', '\t'])).collect();
    if fields.len() != 5 && fields.len() != 6 {
        return None;
    }
    let given = |field: usize| fields.get(field).filter(|text| !text.is_empty()).map(|text| text.to_string());
    Some(Click {
        ad_id: fields[0].to_owned(),
        click_timestamp: parse_time(fields[1])?,
        user_id: given(2).unwrap_or_default(),
        ip: given(3).unwrap_or_default(),
        country: given(4),
        event_id: given(5),
    })
}

fn parse_json(line: &str) -> Option<Click> {
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line).ok()?;
    let text = |key: &str| match object.get(key) {
        None | Some(serde_json::Value::Null) => Some(None),
        Some(serde_json::Value::String(text)) => Some(Some(text.clone())),
        Some(_) => None,
    };
    let time = match object.get("click_timestamp")? {
        serde_json::Value::String(text) => parse_time(text)?,
        serde_json::Value::Number(number) => number.as_i64()?,
        _ => return None,
    };
    Some(Click {
        ad_id: text("ad_id")?.unwrap_or_default(),
        click_timestamp: time,
        user_id: text("user_id")?.unwrap_or_default(),
        ip: text("ip")?.unwrap_or_default(),
        country: text("country")?,
        event_id: text("event_id")?,
    })
}

/// `2022-03-04 00:00:01[.250]`, the only form that the tests write, in milliseconds.
pub fn parse_time(text: &str) -> Option<i64> {
    let (date, time) = text.split_once([' ', 'T'])?;
    let time = time.strip_suffix('Z').unwrap_or(time);
    let (time, fraction) = time.split_once('.').unwrap_or((time, ""));
    let numbers = |text: &str, by: char, widths: [usize; 3]| -> Option<[i64; 3]> {
        let parts: Vec<&str> = text.split(by).collect();
        let right = parts.len() == 3
            && parts
                .iter()
                .zip(widths)
                .all(|(part, width)| part.len() == width && part.bytes().all(|byte| byte.is_ascii_digit()));
        if !right {
            return None;
        }
        Some([parts[0].parse().ok()?, parts[1].parse().ok()?, parts[2].parse().ok()?])
    };
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
    if hour > 23 || minute > 59 || second > 59 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let milliseconds: i64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    let days = days_since_1970(year, month, day)?;
    Some(((days * 24 + hour) * 60 + minute) * 60_000 + second * 1_000 + milliseconds)
}

/// Days from 1970-01-01, by counting years and months; none where there is no such day.
fn days_since_1970(year: i64, month: i64, day: i64) -> Option<i64> {
    let is_leap = |year: i64| (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let days_in_year = |year: i64| if is_leap(year) { 366 } else { 365 };
    let lengths = [31, if is_leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let length = *lengths.get(usize::try_from(month).ok()?.checked_sub(1)?)?;
    if day < 1 || day > length {
        return None;
    }
    let years: i64 =
        if year >= 1970 { (1970..year).map(days_in_year).sum() } else { -(year..1970).map(days_in_year).sum::<i64>() };
    Some(years + lengths[..month as usize - 1].iter().sum::<i64>() + day - 1)
}

/// All rows of a Parquet file with the columns that the tests write.
///
/// # Errors
/// When it is not such a file.
pub fn parse_parquet(path: &Path) -> Result<Vec<Parsed>> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut parsed = Vec::new();
    for batch in ParquetRecordBatchReaderBuilder::try_new(file)?.build()? {
        let batch = batch?;
        let column = |name: &str| batch.column_by_name(name).with_context(|| format!("no column {name}"));
        let text = |name: &str, row: usize| -> Result<Option<String>> {
            let texts = column(name)?.as_string::<i32>();
            Ok(texts.is_valid(row).then(|| texts.value(row).to_owned()))
        };
        let times = column("click_timestamp")?.as_primitive::<TimestampMillisecondType>();
        for row in 0..batch.num_rows() {
            let offset = parsed.len() as i64;
            let right = times.is_valid(row) && (0..TOO_LATE_MS).contains(&times.value(row));
            parsed.push(match right {
                false => Parsed::DeadLetter { offset },
                true => {
                    let click = Click {
                        ad_id: text("ad_id", row)?.unwrap_or_default(),
                        click_timestamp: times.value(row),
                        user_id: text("user_id", row)?.unwrap_or_default(),
                        ip: text("ip", row)?.unwrap_or_default(),
                        country: text("country", row)?,
                        event_id: text("event_id", row)?,
                    };
                    Parsed::Click { click, offset }
                }
            });
        }
    }
    Ok(parsed)
}
