//! Constraints as they come, and what becomes of them, for those who listen.

use crate::{events::Judged, views::HeldConstraints};
use std::sync::Arc;
use tokio::sync::broadcast;

/// News that a slow reader may be behind.
const BEHIND: usize = 256;

/// What listeners are told.
#[derive(Debug, Clone)]
pub(crate) enum News {
    /// Constraints are held.
    Held(Arc<HeldConstraints>),
    /// Those of a slot were judged on a parent.
    Judged(Arc<Judged>),
}

/// Sends news to all listeners. One that falls behind misses some, and is told.
#[derive(Debug)]
pub(crate) struct Feed(broadcast::Sender<News>);

impl Feed {
    /// Nobody listens yet.
    pub(crate) fn new() -> Self {
        Self(broadcast::Sender::new(BEHIND))
    }

    /// Constraints are held from here on.
    pub(crate) fn held(&self, held: Arc<HeldConstraints>) {
        self.send(News::Held(held));
    }

    /// Constraints were judged.
    pub(crate) fn judged(&self, judged: Judged) {
        self.send(News::Judged(Arc::new(judged)));
    }

    fn send(&self, news: News) {
        // Nobody listening is no fault.
        let _ = self.0.send(news);
    }

    /// What comes from here on.
    pub(crate) fn listen(&self) -> broadcast::Receiver<News> {
        self.0.subscribe()
    }
}
