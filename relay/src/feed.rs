//! Constraints as they come, and what becomes of them, for those who listen.

use crate::{events::Judged, sse, views::HeldConstraints};
use bytes::Bytes;
use earnest_protocol::objects::SignedConstraints;
use std::sync::Arc;
use tokio::sync::broadcast;

/// News that a slow reader may be behind.
const BEHIND: usize = 256;

/// What listeners are told, with the frame of it that is sent: encoded once, however many listen.
#[derive(Debug, Clone)]
pub(crate) enum News {
    /// Constraints are held.
    Held(Arc<HeldConstraints>, Bytes),
    /// Those of a slot were judged on a parent.
    Judged(u64, Bytes),
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
    pub(crate) fn held(&self, held: &Arc<HeldConstraints>) {
        self.send(|| Some(News::Held(Arc::clone(held), held_frame(&held.taken.constraints)?)));
    }

    /// Constraints were judged.
    pub(crate) fn judged(&self, judged: &Judged) {
        self.send(|| {
            let data = serde_json::to_string(judged).ok()?;
            Some(News::Judged(judged.slot, sse::frame("judged", &data)))
        });
    }

    fn send(&self, news: impl FnOnce() -> Option<News>) {
        if self.0.receiver_count() > 0
            && let Some(news) = news()
        {
            // That the last one left meanwhile is no fault.
            let _ = self.0.send(news);
        }
    }

    /// What comes from here on.
    pub(crate) fn listen(&self) -> broadcast::Receiver<News> {
        self.0.subscribe()
    }
}

/// Constraints as they are sent: a list, as `GET /constraints` gives it.
pub(crate) fn held_frame(constraints: &SignedConstraints) -> Option<Bytes> {
    Some(sse::frame("signed_constraints", &serde_json::to_string(&[constraints]).ok()?))
}
