//! What validators and rollups register (design §2, §3).

use super::{closed_set, mirror, named_in_json};
use crate::{
    RollupId, Wei, integer,
    signing::{Message, MessageType, Signed, SigningError, sol_root},
    sol,
};
use alloy_primitives::{Address, B256};
use earnest_builder_types::BlsSignature;
use serde::{Deserialize, Serialize};

/// A validator key's consent to be registered by an owner (Universal Registry Contract).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// Who may manage the operator on L1.
    pub owner: Address,
}
mirror!(Registration { owner = owner });

impl Message for Registration {
    const TYPE: MessageType = MessageType::Registration;

    fn object_root(&self) -> Result<B256, SigningError> {
        Ok(sol_root(Self::TYPE, &sol::Registration::from(self)))
    }
}

/// A registration with the validator's BLS signature.
pub type SignedRegistration = Signed<Registration, BlsSignature>;

closed_set! {
    /// How a rollup's transactions are ordered within a microblock (design §4).
    Policy: u8 {
        /// As they arrived. The gateway's word: arrival cannot be checked.
        Fcfs = 0,
        /// By `max_priority_fee_per_gas`, a sender's nonce order kept, ties by arrival. Checkable.
        PriorityFee = 1,
    }
}

named_in_json!(Policy { Fcfs = "fcfs", PriorityFee = "priority_fee" });

/// A rollup's terms, as the RollupRegistry holds them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollupRegistration {
    /// The rollup, by chain id.
    pub rollup_id: RollupId,
    /// Least price of a window.
    pub reserve_wei: Wei,
    /// Who sequences time that nobody holds.
    pub reserve_committer: Address,
    /// Who is paid.
    pub revenue_recipient: Address,
    /// Share of the price that the slot's proposer gets, in 1/10,000.
    #[serde(with = "integer")]
    pub inclusion_share_bps: u16,
    /// Largest L1 batch: bytes of the whole encoded L1 transaction.
    #[serde(with = "integer")]
    pub max_batch_bytes: u32,
    /// Largest gas limit of a transaction.
    #[serde(with = "integer")]
    pub max_tx_gas: u64,
    /// Order within a microblock.
    pub policy: Policy,
    /// The confirmation level that the rollup asks for (design §7).
    #[serde(with = "integer")]
    pub required_level: u8,
    /// Whether transactions are opaque bytes rather than EIP-2718.
    pub opaque: bool,
    /// Whether the rollup sells its windows.
    pub active: bool,
    /// The market relay whose signatures count.
    pub relay: Address,
    /// Where more is said.
    pub uri: String,
}
mirror!(RollupRegistration {
    rollup_id = rollupId, reserve_wei = reserveWei, reserve_committer = reserveCommitter,
    revenue_recipient = revenueRecipient, inclusion_share_bps = inclusionShareBps,
    max_batch_bytes = maxBatchBytes, max_tx_gas = maxTxGas, policy = policy, required_level = requiredLevel,
    opaque = opaque, active = active, relay = relay, uri = uri,
});
