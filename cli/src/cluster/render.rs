//! What the commands' outputs share: tables, ages, shares, and texts that come from somewhere else.

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use std::time::Duration;
use weir_coordinator::status::{END_OF_TIME_MS, RestoringView};

/// Event time further from the clock than this is shown as a moment: a replay of history is not "behind".
const FAR_MS: i64 = 86_400_000;

/// A description for programs.
///
/// # Errors
/// Never for our types: their maps have texts as keys.
pub fn render_json(status: &impl Serialize) -> serde_json::Result<String> {
    serde_json::to_string_pretty(status).map(|json| format!("{json}\n"))
}

/// A text that replaces the one before on a terminal, without a flicker: for `--watch`.
pub fn render_frame(text: &str) -> String {
    // Home; clear what is left of every line; clear below the last.
    format!("\u{1b}[H{}\u{1b}[J", text.replace('\n', "\u{1b}[K\n"))
}

/// A table without lines, its columns `right` aligned to the right. Empty when there are no rows.
pub(super) fn table(header: &[&str], right: &[usize], rows: Vec<Vec<String>>) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(header);
    table.add_rows(rows);
    for index in right {
        if let Some(column) = table.column_mut(*index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// A text from elsewhere, made safe for a terminal: whatever could move the cursor or colour the screen is escaped, and
/// beyond `most` letters it is cut.
pub(super) fn plain(text: &str, most: usize) -> String {
    let mut out = String::new();
    for (place, letter) in text.chars().enumerate() {
        if place == most {
            out.push('…');
            break;
        }
        if letter.is_control() || is_invisible(letter) {
            out.extend(letter.escape_default());
        } else {
            out.push(letter);
        }
    }
    out
}

/// Letters that turn the direction of writing or cannot be seen.
fn is_invisible(letter: char) -> bool {
    matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// `48 s`, `12 min 5 s`, `2 h 1 min`, `3 d 4 h`
pub(super) fn age(milliseconds: i64) -> String {
    let seconds = milliseconds.max(0) / 1000;
    let pair = |large: i64, large_unit: &str, small: i64, small_unit: &str| {
        let rest = seconds % large / small;
        let rest = if rest > 0 { format!(" {rest} {small_unit}") } else { String::new() };
        format!("{} {large_unit}{rest}", seconds / large)
    };
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => pair(60, "min", 1, "s"),
        3_600..86_400 => pair(3_600, "h", 60, "min"),
        _ => pair(86_400, "d", 3_600, "h"),
    }
}

/// `12 %`
pub(super) fn percent(share: f64) -> String {
    format!("{:.0} %", share.clamp(0.0, 1.0) * 100.0)
}

/// Records a second: whole ones, or a decimal while there are few.
pub(super) fn rate(per_second: f64) -> String {
    if per_second > 0.0 && per_second < 10.0 {
        return format!("{per_second:.1}");
    }
    crate::text::number(per_second.round() as u64)
}

/// How much state is back, while it is restored.
pub(super) fn restoring(so_far: Option<RestoringView>) -> Option<String> {
    so_far.map(|so_far| crate::text::restoring(so_far.restored_bytes, so_far.bytes))
}

/// A number, or that there is none yet.
pub(super) fn or_none(number: Option<u64>) -> String {
    number.map_or_else(|| "none".into(), crate::text::number)
}

/// How far event time is behind the clock.
pub(super) fn watermark(watermark_ms: Option<i64>, now_ms: i64) -> String {
    let Some(watermark_ms) = watermark_ms else { return "none".into() };
    if watermark_ms == END_OF_TIME_MS {
        return "at its end".into();
    }
    match now_ms.saturating_sub(watermark_ms) {
        behind @ 0..=FAR_MS => {
            format!("{} ago", crate::text::span(Duration::from_millis(behind.unsigned_abs())))
        }
        _ => crate::text::moment(watermark_ms),
    }
}
