//! What the next payload must be built with, as a beacon node tells it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use earnest_builder_types::domain::builder_domain;
use earnest_chain::{BeaconClient, BeaconEvent, EventTopic, PayloadAttributesEvent, SlotClock};
use futures::StreamExt;
use tokio::{sync::watch, task::AbortHandle};
use url::Url;

use alloy_primitives::B256;

use super::cause;
use crate::failure::Failure;

/// Longest wait for a node to announce a payload: more than a slot of any public network.
const PATIENCE: Duration = Duration::from_secs(40);

/// A beacon node that is listened to.
#[derive(Debug)]
pub(super) struct PayloadAttributes {
    /// The chain's clock.
    pub(super) clock: SlotClock,
    /// Its execution chain.
    pub(super) chain_id: u64,
    /// What builders and validators sign in.
    pub(super) builder_domain: B256,
    /// Genesis fork version zero, or chain 1.
    pub(super) is_mainnet: bool,
    latest: watch::Receiver<Option<PayloadAttributesEvent>>,
    listening: AbortHandle,
}

impl PayloadAttributes {
    /// Begins to listen.
    pub(super) async fn listen(beacon: &Url) -> Result<Self, Failure> {
        let beacon = BeaconClient::new([beacon.clone()]).map_err(cause)?;
        let genesis = beacon.genesis().await.map_err(cause)?;
        let spec = beacon.spec().await.map_err(cause)?;
        let clock = spec.slot_clock(&genesis).map_err(cause)?;
        let chain_id = spec.chain_id().unwrap_or_default();
        let version = genesis.genesis_fork_version.0;
        let (sender, latest) = watch::channel(None);
        let mut events = beacon.events(&[EventTopic::PayloadAttributes]);
        let listening = tokio::spawn(async move {
            while let Some(event) = events.next().await {
                if let BeaconEvent::PayloadAttributes(event) = event {
                    sender.send_replace(Some(event));
                }
            }
        });
        Ok(Self {
            clock,
            chain_id,
            builder_domain: builder_domain(version),
            is_mainnet: version == [0; 4] || chain_id == 1,
            latest,
            listening: listening.abort_handle(),
        })
    }

    /// The newest attributes that are `usable`; waits for some.
    ///
    /// # Errors
    /// When none come for 40 seconds.
    pub(super) async fn next(
        &self,
        usable: impl Fn(&PayloadAttributesEvent) -> bool,
    ) -> Result<PayloadAttributesEvent, Failure> {
        let mut latest = self.latest.clone();
        let wanted = latest.wait_for(|event| event.as_ref().is_some_and(&usable));
        let found = tokio::time::timeout(PATIENCE, wanted).await;
        let found = found.ok().and_then(Result::ok).and_then(|event| event.clone());
        found.ok_or_else(|| {
            Failure::new(
                "the beacon node announced no payload attributes: it must emit them for every slot \
                 (--always-prepare-payload or the like)",
            )
        })
    }

    /// Whether relays serve headers of a slot for this long yet: until a quarter of it is over.
    pub(super) fn serves_headers(&self, slot: u64, time: Duration) -> bool {
        SlotClock::until(now_ms(), self.clock.after(slot, 1, 4)) > time
    }

    /// Time until a slot begins.
    pub(super) fn time_left(&self, slot: u64) -> Duration {
        SlotClock::until(now_ms(), self.clock.start_of(slot))
    }
}

impl Drop for PayloadAttributes {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// Unix time in milliseconds.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
