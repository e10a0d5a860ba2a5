//! The relay's state, shared by its endpoints and tasks.

use crate::{
    api::{StatusPage, Terms},
    bids::{BidKey, Book},
    builders::Builders,
    config::Config,
    duties::Duties,
    events::{DelegationTaken, Demoted, Event},
    feed::Feed,
    held::Required,
    l1::L1,
    ledger::Ledger,
    market::MarketNews,
    received::Received,
    simulation::Simulator,
    streams::Streams,
    turns::Turns,
};
use alloy_primitives::B256;
use earnest_builder_types::{BidTrace, BlsPublicKey, ForkName, domain::beacon_proposer_domain};
use earnest_chain::{BeaconClient, ExecutionClient, SlotClock, Spec};
use earnest_http::{ApiError, BodyBudget, BodyLimits, Supervisor, health::Health};
use earnest_protocol::{
    objects::{DelegationReceipt, SignedDelegationReceipt},
    signing::EcdsaSecret,
    window::Timing,
};
use parking_lot::{Mutex, RwLock};
use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::sync::{Notify, Semaphore};

/// Characters of a demotion's reason that are kept.
const MAX_REASON: usize = 512;
/// Gas limit of a proposer that registered none.
const UNREGISTERED_GAS_LIMIT: u64 = 30_000_000;

/// Everything the endpoints work on.
#[derive(Debug)]
pub(crate) struct Relay {
    pub(crate) config: Config,
    pub(crate) l1: Box<dyn L1>,
    pub(crate) clock: SlotClock,
    pub(crate) timing: Timing,
    pub(crate) spec: Spec,
    pub(crate) genesis_validators_root: B256,
    pub(crate) builder_domain: B256,
    pub(crate) ecdsa: EcdsaSecret,
    pub(crate) beacon: BeaconClient,
    pub(crate) ledger: Ledger,
    pub(crate) book: Book,
    pub(crate) received: Received,
    pub(crate) streams: Streams,
    pub(crate) status_page: StatusPage,
    pub(crate) duties: RwLock<Duties>,
    pub(crate) health: Health,
    pub(crate) tasks: Supervisor,
    /// Lists of registrations that are read or verified at once.
    pub(crate) registering: Semaphore,
    /// Lists of registrations whose unknown keys the beacon nodes are asked for at once.
    pub(crate) asking: Semaphore,
    /// Blocks of builders that are worked on at once.
    pub(crate) submitting: Turns,
    /// Bytes of blinded blocks.
    pub(crate) blinded_bodies: BodyBudget,
    /// Bytes of all other bodies.
    pub(crate) bodies: BodyBudget,
    /// Execution clients, asked in turn for the parent's state.
    pub(crate) execution: Vec<ExecutionClient>,
    /// Slots whose constraints were judged on the parent's state.
    pub(crate) judged: Mutex<BTreeSet<u64>>,
    /// Told when proposers are to be asked for again.
    pub(crate) ask_proposers: Notify,
    /// Told when who proposes has changed.
    pub(crate) lookahead_changed: Notify,
    /// Constraints as they come.
    pub(crate) feed: Feed,
    /// What happens, for those who listen.
    pub(crate) news: MarketNews,
    pub(crate) builders: Builders,
    pub(crate) simulator: Option<Simulator>,
}

impl Relay {
    /// Now, Unix milliseconds.
    pub(crate) fn now_ms(&self) -> u64 {
        now_ms()
    }

    /// The slot that runs now; 0 before genesis.
    pub(crate) fn current_slot(&self) -> u64 {
        self.clock.slot_at(self.now_ms()).unwrap_or(0)
    }

    /// The fork in force at a slot.
    pub(crate) fn fork_at(&self, slot: u64) -> Option<ForkName> {
        self.spec.fork_at(self.clock.epoch_of(slot))
    }

    /// Domain of the proposer's signature over the block of a slot.
    pub(crate) fn proposer_domain(&self, slot: u64) -> Option<B256> {
        let version = self.spec.fork_version(self.fork_at(slot)?)?;
        Some(beacon_proposer_domain(version, self.genesis_validators_root))
    }

    /// Until when headers of a slot are served.
    pub(crate) fn header_until_ms(&self, slot: u64) -> u64 {
        self.clock.start_of(slot).saturating_add(self.config.timing.header.of(self.clock.slot_ms()))
    }

    /// Until when payloads of a slot are given out.
    pub(crate) fn payload_until_ms(&self, slot: u64) -> u64 {
        self.clock.start_of(slot).saturating_add(self.config.timing.payload.of(self.clock.slot_ms()))
    }

    /// Until when constraints for a slot are taken.
    pub(crate) fn cutoff_ms(&self, slot: u64) -> u64 {
        self.clock.start_of(slot).saturating_sub(self.timing.constraint_cutoff.of(self.clock.slot_ms()))
    }

    /// Seconds from the slot's start to `at_ms`, for histograms; 0 before it.
    pub(crate) fn seconds_into(&self, slot: u64, at_ms: u64) -> f64 {
        SlotClock::until(self.clock.start_of(slot), at_ms).as_secs_f64()
    }

    /// Whether a validator delegated the slot.
    pub(crate) fn is_delegated(&self, slot: u64, proposer: &BlsPublicKey) -> bool {
        self.ledger.views().delegation(slot, proposer).is_some()
    }

    /// Whether it is known who proposes in the epoch that runs now; without that, nothing of any slot can be judged.
    pub(crate) fn knows_proposers(&self) -> bool {
        // Of the epoch's last slot: some nodes tell none for slot 0, which has no block.
        let epoch = self.clock.epoch_of(self.current_slot());
        let last = self.clock.first_slot(epoch.saturating_add(1)).saturating_sub(1);
        self.duties.read().proposer(last).is_some()
    }

    /// What every block must hold that competes for this key.
    pub(crate) fn required(&self, key: &BidKey) -> Arc<[Required]> {
        let BidKey { slot, parent_hash, proposer } = key;
        self.ledger.views().required(*slot, proposer, parent_hash, self.config.network.chain_id).into()
    }

    /// The gas limit that a proposer registered, which its blocks aim at.
    pub(crate) fn registered_gas_limit(&self, proposer: &BlsPublicKey) -> u64 {
        let registration = self.ledger.views().registrations().get(proposer);
        registration.map_or(UNREGISTERED_GAS_LIMIT, |one| one.message.gas_limit)
    }

    /// Terms of a body of at most `max_bytes`.
    pub(crate) const fn body(&self, max_bytes: usize) -> Terms<'_> {
        self.terms(max_bytes, &self.bodies)
    }

    /// Terms of a blinded block, which other bodies leave its room.
    pub(crate) const fn blinded_body(&self) -> Terms<'_> {
        self.terms(self.config.bounds.body_bytes, &self.blinded_bodies)
    }

    const fn terms<'a>(&'a self, max_bytes: usize, budget: &'a BodyBudget) -> Terms<'a> {
        let max_time = Duration::from_millis(self.config.bounds.body_ms);
        Terms { limits: BodyLimits { max_bytes, max_time }, budget, clients: &self.config.clients }
    }

    /// Remembers that a builder's block failed; of one builder and slot once.
    pub(crate) async fn demote(&self, trace: &BidTrace, reason: &str) {
        let (builder, slot, block_hash) = (trace.builder_pubkey, trace.slot, trace.block_hash);
        tracing::warn!(%builder, slot, %block_hash, reason, "a builder is demoted");
        metrics::counter!("earnest_relay_demotions_total").increment(1);
        // Two of one builder that fail at once are told one after the other.
        let _deciding = self.ledger.deciding().await;
        if !self.builders.demotes(&builder, slot, self.ledger.views().demotions()) {
            return;
        }
        let reason = reason.chars().take(MAX_REASON).collect();
        let event = Event::Demoted(Demoted { builder, slot, block_hash, reason });
        if let Err(error) = self.ledger.write(event, vec![]).await {
            tracing::error!(%builder, %error, "the demotion is not in the journal");
        }
    }

    /// Whether what a slot must hold is settled: its cut-off is past, what came in time is folded in, and it was judged on the
    /// parent as far as that can be done.
    pub(crate) fn is_settled(&self, slot: u64) -> bool {
        self.judged.lock().contains(&slot)
    }

    /// Signs the receipt of a delegation, which must be durable by now.
    pub(crate) fn delegation_receipt(
        &self,
        taken: &DelegationTaken,
    ) -> Result<SignedDelegationReceipt, ApiError> {
        let receipt = DelegationReceipt::of(&taken.delegation.message, taken.received_at_ms)
            .map_err(|_| ApiError::internal())?;
        SignedDelegationReceipt::sign(receipt, &self.ecdsa, &self.config.network)
            .map_err(|_| ApiError::internal())
    }
}

/// Now, Unix milliseconds.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
