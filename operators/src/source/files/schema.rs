//! The columns of Parquet and Avro files, looked up before a job starts.

use super::{
    avro_bytes::FileBytes,
    listing::{FoundFile, Location, OtherNames, Wanted},
    parquet_split::open,
};
use crate::source::parquet::{ParquetFile, common_schema, is_damage};
use arrow::datatypes::SchemaRef;
use futures::{StreamExt, TryStreamExt};
use std::sync::Arc;
use weir_engine::error::{EngineError, Result};

/// Files whose footers are read side by side.
const SIDE_BY_SIDE: usize = 16;

/// The columns of all files that a source with this path would read; of an archive, which one job has written, those of the
/// oldest file and the newest.
///
/// # Errors
/// When there is no file yet, when none can be read, and when a column means different things in two of them.
pub async fn parquet_schema(path: &str, is_archive: bool) -> Result<SchemaRef> {
    let mut files = Location::parse(path)?.list(Wanted::Parquet, OtherNames::PassOver).await?;
    if files.is_empty() {
        return Err(EngineError::definition("there is no Parquet file yet to take the columns from"));
    }
    if is_archive && files.len() > 2 {
        files.drain(1..files.len() - 1);
    }
    // A damaged file is reported when it is read.
    let mut damage = None;
    let opened: Vec<Option<Arc<ParquetFile>>> = futures::stream::iter(files.iter().map(open_unless_damaged))
        .buffered(SIDE_BY_SIDE)
        .map_ok(|opened| opened.map_err(|error| damage = Some(error)).ok())
        .try_collect()
        .await?;
    let opened: Vec<Arc<ParquetFile>> = opened.into_iter().flatten().collect();
    match damage {
        Some(error) if opened.is_empty() => Err(error),
        _ => common_schema(&opened),
    }
}

/// The schema of the last by name of all Avro files that a source with this path would read, as JSON: mostly that is the newest.
///
/// # Errors
/// When there is no file yet, and when none can be read.
pub(super) async fn avro_schema(path: &str) -> Result<String> {
    let files = Location::parse(path)?.list(Wanted::Avro, OtherNames::PassOver).await?;
    let mut problem = "there is no Avro file yet to take the columns from".to_owned();
    // A damaged file is reported when it is read.
    for file in files.iter().rev() {
        match FileBytes::open(file)?.header().await? {
            Ok(header) => return Ok(header.schema().text().to_owned()),
            Err(damage) => problem = format!("{}: {damage}", file.name),
        }
    }
    Err(EngineError::definition(problem))
}

async fn open_unless_damaged(file: &FoundFile) -> Result<Result<Arc<ParquetFile>>> {
    match open(file).await {
        Err(error) if !is_damage(&error) => Err(error),
        other => Ok(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::{
        array::{ArrayRef, Int32Array, Int64Array, StringArray},
        datatypes::DataType,
        record_batch::RecordBatch,
    };
    use parquet::arrow::ArrowWriter;
    use std::{fs, sync::Arc};

    fn write(path: &std::path::Path, column: &str) {
        write_values(path, column, Arc::new(Int64Array::from(vec![1])));
    }

    fn write_values(path: &std::path::Path, column: &str, values: ArrayRef) {
        let rows = RecordBatch::try_from_iter([(column, values)]).unwrap();
        let mut writer = ArrowWriter::try_new(fs::File::create(path).unwrap(), rows.schema(), None).unwrap();
        writer.write(&rows).unwrap();
        writer.close().unwrap();
    }

    #[tokio::test]
    async fn the_columns_of_all_files_are_put_together() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        let columns = async |path: &str| {
            let schema = parquet_schema(path, false).await.unwrap();
            schema.fields().iter().map(|field| field.to_string()).collect::<Vec<_>>()
        };
        assert!(parquet_schema(path, false).await.unwrap_err().message.contains("no Parquet file yet"));
        fs::create_dir(folder.path().join("a")).unwrap();
        write(&folder.path().join("b.parquet"), "second");
        write(&folder.path().join("a/z.parquet"), "first");
        write_values(&folder.path().join("c.parquet"), "first", Arc::new(Int32Array::from(vec![1])));
        fs::write(folder.path().join("a/readme.txt"), "no Parquet").unwrap();
        fs::write(folder.path().join("a/damaged.parquet"), "PAR1").unwrap();
        let found = parquet_schema(path, false).await.unwrap();
        let of = |name: &str| {
            (
                found.field_with_name(name).unwrap().data_type().clone(),
                found.field_with_name(name).unwrap().is_nullable(),
            )
        };
        assert_eq!((of("first"), of("second")), ((DataType::Int64, true), (DataType::Int64, true)));
        assert_eq!(columns(&format!("{path}/b*.parquet")).await.len(), 1);
        assert!(parquet_schema("no/such/folder", false).await.is_err());
        assert!(
            parquet_schema(&format!("{path}/a/d*.parquet"), false)
                .await
                .unwrap_err()
                .message
                .contains("damaged.parquet")
        );

        write_values(&folder.path().join("d.parquet"), "first", Arc::new(StringArray::from(vec!["1"])));
        let message = parquet_schema(path, false).await.unwrap_err().message;
        assert!(message.contains("column 'first' is Int64 in") && message.contains("but Utf8 in"), "{message}");
        assert!(message.contains("a/z.parquet") && message.contains("d.parquet"), "{message}");
    }
}
