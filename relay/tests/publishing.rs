//! What beacon nodes do with a block, and a relay that dies before one took it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod world;

use alloy_primitives::B256;
use earnest_builder_types::{
    BlindedBeaconBlock, PayloadAndBlobs, SignedBlindedBeaconBlock, TreeHash, Versioned, unblind,
};
use earnest_chain::{BeaconClient, BroadcastValidation};
use earnest_devnet::beacon::{Block, Endpoints, Fault};
use reqwest::StatusCode;
use serde_json::{Value, json};
use std::{fs, path::Path};
use tokio_util::sync::CancellationToken;
use world::{PATIENCE, Setting, World, front::Seems, unhurried};

const V1: &str = "/eth/v1/builder/blinded_blocks";
const V2: &str = "/eth/v2/builder/blinded_blocks";

/// A relay that asks a front of the node first, then the node.
async fn fronted(slot_ms: u64, seems: Seems) -> World {
    let mut world = World::start(Setting { slot_ms, timing: unhurried(), ..Setting::default() }).await;
    let front = world.front(seems).await;
    world.config.beacon.insert(0, front);
    let world = world.restart().await;
    world.register().await;
    world
}

async fn imported(world: &World, slot: u64) -> Block {
    let head = world.node.wait_for_head(|head| head.header.slot >= slot);
    tokio::time::timeout(PATIENCE, head).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_hangs_decides_nothing_for_the_others() {
    let world = fronted(4_000, Seems::Hanging).await;
    let builder = world.builder().await;
    let mut reports = builder.reports();

    // Taken by the other node: that is known and remembered at once.
    let slot = world.bid(&mut reports, world.slot_ahead(0).max(1)).await;
    let (index, key) = world.proposer(slot).await;
    let bid = world.header(slot, &key).await;
    assert_eq!(world.post(V2, &world.blinded(slot, &bid, index, &key, 0)).await, (202, Value::Null));
    let path = format!("/relay/v1/data/bidtraces/proposer_payload_delivered?slot={slot}");
    assert_eq!(world.get(&path).await.1.as_array().unwrap().len(), 1);

    // Busy is the other node: it gets the block again within the slot.
    let slot = world.bid(&mut reports, slot + 1).await;
    let (index, key) = world.proposer(slot).await;
    let bid = world.header(slot, &key).await;
    world.node.faults().set(Endpoints::Publish, Fault::fail(StatusCode::SERVICE_UNAVAILABLE).times(2));
    assert_eq!(world.post(V2, &world.blinded(slot, &bid, index, &key, 0)).await, (202, Value::Null));
    assert_eq!(imported(&world, slot).await.execution.hash, bid.header().block_hash());

    // Refused by the other node: no payload is given out on the strength of the one that hangs.
    let slot = world.bid(&mut reports, slot + 1).await;
    let (index, key) = world.proposer(slot).await;
    let bid = world.header(slot, &key).await;
    let SignedBlindedBeaconBlock::Electra(good) = world.blinded(slot, &bid, index, &key, 0) else {
        panic!("not of Electra");
    };
    let mut bad = good.message;
    bad.state_root = B256::ZERO;
    let block = BlindedBeaconBlock::Electra(bad).sign(&key, world.node.proposer_domains().block);
    let expected = json!({"code": 502, "message": "no beacon node took the block"});
    assert_eq!(world.post(V1, &block).await, (502, expected));
    builder.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_behind_does_not_judge_a_block() {
    let world = fronted(6_000, Seems::Behind).await;
    let builder = world.builder().await;
    let slot = world.bid(&mut builder.reports(), world.slot_ahead(0).max(1)).await;
    let (index, key) = world.proposer(slot).await;
    let bid = world.header(slot, &key).await;
    world.node.faults().set(Endpoints::Publish, Fault::fail(StatusCode::TOO_MANY_REQUESTS).times(1));
    assert_eq!(world.post(V1, &world.blinded(slot, &bid, index, &key, 0)).await.0, 200);
    assert_eq!(imported(&world, slot).await.execution.hash, bid.header().block_hash());
    builder.shutdown().await;
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// A relay that is killed leaves what its disk has: another goes on from a copy of that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_that_was_recorded_is_published_after_a_kill() {
    let world = World::start(Setting { slot_ms: 8_000, timing: unhurried(), ..Setting::default() }).await;
    world.register().await;
    let builder = world.builder().await;
    let slot = world.bid(&mut builder.reports(), world.slot_ahead(0).max(1)).await;
    let (index, key) = world.proposer(slot).await;
    let bid = world.header(slot, &key).await;
    let block = world.blinded(slot, &bid, index, &key, 0);
    world.node.faults().set(Endpoints::Publish, Fault::slow(PATIENCE * 2).times(1));
    assert_eq!(world.post(V2, &block).await, (202, Value::Null));
    assert!(world.node.head().header.slot < slot, "not published");

    let directory = tempfile::tempdir().unwrap();
    let mut config = world.config.clone();
    config.data_dir = directory.path().join("data");
    copy(&world.config.data_dir, &config.data_dir);
    let stop = CancellationToken::new();
    let relay = earnest_relay::start(config.clone(), stop.clone()).await.unwrap();
    let head = imported(&world, slot).await;
    assert_eq!((head.header.slot, head.root), (slot, block.message().tree_hash_root()));

    // The next start knows that it is out.
    stop.cancel();
    relay.join().await.unwrap();
    let stop = CancellationToken::new();
    let relay = earnest_relay::start(config, stop.clone()).await.unwrap();
    let path = format!("{}relay/v1/data/bidtraces/proposer_payload_delivered?slot={slot}", relay.url);
    let (status, rows) = world::answer(world.http.get(path).send().await.unwrap()).await;
    assert_eq!((status, rows.as_array().unwrap().len()), (200, 1));
    stop.cancel();
    relay.join().await.unwrap();
    builder.shutdown().await;
}

/// A kill between a node's word and its record: the block is found on the chain when the relay starts again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_that_is_on_the_chain_is_shown_as_delivered_after_a_kill() {
    let world = World::start(Setting { slot_ms: 4_000, timing: unhurried(), ..Setting::default() }).await;
    world.register().await;
    let builder = world.builder().await;
    let slot = world.bid(&mut builder.reports(), world.slot_ahead(0).max(1)).await;
    let (index, key) = world.proposer(slot).await;
    let bid = world.header(slot, &key).await;
    let block = world.blinded(slot, &bid, index, &key, 0);
    world.node.faults().set(Endpoints::Publish, Fault::slow(PATIENCE * 2).times(1));
    let (status, payload) = world.post(V1, &block).await;
    assert_eq!(status, 200, "{payload}");
    let directory = tempfile::tempdir().unwrap();
    let mut config = world.config.clone();
    config.data_dir = directory.path().join("data");
    copy(&world.config.data_dir, &config.data_dir);

    let payload = Versioned::<PayloadAndBlobs>::from_json(payload.to_string().as_bytes()).unwrap().data;
    let contents = unblind(block, payload).unwrap();
    let node = BeaconClient::new([world.node.url().clone()]).unwrap();
    let report = node.publish_block(&contents, BroadcastValidation::ConsensusAndEquivocation).await;
    assert!(report.imported(), "{report:?}");
    world.node.wait_for_slot(slot + 2).await;
    let stop = CancellationToken::new();
    let relay = earnest_relay::start(config, stop.clone()).await.unwrap();
    let path = format!("{}relay/v1/data/bidtraces/proposer_payload_delivered?slot={slot}", relay.url);
    let shown = async {
        while world::answer(world.http.get(&path).send().await.unwrap()).await.1 == json!([]) {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, shown).await.unwrap();
    stop.cancel();
    relay.join().await.unwrap();
    builder.shutdown().await;
}
