//! The wish that a worker leaves its cluster: it takes no new subtasks, hands over what it runs, and ends.

use tokio::sync::watch;

/// Asks a worker to leave. Clones are the same wish, which is not taken back.
#[derive(Clone, Debug)]
pub struct Leave(watch::Sender<bool>);

impl Default for Leave {
    fn default() -> Self {
        Leave(watch::Sender::new(false))
    }
}

impl Leave {
    /// Asks it to.
    pub fn ask(&self) {
        self.0.send_replace(true);
    }

    /// Whether it was asked to.
    pub fn is_asked(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it is.
    pub async fn asked(&self) {
        // The sender lives as long as self.
        let _ = self.0.subscribe().wait_for(|asked| *asked).await;
    }
}
