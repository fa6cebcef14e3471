//! What a bill needs to know of one file's clicks: how far the file's time has come, and whose clock was wrong.
//!
//! Time is told by clicks; it is that of the newest one that was believed. Where clocks are doubted at all, a click is not
//! believed that claims to be further ahead of the file than the largest jump, and no number of such clicks makes it so,
//! until these speak for one another: as many as agreed on, over as much time as agreed on, while no believed click has
//! brought the time forward. Each that agrees with the others is one voice for them, each that does not one against; when
//! the voices are gone, the next to be doubted speaks for itself. The click that settles it is the first to be believed.
//!
//! The very first clicks have nothing before them, so that they are asked together: the time of which of them makes the
//! most of them credible?

use super::Parsed;

/// When clocks are doubted. Times in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Doubts {
    /// The largest jump that is believed.
    pub largest_jump_ms: i64,
    /// How many voices it takes. So many records are asked at the beginning.
    pub voices: usize,
    /// The time that they must cover.
    pub span_ms: i64,
    /// Whether clicks that are not believed are put aside. Where not, they tell no time but count, and the first three clicks
    /// count before they are asked together.
    pub put_aside: bool,
}

/// Event time of one file.
#[derive(Clone, Debug)]
pub struct SplitTime {
    doubts: Option<Doubts>,
    newest: Option<i64>,
    /// Clicks that count already and were not asked yet.
    first: Vec<i64>,
    claim: Option<Claim>,
}

/// Clicks that were not believed and speak for one another.
#[derive(Clone, Copy, Debug)]
struct Claim {
    from: i64,
    to: i64,
    voices: usize,
}

impl SplitTime {
    /// Of a file with these records.
    pub fn of(records: &[Parsed], doubts: Option<Doubts>, delay_ms: i64) -> Self {
        let asked =
            doubts.filter(|doubts| doubts.put_aside).map(|doubts| (first_clicks(records, doubts.voices), doubts));
        let newest = asked.and_then(|(first, doubts)| beginning(&first, doubts, delay_ms));
        SplitTime { doubts, newest, first: Vec::new(), claim: None }
    }

    /// The watermark now; none: nothing can be late.
    pub fn watermark(&self, delay_ms: i64) -> Option<i64> {
        self.newest.map(|newest| newest - delay_ms)
    }

    /// The next click. False when it is not believed.
    pub fn hears(&mut self, event_time: i64, delay_ms: i64) -> bool {
        let Some(doubts) = self.doubts else {
            self.newest = Some(self.newest.map_or(event_time, |newest| newest.max(event_time)));
            return true;
        };
        let Some(newest) = self.newest else {
            self.first.push(event_time);
            if self.first.len() == 3 {
                self.newest = beginning(&self.first, doubts, delay_ms);
                for first in std::mem::take(&mut self.first) {
                    let newest = self.newest.unwrap_or(first);
                    if first - newest <= doubts.largest_jump_ms {
                        self.newest = Some(newest.max(first));
                    }
                }
            }
            return true;
        };
        if event_time - newest <= doubts.largest_jump_ms {
            if event_time > newest {
                self.newest = Some(event_time);
                self.claim = None;
            }
            return true;
        }
        let mut claim = self.claim.unwrap_or(Claim { from: event_time, to: event_time, voices: 0 });
        let gap = (claim.from - event_time).max(event_time - claim.to);
        if gap <= doubts.largest_jump_ms {
            let (from, to) = (claim.from.min(event_time), claim.to.max(event_time));
            claim = Claim { from, to, voices: claim.voices + 1 };
        } else {
            claim.voices -= 1;
            if claim.voices == 0 {
                claim = Claim { from: event_time, to: event_time, voices: 1 };
            }
        }
        let settled = claim.voices >= doubts.voices && claim.to - claim.from >= doubts.span_ms;
        if settled {
            self.newest = Some(claim.to);
            self.claim = None;
        } else {
            self.claim = Some(claim);
        }
        settled
    }
}

/// The clicks among the first records, from the first click on.
fn first_clicks(records: &[Parsed], most: usize) -> Vec<i64> {
    let time = |record: &Parsed| match record {
        Parsed::Click { click, .. } => Some(click.click_timestamp),
        Parsed::DeadLetter { .. } => None,
    };
    records.iter().skip_while(|record| time(record).is_none()).take(most).filter_map(time).collect()
}

/// Asks the first clicks.
fn beginning(first: &[i64], doubts: Doubts, delay_ms: i64) -> Option<i64> {
    let credible = |start: i64| {
        let mut newest = start;
        let mut credible = 0;
        for time in first {
            let (ahead, behind) = (time - newest, newest - time);
            if ahead <= doubts.largest_jump_ms && behind <= doubts.largest_jump_ms.max(delay_ms) {
                credible += 1;
                newest = newest.max(*time);
            }
        }
        credible
    };
    let mut candidates = first.to_vec();
    candidates.sort_unstable();
    // Of equals the last one wins, which is to be the oldest.
    candidates.into_iter().rev().max_by_key(|start| credible(*start))
}
