//! Object stores that live in this process, by the name in a `memory://NAME/…` URL: what one operator writes, another reads.
//!
//! One that has not been provided is created when it is first asked for, and lives as long as the process.

use object_store::{ObjectStore, memory::InMemory};
use parking_lot::Mutex;
use std::{
    cell::RefCell,
    collections::HashMap,
    marker::PhantomData,
    sync::{Arc, LazyLock},
};

type Stores = HashMap<String, Arc<dyn ObjectStore>>;

static STORES: LazyLock<Mutex<Stores>> = LazyLock::new(Mutex::default);

thread_local! {
    static PROVIDED: RefCell<Stores> = RefCell::default();
    /// The same, answering at once.
    static AT_ONCE: RefCell<Stores> = RefCell::default();
}

/// The store of a name.
pub fn memory_store(name: &str) -> Arc<dyn ObjectStore> {
    let provided = PROVIDED.with_borrow(|stores| stores.get(name).cloned());
    provided.unwrap_or_else(|| {
        let mut stores = STORES.lock();
        stores.entry(name.into()).or_insert_with(|| Arc::new(InMemory::new())).clone()
    })
}

/// Gives a name to a store for all that runs on this thread, as a whole simulation does. `at_once` is the same store without
/// anything that waits in simulated time: code that reads it from another thread gets that.
pub fn provide(name: impl Into<String>, store: Arc<dyn ObjectStore>, at_once: Arc<dyn ObjectStore>) -> Provided {
    let name = name.into();
    PROVIDED.with_borrow_mut(|stores| stores.insert(name.clone(), store));
    AT_ONCE.with_borrow_mut(|stores| stores.insert(name.clone(), at_once));
    Provided { name, this_thread: PhantomData }
}

/// Work for a thread beside, where names mean what they mean here.
pub fn for_thread_beside<T>(work: impl FnOnce() -> T) -> impl FnOnce() -> T {
    let stores = AT_ONCE.with_borrow(Clone::clone);
    move || {
        PROVIDED.set(stores);
        work()
    }
}

/// Dropped, it takes the name away again.
#[derive(Debug)]
pub struct Provided {
    name: String,
    this_thread: PhantomData<*const ()>,
}

impl Drop for Provided {
    fn drop(&mut self) {
        PROVIDED.with_borrow_mut(|stores| stores.remove(&self.name));
        AT_ONCE.with_borrow_mut(|stores| stores.remove(&self.name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::{ObjectStoreExt, path::Path};

    #[tokio::test]
    async fn a_name_means_one_store() {
        let path = Path::from("a");
        memory_store("one").put(&path, "x".into()).await.unwrap();
        assert!(memory_store("one").get(&path).await.is_ok());
        assert!(memory_store("another").get(&path).await.is_err());
        let provided = provide("one", memory_store("another"), memory_store("third"));
        assert!(memory_store("one").get(&path).await.is_err());
        let elsewhere = std::thread::spawn(|| memory_store("one")).join().unwrap();
        assert!(elsewhere.get(&path).await.is_ok(), "other threads have nothing to do with it");
        memory_store("third").put(&Path::from("b"), "x".into()).await.unwrap();
        let beside = std::thread::spawn(for_thread_beside(|| memory_store("one"))).join().unwrap();
        assert!(beside.get(&Path::from("b")).await.is_ok(), "but those that work for this one");
        drop(provided);
        assert!(memory_store("one").get(&path).await.is_ok());
    }
}
