//! The cluster's shared secret: sent in the header of every call, and checked before anything of its body is read.
//!
//! Invariant: a stranger's message is neither decoded nor kept; and nothing prints a secret.

use std::{fmt, sync::Arc};
use tonic::{
    Request, Status,
    metadata::{Binary, MetadataValue},
    service::Interceptor,
};

/// The header of every call.
const HEADER: &str = "weir-secret-bin";

/// What coordinators, workers and users of a cluster share; empty: nothing. Cheap to clone.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ClusterSecret(Arc<str>);

impl fmt::Debug for ClusterSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "ClusterSecret(none)" } else { "ClusterSecret(…)" })
    }
}

impl<T: Into<Arc<str>>> From<T> for ClusterSecret {
    fn from(secret: T) -> Self {
        ClusterSecret(secret.into())
    }
}

impl ClusterSecret {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// For a client: shows the secret with every call.
    pub fn shown(&self) -> ShowSecret {
        let mut header = MetadataValue::from_bytes(self.0.as_bytes());
        header.set_sensitive(true);
        ShowSecret(header)
    }

    /// For a server: refuses calls that do not show it.
    pub fn demanded(&self) -> DemandSecret {
        DemandSecret(self.clone())
    }

    /// Compares in a time that does not tell how much of it is right.
    pub fn is(&self, shown: &[u8]) -> bool {
        let right = self.0.as_bytes();
        let differences = right
            .iter()
            .enumerate()
            .fold(0, |differences, (index, byte)| differences | (byte ^ shown.get(index).copied().unwrap_or(!byte)));
        // Without it the compiler may leave the loop at the first difference.
        std::hint::black_box(differences) == 0 && shown.len() == right.len()
    }
}

/// Puts the secret into the head of every call.
#[derive(Clone)]
pub struct ShowSecret(MetadataValue<Binary>);

impl fmt::Debug for ShowSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ShowSecret(…)")
    }
}

impl Interceptor for ShowSecret {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert_bin(HEADER, self.0.clone());
        Ok(request)
    }
}

/// Lets calls in that show the secret.
#[derive(Clone, Debug)]
pub struct DemandSecret(ClusterSecret);

impl Interceptor for DemandSecret {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let refused =
            |why: &str| Err(Status::permission_denied(format!("{why}; give all sides the same --secret-file")));
        match request.metadata_mut().remove_bin(HEADER).map(|shown| shown.to_bytes()) {
            None if self.0.is_empty() => Ok(request),
            Some(Ok(shown)) if self.0.is(&shown) => Ok(request),
            None => refused("no shared secret was shown, or by another release"),
            Some(_) => refused("the shared secret is wrong"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(shown: Option<&str>, right: &str) -> bool {
        let mut request = Request::new(());
        if let Some(shown) = shown {
            request = ClusterSecret::from(shown).shown().call(request).unwrap();
        }
        ClusterSecret::from(right).demanded().call(request).is_ok()
    }

    #[test]
    fn only_the_same_secret_is_right() {
        assert!(admitted(None, "") && admitted(Some(""), "") && admitted(Some("abc"), "abc"));
        for wrong in [None, Some(""), Some("ab"), Some("abd"), Some("abcd"), Some("xbc")] {
            assert!(!admitted(wrong, "abc"), "{wrong:?}");
        }
        assert!(!admitted(Some("x"), ""));
    }

    #[test]
    fn it_is_not_printed() {
        let secret = ClusterSecret::from("open sesame");
        let request = secret.shown().call(Request::new(())).unwrap();
        let refused = ClusterSecret::from("open barley").demanded().call(Request::new(())).unwrap_err();
        let printed = format!("{secret:?} {:?} {:?} {request:?} {refused:?}", secret.shown(), secret.demanded());
        assert!(!printed.contains("open"), "{printed}");
    }
}
