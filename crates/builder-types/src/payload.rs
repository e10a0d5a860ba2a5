//! Execution payloads.

#![allow(missing_docs)] // Accessors that superstruct derives carry no text of their own.

use alloy_eips::eip7685::RequestsOrHash;
use alloy_primitives::{Address, B256, FixedBytes, U256};
use alloy_rpc_types_engine::{
    CancunPayloadFields, ExecutionPayload as EnginePayload, ExecutionPayloadSidecar, ExecutionPayloadV1,
    ExecutionPayloadV2, ExecutionPayloadV3, PraguePayloadFields,
};
use serde::{Deserialize, Serialize};
use serde_with::As;
use ssz_derive::{Decode, Encode};
use ssz_types::{
    VariableList,
    serde_utils::hex_var_list,
    typenum::{U16, U32},
};
use superstruct::superstruct;
use thiserror::Error;
use tree_hash::TreeHash;
use tree_hash_derive::TreeHash;

use crate::{
    ExecutionPayloadHeader, ExecutionPayloadHeaderBellatrix, ExecutionPayloadHeaderCapella,
    ExecutionPayloadHeaderDeneb, ExecutionPayloadHeaderElectra, ExecutionPayloadHeaderFulu,
    ExecutionRequests, ForkError, ForkName, Transactions, Withdrawal,
    codec::{fork_codec, map_forks},
    decimal::Decimal,
};

/// An execution payload: an execution block as beacon blocks carry it.
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
pub struct ExecutionPayload {
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
    /// Raw EIP-2718 transactions.
    pub transactions: Transactions,
    /// Withdrawals of the consensus layer.
    #[superstruct(only(Capella, Deneb, Electra, Fulu))]
    pub withdrawals: VariableList<Withdrawal, U16>,
    /// Blob gas used.
    #[superstruct(only(Deneb, Electra, Fulu), partial_getter(copy))]
    #[serde(with = "As::<Decimal>")]
    pub blob_gas_used: u64,
    /// Excess blob gas.
    #[superstruct(only(Deneb, Electra, Fulu), partial_getter(copy))]
    #[serde(with = "As::<Decimal>")]
    pub excess_blob_gas: u64,
}

fork_codec!(ExecutionPayload { Bellatrix, Capella, Deneb, Electra, Fulu });

/// Why a payload of the Engine API is not one of the fork, or has no block behind it.
#[derive(Debug, Error)]
pub enum PayloadError {
    /// The payload has too many or too few fields for the fork.
    #[error(transparent)]
    Fork(#[from] ForkError),
    /// A list is longer than the fork allows.
    #[error("payload exceeds a bound of the consensus specification")]
    Bounds,
    /// No execution block can be made of it.
    #[error(transparent)]
    Block(#[from] alloy_rpc_types_engine::PayloadError),
    /// From Deneb on the block hash covers the parent beacon block's root, from Electra on the
    /// execution requests.
    #[error("parent beacon block root or execution requests missing")]
    Incomplete,
}

macro_rules! header_of {
    ($payload:ident => $header:ident { $($extra:ident: $value:expr),* $(,)? } with $p:ident) => {
        impl From<&$payload> for $header {
            fn from($p: &$payload) -> Self {
                Self {
                    parent_hash: $p.parent_hash,
                    fee_recipient: $p.fee_recipient,
                    state_root: $p.state_root,
                    receipts_root: $p.receipts_root,
                    logs_bloom: $p.logs_bloom,
                    prev_randao: $p.prev_randao,
                    block_number: $p.block_number,
                    gas_limit: $p.gas_limit,
                    gas_used: $p.gas_used,
                    timestamp: $p.timestamp,
                    extra_data: $p.extra_data.clone(),
                    base_fee_per_gas: $p.base_fee_per_gas,
                    block_hash: $p.block_hash,
                    transactions_root: $p.transactions.tree_hash_root(),
                    $($extra: $value,)*
                }
            }
        }
    };
}

header_of!(ExecutionPayloadBellatrix => ExecutionPayloadHeaderBellatrix {} with p);
header_of!(ExecutionPayloadCapella => ExecutionPayloadHeaderCapella {
    withdrawals_root: p.withdrawals.tree_hash_root(),
} with p);
header_of!(ExecutionPayloadDeneb => ExecutionPayloadHeaderDeneb {
    withdrawals_root: p.withdrawals.tree_hash_root(),
    blob_gas_used: p.blob_gas_used,
    excess_blob_gas: p.excess_blob_gas,
} with p);
header_of!(ExecutionPayloadElectra => ExecutionPayloadHeaderElectra {
    withdrawals_root: p.withdrawals.tree_hash_root(),
    blob_gas_used: p.blob_gas_used,
    excess_blob_gas: p.excess_blob_gas,
} with p);
header_of!(ExecutionPayloadFulu => ExecutionPayloadHeaderFulu {
    withdrawals_root: p.withdrawals.tree_hash_root(),
    blob_gas_used: p.blob_gas_used,
    excess_blob_gas: p.excess_blob_gas,
} with p);

impl ExecutionPayloadRef<'_> {
    /// The header of this payload, hashing its lists.
    pub fn to_header(self) -> ExecutionPayloadHeader {
        map_forks!(self, ExecutionPayloadRef => ExecutionPayloadHeader, |payload| payload.into())
    }

    /// A copy that owns its data.
    pub fn to_owned(self) -> ExecutionPayload {
        map_forks!(self, ExecutionPayloadRef => ExecutionPayload, |payload| payload.clone())
    }
}

/// Builds the variant `$fork` from a first payload of the Engine API and the fork's own fields.
macro_rules! from_first {
    ($variant:ident, $first:expr, { $($extra:ident: $value:expr),* $(,)? }) => {{
        let first: ExecutionPayloadV1 = $first;
        $variant {
            parent_hash: first.parent_hash,
            fee_recipient: first.fee_recipient,
            state_root: first.state_root,
            receipts_root: first.receipts_root,
            logs_bloom: first.logs_bloom.0,
            prev_randao: first.prev_randao,
            block_number: first.block_number,
            gas_limit: first.gas_limit,
            gas_used: first.gas_used,
            timestamp: first.timestamp,
            extra_data: VariableList::try_from(first.extra_data.to_vec())
                .map_err(|_| PayloadError::Bounds)?,
            base_fee_per_gas: first.base_fee_per_gas,
            block_hash: first.block_hash,
            transactions: Transactions::new(first.transactions).ok_or(PayloadError::Bounds)?,
            $($extra: $value,)*
        }
    }};
}

fn bounded_withdrawals(
    withdrawals: Vec<alloy_eips::eip4895::Withdrawal>,
) -> Result<VariableList<Withdrawal, U16>, PayloadError> {
    let withdrawals: Vec<Withdrawal> = withdrawals.into_iter().map(Withdrawal::from).collect();
    VariableList::try_from(withdrawals).map_err(|_| PayloadError::Bounds)
}

impl ExecutionPayload {
    /// The header of this payload, hashing its lists.
    pub fn to_header(&self) -> ExecutionPayloadHeader {
        self.to_ref().to_header()
    }

    /// Takes a payload of the Engine API as one of `fork`.
    ///
    /// # Errors
    /// If the payload's version is not the fork's, or it exceeds the fork's bounds.
    pub fn from_engine(fork: ForkName, payload: EnginePayload) -> Result<Self, PayloadError> {
        macro_rules! third {
            ($variant:ident, $third:expr) => {{
                let ExecutionPayloadV3 { payload_inner: second, blob_gas_used, excess_blob_gas } =
                    $third;
                from_first!($variant, second.payload_inner, {
                    withdrawals: bounded_withdrawals(second.withdrawals)?,
                    blob_gas_used: blob_gas_used,
                    excess_blob_gas: excess_blob_gas,
                })
            }};
        }
        Ok(match (fork, payload) {
            (ForkName::Bellatrix, EnginePayload::V1(first)) => {
                Self::Bellatrix(from_first!(ExecutionPayloadBellatrix, first, {}))
            }
            (ForkName::Capella, EnginePayload::V2(second)) => {
                Self::Capella(from_first!(ExecutionPayloadCapella, second.payload_inner, {
                    withdrawals: bounded_withdrawals(second.withdrawals)?,
                }))
            }
            (ForkName::Deneb, EnginePayload::V3(third)) => Self::Deneb(third!(ExecutionPayloadDeneb, third)),
            (ForkName::Electra, EnginePayload::V3(third)) => {
                Self::Electra(third!(ExecutionPayloadElectra, third))
            }
            (ForkName::Fulu, EnginePayload::V3(third)) => Self::Fulu(third!(ExecutionPayloadFulu, third)),
            _ => return Err(ForkError.into()),
        })
    }

    /// The payload as the Engine API takes it.
    pub fn to_engine(&self) -> EnginePayload {
        self.to_ref().to_engine()
    }

    /// The hash of the execution block that this payload describes, computed from its contents.
    /// It equals [`Self::block_hash`] if the payload is honest.
    ///
    /// # Errors
    /// If no block can be made of the payload, or what the fork's header covers besides it (the
    /// parent beacon block's root from Deneb on, the requests from Electra on) is missing.
    pub fn computed_block_hash(
        &self,
        parent_beacon_block_root: Option<B256>,
        requests: Option<&ExecutionRequests>,
    ) -> Result<B256, PayloadError> {
        let fork = self.to_ref().fork();
        let sidecar = if fork.has_blobs() {
            let parent_beacon_block_root = parent_beacon_block_root.ok_or(PayloadError::Incomplete)?;
            let cancun = CancunPayloadFields { parent_beacon_block_root, versioned_hashes: vec![] };
            if fork.has_requests() {
                let requests = requests.ok_or(PayloadError::Incomplete)?;
                let hash = RequestsOrHash::Hash(requests.hash());
                ExecutionPayloadSidecar::v4(cancun, PraguePayloadFields::new(hash))
            } else {
                ExecutionPayloadSidecar::v3(cancun)
            }
        } else {
            ExecutionPayloadSidecar::none()
        };
        let block = self.to_engine().into_block_with_sidecar_raw(&sidecar)?;
        Ok(block.header.hash_slow())
    }
}

impl ExecutionPayloadRef<'_> {
    /// The fork of the payload.
    pub const fn fork(&self) -> ForkName {
        match self {
            Self::Bellatrix(_) => ForkName::Bellatrix,
            Self::Capella(_) => ForkName::Capella,
            Self::Deneb(_) => ForkName::Deneb,
            Self::Electra(_) => ForkName::Electra,
            Self::Fulu(_) => ForkName::Fulu,
        }
    }

    /// The payload as the Engine API takes it.
    pub fn to_engine(&self) -> EnginePayload {
        let first = ExecutionPayloadV1 {
            parent_hash: self.parent_hash(),
            fee_recipient: self.fee_recipient(),
            state_root: self.state_root(),
            receipts_root: self.receipts_root(),
            logs_bloom: (*self.logs_bloom()).into(),
            prev_randao: self.prev_randao(),
            block_number: self.block_number(),
            gas_limit: self.gas_limit(),
            gas_used: self.gas_used(),
            timestamp: self.timestamp(),
            extra_data: self.extra_data().to_vec().into(),
            base_fee_per_gas: self.base_fee_per_gas(),
            block_hash: self.block_hash(),
            transactions: self.transactions().to_vec(),
        };
        let Ok(withdrawals) = self.withdrawals() else { return first.into() };
        let withdrawals = withdrawals.iter().cloned().map(Into::into).collect();
        let second = ExecutionPayloadV2 { payload_inner: first, withdrawals };
        match (self.blob_gas_used(), self.excess_blob_gas()) {
            (Ok(blob_gas_used), Ok(excess_blob_gas)) => {
                ExecutionPayloadV3 { payload_inner: second, blob_gas_used, excess_blob_gas }.into()
            }
            _ => second.into(),
        }
    }
}
