//! Execution requests (EIP-7685) as blocks and bids carry them from Electra on.

use alloy_eips::eip7685::Requests;
use alloy_primitives::{Address, B256, Bytes};
use alloy_rpc_types_beacon::requests::ExecutionRequestsV4;
use serde::{Deserialize, Serialize};
use serde_with::As;
use ssz::{Decode as _, Encode as _};
use ssz_derive::{Decode, Encode};
use ssz_types::{
    VariableList,
    typenum::{U2, U16, U8192},
};
use thiserror::Error;
use tree_hash_derive::TreeHash;

use crate::{BlsPublicKey, BlsSignature, decimal::Decimal};

/// A deposit made in the execution layer (EIP-6110).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode, TreeHash)]
#[serde(deny_unknown_fields)]
pub struct DepositRequest {
    /// Key of the validator.
    pub pubkey: BlsPublicKey,
    /// Where its stake is withdrawn to.
    pub withdrawal_credentials: B256,
    /// Gwei.
    #[serde(with = "As::<Decimal>")]
    pub amount: u64,
    /// Signature of the deposit message.
    pub signature: BlsSignature,
    /// Number of the deposit.
    #[serde(with = "As::<Decimal>")]
    pub index: u64,
}

/// A withdrawal asked for in the execution layer (EIP-7002).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode, TreeHash)]
#[serde(deny_unknown_fields)]
pub struct WithdrawalRequest {
    /// Who asks.
    pub source_address: Address,
    /// Key of the validator.
    pub validator_pubkey: BlsPublicKey,
    /// Gwei; 0 for a full exit.
    #[serde(with = "As::<Decimal>")]
    pub amount: u64,
}

/// A consolidation asked for in the execution layer (EIP-7251).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode, TreeHash)]
#[serde(deny_unknown_fields)]
pub struct ConsolidationRequest {
    /// Who asks.
    pub source_address: Address,
    /// The validator that ends.
    pub source_pubkey: BlsPublicKey,
    /// The validator that takes its stake.
    pub target_pubkey: BlsPublicKey,
}

/// All execution requests of one block.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, Encode, Decode, TreeHash)]
#[serde(deny_unknown_fields)]
pub struct ExecutionRequests {
    /// At most 8192.
    pub deposits: VariableList<DepositRequest, U8192>,
    /// At most 16.
    pub withdrawals: VariableList<WithdrawalRequest, U16>,
    /// At most 2.
    pub consolidations: VariableList<ConsolidationRequest, U2>,
}

const DEPOSIT_TYPE: u8 = 0;
const WITHDRAWAL_TYPE: u8 = 1;
const CONSOLIDATION_TYPE: u8 = 2;

/// Why a list of the Engine API is not a block's execution requests.
#[derive(Debug, Error)]
pub enum RequestsError {
    /// An entry without a type byte, or without data.
    #[error("empty request")]
    Empty,
    /// Types must be known and strictly ascending.
    #[error("request type {0} unknown, repeated or out of order")]
    Type(u8),
    /// The data of a type is not the SSZ list that it should be.
    #[error("request type {0}: {1:?}")]
    Ssz(u8, ssz::DecodeError),
}

impl ExecutionRequests {
    /// Reads the `executionRequests` list of the Engine API: one byte string per type, the type
    /// byte first, ascending, empty types left out.
    ///
    /// # Errors
    /// If the list breaks those rules or an entry does not decode.
    pub fn from_engine(requests: &[Bytes]) -> Result<Self, RequestsError> {
        let mut read = Self::default();
        let mut last = None;
        for request in requests {
            let Some((kind, data)) = request.split_first() else {
                return Err(RequestsError::Empty);
            };
            if data.is_empty() {
                return Err(RequestsError::Empty);
            }
            if last.is_some_and(|last| last >= *kind) {
                return Err(RequestsError::Type(*kind));
            }
            last = Some(*kind);
            let broken = |error| RequestsError::Ssz(*kind, error);
            match *kind {
                DEPOSIT_TYPE => {
                    read.deposits = VariableList::from_ssz_bytes(data).map_err(broken)?;
                }
                WITHDRAWAL_TYPE => {
                    read.withdrawals = VariableList::from_ssz_bytes(data).map_err(broken)?;
                }
                CONSOLIDATION_TYPE => {
                    read.consolidations = VariableList::from_ssz_bytes(data).map_err(broken)?;
                }
                other => return Err(RequestsError::Type(other)),
            }
        }
        Ok(read)
    }

    /// Writes the `executionRequests` list of the Engine API.
    pub fn to_engine(&self) -> Requests {
        let typed = [
            (DEPOSIT_TYPE, self.deposits.as_ssz_bytes()),
            (WITHDRAWAL_TYPE, self.withdrawals.as_ssz_bytes()),
            (CONSOLIDATION_TYPE, self.consolidations.as_ssz_bytes()),
        ];
        let present = typed.into_iter().filter(|(_, data)| !data.is_empty());
        Requests::new(present.map(|(kind, data)| Bytes::from([vec![kind], data].concat())).collect())
    }

    /// The `requests_hash` of the execution block header (EIP-7685).
    pub fn hash(&self) -> B256 {
        self.to_engine().requests_hash()
    }
}

impl TryFrom<&ExecutionRequestsV4> for ExecutionRequests {
    type Error = ssz::DecodeError;

    /// Fails only if a list is longer than a block allows.
    fn try_from(requests: &ExecutionRequestsV4) -> Result<Self, ssz::DecodeError> {
        Self::from_ssz_bytes(&requests.as_ssz_bytes())
    }
}

impl TryFrom<&ExecutionRequests> for ExecutionRequestsV4 {
    type Error = ssz::DecodeError;

    /// Never fails in practice: both sides have one encoding.
    fn try_from(requests: &ExecutionRequests) -> Result<Self, ssz::DecodeError> {
        Self::from_ssz_bytes(&requests.as_ssz_bytes())
    }
}
