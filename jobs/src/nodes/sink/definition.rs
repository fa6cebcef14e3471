//! The keys of a sink that are not its connector's.

use std::sync::Arc;

use weir_operators::Extensions;
use weir_operators::definition::Reader;
use weir_operators::sink::SinkConnector;
use weir_operators::sink::console::ConsoleSinkConfig;

use super::super::inputs::Inputs;

/// Where results go.
#[derive(Debug, Clone)]
pub struct Sink {
    pub(super) input: Inputs,
    pub(super) connector: Arc<dyn SinkConnector>,
    /// Items such as `ad_id` or `window_start as click_minute`.
    pub(super) select: Option<Vec<String>>,
    /// Whether it takes running counts, where that was said.
    pub(super) running: Option<bool>,
    pub(super) enabled: bool,
}

impl Sink {
    /// The output of a node, written to where the settings of a connector say, such as
    /// [`FilesSinkSettings`](weir_operators::sink::files::FilesSinkSettings).
    pub fn of(input: impl Into<Inputs>, connector: impl SinkConnector + 'static) -> Self {
        Sink::new(input.into(), Arc::new(connector))
    }

    fn new(input: Inputs, connector: Arc<dyn SinkConnector>) -> Self {
        Sink { input, connector, select: None, running: None, enabled: true }
    }

    /// Whether it also takes the running counts of its aggregate's open windows ([`Aggregate::emit_every`](crate::Aggregate::emit_every)): rows with a
    /// revision below zero, of which each replaces the one before. Not said: tables do, files and consoles don't.
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

    pub(crate) fn read(node: Reader<'_>, extensions: &Extensions) -> Self {
        let input = Inputs::read(&node, "input", "the name of a node, in quotes");
        let Some(kind) = extensions.chosen_sink(&node) else {
            // No other key can be judged. A console takes whatever comes.
            node.ignore_others();
            return Sink::of(input, ConsoleSinkConfig::default());
        };
        let connector = (kind.read)(&node);
        let sink = Sink {
            select: node.texts("select"),
            running: node.flag("running"),
            enabled: node.flag("enabled").unwrap_or(true),
            ..Sink::new(input, connector.into())
        };
        node.finish();
        sink
    }
}
