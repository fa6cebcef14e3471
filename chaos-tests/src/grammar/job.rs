//! A job as data: what is drawn, written as a definition, said in SQL, and made smaller when it fails.

pub use super::window::{Window, Windows};

/// What a column holds, as far as the grammar distinguishes it.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// Text.
    Text,
    /// Whole numbers that are small: sums and products of a few of them are far from what 64 bits hold.
    Int,
    /// Whole numbers of any size.
    Big,
    /// Multiples of 1/64 that are small, so that sums of them are exact in any order.
    Float,
    /// Any other floating-point numbers.
    Odd,
    /// True or false.
    Bool,
    /// A moment, in milliseconds.
    Time,
    /// An exact number with two digits after the point.
    Decimal,
    /// A list of these.
    List(Box<Kind>),
}

/// How a value is compared with what DuckDB says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum How {
    /// It is the same to the last bit.
    Exact,
    /// The difference is at most that part of it: the documentation promises no more.
    Near(f64),
    /// DuckDB gives the list of the values; the result is their exact sum, rounded once.
    SumOfList,
    /// The same, divided by how many there are.
    MeanOfList,
    /// DuckDB gives the list of the values; the result is such a part of them, within 0.8 % of the two that it lies between.
    PartOfList(f64),
    /// A count that is right within a few per cent.
    About,
}

/// A column of a stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub kind: Kind,
    /// How it is compared. What is not exact is not computed with.
    pub how: How,
}

/// An expression, as a definition says it and as DuckDB is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    /// In a definition.
    pub weir: String,
    /// In DuckDB, where it never fails: what fails is null there.
    pub duck: String,
    /// What it gives.
    pub kind: Kind,
    /// In DuckDB: whether it fails on a row, which is a dead letter then.
    pub fails: Option<String>,
}

/// A call of an aggregate function.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The name of the result.
    pub name: String,
    /// As a definition says it.
    pub weir: String,
    /// As DuckDB is asked; `{time}` stands for the column with the event time.
    pub duck: String,
    /// What it gives.
    pub kind: Kind,
    /// How it is compared.
    pub how: How,
    /// In DuckDB: whether its argument or condition fails on a row.
    pub fails: Option<String>,
    /// Whether values over windows can be added up to one over a longer window.
    pub adds_up: bool,
}

/// How equal values of a list are ranked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    /// 1, 2, 3, 4.
    RowNumber,
    /// 1, 2, 2, 4.
    Rank,
    /// 1, 2, 2, 3.
    DenseRank,
}

impl Rank {
    /// As both definitions and SQL call it.
    pub fn name(self) -> &'static str {
        match self {
            Rank::RowNumber => "row_number",
            Rank::Rank => "rank",
            Rank::DenseRank => "dense_rank",
        }
    }
}

/// What a node does.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// Keeps and computes.
    Map {
        /// What is kept; none: all.
        condition: Option<Expr>,
        /// What is computed; none: what there is.
        select: Option<Vec<(String, Expr)>>,
    },
    /// Drops what is repeated.
    Dedup {
        /// What is the same.
        key: Vec<String>,
        /// How long it is remembered.
        ttl_ms: i64,
        /// Whether the definition says that copies have the event time of their original.
        same_event_time: bool,
        /// Whether rows without a key are dead letters.
        null_is_dead: bool,
    },
    /// Groups by key and window.
    Aggregate {
        /// The key; `filter_id` for the filters.
        key: Vec<String>,
        /// The windows.
        window: Window,
        /// The calls.
        calls: Vec<Call>,
        /// How often running counts are emitted.
        emit_ms: Option<i64>,
    },
    /// Ranks groups.
    Reduce {
        /// How many ranks.
        n: usize,
        /// The column that is ranked by.
        by: String,
        /// There is a list for each of these.
        per: Vec<String>,
        /// The rest of the key: what is ranked.
        rest: Vec<String>,
        /// How.
        rank: Rank,
        /// Windows that the aggregate's are added up to.
        window: Option<Window>,
    },
}

/// A node of a job.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// What it reads: sources or nodes, all of the same columns.
    pub inputs: Vec<String>,
    /// What it does.
    pub body: Body,
    /// What it emits, but for what all results have: record id, window, revision, withdrawn.
    pub columns: Vec<Column>,
    /// The windows of its results, as they are told by `window_start` and `window_end`; none: its rows are events.
    pub results: Option<Results>,
}

/// What is known of a stream of results.
#[derive(Clone, Debug, PartialEq)]
pub struct Results {
    /// Whether they have a start and an end.
    pub bounds: bool,
    /// Columns that no correction changes.
    pub key: Vec<String>,
    /// The longest window, of sessions 0: an aggregate of these results has no shorter ones.
    pub least_ms: i64,
    /// Whether they are of groups, which can be ranked and aggregated.
    pub groups: bool,
    /// The windows, if they are tumbling ones, which can be added up.
    pub pieces: Option<Window>,
}

/// A format of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// JSON lines.
    Json,
    /// CSV.
    Csv,
    /// Parquet.
    Parquet,
}

impl Format {
    /// All of them.
    pub const ALL: [Format; 3] = [Format::Json, Format::Csv, Format::Parquet];

    /// As a definition calls it.
    pub fn name(self) -> &'static str {
        match self {
            Format::Json => "json",
            Format::Csv => "csv",
            Format::Parquet => "parquet",
        }
    }
}

/// A source.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// Its name, which is that of its folder, too.
    pub name: String,
    /// How its files are written.
    pub format: Format,
    /// How much disorder there may be.
    pub delay_ms: i64,
    /// Rows of a batch at most.
    pub batch_rows: usize,
}

/// Where a sink writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Files, that begin anew with each checkpoint or not.
    Files {
        /// How they are written.
        format: Format,
        /// Whether there are files of each checkpoint.
        each_checkpoint: bool,
    },
    /// A table of SQLite.
    Table,
}

/// A sink.
#[derive(Clone, Debug, PartialEq)]
pub struct Sink {
    /// Its name, which is that of its folder or table, too.
    pub name: String,
    /// The node whose output it writes.
    pub node: String,
    /// Which output: none is what the node gives, else `late`, `on_time` or `dead_letters`.
    pub output: Option<&'static str>,
    /// Where.
    pub target: Target,
}

/// A job.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// From one checkpoint to the next.
    pub checkpoint_ms: u64,
    /// What is read.
    pub sources: Vec<Source>,
    /// `[filters]`: id and condition.
    pub filters: Vec<(String, Expr)>,
    /// From the sources on.
    pub nodes: Vec<Node>,
    /// What is written.
    pub sinks: Vec<Sink>,
}

impl Job {
    /// A node by its name.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// The nodes that read a stream.
    pub fn readers<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Node> {
        self.nodes.iter().filter(move |node| node.inputs.iter().any(|input| input == name))
    }

    /// Whether a stream has come through a dedup.
    pub fn is_behind_dedup(&self, name: &str) -> bool {
        self.node(name).is_some_and(|node| {
            matches!(node.body, Body::Dedup { .. }) || node.inputs.iter().any(|input| self.is_behind_dedup(input))
        })
    }

    /// Whether a stream is of results.
    pub fn is_of_results(&self, name: &str) -> bool {
        self.node(name).is_some_and(|node| node.results.is_some())
    }

    /// The windows of the first aggregate of events behind a stream that has a say in what is late.
    pub fn windows_behind<'a>(&'a self, name: &'a str) -> Option<&'a Window> {
        self.readers(name).find_map(move |reader| match &reader.body {
            Body::Aggregate { window: Window { windows: Windows::Global(None), .. }, .. } => None,
            Body::Aggregate { window, .. } => Some(window),
            Body::Reduce { .. } => None,
            Body::Map { .. } | Body::Dedup { .. } => self.windows_behind(&reader.name),
        })
    }
}
