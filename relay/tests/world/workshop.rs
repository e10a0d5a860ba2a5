//! Blocks for one slot, made by the test itself: any builder, any value.

use super::{PATIENCE, World};
use alloy_primitives::{Address, B256, Bytes, U256};
use earnest_builder_types::{
    BidSubmission, BidTrace, ForkCodec, ForkName, PayloadAndBlobs,
    bls::SecretKey,
    engine::{ForkchoiceState, PayloadAttributes},
    proofs::TransactionTree,
    sign_bid_trace,
};
use earnest_chain::{BeaconClient, BeaconEvent, EventTopic, PayloadAttributesData, PayloadAttributesEvent};
use earnest_devnet::beacon::Engine;
use earnest_protocol::objects::{InclusionProof, Object};
use futures::StreamExt;
use serde_json::{Value, json};
use std::time::Duration;

/// What a builder knows of the coming slot.
pub(crate) struct Workshop {
    pub(crate) slot: u64,
    pub(crate) proposer: SecretKey,
    event: PayloadAttributesEvent,
}

impl Workshop {
    /// Of the next slot at `from` or later that the beacon node announces.
    pub(crate) async fn open(world: &World, from: u64) -> Self {
        let beacon = BeaconClient::new([world.node.url().clone()]).unwrap();
        let mut events = beacon.events(&[EventTopic::PayloadAttributes]);
        let announced = async {
            loop {
                if let Some(BeaconEvent::PayloadAttributes(event)) = events.next().await
                    && event.data.proposal_slot >= from
                {
                    return event;
                }
            }
        };
        let event = tokio::time::timeout(PATIENCE, announced).await.unwrap();
        let slot = event.data.proposal_slot;
        let (_, proposer) = world.proposer(slot).await;
        Self { slot, proposer, event }
    }

    /// Of a slot that nobody was told of, on the present head: the relay does not know what blocks of it are built with.
    pub(crate) async fn unannounced(world: &World, slot: u64) -> Self {
        let facts = world.node.chain(|chain| chain.facts_for(slot)).unwrap();
        let (_, proposer) = world.proposer(slot).await;
        let payload_attributes = PayloadAttributes {
            timestamp: facts.timestamp,
            prev_randao: facts.prev_randao,
            suggested_fee_recipient: Address::ZERO,
            withdrawals: Some(vec![]),
            parent_beacon_block_root: Some(facts.parent.root),
            slot_number: None,
            target_gas_limit: None,
        };
        let data = PayloadAttributesData {
            proposer_index: facts.proposer_index,
            proposal_slot: slot,
            parent_block_number: Some(facts.parent.execution.number),
            parent_block_root: facts.parent.root,
            parent_block_hash: facts.parent.execution.hash,
            payload_attributes,
        };
        let event = PayloadAttributesEvent { version: ForkName::Electra, data };
        Self { slot, proposer, event }
    }

    /// A block of a builder that claims to pay so much; `mark` makes it another block.
    pub(crate) async fn block(&self, world: &World, builder: u8, value: u64, mark: u8) -> BidSubmission {
        let mut attributes = self.event.data.payload_attributes.clone();
        attributes.suggested_fee_recipient = Address::repeat_byte(mark);
        let head = ForkchoiceState {
            head_block_hash: self.event.data.parent_block_hash,
            safe_block_hash: B256::ZERO,
            finalized_block_hash: B256::ZERO,
        };
        let version = self.event.version;
        let answer = world.engine.forkchoice_updated(version, head, Some(attributes)).await.unwrap();
        let built = world.engine.get_payload(version, answer.payload_id.unwrap()).await.unwrap();
        let key = SecretKey::from_bytes(&[builder; 32]).unwrap();
        let trace = BidTrace {
            slot: self.slot,
            parent_hash: built.payload.parent_hash(),
            block_hash: built.payload.block_hash(),
            builder_pubkey: key.public_key(),
            proposer_pubkey: self.proposer.public_key(),
            proposer_fee_recipient: Address::repeat_byte(0xfe),
            gas_limit: built.payload.gas_limit(),
            gas_used: built.payload.gas_used(),
            value: U256::from(value),
        };
        let signed = sign_bid_trace(trace, &key, world.node.builder_domain());
        let both = PayloadAndBlobs::new(built.payload, built.blobs_bundle).unwrap();
        BidSubmission::new(signed.message, signed.signature, both, built.execution_requests).unwrap()
    }

    /// Posts a block until the relay, too, has heard of what it is built on.
    pub(crate) async fn submit(&self, world: &World, block: &BidSubmission, cancels: bool) {
        let query = if cancels { "?cancellations=1" } else { "" };
        let taken = async {
            loop {
                let request = world
                    .http
                    .post(world.url(&format!("/relay/v1/builder/blocks{query}")))
                    .header("content-type", "application/octet-stream")
                    .body(block.to_ssz());
                let (status, body) = super::answer(request.send().await.unwrap()).await;
                if status == 200 {
                    return;
                }
                let message = body["message"].as_str().unwrap();
                assert!(message.starts_with("payload attributes"), "{status} {message}");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, taken).await.unwrap();
    }

    /// Makes and posts a block.
    pub(crate) async fn bid(&self, world: &World, builder: u8, value: u64, cancels: bool) -> BidSubmission {
        let block = self.block(world, builder, value, builder).await;
        self.submit(world, &block, cancels).await;
        block
    }
}

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
