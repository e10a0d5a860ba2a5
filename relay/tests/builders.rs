//! Whose blocks are taken, and what a simulation decides.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod world;

use earnest_builder_types::{BidSubmission, bls::SecretKey};
use earnest_relay::{BuildersConfig, SimulationConfig};
use serde_json::{Value, json};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use world::{Setting, World, rpc::Rpc, unhurried, workshop::Workshop};

const BLOCKS: &str = "/relay/v1/builder/blocks";

fn simulating(endpoints: &[&Rpc], timeout_ms: u64) -> Setting {
    let endpoints = endpoints.iter().map(|rpc| rpc.url.clone()).collect();
    let simulation = SimulationConfig { endpoints, timeout_ms, ..SimulationConfig::default() };
    Setting { slot_ms: 4_000, timing: unhurried(), simulation, ..Setting::default() }
}

/// A builder's block for a slot that comes.
async fn block(world: &World) -> BidSubmission {
    let workshop = Workshop::open(world, world.slot_ahead(2)).await;
    workshop.block(world, 98, 7, 1).await
}

async fn submit(world: &World, submission: &BidSubmission) -> (u16, Option<String>) {
    let (status, body) = world.submit(BLOCKS, submission).await;
    (
        status,
        body["code"]
            .as_str()
            .map(str::to_owned)
            .or_else(|| body["code"].as_u64().map(|code| code.to_string())),
    )
}

fn refused(status: u16, code: &str) -> (u16, Option<String>) {
    (status, Some(code.to_owned()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocks_of_builders_that_are_not_listed_are_not_taken() {
    let other = SecretKey::from_bytes(&[1; 32]).unwrap().public_key();
    let builders = BuildersConfig { allowed: vec![other], ..BuildersConfig::default() };
    let world = World::start(Setting { builders, ..simulating(&[], 1) }).await;
    world.register().await;
    let submission = block(&world).await;
    assert_eq!(submit(&world, &submission).await, refused(403, "builder_not_allowed"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_is_offered_only_after_a_simulation_that_succeeds() {
    let good = Rpc::start(|_, _| Ok(Value::Null)).await;
    let world = World::start(simulating(&[&good], 5_000)).await;
    world.register().await;
    let submission = block(&world).await;
    let slot = submission.message().slot;
    assert_eq!(submit(&world, &submission).await, (200, None));
    let (_, proposer) = world.proposer(slot).await;
    let header = world.header(slot, &proposer).await;
    assert_eq!(header.header().block_hash(), submission.payload().block_hash());
    let calls = good.calls.lock().clone();
    let [(method, params)] = calls.as_slice() else { panic!("{} calls", calls.len()) };
    assert_eq!(method, "flashbots_validateBuilderSubmissionV4");
    assert_eq!(params[0]["message"], json!(submission.message()));
    assert_eq!(params[0]["registered_gas_limit"], "30000000");
    assert!(params[0]["parent_beacon_block_root"].as_str().is_some_and(|root| root.len() == 66));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_that_fails_is_refused_and_its_builder_demoted_for_good() {
    let bad = Rpc::start(|_, _| Err("payment is short".to_owned())).await;
    let world = World::start(simulating(&[&bad], 5_000)).await;
    world.register().await;
    let submission = block(&world).await;
    let slot = submission.message().slot;
    let (status, body) = world.submit(BLOCKS, &submission).await;
    assert_eq!((status, &body["code"]), (400, &json!("simulation_failed")), "{body}");
    assert!(body["message"].as_str().unwrap().contains("payment is short"));
    let (_, proposer) = world.proposer(slot).await;
    world.node.wait_for_slot(slot).await;
    let path = world.header_path("/eth/v1/builder/header", slot, &proposer);
    assert_eq!(world.get(&path).await, (204, Value::Null));

    // Where nothing is simulated any more its blocks are not taken, also after a restart.
    let mut world = world;
    world.config.simulation = SimulationConfig::default();
    let world = world.restart().await;
    let submission = block(&world).await;
    assert_eq!(submit(&world, &submission).await, refused(403, "builder_demoted"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_does_not_answer_is_passed_over_and_no_success() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let good = Rpc::start(move |_, _| {
        count.fetch_add(1, Ordering::SeqCst);
        Ok(Value::Null)
    })
    .await;
    // Takes connections and never answers.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hung = url::Url::parse(&format!("http://{}", silent.local_addr().unwrap())).unwrap();
    let mut setting = simulating(&[&good], 300);
    setting.simulation.endpoints.insert(0, hung.clone());
    let world = World::start(setting).await;
    world.register().await;
    let submission = block(&world).await;
    assert_eq!(submit(&world, &submission).await, (200, None));
    assert_eq!(asked.load(Ordering::SeqCst), 1);

    let mut world = world;
    world.config.simulation.endpoints = vec![hung];
    let world = world.restart().await;
    let submission = block(&world).await;
    assert_eq!(submit(&world, &submission).await, refused(503, "simulation_unavailable"));
    // No fault of the builder's.
    world.node.wait_for_slot(1).await;
    let submission = block(&world).await;
    assert_eq!(submit(&world, &submission).await, refused(503, "simulation_unavailable"));
}
