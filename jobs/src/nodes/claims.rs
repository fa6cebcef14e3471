//! What sinks write to, and no other sink of the job may: two would sweep each other's files away, or take each other's rows
//! for their own. Nor may a source read it.

use weir_operators::definition::{KeyPath, Mistake};
use weir_operators::sink::Owned;

/// Notes what a sink before has already.
pub(crate) fn check(claims: &[(KeyPath, &str, Owned)], mistakes: &mut Vec<Mistake>) {
    for (index, (path, _, owned)) in claims.iter().enumerate() {
        if let Some((_, twin, _)) = claims[..index].iter().find(|(_, _, other)| owned.meets(other)) {
            let mistake = Mistake::new(path.key(owned.key), format!("the sink `{twin}` writes there too"));
            mistakes.push(mistake.found(&owned.shown).expected(owned.expected));
        }
    }
}

/// Notes that a sink writes files where a source of the same job reads them: it would read its own results, again and again.
pub(crate) fn refuse_circle(sink: &KeyPath, source: &str, mistakes: &mut Vec<Mistake>) {
    let mistake = Mistake::new(sink.key("path"), format!("the source `{source}` would read what is written there"));
    mistakes.push(mistake.expected("a folder outside of the source's"));
}
