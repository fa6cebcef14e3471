//! What the subtasks of an attempt have reported, for a coordinator that takes the attempt over: the one before it may have died
//! with what it was told.
//!
//! Nothing here grows with age: of acknowledgements only each subtask's newest counts, since a checkpoint is triggered when the one
//! before it is complete.

use std::collections::BTreeMap;
use weir_engine::{ids::SubtaskId, task::Report};
use weir_proto::v1::worker_message::Kind;

/// All that counts of what was reported, as it was sent.
#[derive(Debug, Default)]
pub(crate) struct Told {
    acknowledged: BTreeMap<SubtaskId, Kind>,
    /// Of how far sources are, too, only the newest counts.
    paced: BTreeMap<SubtaskId, Kind>,
    /// Sources without more: each says so once.
    exhausted: Vec<Kind>,
    /// Ends and failures: each comes once.
    ends: Vec<Kind>,
}

impl Told {
    /// Takes down a report, and how it was sent.
    pub fn add(&mut self, report: &Report, sent: &Kind) {
        match report {
            Report::Acknowledged(acknowledgement) => {
                self.acknowledged.insert(acknowledgement.subtask, sent.clone());
            }
            Report::Paced(subtask, _) => {
                self.paced.insert(*subtask, sent.clone());
            }
            Report::Exhausted(_) => self.exhausted.push(sent.clone()),
            Report::Finished(_) | Report::Failed(..) => self.ends.push(sent.clone()),
        }
    }

    /// Everything, to be sent once more.
    pub fn again(&self) -> impl Iterator<Item = Kind> + '_ {
        // Sources without more come first: whether a checkpoint ends the job hangs on them when the last one has acknowledged it.
        self.exhausted.iter().chain(self.acknowledged.values()).chain(self.paced.values()).chain(&self.ends).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_engine::{
        checkpoint::pending::Acknowledgement,
        ids::{Attempt, CheckpointId},
        wire::{AttemptKey, report_from_wire, report_to_wire},
    };

    #[test]
    fn what_is_newest_of_each_subtask_and_all_else_is_said_again_in_an_order_that_means_the_same() {
        let key = AttemptKey { job: "clicks".into(), attempt: Attempt(3) };
        let (one, other) = (SubtaskId { task: 0, index: 0 }, SubtaskId { task: 1, index: 0 });
        let acknowledged = |subtask, checkpoint| {
            let checkpoint = CheckpointId(checkpoint);
            Report::Acknowledged(Acknowledgement { subtask, checkpoint, operators: vec![], committables: vec![] })
        };
        let mut told = Told::default();
        let paced = [Report::Paced(one, Some(7)), Report::Paced(one, Some(8))];
        let others = [
            acknowledged(one, 1),
            acknowledged(other, 1),
            Report::Exhausted(one),
            acknowledged(one, 2),
            Report::Finished(one),
        ];
        for report in paced.into_iter().chain(others) {
            told.add(&report, &report_to_wire(&key, &report).unwrap());
        }
        let again: Vec<String> = told
            .again()
            .map(|kind| match report_from_wire(kind).unwrap().unwrap().1 {
                Report::Acknowledged(one) => format!("{} acknowledged {}", one.subtask, one.checkpoint),
                other => format!("{other:?}"),
            })
            .collect();
        assert_eq!(again.len(), 5, "{again:?}");
        assert!(again[0].starts_with("Exhausted"), "{again:?}");
        assert!(again[1].ends_with("acknowledged 2") && again[2].ends_with("acknowledged 1"), "{again:?}");
        assert!(again[3].contains("Some(8)") && again[4].starts_with("Finished"), "{again:?}");
    }
}
