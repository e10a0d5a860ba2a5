//! Delegations, constraints and blinded blocks that may not be, by table; and the same again, which may.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod world;

use alloy_consensus::{SignableTransaction, TxEip4844};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, Bytes};
use earnest_builder_types::{
    BlindedBeaconBlock, BlsPublicKey, BlsSignature, ForkCodec, PayloadAndBlobs, SignedBlindedBeaconBlock,
    Versioned, bls::SecretKey,
};
use earnest_http::LimitConfig;
use earnest_protocol::{
    RollupId, Slot, Wei,
    objects::{
        AllocationEntry, Constraint, ConstraintsMessage, Delegation, SignedConstraints, SignedDelegation,
        SlotAllocation,
    },
    receiver::Receiver,
    signing::EcdsaSecret,
};
use serde_json::{Value, json};
use world::{
    Setting, World,
    refusal::{Ask, JSON, Table, cuts, json_table, no_keys, no_signatures, with},
    transfer, unhurried,
};

const BLINDED: [&str; 2] = ["/eth/v1/builder/blinded_blocks", "/eth/v2/builder/blinded_blocks"];
const DELEGATE: &str = "/constraints/v0/builder/delegate";
const CONSTRAINTS: &str = "/constraints/v0/builder/constraints";

fn key(byte: u8) -> SecretKey {
    SecretKey::from_bytes(&[byte; 32]).unwrap()
}

fn setting(slot_ms: u64) -> Setting {
    let clients = LimitConfig { per_second: 0, ..LimitConfig::default() };
    Setting { slot_ms, timing: unhurried(), clients, ..Setting::default() }
}

fn delegation(world: &World, slot: u64, proposer: &SecretKey) -> SignedDelegation {
    let message = Delegation {
        proposer: proposer.public_key(),
        delegate: key(50).public_key(),
        committer: Address::repeat_byte(1),
        slot: Slot(slot),
        metadata: Bytes::new(),
    };
    SignedDelegation::sign(message, proposer, &world.network).unwrap()
}

/// Another message under the same signature.
fn redelegated(signed: &SignedDelegation, change: impl FnOnce(&mut Delegation)) -> SignedDelegation {
    let mut signed = signed.clone();
    change(&mut signed.message);
    signed
}

fn allocation(slot: u64) -> SlotAllocation {
    let entry = |rollup: u64| AllocationEntry {
        rollup_id: RollupId(rollup),
        bid_hash: B256::ZERO,
        account: Address::ZERO,
        committer: Address::ZERO,
        delegate: key(60).public_key(),
        price_wei: Wei::default(),
        url: String::new(),
    };
    SlotAllocation {
        slot: Slot(slot),
        start_ms: 0,
        auction_root: B256::ZERO,
        entries: (1..=17).map(entry).collect(),
    }
}

async fn delegation_cases(world: &World, slot: u64) -> Table {
    let (index, proposer) = world.proposer(slot).await;
    let other = &world.keys[usize::try_from((index + 1) % 4).unwrap()];
    let good = delegation(world, slot, &proposer);
    let body = json!(good);
    let mut table = Table::default();
    let fields = [
        "/message",
        "/signature",
        "/message/proposer",
        "/message/delegate",
        "/message/committer",
        "/message/slot",
    ];
    json_table(&mut table, DELEGATE, &body, &fields, &[], "not a signed delegation");
    for value in ["+1", "-1", " 1", "1.0", "", "18446744073709551616", "0x", "0xzz"] {
        for field in ["/message/slot", "/nonce"] {
            let ask = Ask::post(DELEGATE).json(&with(&body, field, value));
            table.add(format!("{field} = {value:?}"), ask, 400, "not a signed delegation");
        }
    }
    let mut refused = |what: &str, signed: &SignedDelegation, code: &'static str, says: &str| {
        table.named(what, Ask::post(DELEGATE).json(&json!(signed)), (400, code), says);
    };
    let sign = |change: &dyn Fn(&mut Delegation)| {
        let mut message = good.message.clone();
        change(&mut message);
        SignedDelegation::sign(message, &proposer, &world.network).unwrap()
    };
    refused("late", &sign(&|message| message.slot = Slot(0)), "slot_begun", "slot 0 has begun");
    refused("early", &sign(&|message| message.slot.0 += 1_000), "unknown_slot", "is not known");
    refused("far", &sign(&|message| message.slot = Slot(u64::MAX)), "unknown_slot", "is not known");
    let of_other = delegation(world, slot, other);
    refused("of another proposer", &of_other, "not_proposer", "does not propose this slot");
    for (what, no_key) in no_keys() {
        let of_nobody = redelegated(&good, |message| message.proposer = no_key);
        refused(&format!("of a key {what}"), &of_nobody, "not_proposer", "does not propose this slot");
        let to_nobody = redelegated(&good, |message| message.delegate = no_key);
        refused(&format!("to a key {what}"), &to_nobody, "bad_signature", "bad BLS public key");
    }
    for (what, signature) in no_signatures() {
        let signed = SignedDelegation { signature, ..good.clone() };
        refused(&format!("signature {what}"), &signed, "bad_signature", "signature does not verify");
    }
    let changed = redelegated(&good, |message| message.committer = Address::repeat_byte(2));
    refused("another committer", &changed, "bad_signature", "signature does not verify");
    let mut nonce = good.clone();
    nonce.nonce = 7;
    refused("another nonce", &nonce, "bad_signature", "signature does not verify");
    for metadata in [vec![1], vec![0; 64], vec![0xff; 320], vec![0; (16 << 10) + 1]] {
        let what = format!("metadata of {} bytes", metadata.len());
        let signed = sign(&|message| message.metadata = metadata.clone().into());
        refused(&what, &signed, "bad_metadata", "metadata: ");
    }
    let crowded = sign(&|message| message.metadata = allocation(slot).to_metadata());
    refused("seventeen entries", &crowded, "bad_metadata", "more than 16 entries");
    let other_slot = sign(&|message| {
        let mut allocation = allocation(slot + 1);
        allocation.entries.truncate(1);
        message.metadata = allocation.to_metadata();
    });
    refused("metadata of another slot", &other_slot, "bad_metadata", "slot");
    table
}

fn constraints(slot: u64, proposer: &BlsPublicKey, txs: &[Bytes]) -> ConstraintsMessage {
    ConstraintsMessage {
        proposer: *proposer,
        delegate: key(50).public_key(),
        slot: Slot(slot),
        constraints: txs.iter().map(|tx| Constraint::inclusion(Slot(slot), tx.clone())).collect(),
        receivers: vec![],
    }
}

fn blob_transaction() -> Bytes {
    let tx = TxEip4844 {
        chain_id: 1337,
        gas_limit: 21_000,
        blob_versioned_hashes: vec![B256::with_last_byte(1)],
        ..TxEip4844::default()
    };
    let secret = EcdsaSecret::from_bytes(&[1; 32]).unwrap();
    let signature = secret.sign(tx.signature_hash()).unwrap();
    let signature = alloy_primitives::Signature::from_raw(signature.as_slice()).unwrap();
    tx.into_signed(signature).encoded_2718().into()
}

async fn constraint_cases(world: &World, slot: u64, free_slot: u64) -> Table {
    let (_, proposer) = world.proposer(slot).await;
    let proposer = proposer.public_key();
    let good = constraints(slot, &proposer, &[transfer(3, 0, 1)]);
    let sign = |change: &dyn Fn(&mut ConstraintsMessage)| {
        let mut message = good.clone();
        change(&mut message);
        SignedConstraints::sign(message, &key(50), &world.network).unwrap()
    };
    let signed = sign(&|_| {});
    let body = json!(signed);
    let mut table = Table::default();
    let fields = ["/message", "/signature", "/message/proposer", "/message/delegate", "/message/slot"];
    json_table(&mut table, CONSTRAINTS, &body, &fields, &[], "not signed constraints");
    for value in ["+1", "-1", " 1", "1.0", "", "18446744073709551616", "0x", "0xzz"] {
        for field in ["/message/slot", "/nonce", "/message/constraints/0/constraintType"] {
            let ask = Ask::post(CONSTRAINTS).json(&with(&body, field, value));
            table.add(format!("{field} = {value:?}"), ask, 400, "not signed constraints");
        }
    }
    let mut refused = |what: &str, signed: &SignedConstraints, code: &'static str, says: &str| {
        table.named(what, Ask::post(CONSTRAINTS).json(&json!(signed)), (400, code), says);
        let list = Ask::post(CONSTRAINTS).json(&json!([signed]));
        table.named(format!("{what}, in a list"), list, (400, code), says);
    };
    refused("late", &sign(&|message| message.slot = Slot(0)), "constraint_late", "until its cut-off only");
    refused(
        "early",
        &sign(&|message| message.slot = Slot(free_slot)),
        "no_delegation",
        "no delegation for slot",
    );
    refused(
        "far",
        &sign(&|message| message.slot = Slot(u64::MAX)),
        "no_delegation",
        "no delegation for slot",
    );
    let stranger = key(51).public_key();
    refused("of a stranger", &sign(&|message| message.delegate = stranger), "not_delegate", "is no delegate");
    let other = sign(&|message| message.proposer = stranger);
    refused("for another proposer", &other, "not_proposer", "does not propose this slot");
    for (what, no_key) in no_keys() {
        let mut of_nobody = signed.clone();
        of_nobody.message.delegate = no_key;
        refused(&format!("of a delegate {what}"), &of_nobody, "not_delegate", "is no delegate");
        let mut for_nobody = signed.clone();
        for_nobody.message.proposer = no_key;
        refused(&format!("for a proposer {what}"), &for_nobody, "not_proposer", "does not propose this slot");
        let mut to_nobody = signed.clone();
        to_nobody.message.receivers = vec![no_key];
        refused(&format!("to a receiver {what}"), &to_nobody, "bad_signature", "bad BLS public key");
    }
    for (what, signature) in no_signatures() {
        let signed = SignedConstraints { signature, ..signed.clone() };
        refused(&format!("signature {what}"), &signed, "bad_signature", "signature does not verify");
    }
    let by_another = SignedConstraints::sign(good.clone(), &key(51), &world.network).unwrap();
    refused("signed by another", &by_another, "bad_signature", "signature does not verify");
    refused(
        "empty",
        &sign(&|message| message.constraints.clear()),
        "no_constraints",
        "at least one constraint",
    );
    let many = sign(&|message| message.constraints = vec![good.constraints[0].clone(); 257]);
    refused("257", &many, "too_many_constraints", "may bind the slot to 256 transactions");
    let receivers = sign(&|message| message.receivers = vec![stranger; 65]);
    refused("65 receivers", &receivers, "too_many_receivers", "more than 64 receivers");
    for kind in [0, 2, 0x11, u64::MAX] {
        let of_kind = sign(&|message| message.constraints[0].constraint_type = kind);
        let says = format!("constraint type {kind} is not supported");
        refused(&format!("type {kind}"), &of_kind, "unknown_constraint_type", &says);
    }
    for (what, payload) in [("nothing", vec![]), ("bytes", vec![0xff; 64]), ("zeros", vec![0; 96])] {
        let junk = sign(&|message| message.constraints[0].payload = payload.clone().into());
        refused(&format!("payload {what}"), &junk, "bad_constraint", "constraint 0: ");
    }
    let transactions: [(&str, Bytes, &str); 6] = [
        ("no transaction", Bytes::new(), "not one whole EIP-2718 transaction"),
        ("junk", vec![2; 100].into(), "not one whole EIP-2718 transaction"),
        ("a byte more", [&transfer(3, 0, 1)[..], &[0]].concat().into(), "not one whole EIP-2718 transaction"),
        ("half", transfer(3, 0, 1).slice(..40), "not one whole EIP-2718 transaction"),
        ("blobs", blob_transaction(), "blob transactions cannot be constrained"),
        ("forged", forged(&transfer(3, 0, 1)), "bad transaction signature"),
    ];
    for (what, tx, says) in transactions {
        let bad = sign(&|message| {
            message.constraints.push(Constraint::inclusion(Slot(slot), tx.clone()));
        });
        refused(what, &bad, "bad_constraint", &format!("constraint 1: {says}"));
    }
    let elsewhere =
        sign(&|message| message.constraints[0] = Constraint::inclusion(Slot(slot + 1), transfer(3, 0, 1)));
    refused("for another slot", &elsewhere, "bad_constraint", "constraint 0: for slot");
    table
}

/// A transaction whose signature is nobody's.
fn forged(tx: &Bytes) -> Bytes {
    let mut forged = tx.to_vec();
    let last = forged.len();
    forged[last - 32..].fill(0xff);
    forged.into()
}

fn reader_cases(world: &World, slot: u64) -> Table {
    let signed = Receiver::sign(Slot(slot), &key(61), &world.network).to_headers();
    let mut table = Table::default();
    let paths = [
        format!("/constraints/v0/relay/constraints/{slot}"),
        format!("/ordering/v1/constraints/{slot}"),
        format!("/constraints/v0/relay/constraints_stream?slot={slot}"),
    ];
    for path in paths {
        let ask = |changed: &str, value: &[u8]| {
            signed.iter().fold(Ask::get(path.as_str()), |ask, (name, right)| {
                ask.header(name, if *name == changed { value.to_vec() } else { right.clone().into_bytes() })
            })
        };
        for (name, _) in &signed {
            for value in [&b"zz"[..], b"0x", b"0x12", b"\xff\xfe", b"-1", &[b'1'; 300], b"1, 2"] {
                let what = format!("{path}, {name} {}", String::from_utf8_lossy(value));
                table.add(what, ask(name, value), 400, format!("{name} is malformed"));
            }
        }
        for (what, no_key) in no_keys() {
            let ask = ask("x-receiver-publickey", no_key.to_string().as_bytes());
            table.named(format!("a reader {what}"), ask, (401, "bad_receiver_signature"), "does not verify");
        }
        for (what, signature) in no_signatures() {
            let ask = ask("x-receiver-signature", signature.to_string().as_bytes());
            table.named(format!("signature {what}"), ask, (401, "bad_receiver_signature"), "does not verify");
        }
        for (name, value) in &signed[..2] {
            let alone = Ask::get(path.as_str()).header(name, value.clone());
            table.add(format!("{name} alone"), alone, 400, "give both of");
        }
        let nonce = ask("x-receiver-nonce", b"7");
        table.named("another nonce", nonce, (401, "bad_receiver_signature"), "does not verify for this slot");
    }
    table
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delegations_and_constraints_by_table() {
    let world = World::start(setting(16_000)).await;
    world.node.wait_for_slot(1).await;
    let slot = world.slot_ahead(3);
    delegation_cases(&world, slot).await.run(&world, "delegations").await;
    let (status, listed) = world.get(&format!("/constraints/v0/relay/delegations/{slot}")).await;
    assert_eq!((status, listed), (200, json!([])), "something was taken");
    let (_, proposer) = world.proposer(slot).await;
    let good = delegation(&world, slot, &proposer);
    let (_, receipt) = world.post(DELEGATE, &good).await;
    // Unknown fields are passed over, and the same again has the same receipt.
    let more = with(&with(&json!(good), "/more", 1), "/message/more", json!({}));
    for body in [json!(good), more] {
        assert_eq!(world.post(DELEGATE, &body).await, (200, receipt.clone()));
    }
    let mut other = good.message.clone();
    other.committer = Address::repeat_byte(2);
    let other = SignedDelegation::sign(other, &proposer, &world.network).unwrap();
    let (status, refusal) = world.post(DELEGATE, &other).await;
    assert_eq!((status, &refusal["code"]), (409, &json!("already_delegated")));

    constraint_cases(&world, slot, slot + 1).await.run(&world, "constraints").await;
    let path = format!("/constraints/v0/relay/constraints/{slot}");
    assert_eq!(world.get(&path).await, (200, json!([])), "something was taken");
    let message = constraints(slot, &proposer.public_key(), &[transfer(3, 0, 1)]);
    let good = SignedConstraints::sign(message, &key(50), &world.network).unwrap();
    let (status, receipt) = world.post(CONSTRAINTS, &good).await;
    assert_eq!(status, 200, "{receipt}");
    let more = with(&with(&json!(good), "/more", 1), "/message/more", json!({}));
    for body in [json!(good), more] {
        assert_eq!(world.post(CONSTRAINTS, &body).await, (200, receipt.clone()));
        assert_eq!(world.post(CONSTRAINTS, &json!([body, body])).await, (200, json!([receipt, receipt])));
    }
    assert_eq!(world.get(&path).await, (200, json!([good])));
    reader_cases(&world, slot).run(&world, "readers").await;
    world.stop().await;
}

fn signed_with(block: &SignedBlindedBeaconBlock, signature: BlsSignature) -> Value {
    with(&json!(block), "/signature", json!(signature))
}

fn blinded_forms(table: &mut Table, path: &'static str, block: &SignedBlindedBeaconBlock) {
    let (ssz, body) = (block.to_ssz(), json!(block));
    let slot = block.message().slot();
    for cut in cuts(&ssz) {
        let ask = Ask::post(path).ssz(&ssz[..cut]).header("eth-consensus-version", "electra");
        table.add(format!("SSZ of {cut} bytes"), ask, 400, "not a electra blinded block: invalid SSZ");
    }
    let longer = [ssz.as_slice(), &[0]].concat();
    let ask = Ask::post(path).ssz(longer).header("eth-consensus-version", "electra");
    table.add("SSZ and a byte", ask, 400, "");
    table.add("SSZ of no fork", Ask::post(path).ssz(ssz.clone()), 400, "SSZ needs Eth-Consensus-Version");
    for name in ["capella", "deneb", "fulu", "bellatrix", "gloas"] {
        for ask in [Ask::post(path).ssz(ssz.clone()), Ask::post(path).json(&body)] {
            let says = format!("slot {slot} is electra, not {name}");
            table.add(format!("as {name}"), ask.header("eth-consensus-version", name), 400, says);
        }
    }
    let fields = [
        "/message",
        "/signature",
        "/message/body",
        "/message/slot",
        "/message/parent_root",
        "/message/body/execution_payload_header",
        "/message/body/randao_reveal",
    ];
    let integers =
        ["/message/slot", "/message/proposer_index", "/message/body/execution_payload_header/gas_limit"];
    json_table(table, path, &body, &fields, &integers, "blinded block");
    for field in
        ["/more", "/message/more", "/message/body/more", "/message/body/execution_payload_header/more"]
    {
        let ask = Ask::post(path).json(&with(&body, field, 1));
        table.add(format!("{field} too much"), ask, 400, "unknown field `more`");
    }
    let text = format!("[{body}]");
    table.add("a list", Ask::post(path).header("content-type", JSON).body(text), 400, "not a blinded block");
}

fn blinded_contents(table: &mut Table, path: &'static str, block: &SignedBlindedBeaconBlock) {
    let body = json!(block);
    for (what, signature) in no_signatures() {
        let ask = Ask::post(path).json(&signed_with(block, signature));
        table.add(format!("signature {what}"), ask, 400, "proposer's signature: invalid signature encoding");
    }
    let header = |field: &str| format!("/message/body/execution_payload_header/{field}");
    let hash = json!(B256::repeat_byte(9));
    for (field, value) in
        [("gas_used", json!("1")), ("state_root", hash.clone()), ("transactions_root", hash.clone())]
    {
        let ask = Ask::post(path).json(&with(&body, &header(field), value));
        table.add(format!("another {field}"), ask, 400, "the header is not the one that this relay offered");
    }
    let ask = Ask::post(path).json(&with(&body, &header("block_hash"), hash.clone()));
    table.add("another block hash", ask, 400, "the header is not one that this relay offered");
    for slot in ["0", "100000", "18446744073709551615"] {
        let ask = Ask::post(path).json(&with(&body, "/message/slot", slot));
        table.add(format!("slot {slot}"), ask, 400, "the header is not one that this relay offered");
    }
    let ask = Ask::post(path).json(&with(&body, "/message/proposer_index", "77"));
    table.add("another proposer", ask, 400, "validator 77 does not propose this slot");
    for field in ["/message/parent_root", "/message/state_root", "/message/body/graffiti"] {
        let ask = Ask::post(path).json(&with(&body, field, hash.clone()));
        table.add(format!("another {field}"), ask, 400, "proposer's signature: signature does not verify");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blinded_blocks_by_table() {
    let world = World::start(setting(16_000)).await;
    world.register().await;
    let builder = world.builder().await;
    let slot = world.bid(&mut builder.reports(), world.slot_ahead(0).max(1)).await;
    let (index, key) = world.proposer(slot).await;
    let bid = world.header(slot, &key).await;
    let block = world.blinded(slot, &bid, index, &key, 0);
    for path in BLINDED {
        let mut table = Table::default();
        blinded_forms(&mut table, path, &block);
        blinded_contents(&mut table, path, &block);
        table.run(&world, path).await;
    }
    // What it needs no less than that: commitments that the payload has.
    let SignedBlindedBeaconBlock::Electra(mut changed) = block.clone() else { panic!("not of Electra") };
    changed.message.body.blob_kzg_commitments = vec![Default::default()].try_into().unwrap();
    let changed =
        BlindedBeaconBlock::Electra(changed.message).sign(&key, world.node.proposer_domains().block);
    let (status, refusal) = world.post(BLINDED[0], &changed).await;
    assert_eq!(status, 400, "{refusal}");
    // The good one is taken, by both versions, also when it comes again.
    for _ in 0..2 {
        let (status, payload) = world.post(BLINDED[0], &block).await;
        assert_eq!(status, 200, "{payload}");
        let payload = Versioned::<PayloadAndBlobs>::from_json(payload.to_string().as_bytes()).unwrap();
        assert_eq!(payload.data.payload().block_hash(), bid.header().block_hash());
        assert_eq!(world.post(BLINDED[1], &block).await, (202, Value::Null));
    }
    assert_eq!(world.node.head().header.slot, slot, "published");
    let later = world.node.clock().start_of(slot + 1);
    while world.now_ms() <= later {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    for path in BLINDED {
        let (status, refusal) = world.post(path, &block).await;
        assert_eq!((status, &refusal["message"]), (400, &json!(format!("too late for slot {slot}"))));
    }
    builder.shutdown().await;
    world.stop().await;
}
