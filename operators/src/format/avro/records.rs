//! Records as bytes become Arrow, by the schema that they were written with and the one that they are read by.
//!
//! An error in the middle of a record leaves half of it in arrow-avro's builders, and what is wrong with a text is told only when
//! they are emptied, and not of which record. So from there on another decoder goes on, the good records before it are decoded
//! once more, and where it is not known which one is bad, each half of them by itself. Invariant: what becomes of a record does
//! not depend on the others.

use arrow::{array::RecordBatch, datatypes::DataType};
use arrow_avro::reader::Decoder;
use memchr::memmem;

use super::{
    columns::ReadColumns,
    schema::{MOST_ROWS, RecordSchema, SCHEMA_ID, decoder},
};

/// What announces a record to a decoder.
const PREFIX: [u8; 5] = {
    let [a, b, c, d] = SCHEMA_ID.to_be_bytes();
    [0, a, b, c, d]
};

const MORE_BYTES: &str = "more bytes follow its record: it was written with another schema";

/// Decodes records that were written with one schema.
pub(super) struct Records {
    written: RecordSchema,
    read: RecordSchema,
    /// The fields that are read, of the schema that they are read by; none: all of them.
    fields: Option<Vec<usize>>,
    /// Whether there are unions in what comes out. A decoder of some that was emptied goes on counting as if it were not.
    has_unions: bool,
    decoder: Decoder,
}

/// Decoded records.
#[derive(Default)]
pub(super) struct DecodedRecords {
    /// The good ones, in their order.
    pub(super) batches: Vec<RecordBatch>,
    /// The others: the place of each, and why.
    pub(super) bad: Vec<(usize, String)>,
}

impl Records {
    /// Of records that were written with a schema.
    ///
    /// # Errors
    /// When that is no schema, or its records can't be read by the other one, in words.
    pub(super) fn new(written: &str, read: &RecordSchema, columns: &ReadColumns) -> Result<Self, String> {
        let written = RecordSchema::parse(written)?;
        // A field may be of a type that is defined in one that is not wanted: then all are read.
        let wanted = Some(columns.fields().to_vec());
        let (fields, decoder) = match decoder(written.short(), Some(read.short()), wanted.as_deref(), MOST_ROWS) {
            Ok(decoder) => (wanted, decoder),
            Err(_) => (None, decoder(written.short(), Some(read.short()), None, MOST_ROWS)?),
        };
        let has_unions = decoder.schema().fields().iter().any(|field| has_union(field.data_type()));
        Ok(Records { written, read: read.clone(), fields, has_unions, decoder })
    }

    /// Decodes records, all of them.
    pub(super) fn decode(&mut self, records: &[&[u8]]) -> Result<DecodedRecords, String> {
        let mut out = DecodedRecords::default();
        self.decode_from(records, 0, &mut out)?;
        Ok(out)
    }

    /// Decodes records of which the first has a place. The decoder is empty before and after.
    fn decode_from(&mut self, records: &[&[u8]], first: usize, out: &mut DecodedRecords) -> Result<(), String> {
        let mut begin = 0;
        for (place, record) in records.iter().enumerate() {
            let Err(reason) = self.add(record) else { continue };
            self.decoder = self.another(MOST_ROWS)?;
            let good = &records[begin..place];
            for record in good {
                self.add(record).map_err(|reason| format!("a record that was good is not any more: {reason}"))?;
            }
            self.empty(good, first + begin, out)?;
            out.bad.push((first + place, reason));
            begin = place + 1;
        }
        self.empty(&records[begin..], first + begin, out)
    }

    /// Takes the rows out of the decoder, which has taken just these records.
    fn empty(&mut self, records: &[&[u8]], first: usize, out: &mut DecodedRecords) -> Result<(), String> {
        let reason = match self.decoder.flush() {
            Ok(None) if records.is_empty() => return Ok(()),
            Ok(Some(batch)) if batch.num_rows() == records.len() => {
                out.batches.push(batch);
                if self.has_unions {
                    self.decoder = self.another(MOST_ROWS)?;
                }
                return Ok(());
            }
            Ok(_) => "its values are not as many as its fields".to_owned(),
            Err(error) => error.to_string(),
        };
        self.decoder = self.another(MOST_ROWS)?;
        if records.len() <= 1 {
            out.bad.push((first, format!("no record of its schema: {reason}")));
            return Ok(());
        }
        let (one, other) = records.split_at(records.len() / 2);
        self.decode_from(one, first, out)?;
        self.decode_from(other, first + one.len(), out)
    }

    fn another(&self, most_rows: usize) -> Result<Decoder, String> {
        decoder(self.written.short(), Some(self.read.short()), self.fields.as_deref(), most_rows)
    }

    /// Decodes one record behind the others. On an error the decoder is of no more use.
    fn add(&mut self, record: &[u8]) -> Result<(), String> {
        // What follows the record could be taken for another one that is announced.
        if memmem::find(record, &PREFIX).is_some() {
            add_to(&mut self.another(1)?, record)?;
        }
        add_to(&mut self.decoder, record)
    }
}

fn has_union(data_type: &DataType) -> bool {
    match data_type {
        DataType::Union(..) => true,
        DataType::List(field) | DataType::Map(field, _) => has_union(field.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| has_union(field.data_type())),
        _ => false,
    }
}

fn add_to(decoder: &mut Decoder, record: &[u8]) -> Result<(), String> {
    let before = decoder.capacity();
    decoder.decode(&PREFIX).map_err(|error| error.to_string())?;
    let outcome = decoder.decode(record);
    match (before - decoder.capacity(), outcome) {
        (1, Ok(taken)) if taken == record.len() => Ok(()),
        (0, Err(error)) => Err(format!("no record of its schema: {error}")),
        (0, Ok(_)) => Err(format!("it ends in the middle of a record, after {} bytes", record.len())),
        // Once the record was taken, what follows was tried.
        _ => Err(MORE_BYTES.to_owned()),
    }
}
