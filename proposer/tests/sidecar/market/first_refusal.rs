//! Winners of others, matched.

use alloy_primitives::U256;
use earnest_proposer::delegation_record;
use earnest_proposer::market::{FirstRefusal, MarketConfig, Slots};
use earnest_protocol::objects::SignedBid;
use earnest_protocol::{Slot, Wei};

use super::{
    AUCTIONS, DOMAIN, MATCH, account, acknowledged, auction, bid, closed, evidence, rival, run, says, sells,
};
use crate::beacon_stand_in::SLOTS_PER_EPOCH;
use crate::delegations::{OURS, Stage, open, stop};
use crate::relay_stand_in::Says;

/// Our slot's auction closes at the start of this one.
const CLOSE: u64 = 2 * SLOTS_PER_EPOCH + 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_winner_of_others_is_matched_and_the_match_is_durable_before_it_is_posted() {
    let stage = Stage::set_before(CLOSE, 3).await;
    sells(&stage.relay, &stage);
    let winner = bid(&stage, &rival(), &[42], 30, 0);
    stage.relay.says(AUCTIONS, says(&closed(&auction(&stage, std::slice::from_ref(&winner)))));
    // The relay never answers: what is in the record was there when the match went out.
    stage.relay.says(MATCH, Says::Silence);
    let refusing = |market: &mut MarketConfig| {
        market.first_refusal = FirstRefusal::IfWorth;
        market.slots = Slots::Own;
    };
    let running = run(&stage, refusing).await;
    let posted = stage.relay.wait_for(MATCH, 1).await;
    stop(running).await;
    let posted: SignedBid = serde_json::from_slice(&posted[0].body).unwrap();
    posted.verify(&DOMAIN).unwrap();
    assert_eq!(posted.message.matches, winner.message.hash(&DOMAIN));
    assert_eq!(posted.message.account, account().address());
    assert_eq!(
        (&posted.message.rollup_ids, posted.message.amount_wei),
        (&winner.message.rollup_ids, winner.message.amount_wei)
    );
    let journal = open(stage.directory.path());
    let book = delegation_record::restore_market(&journal, DOMAIN).unwrap();
    assert!(book.unacknowledged(Slot(OURS)).contains(&posted));
    journal.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_winner_that_nobody_bid_is_not_matched() {
    let stage = Stage::set_before(CLOSE, 3).await;
    sells(&stage.relay, &stage);
    acknowledged(&stage, &bid(&stage, &account(), &[43], 25, 0));
    let mut record = closed(&auction(
        &stage,
        &[bid(&stage, &account(), &[43], 25, 0), bid(&stage, &rival(), &[42], 30, 0)],
    ));
    // Dearer than what its bidder signed.
    let outcome = record.outcome.as_mut().unwrap();
    let forged = outcome.bids.iter_mut().find(|one| one.bid.message.account == rival().address()).unwrap();
    forged.bid.message.amount_wei = Wei(U256::from(50));
    let hash = forged.bid.message.hash(&DOMAIN);
    (forged.hash, forged.ack.message.bid_hash) = (hash, hash);
    outcome.winners = outcome.bids.iter().map(|one| one.hash).collect();
    stage.relay.says(AUCTIONS, says(&record));
    let running = run(&stage, |market| market.first_refusal = FirstRefusal::IfWorth).await;
    let files = evidence(&stage).await;
    stop(running).await;
    assert!(stage.relay.heard(MATCH).is_empty());
    let (_, path) = files.iter().find(|(kind, _)| kind == "findings").unwrap();
    assert!(std::fs::read_to_string(path).unwrap().contains("is counted: signature"));
}
