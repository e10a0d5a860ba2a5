//! What happens at this relay, for those who listen.

use earnest_protocol::messages::OrderingEvent;
use std::sync::Arc;
use tokio::sync::broadcast;

/// News that a slow reader may be behind.
pub(crate) const BEHIND: usize = 256;

/// One piece of news.
pub(crate) type Told = Arc<OrderingEvent>;

/// Tells all listeners. One that falls behind misses some, and is told.
#[derive(Debug)]
pub(crate) struct MarketNews(broadcast::Sender<Told>);

impl MarketNews {
    /// Nobody listens yet.
    pub(crate) fn new() -> Self {
        Self(broadcast::Sender::new(BEHIND))
    }

    /// Tells what happened.
    pub(crate) fn tell(&self, event: OrderingEvent) {
        // Nobody listening is no fault.
        let _ = self.0.send(Arc::new(event));
    }

    /// What comes from here on.
    pub(crate) fn listen(&self) -> broadcast::Receiver<Told> {
        self.0.subscribe()
    }
}
