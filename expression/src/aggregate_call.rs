//! Aggregate calls as they stand in `select = { spend = "sum(cost * 2)" }`.

use std::fmt;

use datafusion_sql::sqlparser::ast::{
    DuplicateTreatment, Expr as SqlExpr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, ObjectNamePart,
    Spanned,
};
use serde::{Deserialize, Serialize};

use super::error::ExpressionError;
use super::parse::{parse_expression, position_of};
use super::stack::on_planner_stack;

/// An aggregate function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AggregateFunction {
    /// Rows, or rows whose argument is not null.
    Count,
    /// The sum of a number.
    Sum,
    /// The smallest value.
    Min,
    /// The largest value.
    Max,
    /// The mean of a number.
    Avg,
    /// About how many different values (HyperLogLog).
    ApproxDistinct,
}

impl AggregateFunction {
    /// All of them, in the order in which they are listed to people.
    pub const ALL: [Self; 6] = [Self::Count, Self::Sum, Self::Min, Self::Max, Self::Avg, Self::ApproxDistinct];

    /// The name as written in a definition.
    pub fn name(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Sum => "sum",
            Self::Min => "min",
            Self::Max => "max",
            Self::Avg => "avg",
            Self::ApproxDistinct => "approx_distinct",
        }
    }
}

impl fmt::Display for AggregateFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One aggregate call: a function, and the expression that it is applied to (none for `count(*)`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AggregateCall {
    /// What is computed.
    pub function: AggregateFunction,
    /// The text of the scalar expression that it is computed of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub argument: Option<String>,
}

impl AggregateCall {
    /// Reads a call such as `count(*)`, `sum(cost * 2)` or `approx_distinct(user_id)`.
    ///
    /// The argument is only parsed here: compile it with [`super::Expression::new`] to check its names and types.
    ///
    /// # Errors
    ///
    /// When the text is anything but one call of a known aggregate with one argument.
    pub fn parse(text: &str) -> Result<Self, ExpressionError> {
        on_planner_stack(|| Self::read(text))
    }

    fn read(text: &str) -> Result<Self, ExpressionError> {
        let expression = parse_expression(text)?;
        let SqlExpr::Function(call) = &expression else {
            let example = "`count(*)` or `sum(cost)`; what is computed from it goes into a map after it";
            return Err(unsupported(format!("this is not an aggregate call such as {example}"), &expression));
        };
        let function = function_of(call)?;
        refuse_clauses(call, &expression)?;
        let argument = argument_of(call, function, &expression)?;
        Ok(Self { function, argument })
    }
}

impl fmt::Display for AggregateCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.function, self.argument.as_deref().unwrap_or("*"))
    }
}

fn function_of(call: &Function) -> Result<AggregateFunction, ExpressionError> {
    let name = match call.name.0.as_slice() {
        [ObjectNamePart::Identifier(name)] => name.value.to_lowercase(),
        _ => call.name.to_string(),
    };
    AggregateFunction::ALL.into_iter().find(|function| function.name() == name).ok_or_else(|| {
        ExpressionError::UnknownFunction {
            name,
            known: AggregateFunction::ALL.iter().map(|function| function.name().to_owned()).collect(),
            position: call.name.0.first().and_then(|part| position_of(part.span().start)),
        }
    })
}

fn refuse_clauses(call: &Function, expression: &SqlExpr) -> Result<(), ExpressionError> {
    if call.over.is_some() {
        return Err(unsupported("the window is given by the node's `window`, not by OVER".into(), expression));
    }
    if call.filter.is_some() {
        let instead = "sum(case when ... then 1 else 0 end)";
        return Err(unsupported(format!("FILTER can't be used here; write `{instead}`"), expression));
    }
    let duplicates = match &call.args {
        FunctionArguments::List(list) => {
            if !list.clauses.is_empty() {
                return Err(unsupported("an aggregate takes no clauses here".into(), expression));
            }
            list.duplicate_treatment
        }
        _ => None,
    };
    if duplicates == Some(DuplicateTreatment::Distinct) {
        let what = "DISTINCT would keep every value; `approx_distinct(...)` counts them in constant space";
        return Err(unsupported(what.into(), expression));
    }
    Ok(())
}

fn argument_of(
    call: &Function,
    function: AggregateFunction,
    expression: &SqlExpr,
) -> Result<Option<String>, ExpressionError> {
    let arguments = match &call.args {
        FunctionArguments::List(list) => list.args.as_slice(),
        _ => &[],
    };
    match arguments {
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))] => Ok(Some(argument.to_string())),
        [FunctionArg::Unnamed(FunctionArgExpr::Wildcard)] if function == AggregateFunction::Count => Ok(None),
        [] if function == AggregateFunction::Count => Ok(None),
        _ => Err(unsupported(format!("`{function}` takes one argument, as in `{function}(cost)`"), expression)),
    }
}

fn unsupported(what: String, expression: &SqlExpr) -> ExpressionError {
    ExpressionError::Unsupported { what, position: position_of(expression.span().start) }
}
