//! The one definition of a valid delegation (design §2), used to open a window, to derive, to settle and to judge.

use crate::{
    BlsPublicKey, RollupId, Slot,
    objects::{AllocationEntry, Authority, ObjectError, SlotAllocation},
    signing::{Network, SigningError},
};
use alloy_primitives::Address;

/// Whose word counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrustRoots {
    /// The L1 network.
    pub network: Network,
    /// Address of the market relay, whose receipt says that the signer is the slot's proposer.
    pub relay: Address,
    /// The slot's proposer, where it is known from elsewhere.
    pub proposer: Option<BlsPublicKey>,
    /// The slasher that every commitment must name: under another one a broken promise costs nothing. None takes any, which
    /// is for those who judge by other means.
    pub slasher: Option<Address>,
}

impl TrustRoots {
    /// The slasher that should be named, if another one is.
    #[must_use]
    pub fn other_slasher(&self, named: Address) -> Option<Address> {
        self.slasher.filter(|slasher| *slasher != named)
    }
}

/// Why a delegation does not make anyone the holder of a rollup's window.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DelegationError {
    /// For another slot.
    #[error("delegation for slot {0}")]
    WrongSlot(Slot),
    /// The metadata holds no allocation.
    #[error("no allocation in the delegation: {0}")]
    NoAllocation(ObjectError),
    /// The allocation is for another slot.
    #[error("allocation for slot {0}")]
    AllocationSlot(Slot),
    /// The allocation has no entry for the rollup.
    #[error("no entry for rollup {0}")]
    NoEntry(RollupId),
    /// Signed by a validator that is not the slot's proposer.
    #[error("delegation of another proposer")]
    WrongProposer,
    /// The proposer's signature does not hold.
    #[error("proposer's signature: {0}")]
    ProposerSignature(SigningError),
    /// The receipt is for another slot.
    #[error("receipt for slot {0}")]
    ReceiptSlot(Slot),
    /// The receipt names another delegation.
    #[error("receipt of another delegation")]
    ReceiptHash,
    /// The relay had it too late.
    #[error("received at {received_at_ms}, not before the start at {start_ms}")]
    TooLate {
        /// When the relay had it.
        received_at_ms: u64,
        /// When the window starts.
        start_ms: u64,
    },
    /// The receipt's signature is not the market relay's.
    #[error("relay's signature: {0}")]
    RelaySignature(SigningError),
}

/// What a valid delegation says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    /// The slot's allocation.
    pub allocation: SlotAllocation,
    /// The rollup's entry: its committer is the only one whose orderings count.
    pub entry: AllocationEntry,
}

/// Judges whether `authority` makes someone the holder of `rollup`'s window at `slot`, and whom.
///
/// # Errors
/// The first [`DelegationError`] found; signatures last, for they cost most.
pub fn valid_delegation(
    authority: &Authority,
    rollup: RollupId,
    slot: Slot,
    roots: &TrustRoots,
) -> Result<Holding, DelegationError> {
    let allocation = valid_allocation(authority, slot, roots)?;
    let entry = allocation.entry(rollup).ok_or(DelegationError::NoEntry(rollup))?.clone();
    Ok(Holding { allocation, entry })
}

/// Judges the delegation of `slot` for all its rollups at once, and gives its allocation.
///
/// # Errors
/// As [`valid_delegation`], but for [`DelegationError::NoEntry`].
pub fn valid_allocation(
    authority: &Authority,
    slot: Slot,
    roots: &TrustRoots,
) -> Result<SlotAllocation, DelegationError> {
    let Authority { delegation, receipt } = authority;
    let message = &delegation.message;
    if message.slot != slot {
        return Err(DelegationError::WrongSlot(message.slot));
    }
    let allocation =
        SlotAllocation::from_metadata(&message.metadata).map_err(DelegationError::NoAllocation)?;
    if allocation.slot != slot {
        return Err(DelegationError::AllocationSlot(allocation.slot));
    }
    if roots.proposer.is_some_and(|proposer| proposer != message.proposer) {
        return Err(DelegationError::WrongProposer);
    }
    if receipt.message.slot != slot {
        return Err(DelegationError::ReceiptSlot(receipt.message.slot));
    }
    if message.hash().as_ref() != Ok(&receipt.message.delegation_hash) {
        return Err(DelegationError::ReceiptHash);
    }
    let (received_at_ms, start_ms) = (receipt.message.received_at_ms, allocation.start_ms);
    if received_at_ms >= start_ms {
        return Err(DelegationError::TooLate { received_at_ms, start_ms });
    }
    receipt.verify(&roots.network, roots.relay).map_err(DelegationError::RelaySignature)?;
    delegation.verify(&roots.network, &message.proposer).map_err(DelegationError::ProposerSignature)?;
    Ok(allocation)
}
