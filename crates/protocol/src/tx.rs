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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signing::EcdsaSecret;
    use alloy_consensus::{
        SignableTransaction, TxEip1559, TxEip4844, TxEip4844Variant, TxEip7702, TxLegacy,
        transaction::RlpEcdsaEncodableTx,
    };
    use alloy_eips::eip2718::Encodable2718;
    use alloy_primitives::{Signature, TxKind};

    const RULES: TxRules = TxRules { chain_id: 7_001, max_bytes: 2_000, max_gas: 1_000_000, opaque: false };

    fn eip1559() -> TxEip1559 {
        TxEip1559 {
            chain_id: 7_001,
            nonce: 4,
            gas_limit: 21_000,
            max_fee_per_gas: 30,
            max_priority_fee_per_gas: 2,
            to: TxKind::Call(Address::repeat_byte(1)),
            value: U256::from(9),
            ..Default::default()
        }
    }

    fn secret() -> EcdsaSecret {
        EcdsaSecret::from_bytes(&[6; 32]).unwrap()
    }

    fn signature<T: SignableTransaction<Signature>>(tx: &T) -> Signature {
        Signature::from_raw(secret().sign(tx.signature_hash()).unwrap().as_slice()).unwrap()
    }

    fn raw<T: SignableTransaction<Signature> + RlpEcdsaEncodableTx>(tx: T) -> Bytes
    where
        TxEnvelope: From<alloy_consensus::Signed<T>>,
    {
        let signature = signature(&tx);
        TxEnvelope::from(tx.into_signed(signature)).encoded_2718().into()
    }

    fn code(raw: impl Into<Bytes>, rules: &TxRules) -> &'static str {
        validate(raw.into(), rules).unwrap_err().code()
    }

    #[test]
    fn a_good_transaction_is_read_whole() {
        let bytes = raw(eip1559());
        let tx = validate(bytes.clone(), &RULES).unwrap();
        assert_eq!(tx.sender, secret().address());
        assert_eq!((tx.nonce, tx.gas_limit, tx.max_fee, tx.max_priority_fee), (4, 21_000, 30, 2));
        assert_eq!((tx.value, tx.hash, &tx.raw), (U256::from(9), keccak256(&bytes), &bytes));
    }

    #[test]
    fn legacy_and_set_code_transactions_are_taken() {
        let legacy = TxLegacy {
            chain_id: Some(7_001),
            gas_price: 7,
            gas_limit: 21_000,
            to: TxKind::Create,
            ..Default::default()
        };
        let tx = validate(raw(legacy), &RULES).unwrap();
        assert_eq!((tx.sender, tx.max_fee, tx.max_priority_fee), (secret().address(), 7, 7));
        let set_code = TxEip7702 { chain_id: 7_001, gas_limit: 50_000, ..Default::default() };
        assert_eq!(validate(raw(set_code), &RULES).unwrap().sender, secret().address());
    }

    #[test]
    fn each_refusal_has_its_code() {
        let good = raw(eip1559());
        assert_eq!(code(vec![0; 2_001], &RULES), "too_large");
        assert_eq!(code(vec![], &RULES), "bad_encoding");
        assert_eq!(code(good[..good.len() - 1].to_vec(), &RULES), "bad_encoding");
        assert_eq!(code([&good[..], &[0]].concat(), &RULES), "bad_encoding");
        assert_eq!(code(vec![0x05, 0xc0], &RULES), "bad_encoding");
        assert_eq!(code(raw(TxEip1559 { chain_id: 1, ..eip1559() }), &RULES), "wrong_chain");
        assert_eq!(code(raw(TxLegacy { chain_id: None, ..Default::default() }), &RULES), "wrong_chain");
        assert_eq!(code(raw(TxEip1559 { gas_limit: 1_000_001, ..eip1559() }), &RULES), "gas_too_high");
    }

    #[test]
    fn blobs_are_refused_whatever_else_is_wrong() {
        let blob: TxEip4844Variant =
            TxEip4844Variant::TxEip4844(TxEip4844 { chain_id: 1, ..Default::default() });
        assert_eq!(code(raw(blob), &RULES), "blob_refused");
    }

    #[test]
    fn malleable_signatures_are_refused() {
        let tx = eip1559();
        let good = signature(&tx);
        let order = alloy_consensus::crypto::SECP256K1N_HALF * U256::from(2) + U256::from(1);
        let high = Signature::new(good.r(), order - good.s(), !good.v());
        let bytes: Bytes = TxEnvelope::from(tx.into_signed(high)).encoded_2718().into();
        assert_eq!(code(bytes, &RULES), "bad_signature");
    }

    #[test]
    fn opaque_bytes_need_only_fit() {
        let opaque = TxRules { opaque: true, ..RULES };
        let tx = validate(Bytes::from_static(b"anything"), &opaque).unwrap();
        assert_eq!((tx.hash, tx.sender), (keccak256(b"anything"), Address::ZERO));
        assert_eq!(code(vec![], &opaque), "bad_encoding");
        assert_eq!(code(vec![1; 2_001], &opaque), "too_large");
    }
}
