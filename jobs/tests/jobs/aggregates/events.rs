//! Events for the tests of aggregates, from a seed: a few ads, few users, nulls, ties in event time, some of them late.

use std::fmt::Write as _;
use std::path::Path;

/// One event.
#[derive(Debug, Clone)]
pub struct Event {
    /// Milliseconds since the epoch.
    pub at: i64,
    pub ad: String,
    pub who: Option<String>,
    /// From 0 to 99.
    pub cost: Option<i64>,
    pub price: Option<f64>,
    pub ok: Option<bool>,
}

const FILES: usize = 4;
const BEGIN: i64 = 1_646_352_000_000;

/// So many events: of each file in its order, none of them too late to be counted.
pub fn events(seed: u64, number: usize) -> Vec<Event> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut below = |n: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) % n
    };
    let mut events = Vec::with_capacity(number);
    let mut now = BEGIN;
    for event in 0..number {
        now += below(900) as i64;
        // A pause now and then, so that sessions end; and in it nobody is late.
        if event % 350 == 349 {
            now += 60_000;
        }
        let late = if event % 350 > 100 && below(20) == 0 { below(80_000) as i64 } else { 0 };
        events.push(Event {
            at: (now - late) / 250 * 250,
            ad: format!("ad{}", below(4)),
            who: (below(9) > 0).then(|| format!("user {}", below(12))),
            cost: (below(8) > 0).then(|| below(100) as i64),
            price: (below(8) > 0).then(|| below(100_000) as f64 / 1_000.0),
            ok: (below(6) > 0).then(|| below(3) > 0),
        });
    }
    events
}

/// Writes them as JSON lines, every fourth one into a file.
pub fn write(events: &[Event], folder: &Path) {
    for file in 0..FILES {
        let mut text = String::new();
        for event in events.iter().skip(file).step_by(FILES) {
            let json = |value: Option<String>| value.unwrap_or_else(|| "null".into());
            let at = event.at;
            let who = json(event.who.as_ref().map(|who| format!("{who:?}")));
            let (cost, price) = (json(event.cost.map(|n| n.to_string())), json(event.price.map(|n| n.to_string())));
            let (ad, ok) = (&event.ad, json(event.ok.map(|ok| ok.to_string())));
            writeln!(
                text,
                "{{\"at\":{at},\"ad\":\"{ad}\",\"who\":{who},\"cost\":{cost},\"price\":{price},\"ok\":{ok}}}"
            )
            .unwrap();
        }
        std::fs::write(folder.join(format!("events-{file}.json")), text).unwrap();
    }
}
