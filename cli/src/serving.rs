//! The query service inside `weir run --serve`: on threads of its own, over the store that the job fills.

use crate::{
    doors::{self, PagesArguments},
    failure::Failure,
    serve::{self, listen, open_store},
};
use std::time::Duration;
use tokio::{runtime::Runtime, sync::mpsc::UnboundedSender};
use weir_engine::{
    env::Env,
    graph::{JobGraph, NodeRole},
};
use weir_operators::{
    connectors::stored_sink,
    sink::{StoredSink, WrittenTable},
};
use weir_query::{
    http,
    store::{COUNTS_KEY, MINUTE_MS, Range, RowsQuestion, Store, StoreError, USUAL_TABLE},
};

/// How often the store is asked whether there is anything in it.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A job that still runs then is not soon done.
const NOT_SOON: Duration = Duration::from_secs(3);
/// Questions under way are not waited for at the end.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// A query service that runs, until it is ended.
pub struct Serving {
    runtime: Runtime,
    store: Store,
    at: Address,
    env: Env,
}

impl Serving {
    /// Serves what a job writes into its tables, and says where.
    pub fn start(graph: &JobGraph, address: &str, port: &PagesArguments, env: &Env) -> Result<Self, Failure> {
        let Served { url, counts } = served(graph)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("weir-query")
            .enable_all()
            .build()
            .map_err(|error| Failure::failed(format!("cannot start threads: {error}")))?;
        let (mut store, listener) =
            runtime.block_on(async { Ok::<_, Failure>((open_store(&url)?, listen(address).await?)) })?;
        if let Some(table) = counts {
            store = store.of_table(&table);
        }
        let address = serve::address(&listener)?;
        let doors::Pages { keys, transport } = port.read(&address.to_string())?;
        eprint!("{}", serve::addresses(address, &transport));
        let at = Address { curl: port.curl(), url: format!("{}://{address}", transport.scheme()) };
        let router = http::router(store.clone(), env.clone(), keys);
        let listener = transport.pages(listener);
        let serving = weir_http::serve(listener, router, doors::limits(), env.clone(), std::future::pending());
        let watched = env.clone();
        runtime.spawn(async move {
            let served = tokio::select! {
                biased;
                served = serving => served,
                () = transport.watch(&watched) => Ok(()),
            };
            if let Err(error) = served {
                tracing::error!(%error, "cannot answer queries any more");
            }
        });
        Ok(Serving { runtime, store, at, env: env.clone() })
    }

    /// Sends some questions to try, once there are answers to them, of a job that is not soon done. A short one has them at
    /// its end.
    pub fn suggest_later(&self, notices: UnboundedSender<String>) {
        let (store, at, env) = (self.store.clone(), self.at.clone(), self.env.clone());
        self.runtime.spawn(async move {
            env.sleep(NOT_SOON).await;
            loop {
                if let Ok(Some(questions)) = questions(&store, &at).await {
                    // The receiver may be gone.
                    let _ = notices.send(questions);
                    return;
                }
                env.sleep(LOOK_EVERY).await;
            }
        });
    }

    /// Some questions to try, with times that have answers; none while nothing was clicked.
    pub async fn suggestions(&self) -> Option<String> {
        questions(&self.store, &self.at).await.ok().flatten()
    }

    /// Where its page is.
    pub fn url(&self) -> &str {
        &self.at.url
    }

    /// Ends it.
    pub fn end(self) {
        self.runtime.shutdown_timeout(LAST_WORDS);
    }
}

/// Where it is reached, and how.
#[derive(Clone)]
struct Address {
    /// The command, with what it needs for TLS.
    curl: String,
    /// Without a path.
    url: String,
}

/// What is served of a job's tables.
#[derive(Debug, PartialEq)]
struct Served {
    /// The database: that of the counts of clicks if there are any, else that of the first table.
    url: String,
    /// The table of counts.
    counts: Option<String>,
}

/// Where the job's tables are.
fn served(graph: &JobGraph) -> Result<Served, Failure> {
    let sinks = graph.nodes.iter().filter(|node| node.role == NodeRole::Sink);
    let sinks: Vec<Box<dyn StoredSink>> = sinks.filter_map(|node| stored_sink(node).ok()).collect();
    let tables: Vec<WrittenTable<'_>> = sinks.iter().filter_map(|sink| sink.table()).collect();
    let counts = || tables.iter().filter(|table| table.key == COUNTS_KEY);
    if let Some(table) = counts().find(|table| table.table == USUAL_TABLE).or_else(|| counts().next()) {
        return Ok(Served { url: table.url.to_string(), counts: Some(table.table.to_owned()) });
    }
    let Some(first) = tables.first() else {
        return Err(Failure::refused(format!(
            "--serve shows tables, but job '{}' writes none. Add a sink with connector = \"sql\", such as [sink.store] in \
             jobs/ad_click.toml",
            graph.name
        )));
    };
    for other in tables.iter().filter(|other| other.url != first.url) {
        tracing::warn!(
            table = other.table,
            "only one database is served, that of '{}': serve this table by `weir serve --store`",
            first.table
        );
    }
    Ok(Served { url: first.url.to_string(), counts: None })
}

/// Some commands that have answers.
async fn questions(store: &Store, at: &Address) -> Result<Option<String>, StoreError> {
    match about_clicks(store, at).await {
        Err(StoreError::NothingYet(_) | StoreError::NoCounts(_)) => about_tables(store, at).await,
        answered => answered,
    }
}

/// Two commands: which tables there are, and the newest rows of one.
async fn about_tables(store: &Store, at: &Address) -> Result<Option<String>, StoreError> {
    let Address { curl, url } = at;
    for table in store.tables().await? {
        let by = table.shape.values.first().cloned();
        let question = RowsQuestion { table: table.name.clone(), limit: 1, ..RowsQuestion::default() };
        if store.rows(&question).await?.rows.is_empty() {
            continue;
        }
        let by = by.map_or_else(String::new, |by| format!("by={}&", escaped(&by)));
        let name = escaped(&table.name);
        return Ok(Some(format!("try\n  {curl} '{url}/v1/tables'\n  {curl} '{url}/v1/tables/{name}?{by}limit=3'")));
    }
    Ok(None)
}

/// Three commands: the most clicked ads up to the newest minute, the first of them by itself, and how far the store is.
async fn about_clicks(store: &Store, at: &Address) -> Result<Option<String>, StoreError> {
    let Address { curl, url } = at;
    let Some(end) = store.freshness().await?.newest_end_ms() else { return Ok(None) };
    let Some(range) = Range::new(end - 5 * MINUTE_MS, end) else { return Ok(None) };
    // The first filter is that of all clicks, by custom and by its number.
    let filter = store.filters().await?.into_iter().next().map_or_else(|| "0000".into(), |filter| filter.id);
    let top = store.top_ads(&filter, range, 1).await?;
    let Some(ad) = top.ads.into_iter().next() else { return Ok(None) };
    let (from, to) = (range.from_ms() / 1000, range.to_ms() / 1000);
    let and_filter = if filter == "0000" { String::new() } else { format!("&filter={}", escaped(&filter)) };
    let ad = escaped(&ad.ad_id);
    Ok(Some(format!(
        "try\n  \
         {curl} '{url}/v1/ads/popular_ads?count=3&window=5&to={to}{and_filter}'\n  \
         {curl} '{url}/v1/ads/{ad}/aggregated_count?from={from}&to={to}{and_filter}'\n  \
         {curl} '{url}/v1/freshness'"
    )))
}

/// A text as a part of an address, within single quotes of a shell.
fn escaped(text: &str) -> String {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(byte);
    let escape = |byte: u8| if is_plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_engine::graph::Node;

    fn graph(tables: &[(&str, &[&str])]) -> JobGraph {
        let mut graph = JobGraph::new("job");
        for (table, key) in tables {
            let columns: Vec<_> =
                key.iter().map(|column| serde_json::json!({ "name": column, "type": "text" })).collect();
            graph.add_node(Node {
                id: format!("sink.{table}"),
                kind: "sql".into(),
                role: NodeRole::Sink,
                parallelism: 1,
                config: serde_json::json!({
                    "url": format!("sqlite:{table}.sqlite"), "table": table, "key": key, "columns": columns,
                }),
            });
        }
        graph
    }

    #[test]
    fn queries_are_answered_from_the_table_of_counts() {
        let tops: (&str, &[&str]) = ("top_ads", &["window_end", "rank"]);
        let of = |name: &'static str| (name, &COUNTS_KEY[..]);
        let found = |tables: &[(&str, &[&str])]| {
            let found = served(&graph(tables)).unwrap();
            (found.url, found.counts.unwrap_or_default())
        };
        assert_eq!(found(&[tops, of("clicks")]), ("sqlite:clicks.sqlite".into(), "clicks".into()));
        assert_eq!(found(&[of("clicks"), of("ad_counts")]), ("sqlite:ad_counts.sqlite".into(), "ad_counts".into()));
        assert_eq!(found(&[tops]), ("sqlite:top_ads.sqlite".into(), String::new()), "any other table is shown");
        let Err(Failure::Refused(none)) = served(&graph(&[])) else { panic!("there is none") };
        assert!(none.contains("job 'job' writes none. Add a sink with connector = \"sql\""), "{none}");
    }

    #[test]
    fn ids_are_safe_in_addresses_and_shells() {
        assert_eq!(escaped("ad-01_a.b~"), "ad-01_a.b~");
        assert_eq!(escaped("a'b/ü"), "a%27b%2F%C3%BC");
    }
}
