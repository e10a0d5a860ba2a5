//! Values that tests share.

use alloy_consensus::{SignableTransaction, TxEip1559};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, Bytes, FixedBytes, Signature, TxKind, U256};
use earnest_builder_types::{
    BidSubmission, BidSubmissionElectra, BidTrace, ExecutionPayload, ExecutionPayloadElectra,
    ExecutionRequests, Transactions, bls::SecretKey, domain::builder_domain, engine::PayloadAttributes,
    sign_bid_trace,
};
use earnest_protocol::signing::EcdsaSecret;

/// Genesis fork version of the test network.
pub(crate) const FORK_VERSION: [u8; 4] = [0x10, 0, 0, 0x38];
/// Key of the slots' proposer.
pub(crate) const PROPOSER: u8 = 42;

/// The BLS key of this number.
pub(crate) fn bls(number: u8) -> SecretKey {
    SecretKey::from_bytes(&[number; 32]).unwrap()
}

/// A block of Electra that a builder could submit.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    pub(crate) slot: u64,
    pub(crate) value: u64,
    pub(crate) transactions: Vec<Bytes>,
}

impl Default for Block {
    fn default() -> Self {
        Self { slot: 10, value: 1, transactions: vec![] }
    }
}

impl Block {
    /// What the block is built with.
    pub(crate) fn attributes(&self) -> PayloadAttributes {
        PayloadAttributes {
            timestamp: 1_700_000_000 + self.slot,
            prev_randao: B256::repeat_byte(3),
            suggested_fee_recipient: Address::ZERO,
            withdrawals: Some(vec![]),
            parent_beacon_block_root: Some(B256::repeat_byte(4)),
            slot_number: None,
            target_gas_limit: None,
        }
    }

    /// The whole submission, signed by the builder of this number.
    pub(crate) fn submit(&self, builder: u8) -> BidSubmission {
        let attributes = self.attributes();
        let requests = ExecutionRequests::default();
        let mut payload = ExecutionPayloadElectra {
            parent_hash: B256::repeat_byte(5),
            fee_recipient: Address::repeat_byte(builder),
            state_root: B256::repeat_byte(6),
            receipts_root: B256::repeat_byte(7),
            logs_bloom: FixedBytes::ZERO,
            prev_randao: attributes.prev_randao,
            block_number: 5,
            gas_limit: 30_000_000,
            gas_used: 21_000,
            timestamp: attributes.timestamp,
            extra_data: vec![builder].try_into().unwrap(),
            base_fee_per_gas: U256::from(7),
            block_hash: B256::ZERO,
            transactions: Transactions::new(self.transactions.clone()).unwrap(),
            withdrawals: Default::default(),
            blob_gas_used: 0,
            excess_blob_gas: 0,
        };
        payload.block_hash = ExecutionPayload::Electra(payload.clone())
            .computed_block_hash(attributes.parent_beacon_block_root, Some(&requests))
            .unwrap();
        let trace = BidTrace {
            slot: self.slot,
            parent_hash: payload.parent_hash,
            block_hash: payload.block_hash,
            builder_pubkey: bls(builder).public_key(),
            proposer_pubkey: bls(PROPOSER).public_key(),
            proposer_fee_recipient: Address::repeat_byte(PROPOSER),
            gas_limit: payload.gas_limit,
            gas_used: payload.gas_used,
            value: U256::from(self.value),
        };
        let signed = sign_bid_trace(trace, &bls(builder), builder_domain(FORK_VERSION));
        BidSubmission::Electra(BidSubmissionElectra {
            message: signed.message,
            execution_payload: payload,
            blobs_bundle: Default::default(),
            execution_requests: requests,
            signature: signed.signature,
        })
    }
}

/// Gas limit of every transaction here.
pub(crate) const SENDER_GAS: u64 = 1_000_000;
/// Most that every transaction here pays for a unit of gas, wei.
pub(crate) const SENDER_MAX_FEE: u128 = 2_000_000_000;

/// The address of the sender of this number.
pub(crate) fn sender(number: u8) -> Address {
    EcdsaSecret::from_bytes(&[number; 32]).unwrap().address()
}

/// A signed transfer on chain 1337 by the sender of this number.
pub(crate) fn tx(sender: u8, nonce: u64, value: u64) -> Bytes {
    call(sender, nonce, value, Address::repeat_byte(9), Bytes::new())
}

/// A signed call on chain 1337.
pub(crate) fn call(sender: u8, nonce: u64, value: u64, to: Address, input: Bytes) -> Bytes {
    let tx = TxEip1559 { nonce, to: TxKind::Call(to), value: U256::from(value), input, ..plain_tx() };
    sign(tx, sender)
}

/// A transfer of sender 1, changed before it is signed.
pub(crate) fn changed_tx(change: impl FnOnce(&mut TxEip1559)) -> Bytes {
    let mut tx = plain_tx();
    change(&mut tx);
    sign(tx, 1)
}

fn plain_tx() -> TxEip1559 {
    TxEip1559 {
        chain_id: 1337,
        nonce: 0,
        gas_limit: SENDER_GAS,
        max_fee_per_gas: SENDER_MAX_FEE,
        max_priority_fee_per_gas: 1_000_000_000,
        to: TxKind::Call(Address::repeat_byte(9)),
        value: U256::ZERO,
        access_list: vec![].into(),
        input: Bytes::new(),
    }
}

fn sign(tx: TxEip1559, sender: u8) -> Bytes {
    let secret = EcdsaSecret::from_bytes(&[sender; 32]).unwrap();
    let signature = secret.sign(tx.signature_hash()).unwrap();
    let signature = Signature::from_raw(signature.as_slice()).unwrap();
    tx.into_signed(signature).encoded_2718().into()
}

/// Overwrites bytes of an example, and cuts or extends it, as a fuzzer says.
pub(crate) fn damaged(example: &[u8], changes: &[(u16, u8)], length: u16) -> Vec<u8> {
    let mut damaged = example.to_vec();
    for (at, byte) in changes {
        let at = usize::from(*at) % example.len();
        damaged[at] = *byte;
    }
    damaged.resize(example.len() + usize::from(length % 8) - 4, 0);
    damaged
}
