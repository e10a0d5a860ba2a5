//! The Constraints API beyond who may constrain: readers, streams, the cut-off on the parent's state, blocks with proofs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod world;

use alloy_consensus::{TxEnvelope, transaction::SignerRecoverable};
use alloy_eips::eip2718::Decodable2718;
use alloy_primitives::{Address, B256, Bytes};
use earnest_builder_types::{BidSubmission, SignedBuilderBid, Versioned, bls::SecretKey};
use earnest_client::{HeaderRequest, Limits, RelayClient};
use earnest_protocol::{
    Slot,
    objects::{
        Constraint, ConstraintStatus, ConstraintsMessage, Delegation, SignedConstraintReceipt,
        SignedConstraints, SignedDelegation,
    },
    receiver::Receiver,
};
use futures::StreamExt;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use world::{
    Setting, World,
    rpc::Rpc,
    transfer, unhurried,
    workshop::{Workshop, proofs},
};

fn key(byte: u8) -> SecretKey {
    SecretKey::from_bytes(&[byte; 32]).unwrap()
}

/// Delegates `slot` to key 50.
async fn delegate(world: &World, slot: u64) -> SecretKey {
    let (_, proposer) = world.proposer(slot).await;
    let message = Delegation {
        proposer: proposer.public_key(),
        delegate: key(50).public_key(),
        committer: Address::repeat_byte(1),
        slot: Slot(slot),
        metadata: Bytes::new(),
    };
    let signed = SignedDelegation::sign(message, &proposer, &world.network).unwrap();
    assert_eq!(world.post("/constraints/v0/builder/delegate", &signed).await.0, 200);
    proposer
}

async fn constrain(
    world: &World,
    slot: u64,
    proposer: &SecretKey,
    transactions: &[Bytes],
    receivers: &[u8],
) -> (SignedConstraints, SignedConstraintReceipt) {
    let message = ConstraintsMessage {
        proposer: proposer.public_key(),
        delegate: key(50).public_key(),
        slot: Slot(slot),
        constraints: transactions.iter().map(|tx| Constraint::inclusion(Slot(slot), tx.clone())).collect(),
        receivers: receivers.iter().map(|byte| key(*byte).public_key()).collect(),
    };
    let signed = SignedConstraints::sign(message, &key(50), &world.network).unwrap();
    let (status, receipt) = world.post("/constraints/v0/builder/constraints", &signed).await;
    assert_eq!(status, 200, "{receipt}");
    (signed, serde_json::from_value(receipt).unwrap())
}

async fn read(world: &World, path: &str, headers: &[(&'static str, String)]) -> (u16, Value) {
    let mut request = world.http.get(world.url(path));
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    world::answer(request.send().await.unwrap()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn constraints_for_receivers_are_shown_to_those_who_prove_their_key() {
    let world = World::start(Setting { slot_ms: 4_000, ..Setting::default() }).await;
    let slot = world.slot_ahead(3);
    let proposer = delegate(&world, slot).await;
    let (open, _) = constrain(&world, slot, &proposer, &[transfer(1, 0, 1)], &[]).await;
    let (closed, receipt) = constrain(&world, slot, &proposer, &[transfer(2, 0, 1)], &[61, 62]).await;
    let path = format!("/constraints/v0/relay/constraints/{slot}");
    let sign = |byte: u8, slot: u64| Receiver::sign(Slot(slot), &key(byte), &world.network).to_headers();

    assert_eq!(world.get(&path).await, (200, json!([open])));
    assert_eq!(read(&world, &path, &sign(63, slot)).await, (200, json!([open])));
    for reader in [61, 62, 50] {
        assert_eq!(read(&world, &path, &sign(reader, slot)).await, (200, json!([open, closed])), "{reader}");
    }
    let of_proposer = Receiver::sign(Slot(slot), &proposer, &world.network).to_headers();
    assert_eq!(read(&world, &path, &of_proposer).await, (200, json!([open, closed])));
    let bare: Vec<_> = sign(61, slot)
        .into_iter()
        .map(|(name, value)| (name, value.trim_start_matches("0x").to_uppercase()))
        .collect();
    assert_eq!(read(&world, &path, &bare).await, (200, json!([open, closed])));

    let (status, body) = read(&world, &path, &sign(61, slot + 1)).await;
    assert_eq!((status, &body["code"]), (401, &json!("bad_receiver_signature")));
    let mut stolen = sign(61, slot);
    stolen[0].1 = key(62).public_key().to_string();
    assert_eq!(read(&world, &path, &stolen).await.0, 401);
    assert_eq!(read(&world, &path, &sign(61, slot)[..1]).await.0, 400);
    let (status, body) =
        read(&world, &path, &[("x-receiver-publickey", "0xzz".into()), ("x-receiver-signature", "ü".into())])
            .await;
    assert_eq!(status, 400, "{body}");

    let (_, all) = read(&world, &format!("/ordering/v1/constraints/{slot}"), &sign(61, slot)).await;
    assert_eq!(all[1], json!({"constraints": closed, "receipt": receipt}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stream_tells_what_is_held_and_then_what_comes() {
    let bounds = earnest_relay::Bounds { streams_per_client: 1, ..Default::default() };
    let world = World::start(Setting { slot_ms: 6_000, bounds, ..Setting::default() }).await;
    let slot = world.slot_ahead(3);
    let proposer = delegate(&world, slot).await;
    let (first, _) = constrain(&world, slot, &proposer, &[transfer(1, 0, 1)], &[]).await;
    let path = "/constraints/v0/relay/constraints_stream";
    let open = async |path: &str| world.http.get(world.url(path)).send().await.unwrap();
    let response = open(path).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.bytes_stream();
    let mut text = String::new();
    let mut next = async || loop {
        if let Some((event, rest)) = text.split_once("\n\n") {
            let event = event.to_owned();
            text = rest.to_owned();
            return event;
        }
        let chunk =
            tokio::time::timeout(Duration::from_secs(60), body.next()).await.unwrap().unwrap().unwrap();
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    };
    let event = |constraints: &SignedConstraints| {
        format!("event: signed_constraints\ndata: {}", serde_json::to_string(&[constraints]).unwrap())
    };
    assert_eq!(next().await, event(&first));
    assert_eq!(open(path).await.status(), 429);
    assert_eq!(open(&format!("{path}?slot=x")).await.status(), 400);
    let _hidden = constrain(&world, slot, &proposer, &[transfer(2, 0, 1)], &[61]).await;
    let (third, _) = constrain(&world, slot, &proposer, &[transfer(3, 0, 1)], &[]).await;
    assert_eq!(next().await, event(&third));
    let (_, last) = tokio::join!(world.stop(), next());
    assert_eq!(last, "event: dropped\ndata: the relay is stopping");
}

/// An execution client whose accounts have nonce 0 and one ether, but sender 2's is used.
async fn execution() -> Rpc {
    let used = world::sender(2).to_string().to_lowercase();
    Rpc::start(move |method, params| {
        let of_used = params[0].as_str().is_some_and(|account| account.to_lowercase() == used);
        match method {
            "eth_getBlockByHash" => Ok(block(params[0].as_str().unwrap())),
            "eth_getTransactionCount" => Ok(json!(if of_used { "0x1" } else { "0x0" })),
            "eth_getBalance" => Ok(json!("0xde0b6b3a7640000")),
            _ => Err(format!("no {method}")),
        }
    })
    .await
}

fn block(hash: &str) -> Value {
    let zero = B256::ZERO;
    json!({
        "hash": hash, "parentHash": zero, "sha3Uncles": zero, "miner": Address::ZERO, "stateRoot": zero,
        "transactionsRoot": zero, "receiptsRoot": zero, "logsBloom": format!("0x{}", "00".repeat(256)),
        "difficulty": "0x0", "number": "0x1", "gasLimit": "0x1c9c380", "gasUsed": "0x0", "timestamp": "0x1",
        "extraData": "0x", "mixHash": zero, "nonce": "0x0000000000000000", "baseFeePerGas": "0x7", "size": "0x1",
        "uncles": [], "transactions": [],
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_be_in_no_block_is_dropped_at_the_cut_off() {
    let rpc = execution().await;
    let setting = Setting {
        slot_ms: 6_000,
        timing: unhurried(),
        execution: vec![rpc.url.clone()],
        ..Setting::default()
    };
    let world = World::start(setting).await;
    world.register().await;
    let slot = world.slot_ahead(2);
    let proposer = delegate(&world, slot).await;
    let kept = transfer(1, 0, 5);
    let (held, _) = constrain(&world, slot, &proposer, std::slice::from_ref(&kept), &[]).await;
    let (impossible, _) = constrain(&world, slot, &proposer, &[transfer(2, 0, 5)], &[]).await;
    world.engine.submit(kept);
    let builder = world.builder().await;
    let mut reports = builder.reports();
    assert_eq!(world.bid(&mut reports, slot).await, slot);
    world.node.wait_for_slot(slot).await;
    let client = RelayClient::new(&world.relay.url, Limits::default()).unwrap();
    let parent_hash = world.node.head().execution.hash;
    let asked = HeaderRequest { slot, parent_hash, pubkey: proposer.public_key() };
    let offered = client.header_with_proofs(&asked, Duration::from_secs(5)).await.unwrap().unwrap();
    assert_eq!(offered.inclusions().unwrap().len(), 1);
    builder.shutdown().await;

    let check = async |world: &World| {
        let path = format!("/constraints/v0/relay/constraints/{slot}");
        assert_eq!(world.get(&path).await, (200, json!([held])));
        let (_, all) = world.get(&format!("/ordering/v1/constraints/{slot}")).await;
        assert_eq!(all[1]["dropped"], "its nonce is used");
        assert_eq!(all[1]["constraints"], json!(impossible));
        let receipts: Vec<SignedConstraintReceipt> = all
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| serde_json::from_value(entry["receipt"].clone()).unwrap())
            .collect();
        for receipt in &receipts {
            receipt.verify(&world.network, world.relay.address).unwrap();
        }
        let statuses: Vec<_> = receipts.iter().map(|receipt| receipt.message.status).collect();
        assert_eq!(statuses, [ConstraintStatus::Held, ConstraintStatus::Dropped]);
    };
    check(&world).await;
    let world = world.restart().await;
    check(&world).await;
}

/// A transaction as an execution client shows it.
fn shown(raw: &Bytes) -> Value {
    let envelope = TxEnvelope::decode_2718_exact(raw).unwrap();
    let mut shown = serde_json::to_value(&envelope).unwrap();
    shown["from"] = json!(envelope.recover_signer().unwrap());
    (shown["blockHash"], shown["blockNumber"], shown["transactionIndex"]) =
        (json!(B256::ZERO), json!("0x1"), json!("0x0"));
    shown
}

/// Timestamp and transactions of the block that is on the chain.
type OnChain = Option<(u64, Vec<Value>)>;

/// What a block undid counts whoever made it: this one the relay never saw before it was on the chain.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_slots_block_undid_is_dropped_though_another_made_it() {
    let on_chain: Arc<Mutex<OnChain>> = Arc::default();
    let (seen, last) = (Arc::clone(&on_chain), Arc::new(Mutex::new(String::new())));
    let rpc = Rpc::start(move |method, params| {
        let of_slot = seen.lock().clone();
        let time = of_slot.as_ref().map_or(1, |(time, _)| *time);
        let with_time = |hash: &str| {
            let mut block = block(hash);
            block["timestamp"] = json!(format!("{time:#x}"));
            block
        };
        match method {
            "eth_getBlockByHash" => {
                let hash = params[0].as_str().unwrap();
                hash.clone_into(&mut last.lock());
                Ok(with_time(hash))
            }
            "eth_getBlockByNumber" => {
                let mut block = with_time(&last.lock());
                block["transactions"] =
                    json!(of_slot.map(|(_, transactions)| transactions).unwrap_or_default());
                Ok(block)
            }
            "eth_getTransactionCount" => Ok(json!("0x0")),
            "eth_getBalance" => Ok(json!("0xde0b6b3a7640000")),
            _ => Err(format!("no {method}")),
        }
    })
    .await;
    let setting = Setting { slot_ms: 2_000, execution: vec![rpc.url.clone()], ..Setting::default() };
    let world = World::start(setting).await;
    let slot = world.slot_ahead(2);
    let proposer = delegate(&world, slot).await;
    let (kept, replaced) = (transfer(3, 0, 5), transfer(1, 0, 5));
    for tx in [&replaced, &kept] {
        let (_, receipt) = constrain(&world, slot, &proposer, std::slice::from_ref(tx), &[]).await;
        assert_eq!(receipt.message.status, ConstraintStatus::Held);
    }
    let time = world.node.clock().start_of(slot) / 1_000;
    *on_chain.lock() = Some((time, [kept, transfer(1, 0, 7)].iter().map(shown).collect()));
    let path = format!("/ordering/v1/constraints/{slot}");
    let dropped = async {
        loop {
            let (_, all) = world.get(&path).await;
            if all[0]["dropped"].is_string() {
                return all;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let all = tokio::time::timeout(world::PATIENCE, dropped).await.unwrap();
    assert!(all[0]["dropped"].as_str().unwrap().contains("took its place"), "{all}");
    assert_eq!((&all[1]["dropped"], &all[1]["receipt"]["message"]["status"]), (&Value::Null, &json!("held")));
    let receipt: SignedConstraintReceipt = serde_json::from_value(all[0]["receipt"].clone()).unwrap();
    receipt.verify(&world.network, world.relay.address).unwrap();
    assert_eq!(receipt.message.status, ConstraintStatus::Dropped);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_that_is_older_than_the_constraints_unblinds_nothing() {
    let setting = Setting { slot_ms: 6_000, timing: unhurried(), ..Setting::default() };
    let world = World::start(setting).await;
    world.register().await;
    let workshop = Workshop::open(&world, world.slot_ahead(2)).await;
    let (slot, proposer) = (workshop.slot, workshop.proposer.clone());
    workshop.bid(&world, 97, 5, false).await;
    // Before the slot is delegated its header is given out at any time.
    let path = world.header_path("/eth/v1/builder/header", slot, &proposer);
    let body = world.http.get(world.url(&path)).send().await.unwrap().bytes().await.unwrap();
    let early = Versioned::<SignedBuilderBid>::from_json(&body).unwrap().data;
    delegate(&world, slot).await;
    assert_eq!(world.get(&path).await, (204, Value::Null), "not before it is settled");
    constrain(&world, slot, &proposer, &[transfer(1, 0, 5)], &[]).await;
    world.node.wait_for_slot(slot).await;
    let (index, _) = world.proposer(slot).await;
    let signed = world.blinded(slot, &early, index, &proposer, 0);
    for path in ["/eth/v1/builder/blinded_blocks", "/eth/v2/builder/blinded_blocks"] {
        let (status, body) = world.post(path, &signed).await;
        assert_eq!((status, &body["code"]), (400, &json!("constraints_not_kept")), "{body}");
    }
    let delivered = format!("/relay/v1/data/bidtraces/proposer_payload_delivered?slot={slot}");
    assert_eq!(world.get(&delivered).await, (200, json!([])));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_with_proofs_is_taken_if_they_hold() {
    let setting = Setting { slot_ms: 6_000, timing: unhurried(), ..Setting::default() };
    let world = World::start(setting).await;
    world.register().await;
    let slot = world.slot_ahead(2);
    let proposer = delegate(&world, slot).await;
    let wanted = transfer(1, 0, 5);
    constrain(&world, slot, &proposer, std::slice::from_ref(&wanted), &[]).await;
    world.engine.submit(transfer(9, 9, 9));
    world.engine.submit(wanted.clone());
    let path = "/constraints/v0/relay/blocks_with_proofs";
    let submission = Workshop::open(&world, slot).await.block(&world, 98, 7, 1).await;
    assert_eq!(submission.message().slot, slot);
    let with = |submission: &BidSubmission, proofs: Value| -> Value {
        let mut body = serde_json::to_value(submission).unwrap();
        body["proofs"] = proofs;
        body
    };
    let good = proofs(&submission, &[1]);
    let moved = proofs(&submission, &[0]);
    let mut broken = good.clone();
    // The index of the only proof: the second word of the payload's tuple.
    let payload = good["payloads"][0].as_str().unwrap();
    broken["payloads"][0] = json!(format!("{}0{}", &payload[..193], &payload[194..]));
    let cases = [
        (with(&submission, json!({"constraintTypes": [], "payloads": []})), "constraints_not_kept"),
        (with(&submission, moved), "constraints_not_kept"),
        (with(&submission, broken), "bad_proof"),
    ];
    for (body, expected) in cases {
        let (status, answer) = world.post(path, &body).await;
        assert_eq!((status, answer["code"].as_str()), (400, Some(expected)), "{answer}");
    }
    for body in [
        serde_json::to_value(&submission).unwrap(),
        with(&submission, json!({"constraintTypes": ["1"], "payloads": []})),
        with(&submission, json!({"constraintTypes": ["2"], "payloads": ["0x"]})),
        with(&submission, json!({"constraintTypes": ["1"], "payloads": ["0x00"]})),
        json!([]),
    ] {
        let (status, answer) = world.post(path, &body).await;
        assert_eq!(status, 400, "{answer}");
    }
    assert_eq!(world.submit(path, &with(&submission, good)).await, (200, Value::Null));
    world.node.wait_for_slot(slot).await;
    let header = world.header(slot, &proposer).await;
    assert_eq!(header.header().block_hash(), submission.payload().block_hash());
}
