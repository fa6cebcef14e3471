//! The outputs of operators, besides the results on [`Port::MAIN`].

use weir_engine::element::Port;

/// What results will be as far as is known by now: of windows that are still open.
pub const RUNNING: Port = Port::named("running");
/// Events that came too late to be counted.
pub const LATE: Port = Port::named("late");
/// Rows of a join's left side for which there is no row on the right.
pub const UNMATCHED: Port = Port::named("unmatched");
/// Records that could not be read, or that an expression failed on, with the reason.
pub const DEAD_LETTERS: Port = Port::named("dead_letters");

#[cfg(test)]
mod tests {
    use super::*;

    /// Graphs and manifests that are stored hold these names, and definitions do.
    #[test]
    fn names_stay_what_they_are() {
        assert_eq!(
            [RUNNING, LATE, UNMATCHED, DEAD_LETTERS].map(|port| port.to_string()),
            ["running", "late", "unmatched", "dead_letters"]
        );
    }
}
