//! Faults on demand: a node that is slow, fails, misses slots, or drops its streams.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use earnest_http::ApiError;
use http::StatusCode;
use parking_lot::Mutex;
use tokio::sync::watch;

/// Endpoints that can be made to fail together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Endpoints {
    /// Version, health and sync status.
    Node,
    /// Genesis and specification.
    Config,
    /// Headers, blocks and their roots, finality.
    Blocks,
    /// Validators of the state.
    Validators,
    /// Proposer duties.
    Duties,
    /// EIP-7917's lookahead.
    Lookahead,
    /// The event stream.
    Events,
    /// Producing a block.
    Produce,
    /// Publishing a block.
    Publish,
}

/// What is wrong with a group of endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fault {
    /// Time before anything happens.
    pub delay: Duration,
    /// Answered instead of the real thing; `None` only delays.
    pub answer: Option<StatusCode>,
    /// Requests it still applies to; `None` for all until it is cleared.
    pub times: Option<u32>,
}

impl Fault {
    /// Every request gets this status.
    #[must_use]
    pub fn fail(status: StatusCode) -> Self {
        Self { answer: Some(status), ..Self::default() }
    }

    /// Every request waits.
    #[must_use]
    pub fn slow(delay: Duration) -> Self {
        Self { delay, ..Self::default() }
    }

    /// Only the next `times` requests.
    #[must_use]
    pub fn times(self, times: u32) -> Self {
        Self { times: Some(times), ..self }
    }
}

/// The handle by which a test makes the node misbehave. Clones act on the same node.
#[derive(Debug, Clone)]
pub struct Faults {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    endpoints: Mutex<HashMap<Endpoints, Fault>>,
    struck: Mutex<HashMap<Endpoints, u64>>,
    missed: Mutex<BTreeSet<u64>>,
    streams: watch::Sender<u64>,
}

impl Default for Faults {
    fn default() -> Self {
        let (streams, _) = watch::channel(0);
        let (endpoints, struck, missed) = Default::default();
        Self { inner: Arc::new(Inner { endpoints, struck, missed, streams }) }
    }
}

impl Faults {
    /// Puts a fault on a group of endpoints, in place of one that is there.
    pub fn set(&self, endpoints: Endpoints, fault: Fault) {
        self.inner.endpoints.lock().insert(endpoints, fault);
    }

    /// Takes every fault off and lets later slots have blocks again.
    pub fn clear(&self) {
        self.inner.endpoints.lock().clear();
        self.inner.missed.lock().clear();
    }

    /// Requests to a group of endpoints that a fault struck so far, those among them that still wait.
    #[must_use]
    pub fn struck(&self, endpoints: Endpoints) -> u64 {
        self.inner.struck.lock().get(&endpoints).copied().unwrap_or_default()
    }

    /// Lets a slot have no block: none is produced or taken for it.
    pub fn miss_slot(&self, slot: u64) {
        self.inner.missed.lock().insert(slot);
    }

    /// Whether a slot is to have no block.
    #[must_use]
    pub fn misses(&self, slot: u64) -> bool {
        self.inner.missed.lock().contains(&slot)
    }

    /// Closes every event stream that is open now.
    pub fn break_event_streams(&self) {
        self.inner.streams.send_modify(|generation| *generation = generation.wrapping_add(1));
    }

    /// Changes whenever the streams that are open are to close.
    pub(super) fn streams(&self) -> watch::Receiver<u64> {
        self.inner.streams.subscribe()
    }

    fn strike(&self, group: Endpoints) -> Option<Fault> {
        let mut endpoints = self.inner.endpoints.lock();
        let fault = endpoints.get_mut(&group)?;
        if let Some(times) = &mut fault.times {
            *times = times.checked_sub(1)?;
        }
        let struck = *fault;
        drop(endpoints);
        let mut count = self.inner.struck.lock();
        let count = count.entry(group).or_default();
        *count = count.saturating_add(1);
        Some(struck)
    }
}

/// The middleware in front of a group of endpoints.
pub(super) async fn inject(
    State((faults, group)): State<(Faults, Endpoints)>,
    request: Request,
    next: Next,
) -> Response {
    if let Some(fault) = faults.strike(group) {
        tokio::time::sleep(fault.delay).await;
        if let Some(status) = fault.answer {
            return ApiError::status(status, "a fault on demand").into_response();
        }
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_strikes_as_often_as_it_was_asked_to() {
        let faults = Faults::default();
        assert_eq!(faults.strike(Endpoints::Node), None);
        faults.set(Endpoints::Node, Fault::fail(StatusCode::BAD_GATEWAY).times(2));
        assert!(faults.strike(Endpoints::Duties).is_none());
        assert!(faults.strike(Endpoints::Node).is_some());
        assert!(faults.strike(Endpoints::Node).is_some());
        assert!(faults.strike(Endpoints::Node).is_none());
        faults.set(Endpoints::Node, Fault::slow(Duration::from_secs(1)));
        assert!((0..10).all(|_| faults.strike(Endpoints::Node).is_some()));
        faults.miss_slot(3);
        assert!(faults.misses(3) && !faults.misses(4));
        faults.clear();
        assert!(faults.strike(Endpoints::Node).is_none() && !faults.misses(3));
        assert_eq!((faults.struck(Endpoints::Node), faults.struck(Endpoints::Duties)), (12, 0));
    }
}
