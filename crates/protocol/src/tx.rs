//! What a rollup's transaction must be before it is ordered (design §4): the checks that need no state.

use alloy_consensus::{Transaction, TxEnvelope, transaction::SignerRecoverable};
use alloy_eips::eip2718::Decodable2718;
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};

/// A transaction that passed [`validate`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidatedTx {
    /// `keccak256` of the raw bytes.
    pub hash: B256,
    /// Who signed; zero if opaque.
    pub sender: Address,
    /// The sender's nonce; zero if opaque.
    pub nonce: u64,
    /// Gas limit; zero if opaque.
    pub gas_limit: u64,
    /// Most that is paid for a unit of gas, in wei; zero if opaque.
    pub max_fee: u128,
    /// Most that is paid to the sequencer for a unit of gas, in wei; zero if opaque.
    pub max_priority_fee: u128,
    /// Value, in wei; zero if opaque.
    pub value: U256,
    /// The bytes as sent, EIP-2718 or opaque.
    pub raw: Bytes,
}

/// A rollup's rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TxRules {
    /// The rollup's chain id.
    pub chain_id: u64,
    /// Largest transaction, bytes: see [`crate::inbox::max_tx_bytes`].
    pub max_bytes: usize,
    /// Largest gas limit.
    pub max_gas: u64,
    /// Whether transactions are opaque bytes.
    pub opaque: bool,
}

/// Why a transaction is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TxError {
    /// More bytes than the rollup takes.
    #[error("transaction of {size} bytes, more than {max}")]
    TooLarge {
        /// Its size.
        size: usize,
        /// The limit.
        max: usize,
    },
    /// Not one whole EIP-2718 transaction, or nothing at all.
    #[error("not one whole EIP-2718 transaction")]
    BadEncoding,
    /// A blob transaction.
    #[error("blob transactions are refused")]
    BlobRefused,
    /// For another chain, or for none.
    #[error("transaction for chain {found:?}, not {expected}")]
    WrongChain {
        /// The rollup's.
        expected: u64,
        /// The transaction's.
        found: Option<u64>,
    },
    /// A signature that recovers to nobody, or is malleable.
    #[error("bad transaction signature")]
    BadSignature,
    /// More gas than the rollup allows.
    #[error("gas limit {gas}, more than {max}")]
    GasTooHigh {
        /// Its gas limit.
        gas: u64,
        /// The cap.
        max: u64,
    },
}

impl TxError {
    /// The API's name of it.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "too_large",
            Self::BadEncoding => "bad_encoding",
            Self::BlobRefused => "blob_refused",
            Self::WrongChain { .. } => "wrong_chain",
            Self::BadSignature => "bad_signature",
            Self::GasTooHigh { .. } => "gas_too_high",
        }
    }
}

/// Checks size, encoding, chain id, signature and gas, in this order, and recovers the sender.
///
/// # Errors
/// The first [`TxError`] found.
pub fn validate(raw: Bytes, rules: &TxRules) -> Result<ValidatedTx, TxError> {
    if raw.len() > rules.max_bytes {
        return Err(TxError::TooLarge { size: raw.len(), max: rules.max_bytes });
    }
    if raw.is_empty() {
        return Err(TxError::BadEncoding);
    }
    if rules.opaque {
        return Ok(opaque(raw));
    }
    let tx = TxEnvelope::decode_2718_exact(&raw).map_err(|_| TxError::BadEncoding)?;
    if tx.is_eip4844() {
        return Err(TxError::BlobRefused);
    }
    if tx.chain_id() != Some(rules.chain_id) {
        return Err(TxError::WrongChain { expected: rules.chain_id, found: tx.chain_id() });
    }
    let sender = tx.recover_signer().map_err(|_| TxError::BadSignature)?;
    if tx.gas_limit() > rules.max_gas {
        return Err(TxError::GasTooHigh { gas: tx.gas_limit(), max: rules.max_gas });
    }
    Ok(ValidatedTx {
        hash: keccak256(&raw),
        sender,
        nonce: tx.nonce(),
        gas_limit: tx.gas_limit(),
        max_fee: tx.max_fee_per_gas(),
        max_priority_fee: tx.max_priority_fee_per_gas().unwrap_or_else(|| tx.max_fee_per_gas()),
        value: tx.value(),
        raw,
    })
}

/// A transaction that only its rollup understands.
fn opaque(raw: Bytes) -> ValidatedTx {
    ValidatedTx {
        hash: keccak256(&raw),
        sender: Address::ZERO,
        nonce: 0,
        gas_limit: 0,
        max_fee: 0,
        max_priority_fee: 0,
        value: U256::ZERO,
        raw,
    }
}
