//! What a table can take: a row that its database would refuse is separated before it is staged, since a commit is
//! decided by then and must not fail.

use crate::{
    expression::RefusedRow,
    schema::{Column, ColumnSchema},
};
use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch},
    compute::cast,
    datatypes::DataType,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use weir_engine::error::{EngineError, Result};
use weir_store::Dialect;

/// What an entry of an index of PostgreSQL may take in bytes: a third of a page, less what the entry itself needs.
const MOST_INDEX_BYTES: usize = 2_680;

/// What one column of such an entry needs beside its value, at most.
const INDEX_COLUMN_BYTES: usize = 12;

/// The rule of one table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableRule {
    /// The table's name, for people.
    pub table: String,
    /// The kind of its database.
    pub dialect: Dialect,
    /// The columns of the primary key, and the revision: none of them is null.
    pub needed: Vec<String>,
    /// The columns of the primary key.
    pub key: Vec<String>,
    /// The columns of each other index.
    #[serde(default)]
    pub indexes: Vec<Vec<String>>,
}

impl TableRule {
    /// Whether it can refuse a row of these columns at all.
    pub fn may_refuse(&self, columns: &ColumnSchema) -> bool {
        let any =
            |names: &[String], of: fn(&Column) -> bool| names.iter().filter_map(|name| columns.column(name)).any(of);
        let indexed = || self.indexes.iter().chain([&self.key]);
        any(&self.needed, |column| column.nullable)
            || (self.dialect == Dialect::Postgres
                && indexed().any(|names| any(names, |column| varies(&column.data_type))))
    }

    /// The rows that the table cannot take, in order, with the reason.
    ///
    /// # Errors
    /// When a column is missing.
    pub fn refused(&self, rows: &RecordBatch) -> Result<Vec<RefusedRow>> {
        let mut refused = self.refused_keys(rows)?;
        if self.dialect == Dialect::Postgres {
            for index in &self.indexes {
                self.too_long(rows, index, "an index", &mut refused)?;
            }
        }
        Ok(refused.into_iter().map(|(row, reason)| RefusedRow { row, reason }).collect())
    }

    /// True for the rows whose key the table can take; none: that is all of them.
    ///
    /// # Errors
    /// When a column is missing.
    pub fn with_key(&self, rows: &RecordBatch) -> Result<Option<BooleanArray>> {
        let refused = self.refused_keys(rows)?;
        if refused.is_empty() {
            return Ok(None);
        }
        Ok(Some((0..rows.num_rows()).map(|row| Some(!refused.contains_key(&row))).collect()))
    }

    fn refused_keys(&self, rows: &RecordBatch) -> Result<BTreeMap<usize, String>> {
        let mut refused = BTreeMap::new();
        for name in &self.needed {
            let Some(nulls) = self.column(rows, name)?.logical_nulls().filter(|nulls| nulls.null_count() > 0) else {
                continue;
            };
            for row in (0..rows.num_rows()).filter(|row| nulls.is_null(*row)) {
                refused.entry(row).or_insert_with(|| {
                    let table = &self.table;
                    format!(
                        "'{name}' is null, and is in the key of the table '{table}': `coalesce({name}, '')` gives it a value"
                    )
                });
            }
        }
        if self.dialect == Dialect::Postgres {
            for name in &self.key {
                self.with_zeros(rows, name, &mut refused)?;
            }
            self.too_long(rows, &self.key, "the key", &mut refused)?;
        }
        Ok(refused)
    }

    /// Texts with the character 0 are no texts of PostgreSQL. Changed ones in a key could be the key of another row.
    fn with_zeros(&self, rows: &RecordBatch, name: &str, refused: &mut BTreeMap<usize, String>) -> Result<()> {
        let column = self.column(rows, name)?;
        if !is_text(column.data_type()) {
            return Ok(());
        }
        let texts = cast(column, &DataType::Utf8)?;
        let texts = texts.as_string::<i32>();
        if !texts.value_data().contains(&0) {
            return Ok(());
        }
        for row in (0..texts.len()).filter(|row| texts.is_valid(*row) && texts.value(*row).contains('\0')) {
            refused.entry(row).or_insert_with(|| {
                let table = &self.table;
                format!(
                    "'{name}' contains the character 0 (NUL), which PostgreSQL text cannot contain, and is in the key of the table '{table}'"
                )
            });
        }
        Ok(())
    }

    fn too_long(
        &self,
        rows: &RecordBatch,
        names: &[String],
        what: &str,
        refused: &mut BTreeMap<usize, String>,
    ) -> Result<()> {
        let mut bytes = vec![0usize; rows.num_rows()];
        for name in names {
            add_bytes(self.column(rows, name)?, &mut bytes)?;
        }
        for (row, bytes) in bytes.into_iter().enumerate().filter(|(_, bytes)| *bytes > MOST_INDEX_BYTES) {
            refused.entry(row).or_insert_with(|| {
                let (table, names) = (&self.table, names.join(", "));
                format!(
                    "{names} take {bytes} bytes together in {what} of the table '{table}', and PostgreSQL has room for \
                     {MOST_INDEX_BYTES}: `substr(x, 1, 200)` or `md5(x)` makes a text shorter"
                )
            });
        }
        Ok(())
    }

    fn column<'a>(&self, rows: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef> {
        rows.column_by_name(name).ok_or_else(|| {
            EngineError::internal(format!("rows for the table '{}' have no column '{name}'", self.table))
        })
    }
}

/// Whether values of a type are of no fixed length.
fn varies(data_type: &DataType) -> bool {
    match data_type {
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => true,
        other => is_text(other),
    }
}

fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, values) => is_text(values),
        _ => false,
    }
}

/// Adds what each value takes in an index.
fn add_bytes(column: &ArrayRef, bytes: &mut [usize]) -> Result<()> {
    if !varies(column.data_type()) {
        // The longest of the others are numbers of 38 digits.
        bytes.iter_mut().for_each(|bytes| *bytes += 24 + INDEX_COLUMN_BYTES);
        return Ok(());
    }
    let values = cast(column, &DataType::Binary)?;
    let values = values.as_binary::<i32>();
    for (row, bytes) in bytes.iter_mut().enumerate() {
        *bytes += INDEX_COLUMN_BYTES + if values.is_valid(row) { values.value(row).len() } else { 0 };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{DictionaryArray, Int64Array, StringArray};
    use arrow::datatypes::Int32Type;
    use std::sync::Arc;

    fn rule(dialect: Dialect) -> TableRule {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        TableRule {
            table: "counts".into(),
            dialect,
            needed: names(&["ad", "n"]),
            key: names(&["ad", "n"]),
            indexes: vec![names(&["note"])],
        }
    }

    fn rows() -> RecordBatch {
        let long = "x".repeat(MOST_INDEX_BYTES);
        let ads: DictionaryArray<Int32Type> =
            [Some("a"), None, Some("b\0"), Some(long.as_str()), Some(""), Some("c")].into_iter().collect();
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(2), Some(3), None, Some(4)]));
        let notes: ArrayRef = Arc::new(StringArray::from(vec![None, None, None, None, None, Some(long.as_str())]));
        RecordBatch::try_from_iter_with_nullable([
            ("ad", Arc::new(ads) as _, true),
            ("n", numbers, true),
            ("note", notes, true),
        ])
        .unwrap()
    }

    fn told(dialect: Dialect) -> Vec<(usize, String)> {
        let refused = rule(dialect).refused(&rows()).unwrap();
        refused.into_iter().map(|refused| (refused.row, refused.reason)).collect()
    }

    #[test]
    fn a_row_without_a_key_is_refused_by_every_database() {
        let told = told(Dialect::Sqlite);
        assert_eq!(told.iter().map(|(row, _)| *row).collect::<Vec<_>>(), [1, 4]);
        assert!(told[0].1.starts_with("'ad' is null, and is in the key of the table 'counts'"), "{told:?}");
        assert!(told[1].1.starts_with("'n' is null"), "{told:?}");
    }

    #[test]
    fn what_only_postgresql_refuses_is_refused_for_it_alone() {
        let told = told(Dialect::Postgres);
        assert_eq!(told.iter().map(|(row, _)| *row).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        assert!(told[1].1.contains("(NUL)"), "{told:?}");
        assert!(told[2].1.contains("in the key of the table"), "{told:?}");
        assert!(told[4].1.contains("in an index of the table"), "{told:?}");
        let kept = rule(Dialect::Postgres).with_key(&rows()).unwrap().unwrap();
        assert_eq!(kept.iter().flatten().collect::<Vec<_>>(), [true, false, false, false, false, true]);
    }

    #[test]
    fn where_nothing_can_be_refused_nobody_has_to_look() {
        let column = |name: &str, data_type, nullable| Column { name: name.into(), data_type, nullable };
        let columns = |ad, nullable| ColumnSchema {
            columns: vec![
                column("ad", ad, nullable),
                column("n", DataType::Int64, false),
                column("note", DataType::Utf8, true),
            ],
        };
        let number = columns(DataType::Int64, false);
        assert!(!rule(Dialect::Sqlite).may_refuse(&number));
        assert!(rule(Dialect::Postgres).may_refuse(&number), "the note has an index");
        assert!(rule(Dialect::Sqlite).may_refuse(&columns(DataType::Int64, true)));
        assert!(!rule(Dialect::Sqlite).may_refuse(&columns(DataType::Utf8, false)));
        assert!(rule(Dialect::Postgres).may_refuse(&columns(DataType::Utf8, false)));
    }
}
