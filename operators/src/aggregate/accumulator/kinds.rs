//! Which kind of states a function takes for arguments of which types.

use super::super::config::{AggregateCall, Function};
use super::approximate::Histogram;
use super::bag::Bag;
use super::best::Best;
use super::bits::{BitOperation, Bits};
use super::counts::Counts;
use super::decimals::{ABOVE, DecimalExtremes, DecimalSums};
use super::distinct::DistinctValues;
use super::extremes::{Extremes, is_ranked};
use super::float_sums::{FLOAT_SUM_TYPE, FloatSums};
use super::integer_sums::{IntegerSums, SUM_TYPE};
use super::lists::Lists;
use super::moments::{Moment, Moments};
use super::percentiles::Percentiles;
use super::sketches::Sketches;
use super::values::ValueType;
use super::{CallTypes, GroupStates};
use arrow::datatypes::{DataType, Field, Fields};
use weir_engine::{EngineError, Result, hash::can_be_hashed};

/// No group yet, of a function over arguments.
///
/// # Errors
/// When it is not defined for them.
pub(super) fn of_arguments(call: &AggregateCall, types: CallTypes<'_>) -> Result<Box<dyn GroupStates>> {
    let missing = || EngineError::internal(format!("'{}' has no argument", call.output));
    let Some(argument) = types.argument.map(plain) else {
        return match call.function {
            Function::Count => Ok(Box::new(Counts::default())),
            _ => Err(missing()),
        };
    };
    let refuse = |right: &str| Err(not_defined(call, argument, right));
    Ok(match call.function {
        Function::Count => Box::new(Counts::default()),
        Function::ApproxDistinct | Function::CountDistinct if !can_be_hashed(argument) => {
            return refuse("it is for values that are equal or not");
        }
        Function::ApproxDistinct => Box::new(Sketches::default()),
        Function::CountDistinct => Box::new(DistinctValues::default()),
        Function::Sum | Function::Avg => return sums(call, argument),
        Function::Min | Function::Max => return extremes(call, argument),
        Function::BoolAnd | Function::BoolOr if *argument != DataType::Boolean => {
            return refuse("it is for truth values, such as the result of a comparison");
        }
        // False is the smallest.
        Function::BoolAnd => Box::new(Extremes::new(false, DataType::Boolean)),
        Function::BoolOr => Box::new(Extremes::new(true, DataType::Boolean)),
        Function::BitAnd | Function::BitOr | Function::BitXor if !argument.is_integer() => {
            return refuse("it is for whole numbers");
        }
        Function::BitAnd => Box::new(Bits::new(BitOperation::And, argument.clone())),
        Function::BitOr => Box::new(Bits::new(BitOperation::Or, argument.clone())),
        Function::BitXor => Box::new(Bits::new(BitOperation::Xor, argument.clone())),
        Function::PercentileCont | Function::ApproxPercentileCont => {
            let part = call.parameter.filter(|part| (0.0..=1.0).contains(part));
            let part =
                part.ok_or_else(|| EngineError::internal(format!("'{}' has no part from 0 to 1", call.output)))?;
            match (is_float_like(argument), call.function) {
                (false, _) => return refuse("it is for numbers"),
                (true, Function::PercentileCont) => Box::new(Percentiles::<Bag>::new(part)),
                (true, _) => Box::new(Percentiles::<Histogram>::new(part)),
            }
        }
        Function::MinBy | Function::MaxBy => {
            let by = plain(types.by.ok_or_else(missing)?);
            let (Some(value), Some(order)) = (ValueType::new(argument), ValueType::new(by)) else {
                let wrong = if ValueType::new(argument).is_none() { argument } else { by };
                return Err(not_defined(call, wrong, "it is for numbers, times, texts, bytes and truth values"));
            };
            Box::new(Best::new(call.function == Function::MaxBy, value, Some(order)))
        }
        Function::ArrayAgg | Function::ArrayAggDistinct => {
            let limit = call.parameter.filter(|limit| (1.0..=MOST_LISTED as f64).contains(limit));
            let limit = limit.map_or(LISTED, |limit| limit as usize);
            let Some(value) = ValueType::new(argument) else {
                return refuse("it is for numbers, times, texts, bytes and truth values");
            };
            Box::new(Lists::new(value, call.function == Function::ArrayAggDistinct, limit))
        }
        moments => {
            let Some(moment) = moment(moments) else { return Err(missing()) };
            let by = types.by.map(plain);
            match (is_float_like(argument), moment.is_of_two(), by) {
                (false, ..) => return refuse("it is for numbers"),
                (true, true, None) => return Err(missing()),
                (true, true, Some(by)) if !is_float_like(by) => return Err(not_defined(call, by, "it is for numbers")),
                _ => Box::new(Moments::new(moment)),
            }
        }
    })
}

/// The values that a list has at most, where its call does not say.
pub(in super::super) const LISTED: usize = 1_000;
/// The values that a call may ask for at most.
pub(in super::super) const MOST_LISTED: usize = 100_000;

fn sums(call: &AggregateCall, argument: &DataType) -> Result<Box<dyn GroupStates>> {
    let mean = call.function == Function::Avg;
    Ok(match argument {
        t if t.is_integer() => Box::new(IntegerSums::new(mean)),
        t if t.is_floating() => Box::new(FloatSums::new(mean)),
        DataType::Decimal128(_, scale) => Box::new(DecimalSums::new(mean, *scale)),
        _ => return Err(not_defined(call, argument, "cast it to BIGINT or DOUBLE in a map before")),
    })
}

fn extremes(call: &AggregateCall, argument: &DataType) -> Result<Box<dyn GroupStates>> {
    let largest = call.function == Function::Max;
    Ok(match argument {
        t @ DataType::Decimal128(..) => Box::new(DecimalExtremes::new(largest, t.clone())),
        t if is_ranked(t) => Box::new(Extremes::new(largest, t.clone())),
        t => match ValueType::new(t) {
            Some(value) => Box::new(Best::new(largest, value, None)),
            None => return Err(not_defined(call, t, "it is for numbers, times, texts, bytes and truth values")),
        },
    })
}

fn moment(function: Function) -> Option<Moment> {
    let (sample, population) = (false, true);
    Some(match function {
        Function::Var => Moment::Variance { population: sample },
        Function::VarPop => Moment::Variance { population },
        Function::Stddev => Moment::StandardDeviation { population: sample },
        Function::StddevPop => Moment::StandardDeviation { population },
        Function::Covar => Moment::Covariance { population: sample },
        Function::CovarPop => Moment::Covariance { population },
        Function::Corr => Moment::Correlation,
        _ => return None,
    })
}

/// No group yet, of a function whose states have these types.
///
/// # Errors
/// When they are not those of its states.
pub(super) fn of_states(call: &AggregateCall, states: &[&DataType]) -> Result<Box<dyn GroupStates>> {
    let [first, ..] = states else {
        return Err(EngineError::corrupt(format!("'{}' has no state column", call.output)));
    };
    let argument = match call.function {
        Function::Sum | Function::Avg if DecimalSums::argument_of(states).is_some() => {
            DecimalSums::argument_of(states).unwrap_or(SUM_TYPE)
        }
        Function::Sum | Function::Avg if **first == SUM_TYPE => DataType::Int64,
        Function::Sum | Function::Avg if **first == FLOAT_SUM_TYPE => DataType::Float64,
        Function::PercentileCont | Function::ApproxPercentileCont => DataType::Float64,
        Function::ArrayAgg | Function::ArrayAggDistinct => states.last().map_or(DataType::Null, |t| (*t).clone()),
        function if moment(function).is_some() => DataType::Float64,
        _ => (*first).clone(),
    };
    let by = match call.function {
        Function::MinBy | Function::MaxBy => states.get(1).map_or(DataType::Null, |by| (*by).clone()),
        _ => DataType::Float64,
    };
    let kind = of_arguments(call, CallTypes { argument: Some(&argument), by: Some(&by) })?;
    let expected = kind.state_fields(&call.output);
    let fits = |(field, found): (&Field, &&DataType)| {
        let is_older_sum = *field.data_type() == FLOAT_SUM_TYPE
            && **found == DataType::Float64
            && matches!(call.function, Function::Sum | Function::Avg);
        field.data_type() == *found || is_older_sum
    };
    let older = (2, 3) == (states.len(), expected.len()) && DecimalSums::argument_of(states).is_some();
    if (expected.len() != states.len() && !older) || !expected.iter().zip(states).all(fits) {
        return Err(EngineError::corrupt(format!("'{}': {states:?} are not the types of its state", call.output)));
    }
    Ok(kind)
}

/// Number of state columns of a call, of which the first one is the `first` of these fields.
pub(super) fn state_width(call: &AggregateCall, fields: &Fields, first: usize) -> usize {
    match call.function {
        Function::Sum | Function::Avg => {
            let above = fields.get(first + 2).and_then(|field| field.name().strip_suffix(ABOVE));
            2 + usize::from(above == Some(call.output.as_str()))
        }
        Function::MinBy | Function::MaxBy | Function::ArrayAgg | Function::ArrayAggDistinct => 2,
        function => moment(function).map_or(1, Moment::state_width),
    }
}

/// Whether the states of a function hold something of each row, so that they grow with the rows and not only with the groups.
pub(in super::super) fn collects(function: Function) -> bool {
    matches!(
        function,
        Function::CountDistinct | Function::PercentileCont | Function::ArrayAgg | Function::ArrayAggDistinct
    )
}

/// Whether a state of a function takes a few bytes, however many rows it is of.
pub(crate) fn stays_small(function: Function) -> bool {
    !collects(function) && !matches!(function, Function::ApproxDistinct | Function::ApproxPercentileCont)
}

fn plain(data_type: &DataType) -> &DataType {
    match data_type {
        DataType::Dictionary(_, values) => values,
        other => other,
    }
}

/// Whether values can be taken as floats.
fn is_float_like(data_type: &DataType) -> bool {
    data_type.is_integer() || data_type.is_floating() || matches!(data_type, DataType::Decimal128(..))
}

fn not_defined(call: &AggregateCall, data_type: &DataType, right: &str) -> EngineError {
    EngineError::definition(format!(
        "'{}': {:?} is not defined for a column of type {data_type}; {right}",
        call.output, call.function
    ))
}
