//! The aggregate functions there are: their names, how they are called, and what they do, for code and for people.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An aggregate function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AggregateFunction {
    /// Rows, or rows whose argument is not null.
    Count,
    /// The sum of a number.
    Sum,
    /// The smallest value.
    Min,
    /// The largest value.
    Max,
    /// The mean of a number.
    Avg,
    /// About how many different values (HyperLogLog).
    ApproxDistinct,
    /// Variance of a sample.
    Var,
    /// Variance of a population.
    VarPop,
    /// Standard deviation of a sample.
    Stddev,
    /// Standard deviation of a population.
    StddevPop,
    /// Covariance of a sample.
    Covar,
    /// Covariance of a population.
    CovarPop,
    /// Pearson's correlation.
    Corr,
    /// Whether all are true.
    BoolAnd,
    /// Whether one is true.
    BoolOr,
    /// The bits that all have.
    BitAnd,
    /// The bits that one has.
    BitOr,
    /// The bits that an odd number of them have.
    BitXor,
    /// The value in the middle.
    Median,
    /// The value below which a part of all lie.
    PercentileCont,
    /// The same, nearly.
    ApproxPercentileCont,
    /// The value of the earliest row.
    FirstValue,
    /// The value of the latest row.
    LastValue,
    /// The value where another is smallest.
    MinBy,
    /// The value where another is largest.
    MaxBy,
    /// The values in a list.
    ArrayAgg,
}

/// What a function is called with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arguments {
    /// One expression, or `*`.
    RowsOrOne,
    /// One expression.
    One,
    /// Two expressions.
    Two,
    /// An expression, and a number from 0 to 1.
    Part,
    /// An expression and, if one likes, a whole number.
    Limit,
}

use AggregateFunction::{
    ApproxDistinct, ApproxPercentileCont, ArrayAgg, Avg, BitAnd, BitOr, BitXor, BoolAnd, BoolOr, Corr, Count, Covar,
    CovarPop, FirstValue, LastValue, Max, MaxBy, Median, Min, MinBy, PercentileCont, Stddev, StddevPop, Sum, Var,
    VarPop,
};

/// What is known of a function: it, its names, its arguments, a call, and what it does.
type Entry = (AggregateFunction, &'static [&'static str], Arguments, &'static str, &'static str);

/// All of them, in the order in which they are listed to people.
const ENTRIES: [Entry; 26] = [
    (
        Count,
        &["count"],
        Arguments::RowsOrOne,
        "count(*)",
        "How many rows; `count(x)`: in how many `x` is not null; `count(distinct x)`: how many different values, exactly",
    ),
    (Sum, &["sum"], Arguments::One, "sum(x)", "The sum. Of ints an int, of decimals a decimal of 38 digits"),
    (Min, &["min"], Arguments::One, "min(x)", "The smallest number, time, text (by its bytes) or bool"),
    (Max, &["max"], Arguments::One, "max(x)", "The largest number, time, text (by its bytes) or bool"),
    (Avg, &["avg", "mean"], Arguments::One, "avg(x)", "The mean, a float"),
    (
        ApproxDistinct,
        &["approx_distinct"],
        Arguments::One,
        "approx_distinct(x)",
        "About how many different values, within 1.6 %, in at most 4 KiB",
    ),
    (
        Stddev,
        &["stddev", "stddev_samp"],
        Arguments::One,
        "stddev(x)",
        "The standard deviation of a sample; null for less than two values",
    ),
    (StddevPop, &["stddev_pop"], Arguments::One, "stddev_pop(x)", "The standard deviation of a population"),
    (
        Var,
        &["var", "var_samp", "variance"],
        Arguments::One,
        "var(x)",
        "The variance of a sample; null for less than two values",
    ),
    (VarPop, &["var_pop"], Arguments::One, "var_pop(x)", "The variance of a population"),
    (
        Covar,
        &["covar", "covar_samp"],
        Arguments::Two,
        "covar(x, y)",
        "The covariance of a sample, of rows where neither is null",
    ),
    (CovarPop, &["covar_pop"], Arguments::Two, "covar_pop(x, y)", "The covariance of a population"),
    (
        Corr,
        &["corr"],
        Arguments::Two,
        "corr(x, y)",
        "Pearson's correlation, from -1 to 1; null where one of the two does not vary",
    ),
    (BoolAnd, &["bool_and"], Arguments::One, "bool_and(x)", "Whether `x` is true in all rows where it is not null"),
    (BoolOr, &["bool_or"], Arguments::One, "bool_or(x)", "Whether `x` is true in any row"),
    (BitAnd, &["bit_and"], Arguments::One, "bit_and(x)", "The bits that all whole numbers have"),
    (BitOr, &["bit_or"], Arguments::One, "bit_or(x)", "The bits that any of the whole numbers has"),
    (BitXor, &["bit_xor"], Arguments::One, "bit_xor(x)", "The bits that an odd number of the whole numbers have"),
    (
        Median,
        &["median"],
        Arguments::One,
        "median(x)",
        "The number in the middle, exactly; of an even number of them the mean of the two. Keeps every different value",
    ),
    (
        PercentileCont,
        &["percentile_cont", "quantile_cont"],
        Arguments::Part,
        "percentile_cont(x, 0.95)",
        "The number below which that part of all lie, exactly, interpolated between two. Also written \
         `percentile_cont(0.95) within group (order by x)`. Keeps every different value",
    ),
    (
        ApproxPercentileCont,
        &["approx_percentile_cont"],
        Arguments::Part,
        "approx_percentile_cont(x, 0.95)",
        "The same, within 0.8 %, in little space",
    ),
    (
        FirstValue,
        &["first_value", "first"],
        Arguments::One,
        "first_value(x)",
        "The value of the row with the earliest event time, of those where it is not null; among several the smallest",
    ),
    (
        LastValue,
        &["last_value", "last"],
        Arguments::One,
        "last_value(x)",
        "The value of the row with the latest event time, of those where it is not null; among several the largest",
    ),
    (
        MinBy,
        &["min_by", "arg_min"],
        Arguments::Two,
        "min_by(x, y)",
        "The value of `x` where `y` is smallest, of rows where neither is null; among several the smallest",
    ),
    (
        MaxBy,
        &["max_by", "arg_max"],
        Arguments::Two,
        "max_by(x, y)",
        "The value of `x` where `y` is largest, of rows where neither is null; among several the largest",
    ),
    (
        ArrayAgg,
        &["array_agg"],
        Arguments::Limit,
        "array_agg(x)",
        "The values in a list, nulls too, by event time, and those of the same time by value: the first 1,000, or with \
         `array_agg(x, n)` the first `n`, at most 100,000. `array_agg(distinct x)`: each once, in their order",
    ),
];

impl AggregateFunction {
    /// All of them, in the order in which they are listed to people.
    pub fn all() -> impl Iterator<Item = Self> {
        ENTRIES.iter().map(|entry| entry.0)
    }

    /// The one of that name, or of another that it has, in lower case.
    pub fn of_name(name: &str) -> Option<Self> {
        ENTRIES.iter().find(|entry| entry.1.contains(&name)).map(|entry| entry.0)
    }

    /// All names there are, for a "did you mean".
    pub fn all_names() -> Vec<String> {
        ENTRIES.iter().flat_map(|entry| entry.1).map(|name| (*name).to_owned()).collect()
    }

    /// Its names; the first is the one that it is known by.
    pub fn names(self) -> &'static [&'static str] {
        self.entry().1
    }

    /// The name as written in a definition.
    pub fn name(self) -> &'static str {
        self.names().first().copied().unwrap_or_default()
    }

    /// What it is called with.
    pub fn arguments(self) -> Arguments {
        self.entry().2
    }

    /// How it is called.
    pub fn call(self) -> &'static str {
        self.entry().3
    }

    /// What it does, in a sentence or two without the last full stop.
    pub fn does(self) -> &'static str {
        self.entry().4
    }

    fn entry(self) -> &'static Entry {
        // Each has one: a test says so.
        ENTRIES.iter().find(|entry| entry.0 == self).unwrap_or(&ENTRIES[0])
    }
}

impl fmt::Display for AggregateFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
