//! Values that tests share.

use alloy_consensus::{SignableTransaction, TxEip1559};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, Bytes, Signature, TxKind, U256};
use earnest_protocol::signing::EcdsaSecret;

/// A signed transfer on chain 1337 by the sender of this number.
pub(crate) fn tx(sender: u8, nonce: u64, value: u64) -> Bytes {
    call(sender, nonce, value, Address::repeat_byte(9), Bytes::new())
}

/// A signed call on chain 1337.
pub(crate) fn call(sender: u8, nonce: u64, value: u64, to: Address, input: Bytes) -> Bytes {
    let tx = TxEip1559 {
        chain_id: 1337,
        nonce,
        gas_limit: 1_000_000,
        max_fee_per_gas: 2_000_000_000,
        max_priority_fee_per_gas: 1_000_000_000,
        to: TxKind::Call(to),
        value: U256::from(value),
        access_list: vec![].into(),
        input,
    };
    let secret = EcdsaSecret::from_bytes(&[sender; 32]).unwrap();
    let signature = secret.sign(tx.signature_hash()).unwrap();
    let signature = Signature::from_raw(signature.as_slice()).unwrap();
    tx.into_signed(signature).encoded_2718().into()
}
