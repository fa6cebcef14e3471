//! Columns whose names have to be quoted: the error message for missing quotes.

use arrow::datatypes::Schema;
use datafusion_sql::sqlparser::ast::Expr;
use datafusion_sql::sqlparser::dialect::GenericDialect;
use datafusion_sql::sqlparser::keywords::Keyword;
use datafusion_sql::sqlparser::tokenizer::{Token, Tokenizer, Word};

use super::check::{quotes_needed, reserved};
use super::error::ExpressionError;

/// The same mistake, or the one behind it: that a column's name stands there without the quotes that it needs.
pub(super) fn explain(error: ExpressionError, text: &str, schema: &Schema) -> ExpressionError {
    let position = error.position();
    let what = match &error {
        ExpressionError::Syntax { .. } => reserved_column(text, schema).or_else(|| cut_column(text, "", schema)),
        ExpressionError::UnknownColumn { name, .. } => cut_column(text, name, schema),
        _ => None,
    };
    match what {
        Some(what) => ExpressionError::Unsupported { what, position },
        None => error,
    }
}

/// A column whose name is a word of SQL and stands there as one.
fn reserved_column(text: &str, schema: &Schema) -> Option<String> {
    let tokens = Tokenizer::new(&GenericDialect {}, text).tokenize().ok()?;
    let word = |token: &Token| match token {
        Token::Word(Word { value, quote_style: None, keyword }) if *keyword != Keyword::NoKeyword => {
            Some(value.clone())
        }
        _ => None,
    };
    // Most words of SQL are names all the same: those that are none by themselves are meant.
    let is_no_name = |word: &String| !matches!(super::parse::parse_expression(word), Ok(Expr::Identifier(_)));
    let mut words = tokens.iter().filter_map(word);
    let column = words.find(|word| schema.index_of(word).is_ok() && is_no_name(word))?;
    Some(reserved(&column))
}

/// A column whose name begins so, and which SQL takes for several words: `event-name`, `ad id`, `1st`.
fn cut_column(text: &str, name: &str, schema: &Schema) -> Option<String> {
    let is_word = |column: &str| {
        let mut characters = column.chars();
        characters.next().is_some_and(|first| first.is_alphabetic() || first == '_')
            && characters.all(|other| other.is_alphanumeric() || other == '_')
    };
    let stands_there = |column: &str| text.contains(column) && !text.contains(&format!("\"{column}\""));
    let names = schema.fields().iter().map(|field| field.name().as_str());
    let mut cut = names.filter(|column| !is_word(column) && column.contains(name) && stands_there(column));
    cut.next().map(quotes_needed)
}
