//! What the tables of a store are called.

use crate::grain::Grain;
use weir_engine::error::{EngineError, Result};

/// What the names of Weir's own tables begin with; no table of a sink may.
pub const OWN: &str = "weir_";
/// A row for each sink: its table, which checkpoint is in, who may write.
pub const SINKS: &str = "weir_sinks";
/// The last commits of each sink.
pub const COMMITS: &str = "weir_commits";
/// The replays of each job.
pub const REPLAYS: &str = "weir_replays";
/// The reconciliations of each job.
pub const RECONCILIATIONS: &str = "weir_reconciliations";

/// What stands in the name of a table that a replay fills beside the one that is read.
const SHADOW: &str = "__replay_";

/// The longest name that a table or a column may have: PostgreSQL cuts names at 63 bytes, and some get endings.
pub const MAX_NAME: usize = 48;

/// The table with the keys and revisions of what was withdrawn from a table.
pub fn withdrawn_from(table: &str) -> String {
    format!("{table}_withdrawn")
}

/// The table with the rows that the database has refused for a table.
pub fn rejected_from(table: &str) -> String {
    format!("{table}_rejected")
}

/// The table that a replay with this number fills beside a table.
pub fn shadow_of(table: &str, replay: i64) -> String {
    format!("{}{replay}", shadows_of(table))
}

/// What the names of all shadows of a table begin with, those of their roll-ups included.
pub fn shadows_of(table: &str) -> String {
    format!("{table}{SHADOW}")
}

/// The number of the replay that has made a shadow of a table, or a table beside such a shadow.
pub fn replay_of(name: &str, table: &str) -> Option<i64> {
    name.strip_prefix(&shadows_of(table))?.split('_').next()?.parse().ok()
}

/// Whether a replay fills it.
pub fn is_shadow(name: &str) -> bool {
    name.contains(SHADOW)
}

/// All tables that a sink with this table may have. Those with all of its columns come first.
pub fn of_sink(table: &str, is_rolled_up: bool) -> Vec<String> {
    let grains = Grain::ALL.into_iter().take(if is_rolled_up { 3 } else { 1 });
    grains.map(|grain| grain.table(table)).chain([withdrawn_from(table), rejected_from(table)]).collect()
}

/// Whether a table or a column may be called so, in whatever database.
///
/// # Errors
/// Saying what would be right.
pub fn check_name(name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if begins && name.chars().all(plain) && name.len() <= MAX_NAME {
        return Ok(());
    }
    Err(EngineError::definition(format!(
        "'{name}' cannot be the name of a table or a column; letters, digits and '_' can, no digit first, {MAX_NAME} at most"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_the_tables_of_stores_that_exist_stay() {
        let all = ["t", "t_hours", "t_days", "t_withdrawn", "t_rejected"];
        assert_eq!(of_sink("t", true), all);
        assert_eq!(of_sink("t", false), ["t", "t_withdrawn", "t_rejected"]);
        assert_eq!([SINKS, COMMITS], ["weir_sinks", "weir_commits"]);
        assert_eq!([REPLAYS, RECONCILIATIONS], ["weir_replays", "weir_reconciliations"]);
        assert!([SINKS, COMMITS, REPLAYS, RECONCILIATIONS].iter().all(|name| name.starts_with(OWN)));
    }

    #[test]
    fn shadows_bear_the_number_of_their_replay() {
        assert_eq!(shadow_of("counts", 12), "counts__replay_12");
        for name in ["counts__replay_12", "counts__replay_12_hours", "counts__replay_12_withdrawn"] {
            assert!(is_shadow(name));
            assert_eq!(replay_of(name, "counts"), Some(12), "{name}");
        }
        for name in ["counts", "counts_12", "counts__replay_x", "other__replay_12"] {
            assert_eq!(replay_of(name, "counts"), None, "{name}");
        }
    }

    #[test]
    fn names_are_those_that_every_database_takes() {
        for name in ["counts", "_x1", &"n".repeat(MAX_NAME)] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["", "1x", "a b", "ä", &"n".repeat(MAX_NAME + 1)] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
