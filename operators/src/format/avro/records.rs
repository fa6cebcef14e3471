//! Records as bytes become Arrow, by the schema that they were written with and the one that they are read by.
//!
//! An error in the middle of a record leaves half of it in arrow-avro's builders. So from there on another decoder goes on, and
//! the good records before it are decoded once more. Invariant: each record is decoded at most twice, whatever the others are.

use arrow::array::RecordBatch;
use arrow_avro::reader::Decoder;

use super::{
    columns::ReadColumns,
    schema::{RecordSchema, SCHEMA_ID, decoder},
};

/// What announces a record to a decoder.
const PREFIX: [u8; 5] = {
    let [a, b, c, d] = SCHEMA_ID.to_be_bytes();
    [0, a, b, c, d]
};

/// Decodes records that were written with one schema.
pub(super) struct Records {
    written: String,
    read: RecordSchema,
    /// The fields that are read, of the schema that they are read by; none: all of them.
    fields: Option<Vec<usize>>,
    decoder: Decoder,
}

/// Decoded records.
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
        // A field may be of a type that is defined in one that is not wanted: then all are read.
        let wanted = Some(columns.fields().to_vec());
        let (fields, decoder) = match decoder(written, Some(read.text()), wanted.as_deref()) {
            Ok(decoder) => (wanted, decoder),
            Err(_) => (None, decoder(written, Some(read.text()), None)?),
        };
        Ok(Records { written: written.to_owned(), read: read.clone(), fields, decoder })
    }

    /// Decodes records, all of them.
    pub(super) fn decode<'a>(
        &mut self,
        records: impl Iterator<Item = &'a [u8]> + Clone,
    ) -> Result<DecodedRecords, String> {
        let (mut batches, mut bad) = (Vec::new(), Vec::new());
        let mut good = records.clone();
        let mut good_count = 0;
        for (place, record) in records.enumerate() {
            match self.add(record) {
                Ok(()) => good_count += 1,
                Err(reason) => {
                    self.decoder = decoder(&self.written, Some(self.read.text()), self.fields.as_deref())?;
                    for record in good.by_ref().take(good_count) {
                        self.add(record)
                            .map_err(|reason| format!("a record that was good is not any more: {reason}"))?;
                    }
                    batches.extend(self.flush()?);
                    // The bad one.
                    good.next();
                    good_count = 0;
                    bad.push((place, reason));
                }
            }
        }
        batches.extend(self.flush()?);
        Ok(DecodedRecords { batches, bad })
    }

    /// Decodes one record behind the others. On an error the decoder is of no more use.
    fn add(&mut self, record: &[u8]) -> Result<(), String> {
        let before = self.decoder.capacity();
        let failed = |error: arrow_avro::errors::AvroError| error.to_string();
        self.decoder.decode(&PREFIX).map_err(failed)?;
        let outcome = self.decoder.decode(record);
        let taken = match (before - self.decoder.capacity(), outcome) {
            (1, Ok(taken)) => taken,
            (0, Err(error)) => return Err(format!("no record of its schema: {error}")),
            (0, Ok(_)) => return Err(format!("it ends in the middle of a record, after {} bytes", record.len())),
            // More than a record was read, or tried.
            _ => 0,
        };
        if taken < record.len() {
            return Err("more bytes follow its record: it was written with another schema".to_owned());
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<Option<RecordBatch>, String> {
        self.decoder.flush().map_err(|error| error.to_string())
    }
}
