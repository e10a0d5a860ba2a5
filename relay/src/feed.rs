//! Constraints as they come, for those who listen.

use crate::views::HeldConstraints;
use std::sync::Arc;
use tokio::sync::broadcast;

/// Messages that a slow reader may be behind.
const BEHIND: usize = 256;

/// Sends every message of constraints to all listeners. One that falls behind misses some, and is told.
#[derive(Debug)]
pub(crate) struct Feed(broadcast::Sender<Arc<HeldConstraints>>);

impl Feed {
    /// Nobody listens yet.
    pub(crate) fn new() -> Self {
        Self(broadcast::Sender::new(BEHIND))
    }

    /// To all that listen now.
    pub(crate) fn send(&self, held: Arc<HeldConstraints>) {
        // Nobody listening is no fault.
        let _ = self.0.send(held);
    }

    /// What comes from here on.
    pub(crate) fn listen(&self) -> broadcast::Receiver<Arc<HeldConstraints>> {
        self.0.subscribe()
    }
}
