//! The running states of one aggregate, one a group, in arrays.
//!
//! `update` takes rows, `merge` takes states that `states` gave out. States are plain Arrow columns: they are what goes over
//! the exchange and what a checkpoint holds. For any partition of the rows, merging the parts gives what updating by all
//! rows gives, to the last bit.

use super::config::{AggregateCall, Function};
use super::decimals::{DecimalExtremes, DecimalSums};
use super::exact_sum::ExactSum;
use super::sketch::Sketch;
use crate::table::Rows;
use arrow::{
    array::{
        Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, Decimal128Array, Float64Array, Int64Array,
        PrimitiveArray, UInt64Array, make_array,
    },
    buffer::{NullBuffer, ScalarBuffer},
    compute::cast,
    datatypes::{DataType, Decimal128Type, Field, Fields, Float64Type, Int64Type, TimeUnit, UInt64Type},
};
use std::sync::Arc;
use weir_engine::{
    EngineError, Result,
    hash::{KeyHasher, can_be_hashed},
};

/// A result that its type does not hold: it is null, and this says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unsayable {
    /// Which of the groups that were asked for, from 0.
    pub(super) row: usize,
    /// What is wrong, for people.
    pub(super) reason: String,
}

/// States of one aggregate by group number.
#[derive(Debug, Clone)]
pub(super) struct Accumulator {
    name: String,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Count(Vec<i64>),
    /// Sum and number of values.
    SumIntegers(Vec<i128>, Vec<i64>),
    SumFloats(Vec<ExactSum>, Vec<i64>),
    AverageIntegers(Vec<i128>, Vec<i64>),
    AverageFloats(Vec<ExactSum>, Vec<i64>),
    Extreme {
        largest: bool,
        data_type: DataType,
        ranks: Vec<i64>,
        seen: Vec<bool>,
    },
    SumDecimals(DecimalSums),
    AverageDecimals(DecimalSums),
    ExtremeDecimals(DecimalExtremes),
    Distinct(Vec<Sketch>),
}

/// The type in which exact sums of floats are kept; states of older checkpoints are rounded sums.
const FLOAT_SUM_TYPE: DataType = DataType::Binary;

/// What the name of a column ends with that holds the digits of a sum above the last 38; no definition has such a name.
const ABOVE: &str = "/above";

/// The type in which exact sums are kept: what a sum of 2⁶⁴ integers of 64 bits needs.
const SUM_TYPE: DataType = DataType::Decimal128(38, 0);

impl Accumulator {
    /// No group yet, for an argument of that type.
    ///
    /// # Errors
    /// When the function is not defined for it.
    pub(super) fn new(call: &AggregateCall, argument: Option<&DataType>) -> Result<Self> {
        let refuse = |data_type: &DataType, right: &str| {
            Err(EngineError::definition(format!(
                "'{}': {:?} is not defined for a column of type {data_type}; {right}",
                call.output, call.function
            )))
        };
        let argument = match argument {
            Some(DataType::Dictionary(_, values)) => Some(values.as_ref()),
            other => other,
        };
        let kind = match (call.function, argument) {
            (Function::Count, _) => Kind::Count(Vec::new()),
            (Function::ApproxDistinct, Some(t)) if !can_be_hashed(t) => {
                return refuse(t, "it is for values that are equal or not");
            }
            (Function::ApproxDistinct, _) => Kind::Distinct(Vec::new()),
            (Function::Sum, Some(t)) if t.is_integer() => Kind::SumIntegers(Vec::new(), Vec::new()),
            (Function::Sum, Some(t)) if t.is_floating() => Kind::SumFloats(Vec::new(), Vec::new()),
            (Function::Avg, Some(t)) if t.is_integer() => Kind::AverageIntegers(Vec::new(), Vec::new()),
            (Function::Avg, Some(t)) if t.is_floating() => Kind::AverageFloats(Vec::new(), Vec::new()),
            (Function::Sum, Some(DataType::Decimal128(_, scale))) => Kind::SumDecimals(DecimalSums::new(*scale)),
            (Function::Avg, Some(DataType::Decimal128(_, scale))) => Kind::AverageDecimals(DecimalSums::new(*scale)),
            (Function::Sum | Function::Avg, Some(t)) => {
                return refuse(t, "cast it to BIGINT or DOUBLE in a map before");
            }
            (Function::Min | Function::Max, Some(t @ DataType::Decimal128(..))) => {
                Kind::ExtremeDecimals(DecimalExtremes::new(call.function == Function::Max, t.clone()))
            }
            (Function::Min | Function::Max, Some(t)) if is_ranked(t) => {
                let largest = call.function == Function::Max;
                Kind::Extreme { largest, data_type: t.clone(), ranks: Vec::new(), seen: Vec::new() }
            }
            (Function::Min | Function::Max, Some(t)) => {
                return refuse(t, "it is for numbers, dates and timestamps");
            }
            (_, None) => return Err(EngineError::internal(format!("'{}' has no argument", call.output))),
        };
        Ok(Accumulator { name: call.output.clone(), kind })
    }

    /// No group yet, for states of these types: those that `state_fields` names.
    ///
    /// # Errors
    /// When they are no states of that function.
    pub(super) fn of_states(call: &AggregateCall, states: &[&DataType]) -> Result<Self> {
        let argument = match (call.function, states) {
            (Function::Sum | Function::Avg, states) if DecimalSums::argument_of(states).is_some() => {
                DecimalSums::argument_of(states).unwrap_or(SUM_TYPE)
            }
            (Function::Sum | Function::Avg, [sum, ..]) if **sum == SUM_TYPE => DataType::Int64,
            (Function::Sum | Function::Avg, [sum, ..]) if **sum == FLOAT_SUM_TYPE => DataType::Float64,
            (_, [first, ..]) => (*first).clone(),
            (_, []) => return Err(EngineError::corrupt(format!("'{}' has no state column", call.output))),
        };
        let accumulator = Accumulator::new(call, Some(&argument))?;
        let expected = accumulator.state_fields();
        let fits = |(field, found): (&Field, &&DataType)| {
            field.data_type() == *found || (*field.data_type() == FLOAT_SUM_TYPE && **found == DataType::Float64)
        };
        let older = (2, 3) == (states.len(), expected.len()) && DecimalSums::argument_of(states).is_some();
        if (expected.len() != states.len() && !older) || !expected.iter().zip(states).all(fits) {
            return Err(EngineError::corrupt(format!("'{}': {states:?} are not the types of its state", call.output)));
        }
        Ok(accumulator)
    }

    /// The columns of its states.
    pub(super) fn state_fields(&self) -> Vec<Field> {
        let (name, count) = (self.name.clone(), format!("{}.count", self.name));
        let sum_and_count =
            |sum| vec![Field::new(name.clone(), sum, true), Field::new(count.clone(), DataType::Int64, true)];
        match &self.kind {
            Kind::Count(_) => vec![Field::new(name, DataType::Int64, true)],
            Kind::SumIntegers(..) | Kind::AverageIntegers(..) => sum_and_count(SUM_TYPE),
            Kind::SumFloats(..) | Kind::AverageFloats(..) => sum_and_count(FLOAT_SUM_TYPE),
            Kind::Extreme { data_type, .. } => vec![Field::new(name, data_type.clone(), true)],
            Kind::SumDecimals(sums) | Kind::AverageDecimals(sums) => {
                let [sum, number, above] = sums.state_types();
                let name_above = format!("{name}{ABOVE}");
                vec![Field::new(name, sum, true), Field::new(count, number, true), Field::new(name_above, above, true)]
            }
            Kind::ExtremeDecimals(extremes) => vec![Field::new(name, extremes.data_type().clone(), true)],
            Kind::Distinct(_) => vec![Field::new(name, DataType::Binary, true)],
        }
    }

    /// Number of state columns of each call, of which the first one is the `first` of these fields.
    pub(super) fn state_widths(calls: &[AggregateCall], fields: &Fields, mut first: usize) -> Vec<usize> {
        let width = |call: &AggregateCall| {
            let width = if matches!(call.function, Function::Sum | Function::Avg) { 2 } else { 1 };
            let above = fields.get(first + width).and_then(|field| field.name().strip_suffix(ABOVE));
            let width = width + usize::from(above == Some(call.output.as_str()));
            first += width;
            width
        };
        calls.iter().map(width).collect()
    }

    /// The type of its results.
    pub(super) fn output_type(&self) -> DataType {
        match &self.kind {
            Kind::Count(_) | Kind::SumIntegers(..) | Kind::Distinct(_) => DataType::Int64,
            Kind::SumFloats(..) | Kind::AverageIntegers(..) | Kind::AverageFloats(..) => DataType::Float64,
            Kind::Extreme { data_type, .. } => data_type.clone(),
            Kind::SumDecimals(sums) => sums.sum_type(),
            Kind::AverageDecimals(_) => DataType::Float64,
            Kind::ExtremeDecimals(extremes) => extremes.data_type().clone(),
        }
    }

    /// Adds groups with nothing in them, up to that many.
    pub(super) fn resize(&mut self, groups: usize) {
        match &mut self.kind {
            Kind::Count(counts) => counts.resize(groups, 0),
            Kind::SumIntegers(sums, counts) | Kind::AverageIntegers(sums, counts) => {
                sums.resize(groups, 0);
                counts.resize(groups, 0);
            }
            Kind::SumFloats(sums, counts) | Kind::AverageFloats(sums, counts) => {
                sums.resize(groups, ExactSum::default());
                counts.resize(groups, 0);
            }
            Kind::Extreme { ranks, seen, .. } => {
                ranks.resize(groups, 0);
                seen.resize(groups, false);
            }
            Kind::SumDecimals(sums) | Kind::AverageDecimals(sums) => sums.resize(groups),
            Kind::ExtremeDecimals(extremes) => extremes.resize(groups),
            Kind::Distinct(sketches) => sketches.resize(groups, Sketch::default()),
        }
    }

    /// Empties one group.
    pub(super) fn clear_group(&mut self, group: usize) {
        match &mut self.kind {
            Kind::Count(counts) => counts[group] = 0,
            Kind::SumIntegers(sums, counts) | Kind::AverageIntegers(sums, counts) => {
                (sums[group], counts[group]) = (0, 0)
            }
            Kind::SumFloats(sums, counts) | Kind::AverageFloats(sums, counts) => {
                (sums[group], counts[group]) = (ExactSum::default(), 0)
            }
            Kind::Extreme { seen, .. } => seen[group] = false,
            Kind::SumDecimals(sums) | Kind::AverageDecimals(sums) => sums.clear_group(group),
            Kind::ExtremeDecimals(extremes) => extremes.clear_group(group),
            Kind::Distinct(sketches) => sketches[group] = Sketch::default(),
        }
    }

    /// Adds rows: the n-th of `rows` to `groups[n]`. `argument` is the whole column.
    pub(super) fn update(&mut self, groups: &[u32], rows: Rows<'_>, argument: Option<&ArrayRef>) -> Result<()> {
        let Some(argument) = argument else {
            if let Kind::Count(counts) = &mut self.kind {
                groups.iter().for_each(|group| counts[*group as usize] += 1);
            }
            return Ok(());
        };
        let nulls = argument.logical_nulls();
        let present = || present(groups, rows, nulls.as_ref());
        match &mut self.kind {
            Kind::Count(counts) => present().for_each(|(group, _)| counts[group] += 1),
            Kind::SumIntegers(sums, counts) | Kind::AverageIntegers(sums, counts) => match integers(argument)? {
                Integers::Signed(values) => add(present(), sums, counts, |row| i128::from(values[row])),
                Integers::Unsigned(values) => add(present(), sums, counts, |row| i128::from(values[row])),
            },
            Kind::SumFloats(sums, counts) | Kind::AverageFloats(sums, counts) => {
                let values = cast(argument, &DataType::Float64)?;
                let values = values.as_primitive::<Float64Type>().values();
                for (group, row) in present() {
                    sums[group].add(values[row]);
                    counts[group] += 1;
                }
            }
            Kind::Extreme { largest, ranks, seen, .. } => {
                let values = to_ranks(argument)?;
                present().for_each(|(group, row)| keep_extreme(*largest, ranks, seen, group, values[row]));
            }
            Kind::SumDecimals(sums) | Kind::AverageDecimals(sums) => sums.update(present(), argument)?,
            Kind::ExtremeDecimals(extremes) => extremes.update(present(), argument)?,
            Kind::Distinct(sketches) => {
                let column = arrow::record_batch::RecordBatch::try_from_iter([("argument", Arc::clone(argument))])?;
                let hashes = KeyHasher::new(vec!["argument".into()]).hash(&column);
                let hashes = hashes.map_err(|error| error.context(format!("approx_distinct '{}'", self.name)))?;
                present().for_each(|(group, row)| sketches[group].insert((hashes[row] >> 64) as u64));
            }
        }
        Ok(())
    }

    /// Merges states: the n-th of `rows` into `groups[n]`. `states` are whole columns.
    pub(super) fn merge(&mut self, groups: &[u32], rows: Rows<'_>, states: &[ArrayRef]) -> Result<()> {
        let wrong = || EngineError::internal(format!("'{}': states of another type than before", self.name));
        let [first, rest @ ..] = states else { return Err(wrong()) };
        let nulls = first.nulls();
        let present = || present(groups, rows, nulls);
        let counts_of = || rest.first().and_then(|counts| counts.as_primitive_opt::<Int64Type>()).ok_or_else(wrong);
        match &mut self.kind {
            Kind::Count(counts) => {
                let values = first.as_primitive_opt::<Int64Type>().ok_or_else(wrong)?.values();
                match (rows, nulls) {
                    (Rows::All(_), None) => {
                        groups.iter().zip(values.iter()).for_each(|(group, value)| counts[*group as usize] += value);
                    }
                    _ => present().for_each(|(group, row)| counts[group] += values[row]),
                }
            }
            Kind::SumIntegers(sums, counts) | Kind::AverageIntegers(sums, counts) => {
                let values = first.as_primitive_opt::<Decimal128Type>().ok_or_else(wrong)?.values();
                let numbers = counts_of()?.values();
                for (group, row) in present() {
                    sums[group] += values[row];
                    counts[group] += numbers[row];
                }
            }
            Kind::SumFloats(sums, counts) | Kind::AverageFloats(sums, counts) => {
                let numbers = counts_of()?.values();
                present().for_each(|(group, row)| counts[group] += numbers[row]);
                if let Some(rounded) = first.as_primitive_opt::<Float64Type>() {
                    present().for_each(|(group, row)| sums[group].add(rounded.value(row)));
                    return Ok(());
                }
                let values: &BinaryArray = first.as_binary_opt().ok_or_else(wrong)?;
                for (group, row) in present() {
                    sums[group].merge_bytes(values.value(row)).map_err(|error| error.context(&self.name))?;
                }
            }
            Kind::Extreme { largest, ranks, seen, data_type } => {
                if first.data_type() != data_type {
                    return Err(wrong());
                }
                let values = to_ranks(first)?;
                present().for_each(|(group, row)| keep_extreme(*largest, ranks, seen, group, values[row]));
            }
            Kind::SumDecimals(sums) | Kind::AverageDecimals(sums) => sums.merge(present(), states)?,
            Kind::ExtremeDecimals(extremes) => extremes.update(present(), first)?,
            Kind::Distinct(sketches) => {
                let values: &BinaryArray = first.as_binary_opt().ok_or_else(wrong)?;
                for (group, row) in present() {
                    sketches[group].merge_bytes(values.value(row))?;
                }
            }
        }
        Ok(())
    }

    /// Merges groups of another accumulator of the same kind: `from[n]` there into `into[n]` here.
    pub(super) fn merge_groups(&mut self, other: &Accumulator, from: Rows<'_>, into: &[u32]) -> Result<()> {
        let pairs = || into.iter().enumerate().map(|(n, group)| (*group as usize, from.row(n)));
        match (&mut self.kind, &other.kind) {
            (Kind::Count(counts), Kind::Count(others)) => pairs().for_each(|(to, from)| counts[to] += others[from]),
            (Kind::SumIntegers(sums, counts), Kind::SumIntegers(other_sums, other_counts))
            | (Kind::AverageIntegers(sums, counts), Kind::AverageIntegers(other_sums, other_counts)) => {
                for (to, from) in pairs() {
                    sums[to] += other_sums[from];
                    counts[to] += other_counts[from];
                }
            }
            (Kind::SumFloats(sums, counts), Kind::SumFloats(other_sums, other_counts))
            | (Kind::AverageFloats(sums, counts), Kind::AverageFloats(other_sums, other_counts)) => {
                for (to, from) in pairs() {
                    sums[to].merge(&other_sums[from]);
                    counts[to] += other_counts[from];
                }
            }
            (Kind::Extreme { largest, ranks, seen, .. }, Kind::Extreme { ranks: others, seen: other_seen, .. }) => {
                for (to, from) in pairs().filter(|(_, from)| other_seen[*from]) {
                    keep_extreme(*largest, ranks, seen, to, others[from]);
                }
            }
            (Kind::SumDecimals(sums), Kind::SumDecimals(others))
            | (Kind::AverageDecimals(sums), Kind::AverageDecimals(others)) => sums.merge_groups(others, pairs()),
            (Kind::ExtremeDecimals(extremes), Kind::ExtremeDecimals(others)) => extremes.merge_groups(others, pairs()),
            (Kind::Distinct(sketches), Kind::Distinct(others)) => {
                pairs().for_each(|(to, from)| sketches[to].merge(&others[from]));
            }
            _ => return Err(EngineError::internal(format!("'{}': merged with another aggregate", self.name))),
        }
        Ok(())
    }

    /// Merges one group into another of the same accumulator and empties it.
    pub(super) fn move_group(&mut self, from: usize, to: usize) {
        match &mut self.kind {
            Kind::Count(counts) => counts[to] += counts[from],
            Kind::SumIntegers(sums, counts) | Kind::AverageIntegers(sums, counts) => {
                sums[to] += sums[from];
                counts[to] += counts[from];
            }
            Kind::SumFloats(sums, counts) | Kind::AverageFloats(sums, counts) => {
                let moved = std::mem::take(&mut sums[from]);
                sums[to].merge(&moved);
                counts[to] += counts[from];
            }
            Kind::Extreme { largest, ranks, seen, .. } => {
                if seen[from] {
                    let rank = ranks[from];
                    keep_extreme(*largest, ranks, seen, to, rank);
                }
            }
            Kind::SumDecimals(sums) | Kind::AverageDecimals(sums) => sums.move_group(from, to),
            Kind::ExtremeDecimals(extremes) => extremes.move_group(from, to),
            Kind::Distinct(sketches) => {
                let moved = std::mem::take(&mut sketches[from]);
                sketches[to].merge(&moved);
            }
        }
        self.clear_group(from);
    }

    /// The states of these groups, as `state_fields` names them.
    pub(super) fn states(&self, groups: Rows<'_>) -> Result<Vec<ArrayRef>> {
        Ok(match &self.kind {
            Kind::Count(counts) => vec![int64(counts, groups, None)],
            Kind::SumIntegers(sums, counts) | Kind::AverageIntegers(sums, counts) => {
                let sums = Decimal128Array::new(chosen(sums, groups), None).with_precision_and_scale(38, 0)?;
                vec![Arc::new(sums), int64(counts, groups, None)]
            }
            Kind::SumFloats(sums, counts) | Kind::AverageFloats(sums, counts) => {
                let rows = (0..groups.len()).map(|n| &sums[groups.row(n)]);
                vec![binary(rows, ExactSum::write), int64(counts, groups, None)]
            }
            Kind::Extreme { .. } | Kind::ExtremeDecimals(_) => vec![self.output(groups, &mut Vec::new())?],
            Kind::SumDecimals(sums) | Kind::AverageDecimals(sums) => sums.states(groups)?,
            Kind::Distinct(sketches) => {
                vec![binary((0..groups.len()).map(|n| &sketches[groups.row(n)]), Sketch::write)]
            }
        })
    }

    /// The results of these groups. Sums that have more bits or digits than their type are null, and are added to `unsayable`.
    ///
    /// # Errors
    /// Only by a mistake of ours.
    pub(super) fn output(&self, groups: Rows<'_>, unsayable: &mut Vec<Unsayable>) -> Result<ArrayRef> {
        let rows = || (0..groups.len()).map(|n| groups.row(n));
        Ok(match &self.kind {
            Kind::Count(counts) => int64(counts, groups, None),
            Kind::SumIntegers(sums, counts) => {
                let fit: Vec<Option<i64>> = rows().map(|group| i64::try_from(sums[group]).ok()).collect();
                for (row, (_, group)) in fit.iter().zip(rows()).enumerate().filter(|(_, (fit, _))| fit.is_none()) {
                    let (name, sum) = (&self.name, sums[group]);
                    let reason = format!(
                        "the sum '{name}' of this window is {sum}, which overflows 64 bits: cast its argument, as in \
                         sum(cast(x as decimal(38, 0)))"
                    );
                    unsayable.push(Unsayable { row, reason });
                }
                let sum = |(fit, group): (&Option<i64>, usize)| fit.filter(|_| counts[group] > 0);
                Arc::new(Int64Array::from_iter(fit.iter().zip(rows()).map(sum)))
            }
            Kind::SumFloats(sums, counts) => {
                let sum = |group: usize| (counts[group] > 0).then(|| sums[group].value());
                Arc::new(Float64Array::from_iter(rows().map(sum)))
            }
            Kind::AverageIntegers(sums, counts) => Arc::new(Float64Array::from_iter(
                rows().map(|group| (counts[group] > 0).then(|| sums[group] as f64 / counts[group] as f64)),
            )),
            Kind::AverageFloats(sums, counts) => Arc::new(Float64Array::from_iter(
                rows().map(|group| (counts[group] > 0).then(|| sums[group].mean(counts[group]))),
            )),
            Kind::Extreme { data_type, ranks, seen, .. } => {
                let nulls: NullBuffer = rows().map(|group| seen[group]).collect();
                from_ranks(chosen(ranks, groups), nulls, data_type)?
            }
            Kind::SumDecimals(sums) => sums.output(&self.name, groups, unsayable)?,
            Kind::AverageDecimals(sums) => sums.means(groups),
            Kind::ExtremeDecimals(extremes) => extremes.output(groups),
            Kind::Distinct(sketches) => {
                Arc::new(Int64Array::from_iter_values(rows().map(|group| sketches[group].estimate())))
            }
        })
    }
}

/// Group and row of every row that is not null.
#[inline(always)]
fn present<'a>(
    groups: &'a [u32],
    rows: Rows<'a>,
    nulls: Option<&'a NullBuffer>,
) -> impl Iterator<Item = (usize, usize)> + 'a {
    let pairs = groups.iter().enumerate().map(move |(n, group)| (*group as usize, rows.row(n)));
    pairs.filter(move |(_, row)| nulls.is_none_or(|nulls| nulls.is_valid(*row)))
}

fn add<T: std::ops::AddAssign>(
    rows: impl Iterator<Item = (usize, usize)>,
    sums: &mut [T],
    counts: &mut [i64],
    value: impl Fn(usize) -> T,
) {
    for (group, row) in rows {
        sums[group] += value(row);
        counts[group] += 1;
    }
}

#[inline(always)]
fn keep_extreme(largest: bool, ranks: &mut [i64], seen: &mut [bool], group: usize, rank: i64) {
    if !seen[group] || (rank > ranks[group]) == largest {
        ranks[group] = rank;
        seen[group] = true;
    }
}

fn chosen<T: Copy + arrow::datatypes::ArrowNativeType>(values: &[T], groups: Rows<'_>) -> ScalarBuffer<T> {
    match groups {
        Rows::All(count) => values[..count].to_vec().into(),
        Rows::Some(groups) => groups.iter().map(|group| values[*group as usize]).collect(),
    }
}

fn int64(values: &[i64], groups: Rows<'_>, nulls: Option<NullBuffer>) -> ArrayRef {
    Arc::new(Int64Array::new(chosen(values, groups), nulls))
}

/// States that write themselves.
fn binary<'a, T: 'a>(states: impl Iterator<Item = &'a T>, write: impl Fn(&T, &mut Vec<u8>)) -> ArrayRef {
    let (mut builder, mut bytes) = (BinaryBuilder::new(), Vec::new());
    for state in states {
        bytes.clear();
        write(state, &mut bytes);
        builder.append_value(&bytes);
    }
    Arc::new(builder.finish())
}

enum Integers {
    Signed(ScalarBuffer<i64>),
    Unsigned(ScalarBuffer<u64>),
}

fn integers(array: &ArrayRef) -> Result<Integers> {
    if *array.data_type() == DataType::UInt64 {
        return Ok(Integers::Unsigned(array.as_primitive::<UInt64Type>().values().clone()));
    }
    let wide = cast(array, &DataType::Int64)?;
    Ok(Integers::Signed(wide.as_primitive::<Int64Type>().values().clone()))
}

/// Whether values of a type can be compared by a rank of 64 bits.
fn is_ranked(data_type: &DataType) -> bool {
    data_type.is_integer()
        || matches!(data_type, DataType::Float32 | DataType::Float64)
        || matches!(
            data_type,
            DataType::Timestamp(..)
                | DataType::Date32
                | DataType::Time32(TimeUnit::Millisecond)
                | DataType::Time64(_)
                | DataType::Duration(_)
        )
}

/// Numbers in the order of the values: integers themselves, unsigned ones and floats with their bits rearranged.
fn to_ranks(array: &ArrayRef) -> Result<ScalarBuffer<i64>> {
    let array = match array.data_type() {
        DataType::Dictionary(_, values) => &cast(array, values)?,
        _ => array,
    };
    Ok(match array.data_type() {
        DataType::UInt64 => array.as_primitive::<UInt64Type>().values().iter().map(|v| (v ^ 1 << 63) as i64).collect(),
        DataType::Float32 | DataType::Float64 => {
            let wide = cast(array, &DataType::Float64)?;
            wide.as_primitive::<Float64Type>().values().iter().map(|v| flip(v.to_bits() as i64)).collect()
        }
        temporal if temporal.is_temporal() => {
            let numbers = reinterpret(array, &number_type(temporal))?;
            cast(&numbers, &DataType::Int64)?.as_primitive::<Int64Type>().values().clone()
        }
        _ => cast(array, &DataType::Int64)?.as_primitive::<Int64Type>().values().clone(),
    })
}

/// The inverse of `to_ranks`.
fn from_ranks(ranks: ScalarBuffer<i64>, nulls: NullBuffer, data_type: &DataType) -> Result<ArrayRef> {
    let nulls = Some(nulls).filter(|nulls| nulls.null_count() > 0);
    Ok(match data_type {
        DataType::UInt64 => {
            Arc::new(UInt64Array::new(ranks.iter().map(|rank| *rank as u64 ^ 1 << 63).collect(), nulls))
        }
        DataType::Float32 | DataType::Float64 => {
            let values = ranks.iter().map(|rank| f64::from_bits(flip(*rank) as u64)).collect();
            cast(&PrimitiveArray::<Float64Type>::new(values, nulls), data_type)?
        }
        temporal if temporal.is_temporal() => {
            reinterpret(&cast(&Int64Array::new(ranks, nulls), &number_type(temporal))?, temporal)?
        }
        _ => cast(&Int64Array::new(ranks, nulls), data_type)?,
    })
}

/// The integers that values of a temporal type are stored as.
fn number_type(temporal: &DataType) -> DataType {
    if temporal.primitive_width() == Some(4) { DataType::Int32 } else { DataType::Int64 }
}

/// The same bits under another type of the same width.
fn reinterpret(array: &ArrayRef, data_type: &DataType) -> Result<ArrayRef> {
    Ok(make_array(array.to_data().into_builder().data_type(data_type.clone()).build()?))
}

/// Orders the bits of floats as integers: of negative ones all but the sign are turned over. Its own inverse.
fn flip(bits: i64) -> i64 {
    bits ^ ((bits >> 63) as u64 >> 1) as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::{IntervalUnit, Schema};
    use weir_engine::parquet_pages::parquet_schema;

    #[test]
    fn rounded_sums_of_older_checkpoints_are_read() {
        for (function, expected) in [(Function::Sum, 3.5), (Function::Avg, 3.5 / 4.0)] {
            let call = AggregateCall { function, argument: Some("x".into()), output: "of_x".into() };
            let mut sums = Accumulator::of_states(&call, &[&DataType::Float64, &DataType::Int64]).unwrap();
            sums.resize(1);
            let stored: [ArrayRef; 2] =
                [Arc::new(Float64Array::from(vec![1.5, 2.0])), Arc::new(Int64Array::from(vec![3, 1]))];
            sums.merge(&[0, 0], Rows::All(2), &stored).unwrap();
            let output = sums.output(Rows::All(1), &mut Vec::new()).unwrap();
            assert_eq!(output.as_primitive::<Float64Type>().value(0), expected);
            let types: Vec<DataType> = sums.state_fields().iter().map(|field| field.data_type().clone()).collect();
            assert_eq!(types, [FLOAT_SUM_TYPE, DataType::Int64], "and are written as exact ones");
        }
    }

    const FUNCTIONS: [Function; 6] =
        [Function::Count, Function::Sum, Function::Min, Function::Max, Function::Avg, Function::ApproxDistinct];

    #[test]
    fn states_of_every_type_lie_in_checkpoints_and_come_back() {
        let mut defined = 0;
        for data_type in [
            DataType::Boolean,
            DataType::Int8,
            DataType::Int64,
            DataType::UInt64,
            DataType::Float32,
            DataType::Float64,
            DataType::Utf8,
            DataType::Binary,
            DataType::Date32,
            DataType::Date64,
            DataType::Timestamp(TimeUnit::Second, None),
            DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())),
            DataType::Time32(TimeUnit::Second),
            DataType::Time32(TimeUnit::Millisecond),
            DataType::Time64(TimeUnit::Microsecond),
            DataType::Duration(TimeUnit::Millisecond),
            DataType::Interval(IntervalUnit::MonthDayNano),
            DataType::Interval(IntervalUnit::DayTime),
            DataType::Decimal128(10, 0),
            DataType::Decimal128(38, 9),
            DataType::Decimal256(50, 2),
            DataType::Null,
            DataType::List(Arc::new(Field::new("item", DataType::Int64, true))),
        ] {
            for function in FUNCTIONS {
                let call = AggregateCall { function, argument: Some("a".into()), output: "o".into() };
                let Ok(mut accumulator) = Accumulator::new(&call, Some(&data_type)) else { continue };
                defined += 1;
                let fields = accumulator.state_fields();
                let schema = Schema::new(fields.clone());
                assert!(parquet_schema(&schema).is_ok(), "{function:?} of {data_type}: {schema}");
                let types: Vec<&DataType> = fields.iter().map(Field::data_type).collect();
                let mut restored = Accumulator::of_states(&call, &types).expect("its own states");
                assert_eq!(restored.output_type(), accumulator.output_type(), "{function:?} of {data_type}");
                // A group without any value, and one with nothing but nulls.
                let nulls = arrow::array::new_null_array(&data_type, 2);
                accumulator.resize(2);
                accumulator.update(&[1, 1], Rows::All(2), Some(&nulls)).expect("nulls");
                let states = accumulator.states(Rows::All(2)).expect("states");
                restored.resize(2);
                restored.merge(&[0, 1], Rows::All(2), &states).expect("merged");
                let output = |accumulator: &Accumulator| accumulator.output(Rows::All(2), &mut Vec::new());
                let (one, other) = (output(&accumulator), output(&restored));
                assert_eq!(
                    one.expect("results").as_ref(),
                    other.expect("results").as_ref(),
                    "{function:?} of {data_type}"
                );
            }
        }
        assert!(defined > 60, "{defined}");
    }
}
