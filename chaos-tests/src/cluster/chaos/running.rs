//! A run: the schedule is carried out, and what became of it is looked at.

use super::{
    ChaosRun,
    parties::{Parties, Party, WORKERS, end_of},
    recovery::Incident,
    report::Report,
    schedule::{Fault, Role, Step},
    watch::Watch,
};
use crate::{
    cluster::{
        kafka::{
            clicks::{Clicks, PARTITIONS},
            definition::{self, CLICKS, OUTPUTS},
            events_in,
            producing::Producing,
            results,
            topics::Topics,
        },
        namespaces::Cut,
        processes::brief,
        store_check::{self, StoreCompared},
        waiting::{now, pause, wait_for},
    },
    job::{JOB, JobConfig},
    oracle,
};
use anyhow::{Context, Result, anyhow, bail, ensure};
use std::{path::PathBuf, time::Duration};
use weir_engine::{
    checkpoint::{CheckpointStore, Manifest},
    env::{Env, Moment},
    object_storage,
};

/// Subtasks: those of two workers.
const PARALLELISM: &str = "4";
/// How often it is looked whether something is due.
const TICK: Duration = Duration::from_millis(10);

/// What was done to somebody, and is to be undone.
#[derive(Clone, Debug)]
enum Done {
    Killed(Party),
    Frozen(Party),
    Cut(Cut),
    Filled(Party),
}

pub(super) struct Running<'a> {
    run: &'a ChaosRun,
    python: PathBuf,
    config: JobConfig,
    topics: Topics,
    watch: Option<Watch>,
    begun: Moment,
    /// What is over when; with the number of its incident.
    due: Vec<(Moment, usize, Done)>,
    incidents: Vec<Incident>,
    /// Faults for which there was nobody.
    missed: usize,
    parties: Parties,
}

impl<'a> Running<'a> {
    pub(super) fn begin(run: &'a ChaosRun, python: PathBuf, parties: Parties) -> Result<Self> {
        let store = parties.cluster.serving()?.url.clone();
        let checkpoint_interval_ms = run.checkpoint_interval.as_millis() as u64;
        Ok(Running {
            run,
            python,
            config: JobConfig { checkpoint_interval_ms, store: Some(store), ..JobConfig::default() },
            topics: Topics::of(&parties.broker.brokers())?,
            watch: None,
            begun: now(),
            due: Vec::new(),
            incidents: Vec::new(),
            missed: 0,
            parties,
        })
    }

    /// What happened until now, for whom it may concern.
    pub(super) fn story(&self) -> String {
        let last: Vec<String> =
            self.incidents.iter().rev().take(5).map(|one| format!("{} ({})", one.kind, one.victims)).collect();
        let faults = format!(
            "seed {}, after {} faults, the last ones: {}",
            self.run.seed,
            self.incidents.len(),
            last.join("; ")
        );
        format!("{faults}\n{}", self.parties.cluster.tails())
    }

    pub(super) fn run(&mut self) -> Result<Report> {
        let steps = self.run.schedule();
        ensure!(steps.len() == self.run.faults, "there are no such faults");
        self.topics.make([CLICKS].into_iter().chain(OUTPUTS).map(String::from), PARTITIONS)?;
        self.submit()?;
        let producing = Producing::begin(self.parties.broker.brokers(), Clicks::new(self.run.seed));
        self.watch = Some(Watch::begin(self.parties.cluster.serving()?.url.clone()));
        self.wait_for_results(0)?;
        self.begun = now();
        let begun_ms = clock_ms();
        let mut rest = &steps[..];
        while let Some((first, others)) = rest.split_first() {
            let together = others.iter().take_while(|step| step.together).count();
            self.inflict_together(first, &others[..together]).with_context(|| format!("{first}"))?;
            rest = &others[together..];
        }
        producing.finish()?;
        self.wait_until_all_is_read()?;
        let job = self.drain()?;
        let seen = self.watch.take().context("nobody watches")?.finish()?;
        let (compared, store, wrong) = match self.check() {
            Ok((compared, store)) => (compared, store, None),
            // What happened until then is worth a page all the more.
            Err(wrong) => {
                (results::Compared::default(), StoreCompared::default(), Some(format!("{wrong:#}\n{}", self.story())))
            }
        };
        let number = |key: &str| job[key].as_u64().unwrap_or_default();
        Ok(Report {
            seed: self.run.seed,
            begun_ms,
            incidents: self.incidents.clone(),
            missed: self.missed,
            attempts: number("attempt"),
            checkpoints: number("last_checkpoint"),
            seen,
            wrong,
            compared,
            store,
        })
    }

    fn submit(&self) -> Result<()> {
        let path = self.parties.cluster.path("chaos.toml");
        std::fs::write(&path, definition::definition(&self.config, &self.parties.broker.brokers(), &OUTPUTS))?;
        self.parties.cluster.done(&["submit", &path.display().to_string(), "--parallelism", PARALLELISM])?;
        Ok(())
    }

    /// Has a fault happen, and others while it lasts, and waits until all of it was got over.
    fn inflict_together(&mut self, first: &Step, others: &[Step]) -> Result<()> {
        pause(first.pause);
        let begun = self.incidents.len();
        self.inflict(first)?;
        for step in others {
            self.live_on(step.pause)?;
            self.inflict(step)?;
        }
        while let Some(last) = self.due.iter().map(|(at, ..)| *at).max() {
            self.live_on(last.saturating_duration_since(now()))?;
        }
        let hit = &mut self.incidents[begun..];
        if hit.is_empty() {
            return Ok(());
        }
        let alone = hit.len() == 1;
        hit.iter_mut().for_each(|incident| incident.alone = alone);
        let over_ms = hit.iter().map(|incident| incident.over_ms).max().unwrap_or_default();
        self.wait_for_results(over_ms)?;
        self.parties.cluster.wait_for_workers(WORKERS)?;
        wait_for("a leader", || Ok(self.parties.cluster.leader().ok().flatten()))?;
        self.say_what_came_of(begun);
        Ok(())
    }

    fn say_what_came_of(&self, begun: usize) {
        let Some(watch) = self.watch.as_ref().filter(|_| self.run.verbose) else { return };
        let seen = watch.seen();
        for incident in &self.incidents[begun..] {
            if let Some(recovery) = incident.recovery(&seen) {
                let from = if incident.fault.is_bridged() { "its begin" } else { "its end" };
                self.say(&format!("  results {} ms after {from}, {} restarts", recovery.took_ms, recovery.restarts));
            }
        }
    }

    /// Lets time pass, in which faults end whose time it is.
    fn live_on(&mut self, duration: Duration) -> Result<()> {
        let end = now() + duration;
        loop {
            let (over, due): (Vec<_>, Vec<_>) =
                std::mem::take(&mut self.due).into_iter().partition(|(at, ..)| *at <= now());
            self.due = due;
            for (_, incident, done) in over {
                self.undo(&done).with_context(|| format!("the end of {done:?}"))?;
                self.incidents[incident].over_ms = clock_ms();
                self.say(&format!("  over: {}", self.incidents[incident].kind));
            }
            if now() >= end {
                return Ok(());
            }
            pause(TICK);
        }
    }

    fn inflict(&mut self, step: &Step) -> Result<()> {
        let struck: Vec<Party> = self.due.iter().filter_map(|(_, _, done)| done.party()).collect();
        let mut victims = Vec::new();
        for role in step.fault.roles() {
            let parties = &mut self.parties;
            let found = match step.together {
                // While others are away, nobody may know.
                true => parties.who(role, JOB, &struck).unwrap_or_default(),
                false => {
                    Some(wait_for(&format!("a {role}"), || Ok(parties.who(role, JOB, &struck).unwrap_or_default()))?)
                }
            };
            match found {
                Some(party) if !victims.contains(&party) => victims.push(party),
                _ => {
                    self.missed += 1;
                    self.say(&format!("{}: there is nobody now", step.fault));
                    return Ok(());
                }
            }
        }
        let names: Vec<String> = victims.iter().map(Party::to_string).collect();
        self.say(&format!("{} of {} ({})", self.incidents.len() + 1, self.run.faults, step));
        let begun_ms = clock_ms();
        let done = self.strike(step.fault, &victims).with_context(|| format!("{} {names:?}", step.fault))?;
        self.due.push((now() + step.lasts, self.incidents.len(), done));
        self.incidents.push(Incident {
            fault: step.fault,
            kind: step.kind(),
            victims: names.join(", "),
            begun_ms,
            over_ms: begun_ms,
            alone: false,
        });
        Ok(())
    }

    fn strike(&mut self, fault: Fault, victims: &[Party]) -> Result<Done> {
        let ends: Vec<usize> = victims.iter().map(|party| end_of(*party)).collect();
        let cut = match (fault, victims, &ends[..]) {
            (Fault::Kill(_), [victim], _) => {
                self.parties.kill(*victim)?;
                return Ok(Done::Killed(*victim));
            }
            (Fault::Freeze(_), [victim], _) => {
                self.parties.freeze(*victim)?;
                return Ok(Done::Frozen(*victim));
            }
            (Fault::FullDisk(_), [victim], _) => {
                self.parties.disk(*victim)?.fill()?;
                return Ok(Done::Filled(*victim));
            }
            (Fault::CutOff(_), _, [end]) => Cut::Off(*end),
            (Fault::Cut(..), _, [one, other]) => Cut::Whole(*one, *other),
            (Fault::OneWay(..), _, [from, to]) => Cut::OneWay(*from, *to),
            (Fault::Loss(.., percent), _, [one, other]) => Cut::Loss(*one, *other, percent),
            (fault, victims, _) => return Err(anyhow!("{fault} of {victims:?}")),
        };
        self.parties.network.cut(&cut)?;
        Ok(Done::Cut(cut))
    }

    fn undo(&mut self, done: &Done) -> Result<()> {
        match done {
            Done::Killed(party) => self.parties.start_again(*party),
            Done::Frozen(party) => self.parties.thaw(*party),
            Done::Cut(cut) => self.parties.network.mend(cut),
            Done::Filled(party) => self.parties.disk(*party)?.make_room(),
        }
    }

    /// Waits for results that were staged after a moment.
    fn wait_for_results(&self, after_ms: i64) -> Result<()> {
        let watch = self.watch.as_ref().context("nobody watches")?;
        let enough = now() + self.run.patience;
        while watch.first_after(after_ms).is_none() {
            if now() >= enough {
                let job = self.parties.cluster.job(JOB).map(|job| brief(&job));
                bail!("no new results for {} s without a fault: {job:?}", self.run.patience.as_secs());
            }
            pause(TICK);
        }
        Ok(())
    }

    fn newest(&self) -> Result<Manifest> {
        let url = self.parties.cluster.storage();
        let (store, _) = object_storage::open(&url.parse()?, self.parties.storage_settings())?;
        let store = CheckpointStore::over(store, JOB);
        let newest = self.topics.runtime().block_on(store.newest()).map_err(|error| anyhow!("{error}"))?;
        newest.context("there is no checkpoint")
    }

    fn wait_until_all_is_read(&self) -> Result<()> {
        let all = self.topics.records(CLICKS, PARTITIONS)?;
        let mut read = 0;
        let waited = wait_for("all clicks in a checkpoint", || {
            read = events_in(&self.newest()?);
            Ok((read >= all).then_some(()))
        });
        waited.with_context(|| format!("{read} of {all} clicks are read"))
    }

    /// Stops the job with `--drain`, and kills a worker before that is done.
    fn drain(&mut self) -> Result<serde_json::Value> {
        self.parties.cluster.done(&["stop", JOB, "--drain", "--no-wait"])?;
        if let Some(worker) = self.parties.who(Role::Worker, JOB, &[])? {
            self.parties.kill(worker)?;
            self.parties.start_again(worker)?;
        }
        let job = self.parties.cluster.wait_for_job(JOB, "the end", |job| {
            matches!(job["state"].as_str(), Some("FINISHED" | "FAILED" | "CANCELED"))
        })?;
        ensure!(job["state"] == "FINISHED", "{}", brief(&job));
        Ok(job)
    }

    fn check(&self) -> Result<(results::Compared, StoreCompared)> {
        let (cluster, rules) = (&self.parties.cluster, self.config.rules());
        let folder = cluster.path("clicks");
        let compared = results::check(&self.python, &self.parties.broker.brokers(), &folder, &self.config, &OUTPUTS)?;
        let expected = oracle::recount(&folder, &rules)?;
        let top = (rules.top_n, rules.top_minutes);
        let store = store_check::check(cluster.serving()?, &expected, &self.newest()?, top)?;
        Ok((compared, store))
    }

    fn say(&self, what: &str) {
        if self.run.verbose {
            println!("{:8.3} s  {what}", (now() - self.begun).as_secs_f64());
        }
    }
}

impl Done {
    /// Who cannot be hit by anything else meanwhile.
    fn party(&self) -> Option<Party> {
        match self {
            Done::Killed(party) | Done::Frozen(party) | Done::Filled(party) => Some(*party),
            Done::Cut(_) => None,
        }
    }
}

fn clock_ms() -> i64 {
    Env::default().wall_clock_ms()
}
