//! Blocks proposed through the relay, and what stops a second one.
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
    BlindedBeaconBlock, ForkCodec, PayloadAndBlobs, SignedBlindedBeaconBlock, SignedBuilderBid, Versioned,
};
use earnest_client::{HeaderRequest, Limits, RelayClient};
use earnest_devnet::beacon::{Endpoints, Fault};
use earnest_devnet::validator::{Outcome, Submission, ValidatorOptions, Validators};
use earnest_http::LimitConfig;
use earnest_relay::Bounds;
use reqwest::StatusCode;
use serde_json::{Value, json};
use std::time::Duration;
use world::{Setting, World, unhurried, workshop::Workshop};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn validators_propose_blocks_of_the_relay() {
    let world = World::start(Setting { timing: unhurried(), ..Setting::default() }).await;
    let builder = world.builder().await;
    for submission in [Submission::V1, Submission::V2] {
        let url = Some(world.relay.url.clone());
        let mut options = ValidatorOptions::new(world.keys.clone(), world.node.url().clone(), url);
        options.submission = submission;
        let validators = Validators::start(options).await.unwrap();
        let mut reports = validators.reports();
        // The first slot may come before the builder knows who is registered.
        let mut from = 0;
        let (block_root, block_hash) = loop {
            let proposal = Validators::proposal_from(&mut reports, from).await.unwrap();
            from = proposal.slot + 1;
            match proposal.outcome {
                Outcome::Builder { block_root, block_hash, .. } => break (block_root, block_hash),
                other => assert!(from < 20, "no block of the relay by slot {from}: {other:?}"),
            }
        };
        let head = world.node.wait_for_head(|head| head.root == block_root || head.header.slot >= from).await;
        assert!(world.node.chain(|chain| chain.block(block_root).is_some()), "{head:?}");
        let path = format!("/relay/v1/data/bidtraces/proposer_payload_delivered?block_hash={block_hash}");
        let (status, rows) = world.get(&path).await;
        assert_eq!((status, rows.as_array().unwrap().len()), (200, 1));
        assert_eq!(rows[0]["slot"], (from - 1).to_string());
        validators.shutdown().await;
    }
    builder.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_block_for_a_slot_whatever_restarts_come_between() {
    let world = World::start(Setting { slot_ms: 6_000, timing: unhurried(), ..Setting::default() }).await;
    world.register().await;
    let builder = world.builder().await;
    let mut reports = builder.reports();
    let slot = world.bid(&mut reports, world.slot_ahead(0).max(1)).await;
    let (index, key) = world.proposer(slot).await;
    let bid = world.header(slot, &key).await;
    let first = world.blinded(slot, &bid, index, &key, 1);
    let second = world.blinded(slot, &bid, index, &key, 2);

    // A crash between header and payload: the header is honoured.
    let world = world.restart().await;
    let (status, payload) = world.post("/eth/v1/builder/blinded_blocks", &first).await;
    assert_eq!(status, 200, "{payload}");
    let payload = Versioned::<PayloadAndBlobs>::from_json(&serde_json::to_vec(&payload).unwrap()).unwrap();
    assert_eq!(payload.data.payload().block_hash(), bid.header().block_hash());

    let refused = json!({"code": 400, "message": "another block of this slot was unblinded before"});
    for version in ["v1", "v2"] {
        let path = format!("/eth/{version}/builder/blinded_blocks");
        assert_eq!(world.post(&path, &second).await, (400, refused.clone()));
    }
    let world = world.restart().await;
    assert_eq!(world.post("/eth/v1/builder/blinded_blocks", &second).await, (400, refused));
    assert_eq!(world.post("/eth/v2/builder/blinded_blocks", &first).await, (202, Value::Null));

    // The same in SSZ.
    let client = RelayClient::new(&world.relay.url, Limits::default()).unwrap();
    client.submit_blinded_v2(&first).await.unwrap();
    let refusal = client.submit_blinded_v2(&second).await.unwrap_err();
    assert_eq!(refusal.refusal().unwrap().status, 400);
    assert_eq!(world.node.head().header.slot, slot, "published");
    builder.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_in_json_and_ssz_are_one_bid() {
    let world = World::start(Setting { slot_ms: 4_000, timing: unhurried(), ..Setting::default() }).await;
    world.register().await;
    let builder = world.builder().await;
    let slot = world.bid(&mut builder.reports(), world.slot_ahead(0).max(1)).await;
    let (index, key) = world.proposer(slot).await;
    let bid = world.header(slot, &key).await;
    bid.verify(world.node.builder_domain()).unwrap();
    assert_eq!(bid.pubkey(), world.relay.pubkey);

    let client = RelayClient::new(&world.relay.url, Limits::default()).unwrap();
    let parent_hash = bid.header().parent_hash();
    let wanted = HeaderRequest { slot, parent_hash, pubkey: key.public_key() };
    assert_eq!(client.header(&wanted).await.unwrap(), Some(bid.clone()));
    let with = client.header_with_proofs(&wanted, std::time::Duration::from_secs(5)).await.unwrap().unwrap();
    assert_eq!(with.bid, bid);
    assert_eq!(with.inclusions().unwrap(), []);

    // What must not be unblinded, each by its own words; then what may.
    let good = world.blinded(slot, &bid, index, &key, 0);
    let other = (index + 1) % 4;
    let other_key = world.keys[usize::try_from(other).unwrap()].clone();
    let cases = [
        (
            world.blinded(slot, &bid, other, &other_key, 0),
            format!("validator {other} does not propose this slot"),
        ),
        (
            world.blinded(slot, &bid, index, &other_key, 0),
            "proposer's signature: signature does not verify".to_owned(),
        ),
        (
            world.blinded(slot + 1, &bid, index, &key, 0),
            "the header is not one that this relay offered".to_owned(),
        ),
    ];
    for (block, message) in cases {
        let expected = json!({"code": 400, "message": message});
        assert_eq!(world.post("/eth/v1/builder/blinded_blocks", &block).await, (400, expected));
    }
    let mut changed = serde_json::to_value(&good).unwrap();
    changed["message"]["body"]["execution_payload_header"]["gas_used"] = json!("1");
    let expected = json!({"code": 400, "message": "the header is not the one that this relay offered"});
    assert_eq!(world.post("/eth/v1/builder/blinded_blocks", &changed).await, (400, expected));
    let answer = world
        .http
        .post(world.url("/eth/v1/builder/blinded_blocks"))
        .header("accept", "application/octet-stream")
        .json(&good)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["eth-consensus-version"], "electra");
    let payload = PayloadAndBlobs::from_ssz(good.fork(), &answer.bytes().await.unwrap()).unwrap();
    assert_eq!(payload.payload().block_hash(), bid.header().block_hash());
    builder.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_beacon_node_that_hangs_or_refuses_is_not_waited_for() {
    let world = World::start(Setting { slot_ms: 4_000, timing: unhurried(), ..Setting::default() }).await;
    world.register().await;
    let builder = world.builder().await;
    let mut reports = builder.reports();
    let path = "/eth/v1/builder/blinded_blocks";

    // Refused by the only node: no payload is given out on the strength of it.
    let slot = world.bid(&mut reports, world.slot_ahead(0).max(1)).await;
    let (index, key) = world.proposer(slot).await;
    let bid = world.header(slot, &key).await;
    let SignedBlindedBeaconBlock::Electra(good) = world.blinded(slot, &bid, index, &key, 0) else {
        panic!("not of Electra");
    };
    let mut bad = good.message;
    bad.state_root = B256::ZERO;
    let block = BlindedBeaconBlock::Electra(bad).sign(&key, world.node.proposer_domains().block);
    let expected = json!({"code": 502, "message": "no beacon node took the block"});
    assert_eq!(world.post(path, &block).await, (502, expected));

    // Busy for a moment: that is no judgement, and the block is sent again.
    let slot = world.bid(&mut reports, slot + 1).await;
    let (index, key) = world.proposer(slot).await;
    let bid = world.header(slot, &key).await;
    world.node.faults().set(Endpoints::Publish, Fault::fail(StatusCode::TOO_MANY_REQUESTS).times(1));
    let block = world.blinded(slot, &bid, index, &key, 0);
    assert_eq!(world.post(path, &block).await.0, 200);
    let head = world.node.wait_for_head(|head| head.header.slot >= slot).await;
    assert_eq!(head.execution.hash, bid.header().block_hash());

    // Slow: the payload comes all the same, and the block too.
    let slot = world.bid(&mut reports, slot + 1).await;
    let (index, key) = world.proposer(slot).await;
    let bid = world.header(slot, &key).await;
    world.node.faults().set(Endpoints::Publish, Fault::slow(Duration::from_millis(2_000)).times(1));
    let block = world.blinded(slot, &bid, index, &key, 0);
    let asked = std::time::Instant::now();
    assert_eq!(world.post(path, &block).await.0, 200);
    assert!(asked.elapsed() < Duration::from_millis(1_500), "waited {:?}", asked.elapsed());
    let head = world.node.wait_for_head(|head| head.header.slot >= slot).await;
    assert_eq!(head.execution.hash, bid.header().block_hash());
    builder.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_is_honoured_though_the_proposers_are_not_known_after_a_restart() {
    let world = World::start(Setting { slot_ms: 6_000, timing: unhurried(), ..Setting::default() }).await;
    world.register().await;
    let builder = world.builder().await;
    let slot = world.bid(&mut builder.reports(), world.slot_ahead(0).max(1)).await;
    let (index, key) = world.proposer(slot).await;
    let bid = world.header(slot, &key).await;
    for endpoints in [Endpoints::Duties, Endpoints::Lookahead] {
        world.node.faults().set(endpoints, Fault::fail(StatusCode::SERVICE_UNAVAILABLE));
    }
    let world = world.restart().await;
    let (_, schedule) = world.get("/ordering/v1/schedule").await;
    assert_eq!(schedule["slots"], json!([]), "nothing is known of the proposers");
    let path = "/eth/v1/builder/blinded_blocks";
    let other = world.keys[usize::try_from((index + 1) % 4).unwrap()].clone();
    assert_eq!(world.post(path, &world.blinded(slot, &bid, index, &other, 0)).await.0, 400);
    assert_eq!(world.post(path, &world.blinded(slot, &bid, index, &key, 0)).await.0, 200);
    builder.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_over_its_limit_may_still_send_its_block() {
    let clients = LimitConfig { per_second: 1, burst: 1, ..LimitConfig::default() };
    let world = World::start(Setting { clients, ..Setting::default() }).await;
    let limited = async || world.get("/eth/v1/builder/status").await.0 == 429;
    assert!(limited().await || limited().await, "two at once");
    for version in ["v1", "v2"] {
        let path = format!("/eth/{version}/builder/blinded_blocks");
        for _ in 0..3 {
            assert_eq!(world.post(&path, &json!({})).await.0, 400);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_full_disk_a_header_is_honoured_and_none_is_given() {
    let mut world = World::start(Setting { slot_ms: 6_000, timing: unhurried(), ..Setting::default() }).await;
    world.register().await;
    let builder = world.builder().await;
    let slot = world.bid(&mut builder.reports(), world.slot_ahead(0).max(1)).await;
    let (index, key) = world.proposer(slot).await;
    let bid = world.header(slot, &key).await;
    world.config.free_space_floor = u64::MAX / 2;
    let world = world.restart().await;
    let path = world.header_path("/eth/v1/builder/header", slot, &key);
    assert_eq!(world.get(&path).await, (204, Value::Null));
    let block = world.blinded(slot, &bid, index, &key, 0);
    assert_eq!(world.post("/eth/v1/builder/blinded_blocks", &block).await.0, 200);
    let head = world.node.wait_for_head(|head| head.header.slot >= slot).await;
    assert_eq!(head.execution.hash, bid.header().block_hash());
    builder.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_that_comes_early_is_judged_before_it_waits() {
    let world = World::start(Setting { slot_ms: 8_000, timing: unhurried(), ..Setting::default() }).await;
    world.register().await;
    let builder = world.builder().await;
    let slot = world.bid(&mut builder.reports(), world.slot_ahead(0).max(1)).await;
    let (index, key) = world.proposer(slot).await;
    let path = world.header_path("/eth/v1/builder/header", slot, &key);
    let body = world.http.get(world.url(&path)).send().await.unwrap().bytes().await.unwrap();
    let bid = Versioned::<SignedBuilderBid>::from_json(&body).unwrap().data;
    let other = world.keys[usize::try_from((index + 1) % 4).unwrap()].clone();
    let path = "/eth/v1/builder/blinded_blocks";
    let start_ms = world.node.clock().start_of(slot);
    assert_eq!(world.post(path, &world.blinded(slot, &bid, index, &other, 0)).await.0, 400);
    assert!(world.now_ms() < start_ms, "judged only in its slot");
    assert_eq!(world.post(path, &world.blinded(slot, &bid, index, &key, 0)).await.0, 200);
    assert!(world.now_ms() >= start_ms, "given out before its slot");
    builder.shutdown().await;
}

/// Whoever asks for headers again and again keeps no better bid off, and the first header is honoured all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_asked_for_between_bids_stop_neither_bids_nor_payloads() {
    let bounds = Bounds { offered_per_slot: 2, ..Bounds::default() };
    let world =
        World::start(Setting { slot_ms: 6_000, timing: unhurried(), bounds, ..Setting::default() }).await;
    world.register().await;
    let workshop = Workshop::open(&world, world.slot_ahead(1)).await;
    let (slot, key) = (workshop.slot, &workshop.proposer);
    let (index, _) = world.proposer(slot).await;
    let mut first = None;
    for value in 1..=6_u8 {
        let block = workshop.bid(&world, value, value.into(), false).await;
        let bid = world.header(slot, key).await;
        assert_eq!(bid.header().block_hash(), block.message().block_hash, "bid {value}");
        first.get_or_insert(bid);
    }
    let first = first.unwrap();
    let blinded = world.blinded(slot, &first, index, key, 1);
    // What is not signed by the proposer has nothing read for it.
    let other = world.keys.iter().find(|other| other.public_key() != key.public_key()).unwrap();
    let (status, refused) =
        world.post("/eth/v1/builder/blinded_blocks", &world.blinded(slot, &first, index, other, 1)).await;
    assert!(status == 400 && refused["message"].as_str().unwrap().starts_with("proposer's signature"));
    let (status, payload) = world.post("/eth/v1/builder/blinded_blocks", &blinded).await;
    assert_eq!(status, 200, "{payload}");
    let payload = Versioned::<PayloadAndBlobs>::from_json(&serde_json::to_vec(&payload).unwrap()).unwrap();
    assert_eq!(payload.data.payload().block_hash(), first.header().block_hash());
}
