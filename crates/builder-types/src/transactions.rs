//! The list of transactions of a payload.

use std::ops::Deref;

use alloy_primitives::{B256, Bytes};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use tree_hash::{PackedEncoding, TreeHash, TreeHashType};

use crate::proofs;

/// `MAX_TRANSACTIONS_PER_PAYLOAD`.
pub const MAX_TRANSACTIONS: usize = 1 << 20;
/// `MAX_BYTES_PER_TRANSACTION`.
pub const MAX_TRANSACTION_BYTES: usize = 1 << 30;

/// `List[ByteList[2³⁰], 2²⁰]`: the raw EIP-2718 bytes of each transaction.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Transactions(Vec<Bytes>);

impl Transactions {
    /// Takes raw transactions; `None` if there are more, or longer ones, than SSZ allows.
    pub fn new(transactions: Vec<Bytes>) -> Option<Self> {
        let within = transactions.len() <= MAX_TRANSACTIONS
            && transactions.iter().all(|tx| tx.len() <= MAX_TRANSACTION_BYTES);
        within.then_some(Self(transactions))
    }

    /// The raw transactions.
    pub fn into_inner(self) -> Vec<Bytes> {
        self.0
    }
}

impl Deref for Transactions {
    type Target = [Bytes];

    fn deref(&self) -> &[Bytes] {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Transactions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(Vec::deserialize(deserializer)?)
            .ok_or_else(|| D::Error::custom("too many transactions, or too long"))
    }
}

impl ssz::Encode for Transactions {
    fn is_ssz_fixed_len() -> bool {
        false
    }

    fn ssz_bytes_len(&self) -> usize {
        self.0.ssz_bytes_len()
    }

    fn ssz_append(&self, buf: &mut Vec<u8>) {
        self.0.ssz_append(buf);
    }
}

impl ssz::Decode for Transactions {
    fn is_ssz_fixed_len() -> bool {
        false
    }

    fn from_ssz_bytes(bytes: &[u8]) -> Result<Self, ssz::DecodeError> {
        let transactions = if bytes.is_empty() {
            Vec::new()
        } else {
            ssz::decode_list_of_variable_length_items(bytes, Some(MAX_TRANSACTIONS))?
        };
        Self::new(transactions).ok_or_else(|| ssz::DecodeError::BytesInvalid("transaction too long".into()))
    }
}

impl TreeHash for Transactions {
    fn tree_hash_type() -> TreeHashType {
        TreeHashType::List
    }

    fn tree_hash_packed_encoding(&self) -> PackedEncoding {
        PackedEncoding::new()
    }

    fn tree_hash_packing_factor() -> usize {
        1
    }

    fn tree_hash_root(&self) -> B256 {
        proofs::transactions_root(&self.0)
    }
}
