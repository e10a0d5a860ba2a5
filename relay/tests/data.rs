//! The data API: every filter of relay-specs, through restarts, and what is refused.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod world;

use earnest_builder_types::{BidSubmission, BidTrace, BlsPublicKey};
use earnest_relay::Bounds;
use serde_json::{Value, json};
use std::time::Duration;
use world::{PATIENCE, Setting, World, unhurried, workshop::Workshop};

const DELIVERED: &str = "/relay/v1/data/bidtraces/proposer_payload_delivered";
const RECEIVED: &str = "/relay/v1/data/bidtraces/builder_blocks_received";
const REGISTRATION: &str = "/relay/v1/data/validator_registration";

fn setting() -> Setting {
    Setting { slot_ms: 6_000, timing: unhurried(), ..Setting::default() }
}

async fn rows(world: &World, path: &str) -> Vec<Value> {
    let (status, rows) = world.get(path).await;
    assert_eq!(status, 200, "{path}: {rows}");
    rows.as_array().unwrap().clone()
}

/// Asks until there are so many rows.
async fn rows_by_then(world: &World, path: &str, count: usize) -> Vec<Value> {
    let asking = async {
        loop {
            let rows = rows(world, path).await;
            if rows.len() >= count {
                assert_eq!(rows.len(), count, "{path}");
                return rows;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap()
}

/// The trace's fields, as every bidtrace has them.
fn fields(trace: &BidTrace, block: &BidSubmission) -> Value {
    let mut fields = serde_json::to_value(trace).unwrap();
    fields["block_number"] = json!(block.payload().block_number().to_string());
    fields["num_tx"] = json!(block.payload().transactions().len().to_string());
    fields
}

fn hashes(blocks: &[&BidSubmission]) -> Vec<Value> {
    blocks.iter().map(|block| json!(block.message().block_hash)).collect()
}

fn column(rows: &[Value], name: &str) -> Vec<Value> {
    rows.iter().map(|row| row[name].clone()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bids_received_by_every_filter_and_after_a_restart() {
    let world = World::start(setting()).await;
    world.register().await;
    world.engine.submit(world::transfer(1, 0, 5));
    let workshop = Workshop::open(&world, 1).await;
    let first = workshop.bid(&world, 1, 10, false).await;
    let second = workshop.bid(&world, 2, 30, false).await;
    let worse = workshop.block(&world, 1, 5, 3).await;
    workshop.submit(&world, &worse, false).await;
    let slot = workshop.slot;
    let (number, builder) = (first.payload().block_number(), first.message().builder_pubkey);

    let all = rows_by_then(&world, &format!("{RECEIVED}?slot={slot}"), 3).await;
    assert_eq!(column(&all, "block_hash"), hashes(&[&worse, &second, &first]), "the newest first");
    let mut row = all[2].clone();
    let now_ms = world.now_ms();
    let times = row.as_object_mut().unwrap();
    let received_ms: u64 = times.remove("timestamp_ms").unwrap().as_str().unwrap().parse().unwrap();
    assert_eq!(times.remove("timestamp").unwrap(), json!((received_ms / 1000).to_string()));
    assert!(received_ms <= now_ms && now_ms - received_ms < 60_000, "{received_ms} {now_ms}");
    assert_eq!(times.remove("optimistic_submission").unwrap(), json!(false));
    assert_eq!(row, fields(first.message(), &first));
    assert_eq!(row["num_tx"], "1");

    let hash = first.message().block_hash;
    let foreign = BlsPublicKey::repeat_byte(0xaa);
    let cases: Vec<(String, Vec<&BidSubmission>)> = vec![
        (format!("block_hash={hash}"), vec![&first]),
        (format!("block_number={number}"), vec![&worse, &second, &first]),
        (format!("builder_pubkey={builder}"), vec![&worse, &first]),
        (format!("builder_pubkey={builder}&limit=1"), vec![&worse]),
        (format!("builder_pubkey={builder}&limit=0"), vec![]),
        (format!("slot={slot}&limit=2"), vec![&worse, &second]),
        (format!("slot={slot}&limit=500"), vec![&worse, &second, &first]),
        (
            format!("slot={slot}&block_hash={hash}&block_number={number}&builder_pubkey={builder}"),
            vec![&first],
        ),
        (format!("slot={slot}&block_hash=&limit="), vec![&worse, &second, &first]),
        (format!("slot={}&block_hash={hash}", slot + 1), vec![]),
        (format!("slot={}", u64::MAX), vec![]),
        (format!("builder_pubkey={foreign}"), vec![]),
        (format!("block_number={}", u64::MAX), vec![]),
    ];
    for (query, expected) in &cases {
        let rows = rows(&world, &format!("{RECEIVED}?{query}")).await;
        assert_eq!(column(&rows, "block_hash"), hashes(expected), "{query}");
    }
    let world = world.restart().await;
    assert_eq!(rows(&world, &format!("{RECEIVED}?slot={slot}")).await, all, "after a restart");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_bids_that_passed_their_checks_are_received_and_a_slot_has_so_many() {
    let bounds = Bounds { received_per_slot: 2, ..Bounds::default() };
    let world = World::start(Setting { bounds, ..setting() }).await;
    world.register().await;
    let workshop = Workshop::open(&world, 1).await;
    let good = workshop.bid(&world, 1, 10, false).await;
    let mut forged = serde_json::to_value(workshop.block(&world, 2, 20, 2).await).unwrap();
    forged["message"]["value"] = json!("21");
    assert_eq!(world.post("/relay/v1/builder/blocks", &forged).await.0, 400);
    workshop.bid(&world, 3, 5, false).await;
    workshop.bid(&world, 4, 6, false).await;
    let rows = rows_by_then(&world, &format!("{RECEIVED}?slot={}", workshop.slot), 2).await;
    assert_eq!(rows[1]["block_hash"], json!(good.message().block_hash));
    assert_eq!(column(&rows, "value"), [json!("5"), json!("10")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payloads_delivered_by_every_filter_and_after_a_restart() {
    let world = World::start(Setting { slot_ms: 4_000, ..setting() }).await;
    world.register().await;
    let mut delivered = Vec::new();
    let mut from = 1;
    // Not in the order of their values.
    for value in [20, 30, 10] {
        let workshop = Workshop::open(&world, from).await;
        let block = workshop.bid(&world, 1, value, false).await;
        let (slot, key) = (workshop.slot, &workshop.proposer);
        let bid = world.header(slot, key).await;
        let (index, _) = world.proposer(slot).await;
        let signed = world.blinded(slot, &bid, index, key, 0);
        assert_eq!(world.post("/eth/v1/builder/blinded_blocks", &signed).await.0, 200);
        world.node.wait_for_head(|head| head.header.slot >= slot).await;
        delivered.push(block);
        from = slot + 1;
    }
    let [a, b, c] = delivered.as_slice() else { panic!("three") };
    let all = rows(&world, DELIVERED).await;
    assert_eq!(all, [c, b, a].map(|block| fields(block.message(), block)));

    let slot = |block: &BidSubmission| block.message().slot;
    let proposer = a.message().proposer_pubkey;
    let of_proposer: Vec<&BidSubmission> =
        [c, b, a].into_iter().filter(|block| block.message().proposer_pubkey == proposer).collect();
    let builder = a.message().builder_pubkey;
    let cases: Vec<(String, Vec<&BidSubmission>)> = vec![
        (format!("slot={}", slot(b)), vec![b]),
        (format!("slot={}", slot(c) + 1), vec![]),
        (format!("cursor={}", slot(b)), vec![b, a]),
        (format!("cursor={}&limit=1", slot(b)), vec![b]),
        (format!("cursor={}", u64::MAX), vec![c, b, a]),
        ("limit=2".into(), vec![c, b]),
        ("limit=0".into(), vec![]),
        (format!("block_hash={}", b.message().block_hash), vec![b]),
        (format!("block_hash={}", a.message().parent_hash), vec![]),
        (format!("block_number={}", c.payload().block_number()), vec![c]),
        (format!("proposer_pubkey={proposer}"), of_proposer),
        (format!("builder_pubkey={builder}"), vec![c, b, a]),
        (format!("builder_pubkey={proposer}"), vec![]),
        ("order_by=value".into(), vec![c, a, b]),
        ("order_by=-value".into(), vec![b, a, c]),
        ("order_by=-value&limit=1".into(), vec![b]),
        (format!("order_by=value&cursor={}", slot(b)), vec![a, b]),
        ("slot=&cursor=&order_by=".into(), vec![c, b, a]),
        (format!("slot={}&block_hash={}", slot(a), b.message().block_hash), vec![]),
    ];
    for (query, expected) in &cases {
        let rows = rows(&world, &format!("{DELIVERED}?{query}")).await;
        assert_eq!(column(&rows, "block_hash"), hashes(expected), "{query}");
    }
    let world = world.restart().await;
    assert_eq!(rows(&world, DELIVERED).await, all, "after a restart");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registration_is_shown() {
    let world = World::start(Setting::default()).await;
    let key = world.keys[0].public_key();
    let path = format!("{REGISTRATION}?pubkey={key}");
    let message = format!("no registration found for validator {key}");
    assert_eq!(world.get(&path).await, (400, json!({"code": 400, "message": message})));
    world.register().await;
    let (status, registration) = world.get(&path).await;
    assert_eq!(status, 200, "{registration}");
    let expected = json!({
        "fee_recipient": format!("0x{}", "fe".repeat(20)),
        "gas_limit": "30000000",
        "timestamp": "1700000000",
        "pubkey": key,
    });
    assert_eq!(registration["message"], expected);
    assert_eq!(registration["signature"].as_str().unwrap().len(), 2 + 192);
    // Upper-case digits are digits.
    let upper = format!("{REGISTRATION}?pubkey=0x{}", key.to_string()[2..].to_uppercase());
    assert_eq!(world.get(&upper).await, (200, registration.clone()));
    let world = world.restart().await;
    assert_eq!(world.get(&path).await, (200, registration));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_arguments_by_table() {
    let world = World::start(Setting::default()).await;
    let number = |name: &str| format!("invalid {name} argument: expected a decimal number");
    let hash = |name: &str| format!("invalid {name} argument: expected 0x and 64 hexadecimal digits");
    let key = |name: &str| format!("invalid {name} argument: expected 0x and 96 hexadecimal digits");
    let needed = "need to query for specific slot or block_hash or block_number or builder_pubkey".to_owned();
    let mut cases: Vec<(&str, String, String)> = vec![
        (DELIVERED, "slot=1&cursor=2".into(), "cannot specify both slot and cursor".into()),
        (DELIVERED, "cursor=-1".into(), number("cursor")),
        (DELIVERED, "cursor=1.5".into(), number("cursor")),
        (DELIVERED, "limit=201".into(), "maximum limit is 200".into()),
        (DELIVERED, format!("limit={}", u64::MAX), "maximum limit is 200".into()),
        (DELIVERED, "order_by=slot".into(), "invalid order_by argument: expected value or -value".into()),
        (DELIVERED, "order_by=VALUE".into(), "invalid order_by argument: expected value or -value".into()),
        (DELIVERED, "proposer_pubkey=0x12".into(), key("proposer_pubkey")),
        (DELIVERED, format!("proposer_pubkey=0x{}", "zz".repeat(48)), key("proposer_pubkey")),
        (RECEIVED, String::new(), needed.clone()),
        (RECEIVED, "limit=10".into(), needed.clone()),
        (RECEIVED, "slot=".into(), needed),
        (RECEIVED, "slot=1&cursor=1".into(), "cursor argument not supported: ask for a slot".into()),
        (RECEIVED, "slot=1&limit=501".into(), "maximum limit is 500".into()),
        (REGISTRATION, String::new(), "missing pubkey argument".into()),
        (REGISTRATION, "pubkey=".into(), "missing pubkey argument".into()),
        (REGISTRATION, "pubkey=0x12".into(), key("pubkey")),
        (REGISTRATION, "pubkey=%ff%fe".into(), key("pubkey")),
        (REGISTRATION, format!("pubkey=0x{}", "ab".repeat(49)), key("pubkey")),
    ];
    for path in [DELIVERED, RECEIVED] {
        for value in ["-1", "x", "0x1", "1e3", "18446744073709551616", "%00", "1%202"] {
            cases.push((path, format!("slot={value}"), number("slot")));
            cases.push((path, format!("slot=1&block_number={value}"), number("block_number")));
            cases.push((path, format!("slot=1&limit={value}"), number("limit")));
        }
        for value in
            ["0x", "0x12", "zz", &format!("0x{}", "ab".repeat(33)), &format!("0x{}", "g0".repeat(32))]
        {
            cases.push((path, format!("block_hash={value}"), hash("block_hash")));
            cases.push((path, format!("builder_pubkey={value}"), key("builder_pubkey")));
        }
        cases.push((path, "slot=1&slot=2".into(), "slot is given twice".into()));
    }
    for (path, query, message) in cases {
        let expected = (400, json!({"code": 400, "message": message}));
        assert_eq!(world.get(&format!("{path}?{query}")).await, expected, "{path}?{query}");
    }
    for path in [DELIVERED, RECEIVED, REGISTRATION] {
        assert_eq!(world.post(path, &json!({})).await.0, 405);
    }
}
