//! Which tables of a store answer. They are found by their keys, which the sinks tell of, so that a definition may call them
//! as it likes.

use super::{StoreError, catalog::Sink};
use weir_store::{
    Filter, Grain,
    columns::IMPRESSIONS,
    counts::{COUNTS_KEY, TOP_KEY, USUAL_TABLE},
    quoted,
    tables::{RECONCILIATIONS, is_shadow},
};

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
        let has_key = |sink: &&Sink, key: &[&str]| sink.description.key == key && !is_shadow(&sink.table);
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
        let mut names: Vec<String> = Grain::ROLLED_UP.into_iter().map(|grain| self.plain(grain)).collect();
        names.push(RECONCILIATIONS.into());
        names.extend(self.tops.iter().cloned());
        names
    }

    /// Which of them are there.
    pub(super) fn are_there(&mut self, names: Vec<String>) {
        self.tops.retain(|top| names.contains(top));
        self.there = names;
    }

    pub(super) fn has(&self, grain: Grain) -> bool {
        grain == Grain::Window || self.there.contains(&self.plain(grain))
    }

    pub(super) fn has_reconciliations(&self) -> bool {
        self.there.iter().any(|name| name == RECONCILIATIONS)
    }

    /// The table of a grain, as a statement has it.
    pub(super) fn of(&self, grain: Grain) -> String {
        quoted(&self.plain(grain))
    }

    /// The tables of the most clicked ads, as statements have them.
    pub(super) fn tops(&self) -> Vec<String> {
        self.tops.iter().map(|top| quoted(top)).collect()
    }

    /// Whether impressions are counted beside the clicks.
    pub(super) fn has_impressions(&self) -> bool {
        let shape = self.counts.description.shape.as_ref();
        shape.is_some_and(|shape| shape.values.iter().any(|name| name == IMPRESSIONS))
    }

    /// The filters that clicks are counted under, by id.
    pub(super) fn filters(&self) -> Vec<Filter> {
        let mut filters = self.counts.description.filters.clone();
        filters.sort();
        filters.dedup_by(|one, other| one.id == other.id);
        filters
    }

    fn plain(&self, grain: Grain) -> String {
        grain.table(&self.counts.table)
    }
}

fn no_table(sinks: &[Sink], chosen: Option<&str>) -> StoreError {
    let asked = chosen.map_or_else(|| "no table of counts".into(), |name| format!("no table of counts '{name}'"));
    let key = COUNTS_KEY.join(", ");
    let others: Vec<&str> = sinks.iter().map(|sink| sink.table.as_str()).filter(|name| !is_shadow(name)).collect();
    let none = format!("the store has {asked}, which is one with the key ({key})");
    match others.as_slice() {
        [] => StoreError::NothingYet(format!("{none}; there is nothing else either")),
        others => StoreError::NoCounts(format!("{none}; there is only {}", others.join(", "))),
    }
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
        Ok((tables.of(Grain::Hour), tables.tops()))
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
        assert!(unclear.contains("several counts tables: a, b; choose one with --table"), "{unclear}");
        let wrong = found(&[counts("a"), other], Some("c")).unwrap_err();
        assert!(wrong.contains("no table of counts 'c'") && wrong.ends_with("there is only a, raw"), "{wrong}");
        let none = found(&[], None).unwrap_err();
        assert!(none.ends_with("the key (click_minute, filter_id, ad_id); there is nothing else either"), "{none}");
    }
}
