//! Looks through a parsed expression for names that don't exist and for SQL that has no meaning here.
//!
//! The planner would find most of it too, but without a place to point at and without the names there are.

use std::ops::ControlFlow;

use arrow::datatypes::Schema;
use datafusion_sql::sqlparser::ast::{
    Expr as SqlExpr, Function, Ident, ObjectNamePart, Query, Spanned, Value, Visit, Visitor,
};

use super::error::{ExpressionError, Position};
use super::functions::{FUNCTIONS, Functions};
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
            SqlExpr::Function(function) => check_function(function),
            SqlExpr::CompoundIdentifier(names) => {
                let position = names.first().and_then(|name| position_of(name.span.start));
                unsupported(&format!("`{expression}` names a table; columns stand alone here"), position)
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
    if FUNCTIONS.is_volatile(&name) {
        let what = format!("`{name}` gives something else in every run; counts must come out the same in a replay");
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
