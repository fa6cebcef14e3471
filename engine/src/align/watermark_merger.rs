//! Event time over the channels of a subtask, whichever of its inputs they feed: the minimum of those that are neither idle
//! nor finished.
//!
//! A source may fall silent, and what is said about time then comes from the others. A silent *source* is left out at once. A
//! subtask behind a gate falls silent when all that it hears is silent, and wakes up a moment later or earlier than its
//! neighbours, which hear the same sources: left out alone, it would be overtaken by a neighbour that woke up first, and its
//! next rows would be late. So it is left out only together with every channel that has a source in common with it.
//!
//! Invariants: the merged watermark never falls; it says that there is no more to come only when every channel has said so.

use crate::element::{WATERMARK_MAX, WATERMARK_MIN};

/// What a channel has to do with the others, as far as time goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelTime {
    /// Channels that have a source in common, directly or not, have the same number. Numbers have no gaps.
    pub group: usize,
    /// Whether its producer is a source.
    pub from_source: bool,
}

/// Watermark and state of every channel.
#[derive(Debug)]
pub struct WatermarkMerger {
    channels: Vec<Channel>,
    /// By group: the channels that are active.
    active: Vec<usize>,
    merged: i64,
    idle: bool,
    /// A channel has said that there is no more to come.
    told_of_end: bool,
}

#[derive(Clone, Copy, Debug)]
struct Channel {
    time: ChannelTime,
    watermark: i64,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Active,
    Idle,
    /// It has said that there is no more to come, or has ended.
    Finished,
}

/// What changed for those who come after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MergedTime {
    /// Event time has risen.
    Watermark(i64),
    /// No channel has anything to say about time.
    Idle,
    /// One has again, and event time is what it was.
    Active(i64),
}

impl WatermarkMerger {
    /// For these channels, all of them active and without a watermark.
    pub fn new(channels: &[ChannelTime]) -> Self {
        let groups = channels.iter().map(|time| time.group + 1).max().unwrap_or(0);
        let mut active = vec![0; groups];
        channels.iter().for_each(|time| active[time.group] += 1);
        let channel = |time: &ChannelTime| Channel { time: *time, watermark: WATERMARK_MIN, state: State::Active };
        WatermarkMerger {
            channels: channels.iter().map(channel).collect(),
            active,
            merged: WATERMARK_MIN,
            idle: false,
            told_of_end: false,
        }
    }

    /// The merged watermark.
    pub fn merged(&self) -> i64 {
        self.merged
    }

    /// A channel's watermark has risen.
    pub fn on_watermark(&mut self, channel: usize, watermark: i64) -> Option<MergedTime> {
        let known = &mut self.channels[channel].watermark;
        *known = watermark.max(*known);
        if watermark == WATERMARK_MAX {
            self.told_of_end = true;
            self.set(channel, State::Finished);
        } else if self.channels[channel].state == State::Idle {
            self.set(channel, State::Active);
        }
        self.merge()
    }

    /// A channel went idle.
    pub fn on_idle(&mut self, channel: usize) -> Option<MergedTime> {
        if self.channels[channel].state == State::Active {
            self.set(channel, State::Idle);
        }
        self.merge()
    }

    /// A channel delivered rows: it is not idle any more.
    #[inline]
    pub fn on_rows(&mut self, channel: usize) -> Option<MergedTime> {
        if self.channels[channel].state != State::Idle {
            return None;
        }
        self.set(channel, State::Active);
        self.merge()
    }

    /// A channel ended: its time is over, and the others decide.
    pub fn on_end(&mut self, channel: usize) -> Option<MergedTime> {
        self.set(channel, State::Finished);
        self.merge()
    }

    fn set(&mut self, channel: usize, state: State) {
        let channel = &mut self.channels[channel];
        let active = &mut self.active[channel.time.group];
        *active -= usize::from(channel.state == State::Active);
        *active += usize::from(state == State::Active);
        channel.state = state;
    }

    fn counts(&self, channel: &Channel) -> bool {
        match channel.state {
            State::Active => true,
            State::Idle => !channel.time.from_source && self.active[channel.time.group] > 0,
            State::Finished => false,
        }
    }

    fn merge(&mut self) -> Option<MergedTime> {
        let counting = self.channels.iter().filter(|channel| self.counts(channel));
        let least = counting.map(|channel| channel.watermark).min();
        let least = match least {
            Some(least) => least,
            None if self.channels.iter().any(|channel| channel.state == State::Idle) => {
                let news = !self.idle;
                self.idle = true;
                return news.then_some(MergedTime::Idle);
            }
            None if self.told_of_end => WATERMARK_MAX,
            None => return None,
        };
        let was_idle = std::mem::take(&mut self.idle);
        if least > self.merged {
            self.merged = least;
            return Some(MergedTime::Watermark(least));
        }
        was_idle.then_some(MergedTime::Active(self.merged))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use MergedTime::*;

    fn sources(count: usize) -> WatermarkMerger {
        WatermarkMerger::new(&vec![ChannelTime { group: 0, from_source: true }; count])
    }

    /// Channels from subtasks behind gates, by their groups.
    fn behind_gates(groups: &[usize]) -> WatermarkMerger {
        let time = |group: &usize| ChannelTime { group: *group, from_source: false };
        WatermarkMerger::new(&groups.iter().map(time).collect::<Vec<_>>())
    }

    #[test]
    fn the_slowest_channel_decides() {
        let mut merger = sources(2);
        assert_eq!(merger.on_watermark(0, 10), None);
        assert_eq!(merger.on_watermark(1, 5), Some(Watermark(5)));
        assert_eq!(merger.on_watermark(1, 20), Some(Watermark(10)));
        assert_eq!(merger.on_watermark(1, 7), None, "a channel's time does not fall");
        assert_eq!(merger.on_watermark(0, 30), Some(Watermark(20)));
    }

    #[test]
    fn idle_sources_are_left_out_until_they_speak() {
        let mut merger = sources(2);
        merger.on_watermark(0, 10);
        assert_eq!(merger.on_idle(1), Some(Watermark(10)));
        assert_eq!(merger.on_idle(0), Some(Idle));
        assert_eq!(merger.on_idle(0), None, "once is enough");
        assert_eq!(merger.on_rows(1), Some(Active(10)));
        assert_eq!(merger.on_rows(1), None, "once is enough");
        assert_eq!(merger.on_watermark(1, 4), None, "time does not fall for one that was away");
        assert_eq!(merger.on_watermark(1, 15), Some(Watermark(15)), "the other is idle still");
    }

    #[test]
    fn a_watermark_that_wakes_up_and_raises_time_is_told_once() {
        let mut merger = sources(1);
        assert_eq!(merger.on_watermark(0, 10), Some(Watermark(10)));
        assert_eq!(merger.on_idle(0), Some(Idle));
        assert_eq!(merger.on_watermark(0, 12), Some(Watermark(12)));
        assert_eq!(merger.on_idle(0), Some(Idle));
        assert_eq!(merger.on_watermark(0, 12), Some(Active(12)));
    }

    #[test]
    fn a_finished_channel_does_not_hold_time_back() {
        let mut merger = sources(2);
        merger.on_watermark(0, 10);
        assert_eq!(merger.on_end(1), Some(Watermark(10)));
        assert_eq!(merger.on_end(0), None);
        let mut merger = sources(2);
        merger.on_watermark(0, 10);
        assert_eq!(merger.on_watermark(1, WATERMARK_MAX), Some(Watermark(10)));
        assert_eq!(merger.on_watermark(0, WATERMARK_MAX), Some(Watermark(WATERMARK_MAX)));
    }

    /// One source has been read to its end, the other says nothing for now: its windows are not over.
    #[test]
    fn time_does_not_end_while_a_channel_is_only_silent() {
        for mut merger in [sources(2), behind_gates(&[0, 1])] {
            merger.on_watermark(0, 10);
            merger.on_watermark(1, 20);
            assert_eq!(merger.on_idle(0), Some(Watermark(20)));
            assert_eq!(merger.on_watermark(1, WATERMARK_MAX), Some(Idle));
            assert_eq!(merger.on_watermark(0, 15), Some(Active(20)));
            assert_eq!(merger.on_watermark(0, 30), Some(Watermark(30)));
            assert_eq!(merger.on_watermark(0, WATERMARK_MAX), Some(Watermark(WATERMARK_MAX)));
        }
    }

    #[test]
    fn what_stands_behind_gates_is_silent_with_all_that_hear_the_same() {
        // Two neighbours behind one source, and a third with a source of its own.
        let mut merger = behind_gates(&[0, 0, 1]);
        merger.on_watermark(0, 10);
        merger.on_watermark(1, 12);
        assert_eq!(merger.on_watermark(2, 50), Some(Watermark(10)));
        assert_eq!(merger.on_idle(0), None, "its neighbour has not fallen silent yet");
        assert_eq!(merger.on_watermark(1, 20), None);
        assert_eq!(merger.on_idle(1), Some(Watermark(50)), "the other source decides alone");
        assert_eq!(merger.on_watermark(2, 60), Some(Watermark(60)));
        assert_eq!(merger.on_watermark(1, 70), None, "the first counts again with the second, as it would come late");
        assert_eq!(merger.on_watermark(2, 80), None);
        assert_eq!(merger.on_watermark(0, 70), Some(Watermark(70)));
    }
}
