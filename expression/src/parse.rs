//! Text to syntax tree, with the place of every mistake.

use datafusion_sql::sqlparser::ast::{Expr as SqlExpr, Ident};
use datafusion_sql::sqlparser::dialect::GenericDialect;
use datafusion_sql::sqlparser::keywords::Keyword;
use datafusion_sql::sqlparser::parser::{Parser, ParserError};
use datafusion_sql::sqlparser::tokenizer::{Location, Token, Tokenizer};

use super::error::{ExpressionError, Position};
use super::stack::on_planner_stack;

/// Deeper nesting than any person writes, and shallow enough for a test thread's stack.
const MAX_NESTING: usize = 48;

/// Bounds the time that planning takes.
const MAX_TOKENS: usize = 4_000;

/// The planner walks chains such as `a or b or c` by recursion, so that their length is bounded too: see
/// [`super::stack`] for the stack that this needs.
const MAX_OPERATORS: usize = 200;

/// Parses one scalar expression (on the stack of [`on_planner_stack`]); anything left over after it is a mistake.
pub(super) fn parse_expression(text: &str) -> Result<SqlExpr, ExpressionError> {
    let (expression, alias) = parse(text)?;
    match alias {
        None => Ok(expression),
        Some(alias) => Err(ExpressionError::Syntax {
            message: format!("a name (`as {alias}`) has no place in this expression"),
            position: position_of(alias.span.start).unwrap_or(Position { line: 1, column: 1 }),
        }),
    }
}

/// Parses `expression` or `expression as name` and returns both as text, the name only if one was given.
///
/// A list like `["ad_id", "window_start as click_minute"]` is made of such items.
///
/// # Errors
///
/// [`ExpressionError::Syntax`] when the text is neither.
pub fn parse_select_item(text: &str) -> Result<(String, Option<String>), ExpressionError> {
    on_planner_stack(|| select_item(text))
}

fn select_item(text: &str) -> Result<(String, Option<String>), ExpressionError> {
    let (expression, alias) = parse(text)?;
    let name = match (&expression, alias) {
        (_, Some(alias)) => Some(alias.value),
        (SqlExpr::Identifier(column), None) => Some(column.value.clone()),
        _ => None,
    };
    Ok((expression.to_string(), name))
}

fn parse(text: &str) -> Result<(SqlExpr, Option<Ident>), ExpressionError> {
    check_size(text)?;
    let mut parser = Parser::new(&GenericDialect {})
        .with_recursion_limit(MAX_NESTING)
        .try_with_sql(text)
        .map_err(|error| syntax(text, &error))?;
    let expression = parser.parse_expr().map_err(|error| syntax(text, &error))?;
    let alias = if parser.parse_keyword(Keyword::AS) {
        Some(parser.parse_identifier().map_err(|error| syntax(text, &error))?)
    } else {
        None
    };
    let rest = parser.peek_token_ref();
    if rest.token != Token::EOF {
        return Err(ExpressionError::Syntax {
            message: format!("expected the end of the expression, found `{}`", rest.token),
            position: position_of(rest.span.start).unwrap_or_else(|| end_of(text)),
        });
    }
    Ok((expression, alias))
}

/// Refuses what would exhaust the stack of the recursive planner, before it is built.
fn check_size(text: &str) -> Result<(), ExpressionError> {
    let tokens = Tokenizer::new(&GenericDialect {}, text).tokenize_with_location().map_err(|error| {
        let position = position_of(error.location).unwrap_or_else(|| end_of(text));
        ExpressionError::Syntax { message: error.message, position }
    })?;
    let words = tokens.iter().filter(|token| !matches!(token.token, Token::Whitespace(_)));
    let operators = tokens.iter().filter(|token| is_operator(&token.token));
    if words.count() > MAX_TOKENS || operators.count() > MAX_OPERATORS {
        return Err(ExpressionError::Unsupported {
            what: format!("the expression is too long: at most {MAX_OPERATORS} operators and {MAX_TOKENS} words"),
            position: None,
        });
    }
    Ok(())
}

fn is_operator(token: &Token) -> bool {
    match token {
        Token::Word(word) => matches!(
            word.value.to_ascii_lowercase().as_str(),
            "and" | "or" | "not" | "xor" | "is" | "like" | "ilike" | "in" | "between" | "case" | "when" | "at"
        ),
        Token::Comma | Token::LParen | Token::RParen | Token::Whitespace(_) | Token::EOF => false,
        Token::Number(..) | Token::SingleQuotedString(_) | Token::DoubleQuotedString(_) => false,
        _ => true,
    }
}

/// The parser gives positions only inside its messages, as `... at Line: 1, Column: 5`.
fn syntax(text: &str, error: &ParserError) -> ExpressionError {
    let message = match error {
        ParserError::TokenizerError(message) | ParserError::ParserError(message) => message.clone(),
        ParserError::RecursionLimitExceeded => format!("nested more than {MAX_NESTING} levels deep"),
    };
    let (message, position) = match message.rsplit_once(" at Line: ") {
        Some((before, place)) => (before.to_owned(), read_position(place)),
        None => (message, None),
    };
    let message = message.replace("found: EOF", "found the end");
    ExpressionError::Syntax { message, position: position.unwrap_or_else(|| end_of(text)) }
}

fn read_position(place: &str) -> Option<Position> {
    let (line, column) = place.split_once(", Column: ")?;
    Some(Position { line: line.trim().parse().ok()?, column: column.trim().parse().ok()? })
}

/// Line 0 is the parser's way of saying that it does not know.
pub(super) fn position_of(location: Location) -> Option<Position> {
    (location.line > 0).then_some(Position { line: location.line, column: location.column })
}

fn end_of(text: &str) -> Position {
    let line = text.split('\n').count().max(1) as u64;
    let column = text.rsplit('\n').next().unwrap_or_default().chars().count() as u64 + 1;
    Position { line, column }
}
