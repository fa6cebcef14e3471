//! Servers that are not reached over a network: a simulation provides one, by the URL that rows are posted to.

use bytes::Bytes;
use futures::future::BoxFuture;
use std::{cell::RefCell, collections::HashMap, io, marker::PhantomData, sync::Arc};

/// Takes the body of a request and gives the status of the answer: 200 for rows that are taken. An error: nobody answers, and the
/// rows may have been taken all the same.
pub type Post = Arc<dyn Fn(Bytes) -> BoxFuture<'static, io::Result<u16>> + Send + Sync>;

thread_local! {
    static PROVIDED: RefCell<HashMap<String, Post>> = RefCell::default();
}

/// Stands for the server at a URL for all that runs on this thread, as a whole simulation does.
pub fn provide(url: impl Into<String>, server: Post) -> Provided {
    let url = url.into();
    PROVIDED.with_borrow_mut(|servers| servers.insert(url.clone(), server));
    Provided { url, this_thread: PhantomData }
}

/// The server at a URL, if one is provided on this thread.
pub(super) fn provided(url: &str) -> Option<Post> {
    PROVIDED.with_borrow(|servers| servers.get(url).cloned())
}

/// Dropped, it takes the server away again.
#[derive(Debug)]
pub struct Provided {
    url: String,
    this_thread: PhantomData<*const ()>,
}

impl Drop for Provided {
    fn drop(&mut self) {
        PROVIDED.with_borrow_mut(|servers| servers.remove(&self.url));
    }
}
