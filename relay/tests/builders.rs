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
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};
use world::{PATIENCE, Setting, World, rpc::Rpc, unhurried, workshop::Workshop};

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

/// Whether these builders are demoted: where nothing is simulated any more, their blocks are not taken. Restarts the relay.
async fn are_demoted<const N: usize>(mut world: World, builders: [u8; N]) -> [bool; N] {
    world.config.simulation = SimulationConfig::default();
    let world = world.restart().await;
    let workshop = Workshop::open(&world, world.slot_ahead(1)).await;
    let mut demoted = [false; N];
    for (builder, demoted) in builders.into_iter().zip(&mut demoted) {
        let (status, code) = submit(&world, &workshop.block(&world, builder, 1, builder).await).await;
        assert!(status == 200 || code.as_deref() == Some("builder_demoted"), "{status} {code:?}");
        *demoted = status == 403;
    }
    demoted
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_judgement_that_another_endpoint_confirms_demotes() {
    const GOOD: (i64, &str) = (0, "");
    const BAD: (i64, &str) = (-32000, "payment is short");
    const BEHIND: (i64, &str) = (-32000, "unknown ancestor");
    // Of the builder of each number: what the endpoints say of its block, and what comes of it. They are asked first in turn.
    let cases = [
        (BAD, BAD, refused(400, "simulation_failed")),
        (GOOD, BAD, refused(400, "simulation_failed")),
        (BEHIND, BAD, refused(400, "simulation_failed")),
        (BEHIND, (-32601, "no such method"), refused(503, "simulation_unavailable")),
        ((-32005, "limit"), GOOD, (200, None)),
    ];
    let says = |said: [(i64, &'static str); 5]| {
        Rpc::start_coded(move |_, params| {
            let value: usize = params[0]["message"]["value"].as_str().unwrap().parse().unwrap();
            let (code, message) = said[value - 1];
            if code == 0 { Ok(Value::Null) } else { Err((code, message.to_owned())) }
        })
    };
    let one = says(std::array::from_fn(|case| cases[case].0)).await;
    let other = says(std::array::from_fn(|case| cases[case].1)).await;
    let world = World::start(simulating(&[&one, &other], 5_000)).await;
    world.register().await;
    let workshop = Workshop::open(&world, world.slot_ahead(1)).await;
    for (builder, (_, _, expected)) in (1_u8..).zip(&cases) {
        let submission = workshop.block(&world, builder, builder.into(), builder).await;
        assert_eq!(submit(&world, &submission).await, *expected, "builder {builder}");
    }
    assert_eq!(are_demoted(world, [1, 2, 3, 4, 5]).await, [true, false, false, false, false]);
}

/// An endpoint that says when it is asked, and judges each block by its value once it is told to go on.
async fn held_up() -> (Rpc, tokio::sync::mpsc::UnboundedReceiver<()>, mpsc::Sender<()>) {
    let (asked, was_asked) = tokio::sync::mpsc::unbounded_channel();
    let (go_on, wait) = mpsc::channel();
    let wait = parking_lot::Mutex::new(wait);
    let rpc = Rpc::start(move |_, params| {
        asked.send(()).unwrap();
        tokio::task::block_in_place(|| wait.lock().recv_timeout(PATIENCE).unwrap());
        if params[0]["message"]["value"] == "13" {
            Err("payment is short".to_owned())
        } else {
            Ok(Value::Null)
        }
    })
    .await;
    (rpc, was_asked, go_on)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_builder_that_leaves_during_the_simulation_keeps_its_bid_or_its_demotion() {
    let (endpoint, mut asked, go_on) = held_up().await;
    let world = World::start(simulating(&[&endpoint], 60_000)).await;
    world.register().await;
    let workshop = Workshop::open(&world, world.slot_ahead(2)).await;
    // So that the relay has heard of what it is built on.
    go_on.send(()).unwrap();
    workshop.bid(&world, 1, 5, false).await;
    asked.recv().await.unwrap();
    for (builder, value) in [(2, 13), (3, 20)] {
        let block = workshop.block(&world, builder, value, builder).await;
        let request = world.http.post(world.url(BLOCKS)).json(&block);
        let sending = tokio::spawn(request.send());
        asked.recv().await.unwrap();
        sending.abort();
        assert!(sending.await.unwrap_err().is_cancelled());
        // By when the relay has seen that the connection is gone.
        for _ in 0..20 {
            assert_eq!(world.get("/eth/v1/builder/status").await.0, 200);
        }
        go_on.send(()).unwrap();
    }
    let bid = world.header(workshop.slot, &workshop.proposer).await;
    assert_eq!(bid.value(), alloy_primitives::U256::from(20));
    assert_eq!(are_demoted(world, [2, 3]).await, [true, false]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_builders_blocks_that_wait_the_newest_are_simulated_and_others_leave_in_time() {
    let (endpoint, mut asked, go_on) = held_up().await;
    let mut setting = simulating(&[&endpoint], 60_000);
    setting.simulation.parallel = 1;
    let world = Arc::new(World::start(setting).await);
    world.register().await;
    let workshop = Workshop::open(&world, world.slot_ahead(1)).await;
    go_on.send(()).unwrap();
    workshop.bid(&world, 1, 5, false).await;
    asked.recv().await.unwrap();
    let mut blocks = Vec::new();
    for value in 21..=24_u8 {
        blocks.push(workshop.block(&world, 2, value.into(), value).await);
    }
    let mut sending = blocks.into_iter().map(|block| {
        let world = Arc::clone(&world);
        tokio::spawn(async move { submit(&world, &block).await })
    });
    let first = sending.next().unwrap();
    asked.recv().await.unwrap();
    // Which of them comes first is not known; three wait where two may.
    let (superseded, _, rest) = futures::future::select_all(sending).await;
    assert_eq!(superseded.unwrap(), refused(503, "simulation_superseded"));
    // The endpoint says nothing more until the slot's headers are over: those that wait leave.
    for late in rest {
        assert_eq!(late.await.unwrap(), refused(503, "simulation_late"));
    }
    go_on.send(()).unwrap();
    assert_eq!(first.await.unwrap().0, 400, "it is past");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_blocks_that_passed_their_simulation_count_as_received() {
    let endpoint = Rpc::start(|_, params| {
        if params[0]["message"]["value"] == "13" {
            Err("payment is short".to_owned())
        } else {
            Ok(Value::Null)
        }
    })
    .await;
    let world = World::start(simulating(&[&endpoint], 5_000)).await;
    world.register().await;
    let workshop = Workshop::open(&world, world.slot_ahead(1)).await;
    let bad = workshop.block(&world, 1, 13, 1).await;
    assert_eq!(submit(&world, &bad).await, refused(400, "simulation_failed"));
    let good = workshop.bid(&world, 2, 5, false).await;
    let path = format!("/relay/v1/data/bidtraces/builder_blocks_received?slot={}", workshop.slot);
    let shown = async {
        loop {
            let (_, rows) = world.get(&path).await;
            let rows = rows.as_array().unwrap().clone();
            if !rows.is_empty() {
                return rows;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let rows = tokio::time::timeout(PATIENCE, shown).await.unwrap();
    let hashes: Vec<&Value> = rows.iter().map(|row| &row["block_hash"]).collect();
    assert_eq!(hashes, [&json!(good.message().block_hash)]);
}
