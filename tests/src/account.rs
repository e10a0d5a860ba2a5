//! A searcher's account.

use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, Bytes, Signature, TxKind, U256};
use earnest_protocol::{RollupId, signing::EcdsaSecret};

/// An account of a rollup.
#[derive(Debug)]
pub struct Account {
    secret: EcdsaSecret,
    rollup: RollupId,
}

impl Account {
    /// A new account, without funds.
    #[must_use]
    pub fn random(rollup: RollupId) -> Self {
        Self { secret: EcdsaSecret::random(), rollup }
    }

    /// The account of a key.
    ///
    /// # Panics
    /// If it is no key.
    #[must_use]
    pub fn of(key: &[u8; 32], rollup: RollupId) -> Self {
        Self { secret: EcdsaSecret::from_bytes(key).unwrap(), rollup }
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> Address {
        self.secret.address()
    }

    /// A transfer of one wei, not signed.
    #[must_use]
    pub fn unsigned(&self, nonce: u64) -> TxEip1559 {
        TxEip1559 {
            chain_id: self.rollup.0,
            nonce,
            gas_limit: 21_000,
            max_fee_per_gas: 3_000_000_000,
            max_priority_fee_per_gas: 1_000_000_000,
            to: TxKind::Call(Address::repeat_byte(0xee)),
            value: U256::from(1),
            ..TxEip1559::default()
        }
    }

    /// A signed transfer of one wei.
    #[must_use]
    pub fn transfer(&self, nonce: u64) -> Bytes {
        self.sign(self.unsigned(nonce))
    }

    /// Signs any transaction.
    ///
    /// # Panics
    /// If the key does not sign.
    #[must_use]
    pub fn sign<T: SignableTransaction<Signature>>(&self, transaction: T) -> Bytes
    where
        TxEnvelope: From<alloy_consensus::Signed<T>>,
    {
        let signature = self.secret.sign(transaction.signature_hash()).unwrap();
        let signature = Signature::from_raw_array(signature.as_ref()).unwrap();
        TxEnvelope::from(transaction.into_signed(signature)).encoded_2718().into()
    }
}
