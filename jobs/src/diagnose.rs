//! Errors in a definition: what was found, where, what is expected, and what was probably meant.
//!
//! Code that finds an error knows the key, not the line. [`locate`] adds file, line and column from the tree that the
//! definition was read into, and the line itself with a caret.

use std::fmt;

use weir_engine::hidden::redacted;
use weir_operators::definition::{Kind, Mistake, Origin, Severity, Value};
use weir_operators::expression::Position;

/// A mistake and its place, ready to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Whether the job is refused for it.
    pub severity: Severity,
    /// The file, or the override, that it stands in; none for a job built in Rust.
    pub source: Option<String>,
    /// Line and column in that file, counted from 1, the column in characters.
    pub place: Option<(usize, usize)>,
    /// The key.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What stands there.
    pub found: Option<String>,
    /// What would be right.
    pub expected: Option<String>,
    /// What was probably meant.
    pub suggestion: Option<String>,
    /// The line of the file.
    pub line: Option<String>,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.severity {
            Severity::Error => f.write_str("error")?,
            Severity::Warning => f.write_str("warning")?,
        }
        if let Some(source) = &self.source {
            write!(f, ": {source}")?;
        }
        if let Some((line, column)) = self.place {
            write!(f, ":{line}:{column}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.message)?;
        if let (Some(text), Some((line, column))) = (&self.line, self.place) {
            let number = line.to_string();
            let margin = " ".repeat(number.len());
            let indent: String = text.chars().take(column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
            write!(f, "\n  {number} | {}\n  {margin} | {indent}^", text.trim_end())?;
        }
        if let Some(found) = &self.found {
            write!(f, "\n  found: {found}")?;
        }
        if let Some(expected) = &self.expected {
            write!(f, "\n  expected: {expected}")?;
        }
        if let Some(suggestion) = &self.suggestion {
            write!(f, "\n  did you mean `{suggestion}`?")?;
        }
        Ok(())
    }
}

/// A definition that was refused, with everything that is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Errors and warnings, those of overrides first, then in the order of the file.
    pub diagnostics: Vec<Diagnostic>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for diagnostic in &self.diagnostics {
            writeln!(f, "{diagnostic}\n")?;
        }
        match self.diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error).count() {
            1 => f.write_str("1 error; nothing was started"),
            count => write!(f, "{count} errors; nothing was started"),
        }
    }
}

impl std::error::Error for Refusal {}

/// The text of a definition, and where it came from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origins<'a> {
    /// Name of the file, as the user gave it.
    pub(crate) file: &'a str,
    /// Its text.
    pub(crate) text: &'a str,
    /// The overrides.
    pub(crate) settings: &'a [String],
    /// What it was read into, overrides applied.
    pub(crate) tree: Option<&'a Value>,
}

/// Adds the places, and sorts by them: first the overrides, since the file is most often right without them, then the file from top
/// to bottom.
pub(crate) fn locate(mistakes: Vec<Mistake>, origins: Origins<'_>) -> Vec<Diagnostic> {
    let mut located: Vec<(Origin, Diagnostic)> = mistakes
        .into_iter()
        .map(|mistake| {
            let origin = origin_of(&mistake, origins);
            (origin, diagnostic(mistake, origin, origins))
        })
        .collect();
    located.sort_by_key(|(origin, _)| match origin {
        Origin::Setting(number) => (0, *number),
        Origin::File { start, .. } => (1, *start),
        Origin::Unknown => (2, 0),
    });
    let mut diagnostics: Vec<Diagnostic> = located.into_iter().map(|(_, diagnostic)| diagnostic).collect();
    diagnostics.dedup();
    diagnostics
}

/// The mistakes of a job that was built in Rust: there is no file to point at.
pub(crate) fn without_file(mistakes: Vec<Mistake>) -> Vec<Diagnostic> {
    mistakes.into_iter().map(unplaced).collect()
}

fn unplaced(mistake: Mistake) -> Diagnostic {
    Diagnostic {
        severity: mistake.severity,
        source: None,
        place: None,
        key: mistake.path.to_string(),
        message: mistake.message,
        found: mistake.found,
        expected: mistake.expected,
        suggestion: mistake.suggestion,
        line: None,
    }
}

fn origin_of(mistake: &Mistake, origins: Origins<'_>) -> Origin {
    if let Some(number) = mistake.setting {
        return Origin::Setting(number);
    }
    if let Some(bytes) = &mistake.bytes {
        return Origin::File { start: bytes.start, end: bytes.end };
    }
    let Some(tree) = origins.tree else {
        return Origin::Unknown;
    };
    let located = tree.locate(&mistake.path);
    if mistake.on_key || !located.whole {
        return located.key;
    }
    match (mistake.position, &located.value.kind, located.value.origin) {
        (Some(position), Kind::Text(value), Origin::File { start, end }) => {
            let inside = position_in_text(origins.text.get(start..end).unwrap_or_default(), value, position);
            Origin::File { start: start + inside, end }
        }
        _ => located.value.origin,
    }
}

/// The byte within a written TOML text at which a position of its value stands; 0 where escapes make that unclear.
fn position_in_text(written: &str, value: &str, position: Position) -> usize {
    let mut begin =
        ["\"\"\"", "'''", "\"", "'"].iter().find(|quote| written.starts_with(**quote)).map_or(0, |q| q.len());
    if begin == 3 {
        begin += written[3..].starts_with('\n') as usize + 2 * (written[3..].starts_with("\r\n") as usize);
    }
    let content = &written[begin..];
    if !content.starts_with(value) {
        return 0;
    }
    let mut offset = 0;
    for line in value.split_inclusive('\n').take(position.line.saturating_sub(1) as usize) {
        offset += line.len();
    }
    let column = position.column.saturating_sub(1) as usize;
    let within: usize = value[offset..].chars().take(column).map(char::len_utf8).sum();
    begin + offset + within
}

fn diagnostic(mistake: Mistake, origin: Origin, origins: Origins<'_>) -> Diagnostic {
    let mut diagnostic = unplaced(mistake);
    match origin {
        Origin::File { start, .. } => {
            let (line, column, text) = line_of(origins.text, start);
            diagnostic.place = Some((line, column));
            diagnostic.line = Some(redacted(text).into_owned());
            diagnostic.source = Some(origins.file.to_owned());
        }
        Origin::Setting(number) => {
            let setting = origins.settings.get(number).map_or("", String::as_str);
            diagnostic.source = Some(format!("--set {}", redacted(setting)));
        }
        Origin::Unknown => diagnostic.source = Some(origins.file.to_owned()),
    }
    diagnostic
}

/// Line and column, from 1, of a byte, and the line's text.
fn line_of(text: &str, byte: usize) -> (usize, usize, &str) {
    let byte = (0..=byte.min(text.len())).rev().find(|byte| text.is_char_boundary(*byte)).unwrap_or(0);
    let before = &text[..byte];
    let begin = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.matches('\n').count() + 1;
    let column = text[begin..byte].chars().count() + 1;
    (line, column, text[begin..].lines().next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_in_an_expression_becomes_one_in_the_file() {
        let position = |line, column| Position { line, column };
        assert_eq!(position_in_text("\"a = b\"", "a = b", position(1, 5)), 5);
        assert_eq!(position_in_text("'é = b'", "é = b", position(1, 5)), 6);
        assert_eq!(position_in_text("\"\"\"\na\nbc\"\"\"", "a\nbc", position(2, 2)), 7);
        assert_eq!(position_in_text("\"a\\tb\"", "a\tb", position(1, 3)), 0);
    }

    #[test]
    fn lines_and_columns_count_characters() {
        assert_eq!(line_of("ab\ncé = 1\n", 8), (2, 5, "cé = 1"));
        assert_eq!(line_of("ab", 99), (1, 3, "ab"));
        assert_eq!(line_of("", 0), (1, 1, ""));
    }
}
