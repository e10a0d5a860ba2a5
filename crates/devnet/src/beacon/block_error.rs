//! Why a block is refused.

use alloy_primitives::B256;

/// Why a block is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// Its slot has not begun.
    #[error("slot {slot} has not begun, it is slot {current}")]
    Early {
        /// The block's slot.
        slot: u64,
        /// The slot that runs.
        current: u64,
    },
    /// Its slot is final without it.
    #[error("slot {0} is final")]
    Final(u64),
    /// Its parent was never seen.
    #[error("unknown parent {0}")]
    UnknownParent(B256),
    /// Its slot is not after its parent's.
    #[error("slot {slot} is not after the parent's, {parent}")]
    NotAfterParent {
        /// The block's slot.
        slot: u64,
        /// The parent's slot.
        parent: u64,
    },
    /// Somebody else proposes the slot.
    #[error("validator {got} does not propose slot {slot}, {due} does")]
    Proposer {
        /// The block's slot.
        slot: u64,
        /// Who signed it.
        got: u64,
        /// Who should have.
        due: u64,
    },
    /// The proposer signed another block for the slot.
    #[error("the proposer of slot {slot} already signed {known}: equivocation")]
    Equivocation {
        /// The slot.
        slot: u64,
        /// The root seen first.
        known: B256,
    },
    /// The proposer's signature over the block, or over the epoch, does not verify.
    #[error("invalid {what}: {reason}")]
    Signature {
        /// Which signature.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The payload is not one for this place.
    #[error("payload {field}: {got}, not {due}")]
    Payload {
        /// The field.
        field: &'static str,
        /// What it holds.
        got: String,
        /// What it must hold.
        due: String,
    },
    /// The state root is not that of the reduced state.
    #[error("state root {got}, not {due}")]
    StateRoot {
        /// What the block holds.
        got: B256,
        /// What it must hold.
        due: B256,
    },
}
