//! The columns of a sink against the fields of a schema: what can never be written is told before the job starts.

use arrow::datatypes::{DataType, Field};

use super::fit::{can_hold, holds_all};
use crate::{
    definition::{KeyPath, Mistake},
    expression::type_name,
    schema::ColumnSchema,
};

/// A field of a schema, as Arrow has it.
pub(in crate::format) struct WantedField {
    /// Its name is that of its column.
    pub field: Field,
    /// Its type in the words of the schema.
    pub shown: String,
    /// Whether there may be no column for it.
    pub may_be_absent: bool,
    /// Whether its texts must be UUIDs.
    pub is_uuid: bool,
}

/// Notes what does not go together: at `columns_at`, which says which columns there are, and at `schema_at`.
pub(in crate::format) fn check_columns(
    columns: &ColumnSchema,
    fields: &[WantedField],
    (columns_at, schema_at): (&KeyPath, &KeyPath),
    mistakes: &mut Vec<Mistake>,
) {
    let names: Vec<&str> = fields.iter().map(|wanted| wanted.field.name().as_str()).collect();
    for column in &columns.columns {
        let name = &column.name;
        let Some(wanted) = fields.iter().find(|wanted| wanted.field.name() == name) else {
            let mistake = Mistake::new(columns_at.clone(), format!("the schema has no field for the column `{name}`"));
            mistakes.push(mistake.one_of("fields", &names).meant(name, &names));
            continue;
        };
        let shown = &wanted.shown;
        if !can_hold(wanted.field.data_type(), &column.data_type) {
            let found = type_name(&column.data_type);
            let message = format!("`{name}` is {found}, which its field of type {shown} can't hold");
            mistakes.push(Mistake::new(columns_at.clone(), message).expected("a `select` or a `map` that converts it"));
        } else if (column.nullable || column.data_type == DataType::Null) && !wanted.field.is_nullable() {
            let message = format!("`{name}` may be null, and its field of type {shown} takes no null");
            let expected = format!(
                "a field that may be null; or a value in its place where the column comes from, as in `coalesce({name}, …) as {name}`"
            );
            mistakes.push(Mistake::new(columns_at.clone(), message).expected(expected));
        }
    }
    for wanted in fields.iter().filter(|wanted| !wanted.may_be_absent) {
        let name = wanted.field.name();
        if columns.column(name).is_none() {
            let message = format!("the field `{name}` must have a value, and there is no column for it");
            let names: Vec<&str> = columns.names().collect();
            mistakes.push(Mistake::new(schema_at.clone(), message).one_of("columns", &names).meant(name, &names));
        }
    }
}

/// Notes columns with values that their fields, which can hold some of them, cannot: where a row cannot be refused for one.
pub(in crate::format) fn check_values(
    columns: &ColumnSchema,
    fields: &[WantedField],
    columns_at: &KeyPath,
    mistakes: &mut Vec<Mistake>,
) {
    for wanted in fields {
        let Some(column) = columns.column(wanted.field.name()) else { continue };
        let (name, found, field) = (&column.name, &column.data_type, wanted.field.data_type());
        let may_be_none = wanted.is_uuid && *found != DataType::FixedSizeBinary(16);
        if can_hold(field, found) && (may_be_none || !holds_all(field, found)) {
            let shown = if wanted.is_uuid { "uuid" } else { &wanted.shown };
            let message = format!("its field of type {shown} doesn't hold every value that `{name}` may have");
            let expected = "a field that does, such as `long` for an int and `string` for a text; or a `map` that converts the column";
            mistakes.push(Mistake::new(columns_at.clone(), message).expected(expected));
        }
    }
}
