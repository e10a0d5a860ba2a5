//! Execution payload headers: a payload with its lists replaced by their roots.

#![allow(missing_docs)] // Accessors that superstruct derives carry no text of their own.

use alloy_primitives::{Address, B256, FixedBytes, U256};
use serde::{Deserialize, Serialize};
use serde_with::As;
use ssz_derive::{Decode, Encode};
use ssz_types::{VariableList, serde_utils::hex_var_list, typenum::U32};
use superstruct::superstruct;
use tree_hash_derive::TreeHash;

use crate::{
    ForkError,
    codec::{fork_codec, map_forks},
    decimal::Decimal,
};

/// The header of an execution payload.
#[superstruct(
    variants(Bellatrix, Capella, Deneb, Electra, Fulu),
    variant_attributes(
        derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode, TreeHash),
        serde(deny_unknown_fields)
    ),
    ref_attributes(derive(Debug, PartialEq, TreeHash), tree_hash(enum_behaviour = "transparent")),
    cast_error(ty = "ForkError", expr = "ForkError"),
    partial_getter_error(ty = "ForkError", expr = "ForkError")
)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, TreeHash)]
#[serde(untagged)]
#[tree_hash(enum_behaviour = "transparent")]
pub struct ExecutionPayloadHeader {
    /// Hash of the parent execution block.
    #[superstruct(getter(copy))]
    pub parent_hash: B256,
    /// Who gets the fees.
    #[superstruct(getter(copy))]
    pub fee_recipient: Address,
    /// Root of the state after the block.
    #[superstruct(getter(copy))]
    pub state_root: B256,
    /// Root of the receipts.
    #[superstruct(getter(copy))]
    pub receipts_root: B256,
    /// Bloom filter over the logs.
    pub logs_bloom: FixedBytes<256>,
    /// RANDAO mix that the block executes with.
    #[superstruct(getter(copy))]
    pub prev_randao: B256,
    /// Number of the block.
    #[superstruct(getter(copy))]
    #[serde(with = "As::<Decimal>")]
    pub block_number: u64,
    /// Gas limit.
    #[superstruct(getter(copy))]
    #[serde(with = "As::<Decimal>")]
    pub gas_limit: u64,
    /// Gas used.
    #[superstruct(getter(copy))]
    #[serde(with = "As::<Decimal>")]
    pub gas_used: u64,
    /// Seconds since 1970.
    #[superstruct(getter(copy))]
    #[serde(with = "As::<Decimal>")]
    pub timestamp: u64,
    /// At most 32 bytes of the builder's choice.
    #[serde(with = "hex_var_list")]
    pub extra_data: VariableList<u8, U32>,
    /// Wei.
    #[superstruct(getter(copy))]
    #[serde(with = "As::<Decimal>")]
    pub base_fee_per_gas: U256,
    /// Hash of the execution block.
    #[superstruct(getter(copy))]
    pub block_hash: B256,
    /// Tree hash root of the transactions.
    #[superstruct(getter(copy))]
    pub transactions_root: B256,
    /// Tree hash root of the withdrawals.
    #[superstruct(only(Capella, Deneb, Electra, Fulu), partial_getter(copy))]
    pub withdrawals_root: B256,
    /// Blob gas used.
    #[superstruct(only(Deneb, Electra, Fulu), partial_getter(copy))]
    #[serde(with = "As::<Decimal>")]
    pub blob_gas_used: u64,
    /// Excess blob gas.
    #[superstruct(only(Deneb, Electra, Fulu), partial_getter(copy))]
    #[serde(with = "As::<Decimal>")]
    pub excess_blob_gas: u64,
}

fork_codec!(ExecutionPayloadHeader { Bellatrix, Capella, Deneb, Electra, Fulu });

impl ExecutionPayloadHeaderRef<'_> {
    /// A copy that owns its data.
    pub fn to_owned(self) -> ExecutionPayloadHeader {
        map_forks!(self, ExecutionPayloadHeaderRef => ExecutionPayloadHeader, |header| header.clone())
    }
}
