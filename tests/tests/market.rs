//! An auction whose relay is killed at every step, one whose winner the proposer matches, and what `earnest market` says of them.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

use std::{path::Path, sync::Arc};

use alloy_primitives::{Address, B256, Bytes, U256};
use earnest_builder_types::bls::SecretKey;
use earnest_proposer::market::policy::{BiddingPolicy, OpenSlot, PlannedBid};
use earnest_protocol::{
    RollupId, Slot, Wei,
    auction::{AuctionRecord, AuctionStatus, HeldAck},
    objects::{
        BidAck, MarketDomain, OrderingBid, Policy, RollupRegistration, SignedBid, SignedBidAck,
        SignedDelegation,
    },
    signing::EcdsaSecret,
    window::Window,
};
use earnest_relay::{ListedEscrow, ListedOperator, MarketConfig};
use earnest_signer::LocalBls;
use earnest_tests::{
    binary,
    patience::{now_ms, until},
    relay_rig::{PATIENCE, Rig, text},
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

const CONTRACT: Address = Address::repeat_byte(0x3a);
const OPERATORS: [u8; 2] = [10, 20];

fn secret(byte: u8) -> EcdsaSecret {
    EcdsaSecret::from_bytes(&[byte; 32]).unwrap()
}

/// The relay's key, as the rig has it.
fn relay() -> EcdsaSecret {
    secret(78)
}

fn market() -> MarketConfig {
    let rollup = |id, reserve: u64| RollupRegistration {
        rollup_id: RollupId(id),
        reserve_wei: Wei(U256::from(reserve)),
        reserve_committer: Address::ZERO,
        revenue_recipient: Address::repeat_byte(1),
        inclusion_share_bps: 1_000,
        max_batch_bytes: 120 << 10,
        max_tx_gas: 30_000_000,
        policy: Policy::Fcfs,
        required_level: 1,
        opaque: false,
        active: true,
        relay: relay().address(),
        uri: String::new(),
    };
    let operator = |number: u8| ListedOperator {
        registration_root: B256::repeat_byte(number),
        owner: secret(number).address(),
        committer: secret(number + 1).address(),
        validators: vec![],
    };
    let escrow = |number| ListedEscrow { account: secret(number).address(), wei: Wei(U256::from(1_000)) };
    MarketConfig {
        contract: CONTRACT,
        rollups: vec![rollup(5, 20), rollup(6, 0)],
        operators: OPERATORS.map(operator).to_vec(),
        escrow: OPERATORS.map(escrow).to_vec(),
        ..MarketConfig::default()
    }
}

fn bid(rig: &Rig, slot: u64, by: u8, rollups: &[u64], wei: u64) -> SignedBid {
    let message = OrderingBid {
        slot: Slot(slot),
        rollup_ids: rollups.iter().copied().map(RollupId).collect(),
        amount_wei: Wei(U256::from(wei)),
        account: secret(by).address(),
        registration_root: B256::repeat_byte(by),
        committer: secret(by + 1).address(),
        relay: relay().address(),
        delegate: SecretKey::from_bytes(&[by; 32]).unwrap().public_key(),
        url: "http://gateway.example".into(),
        matches: B256::ZERO,
        nonce: wei,
        expiry: 4_000_000_000,
    };
    SignedBid::sign(message, &secret(by), &domain(rig)).unwrap()
}

fn domain(rig: &Rig) -> MarketDomain {
    MarketDomain { chain_id: rig.network.chain_id, market: CONTRACT }
}

async fn place(rig: &Rig, bid: SignedBid) -> HeldAck {
    let (status, body) = rig.post("/ordering/v1/market/bids", &bid).await.unwrap();
    assert_eq!(status, 200, "{}", text(&body));
    HeldAck { bid, ack: serde_json::from_slice(&body).unwrap() }
}

async fn record(rig: &Rig, slot: u64) -> Option<AuctionRecord> {
    let (status, body) = rig.get(&format!("/ordering/v1/market/auctions/{slot}")).await?;
    assert_eq!(status, 200, "{}", text(&body));
    Some(serde_json::from_slice(&body).unwrap())
}

/// A slot whose auction is open for so many slots.
async fn open_slot(rig: &Rig, slots: u64) -> u64 {
    let (_, schedule): (_, Bytes) = rig.get("/ordering/v1/schedule").await.unwrap();
    let schedule: Value = serde_json::from_slice(&schedule).unwrap();
    let after = now_ms() + slots * rig.node.clock().slot_ms();
    let windows = schedule["slots"].as_array().unwrap().iter();
    let windows = windows.filter_map(|row| serde_json::from_value::<Window>(row["window"].clone()).ok());
    windows.into_iter().find(|window| window.close_ms > after).unwrap().slot.0
}

/// `earnest market` to its end: exit status and output.
async fn earnest(rig: &Rig, arguments: &[&str], folder: &Path) -> (Option<i32>, String) {
    let fixed = ["market", arguments[0], arguments[1], "--relay", rig.url.as_str()];
    let output = binary::run(fixed.iter().chain(&arguments[2..]), folder).await;
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    (output.status.code(), said)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_lose_no_bid_and_the_command_says_what_is_wrong() {
    let rig = Rig::new(4_000, 4).await.with_market(market());
    let mut relay_process = rig.relay("0").await;
    let slot = open_slot(&rig, 3).await;
    let [first, second] = OPERATORS;
    let mut held = vec![
        place(&rig, bid(&rig, slot, first, &[5, 6], 70)).await,
        place(&rig, bid(&rig, slot, second, &[6], 40)).await,
    ];
    relay_process.kill().await;
    relay_process = rig.relay("acknowledged").await;
    assert_eq!(place(&rig, held[0].bid.clone()).await, held[0], "the same acknowledgement");
    held.push(place(&rig, bid(&rig, slot, second, &[5], 31)).await);
    let folder = tempfile::tempdir().unwrap();
    let number = slot.to_string();
    let (code, said) = earnest(&rig, &["show", &number], folder.path()).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("bids are sealed") && said.contains("bids         3"), "{said}");
    assert!(!said.contains(&secret(first).address().to_string()), "{said}");
    let (code, said) = earnest(&rig, &["verify", &number], folder.path()).await;
    assert!(code == Some(1) && said.contains("sealed until"), "{said}");

    let as_far_as = async |wanted: &[AuctionStatus]| {
        until("the auction", PATIENCE, async || {
            record(&rig, slot).await.filter(|record| wanted.contains(&record.status))
        })
        .await
    };
    let closed = as_far_as(&[AuctionStatus::Closed, AuctionStatus::Final]).await;
    relay_process.kill().await;
    relay_process = rig.relay("closed").await;
    let done = as_far_as(&[AuctionStatus::Final]).await;
    let (before, outcome) = (closed.outcome.unwrap(), done.outcome.clone().unwrap());
    assert_eq!((&outcome.bids, &outcome.winners), (&before.bids, &before.winners));
    relay_process.kill().await;
    relay_process = rig.relay("decided").await;
    assert_eq!(record(&rig, slot).await, Some(done), "the same result");
    let listed: Vec<B256> = outcome.bids.iter().map(|bid| bid.hash).collect();
    assert!(held.iter().all(|held| listed.contains(&held.ack.message.bid_hash)));

    // Everything from outside: 31 and 40 beat 70.
    let address = relay().address().to_string();
    let acks: Vec<String> = held
        .iter()
        .enumerate()
        .map(|(at, held)| rig.file(&format!("ack-{at}.json"), &json!(held).to_string()).display().to_string())
        .collect();
    let base =
        ["verify", &number, "--address", &address, "--ack", &acks[0], "--ack", &acks[1], "--ack", &acks[2]];
    let (code, said) = earnest(&rig, &base, folder.path()).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("the auction holds") && said.contains("rollup 5 for 31 wei"), "{said}");

    // A bid that the relay acknowledged and does not show, and another result.
    let hidden = bid(&rig, slot, first, &[6], 999);
    let hash = hidden.message.hash(&domain(&rig));
    let ack = BidAck { bid_hash: hash, received_at_ms: outcome.bids[0].ack.message.received_at_ms };
    let ack = SignedBidAck::sign(ack, &relay(), &rig.network).unwrap();
    let hidden = rig.file("hidden.json", &json!(HeldAck { bid: hidden, ack }).to_string());
    let mut other = outcome.result.unwrap();
    other.message.allocation_hash = B256::repeat_byte(1);
    let other = earnest_protocol::objects::SignedAuctionResult::sign(other.message, &relay(), &rig.network);
    let other = rig.file("other.json", &json!(other.unwrap()).to_string());
    let (hidden, other) = (hidden.display().to_string(), other.display().to_string());
    for (option, file, words) in
        [("--ack", &hidden, "is left out"), ("--result", &other, "two results are signed")]
    {
        let (code, said) = earnest(&rig, &["verify", &number, option, file], folder.path()).await;
        assert!(code == Some(3) && said.contains(words) && said.contains("does NOT hold"), "{said}");
    }
    let (code, said) = earnest(&rig, &["verify", "999999"], folder.path()).await;
    assert!(code == Some(1) && said.contains("is not known"), "{said}");
    assert!(relay_process.terminate().await.success());
}

/// Bids nothing, and takes every winner's place.
#[derive(Debug)]
struct OnlyMatches;

impl BiddingPolicy for OnlyMatches {
    fn bids(&self, _: &OpenSlot<'_>, _: u128) -> Vec<PlannedBid> {
        Vec::new()
    }

    fn matches(&self, winner: &PlannedBid, left_wei: u128) -> bool {
        winner.amount_wei <= left_wei
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_proposers_sidecar_takes_a_winners_place_within_first_refusal() {
    let rig = Rig::new(6_000, 4).await;
    let [ours, theirs] = OPERATORS;
    let mut market = market();
    market.operators[0].validators = rig.keys.iter().map(SecretKey::public_key).collect();
    let rig = rig.with_market(market);
    let relay_process = rig.relay("0").await;

    let account = rig.file("account", &alloy_primitives::hex::encode(*secret(ours).to_bytes()));
    let data = tempfile::tempdir().unwrap();
    let config: earnest_proposer::Config = serde_json::from_value(json!({
        "listen": "127.0.0.1:0",
        "data_dir": data.path(),
        "beacon": [rig.node.url()],
        "network": rig.network,
        "relays": [{
            "url": rig.url, "name": "market", "earnest": true,
            "pubkey": SecretKey::from_bytes(&[77; 32]).unwrap().public_key(),
        }],
        "gateway": {
            "committer": secret(ours + 1).address(),
            "delegate": SecretKey::from_bytes(&[ours; 32]).unwrap().public_key(),
            "url": "http://gateway.example",
            "rollups": [5, 6],
            "relay_address": relay().address(),
            "account": secret(ours).address(),
        },
        "market": {
            "contract": CONTRACT,
            "relay": "market",
            "registration_root": B256::repeat_byte(ours),
            "account_key": { "file": account },
            "budget_wei": "1000",
            "values": [],
        },
        "free_space_floor": 0,
    }))
    .unwrap();
    let stop = CancellationToken::new();
    let signer = Arc::new(LocalBls::new(rig.keys.clone()));
    let sidecar = earnest_proposer::start_with(config, signer, Some(Arc::new(OnlyMatches)), stop.clone())
        .await
        .unwrap();

    let slot = open_slot(&rig, 1).await;
    let winner = place(&rig, bid(&rig, slot, theirs, &[5], 40)).await;
    let done = until("the result", PATIENCE, async || {
        record(&rig, slot).await.filter(|record| record.status == AuctionStatus::Final)
    })
    .await;
    let outcome = done.outcome.clone().unwrap();
    let matched = outcome.matches.first().expect("a match in time");
    assert_eq!(matched.bid.message.matches, winner.ack.message.bid_hash);
    assert_eq!(matched.bid.message.account, secret(ours).address());
    let at_ms = matched.ack.message.received_at_ms;
    assert!(
        (done.window.close_ms..done.window.first_refusal_ms).contains(&at_ms),
        "{at_ms} {:?}",
        done.window
    );
    assert_eq!(outcome.result.clone().unwrap().message.winners, [matched.hash]);

    // The delegation carries it.
    let delegations = until("the delegation", PATIENCE, async || {
        let (status, body) = rig.get(&format!("/constraints/v0/relay/delegations/{slot}")).await?;
        assert_eq!(status, 200, "{}", text(&body));
        let all: Vec<SignedDelegation> = serde_json::from_slice(&body).unwrap();
        (!all.is_empty()).then_some(all)
    })
    .await;
    let message = &delegations[0].message;
    assert_eq!(message.proposer, done.proposer);
    let allocation = message.allocation().unwrap();
    assert_eq!(Some(&allocation), outcome.allocation.as_ref());
    let entry = allocation.entry(RollupId(5)).unwrap();
    assert_eq!((entry.bid_hash, entry.account), (matched.hash, secret(ours).address()));
    let number = slot.to_string();
    let (code, said) =
        earnest(&rig, &["verify", &number, "--address", &relay().address().to_string()], data.path()).await;
    assert_eq!(code, Some(0), "{said}");

    // A match that comes too late is refused, and changes nothing.
    let mut late = matched.bid.message.clone();
    late.nonce += 1;
    let late = SignedBid::sign(late, &secret(ours), &domain(&rig)).unwrap();
    let (status, body) =
        rig.post(&format!("/ordering/v1/market/auctions/{slot}/match"), &late).await.unwrap();
    assert_eq!(status, 400, "{}", text(&body));
    assert!(text(&body).contains("first_refusal_over"), "{}", text(&body));
    assert_eq!(record(&rig, slot).await, Some(done));
    stop.cancel();
    sidecar.join().await.unwrap();
    assert!(!data.path().join("evidence").exists());
    assert!(relay_process.terminate().await.success());
}
