//! The columns of Parquet files, looked up before a job starts.

use super::{listing::Location, parquet_split::open};
use arrow::datatypes::SchemaRef;
use weir_engine::error::{EngineError, Result};

/// The columns of the first file, by name, that a source with this path would read.
///
/// # Errors
/// When there is no file yet, or it cannot be read.
pub async fn parquet_schema(path: &str) -> Result<SchemaRef> {
    let files = Location::parse(path)?.list(Some("parquet")).await?;
    let Some(first) = files.first() else {
        return Err(EngineError::definition("there is no Parquet file yet to take the columns from"));
    };
    Ok(open(first).await?.schema().clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::{
        array::{ArrayRef, Int64Array},
        datatypes::DataType,
        record_batch::RecordBatch,
    };
    use parquet::arrow::ArrowWriter;
    use std::{fs, sync::Arc};

    fn write(path: &std::path::Path, column: &str) {
        let values: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        let rows = RecordBatch::try_from_iter([(column, values)]).unwrap();
        let mut writer = ArrowWriter::try_new(fs::File::create(path).unwrap(), rows.schema(), None).unwrap();
        writer.write(&rows).unwrap();
        writer.close().unwrap();
    }

    #[tokio::test]
    async fn the_first_file_decides() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        assert!(parquet_schema(path).await.unwrap_err().message.contains("no Parquet file yet"));
        fs::create_dir(folder.path().join("a")).unwrap();
        write(&folder.path().join("b.parquet"), "second");
        write(&folder.path().join("a/z.parquet"), "first");
        fs::write(folder.path().join("a/readme.txt"), "no Parquet").unwrap();
        let schema = parquet_schema(path).await.unwrap();
        assert_eq!((schema.field(0).name().as_str(), schema.field(0).data_type()), ("first", &DataType::Int64));
        let pattern = format!("{path}/b*.parquet");
        assert_eq!(parquet_schema(&pattern).await.unwrap().field(0).name(), "second");
        assert!(parquet_schema("no/such/folder").await.is_err());
    }
}
