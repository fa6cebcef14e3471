//! The slowest subtasks of each source, found from what all of them report.

use crate::{
    env::Moment,
    ids::SubtaskId,
    operator::{Pace, Slowest},
    task::SourceCommand,
};
use std::collections::BTreeMap;

/// How far all sources are, by their tasks. Those that never report have none to wait for each other.
#[derive(Debug, Default)]
pub(super) struct Paces {
    sources: BTreeMap<usize, Source>,
    /// When sources may be told again.
    next: Option<Moment>,
}

#[derive(Debug, Default)]
struct Source {
    /// The event times of subtasks that others wait for, by index.
    event_times: BTreeMap<usize, i64>,
    /// What its subtasks heard last, if anything.
    told: Option<Option<Slowest>>,
}

impl Paces {
    /// A subtask is there; none: nobody waits for it any more.
    pub(super) fn reported(&mut self, SubtaskId { task, index }: SubtaskId, event_time: Option<i64>) {
        let event_times = &mut self.sources.entry(task).or_default().event_times;
        match event_time {
            Some(event_time) => event_times.insert(index, event_time),
            None => event_times.remove(&index),
        };
    }

    /// A subtask has come to its end.
    pub(super) fn ended(&mut self, subtask: SubtaskId) {
        if self.sources.contains_key(&subtask.task) {
            self.reported(subtask, None);
        }
    }

    /// When sources are to be told something; none: they know all.
    pub(super) fn due(&self, now: Moment) -> Option<Moment> {
        let has_news = self.sources.values().any(|source| source.told != Some(source.slowest()));
        has_news.then(|| self.next.unwrap_or(now))
    }

    /// What sources are to be told now.
    pub(super) fn tell(&mut self, now: Moment) -> Vec<SourceCommand> {
        if self.next.is_some_and(|next| now < next) {
            return Vec::new();
        }
        let mut commands = Vec::new();
        for (task, source) in &mut self.sources {
            let slowest = source.slowest();
            if source.told.replace(slowest) != Some(slowest) {
                commands.push(SourceCommand::Pace { task: *task, slowest });
            }
        }
        if !commands.is_empty() {
            self.next = Some(now + Pace::INTERVAL);
        }
        commands
    }
}

impl Source {
    fn slowest(&self) -> Option<Slowest> {
        let mut slowest: Option<Slowest> = None;
        for (subtask, event_time) in self.event_times.iter().map(|(subtask, event_time)| (*subtask, *event_time)) {
            slowest = Some(match slowest {
                None => Slowest { subtask, event_time, next: None },
                Some(known) if event_time < known.event_time => {
                    Slowest { subtask, event_time, next: Some(known.event_time) }
                }
                Some(known) => {
                    Slowest { next: Some(known.next.map_or(event_time, |next| next.min(event_time))), ..known }
                }
            });
        }
        slowest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::Env;

    const SOURCE: usize = 3;

    fn subtask(index: usize) -> SubtaskId {
        SubtaskId { task: SOURCE, index }
    }

    fn told(subtask: usize, event_time: i64, next: Option<i64>) -> Vec<SourceCommand> {
        vec![SourceCommand::Pace { task: SOURCE, slowest: Some(Slowest { subtask, event_time, next }) }]
    }

    #[test]
    fn each_hears_of_the_slowest_other_one_and_only_what_is_new() {
        let (mut paces, mut now) = (Paces::default(), Env::default().now());
        let mut after = |reports: &[(usize, Option<i64>)]| {
            reports.iter().for_each(|(index, event_time)| paces.reported(subtask(*index), *event_time));
            now += Pace::INTERVAL;
            paces.tell(now)
        };
        assert_eq!(after(&[]), []);
        assert_eq!(after(&[(1, Some(70))]), told(1, 70, None));
        assert_eq!(after(&[(0, Some(90)), (2, Some(80))]), told(1, 70, Some(80)));
        assert_eq!(after(&[(0, Some(95))]), [], "it is none of the two slowest");
        assert_eq!(after(&[(1, Some(200))]), told(2, 80, Some(95)));
        assert_eq!(after(&[(2, None)]), told(0, 95, Some(200)), "one that is silent holds nobody up");
        assert_eq!(after(&[(2, Some(60))]), told(2, 60, Some(95)), "and may come back further behind");
        assert_eq!(after(&[(0, None), (1, None)]), told(2, 60, None));
        assert_eq!(after(&[(2, None)]), [SourceCommand::Pace { task: SOURCE, slowest: None }]);
        let slowest = Slowest { subtask: 2, event_time: 80, next: Some(95) };
        assert_eq!([0, 1, 2].map(|index| slowest.other_than(index)), [Some(80), Some(80), Some(95)]);
    }

    #[test]
    fn one_at_its_end_holds_nobody_up_and_sources_are_apart() {
        let (mut paces, now) = (Paces::default(), Env::default().now());
        let other = |index| SubtaskId { task: SOURCE + 1, index };
        paces.ended(other(1));
        assert_eq!(paces.due(now), None, "a source that reports nothing is told nothing");
        paces.reported(subtask(0), Some(10));
        paces.reported(other(0), Some(1));
        paces.reported(subtask(1), Some(20));
        paces.ended(subtask(0));
        let of_other =
            SourceCommand::Pace { task: SOURCE + 1, slowest: Some(Slowest { subtask: 0, event_time: 1, next: None }) };
        assert_eq!(paces.tell(now), [told(1, 20, None), vec![of_other]].concat());
    }

    #[test]
    fn sources_are_told_now_and_then() {
        let (mut paces, begin) = (Paces::default(), Env::default().now());
        paces.reported(subtask(0), Some(1));
        assert_eq!(paces.due(begin), Some(begin));
        assert_eq!(paces.tell(begin), told(0, 1, None));
        assert_eq!(paces.due(begin), None);
        paces.reported(subtask(0), Some(2));
        assert_eq!((paces.tell(begin + Pace::INTERVAL / 2), paces.due(begin)), (vec![], Some(begin + Pace::INTERVAL)));
        paces.reported(subtask(0), Some(3));
        assert_eq!(paces.tell(begin + Pace::INTERVAL), told(0, 3, None));
        paces.reported(subtask(0), Some(4));
        paces.reported(subtask(0), Some(3));
        assert_eq!(paces.due(begin), None, "nothing is new after all");
    }
}
