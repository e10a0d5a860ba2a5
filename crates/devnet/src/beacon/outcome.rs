//! What comes of publishing, producing and reorganising, good and bad.

use alloy_primitives::U256;
use earnest_builder_types::{BlockContents, ForkName};

use super::{block_error::BlockError, engine::EngineError};

/// Why a block was not published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// It breaks a rule of the chain.
    #[error(transparent)]
    Block(#[from] BlockError),
    /// It is of another fork than the chain.
    #[error("the chain is in {due}, the block in {got}")]
    Fork {
        /// The chain's fork.
        due: ForkName,
        /// The block's fork.
        got: ForkName,
    },
    /// The execution client finds its payload invalid.
    #[error("invalid payload: {0}")]
    Payload(String),
    /// The execution client could not be asked.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A blinded block whose payload this node did not build.
    #[error("the payload of this blinded block was not built here")]
    NotOurs,
    /// A blinded block that does not match the payload it names.
    #[error("the blinded block does not match its payload: {0}")]
    Unblind(String),
    /// The slot is to have no block, by [`super::Faults::miss_slot`].
    #[error("slot {0} is missed on demand")]
    Missed(u64),
}

/// Why no block was produced.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProduceError {
    /// Further ahead than the next slot, or not after the head.
    #[error("no block can be produced for slot {slot}: the head is at {head}, it is slot {current}")]
    Slot {
        /// The slot asked for.
        slot: u64,
        /// The head's slot.
        head: u64,
        /// The slot that runs.
        current: u64,
    },
    /// The slot is to have no block, by [`super::Faults::miss_slot`].
    #[error("slot {0} is missed on demand")]
    Missed(u64),
    /// The execution client built nothing.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// Why the chain was not reorganised.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReorgError {
    /// It would undo what is final, or nothing.
    #[error("that would undo what is final, or nothing")]
    Depth,
    /// The execution client does not follow; the chain is as before.
    #[error("the execution client does not follow: {0}")]
    Engine(EngineError),
}

/// A block for a validator to sign, and what its payload pays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducedBlock {
    /// The block with its blobs.
    pub contents: BlockContents,
    /// What the payload pays the fee recipient, in wei.
    pub value: U256,
}
