//! How far the event time of one file has come: the largest believable event time so far.
//!
//! An event time that lies more than the largest jump ahead, or the first of all, is believed when three rows in a row are
//! ahead like this: then the smallest of the three counts, and the others as far as each is no jump from the one before.

/// Event time of one split.
#[derive(Clone, Debug, Default)]
pub struct SplitTime {
    believed: Option<i64>,
    doubtful: Vec<i64>,
}

impl SplitTime {
    /// The watermark now; none: nothing can be late.
    pub fn watermark(&self, delay_ms: i64) -> Option<i64> {
        self.believed.map(|believed| believed - delay_ms)
    }

    /// The next row.
    pub fn see(&mut self, event_time: i64, max_jump_ms: i64) {
        if let Some(believed) = self.believed
            && event_time - believed <= max_jump_ms
        {
            self.believed = Some(believed.max(event_time));
            self.doubtful = Vec::new();
            return;
        }
        self.doubtful.push(event_time);
        if let [first, second, third] = self.doubtful[..] {
            let mut three = [first, second, third];
            three.sort_unstable();
            let mut newest = three[0];
            for next in &three[1..] {
                if next - newest > max_jump_ms {
                    break;
                }
                newest = *next;
            }
            self.believed = Some(newest);
            self.doubtful = Vec::new();
        }
    }
}
