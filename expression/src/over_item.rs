//! Items of a `select` that sees a row and the rows before it: `count(*)`, `amount - lag(amount)`.
//!
//! The calls in it are taken out, and columns stand in their places: what is left is an expression over one row.

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{
    Expr as SqlExpr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectNamePart, Spanned,
    VisitMut, VisitorMut,
};

use super::aggregate_call::{AggregateCall, number};
use super::aggregate_function::AggregateFunction;
use super::error::ExpressionError;
use super::parse::{parse_expression, position_of};
use super::stack::on_planner_stack;

/// The function that looks at a row before.
pub(super) const LAG: &str = "lag";

/// The furthest row back that `lag` reaches.
pub const FURTHEST_LAG: u32 = 10_000;

/// An item, without its calls.
#[derive(Debug, Clone, PartialEq)]
pub struct OverItem {
    /// The text of an expression over the row's columns and those of the calls.
    pub expression: String,
    /// The calls, each with the name of the column that stands for it.
    pub calls: Vec<(String, OverCall)>,
}

/// A call that sees more than one row.
#[derive(Debug, Clone, PartialEq)]
pub enum OverCall {
    /// An aggregate.
    Aggregate(AggregateCall),
    /// The value of a row before this one.
    Lag {
        /// The text of the scalar expression.
        argument: String,
        /// How many rows before.
        rows: u32,
    },
}

impl OverItem {
    /// Reads an item; its calls become the columns `NAME/1`, `NAME/2` and so on.
    ///
    /// Arguments, and what is left, are only parsed here: compile them with [`super::Expression::new`] to check them.
    ///
    /// # Errors
    ///
    /// When it is no expression, or a call in it is not one of a known aggregate, or of `lag`, with the arguments that it takes.
    pub fn parse(name: &str, text: &str) -> Result<Self, ExpressionError> {
        on_planner_stack(|| {
            let mut expression = parse_expression(text)?;
            let mut taken = TakenOut { name, calls: Vec::new() };
            if let ControlFlow::Break(error) = expression.visit(&mut taken) {
                return Err(error);
            }
            let calls = taken.calls;
            // As written, where there is nothing to replace.
            let expression = if calls.is_empty() { text.to_owned() } else { expression.to_string() };
            Ok(OverItem { expression, calls })
        })
    }
}

struct TakenOut<'a> {
    name: &'a str,
    calls: Vec<(String, OverCall)>,
}

impl VisitorMut for TakenOut<'_> {
    type Break = ExpressionError;

    fn pre_visit_expr(&mut self, expression: &mut SqlExpr) -> ControlFlow<ExpressionError> {
        let call = match read(expression) {
            Ok(Some(call)) => call,
            Ok(None) => return ControlFlow::Continue(()),
            Err(error) => return ControlFlow::Break(error),
        };
        let column = match self.calls.iter().find(|(_, known)| *known == call) {
            Some((column, _)) => column.clone(),
            None => {
                let column = format!("{}/{}", self.name, self.calls.len() + 1);
                self.calls.push((column.clone(), call));
                column
            }
        };
        *expression = SqlExpr::Identifier(Ident::with_quote('"', column));
        ControlFlow::Continue(())
    }
}

/// The call that an expression is; none: it is another one.
fn read(expression: &SqlExpr) -> Result<Option<OverCall>, ExpressionError> {
    let SqlExpr::Function(call) = expression else { return Ok(None) };
    let [ObjectNamePart::Identifier(name)] = call.name.0.as_slice() else { return Ok(None) };
    match name.value.to_lowercase().as_str() {
        LAG => lag(call, expression).map(Some),
        name if AggregateFunction::of_name(name).is_some() => {
            Ok(Some(OverCall::Aggregate(AggregateCall::of_syntax(expression)?)))
        }
        _ => Ok(None),
    }
}

/// `lag(x)` or `lag(x, 2)`
fn lag(call: &Function, whole: &SqlExpr) -> Result<OverCall, ExpressionError> {
    let refuse = |what: String| {
        let position = position_of(whole.span().start);
        Err(ExpressionError::Unsupported { what, position })
    };
    if call.over.is_some() {
        return refuse("which rows are before a row is said by the node, not by OVER".into());
    }
    let FunctionArguments::List(list) = &call.args else { return refuse(takes()) };
    let is_plain = list.clauses.is_empty() && list.duplicate_treatment.is_none() && call.filter.is_none();
    if !is_plain || call.null_treatment.is_some() || !call.within_group.is_empty() {
        return refuse(
            "`lag` takes no clauses: `lag(amount, 2)` is the value of the second row before, null or not".into(),
        );
    }
    let argument = |argument: &FunctionArg| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(argument)) => Some(argument.clone()),
        _ => None,
    };
    let arguments: Option<Vec<SqlExpr>> = list.args.iter().map(argument).collect();
    match arguments.as_deref() {
        Some([value]) => Ok(OverCall::Lag { argument: value.to_string(), rows: 1 }),
        Some([value, rows]) => {
            let is_right = |rows: &f64| rows.fract() == 0.0 && (1.0..=f64::from(FURTHEST_LAG)).contains(rows);
            match number(rows).filter(is_right) {
                Some(number) => Ok(OverCall::Lag { argument: value.to_string(), rows: number as u32 }),
                None => refuse(format!("`{rows}` is no number of rows: a whole number from 1 to {FURTHEST_LAG}")),
            }
        }
        _ => refuse(takes()),
    }
}

fn takes() -> String {
    "`lag` takes an argument, and how many rows before if not one, as in `lag(amount)` and `lag(amount, 2)`".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> OverItem {
        OverItem::parse("x", text).unwrap()
    }

    fn refused(text: &str) -> String {
        OverItem::parse("x", text).unwrap_err().to_string()
    }

    #[test]
    fn calls_are_taken_out_of_an_expression() {
        let item = parsed("amount - lag(amount)");
        assert_eq!(item.expression, r#"amount - "x/1""#);
        let lag = |argument: &str, rows| OverCall::Lag { argument: argument.into(), rows };
        assert_eq!(item.calls, [("x/1".to_owned(), lag("amount", 1))]);
        let item = parsed("case when count(*) > 3 then LAG(a + 1, 2) else sum(a) / count(*) end");
        assert_eq!(item.calls.len(), 3, "the same call twice is one: {item:?}");
        assert_eq!(item.calls[1], ("x/2".to_owned(), lag("a + 1", 2)));
        assert!(matches!(&item.calls[0].1, OverCall::Aggregate(call) if call.argument.is_none()));
        assert_eq!(parsed("count(*) filter (where a > 1)").expression, r#""x/1""#);
    }

    #[test]
    fn what_calls_nothing_is_left_as_it_is() {
        let item = parsed("upper( \"user\" )");
        assert_eq!((item.expression.as_str(), item.calls.len()), ("upper( \"user\" )", 0));
    }

    #[test]
    fn wrong_calls_are_refused_with_what_is_right() {
        assert!(refused("lag()").contains("`lag(amount, 2)`"));
        for rows in ["0", "-1", "1.5", "n", "10001"] {
            assert!(refused(&format!("lag(a, {rows})")).contains("a whole number from 1 to 10000"), "{rows}");
        }
        assert!(refused("lag(a) over (order by b)").contains("not by OVER"));
        assert!(refused("lag(a) filter (where b)").contains("no clauses"));
        assert!(refused("1 + sum(a, b)").contains("takes one argument"));
        assert!(refused("count(*) over ()").contains("not by OVER"));
        assert!(refused("1 +").contains("expression"));
    }
}
