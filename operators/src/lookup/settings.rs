//! The settings of a lookup, as a definition's `[lookup.NAME]` has them.

use super::{
    config::{CACHE_SIZE, CacheConfig, IN_FLIGHT, LookupConfig, Missing, OnFailure, Retries, TIMEOUT},
    service::{ServiceConfig, http::HttpLookup, sql::SqlLookup},
    state,
};
use crate::{
    connectors,
    definition::{KeyPath, Kind, Mistake, Reader, duration::millis},
    format::declared::read_schema,
    schema::{Column, ColumnSchema},
    sink::http::headers,
    source::column_type::{ColumnType, DeclaredColumn, DeclaredSchema},
};
use std::{ops::RangeInclusive, time::Duration};

/// How long an answer may take.
const TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(600);
/// Keys that may be asked about at once in a subtask.
const IN_FLIGHTS: RangeInclusive<i64> = 1..=10_000;
/// How often it may be asked again.
const TIMES: RangeInclusive<i64> = 0..=1_000;

/// A lookup as defined.
#[derive(Clone, Debug, PartialEq)]
pub struct LookupSettings {
    /// Who is asked; none: the definition names nobody that there is.
    service: Option<ServiceConfig>,
    columns: DeclaredSchema,
    in_flight: u32,
    timeout_ms: u64,
    retries: Retries,
    cache: Option<CacheConfig>,
    on_failure: OnFailure,
    missing: Missing,
}

impl LookupSettings {
    fn of(service: Option<ServiceConfig>) -> Self {
        LookupSettings {
            service,
            columns: DeclaredSchema::default(),
            in_flight: IN_FLIGHT,
            timeout_ms: in_millis(TIMEOUT),
            retries: Retries::default(),
            cache: None,
            on_failure: OnFailure::default(),
            missing: Missing::default(),
        }
    }

    /// Asks a table of the database at a URL, `sqlite:path/of/file` or `postgres://user@host/database`, for its row in which these
    /// columns are equal: each a column of the rows that come in, and one of the table.
    pub fn table<'a>(
        url: impl Into<String>,
        table: impl Into<String>,
        on: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        let on = on.into_iter().map(|(column, of_table)| (column.to_owned(), of_table.to_owned())).collect();
        LookupSettings::of(Some(ServiceConfig::Sql(SqlLookup { url: url.into().into(), table: table.into(), on })))
    }

    /// Asks an HTTP service at a URL in which `{column}` stands for the values of rows, for a JSON object.
    pub fn http(url: impl Into<String>) -> Self {
        let headers = std::collections::BTreeMap::new();
        LookupSettings::of(Some(ServiceConfig::Http(HttpLookup { url: url.into().into(), headers })))
    }

    /// Adds a column to the rows, which has this name in the table or the object, too.
    #[must_use]
    pub fn column(mut self, name: impl Into<String>, column_type: ColumnType) -> Self {
        self.columns.columns.push(DeclaredColumn::new(name, column_type));
        self
    }

    /// A header of each HTTP request; `${env:NAME}` and `${file:PATH}` in its value stand for secrets.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        if let Some(ServiceConfig::Http(http)) = &mut self.service {
            http.headers.insert(name.into(), value.into().into());
        }
        self
    }

    /// How many keys a subtask asks about at once.
    #[must_use]
    pub fn in_flight(mut self, keys: u32) -> Self {
        self.in_flight = keys.max(1);
        self
    }

    /// How long an answer may take.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout_ms = in_millis(timeout).max(1);
        self
    }

    /// How often, and when, it is asked again when no answer comes.
    #[must_use]
    pub fn retries(mut self, retries: Retries) -> Self {
        self.retries = retries;
        self
    }

    /// Remembers so many answers in each subtask, for so long.
    #[must_use]
    pub fn cache(mut self, ttl: Duration, size: u32) -> Self {
        self.cache = Some(CacheConfig { ttl_ms: millis(ttl).max(1), size: size.max(1) });
        self
    }

    /// What becomes of rows about which there is no answer.
    #[must_use]
    pub fn on_failure(mut self, on_failure: OnFailure) -> Self {
        self.on_failure = on_failure;
        self
    }

    /// What becomes of rows that nothing is known about.
    #[must_use]
    pub fn missing(mut self, missing: Missing) -> Self {
        self.missing = missing;
        self
    }

    /// Reads the keys of a `[lookup.NAME]`.
    pub fn read(keys: &Reader<'_>) -> Self {
        let service = read_service(keys);
        keys.require("schema", "{ budget = \"int\" }: the columns that are added");
        let mut settings = LookupSettings::of(service);
        settings.columns = read_schema(keys, "schema").unwrap_or_default();
        if let Some(in_flight) = keys.integer("in_flight", IN_FLIGHTS) {
            settings.in_flight = u32::try_from(in_flight).unwrap_or(IN_FLIGHT);
        }
        if let Some(timeout) = keys.duration("timeout") {
            if TIMEOUTS.contains(&timeout) {
                settings.timeout_ms = in_millis(timeout);
            } else {
                keys.refuse("timeout", "nobody is waited for so long, or so briefly", "from \"10ms\" to \"10m\"");
            }
        }
        settings.on_failure = keys.choice("on_failure", &OnFailure::NAMES).unwrap_or_default();
        settings.missing = keys.choice("missing", &Missing::NAMES).unwrap_or_default();
        settings.retries = keys.table("retries").map_or_else(Retries::default, |retries| {
            if settings.on_failure == OnFailure::Fail && retries.has("times") {
                let message = "with `on_failure = \"fail\"` it is asked again for as long as it takes";
                retries.refuse("times", message, "no `times`, or another `on_failure`");
            }
            read_retries(retries)
        });
        settings.cache = keys.table("cache").map(read_cache);
        settings
    }

    /// What is wrong with it, where these columns come in, and which go out.
    pub fn check(&self, given: &ColumnSchema, at: &KeyPath, mistakes: &mut Vec<Mistake>) -> Option<ColumnSchema> {
        let service = self.service.as_ref()?;
        let before = mistakes.len();
        service.check(given, at, mistakes);
        let place = at.key("schema");
        if self.columns.is_empty() {
            let mistake = Mistake::new(place.clone(), "no column is added, so that nothing would be looked up");
            mistakes.push(mistake.expected("such as { budget = \"int\" }"));
        }
        for column in &self.columns.columns {
            if given.column(&column.name).is_some() {
                let message = format!("there is a column `{}` already", column.name);
                let expected = "another name; `path` says where the value is";
                mistakes.push(Mistake::on_key(place.key(&column.name), message).expected(expected));
            }
            let keys = column.path.as_ref().map_or(1, |path| path.keys().len());
            if matches!(service, ServiceConfig::Sql(_)) && keys > 1 {
                let message = "a column of a table has no values below it";
                let mistake = Mistake::on_key(place.key(&column.name).key("path"), message);
                mistakes.push(mistake.expected("the name of a column of the table"));
            }
        }
        for column in &given.columns {
            if let Err(error) = state::check(&ColumnSchema { columns: vec![column.clone()] }) {
                let expected = "a `map` before it, with a `select` without this column or that converts it";
                mistakes.push(Mistake::on_key(at.key("input"), error.message).expected(expected));
            }
        }
        (mistakes.len() == before).then(|| self.output(given))
    }

    /// The columns that go out, where these come in.
    pub fn output(&self, given: &ColumnSchema) -> ColumnSchema {
        let added = self.added();
        ColumnSchema { columns: given.columns.iter().cloned().chain(added.columns).collect() }
    }

    /// The columns that are added.
    pub fn added(&self) -> ColumnSchema {
        let added = self.columns.arrow_schema();
        let column = |column: Column| Column { nullable: true, ..column };
        ColumnSchema { columns: ColumnSchema::from(added.as_ref()).columns.into_iter().map(column).collect() }
    }

    /// The columns of rows that are asked by.
    pub fn key(&self) -> Vec<String> {
        self.service.as_ref().map(ServiceConfig::key).unwrap_or_default()
    }

    /// Where a definition names a column of the key.
    pub fn key_path(&self, at: &KeyPath, column: &str) -> KeyPath {
        self.service.as_ref().map_or_else(|| at.clone(), |service| service.key_path(at, column))
    }

    /// Whether references to secrets lead to something, where the job runs.
    pub fn check_secrets(&self, runs_here: bool, at: &KeyPath, mistakes: &mut Vec<Mistake>) {
        if let Some(service) = &self.service {
            service.check_secrets(runs_here, at, mistakes);
        }
    }

    /// What the node keeps, where these columns come in; `output` are those that go out. None: it is not known who is asked.
    pub fn config(&self, input: ColumnSchema, output: Option<Vec<String>>) -> Option<LookupConfig> {
        Some(LookupConfig {
            service: self.service.clone()?,
            input,
            columns: self.columns.clone(),
            output,
            in_flight: self.in_flight,
            timeout_ms: self.timeout_ms,
            retries: self.retries,
            cache: self.cache,
            on_failure: self.on_failure,
            missing: self.missing,
        })
    }

    /// In the words of people.
    pub fn note(&self) -> String {
        let names: Vec<&str> = self.columns.columns.iter().map(|column| column.name.as_str()).collect();
        let service = self.service.as_ref().map(ServiceConfig::note).unwrap_or_default();
        format!("{} from {service}", names.join(", "))
    }

    /// What becomes of rows about which there is no answer.
    pub fn failure(&self) -> OnFailure {
        self.on_failure
    }

    /// What is remembered of answers.
    pub fn remembers(&self) -> Option<CacheConfig> {
        self.cache
    }
}

fn read_service(keys: &Reader<'_>) -> Option<ServiceConfig> {
    let kinds = [("sql", true), ("http", false)];
    let is_sql = connectors::chosen("connector", keys, kinds.into_iter());
    let Some(is_sql) = is_sql else {
        for key in ["url", "table", "on", "headers"] {
            keys.value(key);
        }
        return None;
    };
    let service = match is_sql {
        true => ServiceConfig::Sql(SqlLookup {
            url: keys.required_text("url", "\"sqlite:out/store.sqlite\"").into(),
            table: keys.required_text("table", "\"campaigns\""),
            on: read_on(keys),
        }),
        false => {
            let url = keys.required_text("url", "\"https://ads.internal/ads/{ad_id}\"");
            let http = HttpLookup { url: url.into(), headers: headers::read(keys, &[]) };
            let is_text = matches!(keys.value("url").map(|value| &value.kind), Some(Kind::Text(_)));
            if let Err(wrong) = http.check_url()
                && is_text
            {
                keys.refuse("url", wrong.message, wrong.expected.as_deref().unwrap_or("https://HOST/PATH/{column}"));
            }
            ServiceConfig::Http(http)
        }
    };
    Some(service)
}

/// `on = { ad_id = "id" }`, or `on = ["ad_id"]` where both have one name.
fn read_on(keys: &Reader<'_>) -> Vec<(String, String)> {
    let example =
        "{ ad_id = \"id\" }, a column of the rows and one of the table; or [\"ad_id\"], where both have one name";
    keys.require("on", example);
    let on = match keys.value("on").map(|value| &value.kind) {
        None => return Vec::new(),
        Some(Kind::Array(_)) => {
            keys.texts("on").map(|names| names.into_iter().map(|name| (name.clone(), name)).collect())
        }
        Some(_) => keys.named_texts("on"),
    };
    let on: Vec<(String, String)> = on.unwrap_or_default();
    let is_empty = matches!(keys.value("on").map(|value| &value.kind), Some(Kind::Array(values)) if values.is_empty())
        || matches!(keys.value("on").map(|value| &value.kind), Some(Kind::Table(entries)) if entries.is_empty());
    if is_empty {
        keys.refuse("on", "the table is asked by no column", example);
    }
    on
}

fn read_retries(keys: Reader<'_>) -> Retries {
    let usual = Retries::default();
    let pause = |key: &str, usual: u64| keys.positive_duration(key).map_or(usual, in_millis);
    let (pause_ms, longest_ms) = (pause("pause", usual.pause_ms), pause("longest_pause", usual.longest_ms));
    let times = keys.integer("times", TIMES).and_then(|times| u32::try_from(times).ok()).unwrap_or(usual.times);
    if longest_ms < pause_ms {
        keys.refuse("longest_pause", "the first pause is longer", "a duration that is at least `pause`");
    }
    keys.finish();
    Retries { times, pause_ms, longest_ms }
}

fn read_cache(keys: Reader<'_>) -> CacheConfig {
    keys.require("ttl", "\"10m\"");
    let ttl_ms = keys.positive_duration("ttl").map(millis).unwrap_or(1).max(1);
    let size = keys.integer("size", 1..=100_000_000).and_then(|size| u32::try_from(size).ok()).unwrap_or(CACHE_SIZE);
    keys.finish();
    CacheConfig { ttl_ms, size }
}

fn in_millis(span: Duration) -> u64 {
    millis(span).unsigned_abs()
}
