//! Blocks as builders submit them.

use super::{PATIENCE, World};
use alloy_primitives::{Address, B256, Bytes, U256};
use earnest_builder_types::{
    BidSubmission, BidTrace, PayloadAndBlobs, bls::SecretKey, engine::ForkchoiceState,
    proofs::TransactionTree, sign_bid_trace,
};
use earnest_chain::{BeaconClient, BeaconEvent, EventTopic};
use earnest_devnet::beacon::Engine;
use earnest_protocol::objects::{InclusionProof, Object};
use futures::StreamExt;
use serde_json::{Value, json};

impl World {
    /// Posts a block, again while the relay has not heard yet what blocks of its slot are built with.
    pub(crate) async fn submit(&self, path: &str, block: &impl serde::Serialize) -> (u16, Value) {
        let taken = async {
            loop {
                let (status, body) = self.post(path, block).await;
                let early = body["message"].as_str().is_some_and(|message| message.contains("are not known"));
                if status != 400 || !early {
                    return (status, body);
                }
            }
        };
        tokio::time::timeout(PATIENCE, taken).await.unwrap()
    }

    /// A block for a slot that comes, of what the engine's pool holds, as a builder with key 98 submits it.
    pub(crate) async fn submission(&self, slot: u64) -> BidSubmission {
        let beacon = BeaconClient::new([self.node.url().clone()]).unwrap();
        let mut events = beacon.events(&[EventTopic::PayloadAttributes]);
        let told = async {
            loop {
                if let Some(BeaconEvent::PayloadAttributes(event)) = events.next().await
                    && event.data.proposal_slot == slot
                {
                    return event;
                }
            }
        };
        let event = tokio::time::timeout(PATIENCE, told).await.unwrap();
        let head = ForkchoiceState {
            head_block_hash: event.data.parent_block_hash,
            safe_block_hash: B256::ZERO,
            finalized_block_hash: B256::ZERO,
        };
        let attributes = event.data.payload_attributes.clone();
        let begun = self.engine.forkchoice_updated(event.version, head, Some(attributes)).await.unwrap();
        let built = self.engine.get_payload(event.version, begun.payload_id.unwrap()).await.unwrap();
        let (key, payload) = (SecretKey::from_bytes(&[98; 32]).unwrap(), &built.payload);
        let (_, proposer) = self.proposer(slot).await;
        let trace = BidTrace {
            slot,
            parent_hash: payload.parent_hash(),
            block_hash: payload.block_hash(),
            builder_pubkey: key.public_key(),
            proposer_pubkey: proposer.public_key(),
            proposer_fee_recipient: Address::repeat_byte(0xfe),
            gas_limit: payload.gas_limit(),
            gas_used: payload.gas_used(),
            value: U256::from(7),
        };
        let signed = sign_bid_trace(trace, &key, self.node.builder_domain());
        let contents = PayloadAndBlobs::new(built.payload, built.blobs_bundle).unwrap();
        BidSubmission::new(signed.message, signed.signature, contents, built.execution_requests).unwrap()
    }
}

/// A builder's proofs that its block holds the transactions at these places.
pub(crate) fn proofs(submission: &BidSubmission, places: &[usize]) -> Value {
    let transactions = submission.payload().transactions().to_vec();
    let tree = TransactionTree::new(&transactions).unwrap();
    let payloads: Vec<Bytes> = places
        .iter()
        .map(|place| {
            let proof = tree.prove(*place).unwrap();
            let signed_tx = transactions[*place].clone();
            InclusionProof { signed_tx, index: proof.index, branch: proof.proof }.abi_encode().into()
        })
        .collect();
    json!({"constraintTypes": vec!["1"; places.len()], "payloads": payloads})
}
