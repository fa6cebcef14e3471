//! Syntax tree to something that runs over columns, through DataFusion's planner and physical expressions.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Schema, TimeUnit};
use arrow::error::ArrowError;
use datafusion_common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion_common::{DFSchema, DataFusionError, ScalarValue, SchemaError};
use datafusion_expr::execution_props::ExecutionProps;
use datafusion_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion_expr::simplify::SimplifyContext;
use datafusion_expr::{ColumnarValue, Expr, ExprSchemable, Operator};
use datafusion_optimizer::simplify_expressions::ExprSimplifier;
use datafusion_physical_expr::expressions::BinaryExpr;
use datafusion_physical_expr::{PhysicalExpr, create_physical_expr};
use datafusion_sql::planner::{ParserOptions, PlannerContext, SqlToRel};
use datafusion_sql::sqlparser::ast::Expr as SqlExpr;

use super::error::ExpressionError;
use super::functions::FUNCTIONS;

/// An expression compiled for columns of certain physical types.
#[derive(Debug)]
pub(super) struct Compiled {
    physical: Arc<dyn PhysicalExpr>,
    /// The value, when it is the same for every row.
    constant: Option<ScalarValue>,
    /// The type of what comes out, before any cast to the declared one.
    pub(super) data_type: DataType,
    /// Whether nulls can come out.
    pub(super) nullable: bool,
}

impl Compiled {
    /// Plans, type-checks and simplifies the expression against exactly these fields.
    pub(super) fn new(expression: &SqlExpr, schema: &Schema) -> Result<Self, ExpressionError> {
        Self::plan(expression, schema).map_err(explain)
    }

    fn plan(expression: &SqlExpr, schema: &Schema) -> Result<Self, DataFusionError> {
        let schema = Arc::new(DFSchema::try_from(schema.clone())?);
        // Names are taken as written: columns of files that others wrote are often in mixed case.
        let options =
            ParserOptions::new().with_enable_ident_normalization(false).with_map_string_types_to_utf8view(false);
        let planner = SqlToRel::new_with_options(&*FUNCTIONS, options);
        let logical = planner.sql_to_expr(expression.clone(), &schema, &mut PlannerContext::new())?;
        let simplifier = ExprSimplifier::new(SimplifyContext::builder().with_schema(Arc::clone(&schema)).build());
        let typed = simplifier.simplify(simplifier.coerce(logical, &schema)?)?;
        let physical =
            create_physical_expr(&typed, &schema, &ExecutionProps::new(), &PhysicalPlanningContext::default())?;
        let physical = physical.transform_up(check_overflow).data()?;
        let constant = match &typed {
            Expr::Literal(value, _) => Some(value.clone()),
            _ => None,
        };
        Ok(Self { physical, constant, data_type: typed.get_type(&schema)?, nullable: typed.nullable(schema.as_ref())? })
    }

    /// The value, when it is the same for every row.
    pub(super) fn constant(&self) -> Option<&ScalarValue> {
        self.constant.as_ref()
    }

    /// Evaluates over all rows of a batch that has exactly the columns that this was compiled for.
    pub(super) fn evaluate(&self, batch: &RecordBatch, declared: &DataType) -> Result<ArrayRef, DataFusionError> {
        let array = match self.physical.evaluate(batch)? {
            ColumnarValue::Array(array) => array,
            ColumnarValue::Scalar(value) => value.to_array_of_size(batch.num_rows())?,
        };
        if array.data_type() == declared || (is_text(array.data_type()) && is_text(declared)) {
            return Ok(array);
        }
        // Nothing becomes null silently.
        Ok(cast_with_options(&array, declared, &CastOptions { safe: false, ..CastOptions::default() })?)
    }
}

/// Arithmetic that does not fit its type fails instead of coming out as something else: the results are billed.
fn check_overflow(expression: Arc<dyn PhysicalExpr>) -> Result<Transformed<Arc<dyn PhysicalExpr>>, DataFusionError> {
    let Some(binary) = expression.downcast_ref::<BinaryExpr>() else { return Ok(Transformed::no(expression)) };
    match binary.op() {
        Operator::Plus | Operator::Minus | Operator::Multiply => {
            Ok(Transformed::yes(Arc::new(binary.clone().with_fail_on_overflow(true))))
        }
        _ => Ok(Transformed::no(expression)),
    }
}

/// Whether an evaluation failed because of the values that it was given, and would not on others.
pub(super) fn is_of_values(error: &DataFusionError) -> bool {
    match error.find_root() {
        DataFusionError::Execution(_) | DataFusionError::External(_) => true,
        DataFusionError::ArrowError(error, _) => matches!(
            error.as_ref(),
            ArrowError::DivideByZero
                | ArrowError::ArithmeticOverflow(_)
                | ArrowError::CastError(_)
                | ArrowError::ParseError(_)
                | ArrowError::ComputeError(_)
                | ArrowError::InvalidArgumentError(_)
                | ArrowError::ExternalError(_)
                | ArrowError::DictionaryKeyOverflowError
                | ArrowError::OffsetOverflowError(_)
        ),
        _ => false,
    }
}

/// The physical types that all mean the declared type Utf8.
pub(super) fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, value) => is_text(value),
        _ => false,
    }
}

/// The type that a definition speaks of: every kind of text is Utf8, and seconds are milliseconds, which is what times are
/// stored in everywhere: seconds out of range are reported here, on their row, and not where they are stored.
pub(super) fn declared_type(data_type: &DataType) -> DataType {
    match data_type {
        text if is_text(text) => DataType::Utf8,
        DataType::Timestamp(TimeUnit::Second, zone) => DataType::Timestamp(TimeUnit::Millisecond, zone.clone()),
        other => other.clone(),
    }
}

/// A type as definitions speak of it, with an article.
pub fn type_name(data_type: &DataType) -> String {
    match declared_type(data_type) {
        DataType::Utf8 => "a string".into(),
        DataType::Boolean => "a bool".into(),
        DataType::Date32 => "a date".into(),
        DataType::Timestamp(TimeUnit::Millisecond, Some(zone)) if &*zone == "UTC" => "a timestamp".into(),
        DataType::Int64 => "an int".into(),
        DataType::Float64 => "a float".into(),
        DataType::Decimal128(digits, scale) => format!("a decimal({digits}, {scale})"),
        DataType::Timestamp(_, None) => "a timestamp without a zone".into(),
        DataType::Timestamp(TimeUnit::Microsecond, _) => "a timestamp in microseconds".into(),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => "a timestamp in nanoseconds".into(),
        DataType::Null => "always null".into(),
        DataType::Interval(_) | DataType::Duration(_) => "a span of time".into(),
        DataType::Struct(_) => "a struct of several fields".into(),
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) => "a list".into(),
        other => format!("of type {other}"),
    }
}

/// The planner's complaint in our words: without its prefixes, and sorted by what the user can do about it.
fn explain(error: DataFusionError) -> ExpressionError {
    let what = message_of(&error);
    match error.find_root() {
        DataFusionError::SchemaError(problem, _) => match problem.as_ref() {
            SchemaError::FieldNotFound { field, valid_fields } => ExpressionError::UnknownColumn {
                name: field.name.clone(),
                known: valid_fields.iter().map(|column| column.name.clone()).collect(),
                position: None,
            },
            _ => ExpressionError::Type { message: what },
        },
        DataFusionError::NotImplemented(_) => ExpressionError::Unsupported { what, position: None },
        _ => ExpressionError::Type { message: what },
    }
}

/// What failed, with what would avoid the common failures.
pub(super) fn with_advice(error: &DataFusionError) -> String {
    let advice = match error.find_root() {
        DataFusionError::ArrowError(error, _) => match error.as_ref() {
            ArrowError::DivideByZero => "; `x / nullif(y, 0)` yields null instead",
            ArrowError::ArithmeticOverflow(_) => "; `cast(... as double)` has room, and rounds",
            // A time that cannot be written in some format was not cast by the expression.
            ArrowError::CastError(message) if message == "Format error" => "",
            ArrowError::CastError(_) | ArrowError::ParseError(_) => "; `try_cast(... as ...)` yields null instead",
            _ => "",
        },
        _ => "",
    };
    format!("{}{advice}", message_of(error))
}

/// The innermost message, on one line and without a backtrace.
pub(super) fn message_of(error: &DataFusionError) -> String {
    let root = error.find_root();
    let message = match root {
        DataFusionError::ArrowError(inner, _) => inner.to_string(),
        other => other.message().into_owned(),
    };
    let message = message.split("\n\nbacktrace:").next().unwrap_or_default();
    let message = message.split(" No function matches the given name").next().unwrap_or_default();
    message.lines().next().unwrap_or_default().trim().to_owned()
}
