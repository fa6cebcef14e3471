//! What happens to whom, and for how long: it follows from a seed alone.
//!
//! Who is meant is said by roles: who leads, and which workers have something to do, is known only when it happens.

use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};
use std::{fmt, time::Duration};

/// A fault of so long or longer is a matter of minutes.
pub const MINUTE: Duration = Duration::from_secs(60);

/// Who is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// The coordinator that leads.
    Leader,
    /// Another coordinator.
    Follower,
    /// A worker that runs subtasks.
    Worker,
    /// Another one.
    OtherWorker,
    /// Kafka.
    Broker,
    /// PostgreSQL.
    Database,
    /// S3.
    Storage,
}

impl Role {
    /// Whether there is somebody else who does its work meanwhile.
    fn has_others(self) -> bool {
        !matches!(self, Role::Broker | Role::Database | Role::Storage)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Leader => "leader",
            Role::Follower => "follower",
            Role::Worker => "worker",
            Role::OtherWorker => "other worker",
            Role::Broker => "broker",
            Role::Database => "database",
            Role::Storage => "storage",
        })
    }
}

/// Those who talk to each other.
const PAIRS: [(Role, Role); 8] = [
    (Role::Worker, Role::OtherWorker),
    (Role::Worker, Role::Leader),
    (Role::Worker, Role::Follower),
    (Role::Leader, Role::Follower),
    (Role::Worker, Role::Broker),
    (Role::Worker, Role::Database),
    (Role::Worker, Role::Storage),
    (Role::Leader, Role::Storage),
];

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `SIGKILL`; started again after a while.
    Kill(Role),
    /// `SIGSTOP`, and later `SIGCONT`.
    Freeze(Role),
    /// Nobody is reached, and reached by nobody.
    CutOff(Role),
    /// The two don't reach each other.
    Cut(Role, Role),
    /// What the first one says does not reach the second.
    OneWay(Role, Role),
    /// Of what the two say to each other, so many packets of a hundred are lost.
    Loss(Role, Role, u8),
    /// The disk of its own has no room left.
    FullDisk(Role),
}

impl Fault {
    /// Who is in it.
    pub fn roles(self) -> Vec<Role> {
        match self {
            Fault::Kill(role) | Fault::Freeze(role) | Fault::CutOff(role) | Fault::FullDisk(role) => vec![role],
            Fault::Cut(one, other) | Fault::OneWay(one, other) | Fault::Loss(one, other, _) => vec![one, other],
        }
    }

    /// Whether results can come before it is over: where nobody else does the work they come after that.
    pub fn is_bridged(self) -> bool {
        matches!(self, Fault::Loss(..)) || self.roles().into_iter().all(Role::has_others)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Kill(role) => write!(f, "{role} killed"),
            Fault::Freeze(role) => write!(f, "{role} frozen"),
            Fault::CutOff(role) => write!(f, "{role} cut off"),
            Fault::Cut(one, other) => write!(f, "cut {one} | {other}"),
            Fault::OneWay(from, to) => write!(f, "one-way cut {from} > {to}"),
            Fault::Loss(one, other, percent) => write!(f, "{percent} % loss {one} | {other}"),
            Fault::FullDisk(role) => write!(f, "{role}'s disk full"),
        }
    }
}

/// A fault in a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// How long to wait: after what went before is over and results have come, or, if it is together with that, after its begin.
    pub pause: Duration,
    /// Whether it begins while what went before is not over.
    pub together: bool,
    /// What happens.
    pub fault: Fault,
    /// For how long.
    pub lasts: Duration,
}

impl Step {
    /// What kind of fault it is.
    pub fn kind(&self) -> String {
        let minutes = if self.lasts >= MINUTE { " for a minute or more" } else { "" };
        format!("{}{minutes}", self.fault)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let together = if self.together { ", together with the one before" } else { "" };
        write!(f, "{} for {} ms, after {} ms{together}", self.fault, self.lasts.as_millis(), self.pause.as_millis())
    }
}

/// How long faults are, and how many at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Seconds, one at a time, so that a test suite can bear it.
    Short,
    /// Up to minutes, and some together.
    Long,
}

/// The faults of a seed. With `only`, those of one kind, as [`Step::kind`] begins.
pub fn schedule(seed: u64, faults: usize, form: Form, only: Option<&str>) -> Vec<Step> {
    let mut dice = StdRng::seed_from_u64(seed);
    let mut steps = Vec::new();
    // A kind that does not exist would never come.
    for _ in 0..1_000 * faults.max(1) {
        if steps.len() >= faults {
            break;
        }
        let mut deck = deck(&mut dice, form);
        deck.shuffle(&mut dice);
        let drawn: Vec<Step> = deck.into_iter().map(|fault| step(&mut dice, form, fault)).collect();
        let kept = drawn.into_iter().filter(|step| only.is_none_or(|only| step.kind().starts_with(only)));
        steps.extend(kept.map(|step| Step { together: step.together && only.is_none(), ..step }));
    }
    steps.truncate(faults);
    if let Some(first) = steps.first_mut() {
        first.together = false;
    }
    steps
}

/// Every kind, so that all of them come.
fn deck(dice: &mut StdRng, form: Form) -> Vec<Fault> {
    let mut pair = || {
        let (one, other) = PAIRS[dice.random_range(0..PAIRS.len())];
        if dice.random_bool(0.5) { (one, other) } else { (other, one) }
    };
    let cuts = |(one, other)| Fault::Cut(one, other);
    let one_way = |(from, to)| Fault::OneWay(from, to);
    let loss = |(one, other)| Fault::Loss(one, other, 30);
    if form == Form::Short {
        return vec![
            Fault::Kill(Role::Worker),
            Fault::Kill(Role::Leader),
            Fault::CutOff(Role::Leader),
            Fault::CutOff(Role::Storage),
            one_way(PAIRS[0]),
            Fault::Cut(Role::Worker, Role::Database),
        ];
    }
    vec![
        Fault::Kill(Role::Worker),
        Fault::Kill(Role::Worker),
        Fault::Kill(Role::Leader),
        Fault::Kill(Role::Leader),
        Fault::Kill(Role::Follower),
        Fault::Kill(Role::Broker),
        Fault::Kill(Role::Database),
        Fault::Kill(Role::Storage),
        Fault::Freeze(Role::Worker),
        Fault::Freeze(Role::Leader),
        Fault::Freeze(Role::Broker),
        Fault::Freeze(Role::Database),
        Fault::Freeze(Role::Storage),
        Fault::CutOff(Role::Worker),
        Fault::CutOff(Role::Leader),
        Fault::CutOff(Role::Leader),
        Fault::CutOff(Role::Broker),
        Fault::CutOff(Role::Database),
        Fault::CutOff(Role::Storage),
        cuts(pair()),
        cuts(pair()),
        one_way(pair()),
        one_way(pair()),
        one_way(pair()),
        loss(pair()),
        loss(pair()),
        Fault::FullDisk(Role::Leader),
        Fault::FullDisk(Role::Follower),
        Fault::FullDisk(Role::Worker),
    ]
}

fn step(dice: &mut StdRng, form: Form, fault: Fault) -> Step {
    let may_last_minutes = matches!(fault, Fault::CutOff(Role::Storage | Role::Database)) && form == Form::Long;
    let lasts_minutes = may_last_minutes && dice.random_bool(0.3);
    let lasts = match (form, fault) {
        _ if lasts_minutes => 60_000..90_000,
        (Form::Short, Fault::Kill(_)) => 300..1_500,
        (Form::Short, _) => 1_500..3_000,
        (Form::Long, Fault::Kill(_)) => 0..4_000,
        // Longer than a worker or a leader may be silent, or not.
        (Form::Long, Fault::Freeze(_)) => 1_000..8_000,
        (Form::Long, _) => 1_000..10_000,
    };
    let lasts = Duration::from_millis(dice.random_range(lasts));
    let together = form == Form::Long && !lasts_minutes && dice.random_bool(0.5);
    let pauses = if form == Form::Short { 0..600 } else { 0..1_500 };
    Step { pause: Duration::from_millis(dice.random_range(pauses)), together, fault, lasts }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_seed_gives_one_schedule() {
        let of = |seed| schedule(seed, 100, Form::Long, None);
        assert_eq!(of(7), of(7));
        assert_ne!(of(7), of(8));
        assert_eq!(schedule(7, 40, Form::Long, None), of(7)[..40], "a longer one begins as a shorter one does");
    }

    #[test]
    fn all_kinds_come_and_some_last_for_minutes() {
        let steps = schedule(1, 300, Form::Long, None);
        let of_roles: BTreeSet<Vec<Role>> = steps.iter().map(|step| step.fault.roles()).collect();
        assert!(of_roles.len() > 15, "{of_roles:?}");
        assert!(steps.iter().any(|step| step.lasts >= MINUTE));
        assert!(steps.iter().any(|step| step.together) && !steps[0].together);
        let short = schedule(1, 6, Form::Short, None);
        assert_eq!(short.iter().map(Step::kind).collect::<BTreeSet<_>>().len(), 6, "each kind once: {short:?}");
        assert!(short.iter().all(|step| step.lasts < Duration::from_secs(4) && !step.together));
    }

    #[test]
    fn one_kind_alone_can_be_asked_for() {
        let steps = schedule(1, 20, Form::Long, Some("storage cut off for a minute"));
        assert_eq!(steps.len(), 20);
        assert!(steps.iter().all(|step| step.fault == Fault::CutOff(Role::Storage) && step.lasts >= MINUTE));
        assert!(schedule(1, 3, Form::Long, Some("nobody is killed")).is_empty());
    }

    #[test]
    fn only_where_others_do_the_work_results_come_before_the_end() {
        for bridged in [Fault::Kill(Role::Leader), Fault::OneWay(Role::Worker, Role::OtherWorker)] {
            assert!(bridged.is_bridged(), "{bridged}");
        }
        for waits in [Fault::CutOff(Role::Storage), Fault::Cut(Role::Database, Role::Worker)] {
            assert!(!waits.is_bridged(), "{waits}");
        }
    }
}
