//! Which cluster, and how it is reached.

use std::collections::BTreeMap;
use weir_engine::hidden::Hidden;

/// How a cluster is reached. Secrets are resolved, and never printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// `HOST:PORT` of some brokers, separated by commas.
    pub brokers: String,
    /// Further properties of the client, by librdkafka's names; what Weir sets itself is refused before it gets here.
    pub properties: BTreeMap<String, Hidden<String>>,
}
