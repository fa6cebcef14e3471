use super::*;
use crate::{
    checkpoint::CheckpointStore,
    env::Env,
    error::{EngineError, ErrorKind},
    object_storage::Answered,
    operator::{Wait, Waits},
};
use object_store::{Error, PutMode, memory::InMemory};
use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

/// A storage that answers the next so many requests with a status of HTTP; a put that it answers so it has done all the same.
#[derive(Debug, Default)]
struct Moody {
    objects: InMemory,
    refusals: AtomicU32,
    status: u16,
}

impl Moody {
    fn of(status: u16, refusals: u32) -> Arc<Self> {
        Arc::new(Moody { status, refusals: refusals.into(), ..Moody::default() })
    }

    fn answer(&self) -> Result<()> {
        let less = |left: u32| left.checked_sub(1);
        match self.refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less) {
            Ok(_) => {
                let answered = Answered { status: self.status, said: "so it is".into() };
                Err(Error::Generic { store: "moody", source: Box::new(answered) })
            }
            Err(_) => Ok(()),
        }
    }
}

impl fmt::Display for Moody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("moody")
    }
}

#[async_trait]
impl ObjectStore for Moody {
    async fn put_opts(&self, path: &Path, content: PutPayload, options: PutOptions) -> Result<PutResult> {
        let done = self.objects.put_opts(path, content, options).await;
        self.answer()?;
        done
    }

    async fn put_multipart_opts(&self, path: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.answer()?;
        self.objects.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.answer()?;
        self.objects.get_opts(path, options).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        match self.answer() {
            Ok(()) => self.objects.delete_stream(paths),
            Err(error) => stream::once(future::ready(Err(error))).boxed(),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.answer() {
            Ok(()) => self.objects.list(prefix),
            Err(error) => stream::once(future::ready(Err(error))).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.answer()?;
        self.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.answer()?;
        self.objects.copy_opts(from, to, options).await
    }
}

fn patient(store: &Arc<Moody>, waits: &Waits) -> PatientStore {
    let store: Arc<dyn ObjectStore> = store.clone();
    let patience =
        Patience { env: Env::default(), waits: waits.clone(), job: "job".into(), node: Wait::STORAGE.into() };
    PatientStore::new(store.clone(), store, patience)
}

#[tokio::test(start_paused = true)]
async fn every_request_is_repeated_until_a_storage_that_is_away_answers() {
    let (moody, waits) = (Moody::of(503, 0), Waits::default());
    let (store, path) = (patient(&moody, &waits), Path::from("a"));
    let away = || moody.refusals.store(20, Ordering::SeqCst);
    away();
    store.put(&path, "content".into()).await.unwrap();
    away();
    assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), "content");
    away();
    assert_eq!(store.get_ranges(&path, &[1..3, 5..7]).await.unwrap(), ["on", "nt"]);
    away();
    assert_eq!(store.list(None).try_collect::<Vec<_>>().await.unwrap().len(), 1);
    away();
    let offset = Path::from("A");
    assert_eq!(store.list_with_offset(None, &offset).try_collect::<Vec<_>>().await.unwrap().len(), 1);
    away();
    assert_eq!(store.list_with_delimiter(None).await.unwrap().objects.len(), 1);
    away();
    store.copy_if_not_exists(&path, &Path::from("b")).await.unwrap();
    away();
    let mut upload = store.put_multipart(&Path::from("c")).await.unwrap();
    upload.put_part("part".into()).await.unwrap();
    upload.complete().await.unwrap();
    away();
    store.delete(&path).await.unwrap();
    assert!(matches!(store.get(&path).await, Err(Error::NotFound { .. })), "what is not there is told at once");
    assert!(waits.now().is_empty());
}

#[tokio::test(start_paused = true)]
async fn whoever_looks_sees_what_is_waited_for_and_what_is_refused_is_told_at_once() {
    let (moody, waits) = (Moody::of(503, u32::MAX), Waits::default());
    let store = patient(&moody, &waits);
    let path = Path::from("a");
    let reading = tokio::time::timeout(Duration::from_secs(3_600), store.get(&path));
    let looking = async {
        store.patience.env.sleep(Duration::from_secs(1_800)).await;
        waits.now().remove(Wait::STORAGE).expect("it is said")
    };
    let (read, seen) = tokio::join!(reading, looking);
    assert!(read.is_err(), "it is waited for as long as somebody wants the answer");
    assert!(seen.cause.contains("503: so it is"), "{}", seen.cause);
    assert!(waits.now().is_empty(), "nobody wants the answer any more");

    let error: EngineError = patient(&Moody::of(403, 1), &waits).get(&path).await.unwrap_err().into();
    assert_eq!(error.kind, ErrorKind::Io, "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_create_whose_answer_was_lost_is_ones_own_and_anothers_is_not() {
    let (moody, env) = (Moody::of(500, 3), Env::default());
    let store: Arc<dyn ObjectStore> = moody.clone();
    let store = CheckpointStore::over(store, "job").patient(&env, &Waits::default());
    let path = Path::from("manifest");
    assert!(store.create(&env, &path, Bytes::from_static(b"mine")).await.unwrap(), "found when it was sent again");
    moody.refusals.store(3, Ordering::SeqCst);
    assert!(!store.create(&env, &path, Bytes::from_static(b"another's")).await.unwrap());
    let create = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
    assert!(moody.objects.put_opts(&path, "x".into(), create).await.is_err(), "it was not replaced");
}
