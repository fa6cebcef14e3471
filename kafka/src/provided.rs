//! Clusters that are not reached over a network: a simulation provides a model of one, by the name that stands for its brokers.

use crate::cluster::Cluster;
use std::{cell::RefCell, collections::HashMap, marker::PhantomData, sync::Arc};

thread_local! {
    static PROVIDED: RefCell<HashMap<String, Arc<dyn Cluster>>> = RefCell::default();
}

/// Gives a name to a cluster for all that runs on this thread, as a whole simulation does.
pub fn provide(brokers: impl Into<String>, cluster: Arc<dyn Cluster>) -> Provided {
    let brokers = brokers.into();
    PROVIDED.with_borrow_mut(|clusters| clusters.insert(brokers.clone(), cluster));
    Provided { brokers, this_thread: PhantomData }
}

/// The cluster of that name, if one is provided on this thread.
pub(crate) fn provided(brokers: &str) -> Option<Arc<dyn Cluster>> {
    PROVIDED.with_borrow(|clusters| clusters.get(brokers).cloned())
}

/// Dropped, it takes the name away again.
#[derive(Debug)]
pub struct Provided {
    brokers: String,
    this_thread: PhantomData<*const ()>,
}

impl Drop for Provided {
    fn drop(&mut self) {
        PROVIDED.with_borrow_mut(|clusters| clusters.remove(&self.brokers));
    }
}
