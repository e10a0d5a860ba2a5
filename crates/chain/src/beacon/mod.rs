//! A client of one or more beacon nodes.
//!
//! Reads go to the node that answered last and move on to the next when a node fails; a block is published
//! to all nodes at once. One file for each group of endpoints.

mod events;
mod genesis;
mod head;
mod produce;
mod publish;
mod state;

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use url::Url;

pub use events::{BeaconEvent, EventTopic, PayloadAttributesData, PayloadAttributesEvent};
pub use genesis::{Genesis, Spec};
pub use head::{Head, SyncStatus};
pub use produce::LocalBlock;
pub use publish::{BroadcastValidation, NodeOutcome, PublishReport, Published};
pub use state::ValidatorRecord;

use crate::{
    error::ChainError,
    transport::{Endpoint, http_client},
};

/// Limits of a [`BeaconClient`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BeaconOptions {
    /// Time for one call to one node, body included.
    pub timeout: Duration,
    /// Time to publish a block; nodes answer when they have imported it.
    pub publish_timeout: Duration,
    /// Longest answer that is read, in bytes.
    pub max_answer_bytes: usize,
    /// Longest single event that is read, in bytes.
    pub max_event_bytes: usize,
    /// Silence (not even a comment) after which an event stream counts as broken.
    pub event_silence: Duration,
    /// First pause before an event stream is opened again; it doubles up to `event_retry_max`.
    pub event_retry: Duration,
    /// Longest pause before an event stream is opened again.
    pub event_retry_max: Duration,
}

impl Default for BeaconOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(5),
            publish_timeout: Duration::from_secs(12),
            max_answer_bytes: 16 << 20,
            max_event_bytes: 4 << 20,
            event_silence: Duration::from_secs(60),
            event_retry: Duration::from_millis(100),
            event_retry_max: Duration::from_secs(5),
        }
    }
}

/// A client of one or more beacon nodes of the same network. Clones share the connection pool.
#[derive(Debug, Clone)]
pub struct BeaconClient {
    nodes: Arc<[Endpoint]>,
    publishing: Arc<[Endpoint]>,
    preferred: Arc<AtomicUsize>,
    options: Arc<BeaconOptions>,
}

impl BeaconClient {
    /// A client of `urls` with the default limits.
    ///
    /// # Errors
    /// [`ChainError::Config`] if there is no URL or TLS cannot be set up.
    pub fn new(urls: impl IntoIterator<Item = Url>) -> Result<Self, ChainError> {
        Self::with_options(urls, BeaconOptions::default())
    }

    /// A client of `urls` with limits of one's own.
    ///
    /// # Errors
    /// [`ChainError::Config`] if there is no URL or TLS cannot be set up.
    pub fn with_options(
        urls: impl IntoIterator<Item = Url>,
        options: BeaconOptions,
    ) -> Result<Self, ChainError> {
        let http = http_client(options.timeout)?;
        let urls: Vec<Url> = urls.into_iter().collect();
        if urls.is_empty() {
            return Err(ChainError::Config("no beacon node given".to_owned()));
        }
        let endpoints = |timeout: Duration| {
            urls.iter()
                .map(|url| Endpoint::new(url.clone(), http.clone(), timeout, options.max_answer_bytes))
                .collect()
        };
        Ok(Self {
            nodes: endpoints(options.timeout),
            publishing: endpoints(options.publish_timeout),
            preferred: Arc::new(AtomicUsize::new(0)),
            options: Arc::new(options),
        })
    }

    /// Asks the nodes in turn, beginning with the one that answered last, until one gives an answer that is
    /// not a fault of that node's own.
    async fn ask<T, F, Fut>(&self, call: F) -> Result<T, ChainError>
    where
        F: Fn(Endpoint) -> Fut,
        Fut: Future<Output = Result<T, ChainError>>,
    {
        let first = self.preferred.load(Ordering::Relaxed);
        let mut failure = ChainError::Config("no beacon node given".to_owned());
        for (index, node) in self.nodes_from(first) {
            match call(node.clone()).await {
                Err(error) if error.is_of_the_node() => {
                    tracing::debug!(node = node.name(), %error, "beacon node failed, trying the next");
                    failure = error;
                }
                answer => {
                    self.preferred.store(index, Ordering::Relaxed);
                    return answer;
                }
            }
        }
        Err(failure)
    }

    /// Every node once, beginning with `first`.
    fn nodes_from(&self, first: usize) -> impl Iterator<Item = (usize, &Endpoint)> {
        let first = first.checked_rem(self.nodes.len()).unwrap_or(0);
        let indexed = || self.nodes.iter().enumerate();
        indexed().skip(first).chain(indexed().take(first))
    }
}
