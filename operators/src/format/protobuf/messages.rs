//! Protobuf messages: records that come one by one, decoded as they come.
//!
//! Those of a registry begin with a zero byte, the number of a schema, and which of its messages they are. The number is not
//! looked up, since Protobuf's rules read older and newer messages by the one description; but what is said to be another
//! message is refused.

use arrow::datatypes::SchemaRef;
use futures::{FutureExt, future::BoxFuture};
use prost_reflect::{DynamicMessage, FieldDescriptor, MessageDescriptor};
use weir_engine::error::{EngineError, Result};

use super::fields::{append, find};
use crate::format::{
    BadLine, DecodedLines, FormatError,
    message::{Held, MessageDecoder, message_error, too_long},
    registry::framing,
    rows::Rows,
};
use crate::source::column_type::DeclaredSchema;

/// Decodes Protobuf messages.
pub(super) struct ProtobufMessages {
    rows: Rows,
    message: MessageDescriptor,
    columns: Vec<Column>,
    framed: bool,
    most: usize,
    held: Held,
}

struct Column {
    name: String,
    path: Vec<FieldDescriptor>,
}

impl ProtobufMessages {
    /// Messages of at most `most` bytes.
    pub(super) fn new(
        message: MessageDescriptor,
        requested: &DeclaredSchema,
        framed: bool,
        most: usize,
    ) -> Result<Self> {
        let mut columns = Vec::new();
        for column in &requested.columns {
            let path = find(&message, column)
                .map_err(|problem| EngineError::definition(format!("column {:?}: {problem}", column.name)))?;
            columns.push(Column { name: column.name.clone(), path });
        }
        let rows = Rows::new(requested).map_err(message_error)?;
        Ok(ProtobufMessages { rows, message, columns, framed, most, held: Held::default() })
    }

    fn decode(&mut self, bytes: &[u8]) -> std::result::Result<(), String> {
        if bytes.len() > self.most {
            return Err(too_long(bytes.len(), self.most));
        }
        let record = if self.framed { self.unframed(bytes)? } else { bytes };
        let name = self.message.full_name();
        let message = DynamicMessage::decode(self.message.clone(), record)
            .map_err(|error| format!("the message is no {name}: {error}"))?;
        for (column, builder) in self.columns.iter().zip(&mut self.rows.columns) {
            append(&message, &column.path, &column.name, builder)?;
        }
        Ok(())
    }

    /// What follows the number of the schema and the place of the message in it.
    fn unframed<'a>(&self, bytes: &'a [u8]) -> std::result::Result<&'a [u8], String> {
        framing::schema_id(bytes)?;
        let rest = &bytes[framing::ID_BYTES..];
        let (indexes, taken) = framing::message_indexes(rest)?;
        let mut found: Option<MessageDescriptor> = None;
        for index in &indexes {
            let next = match &found {
                None => self.message.parent_file().messages().nth(*index),
                Some(message) => message.child_messages().nth(*index),
            };
            found = Some(
                next.ok_or_else(|| format!("the message is the one at {indexes:?} of its file, and there is none"))?,
            );
        }
        match found {
            Some(found) if found == self.message => Ok(&rest[taken..]),
            Some(found) => {
                Err(format!("the message is a {}, and {} is expected", found.full_name(), self.message.full_name()))
            }
            None => Err("the message does not say which one of its file it is".to_owned()),
        }
    }

    fn take(&mut self) -> std::result::Result<DecodedLines, FormatError> {
        let held = self.held.take();
        let decoded = self.rows.finish(held.as_ref().map_or(0, |held| held.bytes));
        held.and(decoded)
    }
}

impl MessageDecoder for ProtobufMessages {
    fn schema(&self) -> &SchemaRef {
        self.rows.schema()
    }

    fn push(&mut self, message: &[u8], offset: u64) {
        let place = self.held.messages;
        if !self.held.add(message.len()) {
            return;
        }
        match self.decode(message) {
            Ok(()) => self.rows.end_row(),
            Err(reason) => self.rows.reject(BadLine::new(offset, place, message, reason)),
        }
    }

    fn held(&self) -> Held {
        self.held
    }

    fn finish(&mut self) -> BoxFuture<'_, Result<DecodedLines>> {
        async move { self.take().map_err(message_error) }.boxed()
    }
}
