//! What a worker holds: one data plane, and in it the network of every attempt that it takes part in.

use super::{
    flag::Flag,
    handshake::{TOKEN_BYTES, Token},
    inbound::listen,
    outbound::{Outbound, dial},
    settings::{KeepAlive, NetworkSettings},
    traffic::{Traffic, TrafficCounts},
};
use parking_lot::{Mutex, MutexGuard};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::{runtime::Handle, task::JoinSet};
use weir_engine::{
    channel::{LocalSender, RemoteSender},
    env::Env,
    error::{EngineError, Result},
    ids::ChannelId,
    wire::AttemptKey,
};
use weir_proto::net::SharedNetwork;

/// A connection that was lost.
#[derive(Clone, Debug)]
pub struct ConnectionFailure {
    /// Whose channels it carried.
    pub key: AttemptKey,
    /// The id of the worker at the other end.
    pub peer: String,
    /// What happened.
    pub error: EngineError,
}

/// Told of a lost connection as soon as it is noticed, once for each. Must not block.
pub type FailureCallback = Arc<dyn Fn(ConnectionFailure) + Send + Sync>;

/// A worker's data plane. Dropped, it stops listening and closes the networks of all attempts.
pub struct DataPlane {
    plane: Arc<Plane>,
    address: String,
}

/// What all connections share.
pub(super) struct Plane {
    pub(super) network: SharedNetwork,
    pub(super) env: Env,
    pub(super) settings: NetworkSettings,
    pub(super) keepalive: KeepAlive,
    pub(super) traffic: Arc<Traffic>,
    runtime: Handle,
    attempts: Mutex<BTreeMap<AttemptKey, Arc<Attempt>>>,
    closed: Flag,
}

/// The network of one attempt. Dropped, it is closed.
pub struct AttemptNetwork {
    plane: Arc<Plane>,
    attempt: Arc<Attempt>,
}

/// What all connections of an attempt share.
pub(super) struct Attempt {
    pub(super) key: AttemptKey,
    pub(super) token: Token,
    pub(super) traffic: Arc<Traffic>,
    /// By producing worker: the channels that have not been connected yet.
    inbound: Mutex<BTreeMap<String, BTreeMap<ChannelId, LocalSender>>>,
    /// By consuming worker.
    outbound: Mutex<BTreeMap<String, Arc<Outbound>>>,
    closed: Flag,
    on_failure: FailureCallback,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock()
}

impl DataPlane {
    /// Listens. All of the data plane's work is done on `runtime`, which is better its own, so that nothing else waits behind
    /// a batch.
    ///
    /// # Errors
    /// When a setting makes no sense, or the address cannot be listened on.
    pub async fn start(
        network: SharedNetwork,
        env: Env,
        settings: NetworkSettings,
        runtime: Handle,
    ) -> Result<DataPlane> {
        settings.check()?;
        let (listening_network, listen_on) = (network.clone(), settings.listen.clone());
        // On that runtime, since a listener belongs to the one that it was made on.
        let listening = runtime.spawn(async move { listening_network.listen(&listen_on).await });
        let listener = listening.await.map_err(|error| EngineError::internal(format!("listening: {error}")))?;
        let listener = listener.map_err(|error| {
            EngineError::io(format!("cannot listen for other workers on {}: {error}", settings.listen))
        })?;
        let address = listener.address();
        let plane = Arc::new(Plane {
            network,
            env,
            keepalive: KeepAlive::new(settings.keepalive_period, settings.keepalive_timeout),
            settings,
            traffic: Arc::default(),
            runtime: runtime.clone(),
            attempts: Mutex::default(),
            closed: Flag::default(),
        });
        runtime.spawn(listen(plane.clone(), listener));
        Ok(DataPlane { plane, address })
    }

    /// Where it listens, with the port that it got.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// How often a connection with nothing to say says so, and how long a silent one is taken for alive.
    pub fn keepalive(&self) -> (Duration, Duration) {
        self.plane.keepalive.now()
    }

    /// Changes that, for connections that are open, too. All workers of a cluster have the same.
    pub fn set_keepalive(&self, period: Duration, timeout: Duration) {
        self.plane.keepalive.set(period, timeout);
    }

    /// What went over the network since the start, all attempts together.
    pub fn traffic(&self) -> TrafficCounts {
        self.plane.traffic.counts()
    }

    /// Opens the network of an attempt: from now on its producers may connect. To be called on deployment.
    ///
    /// `inbound` are the channels from other workers, by the producing worker's id. `on_failure` is told of connections that
    /// are lost, but not of those that were closed here.
    ///
    /// # Errors
    /// When this attempt is open already, or the token is too long.
    pub fn open(
        &self,
        key: AttemptKey,
        token: Token,
        inbound: BTreeMap<(String, ChannelId), LocalSender>,
        on_failure: FailureCallback,
    ) -> Result<AttemptNetwork> {
        if token.bytes().len() > TOKEN_BYTES {
            return Err(EngineError::definition(format!("a token has at most {TOKEN_BYTES} bytes")));
        }
        let mut by_peer: BTreeMap<String, BTreeMap<ChannelId, LocalSender>> = BTreeMap::new();
        for ((peer, channel), sender) in inbound {
            by_peer.entry(peer).or_default().insert(channel, sender);
        }
        let attempt = Arc::new(Attempt {
            key: key.clone(),
            token,
            traffic: Traffic::within(&self.plane.traffic),
            inbound: Mutex::new(by_peer),
            outbound: Mutex::default(),
            closed: Flag::default(),
            on_failure,
        });
        let mut attempts = lock(&self.plane.attempts);
        if attempts.contains_key(&key) {
            return Err(EngineError::internal(format!("the network of {key} is open already")));
        }
        attempts.insert(key, attempt.clone());
        Ok(AttemptNetwork { plane: self.plane.clone(), attempt })
    }
}

impl Drop for DataPlane {
    fn drop(&mut self) {
        self.plane.closed.set();
        let attempts = std::mem::take(&mut *lock(&self.plane.attempts));
        attempts.values().for_each(|attempt| attempt.close());
    }
}

impl Plane {
    pub(super) fn attempt(&self, key: &AttemptKey) -> Option<Arc<Attempt>> {
        lock(&self.attempts).get(key).cloned()
    }

    /// Waits until the plane is closed.
    pub(super) async fn closed(&self) {
        self.closed.wait().await;
    }
}

impl AttemptNetwork {
    /// The sending end of a channel to the worker `peer`, whose data plane listens on `address`. To be called on deployment;
    /// what is sent before [`connect`](AttemptNetwork::connect) waits.
    ///
    /// # Errors
    /// When the channel was asked for before, or after connecting.
    pub fn sender(&self, peer: &str, address: &str, channel: ChannelId) -> Result<Box<dyn RemoteSender>> {
        if self.attempt.closed.is_set() {
            return Err(closed(&self.attempt.key));
        }
        let mut outbound = lock(&self.attempt.outbound);
        let connection = outbound.entry(peer.to_string()).or_insert_with(|| {
            let (number, traffic) = (self.attempt.key.attempt.0, self.attempt.traffic.clone());
            Outbound::new(peer.to_string(), address.to_string(), number, traffic)
        });
        Ok(Box::new(connection.add(channel, &self.plane.settings)?))
    }

    /// Connects to every worker that channels go to, all at once. To be called when all workers have deployed.
    ///
    /// # Errors
    /// When a worker cannot be reached within the time that is set, or refuses. What is connected stays so until the close.
    pub async fn connect(&self) -> Result<()> {
        let outbound: Vec<_> = lock(&self.attempt.outbound).values().cloned().collect();
        let mut dialling = JoinSet::new();
        for outbound in outbound {
            let (plane, attempt) = (self.plane.clone(), self.attempt.clone());
            let dialled = async move {
                tokio::select! {
                    biased;
                    () = attempt.closed() => Err(closed(&attempt.key)),
                    dialled = dial(plane, attempt.clone(), outbound.clone()) => {
                        dialled.inspect_err(|error| outbound.fail(error.clone()))
                    }
                }
            };
            dialling.spawn_on(dialled, &self.plane.runtime);
        }
        while let Some(dialled) = dialling.join_next().await {
            dialled.map_err(|error| EngineError::internal(format!("connecting: {error}")))??;
        }
        Ok(())
    }

    /// Waits until all outbound channels have ended and their consumers have read everything, or their connections failed.
    /// To be awaited before the close when all subtasks have ended by themselves: a close drops what is still queued.
    pub async fn finish(&self) {
        let outbound: Vec<_> = lock(&self.attempt.outbound).values().cloned().collect();
        for outbound in outbound {
            outbound.over().await;
        }
    }

    /// What went over the network in this attempt.
    pub fn traffic(&self) -> TrafficCounts {
        self.attempt.traffic.counts()
    }

    /// Closes all connections and accepts no more. What has not ended fails; nothing is reported.
    pub fn close(&self) {
        let mut attempts = lock(&self.plane.attempts);
        if attempts.get(&self.attempt.key).is_some_and(|open| Arc::ptr_eq(open, &self.attempt)) {
            attempts.remove(&self.attempt.key);
        }
        drop(attempts);
        self.attempt.close();
    }
}

impl Drop for AttemptNetwork {
    fn drop(&mut self) {
        self.close();
    }
}

fn closed(key: &AttemptKey) -> EngineError {
    EngineError::disconnected(format!("the network of {key} was closed"))
}

impl Attempt {
    /// Hands over the channels from `peer`, which must be exactly those in `list`. Only once.
    pub(super) fn join(
        &self,
        peer: &str,
        list: &[ChannelId],
    ) -> std::result::Result<Vec<(ChannelId, LocalSender)>, String> {
        let mut inbound = lock(&self.inbound);
        let Some(expected) = inbound.get(peer) else {
            return Err(format!("no channels from worker {peer:?} are expected, or it is connected already"));
        };
        let mut sorted = list.to_vec();
        sorted.sort_unstable();
        if !sorted.iter().eq(expected.keys()) {
            let (found, wanted) = (list.len(), expected.len());
            return Err(format!(
                "{found} channels are named, and are not the {wanted} from worker {peer} in its graph"
            ));
        }
        let mut expected = inbound.remove(peer).unwrap_or_default();
        Ok(list.iter().filter_map(|id| Some((*id, expected.remove(id)?))).collect())
    }

    /// Tells of a lost connection.
    pub(super) fn report(&self, peer: &str, error: EngineError) {
        tracing::warn!(job = self.key.job, attempt = self.key.attempt.0, peer, %error, "lost a data connection");
        (self.on_failure)(ConnectionFailure { key: self.key.clone(), peer: peer.to_string(), error });
    }

    /// Waits until it is closed.
    pub(super) async fn closed(&self) {
        self.closed.wait().await;
    }

    fn close(&self) {
        self.closed.set();
        for (_, sender) in std::mem::take(&mut *lock(&self.inbound)).into_values().flatten() {
            sender.fail(closed(&self.key));
        }
        for outbound in lock(&self.outbound).values() {
            outbound.fail(closed(&self.key));
        }
    }
}
