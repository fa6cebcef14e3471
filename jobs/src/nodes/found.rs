//! What nodes find outside of the definition.

use weir_operators::schema::ColumnSchema;

use weir_operators::definition::Mistake;

/// What a look outside of the definition has shown.
#[derive(Debug, Clone, Default)]
pub(crate) struct Found {
    /// The columns of the files that a source reads, or why they are not known; none: they are declared.
    pub(crate) columns: Option<Result<ColumnSchema, String>>,
    /// What is wrong with it.
    pub(crate) mistakes: Vec<Mistake>,
}
