//! Feeds the [`crate::breaker`] with what the chain has, and says aloud when it opens and closes.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::B256;
use earnest_chain::{BeaconClient, BeaconEvent, EventTopic};
use earnest_http::health::Part;
use futures::StreamExt;
use tokio_util::sync::CancellationToken;

use crate::breaker::Cause;
use crate::sidecar::{Sidecar, now_ms};
use crate::slot_state::SourceIndex;

/// How often the clock is looked at where no event comes.
const TICK: Duration = Duration::from_millis(500);

/// The task behind the circuit breaker.
#[derive(Debug)]
pub struct BreakerTask {
    /// What it shares with the endpoints.
    pub sidecar: Arc<Sidecar>,
    /// The beacon nodes.
    pub beacon: BeaconClient,
    /// What `/readyz` says of the breaker.
    pub health: Part,
}

impl BreakerTask {
    /// Runs until `shutdown`.
    ///
    /// # Errors
    /// Never; what the beacon node does not say is not known.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), Infallible> {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = self.follow() => {}
        }
        Ok(())
    }

    async fn follow(&self) {
        let mut events = self.beacon.events(&[EventTopic::Head]);
        let (mut said, mut out) = (None, BTreeSet::new());
        loop {
            self.say(&mut said);
            self.say_of_sources(&mut out);
            let event = tokio::select! {
                Some(event) = events.next() => event,
                () = tokio::time::sleep(TICK) => continue,
            };
            match event {
                BeaconEvent::Head(head) => {
                    let Some(clock) = self.sidecar.clock.get() else { continue };
                    // One far ahead of the clock would make every slot up to it a missed one.
                    if clock.slots.slot_at(now_ms()).is_none_or(|now| head.slot > now.saturating_add(1)) {
                        tracing::debug!(slot = head.slot, "a head ahead of the clock");
                        continue;
                    }
                    self.sidecar.breaker.lock().head(head.slot, clock.slots.slots_per_epoch());
                    self.look_up(head.slot).await;
                }
                BeaconEvent::Connected { .. } | BeaconEvent::Disconnected { .. } => {
                    self.sidecar.breaker.lock().blind();
                }
                _ => {}
            }
        }
    }

    /// Asks where the blocks of ours are that sources took before `slot`.
    async fn look_up(&self, slot: u64) {
        let taken = self.sidecar.breaker.lock().to_look_up(slot);
        for (slot, root) in taken {
            if let Some(on_chain) = self.is_on_chain(slot, root).await {
                self.sidecar.breaker.lock().looked_up(slot, on_chain);
            }
        }
    }

    /// None if the beacon nodes do not say.
    async fn is_on_chain(&self, slot: u64, root: B256) -> Option<bool> {
        match self.beacon.root_at_or_before(slot, 0).await {
            Ok(there) => Some(there == root),
            Err(error) if error.status() == Some(404) => Some(false),
            Err(error) => {
                tracing::debug!(slot, %error, "cannot tell whether our block is on the chain");
                None
            }
        }
    }

    fn say_of_sources(&self, out: &mut BTreeSet<SourceIndex>) {
        for (index, source) in self.sidecar.sources.iter() {
            let cause = self.sidecar.shut_out(index);
            metrics::gauge!("earnest_proposer_source_shut_out", "source" => source.name.clone())
                .set(f64::from(u8::from(cause.is_some())));
            match cause {
                Some(cause) if out.insert(index) => {
                    tracing::error!(source = source.name, %cause, "a source is shut out");
                }
                None if out.remove(&index) => {
                    tracing::info!(source = source.name, "a source is asked again");
                }
                _ => {}
            }
        }
    }

    fn say(&self, said: &mut Option<Cause>) {
        let cause = self.sidecar.breaker_cause(&self.sidecar.sources.indices());
        let before = said.map(|cause| cause.name());
        for name in Cause::NAMES {
            let is_open = cause.is_some_and(|cause| cause.name() == name);
            metrics::gauge!("earnest_proposer_breaker_open", "cause" => name)
                .set(f64::from(u8::from(is_open)));
        }
        match cause {
            Some(cause) => {
                self.health.not_ready(cause.to_string());
                if before != Some(cause.name()) {
                    tracing::error!(%cause, "circuit breaker open: the beacon node is left to build its own blocks");
                    metrics::counter!("earnest_proposer_breaker_opened_total", "cause" => cause.name())
                        .increment(1);
                }
            }
            None => {
                self.health.ready();
                if before.is_some() {
                    tracing::info!("circuit breaker closed: headers are asked for again");
                }
            }
        }
        *said = cause;
    }
}

impl Sidecar {
    /// Why the breaker is open now for all `sources`, if it is. It is closed as long as the time of the chain is not known.
    #[must_use]
    pub fn breaker_cause(&self, sources: &[SourceIndex]) -> Option<Cause> {
        let slot = self.clock.get()?.slots.slot_at(now_ms())?;
        self.breaker.lock().cause(slot, sources)
    }

    /// Why a source is shut out now, if it is.
    #[must_use]
    pub fn shut_out(&self, source: SourceIndex) -> Option<Cause> {
        let slot = self.clock.get()?.slots.slot_at(now_ms())?;
        self.breaker.lock().shut_out(source, slot)
    }
}
