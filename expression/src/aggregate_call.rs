//! Aggregate calls as they stand in `select = { spend = "sum(cost * 2) filter (where country = 'USA')" }`.

use std::fmt;

use datafusion_sql::sqlparser::ast::{
    DuplicateTreatment, Expr as SqlExpr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, ObjectNamePart,
    OrderByExpr, Spanned, UnaryOperator, Value,
};
use serde::{Deserialize, Serialize};

use super::aggregate_function::{AggregateFunction, Arguments};
use super::error::ExpressionError;
use super::parse::{parse_expression, position_of};
use super::stack::on_planner_stack;

/// The most values that a list may have.
const MOST_LISTED: f64 = 100_000.0;

/// One aggregate call: a function, and the expressions that it is applied to (none for `count(*)`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AggregateCall {
    /// What is computed.
    pub function: AggregateFunction,
    /// Whether each different value counts once. Only of `count` and `array_agg`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub distinct: bool,
    /// The text of the scalar expression that it is computed of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub argument: Option<String>,
    /// The text of the second one, of functions of two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Of a percentile the part, from 0 to 1; of a list how many values it has at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameter: Option<f64>,
    /// The text of a condition: only rows count for which it is true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
}

impl AggregateCall {
    /// A function of one expression, or of none.
    pub fn new(function: AggregateFunction, argument: Option<String>) -> Self {
        AggregateCall { function, distinct: false, argument, by: None, parameter: None, filter: None }
    }

    /// Reads a call such as `count(*)`, `sum(cost * 2)`, `max_by(country, cost)` or `count(distinct user_id)`.
    ///
    /// The arguments are only parsed here: compile them with [`super::Expression::new`] to check their names and types.
    ///
    /// # Errors
    ///
    /// When the text is anything but one call of a known aggregate with the arguments that it takes.
    pub fn parse(text: &str) -> Result<Self, ExpressionError> {
        on_planner_stack(|| Self::read(text))
    }

    /// The texts of all expressions that it is computed of.
    pub fn expressions(&self) -> impl Iterator<Item = &str> {
        [&self.argument, &self.by, &self.filter].into_iter().flatten().map(String::as_str)
    }

    fn read(text: &str) -> Result<Self, ExpressionError> {
        Self::of_syntax(&parse_expression(text)?)
    }

    /// The call that an expression is.
    pub(super) fn of_syntax(expression: &SqlExpr) -> Result<Self, ExpressionError> {
        let SqlExpr::Function(call) = expression else {
            let example = "`count(*)` or `sum(cost)`; what is computed from it goes into a map after it";
            return Err(unsupported(format!("this is not an aggregate call such as {example}"), expression));
        };
        let function = function_of(call)?;
        refuse_clauses(call, function, expression)?;
        let distinct = is_distinct(call, function, expression)?;
        let arguments = arguments_of(call, function, expression)?;
        let filter = call.filter.as_ref().map(ToString::to_string);
        Ok(Self { distinct, filter, ..arguments })
    }
}

impl fmt::Display for AggregateCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let distinct = if self.distinct { "distinct " } else { "" };
        write!(f, "{}({distinct}{}", self.function, self.argument.as_deref().unwrap_or("*"))?;
        if let Some(by) = &self.by {
            write!(f, ", {by}")?;
        }
        if let Some(parameter) = self.parameter.filter(|_| self.function != AggregateFunction::Median) {
            write!(f, ", {parameter}")?;
        }
        match &self.filter {
            Some(filter) => write!(f, ") filter (where {filter})"),
            None => f.write_str(")"),
        }
    }
}

fn function_of(call: &Function) -> Result<AggregateFunction, ExpressionError> {
    let name = match call.name.0.as_slice() {
        [ObjectNamePart::Identifier(name)] => name.value.to_lowercase(),
        _ => call.name.to_string(),
    };
    AggregateFunction::of_name(&name).ok_or_else(|| ExpressionError::UnknownFunction {
        name,
        known: AggregateFunction::all_names(),
        position: call.name.0.first().and_then(|part| position_of(part.span().start)),
    })
}

fn refuse_clauses(call: &Function, function: AggregateFunction, expression: &SqlExpr) -> Result<(), ExpressionError> {
    let refuse = |what: &str| Err(unsupported(what.to_owned(), expression));
    if call.over.is_some() {
        return refuse("which rows it is of is said by the node, not by OVER");
    }
    if call.null_treatment.is_some() {
        return refuse("IGNORE NULLS and RESPECT NULLS can't be used here: all but `array_agg` ignore nulls");
    }
    if !call.within_group.is_empty() && function.arguments() != Arguments::Part {
        return refuse("WITHIN GROUP is for percentiles");
    }
    match &call.args {
        FunctionArguments::List(list) if !list.clauses.is_empty() => refuse(
            "an aggregate takes no clauses between its brackets: lists, first and last values go by event time; \
             `min_by(x, y)` and `max_by(x, y)` by another column",
        ),
        _ => Ok(()),
    }
}

fn is_distinct(call: &Function, function: AggregateFunction, expression: &SqlExpr) -> Result<bool, ExpressionError> {
    let FunctionArguments::List(list) = &call.args else { return Ok(false) };
    if list.duplicate_treatment != Some(DuplicateTreatment::Distinct) {
        return Ok(false);
    }
    match function {
        AggregateFunction::Count | AggregateFunction::ArrayAgg => Ok(true),
        _ => {
            let what = "DISTINCT is for `count(distinct x)` and `array_agg(distinct x)`";
            Err(unsupported(what.into(), expression))
        }
    }
}

/// The call with its arguments, and nothing else of it.
fn arguments_of(
    call: &Function,
    function: AggregateFunction,
    whole: &SqlExpr,
) -> Result<AggregateCall, ExpressionError> {
    let given = match &call.args {
        FunctionArguments::List(list) => list.args.as_slice(),
        _ => &[],
    };
    let mut arguments = Vec::with_capacity(given.len());
    let mut is_of_rows = given.is_empty() && matches!(function.arguments(), Arguments::RowsOrOne);
    for argument in given {
        match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(argument)) => arguments.push(argument.clone()),
            FunctionArg::Unnamed(FunctionArgExpr::Wildcard) => is_of_rows = true,
            _ => return Err(takes(function, whole)),
        }
    }
    // `percentile_cont(0.5) within group (order by x)` is `percentile_cont(x, 0.5)`.
    match call.within_group.as_slice() {
        [] => {}
        [OrderByExpr { expr, options, .. }] if options.asc != Some(false) => arguments.insert(0, expr.clone()),
        _ => {
            let what = "WITHIN GROUP takes one expression, ascending, as in `within group (order by cost)`";
            return Err(unsupported(what.into(), whole));
        }
    }
    let distinct_rows = matches!(&call.args, FunctionArguments::List(list) if list.duplicate_treatment.is_some());
    let one = |argument: &SqlExpr| AggregateCall::new(function, Some(argument.to_string()));
    match (function.arguments(), arguments.as_slice()) {
        (Arguments::RowsOrOne, []) if is_of_rows && !distinct_rows => Ok(AggregateCall::new(function, None)),
        _ if is_of_rows => Err(takes(function, whole)),
        (Arguments::RowsOrOne | Arguments::One | Arguments::Limit, [argument]) => {
            let parameter = (function == AggregateFunction::Median).then_some(0.5);
            Ok(AggregateCall { parameter, ..one(argument) })
        }
        (Arguments::Two, [argument, by]) => Ok(AggregateCall { by: Some(by.to_string()), ..one(argument) }),
        (Arguments::Part, [argument, part]) => match number(part).filter(|part| (0.0..=1.0).contains(part)) {
            Some(part) => Ok(AggregateCall { parameter: Some(part), ..one(argument) }),
            None => {
                let what =
                    format!("`{part}` is no part of all values: a number from 0 to 1, as in `{}`", function.call());
                Err(unsupported(what, whole))
            }
        },
        (Arguments::Limit, [argument, limit]) => {
            let whole_number = |limit: &f64| limit.fract() == 0.0 && (1.0..=MOST_LISTED).contains(limit);
            match number(limit).filter(whole_number) {
                Some(limit) => Ok(AggregateCall { parameter: Some(limit), ..one(argument) }),
                None => {
                    let what = format!("`{limit}` is no number of values: a whole number from 1 to {MOST_LISTED}");
                    Err(unsupported(what, whole))
                }
            }
        }
        _ => Err(takes(function, whole)),
    }
}

fn takes(function: AggregateFunction, expression: &SqlExpr) -> ExpressionError {
    let arguments = match function.arguments() {
        Arguments::RowsOrOne => "one argument or `*`",
        Arguments::One => "one argument",
        Arguments::Two => "two arguments",
        Arguments::Part => "an argument, and a number from 0 to 1",
        Arguments::Limit => "one argument, and how many values at most if you like",
    };
    unsupported(format!("`{function}` takes {arguments}, as in `{}`", function.call()), expression)
}

/// The number that an expression is.
pub(super) fn number(expression: &SqlExpr) -> Option<f64> {
    match expression {
        SqlExpr::Value(value) => match &value.value {
            Value::Number(number, _) => number.to_string().parse().ok(),
            _ => None,
        },
        SqlExpr::UnaryOp { op: UnaryOperator::Minus, expr } => number(expr).map(|number| -number),
        SqlExpr::Nested(inner) => number(inner),
        _ => None,
    }
}

fn unsupported(what: String, expression: &SqlExpr) -> ExpressionError {
    ExpressionError::Unsupported { what, position: position_of(expression.span().start) }
}
