//! What sinks write to, and no other sink of the job may: two would sweep each other's files away, or take each other's rows
//! for their own.

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
