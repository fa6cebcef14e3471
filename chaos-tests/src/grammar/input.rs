//! Rows for drawn jobs: out of order, repeated, late, with nulls, empty and odd texts, ties and numbers of all sizes. All of them
//! follow from a seed.
//!
//! Rows with the same id are copies of one another, in the same source, so that it does not matter which of them is kept.

use super::job::{Format, Source};
use anyhow::{Context, Result};
use arrow::{
    array::{
        ArrayRef, BooleanArray, Decimal128Array, Float64Array, Int64Array, RecordBatch, StringArray,
        TimestampMillisecondArray,
    },
    datatypes::{DataType, Field, Schema},
};
use parquet::{arrow::ArrowWriter, file::properties::WriterProperties};
use rand::{RngExt, rngs::StdRng};
use serde_json::{Value, json};
use std::{fmt::Write as _, fs, path::Path, sync::Arc};

/// A row.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    id: Option<String>,
    /// Event time in milliseconds.
    pub happened: i64,
    who: Option<String>,
    zone: String,
    n: Option<i64>,
    big: Option<i64>,
    price: Option<f64>,
    odd: Option<f64>,
    ok: Option<bool>,
    code: Option<String>,
    /// In hundredths.
    cost: Option<i64>,
}

/// The files of each source, each with its rows in their order.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// By source.
    pub sources: Vec<Vec<Vec<Row>>>,
}

/// How time goes in an input, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// When the first rows happen.
    pub begin_ms: i64,
    /// From the first to the last row.
    pub span_ms: i64,
    /// How far rows are out of order, as a rule.
    pub disorder_ms: i64,
    /// How far a few of them are.
    pub late_ms: i64,
    /// Moments are multiples of it, so that some are equal.
    pub grain_ms: i64,
}

impl Input {
    /// An input for a number of sources.
    pub fn draw(dice: &mut StdRng, sources: usize, times: Times) -> Self {
        let one_late_in = [4, 12, 60][dice.random_range(0..3)];
        let mut input = Input { sources: Vec::new() };
        for source in 0..sources {
            let mut known: Vec<Row> = Vec::new();
            let files = (0..dice.random_range(1..4)).map(|file| {
                let rows = [0, 3, 40, 80, 120, 150, 200, 200][dice.random_range(0..8)];
                let row = |place: i64| {
                    let now = times.begin_ms + times.span_ms * place / rows.max(40);
                    let behind = match dice.random_range(0..one_late_in) {
                        0 => dice.random_range(0..=times.late_ms),
                        turn if turn % 3 == 1 => 0,
                        _ => dice.random_range(0..=times.disorder_ms),
                    };
                    let fresh = Row::draw(
                        dice,
                        format!("{source}-{file}-{place}"),
                        (now - behind) / times.grain_ms * times.grain_ms,
                    );
                    // A file that continues a day ahead is another matter: its time would have to be believed first.
                    let of = known.len().saturating_sub(1 + dice.random_range(0..40));
                    let earlier = known.get(of).filter(|row| dice.random_range(0..6) == 0 && row.is_near(now));
                    let row = earlier.cloned().unwrap_or(fresh);
                    known.push(row.clone());
                    row
                };
                (0..rows).map(row).collect()
            });
            let files = files.collect();
            input.sources.push(files);
        }
        input
    }

    /// The rows of all files.
    pub fn rows(&self) -> impl Iterator<Item = &Row> {
        self.sources.iter().flatten().flatten()
    }

    /// Writes the files of all sources, and beside them all rows as `NAME.jsonl`, for whoever counts them again.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, folder: &Path, sources: &[Source]) -> Result<()> {
        for (source, files) in sources.iter().zip(&self.sources) {
            let of_source = folder.join(&source.name);
            fs::create_dir_all(&of_source)?;
            let mut all = String::new();
            for (number, rows) in files.iter().enumerate() {
                let path = of_source.join(format!("{number}.{}", source.format.name()));
                match source.format {
                    Format::Json => fs::write(&path, rows.iter().map(Row::json_line).collect::<String>())?,
                    Format::Csv => fs::write(&path, csv(rows))?,
                    Format::Parquet => write_parquet(&path, rows)?,
                }
                for (place, row) in rows.iter().enumerate() {
                    let mut told = row.json();
                    told["file"] = number.into();
                    told["place"] = place.into();
                    // A number with a point would be read as a float.
                    told["cost"] = row.cost_text().into();
                    let _ = writeln!(all, "{told}");
                }
            }
            fs::write(folder.join(format!("{}.jsonl", source.name)), all)?;
        }
        Ok(())
    }
}

impl Row {
    fn draw(dice: &mut StdRng, id: String, happened: i64) -> Self {
        let texts = ["ann", "bob", "", "Zoë", "o'neil", "a,b", "say \"hi\"", "two\nlines", "漢字", "ann ", "null"];
        let bigs = [i64::MAX, i64::MIN, i64::MAX - 1, 4_611_686_018_427_387_904, 1 << 53, (1 << 53) + 1, -1, 0, 7];
        let odds = [0.1, 0.2, 0.3, 1e16, -1e16, 1e-9, 3.0, -0.7, 1e300, 123_456.789];
        let codes = ["1", "22", "333", "x", "", "9223372036854775808", "-5", "1.5"];
        let mut null = |one_in: u32| dice.random_range(0..one_in) == 0;
        let nulls = [null(30), null(9), null(9), null(5), null(8), null(6), null(7), null(12), null(8)];
        let mut any = |of: usize| dice.random_range(0..of);
        let (who, big, odd, code) =
            (texts[any(11).min(any(11))], bigs[any(9)], odds[any(10)], codes[any(8).min(any(8))]);
        let zone = ["east", "west", "north"][any(3).min(any(3))];
        let (n, price, cost) = (any(121) as i64 - 20, any(6_400) as f64 / 64.0 - 20.0, any(1_000_000) as i64 - 1_000);
        let ok = any(3) > 0;
        Row {
            id: (!nulls[0]).then_some(id),
            happened,
            who: (!nulls[1]).then(|| who.to_owned()),
            zone: zone.to_owned(),
            n: (!nulls[2]).then_some(n),
            big: (!nulls[3]).then_some(big),
            price: (!nulls[4]).then_some(price),
            odd: (!nulls[5]).then_some(odd),
            ok: (!nulls[6]).then_some(ok),
            code: (!nulls[7]).then(|| code.to_owned()),
            cost: (!nulls[8]).then_some(cost),
        }
    }

    fn is_near(&self, moment: i64) -> bool {
        (self.happened - moment).abs() < 8 * 3_600_000
    }

    fn cost_text(&self) -> Option<String> {
        self.cost.map(|cost| format!("{}{}.{:02}", if cost < 0 { "-" } else { "" }, cost.abs() / 100, cost.abs() % 100))
    }

    fn json(&self) -> Value {
        json!({
            "id": self.id, "happened": self.happened, "who": self.who, "zone": self.zone, "n": self.n, "big": self.big,
            "price": self.price, "odd": self.odd, "ok": self.ok, "code": self.code,
        })
    }

    fn json_line(&self) -> String {
        // A decimal has all its digits, as no float has.
        let cost = self.cost_text().unwrap_or_else(|| "null".to_owned());
        let told = self.json().to_string();
        format!("{}, \"cost\": {cost}}}\n", &told[..told.len() - 1])
    }
}

/// An empty text is in quotes, and a null is nothing.
fn csv(rows: &[Row]) -> String {
    let names = super::written::INPUT.map(|(name, _)| name);
    let mut text = names.join(",") + "\n";
    let quoted = |value: &Option<String>| value.as_ref().map(|value| format!("\"{}\"", value.replace('"', "\"\"")));
    for row in rows {
        let shown = [
            quoted(&row.id),
            Some(row.happened.to_string()),
            quoted(&row.who),
            Some(row.zone.clone()),
            row.n.map(|n| n.to_string()),
            row.big.map(|big| big.to_string()),
            row.price.map(|price| price.to_string()),
            row.odd.map(|odd| odd.to_string()),
            row.ok.map(|ok| ok.to_string()),
            quoted(&row.code),
            row.cost_text(),
        ];
        text.push_str(&shown.map(Option::unwrap_or_default).join(","));
        text.push('\n');
    }
    text
}

/// Row groups are small, so that a file has several.
const ROWS_PER_GROUP: usize = 50;

fn write_parquet(path: &Path, rows: &[Row]) -> Result<()> {
    let text = |of: fn(&Row) -> Option<&str>| -> ArrayRef { Arc::new(rows.iter().map(of).collect::<StringArray>()) };
    let happened = TimestampMillisecondArray::from_iter_values(rows.iter().map(|row| row.happened));
    let cost: Decimal128Array = rows.iter().map(|row| row.cost.map(i128::from)).collect();
    let columns: Vec<ArrayRef> = vec![
        text(|row| row.id.as_deref()),
        Arc::new(happened.with_timezone("UTC")),
        text(|row| row.who.as_deref()),
        text(|row| Some(&row.zone)),
        Arc::new(rows.iter().map(|row| row.n).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| row.big).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| row.price).collect::<Float64Array>()),
        Arc::new(rows.iter().map(|row| row.odd).collect::<Float64Array>()),
        Arc::new(rows.iter().map(|row| row.ok).collect::<BooleanArray>()),
        text(|row| row.code.as_deref()),
        Arc::new(cost.with_precision_and_scale(12, 2)?),
    ];
    let names = super::written::INPUT.iter().map(|(name, _)| *name);
    let fields = names.zip(&columns).map(|(name, column)| Field::new(name, DataType::clone(column.data_type()), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(ROWS_PER_GROUP)).build();
    let file = fs::File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
    let mut writer = ArrowWriter::try_new(file, Arc::clone(&schema), Some(properties))?;
    writer.write(&RecordBatch::try_new(schema, columns)?)?;
    writer.close()?;
    Ok(())
}
