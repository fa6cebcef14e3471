//! Files of text that a job has committed, read by the words of the docs and not by the code that wrote them: JSON lines, and CSV in
//! which nothing is null and two quotes are an empty text. All columns come as texts; whoever knows their types converts them.

use anyhow::{Context, Result, bail, ensure};
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use serde_json::value::RawValue;
use std::{collections::BTreeMap, path::Path, sync::Arc};

/// Whether a file is one of text that is results, by its name.
pub(crate) fn is_text(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "jsonl" || extension == "csv")
}

/// The rows of a file.
pub(crate) fn read(path: &Path) -> Result<Vec<RecordBatch>> {
    let text = std::fs::read_to_string(path)?;
    ensure!(text.ends_with('\n'), "its last line has no end");
    let rows = match path.extension().is_some_and(|extension| extension == "csv") {
        true => csv(&text)?,
        false => objects(&text)?,
    };
    let Some(first) = rows.first() else { return Ok(Vec::new()) };
    let names: Vec<String> = first.iter().map(|(name, _)| name.clone()).collect();
    let mut columns: Vec<Vec<Option<String>>> = vec![Vec::new(); names.len()];
    for row in rows {
        ensure!(row.iter().map(|(name, _)| name).eq(&names), "rows have different columns: {row:?}");
        for (column, (_, value)) in columns.iter_mut().zip(row) {
            column.push(value);
        }
    }
    let columns = columns.into_iter().map(|column| Arc::new(StringArray::from(column)) as ArrayRef);
    Ok(vec![RecordBatch::try_from_iter_with_nullable(
        names.iter().zip(columns).map(|(name, column)| (name.as_str(), column, true)),
    )?])
}

type Row = Vec<(String, Option<String>)>;

fn objects(text: &str) -> Result<Vec<Row>> {
    let row = |line: &str| -> Result<Row> {
        let object: BTreeMap<String, &RawValue> = serde_json::from_str(line).with_context(|| line.to_owned())?;
        object.into_iter().map(|(name, value)| Ok((name, plain(value)?))).collect()
    };
    text.lines().map(row).collect()
}

/// Numbers as they stand there, to the last digit.
fn plain(value: &RawValue) -> Result<Option<String>> {
    Ok(match value.get() {
        "null" => None,
        text if text.starts_with('"') => Some(serde_json::from_str(text)?),
        other => Some(other.to_owned()),
    })
}

fn csv(text: &str) -> Result<Vec<Row>> {
    let mut records = records(text)?.into_iter();
    let header = records.next().context("it has no header")?;
    let names: Vec<String> = header.into_iter().map(Option::unwrap_or_default).collect();
    let row = |record: Vec<Option<String>>| -> Result<Row> {
        ensure!(record.len() == names.len(), "{record:?} has not as many values as there are columns");
        Ok(names.iter().cloned().zip(record).collect())
    };
    records.map(row).collect()
}

fn records(text: &str) -> Result<Vec<Vec<Option<String>>>> {
    let (mut records, mut record) = (Vec::new(), Vec::new());
    let mut rest = text;
    while !rest.is_empty() {
        let value;
        (value, rest) = match rest.strip_prefix('"') {
            Some(quoted) => closed(quoted)?,
            None => {
                let end = rest.find([',', '\n']).context("a record has no end")?;
                let (value, rest) = rest.split_at(end);
                ensure!(!value.contains('"'), "a quote in {value:?}");
                ((!value.is_empty()).then(|| value.to_owned()), rest)
            }
        };
        record.push(value);
        rest = match rest.split_at_checked(1) {
            Some((",", rest)) => rest,
            Some(("\n", rest)) => {
                records.push(std::mem::take(&mut record));
                rest
            }
            _ => bail!("neither a comma nor the end of a record follows a value"),
        };
    }
    ensure!(record.is_empty(), "the last record has no end");
    Ok(records)
}

/// A text up to its closing quote, and what follows.
fn closed(quoted: &str) -> Result<(Option<String>, &str)> {
    let (mut value, mut rest) = (String::new(), quoted);
    loop {
        let (piece, after) = rest.split_once('"').context("a quote is not closed")?;
        value.push_str(piece);
        match after.strip_prefix('"') {
            Some(after) => {
                value.push('"');
                rest = after;
            }
            None => return Ok((Some(value), after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_null_and_two_quotes_are_an_empty_text() {
        let text = |text: &str| Some(text.to_owned());
        let found = records("a,\"b \"\"c\"\"\n\"\n,\"\"\n").unwrap();
        assert_eq!(found, [vec![text("a"), text("b \"c\"\n")], vec![None, text("")]]);
        for wrong in ["a", "a,", "\"a", "\"a\"b\n", "a\"\n"] {
            assert!(records(wrong).is_err(), "{wrong:?}");
        }
    }
}
