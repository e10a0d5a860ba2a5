//! What the relay reads and cannot take, by table: each is told why, and nothing of it stays.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod world;

use alloy_primitives::{Address, B256, U256};
use earnest_builder_types::{
    BidSubmission, BidTrace, BlsPublicKey, BlsSignature, ForkCodec, SignedValidatorRegistration,
    ValidatorRegistration, bls::SecretKey, registrations_to_ssz, sign_bid_trace,
};
use earnest_http::LimitConfig;
use serde_json::{Value, json};
use std::fmt::Display;
use world::{
    Setting, World,
    refusal::{Ask, JSON, Table, cuts, json_table, no_keys, no_signatures, with},
    transfer, unhurried,
    workshop::{Workshop, proofs},
};

const VALIDATORS: &str = "/eth/v1/builder/validators";
const BLOCKS: &str = "/relay/v1/builder/blocks";
const WITH_PROOFS: &str = "/constraints/v0/relay/blocks_with_proofs";
const BLINDED: [&str; 2] = ["/eth/v1/builder/blinded_blocks", "/eth/v2/builder/blinded_blocks"];

fn key(byte: u8) -> SecretKey {
    SecretKey::from_bytes(&[byte; 32]).unwrap()
}

fn setting(slot_ms: u64) -> Setting {
    let clients = LimitConfig { per_second: 0, ..LimitConfig::default() };
    Setting { slot_ms, timing: unhurried(), clients, ..Setting::default() }
}

fn registration_cases(world: &World) -> Table {
    let domain = world.node.builder_domain();
    let now = world.now_ms() / 1000;
    let message = |key: &SecretKey, timestamp: u64| ValidatorRegistration {
        fee_recipient: Address::repeat_byte(1),
        gas_limit: 30_000_000,
        timestamp,
        pubkey: key.public_key(),
    };
    let signed = |key: &SecretKey, timestamp: u64| message(key, timestamp).sign(key, domain);
    let validator = &world.keys[0];
    let good = signed(validator, now);
    let body = json!([good]);
    let mut table = Table::default();
    let fields = [
        "/0/message",
        "/0/signature",
        "/0/message/fee_recipient",
        "/0/message/gas_limit",
        "/0/message/timestamp",
        "/0/message/pubkey",
    ];
    let integers = ["/0/message/gas_limit", "/0/message/timestamp"];
    json_table(&mut table, VALIDATORS, &body, &fields, &integers, "invalid JSON");
    for field in ["/0/more", "/0/message/more"] {
        let ask = Ask::post(VALIDATORS).json(&with(&body, field, 1));
        table.add(format!("{field} too much"), ask, 400, "unknown field `more`");
    }
    let ssz = registrations_to_ssz(&[good.clone(), signed(&world.keys[1], now)]);
    for cut in cuts(&ssz).into_iter().filter(|cut| cut % 180 != 0) {
        table.add(format!("SSZ of {cut} bytes"), Ask::post(VALIDATORS).ssz(&ssz[..cut]), 400, "invalid SSZ");
    }
    let longer = [ssz.as_slice(), &[0]].concat();
    table.add("SSZ and a byte", Ask::post(VALIDATORS).ssz(longer), 400, "invalid SSZ");

    let mut refused = |what: &str, registrations: Vec<SignedValidatorRegistration>, says: String| {
        let ssz = Ask::post(VALIDATORS).ssz(registrations_to_ssz(&registrations));
        table.add(format!("{what}, SSZ"), ssz, 400, says.clone());
        table.add(format!("{what}, JSON"), Ask::post(VALIDATORS).json(&json!(registrations)), 400, says);
    };
    let bad = |key: &dyn Display| format!("signature does not verify: {key}");
    let me = validator.public_key();
    for (what, ahead) in [("an hour", 3_600), ("a minute", 60), ("for ever", u64::MAX - now)] {
        refused(what, vec![signed(validator, now + ahead)], format!("timestamp is in the future: {me}"));
    }
    let stranger = key(100);
    let unknown = format!("not an active or pending validator: {}", stranger.public_key());
    refused("of a stranger", vec![signed(&stranger, now)], unknown);
    for (what, no_key) in no_keys() {
        for (of, signature) in no_signatures().into_iter().chain([("a good one", good.signature)]) {
            let message = ValidatorRegistration { pubkey: no_key, ..good.message.clone() };
            let registration = SignedValidatorRegistration { message, signature };
            let unknown = format!("not an active or pending validator: {no_key}");
            refused(&format!("of a key {what}, signature {of}"), vec![registration], unknown);
        }
    }
    for (what, signature) in no_signatures() {
        let registration = SignedValidatorRegistration { signature, ..good.clone() };
        refused(&format!("signature {what}"), vec![registration], bad(&me));
    }
    let other_domain = message(validator, now).sign(validator, B256::repeat_byte(1));
    refused("for another network", vec![other_domain], bad(&me));
    let by_another = message(validator, now).sign(&world.keys[1], domain);
    refused("signed by another", vec![by_another], bad(&me));
    let many: Vec<_> = (0..100)
        .map(|number| {
            let mut forged = good.clone();
            forged.message.pubkey[47] ^= number;
            forged.message.gas_limit = 1;
            forged
        })
        .collect();
    // Of the 99 that no validator has, no signature is looked at.
    refused("a hundred forged", many, "and 91 more".to_owned());
    table
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn registrations_by_table() {
    let world = World::start(setting(2_000)).await;
    registration_cases(&world).run(&world, "registrations").await;
    let (_, duties) = world.get("/relay/v1/builder/validators").await;
    assert_eq!(duties, json!([]), "something was taken");
    // Replayed, and older: no fault, and no change.
    let domain = world.node.builder_domain();
    let at = |timestamp: u64| {
        let message = ValidatorRegistration {
            fee_recipient: Address::repeat_byte(1),
            gas_limit: timestamp,
            timestamp,
            pubkey: world.keys[0].public_key(),
        };
        message.sign(&world.keys[0], domain)
    };
    let newest = world.now_ms() / 1000;
    for timestamp in [newest - 1, newest, newest, newest - 1, 0] {
        assert_eq!(world.post(VALIDATORS, &[at(timestamp)]).await, (200, Value::Null), "{timestamp}");
    }
    let path = format!("/relay/v1/data/validator_registration?pubkey={}", world.keys[0].public_key());
    assert_eq!(world.get(&path).await, (200, json!(at(newest))));
    assert_eq!(world.post(VALIDATORS, &json!([])).await, (200, Value::Null));
    world.stop().await;
}

/// The block under another trace, signed by its builder again.
fn resigned(world: &World, block: &BidSubmission, change: impl FnOnce(&mut BidTrace)) -> BidSubmission {
    let mut trace = block.message().clone();
    change(&mut trace);
    let signed = sign_bid_trace(trace, &key(98), world.node.builder_domain());
    let payload = block.clone().into_payload_and_blobs();
    let requests = block.execution_requests().unwrap().clone();
    BidSubmission::new(signed.message, signed.signature, payload, requests).unwrap()
}

fn with_signature(block: &BidSubmission, key: BlsPublicKey, signature: BlsSignature) -> BidSubmission {
    let mut trace = block.message().clone();
    trace.builder_pubkey = key;
    let payload = block.clone().into_payload_and_blobs();
    BidSubmission::new(trace, signature, payload, block.execution_requests().unwrap().clone()).unwrap()
}

fn block_traces(table: &mut Table, world: &World, block: &BidSubmission, other: &SecretKey) {
    let mut changed = |what: &str, says: String, change: &dyn Fn(&mut BidTrace)| {
        let block = resigned(world, block, change);
        table.add(format!("{what}, SSZ"), Ask::post(BLOCKS).ssz(block.to_ssz()), 400, says.clone());
        table.add(format!("{what}, JSON"), Ask::post(BLOCKS).json(&json!(block)), 400, says.clone());
        let mut proven = serde_json::to_value(&block).unwrap();
        proven["proofs"] = proofs(&block, &[]);
        table.add(format!("{what}, with proofs"), Ask::post(WITH_PROOFS).json(&proven), 400, says);
    };
    changed("late", "slot 0 is past".into(), &|trace| trace.slot = 0);
    changed("early", "the proposer of slot".into(), &|trace| trace.slot += 1_000);
    changed("of the last slot", "the proposer of slot".into(), &|trace| trace.slot = u64::MAX / 2);
    changed("beyond time", "the proposer of slot".into(), &|trace| trace.slot = u64::MAX);
    let proposer = other.public_key();
    let says = format!("{proposer} does not propose this slot");
    changed("for another proposer", says, &move |trace| trace.proposer_pubkey = proposer);
    changed("paid to another", "the proposer registered".into(), &|trace| {
        trace.proposer_fee_recipient = Address::repeat_byte(9);
    });
    let same = |field: &str| format!("{field} of the message is not that of the payload");
    changed("another parent", same("parent_hash"), &|trace| trace.parent_hash = B256::repeat_byte(9));
    changed("another hash", same("block_hash"), &|trace| trace.block_hash = B256::repeat_byte(9));
    changed("another gas limit", same("gas_limit"), &|trace| trace.gas_limit += 1);
    changed("another gas used", same("gas_used"), &|trace| trace.gas_used += 1);
    for (what, no_key) in no_keys() {
        let says = format!("{no_key} does not propose this slot");
        changed(&format!("for a proposer {what}"), says, &move |trace| trace.proposer_pubkey = no_key);
    }
    for (what, no_key) in no_keys() {
        for (of, signature) in no_signatures().into_iter().chain([("a good one", *block.signature())]) {
            let ask = Ask::post(BLOCKS).ssz(with_signature(block, no_key, signature).to_ssz());
            table.add(
                format!("builder {what}, signature {of}"),
                ask,
                400,
                "builder's signature: invalid public key",
            );
        }
    }
    let builder = block.message().builder_pubkey;
    for (what, signature) in no_signatures() {
        let ask = Ask::post(BLOCKS).ssz(with_signature(block, builder, signature).to_ssz());
        table.add(format!("signature {what}"), ask, 400, "builder's signature: invalid signature encoding");
    }
    let mut more = block.message().clone();
    more.value += U256::from(1);
    let payload = block.clone().into_payload_and_blobs();
    let more =
        BidSubmission::new(more, *block.signature(), payload, block.execution_requests().unwrap().clone());
    let ask = Ask::post(BLOCKS).ssz(more.unwrap().to_ssz());
    table.add("another value", ask, 400, "builder's signature: signature does not verify");
}

fn block_payloads(table: &mut Table, block: &BidSubmission) {
    let body = serde_json::to_value(block).unwrap();
    let hash = json!(B256::repeat_byte(9));
    let payload = |field: &str| format!("/execution_payload/{field}");
    for (field, value, says) in [
        ("timestamp", json!("1"), "timestamp of the payload is not that of the slot's payload attributes"),
        ("prev_randao", hash.clone(), "prev_randao of the payload is not that of the slot's"),
        (
            "withdrawals",
            json!([{"index": "0", "validator_index": "0", "address": Address::ZERO, "amount": "1"}]),
            "withdrawals of the payload is not that of the slot's",
        ),
        ("block_number", json!("77"), "block number 77, that of the parent is"),
        ("state_root", hash.clone(), "computed"),
        ("receipts_root", hash.clone(), "computed"),
        ("base_fee_per_gas", json!("8"), "computed"),
        ("extra_data", json!("0x00"), "computed"),
        ("excess_blob_gas", json!("131072"), "computed"),
        ("transactions", json!([transfer(1, 1, 1)]), "computed"),
        ("transactions", json!(["0x"]), "computed"),
        ("transactions", json!(["0x03ff"]), "no block can be made of the payload"),
        ("gas_limit", json!("1"), "gas_limit of the message is not that of the payload"),
        ("block_hash", hash, "block_hash of the message is not that of the payload"),
    ] {
        let changed = with(&body, &payload(field), value.clone());
        table.add(format!("{field} = {value}"), Ask::post(BLOCKS).json(&changed), 400, says);
    }
    let parent = B256::repeat_byte(9);
    let elsewhere =
        with(&with(&body, "/message/parent_hash", json!(parent)), &payload("parent_hash"), json!(parent));
    let says = "payload attributes for this slot and parent are not known";
    table.add("on an unknown parent", Ask::post(BLOCKS).json(&elsewhere), 400, says);
    let commitment = json!(BlsPublicKey::repeat_byte(1));
    let blobs = with(&body, "/blobs_bundle/commitments", json!([commitment]));
    table.add("a commitment without blob", Ask::post(BLOCKS).json(&blobs), 400, "differ in number");
}

fn block_forms(table: &mut Table, block: &BidSubmission) {
    let (ssz, body) = (block.to_ssz(), serde_json::to_value(block).unwrap());
    let slot = block.message().slot;
    for cut in cuts(&ssz) {
        let ask = Ask::post(BLOCKS).ssz(&ssz[..cut]);
        let says = if cut < 8 { "Eth-Consensus-Version" } else { "not a electra submission: invalid SSZ" };
        table.add(format!("SSZ of {cut} bytes"), ask.clone(), 400, says);
        let ask = ask.header("eth-consensus-version", "electra");
        table.add(format!("SSZ of {cut} bytes, named"), ask, 400, "not a electra submission: invalid SSZ");
    }
    for at in [236, 240, 244, 248, 344, 345, 400] {
        for byte in [0, 0xff] {
            let mut broken = ssz.clone();
            broken[at] = byte;
            if broken != ssz {
                table.add(format!("byte {at} is {byte}"), Ask::post(BLOCKS).ssz(broken), 400, "");
            }
        }
    }
    for name in ["capella", "deneb", "fulu", "bellatrix", "gloas"] {
        let ask = Ask::post(BLOCKS).ssz(ssz.clone()).header("eth-consensus-version", name);
        table.add(format!("SSZ as {name}"), ask, 400, format!("slot {slot} is electra"));
        let ask = Ask::post(BLOCKS).json(&body).header("eth-consensus-version", name);
        table.add(format!("JSON as {name}"), ask, 400, format!("slot {slot} is electra"));
    }
    for name in ["altair", "", "electra2", "\u{ff}", "0x05"] {
        for path in [BLOCKS, WITH_PROOFS, BLINDED[0], BLINDED[1]] {
            let ask = Ask::post(path).json(&body).header("eth-consensus-version", name);
            table.add(format!("{path} as {name:?}"), ask, 400, "Eth-Consensus-Version");
        }
    }
    let fields = [
        "/message",
        "/signature",
        "/execution_payload",
        "/blobs_bundle",
        "/execution_requests",
        "/message/value",
        "/message/block_hash",
    ];
    let integers =
        ["/message/slot", "/message/gas_limit", "/message/gas_used", "/execution_payload/timestamp"];
    let mut json_cases = Table::default();
    json_table(&mut json_cases, BLOCKS, &body, &fields, &integers, "submission");
    table.append(json_cases);
    let huge = "115792089237316195423570985008687907853269984665640564039457584007913129639936";
    for value in
        [json!("+7"), json!("-7"), json!(" 7"), json!("7.0"), json!(huge), json!(7.5), json!(-7), json!(null)]
    {
        let ask = Ask::post(BLOCKS).json(&with(&body, "/message/value", value.clone()));
        table.add(format!("value = {value}"), ask, 400, "not a electra submission");
    }
    for field in ["/more", "/execution_payload/more", "/blobs_bundle/more"] {
        let ask = Ask::post(BLOCKS).json(&with(&body, field, 1));
        table.add(format!("{field} too much"), ask, 400, "unknown field `more`");
    }
    for (field, value) in [
        ("/message/block_hash", "0x12"),
        ("/message/block_hash", "zz"),
        ("/message/builder_pubkey", "0x12"),
        ("/signature", "0x12"),
        ("/execution_payload/extra_data", "0x0"),
        ("/execution_payload/logs_bloom", "0x00"),
    ] {
        let ask = Ask::post(BLOCKS).json(&with(&body, field, value));
        table.add(format!("{field} = {value}"), ask, 400, "not a electra submission");
    }
    let long = "0x".to_owned() + &"11".repeat(33);
    let ask = Ask::post(BLOCKS).json(&with(&body, "/execution_payload/extra_data", long));
    table.add("too much extra data", ask, 400, "not a electra submission");
    for text in ["2", "yes", "-1"] {
        let path = format!("{BLOCKS}?cancellations={text}&cancellations=1");
        table.add("cancelled twice", Ask::post(path).ssz(ssz.clone()), 400, "duplicate field");
    }
}

fn proof_forms(table: &mut Table, block: &BidSubmission) {
    let mut body = serde_json::to_value(block).unwrap();
    table.add("without proofs", Ask::post(WITH_PROOFS).json(&body), 400, "no proofs");
    body["proofs"] = proofs(block, &[0]);
    let bad = [
        json!(null),
        json!([]),
        json!({}),
        json!({"constraintTypes": ["1"]}),
        json!({"payloads": []}),
        json!({"constraintTypes": ["1"], "payloads": []}),
        json!({"constraintTypes": [], "payloads": ["0x"]}),
        json!({"constraintTypes": ["2"], "payloads": ["0x"]}),
        json!({"constraintTypes": ["+1"], "payloads": ["0x"]}),
        json!({"constraintTypes": ["1"], "payloads": ["0x00"]}),
        json!({"constraintTypes": [-1], "payloads": ["0x"]}),
        json!({"constraintTypes": ["1"], "payloads": ["zz"]}),
        json!({"constraintTypes": ["1"], "payloads": [1]}),
    ];
    for bad in bad {
        let ask = Ask::post(WITH_PROOFS).json(&with(&body, "/proofs", bad.clone()));
        table.add(format!("proofs {bad}"), ask, 400, "not a block with proofs");
    }
    let text = body.to_string();
    for cut in cuts(text.as_bytes()) {
        let ask = Ask::post(WITH_PROOFS).header("content-type", JSON).body(&text.as_bytes()[..cut]);
        table.add(format!("JSON that ends after {cut} bytes"), ask, 400, "not a block with proofs");
    }
    let payload = body["proofs"]["payloads"][0].as_str().unwrap().to_owned();
    // Its last word is of the branch.
    let broken =
        format!("{}{}", &payload[..payload.len() - 1], if payload.ends_with('0') { "1" } else { "0" });
    let ask = Ask::post(WITH_PROOFS).json(&with(&body, "/proofs/payloads/0", broken));
    table.named(
        "a branch that leads elsewhere",
        ask,
        (400, "bad_proof"),
        "does not lead to the block's transactions",
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn submissions_by_table() {
    let world = World::start(setting(16_000)).await;
    world.register().await;
    world.engine.submit(transfer(9, 9, 9));
    let workshop = Workshop::open(&world, 1).await;
    let block = workshop.block(&world, 98, 7, 1).await;
    // The relay has heard of what it is built on, too.
    workshop.submit(&world, &workshop.block(&world, 97, 1, 2).await, false).await;
    let other = world.keys.iter().find(|key| key.public_key() != workshop.proposer.public_key()).unwrap();
    let mut table = Table::default();
    block_traces(&mut table, &world, &block, other);
    block_payloads(&mut table, &block);
    table.run(&world, "submissions").await;
    let mut table = Table::default();
    block_forms(&mut table, &block);
    table.run(&world, "submissions' forms").await;
    let mut table = Table::default();
    proof_forms(&mut table, &block);
    table.run(&world, "blocks with proofs").await;
    // Nothing of it leads; the good one does, also when it comes again.
    for _ in 0..3 {
        workshop.submit(&world, &block, false).await;
    }
    let header = world.header(workshop.slot, &workshop.proposer).await;
    assert_eq!(header.header().block_hash(), block.payload().block_hash());
    let received = format!("/relay/v1/data/bidtraces/builder_blocks_received?slot={}", workshop.slot);
    let shown = async {
        loop {
            let (_, rows) = world.get(&received).await;
            if rows.as_array().unwrap().len() >= 4 {
                return rows.as_array().unwrap().clone();
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let rows = tokio::time::timeout(world::PATIENCE, shown).await.unwrap();
    assert_eq!(rows.len(), 4, "what was refused counts as received");
    world.stop().await;
}
