//! A coordinator's settings and environment.

use crate::http::Access;
use std::{fmt, sync::Arc, time::Duration};
use weir_engine::{checkpoint::OpenStore, env::Env, error::Result, graph::JobGraph, task::Observers};
use weir_http::TrustedHosts;
use weir_proto::{
    net::SharedNetwork,
    secret::{ClusterSecret, Keys},
};

/// What an operator of a cluster sets.
#[derive(Clone, Debug)]
pub struct CoordinatorSettings {
    /// Where the checkpoints of all jobs lie, as a URL.
    pub storage: String,
    /// The cluster's shared secret.
    pub secret: ClusterSecret,
    /// What lets users read only, where there is a secret; empty: nothing.
    pub read_token: ClusterSecret,
    /// How often workers say that they live.
    pub heartbeat_interval: Duration,
    /// Silence after which a worker is taken for dead.
    pub heartbeat_timeout: Duration,
    /// How long a checkpoint may take before its attempt is given up.
    pub checkpoint_timeout: Duration,
    /// How long a commit may take before its attempt is given up.
    pub commit_timeout: Duration,
    /// How long one worker may take for it before another one is asked, too.
    pub commit_patience: Duration,
    /// How long building and restoring all subtasks may take without getting on.
    pub deploy_timeout: Duration,
    /// How long a worker may take to end an attempt that is over.
    pub cancel_timeout: Duration,
    /// When to try again, and when not any more.
    pub restart: RestartPolicy,
    /// How many descriptors this process may have open: what its ports take is well below.
    pub descriptors: u64,
    /// Says whether a job may read and write what its graph names.
    pub admit: Admit,
    /// Names by which a browser may come to the page and ask for actions, besides addresses and `localhost`.
    pub trusted_hosts: TrustedHosts,
    /// Whether reading over HTTP needs the secret, too.
    pub protects_reads: bool,
}

/// Judges a job's graph before it is taken in, and places that a user names beside it.
#[derive(Clone)]
pub struct Admit {
    graph: Arc<Judge<JobGraph>>,
    place: Arc<Judge<str>>,
}

type Judge<T> = dyn Fn(&T) -> Result<()> + Send + Sync;

impl Admit {
    /// With this judge, whose error names what is not allowed.
    pub fn by(judge: impl Fn(&JobGraph) -> Result<()> + Send + Sync + 'static) -> Self {
        Admit { graph: Arc::new(judge), place: Arc::new(|_| Ok(())) }
    }

    /// The same; URLs of savepoints are judged, too.
    pub fn and_places(self, judge: impl Fn(&str) -> Result<()> + Send + Sync + 'static) -> Self {
        Admit { place: Arc::new(judge), ..self }
    }

    /// # Errors
    /// The judge's.
    pub fn judge(&self, graph: &JobGraph) -> Result<()> {
        (self.graph)(graph)
    }

    /// # Errors
    /// The judge's.
    pub fn judge_place(&self, url: &str) -> Result<()> {
        (self.place)(url)
    }
}

impl Default for Admit {
    /// Every job.
    fn default() -> Self {
        Admit::by(|_| Ok(()))
    }
}

impl fmt::Debug for Admit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Admit")
    }
}

/// When a failed job is started again.
#[derive(Clone, Copy, Debug)]
pub struct RestartPolicy {
    /// Failures one after another, without a completed checkpoint between them, after which the job is FAILED. Workers that
    /// were lost do not count.
    pub most_failures: u32,
    /// The same for lost workers: a machine that dies is not the job's fault, an input that kills each machine is.
    pub most_losses: u32,
    /// The wait before the first restart; each further one doubles it.
    pub first_backoff: Duration,
    /// The longest wait.
    pub longest_backoff: Duration,
    /// The longest wait for what waiting heals: storage that is away or full, say. Such failures are none that count.
    pub longest_patience: Duration,
    /// Whether a job is left to another process that has taken it over. A cluster has its jobs for itself: what took one over
    /// was an attempt of its own.
    pub yields: bool,
}

impl Default for CoordinatorSettings {
    fn default() -> Self {
        CoordinatorSettings {
            storage: "memory:///".into(),
            secret: ClusterSecret::default(),
            read_token: ClusterSecret::default(),
            heartbeat_interval: Duration::from_millis(500),
            heartbeat_timeout: Duration::from_secs(3),
            checkpoint_timeout: Duration::from_secs(600),
            commit_timeout: Duration::from_secs(600),
            commit_patience: Duration::from_secs(60),
            deploy_timeout: Duration::from_secs(600),
            cancel_timeout: Duration::from_secs(3),
            restart: RestartPolicy::default(),
            admit: Admit::default(),
            descriptors: 1024,
            trusted_hosts: TrustedHosts::default(),
            protects_reads: false,
        }
    }
}

impl CoordinatorSettings {
    /// Who may do what over HTTP.
    pub fn access(&self) -> Access {
        Access { hosts: self.trusted_hosts.clone(), keys: self.keys(), protects_reads: self.protects_reads }
    }

    /// What lets users in.
    pub fn keys(&self) -> Keys {
        Keys { secret: self.secret.clone(), read_token: self.read_token.clone() }
    }

    /// The silence after which a worker looks for another leader: well before it is taken for dead.
    pub fn lease(&self) -> Duration {
        self.heartbeat_timeout * 2 / 3
    }
}

impl Default for RestartPolicy {
    fn default() -> Self {
        RestartPolicy {
            most_failures: 10,
            most_losses: 30,
            first_backoff: Duration::from_millis(200),
            longest_backoff: Duration::from_secs(10),
            longest_patience: Duration::from_secs(30),
            yields: false,
        }
    }
}

impl RestartPolicy {
    /// The wait before the restart after the `failures`-th failure in a row.
    pub fn wait(&self, failures: u32) -> Duration {
        self.doubled(failures).min(self.longest_backoff)
    }

    /// The wait before the next try after something was away for the `tries`-th time: hardly longer than it has been away.
    pub fn patience(&self, tries: u32) -> Duration {
        self.doubled(tries).min(self.longest_patience)
    }

    fn doubled(&self, times: u32) -> Duration {
        match times {
            0 => Duration::ZERO,
            _ => self.first_backoff.saturating_mul(1 << (times - 1).min(20)),
        }
    }
}

/// What a coordinator works with.
#[derive(Clone)]
pub struct CoordinatorComponents {
    /// Opens checkpoint stores.
    pub open_store: OpenStore,
    /// The network.
    pub network: SharedNetwork,
    /// Time, chance and planned crashes.
    pub env: Env,
    /// Exposes the attempts of a job to observers in this process.
    pub observers: Observers,
}

impl fmt::Debug for CoordinatorComponents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CoordinatorComponents").field("network", &self.network).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_looks_for_another_leader_before_it_is_taken_for_dead() {
        let settings = CoordinatorSettings::default();
        assert!(settings.lease() + settings.heartbeat_interval < settings.heartbeat_timeout);
    }
}
