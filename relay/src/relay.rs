//! The relay's state, shared by its endpoints and tasks.

use crate::{
    api::StatusPage,
    bids::Book,
    builders::Builders,
    config::Config,
    duties::Duties,
    events::{DelegationTaken, Demoted, Event},
    feed::Feed,
    held::Required,
    ledger::Ledger,
    opt_in::OptIn,
    received::Received,
    simulation::Simulator,
    streams::Streams,
};
use alloy_primitives::B256;
use earnest_builder_types::{BidTrace, BlsPublicKey, ForkName, domain::beacon_proposer_domain};
use earnest_chain::{BeaconClient, ExecutionClient, SlotClock, Spec};
use earnest_http::{ApiError, BodyLimits, BodyRoom, Supervisor, health::Health};
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
use tokio::sync::Semaphore;

/// Characters of a demotion's reason that are kept.
const MAX_REASON: usize = 512;
/// Gas limit of a proposer that registered none.
const UNREGISTERED_GAS_LIMIT: u64 = 30_000_000;

/// Everything the endpoints work on.
#[derive(Debug)]
pub(crate) struct Relay {
    pub(crate) config: Config,
    pub(crate) opt_in: Box<dyn OptIn>,
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
    /// Room for the bodies that are read and worked on, but for blinded blocks: a proposer's finds room whatever others send.
    pub(crate) bodies: BodyRoom,
    /// Lists of registrations that are verified at once.
    pub(crate) registering: Semaphore,
    /// Execution clients, asked in turn for the parent's state.
    pub(crate) execution: Vec<ExecutionClient>,
    /// Slots whose constraints were judged on the parent's state.
    pub(crate) judged: Mutex<BTreeSet<u64>>,
    /// Constraints as they come.
    pub(crate) feed: Feed,
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

    /// Whether the slot is delegated by the validator that proposes it.
    pub(crate) fn is_delegated(&self, slot: u64) -> bool {
        let proposer = self.duties.read().proposer(slot);
        proposer.is_some_and(|proposer| self.ledger.views().delegation(slot, &proposer.pubkey).is_some())
    }

    /// What every block of a slot must hold that `proposer` is to sign.
    pub(crate) fn required(&self, slot: u64, proposer: &BlsPublicKey) -> Arc<[Required]> {
        self.ledger.views().required(slot, proposer, self.config.network.chain_id).into()
    }

    /// Gas that the constraints of a slot may use together: three quarters of what its proposer registered.
    pub(crate) fn constraint_gas(&self, proposer: &BlsPublicKey) -> u64 {
        let registration = self.ledger.views().registrations().get(proposer);
        let limit = registration.map_or(UNREGISTERED_GAS_LIMIT, |one| one.message.gas_limit);
        (limit / 4).saturating_mul(3)
    }

    /// Limits of a body of at most `max_bytes`.
    pub(crate) const fn body(&self, max_bytes: usize) -> BodyLimits {
        BodyLimits { max_bytes, max_time: Duration::from_millis(self.config.bounds.body_ms) }
    }

    /// Remembers that a builder's block failed.
    pub(crate) async fn demote(&self, trace: &BidTrace, reason: &str) {
        let (builder, slot, block_hash) = (trace.builder_pubkey, trace.slot, trace.block_hash);
        tracing::warn!(%builder, slot, %block_hash, reason, "a builder is demoted");
        metrics::counter!("earnest_relay_demotions_total").increment(1);
        let again = self.ledger.views().demotions().last(&builder) == Some(slot);
        if again {
            return;
        }
        let reason = reason.chars().take(MAX_REASON).collect();
        let event = Event::Demoted(Demoted { builder, slot, block_hash, reason });
        if let Err(error) = self.ledger.write(event, vec![]).await {
            tracing::error!(%builder, %error, "the demotion is not in the journal");
        }
    }

    /// Whether what is held for a slot is settled: its cut-off is past and its constraints were judged, or should have been.
    pub(crate) fn is_settled(&self, slot: u64, now_ms: u64) -> bool {
        let cutoff_ms = self.cutoff_ms(slot);
        let by = cutoff_ms.saturating_add(self.clock.fraction_ms(1, 6));
        now_ms >= cutoff_ms && (now_ms >= by || self.judged.lock().contains(&slot))
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
