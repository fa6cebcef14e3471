//! The key columns of a table's groups, in columns that are only ever appended to.
//!
//! Whatever layout a key arrives in (plain text, views, dictionaries), it is kept and given out in one plain layout, so that
//! results and state have the same schema whichever way a row took.

use super::Rows;
use arrow::{
    array::{
        Array, ArrayData, ArrayRef, AsArray, BooleanArray, DictionaryArray, FixedSizeBinaryArray, GenericByteArray,
        make_array,
    },
    buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer},
    compute::cast,
    datatypes::{
        ArrowNativeType, BinaryType, BinaryViewType, ByteArrayType, ByteViewType, DataType, Field, Int32Type,
        LargeBinaryType, LargeUtf8Type, Schema, StringViewType, Utf8Type,
    },
};
use std::{cmp::Ordering, sync::Arc};
use weir_engine::{EngineError, Result, hash::can_be_hashed, parquet_pages::parquet_schema};

/// Key columns of groups, by group number.
#[derive(Debug, Clone, Default)]
pub struct KeyColumns {
    columns: Vec<KeyColumn>,
    groups: usize,
}

#[derive(Debug, Clone)]
struct KeyColumn {
    data_type: DataType,
    values: Values,
    /// One entry a group, once there has been a null.
    valid: Option<Vec<bool>>,
}

#[derive(Debug, Clone)]
enum Values {
    Bytes { offsets: Vec<i32>, data: Vec<u8> },
    FixedBytes { width: usize, data: Vec<u8> },
    Boolean(Vec<bool>),
    One(Vec<u8>),
    Two(Vec<u16>),
    Four(Vec<u32>),
    Eight(Vec<u64>),
    Sixteen(Vec<u128>),
}

/// The layout in which keys of a type are kept and given out.
pub fn plain_key_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Dictionary(_, values) => plain_key_type(values),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => DataType::Binary,
        other => other.clone(),
    }
}

/// Whether columns of a type can be part of a key: be hashed, be kept, and lie in a checkpoint.
pub fn can_be_key(data_type: &DataType) -> bool {
    let plain = plain_key_type(data_type);
    let stored = Schema::new(vec![Field::new("key", plain.clone(), true)]);
    can_be_hashed(&plain) && KeyColumn::new(&plain).is_ok() && parquet_schema(&stored).is_ok()
}

/// Key columns in the layout in which keys are given out.
///
/// # Errors
/// When a column cannot be brought into it.
pub fn plain_keys(columns: &[ArrayRef]) -> Result<Vec<ArrayRef>> {
    let plain = |column: &ArrayRef| -> Result<ArrayRef> {
        let wanted = plain_key_type(column.data_type());
        Ok(if wanted == *column.data_type() { Arc::clone(column) } else { cast(column, &wanted)? })
    };
    columns.iter().map(plain).collect()
}

impl KeyColumns {
    /// No group yet, for keys of these types.
    ///
    /// # Errors
    /// When a type cannot be part of a key.
    pub fn new<'a>(types: impl IntoIterator<Item = &'a DataType>) -> Result<Self> {
        let columns: Result<Vec<_>> = types.into_iter().map(KeyColumn::new).collect();
        Ok(KeyColumns { columns: columns?, groups: 0 })
    }

    /// Number of groups.
    pub fn len(&self) -> usize {
        self.groups
    }

    /// True when there is no group.
    pub fn is_empty(&self) -> bool {
        self.groups == 0
    }

    /// Appends the keys of some rows, a group each.
    ///
    /// # Errors
    /// When a column has another type than before, or more than 2 GiB of text have come together.
    pub fn append(&mut self, columns: &[ArrayRef], rows: Rows<'_>) -> Result<()> {
        if columns.len() != self.columns.len() {
            let (found, expected) = (columns.len(), self.columns.len());
            return Err(EngineError::internal(format!("{found} key columns where there were {expected}")));
        }
        for (column, array) in self.columns.iter_mut().zip(columns) {
            column.append(array, rows, self.groups)?;
        }
        self.groups += rows.len();
        Ok(())
    }

    /// The keys of some groups.
    ///
    /// # Errors
    /// Never for columns that were appended to by `append`; a broken invariant otherwise.
    pub fn arrays(&self, groups: Rows<'_>) -> Result<Vec<ArrayRef>> {
        self.columns.iter().map(|column| column.array(groups)).collect()
    }

    /// Names a type for each column: the plain layout that keys are given out in.
    pub fn types(&self) -> impl Iterator<Item = &DataType> {
        self.columns.iter().map(|column| &column.data_type)
    }

    /// The same columns without a group.
    ///
    /// # Errors
    /// Never for columns that `new` has made.
    pub fn empty(&self) -> Result<Self> {
        KeyColumns::new(self.types())
    }

    /// Orders a group's key before or after one of `other`, by some of the columns: ascending, nulls last, floats with NaN last.
    pub fn compare(&self, group: u32, other: &KeyColumns, other_group: u32, columns: &[usize]) -> Ordering {
        let order = |column: &usize| {
            let (left, right) = (&self.columns[*column], &other.columns[*column]);
            left.compare(group as usize, right, other_group as usize)
        };
        columns.iter().map(order).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    }

    /// Bytes held, for accounting.
    pub fn size_in_bytes(&self) -> usize {
        self.columns.iter().map(KeyColumn::size_in_bytes).sum()
    }

    /// Gives back the memory that further groups would have taken.
    pub fn shrink_to_fit(&mut self) {
        self.columns.iter_mut().for_each(KeyColumn::shrink_to_fit);
    }

    /// Removes all groups and keeps the memory.
    pub fn clear(&mut self) {
        self.groups = 0;
        self.columns.iter_mut().for_each(KeyColumn::clear);
    }
}

impl KeyColumn {
    fn new(data_type: &DataType) -> Result<Self> {
        let data_type = plain_key_type(data_type);
        let values = match &data_type {
            DataType::Utf8 | DataType::Binary => Values::Bytes { offsets: vec![0], data: Vec::new() },
            DataType::FixedSizeBinary(width) => Values::FixedBytes { width: *width as usize, data: Vec::new() },
            DataType::Boolean => Values::Boolean(Vec::new()),
            other => match other.primitive_width() {
                Some(1) => Values::One(Vec::new()),
                Some(2) => Values::Two(Vec::new()),
                Some(4) => Values::Four(Vec::new()),
                Some(8) => Values::Eight(Vec::new()),
                Some(16) => Values::Sixteen(Vec::new()),
                _ => return Err(EngineError::definition(format!("a column of type {other} cannot be part of a key"))),
            },
        };
        Ok(KeyColumn { data_type, values, valid: None })
    }

    fn append(&mut self, array: &ArrayRef, rows: Rows<'_>, groups: usize) -> Result<()> {
        if plain_key_type(array.data_type()) != self.data_type {
            let (found, expected) = (array.data_type(), &self.data_type);
            return Err(EngineError::internal(format!("a key column of type {found} where it was {expected}")));
        }
        match array.data_type() {
            DataType::Dictionary(..) => {
                let dictionary = array.as_any_dictionary();
                if dictionary.values().is_empty() {
                    return self.append_nulls(rows.len(), groups);
                }
                // Keys that are not null are read where they lie: few rows of a batch may be chosen.
                let plain = array.as_dictionary_opt::<Int32Type>().map(DictionaryArray::keys);
                let chosen: Vec<u32> = match plain.filter(|keys| keys.null_count() == 0) {
                    Some(keys) => (0..rows.len()).map(|n| keys.value(rows.row(n)) as u32).collect(),
                    None => {
                        let keys = dictionary.normalized_keys();
                        (0..rows.len()).map(|n| keys[rows.row(n)] as u32).collect()
                    }
                };
                self.append(dictionary.values(), Rows::Some(&chosen), groups)?;
                self.note_nulls(array.nulls(), rows, groups);
                return Ok(());
            }
            DataType::Utf8 => self.append_bytes(array.as_bytes::<Utf8Type>(), rows)?,
            DataType::LargeUtf8 => self.append_bytes(array.as_bytes::<LargeUtf8Type>(), rows)?,
            DataType::Binary => self.append_bytes(array.as_bytes::<BinaryType>(), rows)?,
            DataType::LargeBinary => self.append_bytes(array.as_bytes::<LargeBinaryType>(), rows)?,
            DataType::Utf8View => self.append_views::<StringViewType>(array, rows)?,
            DataType::BinaryView => self.append_views::<BinaryViewType>(array, rows)?,
            _ => self.append_fixed(array, rows),
        }
        self.note_nulls(array.logical_nulls().as_ref(), rows, groups);
        Ok(())
    }

    fn append_nulls(&mut self, count: usize, groups: usize) -> Result<()> {
        let nulls = arrow::array::new_null_array(&self.data_type, count);
        self.append(&nulls, Rows::All(count), groups)
    }

    fn note_nulls(&mut self, nulls: Option<&NullBuffer>, rows: Rows<'_>, groups: usize) {
        if nulls.is_none() && self.valid.is_none() {
            return;
        }
        let valid = self.valid.get_or_insert_with(|| vec![true; groups]);
        valid.resize(groups + rows.len(), true);
        if let Some(nulls) = nulls {
            for (n, valid) in valid[groups..].iter_mut().enumerate() {
                *valid &= nulls.is_valid(rows.row(n));
            }
        }
    }

    fn append_bytes<T: ByteArrayType>(&mut self, array: &GenericByteArray<T>, rows: Rows<'_>) -> Result<()>
    where
        T::Native: AsRef<[u8]>,
    {
        self.append_each((0..rows.len()).map(|n| array.value(rows.row(n)).as_ref()))
    }

    fn append_views<T: ByteViewType>(&mut self, array: &ArrayRef, rows: Rows<'_>) -> Result<()>
    where
        T::Native: AsRef<[u8]>,
    {
        let array = array.as_byte_view::<T>();
        self.append_each((0..rows.len()).map(|n| array.value(rows.row(n)).as_ref()))
    }

    fn append_each<'a>(&mut self, values: impl Iterator<Item = &'a [u8]>) -> Result<()> {
        let Values::Bytes { offsets, data } = &mut self.values else { return Ok(()) };
        for value in values {
            data.extend_from_slice(value);
            let end = i32::try_from(data.len()).map_err(|_| {
                EngineError::internal(
                    "the keys of one window exceed 2 GiB in one subtask: raise the parallelism, or take a shorter key",
                )
            })?;
            offsets.push(end);
        }
        Ok(())
    }

    fn append_fixed(&mut self, array: &ArrayRef, rows: Rows<'_>) {
        let data = array.to_data();
        match &mut self.values {
            Values::One(into) => append_chosen(into, &data, rows),
            Values::Two(into) => append_chosen(into, &data, rows),
            Values::Four(into) => append_chosen(into, &data, rows),
            Values::Eight(into) => append_chosen(into, &data, rows),
            Values::Sixteen(into) => append_chosen(into, &data, rows),
            Values::Boolean(into) => {
                let values = array.as_boolean();
                into.extend((0..rows.len()).map(|n| values.value(rows.row(n))));
            }
            Values::FixedBytes { data: into, .. } => {
                let values = array.as_fixed_size_binary();
                (0..rows.len()).for_each(|n| into.extend_from_slice(values.value(rows.row(n))));
            }
            Values::Bytes { .. } => {}
        }
    }

    fn array(&self, groups: Rows<'_>) -> Result<ArrayRef> {
        let chosen = || (0..groups.len()).map(|n| groups.row(n));
        let nulls = self.valid.as_ref().map(|valid| chosen().map(|group| valid[group]).collect::<NullBuffer>());
        let nulls = nulls.filter(|nulls| nulls.null_count() > 0);
        Ok(match &self.values {
            Values::Bytes { offsets, data } => {
                let (offsets, data) = bytes_of(offsets, data, groups);
                match self.data_type {
                    DataType::Utf8 => Arc::new(GenericByteArray::<Utf8Type>::try_new(offsets, data, nulls)?),
                    _ => Arc::new(GenericByteArray::<BinaryType>::try_new(offsets, data, nulls)?),
                }
            }
            Values::FixedBytes { width, data } => {
                let data: Vec<u8> =
                    chosen().flat_map(|group| &data[group * width..(group + 1) * width]).copied().collect();
                Arc::new(FixedSizeBinaryArray::try_new(*width as i32, Buffer::from_vec(data), nulls)?)
            }
            Values::Boolean(values) => {
                Arc::new(BooleanArray::new(chosen().map(|group| values[group]).collect::<BooleanBuffer>(), nulls))
            }
            Values::One(values) => self.fixed(values, groups, nulls)?,
            Values::Two(values) => self.fixed(values, groups, nulls)?,
            Values::Four(values) => self.fixed(values, groups, nulls)?,
            Values::Eight(values) => self.fixed(values, groups, nulls)?,
            Values::Sixteen(values) => self.fixed(values, groups, nulls)?,
        })
    }

    fn fixed<T: ArrowNativeType>(&self, values: &[T], groups: Rows<'_>, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
        let chosen: Vec<T> = match groups {
            Rows::All(count) => values[..count].to_vec(),
            Rows::Some(groups) => groups.iter().map(|group| values[*group as usize]).collect(),
        };
        let data = ArrayData::builder(self.data_type.clone())
            .len(chosen.len())
            .nulls(nulls)
            .add_buffer(Buffer::from_vec(chosen))
            .build()?;
        Ok(make_array(data))
    }

    fn is_valid(&self, group: usize) -> bool {
        self.valid.as_ref().is_none_or(|valid| valid[group])
    }

    fn compare(&self, group: usize, other: &KeyColumn, other_group: usize) -> Ordering {
        match (self.is_valid(group), other.is_valid(other_group)) {
            (true, true) => self.values.compare(group, &other.values, other_group, &self.data_type),
            (left, right) => right.cmp(&left),
        }
    }

    fn size_in_bytes(&self) -> usize {
        let values = match &self.values {
            Values::Bytes { offsets, data } => offsets.capacity() * size_of::<i32>() + data.capacity(),
            Values::FixedBytes { data, .. } => data.capacity(),
            Values::Boolean(values) => values.capacity(),
            Values::One(values) => values.capacity(),
            Values::Two(values) => values.capacity() * 2,
            Values::Four(values) => values.capacity() * 4,
            Values::Eight(values) => values.capacity() * 8,
            Values::Sixteen(values) => values.capacity() * 16,
        };
        values + self.valid.as_ref().map_or(0, Vec::capacity)
    }

    fn shrink_to_fit(&mut self) {
        self.valid.iter_mut().for_each(Vec::shrink_to_fit);
        match &mut self.values {
            Values::Bytes { offsets, data } => {
                offsets.shrink_to_fit();
                data.shrink_to_fit();
            }
            Values::FixedBytes { data, .. } => data.shrink_to_fit(),
            Values::Boolean(values) => values.shrink_to_fit(),
            Values::One(values) => values.shrink_to_fit(),
            Values::Two(values) => values.shrink_to_fit(),
            Values::Four(values) => values.shrink_to_fit(),
            Values::Eight(values) => values.shrink_to_fit(),
            Values::Sixteen(values) => values.shrink_to_fit(),
        }
    }

    fn clear(&mut self) {
        self.valid = None;
        match &mut self.values {
            Values::Bytes { offsets, data } => {
                offsets.truncate(1);
                data.clear();
            }
            Values::FixedBytes { data, .. } => data.clear(),
            Values::Boolean(values) => values.clear(),
            Values::One(values) => values.clear(),
            Values::Two(values) => values.clear(),
            Values::Four(values) => values.clear(),
            Values::Eight(values) => values.clear(),
            Values::Sixteen(values) => values.clear(),
        }
    }
}

impl Values {
    fn compare(&self, at: usize, other: &Values, other_at: usize, data_type: &DataType) -> Ordering {
        let unsigned = data_type.is_unsigned_integer();
        match (self, other) {
            (Values::Bytes { offsets, data }, Values::Bytes { offsets: other_offsets, data: others }) => {
                let left = &data[offsets[at] as usize..offsets[at + 1] as usize];
                left.cmp(&others[other_offsets[other_at] as usize..other_offsets[other_at + 1] as usize])
            }
            (Values::FixedBytes { width, data }, Values::FixedBytes { data: others, .. }) => {
                data[at * width..(at + 1) * width].cmp(&others[other_at * width..(other_at + 1) * width])
            }
            (Values::Boolean(values), Values::Boolean(others)) => values[at].cmp(&others[other_at]),
            (Values::One(values), Values::One(others)) if unsigned => values[at].cmp(&others[other_at]),
            (Values::One(values), Values::One(others)) => (values[at] as i8).cmp(&(others[other_at] as i8)),
            (Values::Two(values), Values::Two(others)) if unsigned => values[at].cmp(&others[other_at]),
            (Values::Two(values), Values::Two(others)) => (values[at] as i16).cmp(&(others[other_at] as i16)),
            (Values::Four(values), Values::Four(others)) if unsigned => values[at].cmp(&others[other_at]),
            (Values::Four(values), Values::Four(others)) if *data_type == DataType::Float32 => {
                f32::from_bits(values[at]).total_cmp(&f32::from_bits(others[other_at]))
            }
            (Values::Four(values), Values::Four(others)) => (values[at] as i32).cmp(&(others[other_at] as i32)),
            (Values::Eight(values), Values::Eight(others)) if unsigned => values[at].cmp(&others[other_at]),
            (Values::Eight(values), Values::Eight(others)) if *data_type == DataType::Float64 => {
                f64::from_bits(values[at]).total_cmp(&f64::from_bits(others[other_at]))
            }
            (Values::Eight(values), Values::Eight(others)) => (values[at] as i64).cmp(&(others[other_at] as i64)),
            (Values::Sixteen(values), Values::Sixteen(others)) => (values[at] as i128).cmp(&(others[other_at] as i128)),
            // Columns of one operator are of one type: `append` refuses others.
            _ => Ordering::Equal,
        }
    }
}

fn append_chosen<T: ArrowNativeType>(into: &mut Vec<T>, array: &ArrayData, rows: Rows<'_>) {
    let values = ScalarBuffer::<T>::new(array.buffers()[0].clone(), array.offset(), array.len());
    into.extend((0..rows.len()).map(|n| values[rows.row(n)]));
}

fn bytes_of(offsets: &[i32], data: &[u8], groups: Rows<'_>) -> (OffsetBuffer<i32>, Buffer) {
    match groups {
        Rows::All(count) => {
            let end = offsets[count] as usize;
            (OffsetBuffer::new(offsets[..=count].to_vec().into()), Buffer::from_vec(data[..end].to_vec()))
        }
        Rows::Some(groups) => {
            let of = |group: u32| &data[offsets[group as usize] as usize..offsets[group as usize + 1] as usize];
            let offsets = OffsetBuffer::from_lengths(groups.iter().map(|group| of(*group).len()));
            (offsets, Buffer::from_vec(groups.iter().flat_map(|group| of(*group)).copied().collect::<Vec<u8>>()))
        }
    }
}
