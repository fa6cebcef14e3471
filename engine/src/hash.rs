//! Key hashing: one fixed, seeded 128-bit hash over a canonical encoding.
//!
//! State on disk, key groups and record ids depend on it, so it never changes within a state format version; the golden
//! values below are tested.
//!
//! *Value hash*: XXH3-128 of the value's canonical bytes, seeded with `SEED + type tag`. A null has the hash of no bytes
//! under its own tag. Canonical bytes are: a string's UTF-8 bytes, whatever array type holds it (Utf8, LargeUtf8, Utf8View
//! or a dictionary of them); integers of every width as i64, little-endian (UInt64 beyond i64 under a tag of its own);
//! floats as f64 bits with one zero and one NaN; booleans as one byte; dates as days (i64); timestamps as i64 in their unit
//! (one tag a unit), so durations; times of day as nanoseconds (i64); decimals as 16 bytes, little-endian, in units of their
//! last digit, and the scale in one byte, whatever their precision; binary as it is.
//!
//! *Key hash*: of one column the value hash; of several XXH3-128, seeded with [`SEED`], of the columns' value hashes, 16
//! little-endian bytes each, in order.
//!
//! Keys are identified by this hash: two different keys among ten billion share one with a probability below 10⁻¹⁸, unless
//! somebody makes them share it. XXH3 is no cryptographic hash, and a secret seed would not make it one: there are pairs of 32 to
//! 240 bytes that collide in all 128 bits for one seed in 2²⁷ (Cyan4973/xxHash#1127). What would help is a keyed hash for texts
//! and binaries. Measured for a text of 16 / 32 bytes on one core: XXH3-128 4 / 5 ns, SipHash-1-3-128 14 / 17 ns; so some 40 ns
//! more an event with four texts in its key. The documentation of `dedup` says what a user can do instead.

use crate::{
    element::Batch,
    error::{EngineError, Result},
};
use arrow::{
    array::{Array, ArrayRef, AsArray, DictionaryArray, PrimitiveArray, new_empty_array},
    datatypes::*,
    record_batch::RecordBatch,
};
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_128_with_seed;

/// Seed of every key hash.
pub const SEED: u64 = 0x5745_4952_0000_0100;

const NULL: u64 = 1;
const TEXT: u64 = 2;
const INTEGER: u64 = 3;
const LARGE_UNSIGNED: u64 = 4;
const FLOAT: u64 = 5;
const BOOLEAN: u64 = 6;
const DATE: u64 = 7;
const BINARY: u64 = 8;
const DECIMAL: u64 = 9;
const TIME: u64 = 10;
const TIMESTAMP: u64 = 16;
const DURATION: u64 = 20;

#[inline]
fn value(tag: u64, bytes: &[u8]) -> u128 {
    xxh3_128_with_seed(bytes, SEED + tag)
}

/// The hash of one text value.
#[inline]
pub fn hash_text(text: &str) -> u128 {
    value(TEXT, text.as_bytes())
}

/// The hash of one integer value.
#[inline]
pub fn hash_integer(number: i64) -> u128 {
    value(INTEGER, &number.to_le_bytes())
}

/// The hash of a key of several columns, from its value hashes.
#[inline]
pub fn combine(value_hashes: &[u128]) -> u128 {
    match value_hashes {
        [one] => *one,
        [first, second] => {
            let mut bytes = [0; 32];
            bytes[..16].copy_from_slice(&first.to_le_bytes());
            bytes[16..].copy_from_slice(&second.to_le_bytes());
            xxh3_128_with_seed(&bytes, SEED)
        }
        many => {
            let bytes: Vec<u8> = many.iter().flat_map(|hash| hash.to_le_bytes()).collect();
            xxh3_128_with_seed(&bytes, SEED)
        }
    }
}

/// Hashes the key columns of batches, a dictionary's entries once and not once a row.
#[derive(Debug, Default)]
pub struct KeyHasher {
    columns: Vec<String>,
    dictionaries: Vec<DictionaryCache>,
    scratch: Vec<Vec<u128>>,
}

/// A dictionary that no batch has used for so many batches is forgotten.
const FORGOTTEN_AFTER: u64 = 64;

/// Value hashes of the dictionaries that a column has used of late. Behind an exchange there are several in turn: one of
/// each subtask that batches come from.
#[derive(Debug, Default)]
struct DictionaryCache {
    known: Vec<KnownDictionary>,
    batches: u64,
}

/// One dictionary. The array is held, so that its address is not used again.
#[derive(Debug)]
struct KnownDictionary {
    values: ArrayRef,
    /// By entry; empty as long as rows are hashed one by one.
    hashes: Vec<u128>,
    /// Rows that have referred to it.
    rows: usize,
    used_at: u64,
}

impl KeyHasher {
    /// For keys of these columns, in this order.
    pub fn new(columns: Vec<String>) -> Self {
        let dictionaries = columns.iter().map(|_| DictionaryCache::default()).collect();
        let scratch = columns.iter().map(|_| Vec::new()).collect();
        KeyHasher { columns, dictionaries, scratch }
    }

    /// The key columns.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The key hash of every row, taken over where a batch carries them along.
    ///
    /// # Errors
    /// When a key column is missing or of a type that cannot be a key.
    pub fn hashes_of(&mut self, batch: &Batch) -> Result<Arc<Vec<u128>>> {
        match batch.key_hashes_of(&self.columns) {
            Some(hashes) => Ok(Arc::clone(hashes)),
            None => Ok(Arc::new(self.hash(&batch.columns)?)),
        }
    }

    /// The key hash of every row.
    ///
    /// # Errors
    /// When a key column is missing or of a type that cannot be a key.
    pub fn hash(&mut self, batch: &RecordBatch) -> Result<Vec<u128>> {
        for index in 0..self.columns.len() {
            let name = &self.columns[index];
            let column = batch.column_by_name(name).ok_or_else(|| {
                EngineError::internal(format!("key column '{name}' is not in the batch ({})", names(batch)))
            })?;
            let out = &mut self.scratch[index];
            out.clear();
            self.dictionaries[index]
                .hash_into(column, out)
                .map_err(|error| error.context(format!("key column '{name}'")))?;
        }
        match self.scratch.as_mut_slice() {
            [] => Ok(vec![combine(&[]); batch.num_rows()]),
            [one] => Ok(std::mem::take(one)),
            [first, second] => Ok(first.iter().zip(second.iter()).map(|(a, b)| combine(&[*a, *b])).collect()),
            [a, b, c] => Ok(combine_rows([a, b, c])),
            [a, b, c, d] => Ok(combine_rows([a, b, c, d])),
            many => {
                let width = many.len();
                let mut bytes = vec![0u8; width * 16];
                Ok((0..batch.num_rows())
                    .map(|row| {
                        for (column, hashes) in many.iter().enumerate() {
                            bytes[column * 16..column * 16 + 16].copy_from_slice(&hashes[row].to_le_bytes());
                        }
                        xxh3_128_with_seed(&bytes, SEED)
                    })
                    .collect())
            }
        }
    }
}

/// As [`combine`], row by row. With a number of columns that the compiler knows nothing is copied in a loop.
fn combine_rows<const COLUMNS: usize>(columns: [&mut Vec<u128>; COLUMNS]) -> Vec<u128> {
    let rows = columns.iter().map(|column| column.len()).min().unwrap_or(0);
    let columns = columns.each_ref().map(|column| &column[..rows]);
    let row_hash = |row: usize| {
        let value_hashes = columns.map(|column| column[row].to_le_bytes());
        xxh3_128_with_seed(value_hashes.as_flattened(), SEED)
    };
    (0..rows).map(row_hash).collect()
}

fn names(batch: &RecordBatch) -> String {
    let schema = batch.schema_ref();
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    names.join(", ")
}

impl DictionaryCache {
    fn hash_into(&mut self, column: &ArrayRef, out: &mut Vec<u128>) -> Result<()> {
        let Some(dictionary) = column.as_any_dictionary_opt() else {
            return hash_plain(column, out);
        };
        let values = dictionary.values();
        let null = value(NULL, &[]);
        if values.is_empty() {
            // No value to refer to: every row is null.
            out.extend(std::iter::repeat_n(null, column.len()));
            return Ok(());
        }
        let known = self.look_up(values);
        known.rows = known.rows.saturating_add(column.len());
        // The layout that our own sources give: keys are read where they lie.
        let plain_keys = column.as_any().downcast_ref::<DictionaryArray<Int32Type>>().map(DictionaryArray::keys);
        let plain_keys = plain_keys.filter(|keys| keys.null_count() == 0).map(|keys| keys.values());
        // All entries are hashed, one after the other, when rows have come for half of them: it may be the last batch.
        if known.hashes.is_empty() && known.rows < values.len() / 2 {
            match (plain_keys, values.as_string_opt::<i32>().filter(|texts| texts.null_count() == 0)) {
                (Some(keys), Some(texts)) => out.extend(keys.iter().map(|key| hash_text(texts.value(*key as usize)))),
                _ => hash_plain(&arrow::compute::cast(column, values.data_type())?, out)?,
            }
            return Ok(());
        }
        if known.hashes.is_empty() {
            hash_plain(values, &mut known.hashes)?;
        }
        let hashes = &known.hashes;
        if let Some(keys) = plain_keys {
            out.extend(keys.iter().map(|key| hashes[*key as usize]));
            return Ok(());
        }
        let keys = dictionary.normalized_keys();
        match column.nulls() {
            None => out.extend(keys.iter().map(|key| hashes[*key])),
            Some(nulls) => {
                let keys = keys.iter().enumerate();
                out.extend(keys.map(|(row, key)| if nulls.is_valid(row) { hashes[*key] } else { null }));
            }
        }
        Ok(())
    }

    /// What is known of a dictionary, from now on if nothing has been.
    fn look_up(&mut self, values: &ArrayRef) -> &mut KnownDictionary {
        self.batches += 1;
        let now = self.batches;
        let found = self.known.iter().position(|known| same_array(&known.values, values));
        let at = found.unwrap_or_else(|| {
            self.known.retain(|known| known.used_at + FORGOTTEN_AFTER > now);
            self.known.push(KnownDictionary { values: values.clone(), hashes: Vec::new(), rows: 0, used_at: now });
            self.known.len() - 1
        });
        self.known[at].used_at = now;
        &mut self.known[at]
    }
}

/// Whether two arrays are the same memory.
fn same_array(left: &ArrayRef, right: &ArrayRef) -> bool {
    Arc::ptr_eq(left, right) || left.to_data().ptr_eq(&right.to_data())
}

/// Whether columns of a type can be hashed.
pub fn can_be_hashed(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, values) => can_be_hashed(values),
        plain => hash_plain(&new_empty_array(plain), &mut Vec::new()).is_ok(),
    }
}

/// Appends the value hash of every row of an array that is not a dictionary.
fn hash_plain(array: &ArrayRef, out: &mut Vec<u128>) -> Result<()> {
    out.reserve(array.len());
    match array.data_type() {
        DataType::Utf8 => bytes(TEXT, array, array.as_string::<i32>().iter().map(|v| v.map(str::as_bytes)), out),
        DataType::LargeUtf8 => bytes(TEXT, array, array.as_string::<i64>().iter().map(|v| v.map(str::as_bytes)), out),
        DataType::Utf8View => bytes(TEXT, array, array.as_string_view().iter().map(|v| v.map(str::as_bytes)), out),
        DataType::Binary => bytes(BINARY, array, array.as_binary::<i32>().iter(), out),
        DataType::LargeBinary => bytes(BINARY, array, array.as_binary::<i64>().iter(), out),
        DataType::BinaryView => bytes(BINARY, array, array.as_binary_view().iter(), out),
        DataType::FixedSizeBinary(_) => bytes(BINARY, array, array.as_fixed_size_binary().iter(), out),
        DataType::Int8 => integers::<Int8Type>(INTEGER, array, out),
        DataType::Int16 => integers::<Int16Type>(INTEGER, array, out),
        DataType::Int32 => integers::<Int32Type>(INTEGER, array, out),
        DataType::Int64 => integers::<Int64Type>(INTEGER, array, out),
        DataType::UInt8 => integers::<UInt8Type>(INTEGER, array, out),
        DataType::UInt16 => integers::<UInt16Type>(INTEGER, array, out),
        DataType::UInt32 => integers::<UInt32Type>(INTEGER, array, out),
        DataType::UInt64 => primitive::<UInt64Type>(array, out, |v| match i64::try_from(v) {
            Ok(small) => hash_integer(small),
            Err(_) => value(LARGE_UNSIGNED, &v.to_le_bytes()),
        }),
        DataType::Float32 => primitive::<Float32Type>(array, out, |v| float(f64::from(v))),
        DataType::Float64 => primitive::<Float64Type>(array, out, float),
        DataType::Date32 => integers::<Date32Type>(DATE, array, out),
        DataType::Timestamp(unit, _) => match unit {
            TimeUnit::Second => integers::<TimestampSecondType>(TIMESTAMP, array, out),
            TimeUnit::Millisecond => integers::<TimestampMillisecondType>(TIMESTAMP + 1, array, out),
            TimeUnit::Microsecond => integers::<TimestampMicrosecondType>(TIMESTAMP + 2, array, out),
            TimeUnit::Nanosecond => integers::<TimestampNanosecondType>(TIMESTAMP + 3, array, out),
        },
        DataType::Duration(unit) => match unit {
            TimeUnit::Second => integers::<DurationSecondType>(DURATION, array, out),
            TimeUnit::Millisecond => integers::<DurationMillisecondType>(DURATION + 1, array, out),
            TimeUnit::Microsecond => integers::<DurationMicrosecondType>(DURATION + 2, array, out),
            TimeUnit::Nanosecond => integers::<DurationNanosecondType>(DURATION + 3, array, out),
        },
        DataType::Time32(TimeUnit::Second) => primitive::<Time32SecondType>(array, out, |v| time(v, 1_000_000_000)),
        DataType::Time32(_) => primitive::<Time32MillisecondType>(array, out, |v| time(v, 1_000_000)),
        DataType::Time64(TimeUnit::Microsecond) => {
            primitive::<Time64MicrosecondType>(array, out, |v| time(v, 1_000));
        }
        DataType::Time64(_) => primitive::<Time64NanosecondType>(array, out, |v| time(v, 1)),
        DataType::Decimal128(_, scale) => primitive::<Decimal128Type>(array, out, |v| decimal(v, *scale)),
        DataType::Boolean => {
            let null = value(NULL, &[]);
            out.extend(array.as_boolean().iter().map(|v| v.map_or(null, |v| value(BOOLEAN, &[u8::from(v)]))));
        }
        DataType::Null => out.extend(std::iter::repeat_n(value(NULL, &[]), array.len())),
        other => {
            return Err(EngineError::definition(format!("a column of type {other} cannot be part of a key")));
        }
    }
    Ok(())
}

fn bytes<'a>(tag: u64, array: &ArrayRef, values: impl Iterator<Item = Option<&'a [u8]>>, out: &mut Vec<u128>) {
    if array.null_count() == 0 {
        out.extend(values.map(|v| value(tag, v.unwrap_or_default())));
    } else {
        let null = value(NULL, &[]);
        out.extend(values.map(|v| v.map_or(null, |v| value(tag, v))));
    }
}

fn integers<T: ArrowPrimitiveType>(tag: u64, array: &ArrayRef, out: &mut Vec<u128>)
where
    T::Native: Into<i64>,
{
    primitive::<T>(array, out, |v| value(tag, &v.into().to_le_bytes()));
}

fn primitive<T: ArrowPrimitiveType>(array: &ArrayRef, out: &mut Vec<u128>, hash: impl Fn(T::Native) -> u128) {
    let array: &PrimitiveArray<T> = array.as_primitive();
    match array.nulls() {
        None => out.extend(array.values().iter().map(|v| hash(*v))),
        Some(nulls) => {
            let null = value(NULL, &[]);
            let values = array.values().iter().enumerate();
            out.extend(values.map(|(row, v)| if nulls.is_valid(row) { hash(*v) } else { null }));
        }
    }
}

/// A time of day, of which `nanoseconds` are one unit.
fn time(v: impl Into<i64>, nanoseconds: i64) -> u128 {
    value(TIME, &v.into().wrapping_mul(nanoseconds).to_le_bytes())
}

fn decimal(v: i128, scale: i8) -> u128 {
    let mut bytes = [0; 17];
    bytes[..16].copy_from_slice(&v.to_le_bytes());
    bytes[16] = scale as u8;
    value(DECIMAL, &bytes)
}

fn float(v: f64) -> u128 {
    let canonical = if v == 0.0 {
        0.0f64
    } else if v.is_nan() {
        f64::NAN
    } else {
        v
    };
    value(FLOAT, &canonical.to_bits().to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::*;
    use std::sync::Arc;

    fn one(name: &str, array: ArrayRef) -> RecordBatch {
        RecordBatch::try_from_iter([(name, array)]).unwrap()
    }

    #[test]
    fn decimals_and_times_are_known_by_their_value() {
        let hash = |array: ArrayRef| KeyHasher::new(vec!["k".into()]).hash(&one("k", array)).unwrap();
        let decimals = |precision, scale| -> ArrayRef {
            let values = Decimal128Array::from(vec![Some(150), None, Some(-150)]);
            Arc::new(values.with_precision_and_scale(precision, scale).unwrap())
        };
        assert_eq!(hash(decimals(10, 2)), hash(decimals(38, 2)));
        assert_ne!(hash(decimals(10, 2))[0], hash(decimals(10, 1))[0]);
        assert_ne!(hash(decimals(10, 2))[0], hash(decimals(10, 2))[2]);
        assert_eq!(hash(decimals(10, 2))[1], value(NULL, &[]));
        let millis: ArrayRef = Arc::new(Time32MillisecondArray::from(vec![1_500]));
        let nanos: ArrayRef = Arc::new(Time64NanosecondArray::from(vec![1_500_000_000]));
        assert_eq!(hash(millis), hash(nanos));
        // State on disk depends on them: the canonical bytes, hashed by themselves.
        let mut bytes = 150i128.to_le_bytes().to_vec();
        bytes.push(2);
        assert_eq!(hash(decimals(10, 2))[0], xxh3_128_with_seed(&bytes, 0x5745_4952_0000_0109));
        let list = DataType::List(Arc::new(Field::new("item", DataType::Int64, true)));
        for (data_type, can) in [
            (DataType::Utf8, true),
            (DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)), true),
            (DataType::Decimal128(38, 10), true),
            (DataType::Decimal256(50, 2), false),
            (DataType::Interval(IntervalUnit::MonthDayNano), false),
            (list, false),
        ] {
            assert_eq!(can_be_hashed(&data_type), can, "{data_type}");
        }
    }

    #[test]
    fn every_layout_of_a_text_has_the_same_hash() {
        let texts =
            [Some("ad001"), None, Some(""), Some("ad001"), Some("a text longer than the twelve bytes of a view")];
        let utf8: ArrayRef = Arc::new(StringArray::from(texts.to_vec()));
        let mut hasher = KeyHasher::new(vec!["k".into()]);
        let expected = hasher.hash(&one("k", utf8.clone())).unwrap();
        for to in [
            DataType::LargeUtf8,
            DataType::Utf8View,
            DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
            DataType::Dictionary(Box::new(DataType::UInt16), Box::new(DataType::Utf8)),
        ] {
            let other = one("k", arrow::compute::cast(&utf8, &to).unwrap());
            assert_eq!(hasher.hash(&other).unwrap(), expected, "{to}");
            assert_eq!(hasher.hash(&other).unwrap(), expected, "{to}, from the cache");
            assert_eq!(hasher.hash(&other.slice(1, 3)).unwrap(), expected[1..4], "{to}, sliced");
        }
        assert_eq!(expected[0], expected[3]);
        assert_ne!(expected[1], expected[2], "null is not the empty text");
    }

    #[test]
    fn a_dictionary_larger_than_its_batch_gives_the_same_hashes() {
        let values = StringArray::from_iter_values((0..100).map(|i| format!("ad{i}")));
        let keys = Int32Array::from(vec![Some(7), Some(99), None, Some(7)]);
        let dictionary: ArrayRef = Arc::new(DictionaryArray::new(keys, Arc::new(values)));
        let plain = arrow::compute::cast(&dictionary, &DataType::Utf8).unwrap();
        let mut hasher = KeyHasher::new(vec!["k".into()]);
        let expected = KeyHasher::new(vec!["k".into()]).hash(&one("k", plain)).unwrap();
        for _ in 0..3 {
            assert_eq!(hasher.hash(&one("k", dictionary.clone())).unwrap(), expected);
        }
    }

    #[test]
    fn keys_of_any_number_of_columns_are_combined_from_their_value_hashes() {
        for width in 1..=6i64 {
            let names: Vec<String> = (0..width).map(|n| format!("k{n}")).collect();
            let column = |n: i64| -> ArrayRef { Arc::new(Int64Array::from(vec![n, n + 10])) };
            let columns = names.iter().zip(0..).map(|(name, n)| (name.as_str(), column(n)));
            let hashes = KeyHasher::new(names.clone()).hash(&RecordBatch::try_from_iter(columns).unwrap()).unwrap();
            let row = |first: i64| (first..first + width).map(hash_integer).collect::<Vec<_>>();
            assert_eq!(hashes, [combine(&row(0)), combine(&row(10))]);
        }
    }

    #[test]
    fn a_dictionary_of_which_some_entries_were_used_is_hashed_whole_for_a_batch_with_nulls() {
        let values: ArrayRef = Arc::new(StringArray::from_iter_values((0..4).map(|i| format!("ad{i}"))));
        let array = |keys: Vec<Option<i32>>| -> ArrayRef {
            Arc::new(DictionaryArray::<Int32Type>::new(Int32Array::from(keys), values.clone()))
        };
        let mut hasher = KeyHasher::new(vec!["k".into()]);
        hasher.hash(&one("k", array(vec![Some(1); 5]))).unwrap();
        let hashes = hasher.hash(&one("k", array(vec![Some(2), None, Some(3)]))).unwrap();
        assert_eq!(hashes, [hash_text("ad2"), value(NULL, &[]), hash_text("ad3")]);
    }

    #[test]
    fn dictionaries_in_turn_are_known_and_those_of_the_past_forgotten() {
        let dictionary = |prefix: &str| -> ArrayRef {
            let values = StringArray::from_iter_values((0..100).map(|i| format!("{prefix}{i}")));
            Arc::new(DictionaryArray::new(Int32Array::from(vec![7, 99, 7]), Arc::new(values)))
        };
        let mut hasher = KeyHasher::new(vec!["k".into()]);
        let (first, second) = (dictionary("a"), dictionary("b"));
        for _ in 0..FORGOTTEN_AFTER {
            for (array, prefix) in [(&first, "a"), (&second, "b")] {
                let hashes = hasher.hash(&one("k", array.clone())).unwrap();
                let expected = [7, 99, 7].map(|i| hash_text(&format!("{prefix}{i}")));
                assert_eq!(hashes, expected);
            }
        }
        assert_eq!(hasher.dictionaries[0].known.len(), 2);
        for prefix in ["c", "d"] {
            let array = dictionary(prefix);
            for _ in 0..FORGOTTEN_AFTER {
                hasher.hash(&one("k", array.clone())).unwrap();
            }
        }
        assert_eq!(hasher.dictionaries[0].known.len(), 2, "what has not been used for long is forgotten");
    }

    #[test]
    fn a_dictionary_of_nulls_alone_has_the_hash_of_nulls() {
        let nulls: ArrayRef = Arc::new(vec![None::<&str>, None].into_iter().collect::<DictionaryArray<Int32Type>>());
        let plain: ArrayRef = Arc::new(StringArray::from(vec![None::<&str>, None]));
        let mut hasher = KeyHasher::new(vec!["k".into()]);
        assert_eq!(hasher.hash(&one("k", nulls)).unwrap(), hasher.hash(&one("k", plain)).unwrap());
    }

    #[test]
    fn golden_hashes() {
        assert_eq!(hash_text("ad001"), GOLDEN_AD001, "{:#x}", hash_text("ad001"));
        assert_eq!(hash_integer(42), GOLDEN_42, "{:#x}", hash_integer(42));
        let both = combine(&[hash_text("ad001"), hash_text("0000")]);
        assert_eq!(both, GOLDEN_BOTH, "{both:#x}");
    }
    // Computed independently, with Python's xxhash package.
    const GOLDEN_AD001: u128 = 0x1e34780a084aafae72417919aa47d3cb;
    const GOLDEN_42: u128 = 0xca7e5901f8ce44275d153391b80995ec;
    const GOLDEN_BOTH: u128 = 0xa802d3e540492f8b94d4292133e9f94b;

    #[test]
    fn integers_of_every_width_agree_and_zeros_are_one() {
        let mut hasher = KeyHasher::new(vec!["k".into()]);
        let narrow = hasher.hash(&one("k", Arc::new(Int8Array::from(vec![5])))).unwrap();
        let wide = hasher.hash(&one("k", Arc::new(UInt64Array::from(vec![5])))).unwrap();
        assert_eq!(narrow, wide);
        let floats = hasher.hash(&one("k", Arc::new(Float64Array::from(vec![0.0, -0.0])))).unwrap();
        assert_eq!(floats[0], floats[1]);
    }
}
