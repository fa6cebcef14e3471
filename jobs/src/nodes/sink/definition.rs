//! The keys of a sink that are not its connector's.

use super::super::inputs::Inputs;
use super::connector::SinkConnector;
use weir_operators::definition::Reader;

/// Where results go.
#[derive(Debug, Clone)]
pub struct Sink {
    pub(crate) input: Inputs,
    pub(crate) connector: SinkConnector,
    /// Items such as `ad_id` or `window_start as click_minute`.
    pub(crate) select: Option<Vec<String>>,
    /// Whether it takes running counts, where that was said.
    pub(crate) running: Option<bool>,
    pub(crate) enabled: bool,
}

impl Sink {
    /// Lines on standard output.
    pub fn console(input: impl Into<Inputs>) -> Self {
        Sink::new(input.into(), SinkConnector::Console)
    }

    pub(crate) fn new(input: Inputs, connector: SinkConnector) -> Self {
        Sink { input, connector, select: None, running: None, enabled: true }
    }

    /// Whether it also takes the running counts of its aggregate's open windows ([`Aggregate::emit_every`](crate::Aggregate::emit_every)): rows with a
    /// revision below zero, of which each replaces the one before. Files and consoles don't unless it is said here.
    #[must_use]
    pub fn running(mut self, running: bool) -> Self {
        self.running = Some(running);
        self
    }

    /// Whether it is a part of the job; if not, it is checked and then left out.
    #[must_use]
    pub fn enabled(mut self, enabled: bool) -> Self {
        self.enabled = enabled;
        self
    }

    /// The columns to write: `ad_id`, or an expression with a name, `window_start as click_minute`.
    #[must_use]
    pub fn select<S: Into<String>>(mut self, items: impl IntoIterator<Item = S>) -> Self {
        self.select = Some(items.into_iter().map(Into::into).collect());
        self
    }

    pub(crate) fn read(node: Reader<'_>) -> Self {
        let input = Inputs::read(&node, "input", "the name of a node, in quotes");
        let Some(connector) = SinkConnector::read(&node) else {
            node.ignore_others();
            return Sink::console(input);
        };
        let sink = Sink {
            select: node.texts("select"),
            running: node.flag("running"),
            enabled: node.flag("enabled").unwrap_or(true),
            ..Sink::new(input, connector)
        };
        node.finish();
        sink
    }
}
