//! Which tables of a store answer. They are found by their keys, which the sinks tell of, so that a definition may call them
//! as it likes.

use super::{
    StoreError,
    catalog::{Filter, Sink},
    range::{DAY_MS, HOUR_MS, MINUTE_MS},
};
use weir_operators::sink::sql::SHADOW;

/// The key of a table of counts.
pub const COUNTS_KEY: [&str; 3] = ["click_minute", "filter_id", "ad_id"];
/// The key of a table of the most clicked ads of windows.
const TOP_KEY: [&str; 4] = ["window_end", "window_start", "filter_id", "rank"];
/// The table of counts that is meant where there are several and nobody says which.
pub const USUAL_TABLE: &str = "ad_counts";
/// Where reconciliations are told of.
pub(super) const RECONCILIATIONS: &str = "weir_reconciliations";

/// One of the three tables that a click may be counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Minutes,
    Hours,
    Days,
}

impl Unit {
    /// Those that minutes are added up to.
    pub(super) const ROLL_UPS: [Unit; 2] = [Unit::Hours, Unit::Days];

    pub(super) fn width_ms(self) -> i64 {
        match self {
            Unit::Minutes => MINUTE_MS,
            Unit::Hours => HOUR_MS,
            Unit::Days => DAY_MS,
        }
    }

    /// What stands behind the name of the table of minutes.
    fn ending(self) -> &'static str {
        match self {
            Unit::Minutes => "",
            Unit::Hours => "_hours",
            Unit::Days => "_days",
        }
    }
}

/// The tables that answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Tables {
    /// The sink that counts.
    pub counts: Sink,
    /// The tables of the most clicked ads that the same job keeps.
    tops: Vec<String>,
    /// Of those that there may be, those that are there.
    there: Vec<String>,
}

impl Tables {
    /// Those that these sinks fill: the counts are in the table that was chosen, else in the usual one, else in the only one.
    pub(super) fn find(sinks: Vec<Sink>, chosen: Option<&str>) -> Result<Self, StoreError> {
        // What a replay fills is not read before it has come to its place.
        let has_key = |sink: &&Sink, key: &[&str]| sink.description.key == key && !sink.table.contains(SHADOW);
        let counts: Vec<&Sink> = sinks.iter().filter(|sink| has_key(sink, &COUNTS_KEY)).collect();
        let called = |name: &str| counts.iter().find(|sink| sink.table == name).copied();
        let found = match (chosen, counts.as_slice()) {
            (Some(name), _) => called(name),
            (None, [only]) => Some(*only),
            (None, []) => None,
            (None, several) => Some(called(USUAL_TABLE).ok_or_else(|| StoreError::SeveralTables {
                tables: several.iter().map(|sink| sink.table.clone()).collect(),
            })?),
        };
        let Some(found) = found.cloned() else { return Err(no_table(&sinks, chosen)) };
        let tops = sinks.iter().filter(|sink| has_key(sink, &TOP_KEY) && sink.job == found.job);
        let tops = tops.map(|sink| sink.table.clone()).collect();
        Ok(Tables { counts: found, tops, there: Vec::new() })
    }

    /// The names of all that there may be.
    pub(super) fn possible(&self) -> Vec<String> {
        let mut names: Vec<String> = Unit::ROLL_UPS.into_iter().map(|unit| self.plain(unit)).collect();
        names.push(RECONCILIATIONS.into());
        names.extend(self.tops.iter().cloned());
        names
    }

    /// Which of them are there.
    pub(super) fn are_there(&mut self, names: Vec<String>) {
        self.tops.retain(|top| names.contains(top));
        self.there = names;
    }

    pub(super) fn has(&self, unit: Unit) -> bool {
        unit == Unit::Minutes || self.there.contains(&self.plain(unit))
    }

    pub(super) fn has_reconciliations(&self) -> bool {
        self.there.iter().any(|name| name == RECONCILIATIONS)
    }

    /// The table of a unit, as a statement has it.
    pub(super) fn of(&self, unit: Unit) -> String {
        quoted(&self.plain(unit))
    }

    /// The tables of the most clicked ads, as statements have them.
    pub(super) fn tops(&self) -> Vec<String> {
        self.tops.iter().map(|top| quoted(top)).collect()
    }

    /// The filters that clicks are counted under, by id.
    pub(super) fn filters(&self) -> Vec<Filter> {
        let mut filters = self.counts.description.filters.clone();
        filters.sort();
        filters.dedup_by(|one, other| one.id == other.id);
        filters
    }

    fn plain(&self, unit: Unit) -> String {
        format!("{}{}", self.counts.table, unit.ending())
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn no_table(sinks: &[Sink], chosen: Option<&str>) -> StoreError {
    let asked = chosen.map_or_else(|| "no table of counts".into(), |name| format!("no table of counts '{name}'"));
    let key = COUNTS_KEY.join(", ");
    let others: Vec<&str> =
        sinks.iter().map(|sink| sink.table.as_str()).filter(|name| !name.contains(SHADOW)).collect();
    let others = if others.is_empty() { "nothing else either".into() } else { format!("only {}", others.join(", ")) };
    StoreError::NothingYet(format!("the store has {asked}, which is one with the key ({key}); there is {others}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sink(job: &str, table: &str, key: &[&str]) -> Sink {
        let mut sink = Sink { job: job.into(), table: table.into(), ..Sink::default() };
        sink.description.key = key.iter().map(ToString::to_string).collect();
        sink
    }

    fn found(sinks: &[(&str, &str, &[&str])], chosen: Option<&str>) -> Result<(String, Vec<String>), String> {
        let sinks = sinks.iter().map(|(job, table, key)| sink(job, table, key)).collect();
        let tables = Tables::find(sinks, chosen).map_err(|error| error.to_string())?;
        Ok((tables.of(Unit::Hours), tables.tops()))
    }

    #[test]
    fn tables_are_known_by_their_keys() {
        let counts = |table: &'static str| ("one", table, &COUNTS_KEY[..]);
        let tops: (&str, &str, &[&str]) = ("one", "best", &TOP_KEY);
        let other: (&str, &str, &[&str]) = ("one", "raw", &["record_id"]);
        assert_eq!(
            found(&[counts("Clicks"), tops, other], None),
            Ok(("\"Clicks_hours\"".into(), vec!["\"best\"".into()]))
        );
        let of_another_job: (&str, &str, &[&str]) = ("two", "best", &TOP_KEY);
        assert_eq!(found(&[counts("clicks"), of_another_job], None), Ok(("\"clicks_hours\"".into(), vec![])));

        let several = [counts("clicks"), counts("ad_counts"), counts("clicks__replay_3")];
        assert_eq!(found(&several, None).unwrap().0, "\"ad_counts_hours\"");
        assert_eq!(found(&several, Some("clicks")).unwrap().0, "\"clicks_hours\"");
        let unclear = found(&[counts("a"), counts("b"), counts("a__replay_1")], None).unwrap_err();
        assert!(unclear.contains("several tables of counts: a, b; say which by --table"), "{unclear}");
        let wrong = found(&[counts("a"), other], Some("c")).unwrap_err();
        assert!(wrong.contains("no table of counts 'c'") && wrong.ends_with("there is only a, raw"), "{wrong}");
        let none = found(&[], None).unwrap_err();
        assert!(none.ends_with("the key (click_minute, filter_id, ad_id); there is nothing else either"), "{none}");
    }
}
