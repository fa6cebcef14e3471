//! A text output that remembers what it has printed, so that a repeated commit prints nothing.

use parking_lot::Mutex;
use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    io::{self, Write},
    sync::{Arc, LazyLock},
};
use weir_engine::ids::{Attempt, CheckpointId};

/// Which printout of a sink.
type Part = (CheckpointId, Attempt, usize);

/// Printouts of so many checkpoints are remembered. Commits happen in order of checkpoints, so that older ones never return.
const REMEMBERED: u64 = 64;

static STANDARD: LazyLock<ConsoleOutput> = LazyLock::new(|| ConsoleOutput::to(Box::new(io::stdout())));

/// Where lines go. Cheap to clone; all clones share their memory.
#[derive(Clone)]
pub struct ConsoleOutput(Arc<Mutex<Printer>>);

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
        ConsoleOutput(Arc::new(Mutex::new(Printer { target, printed: HashMap::new() })))
    }

    /// Prints the lines of a part, unless this has been done.
    pub(super) fn print_once(&self, identity: &str, part: Part, lines: &[String]) -> io::Result<bool> {
        let mut printer = self.0.lock();
        let Printer { target, printed } = &mut *printer;
        let printed = printed.entry(identity.to_string()).or_default();
        if printed.contains(&part) {
            return Ok(false);
        }
        let mut text = lines.join("\n");
        text.push('\n');
        target.write_all(text.as_bytes())?;
        target.flush()?;
        printed.insert(part);
        let newest = printed.last().map_or(0, |(checkpoint, ..)| checkpoint.0);
        while printed.first().is_some_and(|(checkpoint, ..)| checkpoint.0 + REMEMBERED < newest) {
            printed.pop_first();
        }
        Ok(true)
    }

    /// Forgets what a sink has printed: its job starts over.
    pub(super) fn forget(&self, identity: &str) {
        self.0.lock().printed.remove(identity);
    }
}

impl fmt::Debug for ConsoleOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConsoleOutput")
    }
}
