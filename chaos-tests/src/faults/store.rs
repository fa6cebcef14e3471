//! An object store that fails, fails after having done the work, is slow, or stands still, as a plan says.

use async_trait::async_trait;
use futures::{
    FutureExt, StreamExt,
    future::{self, BoxFuture},
    stream::BoxStream,
};
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, path::Path,
};
use parking_lot::{Mutex, MutexGuard};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::{
    collections::BTreeMap,
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::{Semaphore, oneshot};
use weir_engine::env::Env;

/// What an operation does to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Makes it.
    Put,
    /// Reads it, or asks whether it is there.
    Get,
    /// Lists what is below it.
    List,
    /// Removes it.
    Delete,
}

/// What happens to an operation.
#[derive(Clone, Debug)]
pub enum Fault {
    /// It fails and nothing is done.
    Refuse,
    /// It is done, and then reported as failed.
    LoseAnswer,
    /// It takes its time.
    Delay(Duration),
    /// It is reported as failed, and done so much later, however long nobody has waited for it any more.
    Late(Duration),
    /// It stands still until it is released, before it is done.
    FreezeBefore(Arc<Gate>),
    /// It stands still until it is released, after it was done.
    FreezeAfter(Arc<Gate>),
}

/// Decides what happens to an operation, in the order in which they come.
pub trait FaultPlan: Send + Sync {
    /// Nothing, or a fault.
    fn fault(&self, verb: Verb, path: &str) -> Option<Fault>;

    /// Returns while the process that asks runs: of a frozen one when it thaws, of one that has ended never.
    fn runs(&self) -> BoxFuture<'static, ()> {
        future::ready(()).boxed()
    }

    /// Where requests go that the storage serves by itself, and the time there; none: who asks does the work.
    fn requests(&self) -> Option<(Requests, Duration)> {
        None
    }
}

/// Where somebody stands still.
#[derive(Debug)]
pub struct Gate {
    reached: Semaphore,
    released: Semaphore,
}

impl Default for Gate {
    fn default() -> Self {
        Gate { reached: Semaphore::new(0), released: Semaphore::new(0) }
    }
}

impl Gate {
    /// Returns when somebody has come.
    pub async fn reached(&self) {
        let _ = self.reached.acquire().await;
    }

    /// Lets everybody pass from now on.
    pub fn release(&self) {
        self.released.add_permits(1 << 20);
    }

    async fn pass(&self) {
        self.reached.add_permits(1);
        if let Ok(permit) = self.released.acquire().await {
            permit.forget();
        }
    }
}

/// One fault, at the n-th operation of a kind.
#[derive(Debug)]
pub struct Once {
    verb: Verb,
    part_of_path: &'static str,
    nth: u64,
    fault: Fault,
    seen: AtomicU64,
}

impl Once {
    /// At the `nth` operation, from 1, on a path that contains this.
    pub fn new(verb: Verb, part_of_path: &'static str, nth: u64, fault: Fault) -> Self {
        Once { verb, part_of_path, nth, fault, seen: AtomicU64::new(0) }
    }
}

impl FaultPlan for Once {
    fn fault(&self, verb: Verb, path: &str) -> Option<Fault> {
        if verb != self.verb || !path.contains(self.part_of_path) {
            return None;
        }
        (self.seen.fetch_add(1, Ordering::SeqCst) + 1 == self.nth).then(|| self.fault.clone())
    }
}

/// Faults by chance: one in so many operations.
#[derive(Debug)]
pub struct Flaky {
    dice: Mutex<StdRng>,
    one_in: u32,
}

impl Flaky {
    /// The dice follow from the seed.
    pub fn new(seed: u64, one_in: u32) -> Self {
        Flaky { dice: Mutex::new(StdRng::seed_from_u64(seed)), one_in }
    }
}

impl FaultPlan for Flaky {
    fn fault(&self, _: Verb, _: &str) -> Option<Fault> {
        let mut dice = self.dice.lock();
        if dice.random_range(0..self.one_in) > 0 {
            return None;
        }
        Some(match dice.random_range(0..3) {
            0 => Fault::Refuse,
            1 => Fault::LoseAnswer,
            _ => Fault::Delay(Duration::from_millis(dice.random_range(1..20))),
        })
    }
}

/// Requests that a simulated storage has and has not served yet: it does so at its time, whatever has become of who asked.
/// Cheap to clone.
#[derive(Clone, Default)]
pub struct Requests(Arc<Mutex<Waiting>>);

#[derive(Default)]
struct Waiting {
    came: u64,
    /// By when it is served, and in which order they came.
    requests: BTreeMap<(Duration, u64), BoxFuture<'static, ()>>,
}

impl Requests {
    fn add(&self, due: Duration, work: BoxFuture<'static, ()>) {
        let mut waiting = self.lock();
        waiting.came += 1;
        let key = (due, waiting.came);
        waiting.requests.insert(key, work);
    }

    /// Serves what is due, in order. Storage in memory waits for nothing.
    pub fn serve(&self, until: Duration) {
        loop {
            let request = {
                let mut waiting = self.lock();
                let Some(first) = waiting.requests.first_entry().filter(|first| first.key().0 <= until) else { return };
                first.remove()
            };
            let _ = request.now_or_never();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock()
    }
}

/// A store with a plan.
pub struct FaultyStore {
    inner: Arc<dyn ObjectStore>,
    plan: Arc<dyn FaultPlan>,
}

impl FaultyStore {
    /// Over a store that works.
    pub fn new(inner: Arc<dyn ObjectStore>, plan: impl FaultPlan + 'static) -> Arc<Self> {
        Arc::new(FaultyStore { inner, plan: Arc::new(plan) })
    }

    async fn perform<T, W>(&self, verb: Verb, path: &Path, work: impl FnOnce(Arc<dyn ObjectStore>) -> W) -> Result<T>
    where
        T: Send + 'static,
        W: Future<Output = Result<T>> + Send + 'static,
    {
        perform(self.plan.as_ref(), verb, path, work(self.inner.clone())).await
    }
}

async fn perform<T: Send + 'static>(
    plan: &dyn FaultPlan,
    verb: Verb,
    path: &Path,
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    plan.runs().await;
    let answer = match plan.fault(verb, path.as_ref()) {
        None => work.await,
        Some(Fault::Refuse) => Err(refused(verb, path)),
        Some(Fault::LoseAnswer) => {
            served(plan, Duration::ZERO, work).await?;
            Err(refused(verb, path))
        }
        Some(Fault::Delay(pause)) => served(plan, pause, work).await,
        Some(Fault::Late(pause)) => {
            if let Some((requests, now)) = plan.requests() {
                requests.add(now + pause, work.map(|_| ()).boxed());
            }
            Err(refused(verb, path))
        }
        Some(Fault::FreezeBefore(gate)) => {
            gate.pass().await;
            work.await
        }
        Some(Fault::FreezeAfter(gate)) => {
            let done = work.await;
            gate.pass().await;
            done
        }
    };
    plan.runs().await;
    answer
}

/// By the storage itself where that is simulated, else by whoever asks.
async fn served<T: Send + 'static>(
    plan: &dyn FaultPlan,
    pause: Duration,
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    let Some((requests, now)) = plan.requests() else {
        Env::default().sleep(pause).await;
        return work.await;
    };
    let (say, hear) = oneshot::channel();
    let served = work.map(|answer| {
        // Who asked may be gone.
        let _ = say.send(answer);
    });
    requests.add(now + pause, served.boxed());
    hear.await.unwrap_or_else(|_| Err(Error::Generic { store: "faulty", source: "the storage is gone".into() }))
}

fn refused(verb: Verb, path: &Path) -> Error {
    // No storage says more of itself when it is away.
    let away = io::Error::new(io::ErrorKind::TimedOut, format!("503 slow down ({verb:?} {path})"));
    Error::Generic { store: "faulty", source: Box::new(away) }
}

impl fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultyStore({:?})", self.inner)
    }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let target = path.clone();
        let put = |inner: Arc<dyn ObjectStore>| async move { inner.put_opts(&target, payload, options).await };
        self.perform(Verb::Put, path, put).await
    }

    async fn put_multipart_opts(&self, path: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let target = path.clone();
        let put = |inner: Arc<dyn ObjectStore>| async move { inner.put_multipart_opts(&target, options).await };
        self.perform(Verb::Put, path, put).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let target = path.clone();
        let get = |inner: Arc<dyn ObjectStore>| async move { inner.get_opts(&target, options).await };
        self.perform(Verb::Get, path, get).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (inner, plan) = (self.inner.clone(), self.plan.clone());
        let delete = move |path: Result<Path>| {
            let (inner, plan) = (inner.clone(), plan.clone());
            async move {
                let path = path?;
                let target = path.clone();
                perform(plan.as_ref(), Verb::Delete, &path, async move { inner.delete(&target).await }).await?;
                Ok(path)
            }
        };
        paths.then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (inner, plan, prefix) = (self.inner.clone(), self.plan.clone(), prefix.cloned().unwrap_or_default());
        let listed = async move {
            let below = prefix.clone();
            let work = async move { Ok(inner.list(Some(&below)).collect::<Vec<_>>().await) };
            match perform(plan.as_ref(), Verb::List, &prefix, work).await {
                Ok(objects) => objects,
                Err(error) => vec![Err(error)],
            }
        };
        listed.map(futures::stream::iter).flatten_stream().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let below = prefix.cloned();
        let path = prefix.cloned().unwrap_or_default();
        let list = |inner: Arc<dyn ObjectStore>| async move { inner.list_with_delimiter(below.as_ref()).await };
        self.perform(Verb::List, &path, list).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let (source, target) = (from.clone(), to.clone());
        let copy = |inner: Arc<dyn ObjectStore>| async move { inner.copy_opts(&source, &target, options).await };
        self.perform(Verb::Put, to, copy).await
    }
}
