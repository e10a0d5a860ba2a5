//! The relay's state, shared by its endpoints and tasks.

use crate::{
    api::StatusPage, bids::Book, config::Config, duties::Duties, events::DelegationTaken, held::Required,
    ledger::Ledger, received::Received, streams::Streams,
};
use alloy_primitives::B256;
use earnest_builder_types::{BlsPublicKey, ForkName, domain::beacon_proposer_domain};
use earnest_chain::{BeaconClient, SlotClock, Spec};
use earnest_http::{ApiError, BodyLimits, Supervisor, health::Health};
use earnest_protocol::{
    objects::{DelegationReceipt, SignedDelegationReceipt},
    signing::EcdsaSecret,
    window::Timing,
};
use parking_lot::RwLock;
use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::sync::Semaphore;

/// Everything the endpoints work on.
#[derive(Debug)]
pub(crate) struct Relay {
    pub(crate) config: Config,
    pub(crate) opted_in: HashSet<BlsPublicKey>,
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
    /// Lists of registrations that are verified at once.
    pub(crate) registering: Semaphore,
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

    /// Limits of a body of at most `max_bytes`.
    pub(crate) const fn body(&self, max_bytes: usize) -> BodyLimits {
        BodyLimits { max_bytes, max_time: Duration::from_millis(self.config.bounds.body_ms) }
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
