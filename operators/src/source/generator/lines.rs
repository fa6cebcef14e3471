//! Clicks as lines: of a click log, or JSON; and the broken lines that real servers write between them.
//!
//! Invariant: a line ends in `\n` and holds no other; a broken line can be read as a click by no right parser.

use super::{click::Click, text::ClickText};
use serde::{Deserialize, Serialize};

/// How a click is written as a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LineFormat {
    /// `[AdClickEvent] ad000001, 2022-03-04 00:00:01, user 1, 207.148.22.22, USA`
    ClickLog {
        /// Whether the event id follows as a sixth field.
        event_id: bool,
    },
    /// One JSON object a line, with all columns; the timestamp as in RFC 3339.
    Json,
}

impl LineFormat {
    /// Appends the line of a click.
    pub(super) fn push(self, click: &Click, text: &mut ClickText, out: &mut Vec<u8>) {
        match self {
            LineFormat::ClickLog { event_id } => push_click_log(click, event_id, text, out),
            LineFormat::Json => push_json(click, text, out),
        }
    }

    /// Appends a line that was to be this click and broke in the way that `bits` say.
    pub(super) fn push_broken(self, click: &Click, bits: u64, text: &mut ClickText, out: &mut Vec<u8>) {
        let start = out.len();
        match bits % 4 {
            // Cut off within the second field, as by a full disk.
            0 => {
                self.push(click, text, out);
                let half_of_an_ad_and_a_date = match self {
                    LineFormat::ClickLog { .. } => 33,
                    LineFormat::Json => 48,
                };
                out.truncate(start + half_of_an_ad_and_a_date);
            }
            // A date that does not exist.
            1 => {
                self.push(click, text, out);
                // Four digits and a dash start the date, and nothing before it looks like that.
                if let Some(month) = out[start..].windows(5).position(|part| part[4] == b'-') {
                    out[start + month + 5..start + month + 7].copy_from_slice(b"13");
                }
                out.pop();
            }
            // Another program's line.
            2 => out.extend_from_slice(b"java.lang.NullPointerException at ClickServlet.doGet"),
            // Bytes that are no text.
            _ => out.extend_from_slice(b"[AdClickEvent] \xff\xfe\x00\x9d, \xc3\x28"),
        }
        out.push(b'\n');
    }
}

fn push_click_log(click: &Click, event_id: bool, text: &mut ClickText, out: &mut Vec<u8>) {
    out.extend_from_slice(b"[AdClickEvent] ");
    text.ad_id(click, out);
    out.extend_from_slice(b", ");
    text.timestamp(click, b' ', out);
    out.extend_from_slice(b", ");
    text.user_id(click, out);
    out.extend_from_slice(b", ");
    text.ip(click, out);
    out.extend_from_slice(b", ");
    text.country(click, out);
    if event_id {
        out.extend_from_slice(b", ");
        text.event_id(click, out);
    }
    out.push(b'\n');
}

fn push_json(click: &Click, text: &mut ClickText, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"ad_id":""#);
    text.ad_id(click, out);
    out.extend_from_slice(br#"","click_timestamp":""#);
    text.timestamp(click, b'T', out);
    out.extend_from_slice(br#"Z","user_id":""#);
    text.user_id(click, out);
    out.extend_from_slice(br#"","ip":""#);
    text.ip(click, out);
    out.extend_from_slice(br#"","country":""#);
    text.country(click, out);
    out.extend_from_slice(br#"","event_id":""#);
    text.event_id(click, out);
    out.extend_from_slice(b"\"}\n");
}
