//! The columns that files have in common, if none are declared.

use super::{adapt::common_type, file::ParquetFile};
use arrow::datatypes::{Field, Schema, SchemaRef};
use std::sync::Arc;
use weir_engine::error::{EngineError, Result};

/// The columns of all files, in the order in which they are found: of a type that all of them can be read as, and nullable
/// where some file lacks them.
///
/// # Errors
/// When a column means different things in two files: names both.
pub fn common_schema(files: &[Arc<ParquetFile>]) -> Result<SchemaRef> {
    let mut common: Vec<(Field, &str)> = Vec::new();
    for (index, file) in files.iter().enumerate() {
        for field in file.schema().fields() {
            match common.iter_mut().find(|(known, _)| known.name() == field.name()) {
                None => {
                    let nullable = field.is_nullable() || index > 0;
                    common.push((field.as_ref().clone().with_nullable(nullable), file.name()));
                }
                Some((known, first)) => {
                    let Some(data_type) = common_type(known.data_type(), field.data_type()) else {
                        return Err(EngineError::definition(format!(
                            "column '{}' is {} in {first}, but {} in {}: declare in `schema` what it is to be read as, and \
                             the other files become dead letters",
                            field.name(),
                            known.data_type(),
                            field.data_type(),
                            file.name()
                        )));
                    };
                    let nullable = known.is_nullable() || field.is_nullable() || data_type != *field.data_type();
                    *known = known.clone().with_data_type(data_type).with_nullable(nullable);
                }
            }
        }
        for (known, _) in &mut common {
            if file.schema().index_of(known.name()).is_err() {
                known.set_nullable(true);
            }
        }
    }
    Ok(Arc::new(Schema::new(common.into_iter().map(|(field, _)| field).collect::<Vec<_>>())))
}
