//! The `select` of a sink: the columns that it writes.

use weir_operators::columns::{REVISION, WITHDRAWN};
use weir_operators::expression::parse_select_item;
use weir_operators::map::SelectItem;

use super::super::check::Check;
use super::super::results::Results;
use super::super::select::is_column;
use super::super::types::Types;
use super::definition::Sink;
use weir_operators::definition::Mistake;

impl Sink {
    /// The output of a sink's `select`.
    pub(super) fn check_select(&self, items: &[String], given: &Types, check: &mut Check<'_>) -> Option<Types> {
        let place = check.path.key("select");
        let mut named = Vec::with_capacity(items.len());
        for (position, text) in items.iter().enumerate() {
            let place = place.index(position);
            match parse_select_item(text) {
                Ok((expression, Some(name))) => named.push((place, SelectItem { name, expression })),
                Ok((expression, None)) => {
                    let mistake = Mistake::new(place, "this column has no name");
                    check.mistakes.push(mistake.found(text).expected(format!("{expression} as a_name")));
                }
                Err(error) => check.mistakes.push(Mistake::in_expression(place, &error)),
            }
        }
        if items.is_empty() {
            check.mistakes.push(Mistake::new(place, "it writes no column").expected("at least one column"));
        }
        let carried = match &given.results {
            Some(results) => {
                let selected: Vec<SelectItem> = named.iter().map(|(_, item)| item.clone()).collect();
                let results = results.selected(&selected, &given.main);
                self.carried(&selected, &results)
            }
            None => &[],
        };
        check.select(given, named, carried)
    }

    /// What it carries over results beside what it names: whether they hold, where that is not plain. What is withdrawn is not in a
    /// table, so that its rows need say so only if any may be.
    fn carried(&self, items: &[SelectItem], results: &Results) -> &'static [&'static str] {
        let names_revision = items.iter().any(|item| is_column(item, REVISION));
        let says_so = results.may_be_withdrawn() || (self.connector.keeps_revisions() && names_revision);
        if says_so { &[WITHDRAWN] } else { &[] }
    }
}
