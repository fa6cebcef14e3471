//! Definitions with a small mistake, as people make them.

use rand::{RngExt, SeedableRng, rngs::StdRng};
use weir_jobs::{CompileOptions, parse};

/// What is found in a definition, and what stands there instead.
const MISTAKES: &[(&str, &str)] = &[
    ("input = \"clicks\"", "input = \"click\""),
    ("input = \"per_", "input = \"pre_"),
    ("input = \"unique_", "input = \"uniqe_"),
    ("count(*)", "count(*"),
    ("sum(", "summ("),
    ("max(", "max(distinct "),
    ("min_by(", "min_by(no_column, "),
    ("array_agg(", "array_agg(0, "),
    ("tumbling = \"", "tumbling = \"-"),
    ("tumbling = \"", "tumblin = \""),
    ("slide = \"", "slide = \"1"),
    ("session = \"", "session = \"x"),
    ("step = \"", "step = \"7"),
    ("timezone = \"", "timezone = \"Mars/"),
    ("allowed_lateness = \"", "allowed_lateness = \"10000"),
    ("ttl = \"", "tll = \""),
    ("key = [", "key = [\"nothing\", "),
    ("connector = \"files\"", "connector = \"filez\""),
    ("format = \"", "format = \"x"),
    ("event_time = \"happened\"", "event_time = \"happend\""),
    ("event_time = \"happened\"", "event_time = \"zone\""),
    ("where = \"", "where = \"("),
    ("where = \"", "where = \"price || "),
    (".select]", ".selects]"),
    ("top = { n = ", "top = { n = -"),
    ("by = \"", "by = \"x"),
    ("rank = \"", "rank = \"un"),
    ("[sink.", "[sinks."),
    ("path = ", "paht = "),
    ("interval = \"", "interval = \"soon"),
    (" = ", " == "),
    ("[job]", "[job"),
];

/// A definition with one mistake; none: this one has nothing of the kind.
pub fn broken(text: &str, seed: u64) -> Option<String> {
    let mut dice = StdRng::seed_from_u64(seed);
    let fit: Vec<&(&str, &str)> = MISTAKES.iter().filter(|(right, _)| text.contains(right)).collect();
    let (right, wrong) = fit.get(dice.random_range(0..fit.len().max(1)))?;
    let places: Vec<usize> = text.match_indices(right).map(|(at, _)| at).collect();
    let at = places[dice.random_range(0..places.len())];
    Some(format!("{}{wrong}{}", &text[..at], &text[at + right.len()..]))
}

/// What is wrong with how a definition is refused. None: it is refused as it must be, or is no mistake after all.
///
/// Some of the mistakes are none by chance, such as a slide that is still shorter than its window.
pub fn badly_refused(text: &str) -> Option<String> {
    let refusal = parse("job.toml", text, &[], &CompileOptions::default()).err()?;
    let bad = refusal.diagnostics.iter().find(|mistake| mistake.place.is_none() || mistake.message.trim().is_empty());
    match (bad, refusal.diagnostics.is_empty()) {
        (Some(mistake), _) => Some(format!("a mistake without a place: {mistake}")),
        (None, true) => Some("it is refused without a word".to_owned()),
        (None, false) => None,
    }
}
