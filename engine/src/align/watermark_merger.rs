//! Event time over several inputs: the minimum of those that are neither idle nor ended.
//!
//! Invariant: the merged watermark never falls.

use crate::element::{WATERMARK_MAX, WATERMARK_MIN};

/// Watermark and state of every input.
#[derive(Debug)]
pub struct WatermarkMerger {
    inputs: Vec<Input>,
    merged: i64,
    idle: bool,
}

#[derive(Clone, Copy, Debug)]
struct Input {
    watermark: i64,
    counts: Counts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counts {
    Yes,
    Idle,
    Ended,
}

/// What changed for those who come after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MergedTime {
    /// Event time has risen.
    Watermark(i64),
    /// No input has anything to say about time.
    Idle,
}

impl WatermarkMerger {
    /// For so many inputs, all of them active and without a watermark.
    pub fn new(inputs: usize) -> Self {
        let input = Input { watermark: WATERMARK_MIN, counts: Counts::Yes };
        WatermarkMerger { inputs: vec![input; inputs], merged: WATERMARK_MIN, idle: false }
    }

    /// The merged watermark.
    pub fn merged(&self) -> i64 {
        self.merged
    }

    /// An input's watermark has risen.
    pub fn on_watermark(&mut self, input: usize, watermark: i64) -> Option<MergedTime> {
        let input = &mut self.inputs[input];
        input.watermark = input.watermark.max(watermark);
        if input.counts == Counts::Idle {
            input.counts = Counts::Yes;
        }
        self.merge()
    }

    /// An input went idle.
    pub fn on_idle(&mut self, input: usize) -> Option<MergedTime> {
        self.inputs[input].counts = Counts::Idle;
        self.merge()
    }

    /// An input delivered rows: it is not idle any more.
    pub fn on_rows(&mut self, input: usize) {
        if self.inputs[input].counts == Counts::Idle {
            self.inputs[input].counts = Counts::Yes;
            self.idle = false;
        }
    }

    /// An input ended: its time is over, and the others decide.
    pub fn on_end(&mut self, input: usize) -> Option<MergedTime> {
        self.inputs[input] = Input { watermark: WATERMARK_MAX, counts: Counts::Ended };
        self.merge()
    }

    fn merge(&mut self) -> Option<MergedTime> {
        let counting = self.inputs.iter().filter(|input| input.counts == Counts::Yes);
        match counting.map(|input| input.watermark).min() {
            Some(least) => {
                self.idle = false;
                (least > self.merged).then(|| {
                    self.merged = least;
                    MergedTime::Watermark(least)
                })
            }
            None if self.inputs.iter().any(|input| input.counts == Counts::Idle) => {
                let news = !self.idle;
                self.idle = true;
                news.then_some(MergedTime::Idle)
            }
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use MergedTime::*;

    #[test]
    fn the_slowest_input_decides() {
        let mut merger = WatermarkMerger::new(2);
        assert_eq!(merger.on_watermark(0, 10), None);
        assert_eq!(merger.on_watermark(1, 5), Some(Watermark(5)));
        assert_eq!(merger.on_watermark(1, 20), Some(Watermark(10)));
        assert_eq!(merger.on_watermark(1, 7), None, "an input's time does not fall");
        assert_eq!(merger.on_watermark(0, 30), Some(Watermark(20)));
    }

    #[test]
    fn idle_inputs_are_left_out_until_they_speak() {
        let mut merger = WatermarkMerger::new(2);
        merger.on_watermark(0, 10);
        assert_eq!(merger.on_idle(1), Some(Watermark(10)));
        assert_eq!(merger.on_idle(0), Some(Idle));
        assert_eq!(merger.on_idle(0), None, "once is enough");
        merger.on_rows(1);
        assert_eq!(merger.on_watermark(1, 4), None, "time does not fall for one that was away");
        assert_eq!(merger.on_watermark(1, 15), Some(Watermark(15)), "the other is idle still");
    }

    #[test]
    fn an_ended_input_does_not_hold_time_back() {
        let mut merger = WatermarkMerger::new(2);
        merger.on_watermark(0, 10);
        assert_eq!(merger.on_end(1), Some(Watermark(10)));
        assert_eq!(merger.on_end(0), None);
    }
}
