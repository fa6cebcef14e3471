//! All windows of a kind, as a query that gives `_from` and `_to`.

use super::Span;
use crate::grammar::job::{Window, Windows};

/// Every window that has something in the span.
pub(super) fn table(window: &Window, span: Span) -> String {
    let (from, to, offset) = (span.from_ms, span.to_ms, window.offset_ms);
    let (size, step) = match window.windows {
        Windows::Tumbling(size) => (size, size),
        Windows::Hopping(size, slide) => (size, slide),
        Windows::Cumulating(size, step) => (size, step),
        Windows::Session(_) | Windows::Global(_) => return "select 0 as _from, 0 as _to where false".to_owned(),
    };
    // As the clock shows it, begins and ends of windows, from one that is over before the span.
    let apart = if matches!(window.windows, Windows::Cumulating(..)) { size } else { step };
    let first = (from - size - offset).div_euclid(apart) * apart + offset;
    let begins = format!("range({first}, {to}, {apart}) t(b)");
    let shown = match window.windows {
        Windows::Cumulating(..) => {
            format!("select b, b + k * {step} as e from {begins}, range(1, {}) u(k)", size / step + 1)
        }
        _ => format!("select b, b + {size} as e from {begins}"),
    };
    match window.zone {
        None => format!("select b as _from, e as _to from ({shown})"),
        Some(zone) => by_clock(&shown, zone, span),
    }
}

/// The moments when a clock first showed so much, or more. It is looked at each quarter of an hour: clocks are set at one.
fn by_clock(shown: &str, zone: &str, span: Span) -> String {
    const DAY: i64 = 86_400_000;
    const QUARTER: i64 = 900_000;
    let (from, to) = ((span.from_ms - 4 * DAY).div_euclid(QUARTER) * QUARTER, span.to_ms + 4 * DAY);
    let clock = format!(
        "select m, epoch_ms(timezone('{zone}', make_timestamptz(m * 1000))) as c from range({from}, {to}, {QUARTER}) t(m)"
    );
    let moment = |of: &str| {
        format!(
            "coalesce((select min(m + {of} - c) from clock where c <= {of} and {of} < c + {QUARTER}), \
             (select min(m) from clock where c >= {of}))"
        )
    };
    // Where the clock skips ends, only the window counts that begins first.
    format!(
        "with clock as materialized ({clock}), shown as ({shown}), bounds as (select {} as _from, {} as _to from shown) \
         select min(_from) as _from, _to from bounds where _from < _to group by _to",
        moment("b"),
        moment("e")
    )
}
