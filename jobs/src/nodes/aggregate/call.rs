//! The calls of an aggregate: its functions, their arguments, and whether the two fit.

use arrow::datatypes::DataType;
use weir_operators::aggregate::{Function, is_defined};
use weir_operators::event_time::event_time_type;
use weir_operators::expression::{AggregateCall, AggregateFunction, Expression, ExpressionError, type_name};
use weir_operators::filters::FILTER_ID;
use weir_operators::schema::ColumnSchema;

use super::super::check::Check;
use weir_operators::definition::Mistake;

impl Check<'_> {
    /// One aggregate call.
    pub(super) fn call(&mut self, name: &str, text: &str, input: &ColumnSchema, is_filtered: bool) {
        match AggregateCall::parse(text) {
            Ok(call) => self.parsed_call(name, text, &call, input, is_filtered),
            Err(error) => {
                let mistake = Mistake::in_expression(self.path.key("select").key(name), &error);
                let names: Vec<&str> = AggregateFunction::all().map(AggregateFunction::name).collect();
                let is_unknown = matches!(error, ExpressionError::UnknownFunction { .. });
                self.mistakes.push(if is_unknown { mistake.one_of("aggregates", &names) } else { mistake });
            }
        }
    }

    /// One aggregate call that has been read, in an item of such a name and text.
    pub(in crate::nodes) fn parsed_call(
        &mut self,
        name: &str,
        text: &str,
        call: &AggregateCall,
        input: &ColumnSchema,
        is_filtered: bool,
    ) {
        let place = self.path.key("select").key(name);
        let read = call.expressions().map(|text| self.argument(name, text, input, is_filtered)).collect::<Vec<_>>();
        let Some(read) = read.into_iter().collect::<Option<Vec<_>>>() else { return };
        let mut read = read.into_iter();
        if let Some(of) = call.argument.as_ref().and_then(|_| read.next()) {
            let by = call.by.as_ref().and_then(|_| read.next());
            self.defined(name, text, call, (&of, by.as_ref()));
        }
        if let Some(filter) = call.filter.as_ref().and_then(|_| read.next())
            && *filter.data_type() != DataType::Boolean
        {
            let message = format!("a filter is true or false, and this is {}", type_name(filter.data_type()));
            let expected = "a condition, as in `count(*) filter (where cost > 0)`";
            self.mistakes.push(Mistake::new(place, message).found(text).expected(expected));
        }
    }

    /// One expression of a call; none: it makes no sense, which has been noted.
    pub(in crate::nodes) fn argument(
        &mut self,
        name: &str,
        text: &str,
        input: &ColumnSchema,
        is_filtered: bool,
    ) -> Option<Expression> {
        let place = self.path.key("select").key(name);
        match Expression::new(text, &input.to_arrow()) {
            Ok(expression)
                if is_filtered
                    && expression.as_column().is_none()
                    && expression.columns().any(|column| column == FILTER_ID) =>
            {
                let message = "an argument is computed before the filters, and can't read `filter_id`";
                let expected = "the conditions of the filters instead: `filter_id` is in the key";
                self.mistakes.push(Mistake::new(place, message).found(text).expected(expected));
                None
            }
            Ok(expression) => Some(expression),
            Err(error) => {
                // Positions within the argument are not positions within the call.
                let mistake = Mistake { position: None, ..Mistake::in_expression(place, &error) };
                self.mistakes.push(mistake);
                None
            }
        }
    }

    /// Notes a function that is not defined for what it is called with.
    fn defined(&mut self, name: &str, text: &str, call: &AggregateCall, (of, by): (&Expression, Option<&Expression>)) {
        let time = event_time_type();
        let by_type = match by {
            Some(by) => Some(by.data_type()),
            None => goes_by_time(call).then_some(&time),
        };
        if is_defined(function(call), of.data_type(), by_type) {
            return;
        }
        // Where it would be defined for two of the first, it is the second that does not fit.
        let second = by.filter(|_| is_defined(function(call), of.data_type(), Some(of.data_type())));
        let wrong = second.unwrap_or(of);
        let message = format!("`{}` is not defined for {}", call.function, type_name(wrong.data_type()));
        let place = self.path.key("select").key(name);
        self.mistakes.push(Mistake::new(place, message).found(text).expected(expected_of(call.function)));
    }
}

fn expected_of(function: AggregateFunction) -> &'static str {
    use AggregateFunction::{
        ApproxDistinct, ArrayAgg, BitAnd, BitOr, BitXor, BoolAnd, BoolOr, Count, FirstValue, LastValue, Max, MaxBy,
        Min, MinBy,
    };
    match function {
        Min | Max | FirstValue | LastValue | MinBy | MaxBy | ArrayAgg => "a number, a time, a text, bytes or a bool",
        ApproxDistinct | Count => "a value that can be compared for equality",
        BoolAnd | BoolOr => "a bool, such as a comparison",
        BitAnd | BitOr | BitXor => "a whole number",
        _ => "a number",
    }
}

/// Whether a value over a window is the sum of those over its pieces.
pub(super) fn adds_up(text: &str) -> bool {
    AggregateCall::parse(text)
        .is_ok_and(|call| matches!(call.function, AggregateFunction::Count | AggregateFunction::Sum) && !call.distinct)
}

/// Whether it counts rows, whatever is in them.
pub(super) fn counts_rows(text: &str) -> bool {
    let counts = |call: AggregateCall| call.function == AggregateFunction::Count && call.expressions().next().is_none();
    AggregateCall::parse(text).is_ok_and(counts)
}

/// Whether it chooses or sorts rows by their event time.
pub(super) fn goes_by_time(call: &AggregateCall) -> bool {
    use AggregateFunction::{ArrayAgg, FirstValue, LastValue};
    match call.function {
        FirstValue | LastValue => true,
        ArrayAgg => !call.distinct,
        _ => false,
    }
}

/// The operators' word for the function of a call. The first value is that with the smallest event time.
pub(super) fn function(call: &AggregateCall) -> Function {
    match call.function {
        AggregateFunction::Count if call.distinct => Function::CountDistinct,
        AggregateFunction::Count => Function::Count,
        AggregateFunction::Sum => Function::Sum,
        AggregateFunction::Min => Function::Min,
        AggregateFunction::Max => Function::Max,
        AggregateFunction::Avg => Function::Avg,
        AggregateFunction::ApproxDistinct => Function::ApproxDistinct,
        AggregateFunction::Var => Function::Var,
        AggregateFunction::VarPop => Function::VarPop,
        AggregateFunction::Stddev => Function::Stddev,
        AggregateFunction::StddevPop => Function::StddevPop,
        AggregateFunction::Covar => Function::Covar,
        AggregateFunction::CovarPop => Function::CovarPop,
        AggregateFunction::Corr => Function::Corr,
        AggregateFunction::BoolAnd => Function::BoolAnd,
        AggregateFunction::BoolOr => Function::BoolOr,
        AggregateFunction::BitAnd => Function::BitAnd,
        AggregateFunction::BitOr => Function::BitOr,
        AggregateFunction::BitXor => Function::BitXor,
        AggregateFunction::Median | AggregateFunction::PercentileCont => Function::PercentileCont,
        AggregateFunction::ApproxPercentileCont => Function::ApproxPercentileCont,
        AggregateFunction::FirstValue | AggregateFunction::MinBy => Function::MinBy,
        AggregateFunction::LastValue | AggregateFunction::MaxBy => Function::MaxBy,
        AggregateFunction::ArrayAgg if call.distinct => Function::ArrayAggDistinct,
        AggregateFunction::ArrayAgg => Function::ArrayAgg,
    }
}
