//! The keys of an aggregate.

use std::time::Duration;

use weir_operators::window::WindowRule;

use super::super::inputs::Inputs;
use super::super::window::{Window, Windows, read_window};
use crate::builder::JobBuilder;
use weir_operators::definition::Reader;
use weir_operators::definition::duration::millis;

/// Groups rows by key and window.
#[derive(Debug, Clone)]
pub struct Aggregate {
    pub(crate) input: Inputs,
    pub(crate) key: Vec<String>,
    pub(crate) window: Windows,
    pub(crate) allowed_lateness: Duration,
    pub(crate) select: Vec<(String, String)>,
    /// How often running counts of open windows are emitted.
    pub(crate) emit: Option<Duration>,
}

impl Aggregate {
    /// Groups the output of a node by these columns, in windows.
    pub fn over<S: Into<String>>(
        input: impl Into<Inputs>,
        key: impl IntoIterator<Item = S>,
        window: impl Into<Windows>,
    ) -> Self {
        Aggregate {
            input: input.into(),
            key: key.into_iter().map(Into::into).collect(),
            window: window.into(),
            allowed_lateness: Duration::ZERO,
            select: Vec::new(),
            emit: None,
        }
    }

    /// How long after its end a window is still corrected.
    #[must_use]
    pub fn allowed_lateness(mut self, lateness: Duration) -> Self {
        self.allowed_lateness = lateness;
        self
    }

    /// Emits running counts of open windows as often as that, with a checkpoint, for sinks that take them
    /// ([`Sink::running`](crate::Sink::running)). Not for sessions. Over the global window all results are such, and every sink
    /// takes them; there it says how often they are emitted, if not with every checkpoint.
    #[must_use]
    pub fn emit_every(mut self, every: Duration) -> Self {
        self.emit = Some(every);
        self
    }

    /// Adds an aggregate, such as `count(*)`, under a name.
    #[must_use]
    pub fn select(mut self, name: impl Into<String>, call: impl Into<String>) -> Self {
        self.select.push((name.into(), call.into()));
        self
    }

    pub(crate) fn read(node: Reader<'_>) -> Self {
        let input = Inputs::read(&node, "input", "the name of a node, in quotes");
        node.require("key", "[\"ad_id\"]");
        node.require("window", "{ tumbling = \"1m\" }");
        node.require("select", "{ count = \"count(*)\" }");
        let (window, allowed_lateness) = match node.table("window") {
            Some(window) => {
                let lateness = window.duration("allowed_lateness").unwrap_or_default();
                (read_window(window, false), lateness)
            }
            None => (None, Duration::ZERO),
        };
        let aggregate = Aggregate {
            input,
            key: node.texts("key").unwrap_or_default(),
            window: window.unwrap_or(Window::Tumbling { size: Duration::from_secs(60) }.into()),
            allowed_lateness,
            select: node.named_texts("select").unwrap_or_default(),
            emit: read_emit(&node),
        };
        node.finish();
        aggregate
    }

    /// The windows and lateness, as operators take them.
    pub(super) fn window_rule(&self) -> WindowRule {
        WindowRule {
            window: self.window.spec(),
            alignment: self.window.alignment,
            allowed_lateness_ms: millis(self.allowed_lateness),
        }
    }

    pub(super) fn is_of_sessions(&self) -> bool {
        self.window.are_sessions()
    }
}

impl JobBuilder {
    /// Adds an aggregate.
    #[must_use]
    pub fn aggregate(self, name: impl Into<String>, aggregate: Aggregate) -> Self {
        self.node(name, Box::new(aggregate))
    }
}

/// `emit = { every = "500ms" }`
fn read_emit(node: &Reader<'_>) -> Option<Duration> {
    let table = node.table("emit")?;
    table.require("every", "\"500ms\"");
    let every = table.positive_duration("every");
    table.finish();
    every
}
