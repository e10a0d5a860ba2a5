//! Faults, what shows them, and the judge of it (design §8).
//!
//! The judge finds what the contracts find: the same checks in the same order, and a [`Reason`] by the name of the
//! Solidity error. It works on the words of the calls ([`Charge`]), so that nothing is read here that L1 would not
//! take. [`EvidenceFile`] is the same in a form that people read. What only L1's state can tell comes in as [`Facts`].
//! `tests/vectors/evidence` holds cases that both sides judge.

mod accusation;
mod charge;
mod delegations;
mod file;
mod judge;
mod reason;
#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
mod tests;

pub use accusation::{Accusation, Status, accusation_id, delegation_accusation_id};
pub use charge::Charge;
pub use delegations::proposer_id;
pub use file::{
    AllocationEquivocation, AtomicityBreak, BrokenChain, Equivocation, Evidence, EvidenceFile,
    ForcedInclusionSkipped, Misallocation, MissedWindow, Omission, Payload, PostSeal, Promise, SignedPayload,
    UnauthorizedSequencing,
};
pub use reason::{AnswerFault, Reason};

use crate::{RollupId, Slot, integer, objects::closed_set, signing::Network};
use alloy_primitives::Address;
use serde::{Deserialize, Serialize};

/// Slots after slot n in whose L1 blocks a batch still counts; later, or never, makes a missed window a safety fault.
pub const RECORD_SLOTS: u64 = 64;
/// Slots before slot n by which a forced item must be queued to be due for n.
pub const FORCED_DELAY_SLOTS: u64 = 96;

closed_set! {
    /// What a committer or a proposer can be slashed for.
    Fault: u8 {
        /// Two commitments for one place.
        Equivocation = 1,
        /// A commitment that does not follow from the one before it, or cannot stand by itself.
        BrokenChain = 2,
        /// A commitment after the seal of its segment or window.
        PostSeal = 3,
        /// A seal without a transaction that was promised a place, or with another there.
        Omission = 4,
        /// Another transaction in a place that a bundle was promised.
        AtomicityBreak = 5,
        /// No batch on L1 in time. Begins with an accusation.
        MissedWindow = 6,
        /// A window that passes over forced transactions that are due.
        ForcedInclusionSkipped = 7,
        /// A commitment without the right to order. Begins with an accusation.
        UnauthorizedSequencing = 8,
        /// Two delegations of one proposer for one slot.
        AllocationEquivocation = 9,
        /// A delegation that carries another outcome than the market's. Begins with an accusation.
        Misallocation = 10,
    }
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 10] = [
        Self::Equivocation,
        Self::BrokenChain,
        Self::PostSeal,
        Self::Omission,
        Self::AtomicityBreak,
        Self::MissedWindow,
        Self::ForcedInclusionSkipped,
        Self::UnauthorizedSequencing,
        Self::AllocationEquivocation,
        Self::Misallocation,
    ];

    /// Its name, as design §8 has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Equivocation => "Equivocation",
            Self::BrokenChain => "BrokenChain",
            Self::PostSeal => "PostSeal",
            Self::Omission => "Omission",
            Self::AtomicityBreak => "AtomicityBreak",
            Self::MissedWindow => "MissedWindow",
            Self::ForcedInclusionSkipped => "ForcedInclusionSkipped",
            Self::UnauthorizedSequencing => "UnauthorizedSequencing",
            Self::AllocationEquivocation => "AllocationEquivocation",
            Self::Misallocation => "Misallocation",
        }
    }

    /// Whether the accused may answer before it is slashed.
    #[must_use]
    pub const fn needs_accusation(self) -> bool {
        matches!(self, Self::MissedWindow | Self::UnauthorizedSequencing | Self::Misallocation)
    }
}

/// How much a fault costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Penalty {
    /// Nobody could rely on the order: large.
    Safety,
    /// The order came late: small.
    Liveness,
}

/// What is slashed for. Once for each (signer, rollup, slot, fault).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conviction {
    /// The fault.
    pub fault: Fault,
    /// The committer; of a fault of delegations, [`proposer_id`] of the proposer's key.
    pub signer: Address,
    /// The rollup harmed; 0 where it is none in particular.
    pub rollup_id: RollupId,
    /// The slot that it counts for.
    pub slot: Slot,
    /// Its class.
    pub penalty: Penalty,
}

/// What the judge finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The fault is shown.
    Guilty(Conviction),
    /// It is not.
    Innocent(Reason),
}

impl From<Result<Conviction, Reason>> for Verdict {
    fn from(found: Result<Conviction, Reason>) -> Self {
        match found {
            Ok(conviction) => Self::Guilty(conviction),
            Err(reason) => Self::Innocent(reason),
        }
    }
}

/// The network's slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clock {
    /// When slot 0 starts, Unix milliseconds.
    #[serde(with = "integer")]
    pub genesis_ms: u64,
    /// Length of a slot, milliseconds.
    #[serde(with = "integer")]
    pub slot_ms: u64,
}

impl Clock {
    /// When `slot` starts, Unix milliseconds.
    #[must_use]
    pub fn start_ms(&self, slot: Slot) -> u128 {
        u128::from(self.slot_ms).saturating_mul(u128::from(slot.0)).saturating_add(self.genesis_ms.into())
    }

    /// When `slot` starts, whole Unix seconds, rounded down: a block's time is later than this if, and only if, it
    /// is later than the slot's start.
    #[must_use]
    pub fn start_seconds(&self, slot: Slot) -> u64 {
        u64::try_from(self.start_ms(slot) / 1_000).unwrap_or(u64::MAX)
    }

    /// Items queued in the forced-inclusion queue at this time (Unix seconds) or before are due for `slot`'s window;
    /// `None` if none can be.
    #[must_use]
    pub fn forced_due_seconds(&self, slot: Slot) -> Option<u64> {
        slot.0.checked_sub(FORCED_DELAY_SLOTS).map(|due| self.start_seconds(Slot(due)))
    }
}

/// The times by which the slasher judges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Times {
    /// How long the accused may answer, and an answer be rebutted, seconds.
    #[serde(with = "integer")]
    pub answer_seconds: u64,
    /// How long an accusation may be concluded after that, seconds.
    #[serde(with = "integer")]
    pub conclude_seconds: u64,
    /// How long after slot n evidence counts, seconds.
    #[serde(with = "integer")]
    pub evidence_seconds: u64,
    /// How long before slot n the relay takes no more constraints, milliseconds.
    #[serde(with = "integer")]
    pub constraint_cutoff_ms: u64,
}

impl Times {
    /// Those of design §8 and §2 on a network whose slots are this long: a day to answer, two to conclude, evidence
    /// counts for three, cut-off a third of a slot before.
    #[must_use]
    pub const fn of_design(slot_ms: u64) -> Self {
        const DAY: u64 = 86_400;
        Self {
            answer_seconds: DAY,
            conclude_seconds: DAY.saturating_mul(2),
            evidence_seconds: DAY.saturating_mul(3),
            constraint_cutoff_ms: slot_ms / 3,
        }
    }
}

/// The judge: an OrderingSlasher as it is deployed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judge {
    /// The L1 network.
    pub network: Network,
    /// Its slots.
    pub clock: Clock,
    /// The slasher's address: only commitments that name it are judged.
    pub slasher: Address,
    /// The Inbox, whose batches count.
    pub inbox: Address,
    /// The slasher's times.
    pub times: Times,
}

/// What only the state of L1 can tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The block's time, Unix seconds.
    pub now: u64,
    /// MissedWindow: when the Inbox recorded the signer's batch of the segment, Unix seconds; 0 if it did not.
    pub record_time: u64,
    /// ForcedInclusionSkipped: `Inbox.forcedHeadAt` of the rollup at [`Clock::forced_due_seconds`]; 0 if none can be due.
    pub forced_head: u64,
    /// The market relay in the rollup's terms at the slot; zero if it has none.
    pub relay: Address,
    /// Rollups whose relay is another than [`Self::relay`].
    pub other_relays: Vec<(RollupId, Address)>,
    /// The rollup's reserve committer in its terms at the slot.
    pub reserve_committer: Address,
    /// The accusation that stands for the fault.
    pub accusation: Option<Accusation>,
}

impl Facts {
    /// The relay in a rollup's terms.
    #[must_use]
    pub fn relay_of(&self, rollup: RollupId) -> Address {
        let other = self.other_relays.iter().find(|(id, _)| *id == rollup);
        other.map_or(self.relay, |(_, relay)| *relay)
    }
}

fn require<E>(holds: bool, error: E) -> Result<(), E> {
    if holds { Ok(()) } else { Err(error) }
}
