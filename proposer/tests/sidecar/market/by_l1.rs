//! Auctions judged by what L1 says.

use alloy_primitives::{Address, B256, U256};
use earnest_chain::registry::Event;
use earnest_protocol::auction::AuctionRecord;
use earnest_protocol::objects::{SignedBid, SignedDelegation};
use earnest_protocol::signing::EcdsaSecret;
use earnest_protocol::{Slot, Wei};

use super::{
    AUCTIONS, DOMAIN, ROOT, account, acknowledged, auction, bid, evidence, registrations, rival, run_on, says,
};
use crate::beacon_stand_in::{SECONDS_PER_SLOT, SLOTS_PER_EPOCH};
use crate::delegations::{OURS, ROUTE, Stage, receipts, stop};
use crate::execution_stand_in::ExecutionStandIn;

/// What L1 says of both operators and both rollups, for the changes of a test.
fn on_l1(stage: &Stage) -> Vec<Event> {
    let operator = |root, owner: &EcdsaSecret, keys: Vec<_>, committer| {
        [
            Event::Registered { root, owner: owner.address(), collateral: U256::from(1), keys: keys.into() },
            Event::OptedIn { root, committer },
            Event::RelayNamed { root, relay: stage.cast.relay_account.address() },
        ]
    };
    let ours = operator(ROOT, &account(), vec![stage.cast.proposer.public_key()], stage.cast.committer);
    let theirs = operator(B256::repeat_byte(0x22), &rival(), Vec::new(), RIVALS_COMMITTER);
    let rollups = registrations(stage).into_iter().map(|terms| Event::RollupUpdated {
        rollup: terms.rollup_id,
        from: Slot(0),
        terms: Some(Box::new(terms)),
    });
    ours.into_iter().chain(theirs).chain(rollups).collect()
}

const RIVALS_COMMITTER: Address = Address::repeat_byte(0xc1);

/// The auction of an honest relay in which both operators bid, each with its own committer.
fn auction_of_both(stage: &Stage) -> AuctionRecord {
    let ours = bid(stage, &account(), &[42], 50, 0);
    let mut theirs = bid(stage, &rival(), &[43], 25, 0).message;
    theirs.committer = RIVALS_COMMITTER;
    let theirs = SignedBid::sign(theirs, &rival(), &DOMAIN).unwrap();
    let mut record = auction(stage, &[ours, theirs]);
    let outcome = record.outcome.as_mut().unwrap();
    outcome.proposer_operator = outcome.operators.iter().copied().find(|one| one.registration_root == ROOT);
    record
}

/// Blocks in epochs 0 and 1, and a recent one.
async fn chain(stage: &Stage) -> ExecutionStandIn {
    let at = |slot: u64| stage.genesis_s + slot * SECONDS_PER_SLOT;
    let chain = ExecutionStandIn::start(at(0)).await;
    chain.block(at(SLOTS_PER_EPOCH)).block(at(2 * SLOTS_PER_EPOCH + 2));
    chain
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_registry_the_relays_word_on_operators_and_terms_counts_for_nothing() {
    type Change = fn(&mut Vec<Event>, &mut AuctionRecord);
    let table: [(&str, Option<&str>, Change); 8] = [
        ("as L1 has it", None, |_, _| {}),
        (
            "an operator that nobody knows",
            Some("no operator is opted in under registration 0x2222"),
            |l1, _| {
                l1.drain(3..6);
            },
        ),
        ("another committer", Some("the operator's committer is 0x99"), |l1, _| {
            l1[4] = Event::OptedIn { root: B256::repeat_byte(0x22), committer: Address::repeat_byte(0x99) };
        }),
        ("another account", Some("the operator's owner is 0x98"), |l1, _| {
            let Event::Registered { owner, .. } = &mut l1[3] else { panic!("no registration") };
            *owner = Address::repeat_byte(0x98);
        }),
        ("another reserve", Some("what is for sale"), |l1, _| reserve(l1, 49)),
        ("a reserve above the bid", Some("below the reserves"), |l1, _| reserve(l1, 51)),
        ("a rollup that nobody knows", Some("rollup 43 does not sell this slot here"), |l1, _| {
            l1.pop();
        }),
        ("another operator of the proposer", Some("the proposer's operator"), |_, record| {
            let outcome = record.outcome.as_mut().unwrap();
            outcome.proposer_operator =
                outcome.operators.iter().copied().find(|one| one.registration_root != ROOT);
        }),
    ];
    for (name, wrong, change) in table {
        let stage = Stage::set().await;
        stage.relay.says(ROUTE, receipts(&stage.cast.relay_account, 1));
        acknowledged(&stage, &bid(&stage, &account(), &[42], 50, 0));
        let (mut l1, mut record) = (on_l1(&stage), auction_of_both(&stage));
        change(&mut l1, &mut record);
        stage.relay.says(AUCTIONS, says(&record));
        let chain = chain(&stage).await;
        chain.checkpoint(stage.directory.path(), DOMAIN.market, &l1);
        let running = run_on(&stage, Some(chain.config(DOMAIN.market)), |_| {}).await;
        match wrong {
            None => {
                let posts = stage.relay.wait_for(ROUTE, 1).await;
                let signed: SignedDelegation = serde_json::from_slice(&posts[0].body).unwrap();
                assert_eq!(signed.message.allocation().unwrap().entries.len(), 2, "{name}");
                stop(running).await;
                assert!(!stage.directory.path().join("evidence").exists(), "{name}");
            }
            Some(words) => {
                let files = evidence(&stage).await;
                stop(running).await;
                assert!(stage.relay.heard(ROUTE).is_empty(), "{name}");
                let (_, path) = files.iter().find(|(kind, _)| kind == "findings").unwrap();
                let text = std::fs::read_to_string(path).unwrap();
                assert!(text.contains(words), "{name}: {text}");
            }
        }
    }
}

/// Changes rollup 42's reserve on L1.
fn reserve(l1: &mut [Event], wei: u64) {
    let Event::RollupUpdated { terms: Some(terms), .. } = &mut l1[6] else { panic!("no terms") };
    terms.reserve_wei = Wei(U256::from(wei));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_l1_is_not_known_nothing_is_signed_and_nobody_is_accused() {
    // The window of the second of two slots of ours is open long after the reference block.
    let mut stage = Stage::set_at(OURS - 4).await;
    stage.previous = Some(Slot(OURS - 2));
    stage.beacon.proposes(OURS - 2, stage.cast.proposer.public_key());
    stage.relay.says(ROUTE, receipts(&stage.cast.relay_account, 1));
    acknowledged(&stage, &bid(&stage, &account(), &[42], 50, 0));
    stage.relay.says(AUCTIONS, says(&auction_of_both(&stage)));
    // Who is opted in is known, and no block of the last epoch.
    let at = |slot: u64| stage.genesis_s + slot * SECONDS_PER_SLOT;
    let chain = ExecutionStandIn::start(at(0)).await;
    chain.block(at(SLOTS_PER_EPOCH)).block(at(2 * SLOTS_PER_EPOCH));
    chain.checkpoint(stage.directory.path(), DOMAIN.market, &on_l1(&stage));
    let running = run_on(&stage, Some(chain.config(DOMAIN.market)), |_| {}).await;
    stage.relay.wait_for(AUCTIONS, 3).await;
    assert!(stage.relay.heard(ROUTE).is_empty());
    chain.block(at(OURS - 4));
    stage.relay.wait_for(ROUTE, 1).await;
    stop(running).await;
    assert!(!stage.directory.path().join("evidence").exists());
}
