//! Values of a row.

use sqlx::{Row, any::AnyRow};
use weir_engine::error::EngineError;

/// A value that is not what was asked for.
#[derive(Debug, thiserror::Error)]
#[error("the database gave no {wanted}: {cause}")]
pub struct Unreadable {
    wanted: &'static str,
    cause: sqlx::Error,
}

impl From<Unreadable> for EngineError {
    fn from(unreadable: Unreadable) -> Self {
        EngineError::io(unreadable.to_string())
    }
}

/// A whole number.
///
/// # Errors
/// When it is none.
pub fn integer(row: &AnyRow, column: usize) -> Result<i64, Unreadable> {
    row.try_get(column).map_err(|cause| Unreadable { wanted: "whole number", cause })
}

/// A whole number, or nothing.
///
/// # Errors
/// When it is something else.
pub fn integer_or_null(row: &AnyRow, column: usize) -> Result<Option<i64>, Unreadable> {
    row.try_get(column).map_err(|cause| Unreadable { wanted: "whole number", cause })
}

/// A text.
///
/// # Errors
/// When it is none.
pub fn text(row: &AnyRow, column: usize) -> Result<String, Unreadable> {
    row.try_get(column).map_err(|cause| Unreadable { wanted: "text", cause })
}

/// A text, or nothing.
///
/// # Errors
/// When it is something else.
pub fn text_or_null(row: &AnyRow, column: usize) -> Result<Option<String>, Unreadable> {
    row.try_get(column).map_err(|cause| Unreadable { wanted: "text", cause })
}

/// A floating-point number, or nothing. One that is whole may come as a whole number.
///
/// # Errors
/// When it is something else.
pub fn number_or_null(row: &AnyRow, column: usize) -> Result<Option<f64>, Unreadable> {
    match row.try_get::<Option<f64>, _>(column) {
        Ok(number) => Ok(number),
        Err(cause) => match integer_or_null(row, column) {
            Ok(number) => Ok(number.map(|number| number as f64)),
            Err(_) => Err(Unreadable { wanted: "number", cause }),
        },
    }
}

/// Bytes, or nothing.
///
/// # Errors
/// When it is something else.
pub fn bytes_or_null(row: &AnyRow, column: usize) -> Result<Option<Vec<u8>>, Unreadable> {
    row.try_get(column).map_err(|cause| Unreadable { wanted: "bytes", cause })
}

/// A text, or a whole number as text; `None` for nothing.
///
/// # Errors
/// When it is something else.
pub fn text_of(row: &AnyRow, column: usize) -> Result<Option<String>, Unreadable> {
    if let Ok(text) = row.try_get::<Option<String>, _>(column) {
        return Ok(text);
    }
    Ok(integer_or_null(row, column)?.map(|number| number.to_string()))
}
