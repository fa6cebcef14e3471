//! The cluster's shared secret, and a token that lets read only: sent in the header of every call, and checked before anything of
//! its body is read.
//!
//! Invariants: a stranger's message is neither decoded nor kept; with the token alone nothing is changed; nothing prints either.

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
        Keys::from(self.clone()).demanded()
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

/// What lets callers in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    /// For everything; empty: nothing has to be shown.
    pub secret: ClusterSecret,
    /// For reading only; empty: there is no such token.
    pub read_token: ClusterSecret,
}

/// What a call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// It only shows something.
    Read,
    /// It may change something.
    Act,
}

/// Why a caller is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// Nothing was shown.
    Missing,
    /// Something else was shown.
    Wrong,
    /// The token was shown, for more than reading.
    ReadOnly,
}

impl From<ClusterSecret> for Keys {
    /// Without a token.
    fn from(secret: ClusterSecret) -> Self {
        Keys { secret, read_token: ClusterSecret::default() }
    }
}

impl Keys {
    /// Whether such a call is let in whatever is shown.
    pub fn is_open(&self, right: Right) -> bool {
        self.secret.is_empty() && (right == Right::Act || self.read_token.is_empty())
    }

    /// For a server: refuses calls that may not do what they ask for, as the [`Right`] among their extensions says; without one
    /// they may change something.
    pub fn demanded(&self) -> DemandSecret {
        DemandSecret(self.clone())
    }

    /// Whether a caller who shows this may do it. Each key is compared, whichever is right.
    ///
    /// # Errors
    /// Why not.
    pub fn judge(&self, shown: Option<&[u8]>, right: Right) -> Result<(), Denied> {
        let Some(shown) = shown else {
            return if self.is_open(right) { Ok(()) } else { Err(Denied::Missing) };
        };
        let is = |key: &ClusterSecret| key.is(shown) & !key.is_empty();
        match (is(&self.secret), is(&self.read_token), right) {
            (true, _, _) | (false, true, Right::Read) => Ok(()),
            (false, true, Right::Act) => Err(Denied::ReadOnly),
            (false, false, _) => Err(Denied::Wrong),
        }
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

/// Lets calls in that show what they need.
#[derive(Clone, Debug)]
pub struct DemandSecret(Keys);

impl Interceptor for DemandSecret {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let right = request.extensions().get::<Right>().copied().unwrap_or(Right::Act);
        let shown = request.metadata_mut().remove_bin(HEADER).map(|shown| shown.to_bytes());
        let judged = match &shown {
            None => self.0.judge(None, right),
            // A caller without a secret shows an empty one.
            Some(Ok(shown)) if shown.is_empty() && self.0.is_open(right) => Ok(()),
            Some(Ok(shown)) => self.0.judge(Some(shown), right),
            Some(Err(_)) => Err(Denied::Wrong),
        };
        let refused = match judged {
            Ok(()) => return Ok(request),
            Err(Denied::Missing) => {
                "no shared secret was shown, or by another release; give all sides the same --secret-file"
            }
            Err(Denied::Wrong) => "the shared secret is wrong; give all sides the same --secret-file",
            Err(Denied::ReadOnly) => READ_ONLY,
        };
        Err(Status::permission_denied(refused))
    }
}

/// What whoever shows the token is told where it is not enough.
pub const READ_ONLY: &str =
    "the token is read-only: it shows jobs and changes none; this needs the secret (--secret-file or WEIR_SECRET)";

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
    fn the_token_lets_read_and_nothing_else() {
        let keys = Keys { secret: "secret".into(), read_token: "token".into() };
        assert_eq!(keys.judge(Some(b"token"), Right::Read), Ok(()));
        assert_eq!(keys.judge(Some(b"token"), Right::Act), Err(Denied::ReadOnly));
        for right in [Right::Read, Right::Act] {
            assert_eq!(keys.judge(Some(b"secret"), right), Ok(()));
            assert_eq!(keys.judge(Some(b"tokem"), right), Err(Denied::Wrong));
            assert_eq!(keys.judge(Some(b""), right), Err(Denied::Wrong));
            assert_eq!(keys.judge(None, right), Err(Denied::Missing));
        }
        // What is not there is not shown by showing nothing.
        let only_secret = Keys::from(ClusterSecret::from("secret"));
        assert_eq!(only_secret.judge(Some(b""), Right::Read), Err(Denied::Wrong));
        let only_token = Keys { read_token: "token".into(), ..Keys::default() };
        assert_eq!(only_token.judge(Some(b""), Right::Read), Err(Denied::Wrong));
        assert_eq!(only_token.judge(None, Right::Read), Err(Denied::Missing));
    }

    /// A call that nobody has said of that it only reads is taken for one that does more.
    #[test]
    fn a_call_reads_only_where_that_is_known() {
        let keys = Keys { secret: "secret".into(), read_token: "token".into() };
        let shown = |right: Option<Right>| {
            let mut request = ClusterSecret::from("token").shown().call(Request::new(())).unwrap();
            if let Some(right) = right {
                request.extensions_mut().insert(right);
            }
            keys.demanded().call(request)
        };
        assert!(shown(Some(Right::Read)).is_ok());
        for right in [None, Some(Right::Act)] {
            assert!(shown(right).unwrap_err().message().contains("read-only"));
        }
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
