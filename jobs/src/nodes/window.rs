//! Windows: how event time is cut into pieces.

use std::time::Duration;

use weir_operators::window::WindowSpec;

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
    /// Per key: events less than the gap apart.
    Session {
        /// The silence that ends a session.
        gap: Duration,
    },
}

impl Window {
    /// As operators take it.
    pub(crate) fn spec(self) -> WindowSpec {
        match self {
            Window::Tumbling { size } => WindowSpec::Tumbling { size_ms: millis(size) },
            Window::Hopping { size, slide } => WindowSpec::Hopping { size_ms: millis(size), slide_ms: millis(slide) },
            Window::Session { gap } => WindowSpec::Session { gap_ms: millis(gap) },
        }
    }

    /// From its start to its end; of a session, the silence after it.
    pub(crate) fn length(self) -> Duration {
        match self {
            Window::Tumbling { size } | Window::Hopping { size, .. } => size,
            Window::Session { gap } => gap,
        }
    }

    /// In words.
    pub(crate) fn note(self) -> String {
        match self {
            Window::Tumbling { size } => format!("tumbling {}", show(size)),
            Window::Hopping { size, slide } => format!("hopping {} by {}", show(size), show(slide)),
            Window::Session { gap } => format!("sessions with a gap of {}", show(gap)),
        }
    }
}

/// Exactly one of `tumbling`, `hopping` with `slide`, and `session`.
pub(crate) fn read_window(window: Reader<'_>, sessions: bool) -> Option<Window> {
    let expected = if sessions {
        "one of { tumbling = \"1m\" }, { hopping = \"5m\", slide = \"1m\" } and { session = \"30m\" }"
    } else {
        "one of { tumbling = \"1m\" } and { hopping = \"5m\", slide = \"1m\" }"
    };
    let tumbling = window.positive_duration("tumbling");
    let hopping = window.positive_duration("hopping");
    let slide = window.positive_duration("slide");
    let session = if sessions { window.positive_duration("session") } else { None };
    let written = ["tumbling", "hopping", "session"].iter().filter(|key| window.has(key)).count();
    let read = match (tumbling, hopping, session) {
        _ if written != 1 => {
            let message =
                if written == 0 { "no kind of window is given" } else { "several kinds of windows are given" };
            window.note(Mistake::new(window.path.clone(), message).expected(expected));
            None
        }
        (Some(size), None, None) => Some(Window::Tumbling { size }),
        (None, Some(size), None) => match slide {
            Some(slide) => Some(Window::Hopping { size, slide }),
            None => {
                if !window.has("slide") {
                    window.missing("slide", "\"1m\"");
                }
                None
            }
        },
        (None, None, Some(gap)) => Some(Window::Session { gap }),
        _ => None,
    };
    if window.has("slide") && !window.has("hopping") && written == 1 {
        window.refuse("slide", "only a hopping window has a slide", expected);
    }
    window.finish();
    read
}
