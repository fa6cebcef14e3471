//! What happened in a run whose results were right.

use super::{Victim, results::Compared};
use crate::cluster::processes::Member;
use std::fmt;

/// What happened.
#[derive(Clone, Debug)]
pub struct Report {
    /// Workers killed.
    pub workers: usize,
    /// Coordinators killed.
    pub coordinators: usize,
    /// Brokers killed.
    pub brokers: usize,
    /// Consumers killed.
    pub consumers: usize,
    /// Jobs, with their attempts and the number of the last checkpoint.
    pub jobs: Vec<(String, u64, u64)>,
    /// What was compared.
    pub compared: Compared,
}

impl Report {
    pub(super) fn new(killed: &[Victim], jobs: Vec<(String, u64, u64)>, compared: Compared) -> Self {
        let count = |is: fn(&Victim) -> bool| killed.iter().filter(|victim| is(victim)).count();
        Report {
            workers: count(|victim| matches!(victim, Victim::Member(Member::Worker(_)))),
            coordinators: count(|victim| matches!(victim, Victim::Member(Member::Coordinator))),
            brokers: count(|victim| *victim == Victim::Broker),
            consumers: count(|victim| *victim == Victim::Consumer),
            jobs,
            compared,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { workers, coordinators, brokers, consumers, .. } = self;
        let Compared { sent, counts, records, orders: [matched, unmatched], paid, not_counted: [late, rejected] } =
            self.compared;
        write!(
            f,
            "right: {workers} workers, {coordinators} coordinators, {brokers} brokers and {consumers} consumers killed; {sent} \
             records sent, {late} of them late and {rejected} rejected; {counts} counts in the store, {matched} orders with an ad and \
             {unmatched} without, {paid} clicks paid for, {records} records in topics"
        )?;
        for (job, attempts, checkpoints) in &self.jobs {
            write!(f, "; {job}: {attempts} attempts, {checkpoints} checkpoints")?;
        }
        Ok(())
    }
}
