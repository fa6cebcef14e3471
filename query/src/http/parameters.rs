//! Query parameters of a request, and their defaults.
//!
//! Every error says what would be valid: an unknown name, one that is given twice, a number that is none.

use crate::store::{MINUTE_MS, Range, RowsQuestion};
use std::{collections::BTreeMap, ops::RangeInclusive};
use weir_http::Problem;

/// Moments in Unix seconds: up to the year 9999.
pub(super) const MOMENTS: RangeInclusive<i64> = 0..=253_402_300_740;
/// Minutes that a range may span: ten years.
pub(super) const MOST_RANGE_MINUTES: i64 = 3_660 * 24 * 60;
/// Minutes of one chart, and of one window: a day.
pub(super) const MOST_WINDOW_MINUTES: i64 = 24 * 60;
/// Ads that one list may have.
pub(super) const MOST_ADS: i64 = 1_000;
/// Ads of a list by default.
pub(super) const USUAL_ADS: i64 = 100;
/// Rows of a table that one answer may have.
pub(super) const MOST_ROWS: i64 = 1_000;
/// Rows of an answer by default.
const USUAL_ROWS: u32 = 100;
/// The filter that every click matches.
pub(super) const ALL_CLICKS: &str = "0000";

/// The parameters of a question, by name.
#[derive(Debug)]
pub(super) struct Parameters(BTreeMap<String, String>);

impl Parameters {
    /// Reads what is behind the `?`; `known` are the names that may be there.
    pub(super) fn read(query: Option<&str>, known: &[&str]) -> Result<Self, Problem> {
        let mut parameters = BTreeMap::new();
        for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            if !known.contains(&name.as_ref()) {
                let known = if known.is_empty() { "none".into() } else { known.join(", ") };
                return Err(Problem::bad_request(format!("there is no parameter '{name}' here; there are: {known}")));
            }
            if parameters.insert(name.to_string(), value.to_string()).is_some() {
                return Err(Problem::bad_request(format!("'{name}' is given twice; it can be given once")));
            }
        }
        Ok(Parameters(parameters))
    }

    /// The filter: all clicks unless another is named.
    pub(super) fn filter(&self) -> &str {
        self.0.get("filter").map_or(ALL_CLICKS, String::as_str)
    }

    /// Which rows of a table.
    pub(super) fn rows(&self, table: String) -> Result<RowsQuestion, Problem> {
        let moment = |name: &str| {
            let is_said = self.0.contains_key(name);
            Ok::<_, Problem>(if is_said { Some(self.number(name, &MOMENTS, 0)? * 1000) } else { None })
        };
        let (from_ms, to_ms) = (moment("from")?, moment("to")?);
        if let (Some(from), Some(to)) = (from_ms, to_ms)
            && from >= to
        {
            let (from, to) = (from / 1000, to / 1000);
            return Err(Problem::bad_request(format!("'from' is {from}, 'to' is {to}; 'from' must be before 'to'")));
        }
        let limit = self.number("limit", &(1..=MOST_ROWS), USUAL_ROWS.into())?;
        let (key, by) = (self.0.get("key").cloned(), self.0.get("by").cloned());
        Ok(RowsQuestion { table, key, from_ms, to_ms, by, limit: u32::try_from(limit).unwrap_or(USUAL_ROWS) })
    }

    /// A whole number within bounds, or what is usual.
    pub(super) fn number(&self, name: &str, bounds: &RangeInclusive<i64>, usual: i64) -> Result<i64, Problem> {
        let Some(text) = self.0.get(name) else { return Ok(usual) };
        text.parse().ok().filter(|number| bounds.contains(number)).ok_or_else(|| {
            let (least, most) = (bounds.start(), bounds.end());
            Problem::bad_request(format!("'{name}' is '{text}'; it must be a whole number from {least} to {most}"))
        })
    }

    /// `from` and `to`: half-open, in Unix seconds. `to` is the end of the current minute unless it is said, `from` so many
    /// minutes before.
    pub(super) fn range(&self, now_ms: i64, usual_minutes: i64, most_minutes: i64) -> Result<Range, Problem> {
        let to = self.moment("to", end_of_minute(now_ms) / 1000)?;
        let from = self.moment("from", to - usual_minutes * 60)?;
        if from >= to {
            return Err(Problem::bad_request(format!("'from' is {from}, 'to' is {to}; 'from' must be before 'to'")));
        }
        if to - from > most_minutes * 60 {
            let minutes = (to - from) / 60;
            return Err(Problem::bad_request(format!("the range spans {minutes} minutes; at most {most_minutes}")));
        }
        // Both are on minutes, and there is at least one between them.
        Range::new(from * 1000, to * 1000).ok_or_else(|| Problem::bad_request("the range is empty"))
    }

    /// `window` minutes that end at `to`.
    pub(super) fn window(&self, now_ms: i64) -> Result<Range, Problem> {
        let minutes = self.number("window", &(1..=MOST_WINDOW_MINUTES), 1)?;
        let to = self.moment("to", end_of_minute(now_ms) / 1000)?;
        Range::new((to - minutes * 60) * 1000, to * 1000).ok_or_else(|| Problem::bad_request("the window is empty"))
    }

    /// A moment in Unix seconds, on a minute's boundary.
    fn moment(&self, name: &str, usual: i64) -> Result<i64, Problem> {
        let moment = self.number(name, &MOMENTS, usual)?;
        let before = moment - moment.rem_euclid(60);
        if before != moment {
            let after = before + 60;
            return Err(Problem::bad_request(format!(
                "'{name}' is {moment}, which is not on the boundary of a minute; the nearest are {before} and {after}"
            )));
        }
        Ok(moment)
    }
}

/// The end of the minute that a moment is in.
fn end_of_minute(ms: i64) -> i64 {
    ms - ms.rem_euclid(MINUTE_MS) + MINUTE_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[&str] = &["from", "to", "filter", "window", "count"];
    /// 2022-03-04 00:00:59.999
    const NOW: i64 = 1_646_352_059_999;

    fn read(query: &str) -> Parameters {
        Parameters::read(Some(query), KNOWN).unwrap()
    }

    fn range(query: &str) -> Result<(i64, i64), String> {
        let range = read(query).range(NOW, 1, 100).map_err(|problem| problem.detail)?;
        Ok((range.from_ms() / 1000 - 1_646_352_000, range.to_ms() / 1000 - 1_646_352_000))
    }

    #[test]
    fn what_is_not_said_is_the_minute_that_runs() {
        assert_eq!(range(""), Ok((0, 60)));
        assert_eq!(range("to=1646352000"), Ok((-60, 0)));
        assert_eq!(range("from=1646351880"), Ok((-120, 60)));
        let window = read("window=5").window(NOW).unwrap();
        assert_eq!((window.minutes(), window.to_ms()), (5, 1_646_352_060_000));
        assert_eq!(read("").filter(), "0000");
        assert_eq!(read("filter=").filter(), "", "said is said");
    }

    #[test]
    fn mistakes_name_what_would_be_right() {
        let says = |query: &str, text: &str| {
            let detail = range(query).unwrap_err();
            assert!(detail.contains(text), "{query}: {detail}");
        };
        says("from=1646351999", "the nearest are 1646351940 and 1646352000");
        says("to=1646352001", "the nearest are 1646352000 and 1646352060");
        says("from=1646352060&to=1646352060", "'from' must be before 'to'");
        says("from=1646352000&to=1646358060", "spans 101 minutes; at most 100");
        for none in ["x", "", "1e3", "1.5", "-60", "99999999999999999999", "0x10", "%FF"] {
            says(&format!("to={none}"), "it must be a whole number from 0 to 253402300740");
        }
        let twice = Parameters::read(Some("to=60&to=60"), KNOWN).unwrap_err();
        assert_eq!(twice.detail, "'to' is given twice; it can be given once");
        let unknown = Parameters::read(Some("form=60"), KNOWN).unwrap_err();
        assert_eq!(unknown.detail, "there is no parameter 'form' here; there are: from, to, filter, window, count");
        let unknown = Parameters::read(Some("a"), &[]).unwrap_err();
        assert_eq!(unknown.detail, "there is no parameter 'a' here; there are: none");
        assert!(read("window=1441").window(NOW).is_err() && read("window=0").window(NOW).is_err());
    }
}
