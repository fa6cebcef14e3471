//! Checks a parsed expression for names that don't exist and for SQL that is not supported here.
//!
//! The planner would find most of it too, but without a place to point at and without the names there are.

use std::ops::ControlFlow;

use arrow::datatypes::Schema;
use datafusion_sql::sqlparser::ast::{
    Expr as SqlExpr, Function, FunctionArguments, Ident, ObjectNamePart, Query, Spanned, Value, Visit, Visitor,
};

use super::error::{ExpressionError, Position};
use super::functions::{FUNCTIONS, Functions};
use super::over_item::LAG;
use super::parse::position_of;

/// The positions in `schema` of the columns that the expression reads, ascending, each once.
pub(super) fn columns_read(expression: &SqlExpr, schema: &Schema) -> Result<Vec<usize>, ExpressionError> {
    let mut check = Check { schema, columns: Vec::new() };
    if let ControlFlow::Break(error) = expression.visit(&mut check) {
        return Err(error);
    }
    check.columns.sort_unstable();
    check.columns.dedup();
    Ok(check.columns)
}

struct Check<'a> {
    schema: &'a Schema,
    columns: Vec<usize>,
}

impl Visitor for Check<'_> {
    type Break = ExpressionError;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<ExpressionError> {
        unsupported("a subquery can't be used here: an expression sees one row", position_of(query.span().start))
    }

    fn pre_visit_expr(&mut self, expression: &SqlExpr) -> ControlFlow<ExpressionError> {
        match expression {
            SqlExpr::Identifier(name) => self.column(name),
            SqlExpr::Function(function) => self.function(function),
            SqlExpr::CompoundIdentifier(names) => self.compound(expression, names),
            SqlExpr::CompoundFieldAccess { root, .. } => {
                let what = format!("`{expression}` can't be used here: `get_field({root}, 'name')` reads a field");
                unsupported(&what, place(root))
            }
            SqlExpr::Subquery(_) | SqlExpr::Exists { .. } | SqlExpr::InSubquery { .. } => {
                unsupported("a subquery can't be used here: an expression sees one row", place(expression))
            }
            SqlExpr::Lambda(_) => unsupported("lambda functions can't be used here", place(expression)),
            SqlExpr::Value(value) if matches!(value.value, Value::Placeholder(_)) => {
                unsupported("there are no parameters here; write the value", position_of(value.span.start))
            }
            _ => ControlFlow::Continue(()),
        }
    }
}

impl Check<'_> {
    /// `ad.id`
    fn compound(&self, expression: &SqlExpr, names: &[Ident]) -> ControlFlow<ExpressionError> {
        let position = names.first().and_then(|name| position_of(name.span.start));
        let whole = names.iter().map(|name| name.value.as_str()).collect::<Vec<_>>().join(".");
        let first = names.first().map_or("", |name| name.value.as_str());
        let what = if self.schema.index_of(&whole).is_ok() {
            quotes_needed(&whole)
        } else if let ([_, field], true) = (names, self.schema.index_of(first).is_ok()) {
            format!(
                "`{expression}` would be a table's column; `get_field({first}, '{}')` reads a field of `{first}`",
                field.value
            )
        } else {
            format!(
                "`{expression}` would be a table's column, and there are no tables here; a value inside of a JSON object is made a \
                 column in the source: schema = {{ {} = {{ type = \"string\", path = \"{whole}\" }} }}",
                whole.replace('.', "_")
            )
        };
        unsupported(&what, position)
    }

    /// Words such as `user` are functions of SQL that are called without brackets.
    fn function(&self, function: &Function) -> ControlFlow<ExpressionError> {
        let name = function.name.to_string();
        let is_bare = matches!(function.args, FunctionArguments::None);
        if is_bare && let Some(column) = self.named(&name) {
            let position = function.name.0.first().and_then(|part| position_of(part.span().start));
            return unsupported(&reserved(column), position);
        }
        check_function(function)
    }

    /// The column of this name, whatever its case.
    fn named(&self, name: &str) -> Option<&str> {
        let fields = self.schema.fields().iter().map(|field| field.name().as_str());
        fields.into_iter().find(|column| column.eq_ignore_ascii_case(name))
    }

    fn column(&mut self, name: &Ident) -> ControlFlow<ExpressionError> {
        match self.schema.index_of(&name.value) {
            Ok(index) => {
                self.columns.push(index);
                ControlFlow::Continue(())
            }
            Err(_) => ControlFlow::Break(ExpressionError::UnknownColumn {
                name: name.value.clone(),
                known: self.schema.fields().iter().map(|field| field.name().clone()).collect(),
                position: position_of(name.span.start),
            }),
        }
    }
}

/// What to do about a column whose name is a word of SQL.
pub(super) fn reserved(column: &str) -> String {
    format!("`{column}` is an SQL keyword: as a column's name it is written in double quotes, \"{column}\"")
}

/// What to do about a column whose name SQL takes for something else.
pub(super) fn quotes_needed(column: &str) -> String {
    format!("the column `{column}` is written in double quotes, \"{column}\": its name is not a plain SQL identifier")
}

fn check_function(function: &Function) -> ControlFlow<ExpressionError> {
    let position = function.name.0.first().and_then(|part| position_of(part.span().start));
    let name = match function.name.0.as_slice() {
        [ObjectNamePart::Identifier(name)] => name.value.to_lowercase(),
        _ => function.name.to_string(),
    };
    if function.over.is_some() {
        return unsupported("window functions (OVER) can't be used here: an expression sees one row", position);
    }
    if Functions::is_aggregate(&name) {
        let what = format!("`{name}` is an aggregate: it belongs in the `select` of an aggregate node");
        return unsupported(&what, position);
    }
    if name == LAG {
        return unsupported("`lag` looks at a row before: it belongs in the `select` of an `[over.NAME]`", position);
    }
    if FUNCTIONS.is_volatile(&name) {
        let what = format!("`{name}` gives a different result in every run; counts must come out the same in a replay");
        return unsupported(&what, position);
    }
    if !FUNCTIONS.contains(&name) {
        return ControlFlow::Break(ExpressionError::UnknownFunction { name, known: FUNCTIONS.names(), position });
    }
    ControlFlow::Continue(())
}

fn place(expression: &SqlExpr) -> Option<Position> {
    position_of(expression.span().start)
}

fn unsupported(what: &str, position: Option<Position>) -> ControlFlow<ExpressionError> {
    ControlFlow::Break(ExpressionError::Unsupported { what: what.to_owned(), position })
}
