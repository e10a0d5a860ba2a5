//! Bidding, and auctions whose results are signed only if they hold.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use alloy_primitives::{Address, B256, U256};
use earnest_chain::RegistryConfig;
use earnest_chain::registry::Event;
use earnest_proposer::market::{FirstRefusal, MarketConfig, RollupValue, SetBonus, Slots};
use earnest_proposer::{Running, delegation_record, start_with_signer};
use earnest_protocol::auction::{
    AuctionOutcome, AuctionRecord, AuctionStatus, MarketRollups, NamedBid, Operator, PublishedBid, Sale,
    clear,
};
use earnest_protocol::objects::{
    BidAck, MarketDomain, OrderingBid, Policy, RollupRegistration, SignedBid, SignedBidAck, SignedDelegation,
    auction_root,
};
use earnest_protocol::signing::{EcdsaSecret, EcdsaSignature, Signed};
use earnest_protocol::window::{Timing, Window};
use earnest_protocol::{RollupId, Slot, Wei};
use earnest_signer::KeyFile;
use tokio_util::sync::CancellationToken;

use crate::beacon_stand_in::{SECONDS_PER_SLOT, SLOTS_PER_EPOCH};
use crate::delegations::{OURS, ROUTE, Stage, open, receipts, stop};
use crate::execution_stand_in::ExecutionStandIn;
use crate::network::{NETWORK, config, earnest};
use crate::relay_stand_in::{Heard, RelayStandIn, Says};

const BIDS: &str = "market/bids";
const AUCTIONS: &str = "market/auctions";
const MATCH: &str = "/match";
const ROLLUPS: &str = "ordering/v1/rollups";
const DOMAIN: MarketDomain = MarketDomain { chain_id: NETWORK.chain_id, market: Address::repeat_byte(0x3a) };
const ROOT: B256 = B256::repeat_byte(0x11);

fn account() -> EcdsaSecret {
    EcdsaSecret::from_bytes(&[7; 32]).unwrap()
}

fn rival() -> EcdsaSecret {
    EcdsaSecret::from_bytes(&[8; 32]).unwrap()
}

fn registrations(stage: &Stage) -> Vec<RollupRegistration> {
    [(42, 10), (43, 20)]
        .map(|(rollup, reserve)| RollupRegistration {
            rollup_id: RollupId(rollup),
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
            relay: stage.cast.relay_account.address(),
            uri: String::new(),
        })
        .into()
}

fn window(stage: &Stage) -> Window {
    Timing::new(stage.genesis_s * 1000, SECONDS_PER_SLOT * 1000, SLOTS_PER_EPOCH)
        .window(Slot(OURS), stage.previous)
        .unwrap()
}

fn bid(stage: &Stage, who: &EcdsaSecret, rollups: &[u64], wei: u64, nonce: u64) -> SignedBid {
    let window = window(stage);
    let bid = OrderingBid {
        slot: Slot(OURS),
        rollup_ids: rollups.iter().copied().map(RollupId).collect(),
        amount_wei: Wei(U256::from(wei)),
        account: who.address(),
        registration_root: if who.address() == account().address() { ROOT } else { B256::repeat_byte(0x22) },
        committer: stage.cast.committer,
        relay: stage.cast.relay_account.address(),
        delegate: stage.cast.delegate.public_key(),
        url: "http://127.0.0.1:1/".to_owned(),
        matches: B256::ZERO,
        nonce,
        expiry: window.slot_ms / 1000,
    };
    SignedBid::sign(bid, who, &DOMAIN).unwrap()
}

fn ack(relay: &EcdsaSecret, bid: &SignedBid, received_at_ms: u64) -> SignedBidAck {
    let ack = BidAck { bid_hash: bid.message.hash(&DOMAIN), received_at_ms };
    Signed::<_, EcdsaSignature>::sign(ack, relay, &NETWORK).unwrap()
}

/// The auction of an honest relay over these bids.
fn auction(stage: &Stage, bids: &[SignedBid]) -> AuctionRecord {
    let (window, relay) = (window(stage), &stage.cast.relay_account);
    let rollups = registrations(stage);
    let sale = Sale::of(&rollups, relay.address());
    let hashes: Vec<B256> = bids.iter().map(|bid| bid.message.hash(&DOMAIN)).collect();
    let named: Vec<NamedBid<'_>> =
        hashes.iter().zip(bids).map(|(hash, bid)| NamedBid { hash: *hash, bid: &bid.message }).collect();
    let clearing = clear(&sale, &named);
    let root = auction_root(&hashes);
    let allocation = clearing.allocation(&window, root);
    let result = clearing.result(Slot(OURS), window.close_ms, &allocation);
    let mut published: Vec<PublishedBid> = bids
        .iter()
        .map(|bid| PublishedBid {
            hash: bid.message.hash(&DOMAIN),
            bid: bid.clone(),
            ack: ack(relay, bid, window.close_ms - 1_000),
            excluded: None,
        })
        .collect();
    published.sort_by_key(|bid| bid.hash);
    let mut seen = BTreeSet::new();
    let operators: Vec<Operator> = bids
        .iter()
        .filter(|bid| seen.insert(bid.message.registration_root))
        .map(|bid| Operator {
            registration_root: bid.message.registration_root,
            owner: bid.message.account,
            committer: bid.message.committer,
        })
        .collect();
    AuctionRecord {
        slot: Slot(OURS),
        relay: relay.address(),
        network: NETWORK,
        market: DOMAIN.market,
        proposer: stage.cast.proposer.public_key(),
        previous: None,
        window,
        status: AuctionStatus::Final,
        bid_count: published.len() as u64,
        outcome: Some(AuctionOutcome {
            rollups,
            operators,
            proposer_operator: None,
            bids: published,
            auction_root: root,
            winners: clearing.hashes(),
            matches: Vec::new(),
            allocation: Some(allocation),
            result: Some(Signed::<_, EcdsaSignature>::sign(result, relay, &NETWORK).unwrap()),
        }),
    }
}

fn says<T: serde::Serialize>(value: &T) -> Says {
    Says::Json(200, serde_json::to_vec(value).unwrap())
}

async fn run(stage: &Stage, change: impl FnOnce(&mut MarketConfig)) -> (Running, CancellationToken) {
    run_on(stage, None, change).await
}

async fn run_on(
    stage: &Stage,
    registry: Option<RegistryConfig>,
    change: impl FnOnce(&mut MarketConfig),
) -> (Running, CancellationToken) {
    let source = earnest(&stage.relay.url, stage.cast.relay.public_key());
    let mut config = config(stage.directory.path(), stage.beacon.url.clone(), vec![source.clone()]);
    config.gateway = Some(stage.cast.gateway());
    let key = stage.directory.path().join("account");
    std::fs::write(&key, alloy_primitives::hex::encode(*account().to_bytes())).unwrap();
    let wei = |wei: u64| Wei(U256::from(wei));
    let mut market = MarketConfig {
        contract: DOMAIN.market,
        relay: source.name(),
        registration_root: ROOT,
        account_key: KeyFile::bare(key),
        dry_run: false,
        slots: Slots::Own,
        first_refusal: FirstRefusal::Never,
        budget_wei: wei(1_000),
        values: vec![
            RollupValue { rollup: RollupId(42), value_wei: wei(50) },
            RollupValue { rollup: RollupId(43), value_wei: wei(5) },
        ],
        bonuses: vec![SetBonus { rollups: vec![RollupId(42), RollupId(43)], bonus_wei: wei(30) }],
    };
    change(&mut market);
    config.market = Some(market);
    config.registry = registry;
    let token = CancellationToken::new();
    (start_with_signer(config, stage.cast.signer(), token.clone()).await.unwrap(), token)
}

/// What the relay acknowledged of ours in an earlier run.
fn acknowledged(stage: &Stage, bid: &SignedBid) {
    let journal = open(stage.directory.path());
    delegation_record::keep_bids(&journal, std::slice::from_ref(bid)).unwrap();
    let ack = ack(&stage.cast.relay_account, bid, window(stage).close_ms - 1_000);
    delegation_record::keep_ack(&journal, Slot(OURS), &ack).unwrap();
    journal.close();
}

/// The files of the evidence, by the part of their names before the first dash.
async fn evidence(stage: &Stage) -> Vec<(String, PathBuf)> {
    let folder = stage.directory.path().join(format!("evidence/slot-{OURS}"));
    let complete = |files: &[(String, PathBuf)]| {
        ["record", "findings", "ack"].iter().all(|kind| files.iter().any(|(known, _)| known == kind))
    };
    let look = || {
        let read = std::fs::read_dir(&folder).into_iter().flatten().map(|file| file.unwrap().path());
        let kind = |path: &PathBuf| {
            path.file_name().unwrap().to_str().unwrap().split('-').next().unwrap().to_owned()
        };
        read.map(|path| (kind(&path), path)).collect::<Vec<_>>()
    };
    let waiting = async {
        loop {
            let files = look();
            if complete(&files) {
                return files;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), waiting).await.unwrap()
}

fn acknowledges(stage: &Stage) -> Says {
    let relay = EcdsaSecret::from_bytes(&stage.cast.relay_account.to_bytes()).unwrap();
    Says::Answer(Arc::new(move |body| {
        let bid: SignedBid = serde_json::from_slice(body).unwrap();
        bid.verify(&DOMAIN).unwrap();
        (200, serde_json::to_vec(&ack(&relay, &bid, 1)).unwrap())
    }))
}

fn sells(relay: &RelayStandIn, stage: &Stage) {
    let rollups = MarketRollups {
        slot: Slot(OURS),
        relay: stage.cast.relay_account.address(),
        network: NETWORK,
        market: DOMAIN.market,
        rollups: registrations(stage),
    };
    relay.says(ROLLUPS, says(&rollups));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bids_are_made_before_close_and_are_the_same_after_a_restart() {
    let stage = Stage::set_at(2 * SLOTS_PER_EPOCH).await;
    sells(&stage.relay, &stage);
    stage.relay.says(BIDS, Says::Json(503, br#"{"code":"busy","message":"later"}"#.to_vec()));
    let running = run(&stage, |_| {}).await;
    let bodies = |heard: &[Heard]| heard.iter().map(|heard| heard.body.clone()).collect::<BTreeSet<_>>();
    let first = bodies(&stage.relay.wait_for(BIDS, 2).await[..2]);
    stop(running).await;

    let before = stage.relay.heard(BIDS).len();
    stage.relay.says(BIDS, acknowledges(&stage));
    // Another value in the configuration does not change a bid that may be there already.
    let running = run(&stage, |market| market.values[0].value_wei = Wei(U256::from(40))).await;
    let again = bodies(&stage.relay.wait_for(BIDS, before + 2).await[before..before + 2]);
    assert_eq!(again, first);
    let mut amounts = Vec::new();
    for body in &first {
        let bid = serde_json::from_slice::<SignedBid>(body).unwrap().message;
        assert_eq!((bid.slot, bid.account), (Slot(OURS), account().address()));
        assert!(bid.expiry * 1000 >= window(&stage).close_ms);
        amounts.push((bid.rollup_ids, bid.amount_wei.0));
    }
    amounts.sort();
    let set = vec![RollupId(42), RollupId(43)];
    assert_eq!(amounts, [(vec![RollupId(42)], U256::from(50)), (set, U256::from(85))]);
    stop(running).await;
    assert!(stage.relay.heard(ROUTE).is_empty(), "nothing is delegated before the auction is over");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_bids_nothing() {
    let stage = Stage::set_at(2 * SLOTS_PER_EPOCH).await;
    sells(&stage.relay, &stage);
    stage.relay.says(BIDS, acknowledges(&stage));
    let dry = run(&stage, |market| market.dry_run = true).await;
    stage.relay.wait_for(ROLLUPS, 1).await;
    // What is stopped has ended: nothing more can come.
    stop(dry).await;
    assert!(stage.relay.heard(BIDS).is_empty());
}

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
    let mut closed = record.clone();
    closed.status = AuctionStatus::Closed;
    let outcome = closed.outcome.as_mut().unwrap();
    (outcome.allocation, outcome.result) = (None, None);
    stage.relay.says(AUCTIONS, says(&closed));
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

/// The same auction at its close, before first refusal.
fn closed(record: &AuctionRecord) -> AuctionRecord {
    let mut closed = record.clone();
    closed.status = AuctionStatus::Closed;
    let outcome = closed.outcome.as_mut().unwrap();
    (outcome.allocation, outcome.result) = (None, None);
    closed
}

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
