//! Builds the rows of results, column by column, from rows of both sides.

use super::config::{WindowJoinColumn, WindowJoinConfig};
use super::window::{Picked, Window};
use crate::columns::{RECORD_ID, WINDOW_END, WINDOW_START, revision_field, withdrawn_field};
use crate::event_time::event_time_type;
use crate::join::Side;
use crate::record_id::RecordIds;
use crate::result_rows::{MOST_BYTES, Place, ResultRows, fitting};
use crate::schema::{Column, ColumnSchema};
use crate::table::plain_key_type;
use arrow::{
    array::{
        Array, ArrayRef, BooleanArray, FixedSizeBinaryArray, Int32Array, TimestampMillisecondArray, new_null_array,
    },
    buffer::Buffer,
    compute::interleave,
    datatypes::{DataType, Field, SchemaRef},
    record_batch::RecordBatch,
};
use std::sync::Arc;
use weir_engine::{
    Result,
    element::{Batch, Port},
    hash::combine,
    operator::{Collector, OperatorContext},
};

/// Rows of a batch that goes out.
pub(super) const MOST_ROWS: usize = 1 << 14;

/// Makes the results of one join.
#[derive(Debug)]
pub(super) struct Emission {
    ids: RecordIds,
    columns: Vec<Source>,
    schema: SchemaRef,
    /// Bytes of the texts in a batch, but for one row that has more: a text of one side may be in as many results as the other has
    /// rows.
    pub(super) most_bytes: usize,
}

/// Where a column of the results comes from.
#[derive(Debug)]
struct Source {
    taken: Taken,
    data_type: DataType,
}

#[derive(Debug, Clone, Copy)]
enum Taken {
    /// A column of `on`, whichever side has a row.
    On(usize),
    /// A kept column of a side, and whether withdrawn results have it.
    Side(Side, usize, bool),
}

/// The columns of the results of such a join: the record's id, its window, what is selected, and which revision it is. Whatever is
/// selected may be null.
pub fn columns(config: &WindowJoinConfig) -> ColumnSchema {
    let own = |field: Field| Column {
        name: field.name().clone(),
        data_type: field.data_type().clone(),
        nullable: field.is_nullable(),
    };
    let id = Field::new(RECORD_ID, DataType::FixedSizeBinary(16), false);
    let bounds = [WINDOW_START, WINDOW_END].map(|name| Field::new(name, event_time_type(), false));
    let selected = config.select.iter().map(|item| {
        let kept = config.input(item.side).kept.column(&item.column);
        let data_type = kept.map_or(DataType::Null, |column| plain_key_type(&column.data_type));
        Column { name: item.name.clone(), data_type, nullable: true }
    });
    let first = std::iter::once(id).chain(bounds).map(own);
    ColumnSchema { columns: first.chain(selected).chain([revision_field(), withdrawn_field()].map(own)).collect() }
}

impl Emission {
    pub(super) fn new(config: &WindowJoinConfig, context: &OperatorContext) -> Self {
        let source = |item: &WindowJoinColumn| {
            let kept = &config.input(item.side).kept;
            let place = kept.names().position(|name| name == item.column).unwrap_or_default();
            let data_type = kept.columns.get(place).map_or(DataType::Null, |column| plain_key_type(&column.data_type));
            let taken = match config.place_in_on(item.side, &item.column) {
                Some(place) => Taken::On(place),
                None => Taken::Side(item.side, place, item.is_fixed),
            };
            Source { taken, data_type }
        };
        Emission {
            ids: RecordIds::new(&context.identity, &context.operator),
            columns: config.select.iter().map(source).collect(),
            schema: Arc::new(columns(config).to_arrow()),
            most_bytes: MOST_BYTES,
        }
    }

    /// Emits results of the window with these bounds, in batches of a bounded size.
    pub(super) fn emit(
        &self,
        bounds: (i64, i64),
        picked: &[Picked],
        window: &Window,
        out: &mut Collector,
    ) -> Result<()> {
        let mut rest = picked;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(self.fitting(rest, window));
            out.emit(Port::MAIN, Batch::new(self.rows(bounds, now, window)?));
            rest = later;
        }
        Ok(())
    }

    /// How many of these results, the first ones, have room in one batch.
    fn fitting(&self, picked: &[Picked], window: &Window) -> usize {
        let most = picked.len().min(MOST_ROWS);
        if window.longest().saturating_mul(most) <= self.most_bytes {
            return most;
        }
        fitting(picked[..most].iter().map(|picked| window.text_bytes(picked)), self.most_bytes)
    }

    fn rows(&self, (start, end): (i64, i64), picked: &[Picked], window: &Window) -> Result<RecordBatch> {
        let ids: Vec<[u8; 16]> = picked
            .iter()
            .map(|picked| {
                let [hash, left, right] = [picked.identity.hash, picked.identity.left, picked.identity.right];
                self.ids.id(combine(&[hash, left, right]), start, end)
            })
            .collect();
        let moment = |at: i64| -> ArrayRef {
            Arc::new(TimestampMillisecondArray::from_value(at, picked.len()).with_timezone("UTC"))
        };
        let ids = FixedSizeBinaryArray::try_new(16, Buffer::from_vec(ids.into_flattened()), None)?;
        let mut columns: Vec<ArrayRef> = vec![Arc::new(ids), moment(start), moment(end)];
        for source in &self.columns {
            columns.push(column(source, picked, window)?);
        }
        columns.push(Arc::new(Int32Array::from_iter_values(picked.iter().map(|picked| picked.revision))));
        columns.push(Arc::new(BooleanArray::from_iter(picked.iter().map(|picked| Some(picked.is_withdrawn)))));
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }
}

fn column(source: &Source, picked: &[Picked], window: &Window) -> Result<ArrayRef> {
    let (left, right) = (window.left.pieces(), window.right.pieces());
    match source.taken {
        Taken::On(at) => {
            let both: Vec<&Arc<ResultRows>> = left.iter().chain(right).collect();
            let place = |picked: &Picked| match picked.on {
                (Side::Left, place) => Some(place),
                (Side::Right, (piece, row)) => Some((left.len() + piece, row)),
            };
            gathered(&both, at, &source.data_type, picked.iter().map(place))
        }
        Taken::Side(side, at, is_fixed) => {
            let pieces: Vec<&Arc<ResultRows>> = window.side(side).pieces().iter().collect();
            let place = |picked: &Picked| picked.rows[side as usize].filter(|_| is_fixed || !picked.is_withdrawn);
            gathered(&pieces, at, &source.data_type, picked.iter().map(place))
        }
    }
}

/// A column of the rows at some places; null, where there is none.
fn gathered(
    pieces: &[&Arc<ResultRows>],
    column: usize,
    data_type: &DataType,
    places: impl Iterator<Item = Option<Place>>,
) -> Result<ArrayRef> {
    let nothing = new_null_array(data_type, 1);
    let mut arrays: Vec<&dyn Array> = pieces.iter().map(|piece| piece.columns[column].as_ref()).collect();
    arrays.push(nothing.as_ref());
    let places: Vec<Place> = places.map(|place| place.unwrap_or((pieces.len(), 0))).collect();
    Ok(interleave(&arrays, &places)?)
}
