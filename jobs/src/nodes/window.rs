//! Windows: how event time is cut into pieces.

use std::time::Duration;

use weir_operators::window::{Alignment, WindowSpec, Zone};

use weir_operators::definition::duration::{millis, show};
use weir_operators::definition::{Mistake, Reader};

/// How event time is cut into windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// Side by side.
    Tumbling {
        /// Length of each.
        size: Duration,
    },
    /// Overlapping.
    Hopping {
        /// Length of each.
        size: Duration,
        /// From the start of one to the start of the next.
        slide: Duration,
    },
    /// Growing: from the beginning of each span to the end of each step of it.
    Cumulating {
        /// Length of a span, a multiple of the step.
        size: Duration,
        /// From the end of one to the end of the next.
        step: Duration,
    },
    /// Per key: events less than the gap apart.
    Session {
        /// The silence that ends a session.
        gap: Duration,
    },
    /// All of event time: one result per key, again and again.
    Global {
        /// The silence after which a key is forgotten; none: never.
        ttl: Option<Duration>,
    },
}

impl Window {
    /// Lets windows begin so much later than at multiples of their size.
    #[must_use]
    pub fn offset(self, offset: Duration) -> Windows {
        Windows::from(self).offset(offset)
    }

    /// Lets windows be those of the clock of a time zone.
    #[must_use]
    pub fn timezone(self, zone: Zone) -> Windows {
        Windows::from(self).timezone(zone)
    }
}

/// Windows, and where they begin: by default with 1970, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    pub(crate) kind: Window,
    pub(crate) alignment: Alignment,
}

impl From<Window> for Windows {
    fn from(kind: Window) -> Self {
        Windows { kind, alignment: Alignment::default() }
    }
}

impl Windows {
    /// Lets windows begin so much later than at multiples of their size.
    #[must_use]
    pub fn offset(mut self, offset: Duration) -> Self {
        self.alignment.offset_ms = millis(offset);
        self
    }

    /// Lets windows be those of the clock of a time zone.
    #[must_use]
    pub fn timezone(mut self, zone: Zone) -> Self {
        self.alignment.timezone = Some(zone);
        self
    }

    /// As operators take it.
    pub(crate) fn spec(self) -> WindowSpec {
        match self.kind {
            Window::Tumbling { size } => WindowSpec::Tumbling { size_ms: millis(size) },
            Window::Hopping { size, slide } => WindowSpec::Hopping { size_ms: millis(size), slide_ms: millis(slide) },
            Window::Cumulating { size, step } => {
                WindowSpec::Cumulating { size_ms: millis(size), step_ms: millis(step) }
            }
            Window::Session { gap } => WindowSpec::Session { gap_ms: millis(gap) },
            Window::Global { ttl } => WindowSpec::Global { ttl_ms: ttl.map(millis) },
        }
    }

    /// From its start to its end, of the longest; of a session, the silence after it. The global window has no length.
    pub(crate) fn length(self) -> Duration {
        match self.kind {
            Window::Tumbling { size } | Window::Hopping { size, .. } | Window::Cumulating { size, .. } => size,
            Window::Session { gap } => gap,
            Window::Global { .. } => Duration::ZERO,
        }
    }

    /// Whether bounds depend on what windows hold.
    pub(crate) fn are_sessions(self) -> bool {
        matches!(self.kind, Window::Session { .. })
    }

    /// Whether there is one window without bounds.
    pub(crate) fn is_global(self) -> bool {
        matches!(self.kind, Window::Global { .. })
    }

    /// In words.
    pub(crate) fn note(self) -> String {
        let kind = match self.kind {
            Window::Tumbling { size } => format!("tumbling {}", show(size)),
            Window::Hopping { size, slide } => format!("hopping {} by {}", show(size), show(slide)),
            Window::Cumulating { size, step } => format!("cumulating {} by {}", show(size), show(step)),
            Window::Session { gap } => format!("sessions with a gap of {}", show(gap)),
            Window::Global { ttl: None } => "no window".to_owned(),
            Window::Global { ttl: Some(ttl) } => format!("no window, forgotten after {} of silence", show(ttl)),
        };
        let Alignment { offset_ms, timezone } = self.alignment;
        let offset = match offset_ms {
            0 => String::new(),
            _ => format!(", offset {}", show(Duration::from_millis(offset_ms.unsigned_abs()))),
        };
        let zone = timezone.map_or(String::new(), |zone| format!(", by the clock of {zone}"));
        format!("{kind}{offset}{zone}")
    }
}

/// The keys that say what kind of window it is, each with an example.
const KINDS: [(&str, &str); 5] = [
    ("tumbling", "{ tumbling = \"1m\" }"),
    ("hopping", "{ hopping = \"5m\", slide = \"1m\" }"),
    ("cumulating", "{ cumulating = \"1d\", step = \"1h\" }"),
    ("session", "{ session = \"30m\" }"),
    ("global", "{ global = true }"),
];

/// Exactly one kind of window with what belongs to it: `slide`, `step` or `ttl`, and `offset` and `timezone`. Those that consist of
/// other windows are of the first three kinds.
pub(crate) fn read_window(window: Reader<'_>, of_windows: bool) -> Option<Windows> {
    let kinds = if of_windows { &KINDS[..3] } else { &KINDS[..] };
    let examples: Vec<&str> = kinds.iter().map(|(_, example)| *example).collect();
    let expected = format!("one of {}", examples.join(", "));
    // What belongs to another kind is told of below, and not unknown.
    let others: &[&str] = if of_windows { &["slide", "step"] } else { &["slide", "step", "global", "ttl"] };
    for key in others {
        let _ = window.value(key);
    }
    let written: Vec<&str> = kinds.iter().map(|(key, _)| *key).filter(|key| window.has(key)).collect();
    let lengths =
        kinds.iter().filter(|(key, _)| *key != "global").map(|(key, _)| (*key, window.positive_duration(key)));
    let lengths: Vec<(&str, Option<Duration>)> = lengths.collect();
    let length = |of: &str| lengths.iter().find(|(key, _)| *key == of).and_then(|(_, length)| *length);
    let kind = match written.as_slice() {
        ["tumbling"] => length("tumbling").map(|size| Window::Tumbling { size }),
        ["hopping"] => {
            with(&window, length("hopping"), "slide", "\"1m\"").map(|(size, slide)| Window::Hopping { size, slide })
        }
        ["cumulating"] => {
            with(&window, length("cumulating"), "step", "\"1h\"").map(|(size, step)| Window::Cumulating { size, step })
        }
        ["session"] => length("session").map(|gap| Window::Session { gap }),
        ["global"] => read_global(&window),
        _ => {
            let message =
                if written.is_empty() { "no kind of window is given" } else { "several kinds of windows are given" };
            window.note(Mistake::new(window.path.clone(), message).expected(expected));
            None
        }
    };
    let alignment = read_alignment(&window);
    if let [kind] = written.as_slice() {
        refuse_foreign(&window, kind);
    }
    window.finish();
    let windows = Windows { kind: kind?, alignment: alignment? };
    // What begins with its events begins nowhere else, whatever was told of that.
    Some(if windows.spec().has_slices() { windows } else { windows.kind.into() })
}

/// A length and another one that belongs to it.
fn with(window: &Reader<'_>, length: Option<Duration>, key: &str, example: &str) -> Option<(Duration, Duration)> {
    let other = window.positive_duration(key);
    if !window.has(key) {
        window.missing(key, example);
    }
    Some((length?, other?))
}

fn read_global(window: &Reader<'_>) -> Option<Window> {
    let ttl = window.positive_duration("ttl");
    if window.flag("global") == Some(false) {
        window.refuse(
            "global",
            "without the global window there is none",
            "`global = true`, or another kind of window",
        );
        return None;
    }
    if window.has("allowed_lateness") {
        window.refuse(
            "allowed_lateness",
            "the global window never closes, so nothing is late for it",
            "no `allowed_lateness`",
        );
    }
    (ttl.is_some() || !window.has("ttl")).then_some(Window::Global { ttl })
}

/// None, where something is wrong with it.
fn read_alignment(window: &Reader<'_>) -> Option<Alignment> {
    let offset = window.duration("offset");
    let zone = window.text("timezone");
    let timezone = match zone.as_deref().map(str::parse::<Zone>) {
        Some(Err(message)) => {
            let names: Vec<&str> = Zone::names().collect();
            let mistake = Mistake::new(window.path.key("timezone"), message).found(format!("{:?}", zone.as_deref()?));
            let mistake = mistake.expected("a name of the tz database, such as \"Asia/Seoul\" or \"America/New_York\"");
            window.note(mistake.meant(zone.as_deref()?, &names));
            return None;
        }
        Some(Ok(zone)) => Some(zone),
        None if window.has("timezone") => return None,
        None => None,
    };
    let offset_ms = offset.map_or(0, millis);
    (offset.is_some() || !window.has("offset")).then_some(Alignment { offset_ms, timezone })
}

/// Notes keys that belong to another kind of window.
fn refuse_foreign(window: &Reader<'_>, kind: &str) {
    let bounded = ["tumbling", "hopping", "cumulating"];
    let belongs: [(&str, &[&str], &str); 5] = [
        ("slide", &["hopping"], "only a hopping window has a slide"),
        ("step", &["cumulating"], "only a cumulating window has a step"),
        ("ttl", &["global"], "only a global window has a ttl"),
        ("offset", &bounded, "sessions and the global window begin with their events: they have no offset"),
        ("timezone", &bounded, "sessions and the global window begin with their events, whatever the clock shows"),
    ];
    for (key, kinds, message) in belongs {
        if window.has(key) && !kinds.contains(&kind) {
            let examples: Vec<&str> =
                KINDS.iter().filter(|(other, _)| kinds.contains(other)).map(|(_, example)| *example).collect();
            window.refuse(key, message, &format!("no `{key}`, or one of {}", examples.join(", ")));
        }
    }
}
