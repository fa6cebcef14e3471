//! Object stores that live in this process, by the name in a `memory://NAME/…` URL: what one operator writes, another reads.
//!
//! One that nobody has provided is made when it is first asked for, and lives as long as the process.

use object_store::{ObjectStore, memory::InMemory};
use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex, MutexGuard},
};

type Stores = HashMap<String, Arc<dyn ObjectStore>>;

static STORES: LazyLock<Mutex<Stores>> = LazyLock::new(Mutex::default);

fn stores() -> MutexGuard<'static, Stores> {
    STORES.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// The store of a name.
pub fn memory_store(name: &str) -> Arc<dyn ObjectStore> {
    stores().entry(name.into()).or_insert_with(|| Arc::new(InMemory::new())).clone()
}

/// Gives a name to a store, one that fails now and then, say.
pub fn provide(name: impl Into<String>, store: Arc<dyn ObjectStore>) -> Provided {
    let name = name.into();
    stores().insert(name.clone(), store);
    Provided { name }
}

/// Dropped, it takes the name away again.
#[derive(Debug)]
pub struct Provided {
    name: String,
}

impl Drop for Provided {
    fn drop(&mut self) {
        stores().remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt;
    use object_store::{ObjectStoreExt, path::Path};

    #[tokio::test]
    async fn a_name_means_one_store() {
        let path = Path::from("a");
        memory_store("one").put(&path, "x".into()).await.unwrap();
        assert!(memory_store("one").get(&path).await.is_ok());
        assert!(memory_store("another").get(&path).await.is_err());
        let provided = provide("one", memory_store("another"));
        assert!(memory_store("one").get(&path).await.is_err());
        drop(provided);
        assert!(memory_store("one").list(None).collect::<Vec<_>>().await.is_empty(), "a name given back is free");
    }
}
