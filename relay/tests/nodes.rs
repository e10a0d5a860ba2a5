//! Several beacon nodes: one that is down, hangs, dies or disagrees costs nothing while another is well.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod world;

use alloy_primitives::B256;
use earnest_builder_types::bls::SecretKey;
use earnest_devnet::{
    beacon::{BeaconNode, BeaconOptions, MemoryEngine},
    builder::Report,
    validator::{Outcome, ValidatorOptions, Validators},
};
use std::{sync::Arc, time::Duration};
use tokio::{net::TcpListener, sync::broadcast};
use url::Url;
use world::{PATIENCE, Setting, World, proxy, proxy::Proxy, unhurried};

const BLINDED: &str = "/eth/v2/builder/blinded_blocks";

/// A block is bid for, offered, signed, and on the chain.
async fn propose(world: &World, reports: &mut broadcast::Receiver<Report>, from: u64) -> u64 {
    let slot = world.bid(reports, from).await;
    let (index, key) = world.proposer(slot).await;
    let bid = world.header(slot, &key).await;
    let (status, body) = world.post(BLINDED, &world.blinded(slot, &bid, index, &key, 0)).await;
    assert_eq!(status, 202, "{body}");
    let head = world.node.wait_for_head(|head| head.header.slot >= slot);
    let head = tokio::time::timeout(PATIENCE, head).await.unwrap();
    assert_eq!(head.execution.hash, bid.header().block_hash());
    let path = format!("/relay/v1/data/bidtraces/proposer_payload_delivered?slot={slot}");
    assert_eq!(world.get(&path).await.1.as_array().unwrap().len(), 1);
    slot
}

/// Waits until the relay has judged a node usable, or not.
async fn judged(world: &World, node: &Url, usable: bool) {
    let (host, port) = (node.host_str().unwrap(), node.port().unwrap());
    let expected = format!("earnest_relay_beacon_node_usable{{node=\"{host}:{port}\"}} {}", u8::from(usable));
    let told = async {
        loop {
            let metrics = world.http.get(world.url("/metrics")).send().await.unwrap().text().await.unwrap();
            if metrics.lines().any(|line| line == expected) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, told).await.unwrap_or_else(|_| panic!("not told: {expected}"));
}

/// Waits until the relay says that it can do its work, or that it cannot.
async fn ready(world: &World, status: u16) {
    let told = async {
        while world.http.get(world.url("/readyz")).send().await.unwrap().status() != status {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, told).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_well_node_is_enough_and_may_be_another_later() {
    let down = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let down_at = down.local_addr().unwrap();
    drop(down);
    // Takes connections and never answers.
    let hanging = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hanging_at = hanging.local_addr().unwrap();
    let mut world = World::start(Setting { slot_ms: 4_000, timing: unhurried(), ..Setting::default() }).await;
    let first = Proxy::start(None, world.node.url()).await;
    let well = first.url();
    world.config.beacon = vec![proxy::url(down_at), proxy::url(hanging_at), well.clone()];
    let world = world.restart().await;
    world.register().await;
    let builder = world.builder().await;
    let mut reports = builder.reports();
    ready(&world, 200).await;
    let slot = propose(&world, &mut reports, world.slot_ahead(0).max(1)).await;
    judged(&world, &well, true).await;
    judged(&world, &proxy::url(down_at), false).await;
    judged(&world, &proxy::url(hanging_at), false).await;

    // The well one is killed, and none is left; then the one that was down comes up.
    drop(first);
    judged(&world, &well, false).await;
    ready(&world, 503).await;
    let other = Proxy::start(Some(down_at), world.node.url()).await;
    judged(&world, &other.url(), true).await;
    ready(&world, 200).await;
    let from = world.slot_ahead(0).max(slot + 1);
    propose(&world, &mut reports, from).await;
    builder.shutdown().await;
    world.stop().await;
    drop(hanging);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_nodes_that_disagree_the_head_of_most_is_served() {
    let mut world = World::start(Setting { timing: unhurried(), ..Setting::default() }).await;
    // Another node of the same chain, for which the same validators make other blocks.
    let engine = Arc::new(MemoryEngine::new());
    let public = world.keys.iter().map(SecretKey::public_key).collect();
    let mut options = BeaconOptions::new(engine, public);
    options.genesis_time = world.node.genesis().genesis_time;
    let astray = BeaconNode::start(options).await.unwrap();
    let second = Proxy::start(None, world.node.url()).await;
    world.config.beacon = vec![astray.url().clone(), world.node.url().clone(), second.url()];
    let world = world.restart().await;
    world.register().await;
    let builder = world.builder().await;
    let mut of_astray = ValidatorOptions::new(world.keys.clone(), astray.url().clone(), None);
    of_astray.graffiti = B256::repeat_byte(9);
    let elsewhere = Validators::start(of_astray).await.unwrap();
    let relay = Some(world.relay.url.clone());
    let here = ValidatorOptions::new(world.keys.clone(), world.node.url().clone(), relay);
    let here = Validators::start(here).await.unwrap();
    let mut reports = here.reports();

    judged(&world, astray.url(), false).await;
    judged(&world, world.node.url(), true).await;
    ready(&world, 200).await;
    let mut from = world.slot_ahead(1);
    for _ in 0..3 {
        let proposal = Validators::proposal_from(&mut reports, from).await.unwrap();
        let Outcome::Builder { block_root, .. } = proposal.outcome else { panic!("{:?}", proposal.outcome) };
        assert!(world.node.chain(|chain| chain.block(block_root).is_some()));
        assert!(astray.chain(|chain| chain.block(block_root).is_none()));
        from = proposal.slot + 1;
    }
    assert!(astray.head().header.slot + 2 >= world.node.head().header.slot, "it stands on another branch");
    assert_ne!(astray.head().root, world.node.head().root);
    here.shutdown().await;
    elsewhere.shutdown().await;
    builder.shutdown().await;
    world.stop().await;
}
