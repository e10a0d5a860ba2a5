//! What happens at this relay, for those who listen.

use crate::sse;
use bytes::Bytes;
use earnest_protocol::messages::OrderingEvent;
use tokio::sync::broadcast;

/// News that a slow reader may be behind.
const BEHIND: usize = 256;

/// Tells all listeners. One that falls behind misses some, and is told.
#[derive(Debug)]
pub(crate) struct MarketNews(broadcast::Sender<Bytes>);

impl MarketNews {
    /// Nobody listens yet.
    pub(crate) fn new() -> Self {
        Self(broadcast::Sender::new(BEHIND))
    }

    /// Tells what happened. It is encoded once, however many listen.
    pub(crate) fn tell(&self, event: &OrderingEvent) {
        if self.0.receiver_count() > 0
            && let Some(frame) = event_frame(event)
        {
            // That the last one left meanwhile is no fault.
            let _ = self.0.send(frame);
        }
    }

    /// Frames of what comes from here on.
    pub(crate) fn listen(&self) -> broadcast::Receiver<Bytes> {
        self.0.subscribe()
    }
}

/// An event as it is sent.
pub(crate) fn event_frame(event: &OrderingEvent) -> Option<Bytes> {
    Some(sse::frame(event.name(), &event.data().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use earnest_protocol::Slot;

    #[test]
    fn all_are_told_the_same_bytes() {
        let news = MarketNews::new();
        let event = OrderingEvent::Sealed { slot: Slot(7), seal_ms: 5 };
        news.tell(&event);
        let (mut first, mut second) = (news.listen(), news.listen());
        news.tell(&event);
        let (first, second) = (first.try_recv().unwrap(), second.try_recv().unwrap());
        assert_eq!(first, "event: sealed\ndata: {\"seal_ms\":\"5\",\"slot\":\"7\"}\n\n");
        assert_eq!(first.as_ptr(), second.as_ptr(), "encoded once");
    }
}
