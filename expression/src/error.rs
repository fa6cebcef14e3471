//! Errors in an SQL expression, with their position in it.
//!
//! Positions are lines and columns *within the expression text*, both counted from 1 and in characters, so that
//! code that knows where the text is in a file can add the two up.

use std::fmt;

use weir_engine::EngineError;

/// A place in an expression's text; line and column count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Line within the expression text.
    pub line: u64,
    /// Column within that line, in characters.
    pub column: u64,
}

/// Why an expression was refused before anything ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExpressionError {
    /// The text is not an SQL expression.
    Syntax {
        /// What the parser expected and found.
        message: String,
        /// Where.
        position: Position,
    },
    /// A name that no column of the input has.
    UnknownColumn {
        /// The name as written.
        name: String,
        /// The columns that there are.
        known: Vec<String>,
        /// Where the name stands, if the parser knows.
        position: Option<Position>,
    },
    /// A function that does not exist.
    UnknownFunction {
        /// The name as written, in lower case.
        name: String,
        /// The functions that there are.
        known: Vec<String>,
        /// Where the name stands, if the parser knows.
        position: Option<Position>,
    },
    /// The types don't fit together, or the result is not of the type that is needed here.
    Type {
        /// What does not fit.
        message: String,
    },
    /// Valid SQL that has no meaning here: subqueries, aggregates, window functions, clocks and dice.
    Unsupported {
        /// What was used, and what to do instead.
        what: String,
        /// Where, if the parser knows.
        position: Option<Position>,
    },
}

impl ExpressionError {
    /// Where in the expression's text the mistake is, if that is known.
    pub fn position(&self) -> Option<Position> {
        match self {
            Self::Syntax { position, .. } => Some(*position),
            Self::UnknownColumn { position, .. }
            | Self::UnknownFunction { position, .. }
            | Self::Unsupported { position, .. } => *position,
            Self::Type { .. } => None,
        }
    }

    /// The unknown name and the names there are, for a "did you mean".
    pub fn candidates(&self) -> Option<(&str, &[String])> {
        match self {
            Self::UnknownColumn { name, known, .. } | Self::UnknownFunction { name, known, .. } => Some((name, known)),
            _ => None,
        }
    }

    /// As an error of the runtime, with the text of the expression.
    pub fn at(&self, text: &str) -> EngineError {
        EngineError::definition(self.render(text))
    }

    /// The message, the text and, where the place is known, a caret under it.
    pub fn render(&self, text: &str) -> String {
        let mut out = format!("{self}\n  {}", text.lines().next().unwrap_or_default());
        let Some(position) = self.position() else {
            return format!("{self}\n  {}", text.replace('\n', "\n  "));
        };
        if position.line > 1 {
            let line = text.lines().nth(position.line as usize - 1).unwrap_or_default();
            out = format!("{self}\n  {line}");
        }
        let indent = " ".repeat(position.column.saturating_sub(1) as usize);
        out + "\n  " + &indent + "^"
    }
}

impl fmt::Display for ExpressionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax { message, .. } => write!(f, "syntax error: {message}"),
            Self::UnknownColumn { name, known, .. } if known.is_empty() => {
                write!(f, "there is no column `{name}` here, nor any other")
            }
            Self::UnknownColumn { name, known, .. } => {
                write!(f, "there is no column `{name}`; there are {}", known.join(", "))
            }
            Self::UnknownFunction { name, .. } => write!(f, "there is no function `{name}`"),
            Self::Type { message } => f.write_str(message),
            Self::Unsupported { what, .. } => f.write_str(what),
        }
    }
}

impl std::error::Error for ExpressionError {}

/// Why an expression failed on rows that it was given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}expression `{expression}`: {message}")]
pub struct EvaluationError {
    /// Which of a node's expressions it is, with a colon, such as `select.cost: `; may be empty.
    pub place: String,
    /// The expression's text.
    pub expression: String,
    /// What happened, and what would avoid it.
    pub message: String,
    /// Whether the values of some rows are to blame, so that others may do; else it would fail on any.
    pub is_of_values: bool,
}

impl EvaluationError {
    /// The same error, with the key that the expression stands under.
    #[must_use]
    pub fn at(self, place: impl fmt::Display) -> Self {
        EvaluationError { place: format!("{place}: "), ..self }
    }
}

impl From<EvaluationError> for EngineError {
    /// What an expression does not take stays the same at the next attempt: it is the definition that has to change.
    fn from(error: EvaluationError) -> Self {
        EngineError::definition(error.to_string())
    }
}
