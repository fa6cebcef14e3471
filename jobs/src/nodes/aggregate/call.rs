//! The calls of an aggregate: its functions, their arguments, and whether the two fit.

use weir_operators::aggregate::{Function, is_defined};
use weir_operators::expression::{AggregateCall, AggregateFunction, Expression, type_name};
use weir_operators::filters::FILTER_ID;
use weir_operators::schema::ColumnSchema;

use super::super::check::Check;
use weir_operators::definition::Mistake;

impl Check<'_> {
    /// One aggregate call.
    pub(super) fn call(&mut self, name: &str, text: &str, input: &ColumnSchema, is_filtered: bool) {
        let place = self.path.key("select").key(name);
        let call = match AggregateCall::parse(text) {
            Ok(call) => call,
            Err(error) => return self.mistakes.push(Mistake::in_expression(place, &error)),
        };
        let Some(argument) = &call.argument else { return };
        match Expression::new(argument, &input.to_arrow()) {
            Ok(expression)
                if is_filtered
                    && expression.as_column().is_none()
                    && expression.columns().any(|column| column == FILTER_ID) =>
            {
                let message = "an argument is computed before the filters, and can't read `filter_id`";
                let expected = "the conditions of the filters instead: `filter_id` is in the key";
                self.mistakes.push(Mistake::new(place, message).found(text).expected(expected));
            }
            Ok(expression) if !is_defined(function(call.function), expression.data_type()) => {
                let message = format!("`{}` is not defined for {}", call.function, type_name(expression.data_type()));
                self.mistakes.push(Mistake::new(place, message).found(text).expected(expected_of(call.function)));
            }
            Ok(_) => {}
            Err(error) => {
                // Positions within the argument are not positions within the call.
                let mistake = Mistake { position: None, ..Mistake::in_expression(place, &error) };
                self.mistakes.push(mistake);
            }
        }
    }
}

fn expected_of(function: AggregateFunction) -> &'static str {
    match function {
        AggregateFunction::Min | AggregateFunction::Max => "a number, a date, a timestamp or a time",
        AggregateFunction::ApproxDistinct => "a value that can be compared for equality",
        _ => "a number",
    }
}

/// Whether a value over a window is the sum of those over its pieces.
pub(super) fn adds_up(text: &str) -> bool {
    AggregateCall::parse(text)
        .is_ok_and(|call| matches!(call.function, AggregateFunction::Count | AggregateFunction::Sum))
}

/// Whether it counts rows, whatever is in them.
pub(super) fn counts_rows(text: &str) -> bool {
    AggregateCall::parse(text).is_ok_and(|call| call.function == AggregateFunction::Count && call.argument.is_none())
}

/// The operators' word for a function.
pub(super) fn function(function: AggregateFunction) -> Function {
    match function {
        AggregateFunction::Count => Function::Count,
        AggregateFunction::Sum => Function::Sum,
        AggregateFunction::Min => Function::Min,
        AggregateFunction::Max => Function::Max,
        AggregateFunction::Avg => Function::Avg,
        AggregateFunction::ApproxDistinct => Function::ApproxDistinct,
    }
}
