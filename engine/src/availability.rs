//! What waiting can heal: which errors of disks, networks and object storage say that something is away, overloaded or full, and
//! which that it refuses. Decided here and nowhere else, by what the errors are and never by their texts.

use crate::{
    error::{EngineError, ErrorKind},
    object_storage::Answered,
};
use object_store::client::HttpError;
use std::{error::Error, io};

/// Too many open files, in this process and in the system. The standard library has no kind for them; Linux and the BSDs agree
/// on the numbers.
const TOO_MANY_OPEN_FILES: [i32; 2] = [24, 23];

/// [`ErrorKind::Unavailable`] where waiting can heal it, or else [`ErrorKind::Io`]; the kind of an [`EngineError`] within stays.
pub fn kind_of(error: &(dyn Error + 'static)) -> ErrorKind {
    let mut kind = ErrorKind::Io;
    for cause in std::iter::successors(Some(error), |error| inner(*error)) {
        if let Some(ours) = cause.downcast_ref::<EngineError>() {
            return ours.kind;
        }
        if let Some(answered) = cause.downcast_ref::<Answered>() {
            return if answered.passes() { ErrorKind::Unavailable } else { ErrorKind::Io };
        }
        match cause.downcast_ref::<object_store::Error>() {
            // What it is about is within.
            None | Some(object_store::Error::Generic { .. }) => {}
            Some(_) => return ErrorKind::Io,
        }
        // No answer came, or not all of one, unless there is one within.
        if cause.is::<HttpError>() {
            kind = ErrorKind::Unavailable;
        }
        if cause.downcast_ref::<io::Error>().is_some_and(passes) {
            return ErrorKind::Unavailable;
        }
    }
    kind
}

/// Whether waiting can heal an error of the system.
fn passes(error: &io::Error) -> bool {
    use io::ErrorKind::*;
    let passes = matches!(
        error.kind(),
        ConnectionRefused
            | ConnectionReset
            | ConnectionAborted
            | NotConnected
            | HostUnreachable
            | NetworkUnreachable
            | NetworkDown
            | TimedOut
            | StorageFull
            | QuotaExceeded
            | ReadOnlyFilesystem
            | ResourceBusy
            | StaleNetworkFileHandle
    );
    let too_many = error.raw_os_error().is_some_and(|number| TOO_MANY_OPEN_FILES.contains(&number));
    passes || too_many
}

/// The source of an error. An error of the system that wraps another one reports that one's source as its own.
fn inner<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(source: impl Into<Box<dyn Error + Send + Sync>>) -> object_store::Error {
        object_store::Error::Generic { store: "S3", source: source.into() }
    }

    fn answered(status: u16) -> HttpError {
        HttpError::new(object_store::client::HttpErrorKind::Unknown, Answered { status, said: "no".into() })
    }

    #[test]
    fn what_passes_is_told_from_what_stays() {
        let passes = [
            io::Error::from(io::ErrorKind::ConnectionRefused),
            io::Error::from(io::ErrorKind::TimedOut),
            // No space, no quota, read-only, too many open files here and everywhere, stale, no way to the host.
            io::Error::from_raw_os_error(28),
            io::Error::from_raw_os_error(122),
            io::Error::from_raw_os_error(30),
            io::Error::from_raw_os_error(24),
            io::Error::from_raw_os_error(23),
            io::Error::from_raw_os_error(116),
            io::Error::from_raw_os_error(113),
        ];
        for error in passes {
            assert_eq!(kind_of(&error), ErrorKind::Unavailable, "{error}");
            assert_eq!(EngineError::from(stored(error)).kind, ErrorKind::Unavailable, "in a store");
        }
        // Not there, not permitted, no folder, cut off; a reader that went away.
        for error in [
            io::Error::from_raw_os_error(2),
            io::Error::from_raw_os_error(13),
            io::Error::from_raw_os_error(20),
            io::ErrorKind::UnexpectedEof.into(),
            io::ErrorKind::BrokenPipe.into(),
        ] {
            assert_eq!(kind_of(&error), ErrorKind::Io, "{error}");
        }
    }

    #[test]
    fn a_store_that_refuses_is_not_away() {
        let denied = object_store::Error::PermissionDenied { path: "a".into(), source: "403".into() };
        let unknown = object_store::Error::NotFound { path: "a".into(), source: "404".into() };
        for error in
            [denied, unknown, stored(answered(403)), stored("no list"), stored(io::Error::from_raw_os_error(13))]
        {
            assert_eq!(kind_of(&error), ErrorKind::Io, "{error}");
        }
        assert_eq!(kind_of(&stored(answered(503))), ErrorKind::Unavailable);
        let lost = HttpError::new(object_store::client::HttpErrorKind::Request, io::Error::other("closed"));
        assert_eq!(kind_of(&stored(lost)), ErrorKind::Unavailable);
    }

    #[test]
    fn what_is_wrapped_counts() {
        let full = EngineError::from(io::Error::from_raw_os_error(28));
        assert_eq!(kind_of(&io::Error::other(full)), ErrorKind::Unavailable);
        assert_eq!(kind_of(&io::Error::other(EngineError::corrupt("x"))), ErrorKind::Corrupt);
        assert_eq!(kind_of(&io::Error::other(stored(answered(503)))), ErrorKind::Unavailable);
        let external = parquet::errors::ParquetError::External(Box::new(io::Error::from_raw_os_error(30)));
        assert_eq!(kind_of(&external), ErrorKind::Unavailable);
    }
}
