//! Blocks that a relay takes from a builder: everything in them is right, but for what executing them would tell.

use alloy_consensus::TxEip1559;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, keccak256};
use earnest_builder_types::{
    BidSubmission, BidTrace, BlsPublicKey, ExecutionPayload, ExecutionRequests, ForkCodec, ForkName,
    PayloadAndBlobs, SignedValidatorRegistration,
    bls::SecretKey,
    engine::{ExecutionPayload as EnginePayload, ExecutionPayloadV1, ExecutionPayloadV2, ExecutionPayloadV3},
    sign_bid_trace,
};
use earnest_chain::PayloadAttributesEvent;
use earnest_protocol::signing::EcdsaSecret;
use earnest_signer::sign_transaction;

use super::{Encoding, cause};
use crate::failure::Failure;

/// Bytes of call data, by turns: transfers, token calls, swaps, and now and then a rollup's batch.
const CALLS: [usize; 12] = [0, 68, 68, 132, 292, 0, 68, 580, 1_220, 68, 356, 7_000];
/// Gas of a block: what mainnet's have.
const GAS_LIMIT: u64 = 60_000_000;

/// Makes blocks.
#[derive(Debug)]
pub(super) struct Blocks {
    key: SecretKey,
    builder_domain: B256,
    transactions: Vec<Bytes>,
}

/// A block as it is posted.
#[derive(Debug, Clone)]
pub(super) struct Built {
    pub(super) fork: ForkName,
    pub(super) block_hash: B256,
    pub(super) body: bytes::Bytes,
}

impl Blocks {
    /// Blocks with transactions of `bytes` together, signed by `key`.
    pub(super) fn new(
        key: SecretKey,
        builder_domain: B256,
        chain_id: u64,
        bytes: usize,
    ) -> Result<Self, Failure> {
        let sender = EcdsaSecret::random();
        let (mut transactions, mut total) = (Vec::new(), 0_usize);
        for (nonce, size) in (0..).zip(CALLS.into_iter().cycle()) {
            let raw = transaction(&sender, chain_id, nonce, size)?;
            total = total.saturating_add(raw.len());
            if total > bytes {
                break;
            }
            transactions.push(raw);
        }
        Ok(Self { key, builder_domain, transactions })
    }

    /// The builder's public key.
    pub(super) fn pubkey(&self) -> BlsPublicKey {
        self.key.public_key()
    }

    /// Transactions in each block.
    pub(super) fn transactions(&self) -> usize {
        self.transactions.len()
    }

    /// The block of this number, worth as many wei: no two are the same, since each begins with another transaction.
    pub(super) fn build(
        &self,
        event: &PayloadAttributesEvent,
        proposer: &SignedValidatorRegistration,
        number: u64,
        encoding: Encoding,
    ) -> Result<Built, Failure> {
        let submission = self.submission(event, proposer, number)?;
        let body = match encoding {
            Encoding::Ssz => submission.to_ssz(),
            Encoding::Json => submission.to_json().map_err(cause)?,
        };
        let block_hash = submission.message().block_hash;
        Ok(Built { fork: submission.fork(), block_hash, body: body.into() })
    }

    fn submission(
        &self,
        event: &PayloadAttributesEvent,
        proposer: &SignedValidatorRegistration,
        number: u64,
    ) -> Result<BidSubmission, Failure> {
        let payload = self.payload(event, number)?;
        let trace = BidTrace {
            slot: event.data.proposal_slot,
            parent_hash: payload.parent_hash(),
            block_hash: payload.block_hash(),
            builder_pubkey: self.pubkey(),
            proposer_pubkey: proposer.message.pubkey,
            proposer_fee_recipient: proposer.message.fee_recipient,
            gas_limit: payload.gas_limit(),
            gas_used: payload.gas_used(),
            value: U256::from(number),
        };
        let signed = sign_bid_trace(trace, &self.key, self.builder_domain);
        let both = PayloadAndBlobs::new(payload, None).map_err(cause)?;
        BidSubmission::new(signed.message, signed.signature, both, ExecutionRequests::default())
            .map_err(cause)
    }

    fn payload(&self, event: &PayloadAttributesEvent, number: u64) -> Result<ExecutionPayload, Failure> {
        let (data, attributes) = (&event.data, &event.data.payload_attributes);
        let turned = usize::try_from(number).unwrap_or_default().checked_rem(self.transactions.len());
        let mut transactions = self.transactions.clone();
        transactions.rotate_left(turned.unwrap_or_default());
        let second = ExecutionPayloadV2 {
            payload_inner: ExecutionPayloadV1 {
                parent_hash: data.parent_block_hash,
                fee_recipient: attributes.suggested_fee_recipient,
                state_root: keccak256(number.to_be_bytes()),
                receipts_root: keccak256(b"nobody executed this"),
                logs_bloom: Default::default(),
                prev_randao: attributes.prev_randao,
                block_number: data.parent_block_number.unwrap_or_default().saturating_add(1),
                gas_limit: GAS_LIMIT,
                gas_used: GAS_LIMIT,
                timestamp: attributes.timestamp,
                extra_data: Bytes::from_static(b"earnest load"),
                base_fee_per_gas: U256::from(7),
                block_hash: B256::ZERO,
                transactions,
            },
            withdrawals: attributes.withdrawals.clone().unwrap_or_default(),
        };
        let mut payload = if event.version.has_blobs() {
            EnginePayload::V3(ExecutionPayloadV3 {
                payload_inner: second,
                blob_gas_used: 0,
                excess_blob_gas: 0,
            })
        } else {
            EnginePayload::V2(second)
        };
        let requests = ExecutionRequests::default();
        payload.as_v1_mut().block_hash = ExecutionPayload::from_engine(event.version, payload.clone())
            .and_then(|built| built.computed_block_hash(attributes.parent_beacon_block_root, Some(&requests)))
            .map_err(cause)?;
        ExecutionPayload::from_engine(event.version, payload).map_err(cause)
    }
}

fn transaction(sender: &EcdsaSecret, chain_id: u64, nonce: u64, size: usize) -> Result<Bytes, Failure> {
    let words = (0..size.div_ceil(32))
        .flat_map(|word| keccak256([nonce, word as u64].map(u64::to_be_bytes).concat()));
    let transaction = TxEip1559 {
        chain_id,
        nonce,
        gas_limit: 1_000_000,
        max_fee_per_gas: 2_000_000_000,
        max_priority_fee_per_gas: 1_000_000_000,
        to: TxKind::Call(Address::repeat_byte(0x11)),
        value: U256::from(1),
        input: words.take(size).collect::<Vec<u8>>().into(),
        ..Default::default()
    };
    sign_transaction(transaction, sender).map_err(cause)
}
