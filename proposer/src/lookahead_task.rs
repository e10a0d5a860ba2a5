//! Follows the beacon node: the clock first, then who proposes what.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use earnest_builder_types::BlsPublicKey;
use earnest_chain::registry::Follower;
use earnest_chain::{BeaconClient, BeaconEvent, ChainError, EventTopic, Lookahead};
use earnest_http::health::Part;
use earnest_protocol::Slot;
use earnest_protocol::window::Timing;
use futures::StreamExt;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::delegation_plan::{Duty, duties};
use crate::forks::Forks;
use crate::opt_in::OptIn;
use crate::sidecar::{NetworkClock, Sidecar, now_ms};
use crate::validator_keys::OwnKeys;

const RETRY: Duration = Duration::from_secs(1);

/// Follows the lookahead and publishes our duties whenever they change.
#[derive(Debug)]
pub struct LookaheadTask {
    /// What it shares with the endpoints.
    pub sidecar: Arc<Sidecar>,
    /// The beacon nodes.
    pub beacon: BeaconClient,
    /// Keys that count.
    pub keys: OwnKeys,
    /// Whose keys make sequencing slots.
    pub opt_in: OptIn,
    /// What follows the Registry, if that says so.
    pub registry: Option<Follower>,
    /// Where duties are published.
    pub duties: watch::Sender<Vec<Duty>>,
    /// Where every sequencing slot is published, with its proposer and window.
    pub sequencing: watch::Sender<Vec<Duty>>,
    /// Wakes when the keys that count are others.
    pub keys_changed: watch::Receiver<()>,
    /// What `/readyz` says of the beacon node.
    pub health: Part,
}

impl LookaheadTask {
    /// Runs until `shutdown`.
    ///
    /// # Errors
    /// Never; faults of the beacon node are waited out.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), Infallible> {
        let clock = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            clock = self.learn_clock() => clock,
        };
        let registry = self.registry.take();
        let slots = clock.slots;
        let registry = async {
            match registry {
                Some(follower) => drop(follower.run(slots, shutdown.clone()).await),
                None => shutdown.cancelled().await,
            }
        };
        tokio::select! {
            () = registry => {}
            () = self.follow(clock) => {}
        }
        Ok(())
    }

    async fn follow(&mut self, clock: NetworkClock) {
        let mut opt_in = self.opt_in.clone();
        let mut lookahead = Lookahead::new(clock.slots.slots_per_epoch());
        let mut events = self.beacon.events(&[EventTopic::Head]);
        loop {
            let refreshed = self.refresh(&clock, &mut lookahead).await;
            if refreshed.is_err() {
                tokio::time::sleep(RETRY.min(clock.slots.slot_duration())).await;
                continue;
            }
            // Duties are asked for again when a head says that they rest on another block, and at every turn of an epoch
            // in case no event comes.
            let turn = tokio::time::sleep(Self::until_next_epoch(&clock));
            let stale = Self::until_stale(&mut events, &lookahead);
            let (mut turn, mut stale) = (std::pin::pin!(turn), std::pin::pin!(stale));
            loop {
                tokio::select! {
                    () = &mut turn => break,
                    () = &mut stale => break,
                    Ok(()) = self.keys_changed.changed() => self.publish(&clock, &lookahead),
                    () = opt_in.changed() => self.publish(&clock, &lookahead),
                }
            }
        }
    }

    async fn learn_clock(&self) -> NetworkClock {
        loop {
            match self.ask_clock().await {
                Ok(clock) => {
                    return self.sidecar.clock.get_or_init(|| clock).clone();
                }
                Err(error) => {
                    self.health.not_ready(error.to_string());
                    tracing::warn!(%error, "no clock from the beacon node yet");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    async fn ask_clock(&self) -> Result<NetworkClock, ChainError> {
        let spec = self.beacon.spec().await?;
        let genesis = self.beacon.genesis().await?;
        let slots = spec.slot_clock(&genesis).map_err(|error| ChainError::Config(error.to_string()))?;
        let network = self.sidecar.config.network;
        let chain_id = spec.chain_id().unwrap_or(network.chain_id);
        if genesis.genesis_fork_version != network.genesis_fork_version || chain_id != network.chain_id {
            let text = format!(
                "the beacon node is on another network: genesis fork version {}, chain id {chain_id}",
                genesis.genesis_fork_version
            );
            return Err(ChainError::Config(text));
        }
        let timing = Timing {
            seal: self.sidecar.config.seal,
            ..Timing::new(slots.genesis_time_ms(), slots.slot_ms(), slots.slots_per_epoch())
        };
        let forks = Forks::new(&spec, genesis.genesis_validators_root);
        Ok(NetworkClock { slots, timing, forks })
    }

    async fn refresh(&self, clock: &NetworkClock, lookahead: &mut Lookahead) -> Result<(), ChainError> {
        let epoch = clock.slots.epoch_of(clock.slots.slot_at(now_ms()).unwrap_or(0));
        let answer = self.beacon.proposer_lookahead(epoch, clock.slots.slots_per_epoch()).await;
        let all = match answer {
            Ok(all) => all,
            Err(error) => {
                if error.is_of_the_node() {
                    self.health.not_ready(error.to_string());
                }
                tracing::debug!(epoch, %error, "no lookahead from the beacon node");
                return Err(error);
            }
        };
        for one in all {
            match lookahead.apply(one) {
                Ok(Some(change)) if change.takes_back() => {
                    for lost in &change.dropped {
                        tracing::warn!(
                            slot = lost.slot,
                            validator = lost.validator_index,
                            "lookahead changed: proposer dropped"
                        );
                    }
                    metrics::counter!("earnest_proposer_lookahead_changes_total").increment(1);
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "lookahead not taken"),
            }
        }
        self.health.ready();
        self.publish(clock, lookahead);
        Ok(())
    }

    /// Publishes the sequencing slots, and our duties among them, by what is known now.
    fn publish(&self, clock: &NetworkClock, lookahead: &Lookahead) {
        let proposers: Vec<_> =
            lookahead.from_slot(0).map(|proposer| (Slot(proposer.slot), proposer.pubkey)).collect();
        let known = self.keys.own();
        let opted_in =
            |slot, key: &BlsPublicKey| self.opt_in.is_opted_in(clock.timing.epoch_of(slot), key, &known);
        let own = self.sidecar.may_delegate(known.clone());
        let ours = duties(&clock.timing, proposers.iter().copied(), opted_in, |key| own.contains(key));
        let all = duties(&clock.timing, proposers, opted_in, |_| true);
        publish(&self.sequencing, all);
        publish(&self.duties, ours);
    }

    fn until_next_epoch(clock: &NetworkClock) -> Duration {
        let now = now_ms();
        let next = clock.slots.slot_at(now).map_or(0, |slot| clock.slots.epoch_of(slot).saturating_add(1));
        Duration::from_millis(clock.slots.start_of(clock.slots.first_slot(next)).saturating_sub(now).max(1))
    }

    async fn until_stale(
        events: &mut (impl futures::Stream<Item = BeaconEvent> + Unpin),
        lookahead: &Lookahead,
    ) {
        while let Some(event) = events.next().await {
            match event {
                BeaconEvent::Head(head) if !lookahead.stale_epochs(&head).is_empty() => return,
                BeaconEvent::Connected { .. } => return,
                _ => {}
            }
        }
        std::future::pending::<()>().await;
    }
}

fn publish(to: &watch::Sender<Vec<Duty>>, duties: Vec<Duty>) {
    to.send_if_modified(|known| {
        let changed = *known != duties;
        *known = duties;
        changed
    });
}
