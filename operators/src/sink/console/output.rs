//! A text output that remembers what it has printed, so that a repeated commit prints nothing.
//!
//! One whose reader has gone (`weir run JOB | head`) takes everything and shows nothing: rows for nobody are no failure.
//! Whoever runs the job can wait for that, and end it.

use bytes::Bytes;
use parking_lot::Mutex;
use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    io::{self, ErrorKind, Write},
    sync::{Arc, LazyLock},
};
use tokio::sync::watch;
use weir_engine::ids::{Attempt, CheckpointId};

/// Which printout of a sink.
pub(super) type Part = (CheckpointId, Attempt, usize);

/// Printouts of so many checkpoints are remembered. Commits happen in order of checkpoints, so that older ones never return.
const REMEMBERED: u64 = 64;

static STANDARD: LazyLock<ConsoleOutput> = LazyLock::new(|| ConsoleOutput::to(Box::new(io::stdout())));

/// Where lines go. Cheap to clone; all clones share their memory.
#[derive(Clone)]
pub struct ConsoleOutput {
    printer: Arc<Mutex<Printer>>,
    /// Whether the reader has gone.
    closed: Arc<watch::Sender<bool>>,
}

struct Printer {
    target: Box<dyn Write + Send>,
    printed: HashMap<String, BTreeSet<Part>>,
}

impl ConsoleOutput {
    /// The one of this process.
    pub fn standard() -> Self {
        STANDARD.clone()
    }

    /// Another one, as tests want it.
    pub fn to(target: Box<dyn Write + Send>) -> Self {
        let printer = Arc::new(Mutex::new(Printer { target, printed: HashMap::new() }));
        ConsoleOutput { printer, closed: Arc::new(watch::Sender::new(false)) }
    }

    /// Whether its reader has gone.
    pub fn is_closed(&self) -> bool {
        *self.closed.borrow()
    }

    /// Waits until its reader has gone, which shows at the next rows for it.
    pub async fn closed(&self) {
        // The sender lives as long as this does.
        let _ = self.closed.subscribe().wait_for(|closed| *closed).await;
    }

    /// Whether a part was printed.
    pub(super) fn has_printed(&self, identity: &str, part: Part) -> bool {
        self.printer.lock().printed.get(identity).is_some_and(|printed| printed.contains(&part))
    }

    /// Prints the texts of a part, unless this has been done.
    pub(super) fn print_once(&self, identity: &str, part: Part, texts: &[Bytes]) -> io::Result<bool> {
        let mut printer = self.printer.lock();
        let Printer { target, printed } = &mut *printer;
        let printed = printed.entry(identity.to_string()).or_default();
        if printed.contains(&part) {
            return Ok(false);
        }
        if !self.is_closed() {
            let written = texts.iter().try_for_each(|text| target.write_all(text)).and_then(|()| target.flush());
            match written {
                Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                    self.closed.send_replace(true);
                }
                written => written?,
            }
        }
        printed.insert(part);
        let newest = printed.last().map_or(0, |(checkpoint, ..)| checkpoint.0);
        while printed.first().is_some_and(|(checkpoint, ..)| checkpoint.0 + REMEMBERED < newest) {
            printed.pop_first();
        }
        Ok(true)
    }

    /// Forgets what a sink has printed: its job starts over.
    pub(super) fn forget(&self, identity: &str) {
        self.printer.lock().printed.remove(identity);
    }
}

impl fmt::Debug for ConsoleOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConsoleOutput")
    }
}
