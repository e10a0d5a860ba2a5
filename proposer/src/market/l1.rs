//! What our own view of L1 says of an auction, in place of the relay's word (design §2).
//!
//! Operators are those of the slot's reference block, which later blocks never change; terms are those in force at the slot, which are
//! known long before. So a view counts as long as its newest block is at most an epoch old. One that is older, or that does not reach the
//! reference block yet, says nothing: then nothing is signed, and the slot stays without a delegation.

use alloy_primitives::Address;
use earnest_builder_types::BlsPublicKey;
use earnest_chain::RegistryView;
use earnest_chain::registry::OptedInOperator;
use earnest_protocol::Slot;
use earnest_protocol::auction::{Operator, Sale};
use earnest_protocol::objects::RollupRegistration;

use crate::sidecar::NetworkClock;

/// Our view of the contracts.
#[derive(Debug, Clone)]
pub struct L1View {
    /// The Registry, and the others as far as they are followed.
    pub view: RegistryView,
    /// Whether the RollupRegistry is among them.
    pub has_rollups: bool,
}

/// What is known of a slot's auction from L1. What is none is the relay's word.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The terms of every rollup in force at the slot.
    pub rollups: Option<Vec<RollupRegistration>>,
    /// The operators that are opted in by the reference block, and the proposer's among them.
    pub operators: Option<(Vec<Operator>, Option<Operator>)>,
}

/// Why the view says nothing of a slot now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Behind {
    /// It has no block yet, or none of the last epoch.
    #[error("its newest block is older than an epoch")]
    Old,
    /// The reference block is not known.
    #[error("it does not know who is opted in for the slot")]
    NoReference,
}

impl Facts {
    /// What sells at this relay, if that is known.
    #[must_use]
    pub fn sale(&self, relay: Address) -> Option<Sale> {
        self.rollups.as_ref().map(|rollups| Sale::of(rollups, relay))
    }
}

impl L1View {
    /// What is known of the auction of a slot with this proposer, at `now_ms`. Of a network's first epochs, whose reference block would
    /// lie before genesis, the Registry cannot say anything.
    ///
    /// # Errors
    /// [`Behind`]; that may pass.
    pub fn facts(
        &self,
        clock: &NetworkClock,
        slot: Slot,
        proposer: &BlsPublicKey,
        now_ms: u64,
    ) -> Result<Facts, Behind> {
        let epoch = clock.timing.epoch_of(slot);
        let is_first = self.view.is_before_reference(epoch);
        let epoch_ms = clock.slots.slot_ms().saturating_mul(clock.slots.slots_per_epoch());
        let tip_ms = self.view.tip().map(|tip| tip.time.saturating_mul(1_000));
        if tip_ms.is_none_or(|tip_ms| tip_ms.saturating_add(epoch_ms) < now_ms) {
            return if is_first { Ok(Facts::default()) } else { Err(Behind::Old) };
        }
        let terms = || {
            let state = self.view.state();
            state.rollups().filter_map(|(_, rollup)| rollup.terms_at(slot).cloned()).collect()
        };
        let rollups = self.has_rollups.then(terms);
        if is_first {
            return Ok(Facts { rollups, operators: None });
        }
        let set = self.view.opted_in(epoch).ok_or(Behind::NoReference)?;
        let all = set.operators().iter().map(operator).collect();
        Ok(Facts { rollups, operators: Some((all, set.operator_of(proposer).map(operator))) })
    }
}

const fn operator(found: &OptedInOperator) -> Operator {
    Operator { registration_root: found.root, owner: found.owner, committer: found.committer }
}
