//! From Arrow's types to Parquet's, and to the few shapes that values have in a plain page.

use super::PageError;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, TimeUnit};
use parquet::arrow::ArrowSchemaConverter;
use parquet::basic::{LogicalType, Repetition, Type as PhysicalType};
use parquet::schema::types::{SchemaDescriptor, Type, TypePtr};
use std::sync::Arc;

/// Field metadata under which Arrow names an extension type, and the name of the one that is a Parquet logical type.
const EXTENSION_KEY: &str = "ARROW:extension:name";
const UUID_EXTENSION: &str = "arrow.uuid";

/// How values lie in a plain page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// One bit a value.
    Boolean,
    /// So many bytes a value, as in the Arrow buffer (of decimals, in the opposite order).
    Fixed(usize),
    /// A length in four bytes, then the bytes.
    Variable,
}

/// What is known of a column before the first batch.
#[derive(Debug)]
pub(super) struct Column {
    pub name: String,
    pub nullable: bool,
    pub shape: Shape,
    /// Whether smallest and largest value are recorded (timestamps: replays skip row groups by them).
    pub timestamp: bool,
    /// Type that batches must have.
    declared: DataType,
    /// Type that values are cast to before they are written, where Parquet has none as small or as coarse.
    pub stored: DataType,
}

impl Column {
    fn new(field: &Field) -> Result<Self, PageError> {
        let declared = field.data_type().clone();
        let stored = stored_type(&declared);
        let Some(shape) = shape(&stored) else {
            return Err(PageError::UnsupportedType { column: field.name().clone(), data_type: declared });
        };
        let timestamp = matches!(declared, DataType::Timestamp(..));
        Ok(Self { name: field.name().clone(), nullable: field.is_nullable(), shape, timestamp, declared, stored })
    }

    /// Refuses a batch's column that does not fit. Strings may come in any of their Arrow forms.
    pub fn check_type(&self, found: &DataType) -> Result<(), PageError> {
        if *found == self.declared || (is_string(found) && is_string(&self.declared)) {
            return Ok(());
        }
        Err(PageError::TypeMismatch {
            column: self.name.clone(),
            expected: self.declared.clone(),
            found: found.clone(),
        })
    }
}

/// The columns of a file, the Arrow schema as stored, and the Parquet schema.
pub(super) fn plan(schema: &Schema) -> Result<(Vec<Column>, Schema, SchemaDescriptor), PageError> {
    let columns = schema.fields().iter().map(|field| Column::new(field)).collect::<Result<Vec<_>, _>>()?;
    let (stored, descriptor) = parquet_schema(schema)?;
    Ok((columns, stored, descriptor))
}

/// The schemas of a file of these columns: Arrow's as stored (seconds become milliseconds), and Parquet's, with UUIDs marked
/// as such. For writers that take columns of more types than this one.
///
/// # Errors
/// When a column has a type that has no plain form.
pub fn parquet_schema(schema: &Schema) -> Result<(Schema, SchemaDescriptor), PageError> {
    for field in schema.fields() {
        Column::new(field)?;
    }
    let stored = as_stored(schema);
    let converted = ArrowSchemaConverter::new().schema_root("schema").convert(&stored)?;
    let mut fields: Vec<TypePtr> = converted.root_schema().get_fields().to_vec();
    for (parquet, arrow) in fields.iter_mut().zip(schema.fields()) {
        if is_uuid(arrow) {
            *parquet = Arc::new(uuid_type(arrow)?);
        }
    }
    let root = Type::group_type_builder("schema").with_fields(fields).build()?;
    Ok((stored, SchemaDescriptor::new(Arc::new(root))))
}

/// Parquet has no timestamps in seconds: they are kept as milliseconds.
fn as_stored(schema: &Schema) -> Schema {
    let fields: Vec<FieldRef> = schema
        .fields()
        .iter()
        .map(|field| match field.data_type() {
            DataType::Timestamp(..) => Arc::new(field.as_ref().clone().with_data_type(stored_type(field.data_type()))),
            _ => Arc::clone(field),
        })
        .collect();
    Schema::new_with_metadata(fields, schema.metadata().clone())
}

fn stored_type(declared: &DataType) -> DataType {
    match declared {
        DataType::Int8 | DataType::Int16 => DataType::Int32,
        DataType::UInt8 | DataType::UInt16 => DataType::UInt32,
        DataType::Timestamp(TimeUnit::Second, zone) => DataType::Timestamp(TimeUnit::Millisecond, zone.clone()),
        // Parquet keeps a decimal in the bytes that its precision needs. Of the two largest precisions these are all sixteen.
        DataType::Decimal128(..=9, _) => DataType::Int32,
        DataType::Decimal128(10..=18, _) => DataType::Int64,
        DataType::Decimal128(precision @ 19..=36, _) => DataType::FixedSizeBinary(decimal_bytes(*precision)),
        other => other.clone(),
    }
}

/// The fewest bytes that hold every number of so many digits.
fn decimal_bytes(precision: u8) -> i32 {
    let holds = |bytes: &i32| 10i128.pow(u32::from(precision)) <= 1 << (8 * bytes - 1);
    (1..16).find(holds).unwrap_or(16)
}

fn shape(stored: &DataType) -> Option<Shape> {
    match stored {
        DataType::Boolean => Some(Shape::Boolean),
        DataType::Int32 | DataType::UInt32 | DataType::Float32 | DataType::Date32 => Some(Shape::Fixed(4)),
        DataType::Time32(TimeUnit::Millisecond) => Some(Shape::Fixed(4)),
        DataType::Int64 | DataType::UInt64 | DataType::Float64 | DataType::Timestamp(..) => Some(Shape::Fixed(8)),
        DataType::Time64(_) | DataType::Duration(_) => Some(Shape::Fixed(8)),
        DataType::FixedSizeBinary(width) => usize::try_from(*width).ok().filter(|width| *width > 0).map(Shape::Fixed),
        DataType::Decimal128(37 | 38, _) => Some(Shape::Fixed(16)),
        DataType::Binary => Some(Shape::Variable),
        string if is_string(string) => Some(Shape::Variable),
        _ => None,
    }
}

fn is_string(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(key, value) => {
            matches!(key.as_ref(), DataType::Int32 | DataType::UInt32) && **value == DataType::Utf8
        }
        _ => false,
    }
}

fn is_uuid(field: &Field) -> bool {
    *field.data_type() == DataType::FixedSizeBinary(16)
        && field.metadata().get(EXTENSION_KEY).is_some_and(|name| name == UUID_EXTENSION)
}

fn uuid_type(field: &Field) -> Result<Type, PageError> {
    let repetition = if field.is_nullable() { Repetition::OPTIONAL } else { Repetition::REQUIRED };
    let uuid = Type::primitive_type_builder(field.name(), PhysicalType::FIXED_LEN_BYTE_ARRAY)
        .with_repetition(repetition)
        .with_logical_type(Some(LogicalType::Uuid))
        .with_length(16);
    Ok(uuid.build()?)
}
