//! Which connectors there are. Each is a folder in [`source`](crate::source) or [`sink`](crate::sink), and a line here. Those of other
//! crates are in [`Extensions`](crate::extension::Extensions).

use crate::{
    definition::Reader,
    sink::{self, SinkKind, StoredSink},
    source::{self, SourceConnector, SourceKind, settings::SourceSettings},
};
use weir_engine::{
    EngineError, Result,
    graph::Node,
    operator::{OperatorContext, Source},
};

/// All sources.
pub const SOURCES: [&SourceKind; 3] = [&source::files::KIND, &source::kafka::KIND, &source::generator::KIND];

/// All sinks.
pub const SINKS: [&SinkKind; 5] =
    [&sink::files::KIND, &sink::sql::KIND, &sink::kafka::KIND, &sink::http::KIND, &sink::console::KIND];

/// Which of some kinds a key names.
pub(crate) fn chosen<T: Copy>(
    key: &str,
    keys: &Reader<'_>,
    kinds: impl Iterator<Item = (&'static str, T)>,
) -> Option<T> {
    let kinds: Vec<(&str, T)> = kinds.collect();
    keys.require(key, &any_of(kinds.iter().map(|(name, _)| *name)));
    keys.choice(key, &kinds)
}

/// The source that a node is, as its configuration says.
///
/// # Errors
/// When there is no such connector, or the configuration is none of it.
pub fn stored_source(node: &Node) -> Result<Box<dyn SourceConnector>> {
    stored_source_of(SOURCES.into_iter(), node)
}

/// The same of some kinds.
pub(crate) fn stored_source_of(
    mut kinds: impl Iterator<Item = &'static SourceKind>,
    node: &Node,
) -> Result<Box<dyn SourceConnector>> {
    let kind = kinds.find(|kind| kind.name == node.kind);
    stored_as(kind.ok_or_else(|| unknown(node, "source"))?, &node.config, &node.id)
}

fn stored_as(kind: &SourceKind, config: &serde_json::Value, id: &str) -> Result<Box<dyn SourceConnector>> {
    (kind.stored)(config).map_err(|error| {
        EngineError::definition(format!("the configuration of '{id}', {}, does not fit: {error}", kind.name))
    })
}

/// The sink that a node is, as its configuration says.
///
/// # Errors
/// When there is no such connector, or the configuration is none of it.
pub fn stored_sink(node: &Node) -> Result<Box<dyn StoredSink>> {
    stored_sink_of(SINKS.into_iter(), node)
}

/// The same of some kinds.
pub(crate) fn stored_sink_of(
    mut kinds: impl Iterator<Item = &'static SinkKind>,
    node: &Node,
) -> Result<Box<dyn StoredSink>> {
    let kind = kinds.find(|kind| kind.name == node.kind);
    (kind.ok_or_else(|| unknown(node, "sink"))?.stored)(&node.config).map_err(|error| error.context(&node.id))
}

/// One subtask's source, from the configuration of its node.
///
/// # Errors
/// When the configuration does not fit, or what it names cannot be opened.
pub fn source(kind: &SourceKind, config: &serde_json::Value, context: &OperatorContext) -> Result<Box<dyn Source>> {
    let connector = stored_as(kind, config, &context.operator)?;
    connector.build(&SourceSettings::read(config, context)?, context)
}

/// Names in quotes, of which one is right: `"a", "b" or "c"`.
pub(crate) fn any_of<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut names: Vec<String> = names.into_iter().map(|name| format!("{name:?}")).collect();
    match names.pop() {
        None => String::new(),
        Some(last) if names.is_empty() => last,
        Some(last) => format!("{} or {last}", names.join(", ")),
    }
}

pub(crate) fn unknown(node: &Node, role: &str) -> EngineError {
    EngineError::definition(format!(
        "'{}' is of kind '{}', but there is no such {role} in this program",
        node.id, node.kind
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{definition::testing::read, extension::Extensions};
    use serde_json::json;
    use weir_engine::graph::NodeRole;

    #[test]
    fn a_connector_is_chosen_by_its_name() {
        let chosen = |keys| read(keys, |keys| Extensions::new().chosen_sink(keys).map(|kind| kind.name));
        assert_eq!(chosen(json!({ "connector": "sql" })), (Some("sql"), Vec::new()));
        let missing = "connector: there is no connector called `sqll`".to_owned();
        assert_eq!(chosen(json!({ "connector": "sqll" })), (None, vec![missing]));
        assert_eq!(chosen(json!({})), (None, vec!["the key `connector` is missing".to_owned()]));
        assert_eq!(any_of(SINKS.map(|kind| kind.name)), "\"files\", \"sql\", \"kafka\", \"http\" or \"console\"");
        assert_eq!(any_of(SOURCES.map(|kind| kind.name)), "\"files\", \"kafka\" or \"generator\"");
    }

    #[test]
    fn a_node_of_no_connector_is_refused_by_name() {
        let node = |role, kind: &str| Node {
            id: "source.clicks".into(),
            kind: kind.into(),
            role,
            parallelism: 1,
            config: json!({}),
        };
        let told = stored_source(&node(NodeRole::Source, "console")).unwrap_err().message;
        assert_eq!(told, "'source.clicks' is of kind 'console', but there is no such source in this program");
        let told = Extensions::new().locations(NodeRole::Source, &node(NodeRole::Source, "files")).unwrap_err().message;
        assert!(
            told.contains("the configuration of 'source.clicks', files, does not fit: missing field `path`"),
            "{told}"
        );
        assert!(
            Extensions::new().locations(NodeRole::Operator, &node(NodeRole::Operator, "dedup")).unwrap().is_empty()
        );
    }
}
