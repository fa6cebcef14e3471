//! How messages print that hold a job's graph, in which the password of a database may be: without it.

use crate::v1::{Commit, Deploy, Look, RaftMessage, Reset, SubmitRequest, Sweep};
use std::fmt;

impl fmt::Debug for SubmitRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("SubmitRequest");
        shown.field("fingerprint", &self.fingerprint).field("fresh", &self.fresh).finish_non_exhaustive()
    }
}

impl fmt::Debug for Deploy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Deploy");
        shown.field("attempt", &self.attempt).field("checkpoint", &self.checkpoint).field("suspect", &self.suspect);
        shown.field("placements", &self.placements).finish_non_exhaustive()
    }
}

impl fmt::Debug for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Commit");
        shown.field("request", &self.request).field("attempt", &self.attempt).field("checkpoints", &self.checkpoints);
        shown.finish_non_exhaustive()
    }
}

impl fmt::Debug for Sweep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Sweep");
        shown.field("request", &self.request).field("attempt", &self.attempt).finish_non_exhaustive()
    }
}

impl fmt::Debug for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Look");
        shown.field("request", &self.request).field("attempt", &self.attempt).finish_non_exhaustive()
    }
}

impl fmt::Debug for Reset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Reset");
        shown.field("request", &self.request).field("attempt", &self.attempt).finish_non_exhaustive()
    }
}

impl fmt::Debug for RaftMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RaftMessage").field("bytes", &self.json.len()).finish_non_exhaustive()
    }
}
