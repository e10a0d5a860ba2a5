//! A client of one or more beacon nodes.
//!
//! A question goes to the node that stands best (see [`crate::agreement`]), and to the next too when that one fails
//! or takes long; a block is published to all nodes at once, and all are listened to. One file for each group of
//! endpoints.

mod ask;
mod events;
mod genesis;
mod head;
mod listen;
mod merge;
mod produce;
mod proposers;
mod publish;
mod survey;
mod validators;

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use parking_lot::Mutex;
use url::Url;

pub use events::{BeaconEvent, EventTopic, PayloadAttributesData, PayloadAttributesEvent};
pub use genesis::{Genesis, Spec};
pub use head::{Head, SyncStatus};
pub use produce::LocalBlock;
pub use publish::{BroadcastValidation, NodeOutcome, NodeWord, Publication, PublishReport, Published};
pub use survey::{NodeSurvey, Survey};
pub use validators::ValidatorRecord;

use crate::{
    agreement::{Agreement, News, Standing},
    error::ChainError,
    transport::{Endpoint, http_client},
};

/// Limits of a [`BeaconClient`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BeaconOptions {
    /// Time for one call to one node, body included.
    pub timeout: Duration,
    /// Time for one question: all calls it takes, to all nodes that are asked.
    pub ask_timeout: Duration,
    /// Time after which the next node is asked too while one keeps us waiting.
    pub hedge_delay: Duration,
    /// Time for a node to say its state and its head when all are surveyed.
    pub survey_timeout: Duration,
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
            ask_timeout: Duration::from_secs(10),
            hedge_delay: Duration::from_millis(500),
            survey_timeout: Duration::from_secs(1),
            publish_timeout: Duration::from_secs(12),
            max_answer_bytes: 16 << 20,
            max_event_bytes: 4 << 20,
            event_silence: Duration::from_secs(60),
            event_retry: Duration::from_millis(100),
            event_retry_max: Duration::from_secs(5),
        }
    }
}

/// What clones of a client share.
#[derive(Debug)]
struct Shared {
    agreement: Mutex<Agreement>,
    /// The last epoch for which it was said that a node contradicts itself about the proposers.
    disputed_epoch: AtomicU64,
}

/// A client of one or more beacon nodes of the same network. Clones share the connection pool and what is known of
/// the nodes.
#[derive(Debug, Clone)]
pub struct BeaconClient {
    nodes: Arc<[Endpoint]>,
    publishing: Arc<[Endpoint]>,
    shared: Arc<Shared>,
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
            shared: Arc::new(Shared {
                agreement: Mutex::new(Agreement::new(urls.len())),
                disputed_epoch: AtomicU64::new(u64::MAX),
            }),
            options: Arc::new(options),
        })
    }

    /// Says in the log that the standing of nodes changed.
    fn tell(&self, news: impl IntoIterator<Item = News>) {
        for News { node, from, to, reason } in news {
            let Some(node) = self.nodes.get(node) else { continue };
            let node = node.name();
            match to {
                Standing::Well | Standing::Unknown => tracing::info!(node, %from, "beacon node is well"),
                _ => tracing::warn!(node, %from, %to, reason, "beacon node is not to be relied on"),
            }
        }
    }
}
