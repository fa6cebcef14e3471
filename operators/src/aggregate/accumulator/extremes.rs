//! The smallest or largest of values that have a rank of 64 bits: numbers, times and truth values.

use super::{CallColumns, GroupStates, Placed, Unsayable, argument, chosen, numbers, same, wrong};
use crate::table::Rows;
use arrow::{
    array::{Array, ArrayRef, AsArray, Int64Array, PrimitiveArray, UInt64Array, make_array},
    buffer::{NullBuffer, ScalarBuffer},
    compute::cast,
    datatypes::{DataType, Field, Float64Type, Int64Type, TimeUnit, UInt64Type},
};
use std::sync::Arc;
use weir_engine::Result;

/// Ranks of the smallest or largest values.
#[derive(Debug, Clone)]
pub(super) struct Extremes {
    largest: bool,
    data_type: DataType,
    ranks: Vec<i64>,
    seen: Vec<bool>,
}

impl Extremes {
    /// For values of a type that [`is_ranked`].
    pub(super) fn new(largest: bool, data_type: DataType) -> Self {
        Extremes { largest, data_type, ranks: Vec::new(), seen: Vec::new() }
    }

    fn keep_all(&mut self, ranked: impl Iterator<Item = (usize, i64)>) {
        let (largest, ranks, seen) = (self.largest, self.ranks.as_mut_slice(), self.seen.as_mut_slice());
        for (group, rank) in ranked {
            if !seen[group] || (rank > ranks[group]) == largest {
                ranks[group] = rank;
                seen[group] = true;
            }
        }
    }

    fn values(&self, groups: Rows<'_>) -> Result<ArrayRef> {
        let nulls: NullBuffer = numbers(groups).map(|group| self.seen[group]).collect();
        from_ranks(chosen(&self.ranks, groups), nulls, &self.data_type)
    }
}

impl GroupStates for Extremes {
    fn boxed(&self) -> Box<dyn GroupStates> {
        Box::new(self.clone())
    }

    fn state_fields(&self, name: &str) -> Vec<Field> {
        vec![Field::new(name, self.data_type.clone(), true)]
    }

    fn output_type(&self) -> DataType {
        self.data_type.clone()
    }

    fn resize(&mut self, groups: usize) {
        self.ranks.resize(groups, 0);
        self.seen.resize(groups, false);
    }

    fn clear_group(&mut self, group: usize) {
        self.seen[group] = false;
    }

    fn update(&mut self, placed: Placed<'_>, columns: &CallColumns) -> Result<()> {
        let argument = argument(columns)?;
        let (nulls, values) = (argument.logical_nulls(), to_ranks(argument)?);
        self.keep_all(placed.present(nulls.as_ref()).map(|(group, row)| (group, values[row])));
        Ok(())
    }

    fn merge(&mut self, placed: Placed<'_>, states: &[ArrayRef]) -> Result<()> {
        let [kept] = states else { return Err(wrong()) };
        if *kept.data_type() != self.data_type {
            return Err(wrong());
        }
        let values = to_ranks(kept)?;
        self.keep_all(placed.present(kept.nulls()).map(|(group, row)| (group, values[row])));
        Ok(())
    }

    fn merge_groups(&mut self, placed: Placed<'_>, other: &dyn GroupStates) -> Result<()> {
        let other = same::<Self>(other)?;
        let seen = placed.iter().filter(|(_, from)| other.seen[*from]);
        self.keep_all(seen.map(|(to, from)| (to, other.ranks[from])));
        Ok(())
    }

    fn move_group(&mut self, from: usize, to: usize) {
        if self.seen[from] {
            self.keep_all(std::iter::once((to, self.ranks[from])));
        }
    }

    fn states(&self, groups: Rows<'_>) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.values(groups)?])
    }

    fn output(&self, _name: &str, groups: Rows<'_>, _unsayable: &mut Vec<Unsayable>) -> Result<ArrayRef> {
        self.values(groups)
    }
}

/// Whether values of a type can be compared by a rank of 64 bits.
pub(super) fn is_ranked(data_type: &DataType) -> bool {
    data_type.is_integer()
        || matches!(data_type, DataType::Boolean | DataType::Float32 | DataType::Float64)
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
            wide.as_primitive::<Float64Type>().values().iter().map(|v| float_rank(*v)).collect()
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
            let values = ranks.iter().map(|rank| ranked_float(*rank)).collect();
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

/// A whole number in the order of the floats: NaN is the largest, and -0 is below 0.
#[inline(always)]
pub(super) fn float_rank(value: f64) -> i64 {
    flip(value.to_bits() as i64)
}

/// The float of a rank.
#[inline(always)]
pub(super) fn ranked_float(rank: i64) -> f64 {
    f64::from_bits(flip(rank) as u64)
}

/// Orders the bits of floats as integers: of negative ones all but the sign are turned over. Its own inverse.
fn flip(bits: i64) -> i64 {
    bits ^ ((bits >> 63) as u64 >> 1) as i64
}
