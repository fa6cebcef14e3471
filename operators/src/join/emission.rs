//! Builds the rows of results, column by column, from rows of both sides.

use super::answering::Picked;
use super::config::{JoinConfig, Match, Side};
use super::keyed_rows::KeyedRows;
use super::sides::{Place, Sides};
use crate::columns::{RECORD_ID, revision_field, withdrawn_field};
use crate::event_time::event_time_type;
use crate::record_id::RecordIds;
use crate::schema::{Column, ColumnSchema};
use crate::table::Rows;
use arrow::{
    array::{
        Array, ArrayRef, BooleanArray, FixedSizeBinaryArray, Int32Array, TimestampMillisecondArray, new_null_array,
    },
    buffer::Buffer,
    compute::interleave,
    datatypes::{DataType, Field, SchemaRef},
    record_batch::RecordBatch,
};
use std::{collections::BTreeMap, sync::Arc};
use weir_engine::{
    EngineError, Result,
    element::{Batch, Port},
    hash::{combine, hash_integer},
    operator::{Collector, OperatorContext},
};

/// Rows of a batch that goes out.
pub(super) const MOST_ROWS: usize = 1 << 14;

/// Bytes of the texts in it, but for one row that has more. A column has room for 2 GiB: a text of a right row may be in as many
/// results as there are left rows.
const MOST_BYTES: usize = 1 << 30;

/// Makes the results of one join.
#[derive(Debug)]
pub(super) struct Emission {
    matched: RecordIds,
    unmatched: RecordIds,
    of_pairs: bool,
    columns: Vec<(Side, Source)>,
    left_types: Vec<DataType>,
    right_types: Vec<DataType>,
    schema: SchemaRef,
    /// Bytes of the texts in a batch.
    pub(super) most_bytes: usize,
}

/// Where a column of the results comes from.
#[derive(Debug, Clone, Copy)]
enum Source {
    /// The event time.
    Time,
    /// A kept column.
    Kept(usize),
}

/// Rows of one side, gathered.
struct Gathered {
    times: Vec<Option<i64>>,
    columns: Vec<ArrayRef>,
}

/// The columns of the results of such a join. Those of the right may be null: a result that is unmatched has them, too.
pub fn columns(config: &JoinConfig) -> ColumnSchema {
    let selected = config.select.iter().map(|item| {
        let input = config.input(item.side);
        let kept = input.kept.column(&item.column).map(|column| column.data_type.clone());
        Column { name: item.name.clone(), data_type: kept.unwrap_or_else(event_time_type), nullable: true }
    });
    let own = |field: Field| Column {
        name: field.name().clone(),
        data_type: field.data_type().clone(),
        nullable: field.is_nullable(),
    };
    let id = Field::new(RECORD_ID, DataType::FixedSizeBinary(16), false);
    let columns = std::iter::once(own(id)).chain(selected).chain([revision_field(), withdrawn_field()].map(own));
    ColumnSchema { columns: columns.collect() }
}

impl Emission {
    pub(super) fn new(config: &JoinConfig, context: &OperatorContext) -> Self {
        let source = |side: Side, name: &str| {
            let kept = config.input(side).kept.names().position(|kept| kept == name);
            kept.map_or(Source::Time, Source::Kept)
        };
        let types = |side: Side| {
            config.input(side).kept.columns.iter().map(|column| column.data_type.clone()).collect::<Vec<_>>()
        };
        Emission {
            matched: RecordIds::new(&context.identity, &context.operator),
            unmatched: RecordIds::new(&context.identity, &format!("{}.unmatched", context.operator)),
            of_pairs: config.matching == Match::All,
            columns: config.select.iter().map(|item| (item.side, source(item.side, &item.column))).collect(),
            left_types: types(Side::Left),
            right_types: types(Side::Right),
            schema: Arc::new(columns(config).to_arrow()),
            most_bytes: MOST_BYTES,
        }
    }

    /// Emits results, in batches of a bounded size.
    pub(super) fn emit(&self, port: Port, picked: &[Picked], sides: &Sides, out: &mut Collector) -> Result<()> {
        let mut rest = picked;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(self.fitting(rest, sides));
            out.emit(port, Batch::new(self.rows(now, sides)?));
            rest = later;
        }
        Ok(())
    }

    /// How many of these results, the first ones, have room in one batch. One has, whatever it takes.
    fn fitting(&self, picked: &[Picked], sides: &Sides) -> usize {
        let most = picked.len().min(MOST_ROWS);
        if sides.longest().saturating_mul(most) <= self.most_bytes {
            return most;
        }
        let mut bytes = 0_usize;
        let has_room = |picked: &&Picked| {
            bytes = bytes.saturating_add(sides.longest_of(picked.left, picked.right.map(|(right, _)| right)));
            bytes <= self.most_bytes
        };
        picked[..most].iter().take_while(has_room).count().max(1)
    }

    fn rows(&self, picked: &[Picked], sides: &Sides) -> Result<RecordBatch> {
        let left = gathered(
            picked.iter().map(|picked| Some(picked.left)),
            |start| sides.left.get(start).map(|bucket| &bucket.rows),
            &self.left_types,
        )?;
        let right = gathered(
            picked.iter().map(|picked| Some(picked.right?.0)),
            |start| sides.right.get(start).map(|bucket| &bucket.rows),
            &self.right_types,
        )?;
        let ids: Vec<[u8; 16]> = picked.iter().map(|picked| self.id(picked, sides)).collect();
        let mut columns: Vec<ArrayRef> =
            vec![Arc::new(FixedSizeBinaryArray::try_new(16, Buffer::from_vec(ids.into_flattened()), None)?)];
        columns.extend(self.columns.iter().map(|(side, source)| {
            let rows = if *side == Side::Left { &left } else { &right };
            rows.column(*source)
        }));
        columns.push(Arc::new(Int32Array::from_iter_values(picked.iter().map(|picked| picked.revision))));
        columns.push(Arc::new(BooleanArray::from_iter(picked.iter().map(|picked| Some(picked.withdrawn)))));
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }

    /// The identity of a result: its left row; of a pair, both rows.
    fn id(&self, picked: &Picked, sides: &Sides) -> [u8; 16] {
        let left = sides.left_row(picked.left);
        let (hash, time, ordinal) = left.map_or((0, 0, 0), |(bucket, row)| {
            (bucket.rows.row_hash(row), bucket.rows.time(row), i64::from(bucket.ordinal(row)))
        });
        match picked.right {
            None => self.unmatched.id(hash, time, ordinal),
            Some((right, number)) if self.of_pairs => {
                let right = sides.right_row(right);
                let right = right.map_or((0, 0), |(bucket, row)| (bucket.rows.row_hash(row), bucket.rows.time(row)));
                let both = combine(&[hash, hash_integer(time), right.0, hash_integer(right.1)]);
                self.matched.id(both, ordinal, number.into())
            }
            Some(_) => self.matched.id(hash, time, ordinal),
        }
    }
}

impl Gathered {
    fn column(&self, source: Source) -> ArrayRef {
        match source {
            Source::Time => {
                Arc::new(TimestampMillisecondArray::from_iter(self.times.iter().copied()).with_timezone("UTC"))
            }
            Source::Kept(at) => Arc::clone(&self.columns[at]),
        }
    }
}

/// The rows at some places, in their order; nulls, where there is none.
fn gathered<'a>(
    places: impl Iterator<Item = Option<Place>>,
    bucket: impl Fn(i64) -> Option<&'a KeyedRows>,
    types: &[DataType],
) -> Result<Gathered> {
    // The rows of each bucket, and where they are to be.
    let mut parts: BTreeMap<Option<i64>, (usize, Vec<u32>)> = BTreeMap::new();
    let mut wanted = Vec::new();
    for place in places {
        let parts_before = parts.len();
        let (part, rows) = parts.entry(place.map(|place| place.0)).or_insert((parts_before, Vec::new()));
        wanted.push((*part, rows.len()));
        rows.push(place.map_or(0, |place| place.1));
    }
    let mut sources: Vec<(Vec<Option<i64>>, Vec<ArrayRef>)> = vec![Default::default(); parts.len()];
    for (start, (part, rows)) in parts {
        sources[part] = match start {
            None => {
                let nulls = |data_type| new_null_array(data_type, rows.len());
                (vec![None; rows.len()], types.iter().map(nulls).collect())
            }
            Some(start) => {
                let kept = bucket(start).ok_or_else(|| EngineError::internal("a result of rows that are gone"))?;
                let times = rows.iter().map(|row| Some(kept.time(*row))).collect();
                (times, kept.arrays(Rows::Some(&rows))?)
            }
        };
    }
    let column = |at: usize| -> Result<ArrayRef> {
        let parts: Vec<&dyn Array> = sources.iter().map(|(_, columns)| columns[at].as_ref()).collect();
        // What is in one part is in its order.
        Ok(if let [(_, columns)] = sources.as_slice() {
            Arc::clone(&columns[at])
        } else {
            interleave(&parts, &wanted)?
        })
    };
    Ok(Gathered {
        times: wanted.iter().map(|(part, row)| sources[*part].0[*row]).collect(),
        columns: (0..types.len()).map(column).collect::<Result<_>>()?,
    })
}
