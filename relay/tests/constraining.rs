//! Delegations and constraints: who may, what is promised, and that it is kept.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod world;

use alloy_primitives::{Address, Bytes};
use earnest_builder_types::{bls::SecretKey, proofs::verify_transaction};
use earnest_client::{HeaderRequest, Limits, RelayClient};
use earnest_devnet::validator::{ValidatorOptions, Validators};
use earnest_protocol::{
    Slot,
    objects::{
        Authority, Constraint, ConstraintStatus, ConstraintsMessage, Delegation, DelegationReceipt,
        SignedConstraintReceipt, SignedConstraints, SignedDelegation, SignedDelegationReceipt,
    },
};
use serde_json::{Value, json};
use std::time::Duration;
use world::{Setting, World, transfer, unhurried};

fn gateway() -> SecretKey {
    SecretKey::from_bytes(&[50; 32]).unwrap()
}

fn delegation(world: &World, slot: u64, proposer: &SecretKey, committer: u8) -> SignedDelegation {
    let message = Delegation {
        proposer: proposer.public_key(),
        delegate: gateway().public_key(),
        committer: Address::repeat_byte(committer),
        slot: Slot(slot),
        metadata: Bytes::new(),
    };
    SignedDelegation::sign(message, proposer, &world.network).unwrap()
}

fn constraints(world: &World, slot: u64, proposer: &SecretKey, transactions: &[Bytes]) -> SignedConstraints {
    let message = ConstraintsMessage {
        proposer: proposer.public_key(),
        delegate: gateway().public_key(),
        slot: Slot(slot),
        constraints: transactions.iter().map(|tx| Constraint::inclusion(Slot(slot), tx.clone())).collect(),
        receivers: vec![],
    };
    SignedConstraints::sign(message, &gateway(), &world.network).unwrap()
}

fn code((status, body): (u16, Value)) -> (u16, String) {
    assert!(body["message"].as_str().is_some_and(|message| !message.is_empty()), "{body}");
    (status, body["code"].as_str().unwrap_or_default().to_owned())
}

const DELEGATE: &str = "/constraints/v0/builder/delegate";
const CONSTRAINTS: &str = "/constraints/v0/builder/constraints";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_delegation_for_a_slot_whatever_restarts_come_between() {
    let world = World::start(Setting { slot_ms: 4_000, ..Setting::default() }).await;
    let slot = world.slot_ahead(3);
    let (_, proposer) = world.proposer(slot).await;
    let first = delegation(&world, slot, &proposer, 1);
    let (status, receipt) = world.post(DELEGATE, &first).await;
    assert_eq!(status, 200, "{receipt}");
    let signed: SignedDelegationReceipt = serde_json::from_value(receipt.clone()).unwrap();
    signed.verify(&world.network, world.relay.address).unwrap();
    let expected = DelegationReceipt::of(&first.message, signed.message.received_at_ms).unwrap();
    assert_eq!(signed.message, expected);

    let second = delegation(&world, slot, &proposer, 2);
    assert_eq!(world.post(DELEGATE, &first).await, (200, receipt.clone()));
    assert_eq!(code(world.post(DELEGATE, &second).await), (409, "already_delegated".into()));
    let world = world.restart().await;
    assert_eq!(world.post(DELEGATE, &first).await, (200, receipt));
    assert_eq!(code(world.post(DELEGATE, &second).await), (409, "already_delegated".into()));

    let (status, listed) = world.get(&format!("/constraints/v0/relay/delegations/{slot}")).await;
    assert_eq!((status, listed), (200, json!([first])));
    let (status, listed) = world.get(&format!("/ordering/v1/delegations/{slot}")).await;
    assert_eq!((status, listed), (200, json!([Authority { delegation: first, receipt: signed }])));
    assert_eq!(world.get(&format!("/ordering/v1/delegations/{}", slot + 1)).await, (200, json!([])));
    let (_, schedule) = world.get("/ordering/v1/schedule").await;
    let rows = schedule["slots"].as_array().unwrap();
    let row = rows.iter().find(|row| row["slot"] == *slot.to_string()).unwrap();
    assert_eq!(row["opted_in"], true);
    assert_eq!(row["delegation"]["committer"], json!(Address::repeat_byte(1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delegations_that_are_refused() {
    let world = World::start(Setting { slot_ms: 4_000, opted_in: false, ..Setting::default() }).await;
    let slot = world.slot_ahead(3);
    let (index, proposer) = world.proposer(slot).await;
    let other = &world.keys[usize::try_from((index + 1) % 4).unwrap()];
    let cases = [
        (delegation(&world, slot, other, 1), "not_proposer"),
        (delegation(&world, slot, &proposer, 1), "not_opted_in"),
        (delegation(&world, slot + 1_000, &proposer, 1), "unknown_slot"),
        (delegation(&world, 0, &proposer, 1), "slot_begun"),
    ];
    world.node.wait_for_slot(1).await;
    for (delegation, expected) in cases {
        assert_eq!(code(world.post(DELEGATE, &delegation).await), (400, expected.into()));
    }
    assert_eq!(world.post(DELEGATE, &json!({"message": 1})).await.0, 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_constrained_slot_offers_only_blocks_that_hold_its_constraints() {
    let setting = Setting { slot_ms: 6_000, timing: unhurried(), ..Setting::default() };
    let world = World::start(setting).await;
    world.register().await;
    let slot = world.slot_ahead(2);
    let (_, proposer) = world.proposer(slot).await;
    let (kept, missing) = (transfer(1, 0, 5), transfer(2, 0, 5));

    let wanted = constraints(&world, slot, &proposer, std::slice::from_ref(&kept));
    assert_eq!(code(world.post(CONSTRAINTS, &wanted).await), (400, "no_delegation".into()));
    assert_eq!(world.post(DELEGATE, &delegation(&world, slot, &proposer, 1)).await.0, 200);
    let (status, receipt) = world.post(CONSTRAINTS, &wanted).await;
    assert_eq!(status, 200, "{receipt}");
    let signed: SignedConstraintReceipt = serde_json::from_value(receipt.clone()).unwrap();
    signed.verify(&world.network, world.relay.address).unwrap();
    assert_eq!(signed.message.constraints_hash, wanted.message.hash().unwrap());
    assert_eq!(world.post(CONSTRAINTS, &wanted).await, (200, receipt.clone()));
    let world = world.restart().await;
    assert_eq!(world.post(CONSTRAINTS, &json!([wanted])).await, (200, json!([receipt])));
    let path = format!("/constraints/v0/relay/constraints/{slot}");
    assert_eq!(world.get(&path).await, (200, json!([wanted])));

    world.engine.submit(transfer(9, 9, 9));
    world.engine.submit(kept.clone());
    let builder = world.builder().await;
    let mut reports = builder.reports();
    assert_eq!(world.bid(&mut reports, slot).await, slot);
    world.node.wait_for_slot(slot).await;
    let client = RelayClient::new(&world.relay.url, Limits::default()).unwrap();
    let parent_hash = world.node.head().execution.hash;
    let asked = HeaderRequest { slot, parent_hash, pubkey: proposer.public_key() };
    let offered = client.header_with_proofs(&asked, Duration::from_secs(5)).await.unwrap().unwrap();
    let [proof] = offered.inclusions().unwrap().try_into().unwrap();
    assert_eq!((proof.index, &proof.signed_tx), (1, &kept));
    let root = offered.bid.header().transactions_root();
    assert!(verify_transaction(&proof.signed_tx, proof.index, &proof.branch, root));
    let late = constraints(&world, slot, &proposer, std::slice::from_ref(&missing));
    assert_eq!(code(world.post(CONSTRAINTS, &late).await), (400, "constraint_late".into()));

    // The next slot is to hold what nobody has: nothing is offered, though there are bids.
    let slot = world.slot_ahead(2);
    let (_, proposer) = world.proposer(slot).await;
    assert_eq!(world.post(DELEGATE, &delegation(&world, slot, &proposer, 1)).await.0, 200);
    let both = constraints(&world, slot, &proposer, &[kept, missing]);
    assert_eq!(world.post(CONSTRAINTS, &both).await.0, 200);
    assert_eq!(world.bid(&mut reports, slot).await, slot);
    world.node.wait_for_slot(slot).await;
    let parent_hash = world.node.head().execution.hash;
    let asked = HeaderRequest { slot, parent_hash, pubkey: proposer.public_key() };
    assert_eq!(client.header(&asked).await.unwrap(), None);
    assert_eq!(client.header_with_proofs(&asked, Duration::from_secs(5)).await.unwrap(), None);
    builder.shutdown().await;
}

/// A sender that replaces what it had constrained costs the proposer nothing, and its delegate the relay's word.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_its_own_sender_undid_is_dropped_and_the_block_is_delivered() {
    let setting = Setting { slot_ms: 6_000, timing: unhurried(), ..Setting::default() };
    let world = World::start(setting).await;
    world.register().await;
    let slot = world.slot_ahead(2);
    let (index, proposer) = world.proposer(slot).await;
    assert_eq!(world.post(DELEGATE, &delegation(&world, slot, &proposer, 1)).await.0, 200);
    let (undone, kept) = (transfer(1, 0, 5), transfer(2, 0, 5));
    let receipts = async |world: &World| -> Vec<SignedConstraintReceipt> {
        let (_, all) = world.get(&format!("/ordering/v1/constraints/{slot}")).await;
        all.as_array()
            .unwrap()
            .iter()
            .map(|one| serde_json::from_value(one["receipt"].clone()).unwrap())
            .collect()
    };
    for tx in [&undone, &kept] {
        let wanted = constraints(&world, slot, &proposer, std::slice::from_ref(tx));
        assert_eq!(world.post(CONSTRAINTS, &wanted).await.0, 200);
    }
    let other = constraints(&world, slot, &proposer, &[transfer(3, 0, 5), transfer(1, 0, 6)]);
    assert_eq!(code(world.post(CONSTRAINTS, &other).await), (400, "constraint_conflict".into()));
    // Not by constraints then, but by the public pool.
    let replacement = transfer(1, 0, 7);
    world.engine.submit(replacement.clone());
    world.engine.submit(kept);
    let builder = world.builder().await;
    let mut reports = builder.reports();
    assert_eq!(world.bid(&mut reports, slot).await, slot);
    world.node.wait_for_slot(slot).await;
    let client = RelayClient::new(&world.relay.url, Limits::default()).unwrap();
    let parent_hash = world.node.head().execution.hash;
    let asked = HeaderRequest { slot, parent_hash, pubkey: proposer.public_key() };
    let offered = client.header_with_proofs(&asked, Duration::from_secs(5)).await.unwrap().unwrap();
    assert!(offered.inclusions().unwrap().iter().any(|proof| proof.signed_tx == replacement));
    let status = |receipts: &[SignedConstraintReceipt]| -> Vec<_> {
        receipts.iter().map(|receipt| receipt.message.status).collect()
    };
    let (held, dropped) = (ConstraintStatus::Held, ConstraintStatus::Dropped);
    assert_eq!(status(&receipts(&world).await), [held, held], "nothing is undone by what is only on offer");
    let bid = world.header(slot, &proposer).await;
    let signed = world.blinded(slot, &bid, index, &proposer, 0);
    assert_eq!(world.post("/eth/v1/builder/blinded_blocks", &signed).await.0, 200);
    let before = receipts(&world).await;
    assert_eq!(status(&before), [dropped, held]);
    before[0].verify(&world.network, world.relay.address).unwrap();
    builder.shutdown().await;
    let world = world.restart().await;
    assert_eq!(receipts(&world).await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delegation_stands_only_while_its_signer_proposes_the_slot() {
    let world = World::start(Setting { slot_ms: 1_000, ..Setting::default() }).await;
    let options = ValidatorOptions::new(world.keys.clone(), world.node.url().clone(), None);
    let validators = Validators::start(options).await.unwrap();
    let slots_per_epoch = world.node.clock().slots_per_epoch();
    // A reorg of the block that decided the next epoch's proposers changes them.
    let head = world.node.wait_for_head(|head| head.header.slot > slots_per_epoch).await;
    let next = world.node.clock().first_slot(world.node.clock().epoch_of(head.header.slot) + 1);
    let mut proposers = Vec::new();
    for slot in next..next + slots_per_epoch {
        let (index, key) = world.proposer(slot).await;
        assert_eq!(world.post(DELEGATE, &delegation(&world, slot, &key, 1)).await.0, 200);
        proposers.push((slot, index));
    }
    validators.shutdown().await;
    world.node.change_lookahead().await.unwrap();
    let changed = async {
        loop {
            let (_, schedule) = world.get("/ordering/v1/schedule").await;
            let proposes = |(slot, index): &&(u64, u64)| {
                let rows = schedule["slots"].as_array().unwrap();
                let row = rows.iter().find(|row| row["slot"] == *slot.to_string()).unwrap();
                row["validator_index"] == *index.to_string()
            };
            let kept: Vec<u64> = proposers.iter().filter(proposes).map(|(slot, _)| *slot).collect();
            if kept.len() < proposers.len() {
                return kept;
            }
        }
    };
    let kept = tokio::time::timeout(Duration::from_secs(30), changed).await.unwrap();
    for (slot, _) in proposers {
        let (_, shown) = world.get(&format!("/ordering/v1/delegations/{slot}")).await;
        let expected = usize::from(kept.contains(&slot));
        assert_eq!(shown.as_array().unwrap().len(), expected, "slot {slot}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn capabilities_name_what_is_enforced() {
    let world = World::start(Setting::default()).await;
    let (status, body) = world.get("/constraints/v0/builder/capabilities").await;
    assert_eq!((status, body), (200, json!({"constraintTypes": ["1"]})));
}
