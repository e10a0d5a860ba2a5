//! The relay's disk is full, or its writes fail, while an auction runs: nothing is acknowledged or signed that is not durable,
//! proposers have their blocks as long as that can be, and no bid that was acknowledged is lost (design §2, §10).

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

use alloy_primitives::{Address, B256, Bytes, U256};
use earnest_builder_types::{TreeHash, bls::SecretKey};
use earnest_protocol::{
    RollupId, Slot, Wei,
    auction::{AuctionRecord, AuctionStatus, HeldAck},
    objects::{MarketDomain, OrderingBid, Policy, RollupRegistration, SignedBid},
    signing::EcdsaSecret,
    window::{Fraction, Window},
};
use earnest_relay::{ListedEscrow, ListedOperator, MarketConfig};
use earnest_tests::{
    binary,
    disk::limit_files,
    patience::{now_ms, until},
    relay_rig::{PATIENCE, Rig, text},
};
use serde_json::{Value, json};

const CONTRACT: Address = Address::repeat_byte(0x3a);
const BIDDER: u8 = 10;
const BIDS: &str = "/ordering/v1/market/bids";
const MIB: u64 = 1 << 20;
/// What the relay keeps free.
const FLOOR: u64 = 32 * MIB;
/// Beyond so many bytes of a file nothing can be written: the journal's records lie behind that, the log before it.
const SHORT: u64 = 32 << 10;

fn secret(byte: u8) -> EcdsaSecret {
    EcdsaSecret::from_bytes(&[byte; 32]).unwrap()
}

fn market() -> MarketConfig {
    let rollup = RollupRegistration {
        rollup_id: RollupId(5),
        reserve_wei: Wei(U256::from(20)),
        reserve_committer: Address::ZERO,
        revenue_recipient: Address::repeat_byte(1),
        inclusion_share_bps: 1_000,
        max_batch_bytes: 120 << 10,
        max_tx_gas: 30_000_000,
        policy: Policy::Fcfs,
        required_level: 1,
        opaque: false,
        active: true,
        // The relay's key, as the rig has it.
        relay: secret(78).address(),
        uri: String::new(),
    };
    let operator = ListedOperator {
        registration_root: B256::repeat_byte(BIDDER),
        owner: secret(BIDDER).address(),
        committer: secret(BIDDER + 1).address(),
        validators: vec![],
    };
    MarketConfig {
        contract: CONTRACT,
        rollups: vec![rollup],
        operators: vec![operator],
        escrow: vec![ListedEscrow { account: secret(BIDDER).address(), wei: Wei(U256::from(1_000_000)) }],
        ..MarketConfig::default()
    }
}

fn bid(rig: &Rig, slot: u64, wei: u64) -> SignedBid {
    let message = OrderingBid {
        slot: Slot(slot),
        rollup_ids: vec![RollupId(5)],
        amount_wei: Wei(U256::from(wei)),
        account: secret(BIDDER).address(),
        registration_root: B256::repeat_byte(BIDDER),
        committer: secret(BIDDER + 1).address(),
        relay: secret(78).address(),
        delegate: SecretKey::from_bytes(&[BIDDER; 32]).unwrap().public_key(),
        url: "http://gateway.example".into(),
        matches: B256::ZERO,
        nonce: wei,
        expiry: 4_000_000_000,
    };
    let domain = MarketDomain { chain_id: rig.network.chain_id, market: CONTRACT };
    SignedBid::sign(message, &secret(BIDDER), &domain).unwrap()
}

async fn place(rig: &Rig, bid: SignedBid) -> HeldAck {
    let (status, body) = rig.post(BIDS, &bid).await.unwrap();
    assert_eq!(status, 200, "{}", text(&body));
    HeldAck { bid, ack: serde_json::from_slice(&body).unwrap() }
}

/// Refused for want of room, and said so.
async fn refused(rig: &Rig, bid: &SignedBid) {
    let (status, body) = rig.post(BIDS, bid).await.unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    let expected = "the relay's disk is full: it takes nothing new";
    assert_eq!((status, body["message"].as_str(), &body["retry_after"]), (503, Some(expected), &json!(1)));
}

async fn record(rig: &Rig, slot: u64) -> Option<AuctionRecord> {
    let (status, body) = rig.get(&format!("/ordering/v1/market/auctions/{slot}")).await?;
    assert_eq!(status, 200, "{}", text(&body));
    Some(serde_json::from_slice(&body).unwrap())
}

async fn as_far_as(rig: &Rig, slot: u64, wanted: AuctionStatus) -> AuctionRecord {
    until("the auction", PATIENCE, async || {
        record(rig, slot)
            .await
            .filter(|record| record.status == wanted || record.status == AuctionStatus::Lapsed)
    })
    .await
}

/// The first auctions that are open for so many slots.
async fn open(rig: &Rig, slots: u64) -> Vec<Window> {
    let (_, schedule): (_, Bytes) = rig.get("/ordering/v1/schedule").await.unwrap();
    let schedule: Value = serde_json::from_slice(&schedule).unwrap();
    let after = now_ms() + slots * rig.node.clock().slot_ms();
    let windows = schedule["slots"].as_array().unwrap().iter();
    let windows = windows.filter_map(|row| serde_json::from_value::<Window>(row["window"].clone()).ok());
    windows.filter(|window| window.close_ms > after).collect()
}

/// Whether the relay says that it is ready: by `/readyz`, the builder status, and its metrics.
async fn says(rig: &Rig, ready: bool) {
    until("what the relay says of itself", PATIENCE, async || {
        for path in ["/readyz", "/eth/v1/builder/status"] {
            let (status, body) = rig.get(path).await?;
            if status != if ready { 200 } else { 503 } {
                return None;
            }
            assert!(ready || text(&body).contains("not ready: journal: "), "{}", text(&body));
        }
        let (_, metrics) = rig.get("/metrics").await?;
        let shown = format!("earnest_relay_journal_writable {}", u8::from(ready));
        text(&metrics).contains(&shown).then_some(())
    })
    .await;
}

/// A header of the next slot, and its block on the chain.
async fn propose(rig: &Rig, reports: &mut tokio::sync::broadcast::Receiver<earnest_devnet::builder::Report>) {
    let slot = rig.bid(reports, rig.next_slot()).await;
    let (_, key) = rig.proposer(slot);
    let header = rig.header_in_slot(slot, &key).await;
    let block = rig.blinded(slot, &header, 1);
    let (status, body) = rig.propose(2, &block).await.unwrap();
    assert_eq!(status, 202, "{}", text(&body));
    let head = rig.node.wait_for_head(|head| head.header.slot >= slot);
    let root = tokio::time::timeout(PATIENCE, head).await.unwrap().root;
    assert_eq!(root, block.message().tree_hash_root());
}

/// Everything of an auction from outside: all that was acknowledged is there.
async fn verify(rig: &Rig, slot: u64, held: &[HeldAck], expected: &str) {
    let mut arguments: Vec<String> = ["market", "verify", &slot.to_string(), "--relay", rig.url.as_str()]
        .into_iter()
        .map(str::to_owned)
        .collect();
    arguments.extend(["--address".to_owned(), secret(78).address().to_string()]);
    for held in held {
        let name = format!("{}-{}.json", slot, held.bid.message.nonce);
        let file = rig.file(&name, &json!(held).to_string());
        arguments.extend(["--ack".to_owned(), file.display().to_string()]);
    }
    let folder = tempfile::tempdir().unwrap();
    let output = binary::run(&arguments, folder.path()).await;
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    assert!(output.status.code() == Some(0) && said.contains(expected), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_takes_no_bid_and_loses_none() {
    let rig = Rig::new(6_000, 4).await.with_market(market()).with_disk(128 * MIB, FLOOR).await;
    let Some(disk) = &rig.disk else {
        println!("no leave to mount a disk in a namespace of its own: nothing is tested here");
        return;
    };
    let mut relay = rig.relay("0").await;
    rig.register().await;
    let builder = rig.builder().await;
    let mut reports = builder.reports();
    says(&rig, true).await;
    let windows = open(&rig, 2).await;
    let (one, last) = (windows[0].slot.0, windows.last().unwrap());
    let held = [place(&rig, bid(&rig, one, 40)).await, place(&rig, bid(&rig, one, 50)).await];

    // Below the floor nothing new is taken. What was acknowledged is, and proposers have their blocks.
    disk.leave(Some(FLOOR * 3 / 4)).await;
    let new = bid(&rig, last.slot.0, 70);
    refused(&rig, &new).await;
    assert_eq!(place(&rig, held[0].bid.clone()).await, held[0], "the same acknowledgement");
    let (status, body) = rig
        .post("/eth/v1/builder/validators", &[rig.registration(&rig.keys[0], 1_700_000_001)])
        .await
        .unwrap();
    assert_eq!(status, 503, "{}", text(&body));
    says(&rig, false).await;
    propose(&rig, &mut reports).await;
    assert_eq!(rig.delivered().await.unwrap().len(), 1);

    // With hardly any room no header promises a payload. Auctions are owed: they close and have results.
    disk.leave(Some(3 * MIB)).await;
    let slot = rig.bid(&mut reports, rig.next_slot()).await;
    let (_, key) = rig.proposer(slot);
    rig.node.wait_for_slot(slot).await;
    assert!(rig.header(slot, &key).await.is_none(), "no header without room for its record");
    assert_eq!(record(&rig, one).await.unwrap().bid_count, 2);
    let done = as_far_as(&rig, one, AuctionStatus::Final).await;
    assert_eq!(done.outcome.unwrap().bids.len(), 2);
    verify(&rig, one, &held, "the auction holds").await;

    disk.leave(None).await;
    says(&rig, true).await;
    let windows = open(&rig, 1).await;
    let (second, last) = (windows[0], windows.last().unwrap());
    let two = second.slot.0;
    let held_second = [place(&rig, bid(&rig, two, 60)).await];
    // Without any, the second one waits, also over a kill and a start; nothing of it is shown or signed.
    disk.leave(Some(0)).await;
    relay.kill().await;
    relay = rig.relay("full").await;
    says(&rig, false).await;
    assert_eq!(place(&rig, held_second[0].bid.clone()).await, held_second[0]);
    until("the second close", PATIENCE, async || (now_ms() > second.close_ms).then_some(())).await;
    refused(&rig, &bid(&rig, last.slot.0, 70)).await;
    let waiting = record(&rig, two).await.unwrap();
    assert_eq!((waiting.bid_count, waiting.outcome), (1, None));
    disk.leave(None).await;
    let done = until("the second auction", PATIENCE, async || {
        record(&rig, two)
            .await
            .filter(|record| record.outcome.is_some() && record.status != AuctionStatus::Closed)
    })
    .await;
    assert_eq!(done.outcome.as_ref().unwrap().bids.len(), 1);
    if done.status == AuctionStatus::Final {
        verify(&rig, two, &held_second, "the auction holds").await;
    }

    // There is room: all is as before.
    says(&rig, true).await;
    let slot = open(&rig, 1).await[0].slot.0;
    place(&rig, bid(&rig, slot, 80)).await;
    propose(&rig, &mut reports).await;
    builder.shutdown().await;
    assert!(relay.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_fails_ends_the_relay_and_loses_no_bid() {
    let rig = Rig::new(8_000, 48).await.with_market(market());
    // One auction alone, which closes two slots after the chain began. Every write of the relay is for it.
    let alone = (8..16).map(|slot| (slot, rig.proposer(slot).1.public_key()));
    let (slot, proposer) = alone
        .into_iter()
        .find(|(slot, key)| (1..16).all(|other| other == *slot || rig.proposer(other).1.public_key() != *key))
        .expect("a proposer of one slot alone");
    rig.configure(|config| {
        config.opted_in = vec![proposer];
        // A slot to see it closed, and one to decide it.
        config.timing.first_refusal = Fraction(1, 1);
    });
    let mut relay = rig.relay("0").await;
    let window = open(&rig, 0).await[0];
    assert_eq!(window.slot.0, slot);
    let held = [place(&rig, bid(&rig, slot, 40)).await, place(&rig, bid(&rig, slot, 50)).await];
    let ends_by_itself = |status: std::process::ExitStatus, said: String| {
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(said.contains("the journal takes no more writes"), "{said}");
    };

    // At a bid: it is not acknowledged. What it left is in the journal or is not.
    limit_files(relay.id(), SHORT).await;
    let lost = bid(&rig, slot, 60);
    let answer = rig.post(BIDS, &lost).await;
    assert!(answer.is_none_or(|(status, _)| status == 503), "it was acknowledged");
    let status = relay.ended().await;
    ends_by_itself(status, relay.log());
    relay = rig.relay("bid").await;
    for held in &held {
        assert_eq!(place(&rig, held.bid.clone()).await, *held, "the same acknowledgement");
    }
    let third = place(&rig, lost).await;
    let held = [held.to_vec(), vec![third]].concat();

    // At the close: nothing is shown of it.
    limit_files(relay.id(), SHORT).await;
    let status = relay.ended().await;
    ends_by_itself(status, relay.log());
    assert!(now_ms() >= window.close_ms, "it ended by its close:\n{}", relay.log());
    relay = rig.relay("close").await;
    let closed = as_far_as(&rig, slot, AuctionStatus::Closed).await;
    assert_eq!(closed.outcome.as_ref().unwrap().bids.len(), 3);
    assert_eq!(closed.status, AuctionStatus::Closed, "first refusal goes on");

    // At the result: none is signed that is not durable; then there is the one.
    limit_files(relay.id(), SHORT).await;
    let status = relay.ended().await;
    ends_by_itself(status, relay.log());
    relay = rig.relay("result").await;
    let done = as_far_as(&rig, slot, AuctionStatus::Final).await;
    assert_eq!(done.outcome.unwrap().winners, closed.outcome.unwrap().winners);
    verify(&rig, slot, &held, "the auction holds").await;
    assert!(relay.terminate().await.success());
}
