//! Parameters of a statement, of few types.

use sqlx::{Arguments, any::AnyArguments};
use std::borrow::Cow;

/// A value that is put into a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// A whole number, or a time.
    Integer(i64),
    /// A text.
    Text(Cow<'a, str>),
}

impl From<i64> for Value<'_> {
    fn from(value: i64) -> Self {
        Value::Integer(value)
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(value: &'a str) -> Self {
        Value::Text(value.into())
    }
}

impl<'a> From<&'a String> for Value<'a> {
    fn from(value: &'a String) -> Self {
        Value::Text(value.as_str().into())
    }
}

impl From<String> for Value<'_> {
    fn from(value: String) -> Self {
        Value::Text(value.into())
    }
}

/// Parameters, in their order.
#[derive(Default)]
pub struct Parameters(AnyArguments);

impl Parameters {
    /// Of these values.
    pub fn of(values: &[Value<'_>]) -> Self {
        let mut parameters = Parameters::default();
        parameters.reserve(values.len());
        for value in values {
            match value {
                Value::Integer(value) => parameters.push(*value),
                Value::Text(value) => parameters.push(value.to_string()),
            }
        }
        parameters
    }

    /// With one more, a number.
    #[must_use]
    pub fn number(mut self, value: i64) -> Self {
        self.push(value);
        self
    }

    /// With one more, a text.
    #[must_use]
    pub fn text(mut self, value: &str) -> Self {
        self.push(value.to_string());
        self
    }

    /// Adds one.
    ///
    /// # Panics
    /// Never: encoding a value for the driver of any database only moves it.
    pub fn push<T>(&mut self, value: T)
    where
        T: sqlx::Encode<'static, sqlx::Any> + sqlx::Type<sqlx::Any>,
    {
        self.0.add(value).expect("a value is moved, which cannot fail");
    }

    /// Makes room for so many.
    pub fn reserve(&mut self, count: usize) {
        self.0.reserve(count, 0);
    }
}

impl From<Parameters> for AnyArguments {
    fn from(parameters: Parameters) -> Self {
        parameters.0
    }
}
