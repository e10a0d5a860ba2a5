//! Results, signed only if the auction holds.

use alloy_primitives::U256;
use earnest_proposer::delegation_record;
use earnest_protocol::auction::AuctionRecord;
use earnest_protocol::objects::SignedDelegation;
use earnest_protocol::signing::{EcdsaSignature, Signed};
use earnest_protocol::{RollupId, Wei};

use super::{
    AUCTIONS, DOMAIN, account, acknowledged, auction, bid, closed, evidence, rival, run, says, window,
};
use crate::delegations::{OURS, ROUTE, Stage, open, receipts, stop};
use crate::network::NETWORK;
use crate::relay_stand_in::Says;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delegation_carries_the_result_of_an_auction_that_holds() {
    let stage = Stage::set().await;
    stage.relay.says(ROUTE, receipts(&stage.cast.relay_account, 1));
    let ours = bid(&stage, &account(), &[42], 50, 0);
    acknowledged(&stage, &ours);
    let record = auction(&stage, &[ours.clone(), bid(&stage, &rival(), &[43], 25, 0)]);
    stage.relay.says(AUCTIONS, says(&record));
    let running = run(&stage, |_| {}).await;
    let posts = stage.relay.wait_for(ROUTE, 1).await;
    let signed: SignedDelegation = serde_json::from_slice(&posts[0].body).unwrap();
    signed.verify(&NETWORK, &stage.cast.proposer.public_key()).unwrap();
    let allocation = record.outcome.unwrap().allocation.unwrap();
    assert_eq!(signed.message.allocation().unwrap(), allocation);
    assert_eq!(allocation.entry(RollupId(42)).unwrap().bid_hash, ours.message.hash(&DOMAIN));
    assert_eq!(signed.message.delegate, stage.cast.delegate.public_key());
    stop(running).await;
    assert!(!stage.directory.path().join("evidence").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_auction_that_does_not_hold_is_not_signed_and_leaves_evidence() {
    type Change = fn(&Stage, &mut AuctionRecord);
    let wrong: [(&str, Change); 5] = [
        ("is left out", |stage, record| {
            // As honest as can be, but for our bid.
            *record = auction(stage, &[bid(stage, &rival(), &[43], 25, 0)]);
        }),
        ("is paid", |_, record| {
            let allocation = record.outcome.as_mut().unwrap().allocation.as_mut().unwrap();
            allocation.entries[0].price_wei = Wei(U256::from(1));
        }),
        ("wei", |stage, record| {
            // The loser won.
            let honest = record.outcome.clone().unwrap();
            *record = auction(stage, &[bid(stage, &rival(), &[42], 30, 0)]);
            let outcome = record.outcome.as_mut().unwrap();
            outcome.bids = honest.bids;
            outcome.operators = honest.operators;
            outcome.auction_root = honest.auction_root;
        }),
        ("signature", |_, record| {
            let outcome = record.outcome.as_mut().unwrap();
            let result = outcome.result.clone().unwrap().message;
            outcome.result = Some(Signed::<_, EcdsaSignature>::sign(result, &rival(), &NETWORK).unwrap());
        }),
        ("", |_, record| record.window.start_ms += 1_000),
    ];
    for (words, change) in wrong {
        let stage = Stage::set().await;
        stage.relay.says(ROUTE, receipts(&stage.cast.relay_account, 1));
        let ours = bid(&stage, &account(), &[42], 50, 0);
        acknowledged(&stage, &ours);
        let others = [bid(&stage, &rival(), &[43], 25, 0), bid(&stage, &rival(), &[42], 30, 1)];
        let mut record = auction(&stage, &[&[ours], &others[..]].concat());
        change(&stage, &mut record);
        stage.relay.says(AUCTIONS, says(&record));
        let running = run(&stage, |_| {}).await;
        let files = evidence(&stage).await;
        stop(running).await;
        assert!(stage.relay.heard(ROUTE).is_empty(), "{words}");
        for (kind, path) in &files {
            let bytes = std::fs::read(path).unwrap();
            match kind.as_str() {
                "record" => assert_eq!(serde_json::from_slice::<AuctionRecord>(&bytes).unwrap(), record),
                "findings" => {
                    let text = String::from_utf8(bytes).unwrap();
                    assert!(text.contains(words) && !text.is_empty(), "{words}: {text}");
                }
                "ack" => drop(serde_json::from_slice::<earnest_protocol::auction::HeldAck>(&bytes).unwrap()),
                _ => {}
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_results_of_one_slot_are_seen_across_a_restart() {
    let stage = Stage::set().await;
    stage.relay.says(ROUTE, receipts(&stage.cast.relay_account, 1));
    let (ours, theirs) = (bid(&stage, &account(), &[42], 50, 0), bid(&stage, &rival(), &[43], 25, 0));
    acknowledged(&stage, &ours);
    // An earlier run saw a result with our bid alone; now the relay shows another, which holds by itself.
    let before = auction(&stage, std::slice::from_ref(&ours)).outcome.unwrap().result.unwrap();
    let journal = open(stage.directory.path());
    delegation_record::keep_result(&journal, &before).unwrap();
    journal.close();
    stage.relay.says(AUCTIONS, says(&auction(&stage, &[ours, theirs])));
    let running = run(&stage, |_| {}).await;
    evidence(&stage).await;
    stop(running).await;
    let files = evidence(&stage).await;
    assert!(stage.relay.heard(ROUTE).is_empty());
    let results = files.iter().filter(|(kind, _)| kind == "result").count();
    assert_eq!(results, 2, "both are there for whoever judges");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_sold_is_nothing_delegated_and_a_late_result_is_waited_for() {
    let stage = Stage::set().await;
    stage.relay.says(ROUTE, receipts(&stage.cast.relay_account, 1));
    let ours = bid(&stage, &account(), &[42], 50, 0);
    let record = auction(&stage, std::slice::from_ref(&ours));
    stage.relay.says(AUCTIONS, says(&closed(&record)));
    let running = run(&stage, |_| {}).await;
    stage.relay.wait_for(AUCTIONS, 3).await;
    assert!(stage.relay.heard(ROUTE).is_empty());
    stage.relay.says(AUCTIONS, says(&record));
    stage.relay.wait_for(ROUTE, 1).await;
    stop(running).await;

    let stage = Stage::set().await;
    let refusal = br#"{"code":"nothing_for_sale","message":"no"}"#.to_vec();
    stage.relay.says(AUCTIONS, Says::Json(404, refusal));
    let running = run(&stage, |_| {}).await;
    stage.relay.wait_for(AUCTIONS, 1).await;
    stop(running).await;
    assert!(stage.relay.heard(ROUTE).is_empty());
}

/// A relay that has our bid, by its own word, and says that there is no auction.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acknowledged_bid_without_an_auction_leaves_evidence_until_there_is_one() {
    let stage = Stage::set().await;
    stage.relay.says(ROUTE, receipts(&stage.cast.relay_account, 1));
    let ours = bid(&stage, &account(), &[42], 50, 0);
    acknowledged(&stage, &ours);
    stage.relay.says(AUCTIONS, Says::Json(404, br#"{"code":"nothing_for_sale","message":"no"}"#.to_vec()));
    let running = run(&stage, |_| {}).await;
    let folder = stage.directory.path().join(format!("evidence/slot-{OURS}"));
    let written = async {
        loop {
            let files = std::fs::read_dir(&folder).into_iter().flatten().map(|file| file.unwrap().path());
            let text: String = files.map(|file| std::fs::read_to_string(file).unwrap()).collect();
            if text.contains("is left out") && text.contains("\"ack\"") {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), written).await.unwrap();
    assert!(stage.relay.heard(ROUTE).is_empty());
    stage.relay.says(AUCTIONS, says(&auction(&stage, &[ours])));
    stage.relay.wait_for(ROUTE, 1).await;
    stop(running).await;
}

/// A receipt from after the window's start binds nobody: it is said, and the slot stays constrained, for somebody has the delegation.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receipt_that_is_dated_too_late_is_kept_and_the_slot_stays_constrained() {
    let stage = Stage::set().await;
    stage.relay.says(ROUTE, receipts(&stage.cast.relay_account, window(&stage).start_ms));
    stage.relay.says(AUCTIONS, says(&auction(&stage, &[bid(&stage, &rival(), &[42], 30, 0)])));
    let running = run(&stage, |_| {}).await;
    stage.relay.wait_for(ROUTE, 1).await;
    let url = running.0.url().unwrap();
    let said = async {
        loop {
            let metrics = reqwest::get(url.join("metrics").unwrap()).await.unwrap().text().await.unwrap();
            if metrics.contains("earnest_proposer_delegation_failures_total{step=\"deliver\"}") {
                break;
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), said).await.unwrap();
    let path = format!(
        "eth/v1/builder/header/{OURS}/{}/{}",
        crate::network::PARENT,
        stage.cast.proposer.public_key()
    );
    assert_eq!(reqwest::get(url.join(&path).unwrap()).await.unwrap().status(), 204);
    stop(running).await;
    assert_eq!(stage.relay.heard(ROUTE).len(), 1, "asked once: another post changes no date");
    assert_eq!(stage.relay.heard("relay/constraints").len(), 1);
}
