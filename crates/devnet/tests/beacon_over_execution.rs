//! The beacon node over each execution client that is installed: real payloads, real imports, real reorgs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use alloy_eips::BlockNumberOrTag;
use alloy_primitives::B256;
use earnest_builder_types::bls::SecretKey;
use earnest_chain::{BeaconClient, BroadcastValidation, Published};
use earnest_devnet::{
    beacon::{BeaconNode, BeaconOptions, randao_signing_root},
    execution::{ExecutionBinary, ExecutionNode, ExecutionOptions},
};

/// The slot that runs; it and those before it may have their blocks at once.
const RUNNING: u64 = 40;

struct Devnet {
    execution: ExecutionNode,
    beacon: BeaconNode,
    client: BeaconClient,
    keys: Vec<SecretKey>,
}

impl Devnet {
    async fn start(binary: ExecutionBinary) -> Self {
        let options = ExecutionOptions { binary: Some(binary), ..ExecutionOptions::default() };
        let execution = ExecutionNode::start(&options).await.unwrap();
        let keys: Vec<SecretKey> = (1..=4).map(|one| SecretKey::from_bytes(&[one; 32]).unwrap()).collect();
        let public = keys.iter().map(SecretKey::public_key).collect();
        let mut options = BeaconOptions::new(Arc::new(execution.engine().clone()), public);
        options.slot_ms = 100_000;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        options.genesis_time = now - RUNNING * 100 - 5;
        let beacon = BeaconNode::start(options).await.unwrap();
        let client = BeaconClient::new([beacon.url().clone()]).unwrap();
        Self { execution, beacon, client, keys }
    }

    async fn propose(&self, slot: u64) {
        let proposer = self.beacon.chain(|chain| chain.facts_for(slot).unwrap().proposer_index);
        let key = &self.keys[usize::try_from(proposer).unwrap()];
        let domains = self.beacon.proposer_domains();
        let reveal = key.sign(randao_signing_root(self.beacon.clock().epoch_of(slot), domains.randao));
        let block = self.client.produce_block(slot, &reveal, B256::ZERO).await.unwrap().contents;
        let report = self
            .client
            .publish_block(&block.sign(key, domains.block), BroadcastValidation::ConsensusAndEquivocation)
            .await;
        assert_eq!(report.nodes[0].outcome, Ok(Published::Imported), "slot {slot}");
    }

    async fn hash_of(&self, tag: BlockNumberOrTag) -> B256 {
        self.execution.rpc().block(tag).await.unwrap().unwrap().header.hash
    }
}

/// Blocks, missed slots, finality; then a reorg, after which the chain goes on around the orphan.
async fn lives(binary: ExecutionBinary) {
    let devnet = Devnet::start(binary).await;
    for slot in [1, 2, 4, 5, 8, 9, 16, 17] {
        devnet.propose(slot).await;
        assert_eq!(devnet.hash_of(BlockNumberOrTag::Latest).await, devnet.beacon.head().execution.hash);
    }
    let execution_at = |slot| devnet.beacon.chain(|chain| chain.block_at(slot).unwrap().execution);
    devnet.propose(24).await;
    assert_eq!(devnet.hash_of(BlockNumberOrTag::Finalized).await, execution_at(8).hash);
    assert_eq!(devnet.hash_of(BlockNumberOrTag::Safe).await, execution_at(16).hash);
    let block = devnet.execution.rpc().block(BlockNumberOrTag::Latest).await.unwrap().unwrap();
    assert_eq!(block.header.parent_beacon_block_root, Some(devnet.beacon.head().header.parent_root));
    assert_eq!(block.header.timestamp, devnet.beacon.clock().payload_timestamp(24));

    devnet.propose(25).await;
    let orphan = devnet.beacon.head();
    assert_eq!(devnet.beacon.reorg(1).await.unwrap().old, orphan.root);
    assert_eq!(devnet.beacon.head().header.slot, 24);
    devnet.propose(26).await;
    assert_eq!(devnet.beacon.head().execution.number, orphan.execution.number, "in the orphan's place");
    devnet.propose(27).await;
    assert_eq!(devnet.hash_of(BlockNumberOrTag::Latest).await, devnet.beacon.head().execution.hash);

    let change = devnet.beacon.change_lookahead().await.unwrap();
    assert_eq!(change.orphaned, 4, "slots 27, 26, 24 and the one that decided, 17");
    devnet.propose(28).await;
    assert_eq!(devnet.hash_of(BlockNumberOrTag::Latest).await, devnet.beacon.head().execution.hash);
}

#[tokio::test]
async fn geth() {
    // geth is optional: without it the devnet runs on EthereumJS.
    let Some(binary) = ExecutionBinary::find_geth() else { return };
    lives(binary).await;
}

#[tokio::test]
async fn ethereumjs() {
    lives(ExecutionBinary::find_ethereumjs().expect("run crates/devnet/peers/install")).await;
}
