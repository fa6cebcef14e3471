//! What is wrong in a definition: at which key, what was found, what would be right, and what was probably meant.

use crate::expression::{ExpressionError, Position};
use crate::schema::ColumnSchema;
use std::ops::Range;

use super::KeyPath;

/// Whether a job can run all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// It can't.
    Error,
    /// It can, but probably something else was meant.
    Warning,
}

/// A mistake at a key of a definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Whether the job is refused for it.
    pub severity: Severity,
    /// The key.
    pub path: KeyPath,
    /// What is wrong, in a sentence without a full stop.
    pub message: String,
    /// What stands there.
    pub found: Option<String>,
    /// What would be right.
    pub expected: Option<String>,
    /// The name that was probably meant.
    pub suggestion: Option<String>,
    /// Whether the key itself is wrong rather than its value.
    pub on_key: bool,
    /// Where in the text that is the key's value.
    pub position: Option<Position>,
    /// Where in the file, when there is no key to go by.
    pub bytes: Option<Range<usize>>,
    /// In which `--set`, when it can't be applied at all.
    pub setting: Option<usize>,
}

impl Mistake {
    /// A mistake in the value of a key.
    pub fn new(path: KeyPath, message: impl Into<String>) -> Self {
        Mistake {
            severity: Severity::Error,
            path,
            message: message.into(),
            found: None,
            expected: None,
            suggestion: None,
            on_key: false,
            position: None,
            bytes: None,
            setting: None,
        }
    }

    /// A mistake in the key itself, or something that it lacks.
    pub fn on_key(path: KeyPath, message: impl Into<String>) -> Self {
        Mistake { on_key: true, ..Mistake::new(path, message) }
    }

    /// Something that is probably not meant.
    pub fn warning(path: KeyPath, message: impl Into<String>) -> Self {
        Mistake { severity: Severity::Warning, ..Mistake::on_key(path, message) }
    }

    /// A mistake in an SQL expression.
    pub fn in_expression(path: KeyPath, error: &ExpressionError) -> Self {
        let mut mistake = match error {
            ExpressionError::UnknownColumn { name, known, .. } => {
                Mistake::new(path, format!("there is no column `{name}`")).one_of("columns", known).meant(name, known)
            }
            ExpressionError::UnknownFunction { name, known, .. } => {
                let mistake = Mistake::new(path, format!("there is no function `{name}`")).meant(name, known);
                if known.len() > 20 { mistake } else { mistake.one_of("functions", known) }
            }
            other => Mistake::new(path, other.to_string()),
        };
        mistake.position = error.position();
        mistake
    }

    /// A name that no column has.
    pub fn unknown_column(path: KeyPath, name: &str, columns: &ColumnSchema) -> Self {
        let names: Vec<&str> = columns.names().collect();
        Mistake::new(path, format!("there is no column `{name}`")).one_of("columns", &names).meant(name, &names)
    }

    /// Adds what stands there.
    #[must_use]
    pub fn found(mut self, found: impl Into<String>) -> Self {
        self.found = Some(found.into());
        self
    }

    /// Adds what would be right.
    #[must_use]
    pub fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = Some(expected.into());
        self
    }

    /// Adds the names that there are.
    #[must_use]
    pub fn one_of<S: AsRef<str>>(mut self, what: &str, names: &[S]) -> Self {
        let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
        self.expected = Some(match names.as_slice() {
            [] => format!("there are no {what}"),
            [one] => (*one).to_owned(),
            many => format!("one of {}", many.join(", ")),
        });
        self
    }

    /// Adds the nearest of the names, if one is near.
    #[must_use]
    pub fn meant<S: AsRef<str>>(mut self, name: &str, names: &[S]) -> Self {
        self.suggestion = did_you_mean(name, names.iter().map(AsRef::as_ref));
        self
    }
}

/// The candidate that `name` is probably a misspelling of.
pub fn did_you_mean<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let wanted = name.to_lowercase();
    let distance = |candidate: &str| strsim::damerau_levenshtein(&wanted, &candidate.to_lowercase());
    let begins = |candidate: &str| {
        let candidate = candidate.to_lowercase();
        wanted.chars().count() >= 3 && (candidate.starts_with(&wanted) || wanted.starts_with(&candidate))
    };
    let near = |candidate: &&str| {
        let longest = wanted.chars().count().max(candidate.chars().count());
        let distance = distance(candidate);
        *candidate != name && ((distance <= 1 + longest / 4 && distance < longest) || begins(candidate))
    };
    let best = candidates.into_iter().filter(near).min_by_key(|candidate| (distance(candidate), *candidate))?;
    Some(best.to_owned())
}

#[cfg(test)]
mod tests {
    use super::did_you_mean;

    #[test]
    fn near_names_are_suggested_and_far_ones_are_not() {
        let names = ["clicks", "valid", "unique", "clicks_per_minute", "country"];
        let meant = |name: &str| did_you_mean(name, names);
        assert_eq!(meant("uniqe").as_deref(), Some("unique"));
        assert_eq!(meant("contry").as_deref(), Some("country"));
        assert_eq!(meant("Clicks").as_deref(), Some("clicks"));
        assert_eq!(meant("click_per_minutes").as_deref(), Some("clicks_per_minute"));
        assert_eq!(did_you_mean("user", ["ip", "user_id"]).as_deref(), Some("user_id"));
        assert_eq!(meant("banana"), None);
        assert_eq!(meant("x"), None);
    }
}
