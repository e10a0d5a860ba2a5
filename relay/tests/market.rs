//! The ordering market, from bids to a delegation.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod world;

use alloy_primitives::{Address, B256, Bytes, U256};
use earnest_builder_types::{BlsPublicKey, bls::SecretKey};
use earnest_client::{Limits, RelayClient};
use earnest_devnet::validator::{ValidatorOptions, Validators};
use earnest_protocol::{
    RollupId, Slot, Wei,
    auction::{AuctionStatus, HeldAck, MAX_WEI, MarketRollups, Public, Sale, Verdict, verify_auction},
    messages::OrderingEvent,
    objects::{BidAck, Delegation, MarketDomain, Object, OrderingBid, SignedBid, SignedDelegation},
};
use futures::StreamExt;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use world::{
    PATIENCE, Setting, World,
    auction::{
        BIDS, CONTRACT, ESCROW, OPERATORS, another, auction_path, bid, bls, domain, ecdsa, listed, market,
        open_slot, operator_of, owner, place, record, refused, relay_address, setting, sign, until,
    },
    document::Document,
};

/// Holds the answers of the market's routes against the OpenAPI document.
async fn as_documented(world: &World, slot: u64, taken: &SignedBid, refused: &SignedBid, code: u16) {
    let document = Document::of(world).await;
    document.get(world, "/ordering/v1/rollups", &[], 200).await;
    document.get(world, "/ordering/v1/market/auctions/{slot}", &[&slot.to_string()], 200).await;
    document.get(world, "/ordering/v1/market/auctions/{slot}", &["1"], 404).await;
    document.post(world, BIDS, &json!(taken), 200).await;
    document.post(world, BIDS, &json!(refused), code).await;
}

async fn verify(world: &World, slot: u64, held: &[HeldAck]) -> Verdict {
    let record = record(world, slot).await;
    let (_, authorities) = world.get(&format!("/ordering/v1/delegations/{slot}")).await;
    let authorities: Vec<_> = serde_json::from_value(authorities).unwrap();
    let rollups: Vec<_> =
        market().rollups.into_iter().filter(|rollup| rollup.relay == relay_address()).collect();
    let operators: Vec<_> = (1..=OPERATORS)
        .map(listed)
        .map(|one| earnest_protocol::auction::Operator {
            registration_root: one.registration_root,
            owner: one.owner,
            committer: one.committer,
        })
        .collect();
    let public = Public {
        network: world.network,
        market: CONTRACT,
        relay: relay_address(),
        slot: Slot(slot),
        record: &record,
        held,
        results: &[],
        authorities: &authorities,
        window: None,
        proposer: None,
        rollups: Some(&rollups),
        operators: Some(&operators),
        proposer_operator: None,
        now_ms: Some(world.now_ms()),
    };
    verify_auction(&public).unwrap()
}

/// Events of the relay, read one by one.
struct Events {
    body: std::pin::Pin<Box<dyn futures::Stream<Item = reqwest::Result<bytes::Bytes>> + Send>>,
    text: String,
}

impl Events {
    async fn listen(world: &World) -> Self {
        let response = world.http.get(world.url("/ordering/v1/events")).send().await.unwrap();
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { body: Box::pin(response.bytes_stream()), text: String::new() }
    }

    /// Name and data of the next event; comments are passed over.
    async fn next(&mut self) -> (String, String) {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let event = event.to_owned();
                self.text = rest.to_owned();
                let line = |start: &str| event.lines().find_map(|line| line.strip_prefix(start));
                if let (Some(name), Some(data)) = (line("event: "), line("data: ")) {
                    return (name.to_owned(), data.to_owned());
                }
                continue;
            }
            let chunk = tokio::time::timeout(PATIENCE, self.body.next()).await.unwrap().unwrap().unwrap();
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// The next event that is as wanted; all before it are events, too.
    async fn find(&mut self, wanted: impl Fn(&OrderingEvent) -> bool) -> OrderingEvent {
        loop {
            let (name, data) = self.next().await;
            let event =
                OrderingEvent::parse(&name, &data).unwrap().unwrap_or_else(|| panic!("{name}: {data}"));
            if wanted(&event) {
                return event;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_bids_to_a_delegation() {
    let world = World::start(setting(3_000)).await;
    let mut events = Events::listen(&world).await;
    let (slot, proposer, window) = open_slot(&world, 2).await;
    let OrderingEvent::Lookahead(ahead) = events.find(|_| true).await else { panic!("no lookahead") };
    assert!(ahead.iter().any(|one| one.slot.0 == slot && one.proposer == proposer));

    let client = RelayClient::new(&world.relay.url, Limits::default()).unwrap();
    let MarketRollups { relay, market: contract, rollups, .. } = client.rollups(slot).await.unwrap();
    assert_eq!((relay, contract), (relay_address(), CONTRACT));
    let ids: Vec<u64> = rollups.iter().map(|rollup| rollup.rollup_id.0).collect();
    assert_eq!(ids, [5, 6, 7, 9], "those that name this relay");
    let sells: Vec<u64> =
        Sale::of(&rollups, relay_address()).lots().iter().map(|lot| lot.rollup_id.0).collect();
    assert_eq!(sells, [5, 6, 7]);

    let (first, second) = (
        another(&[operator_of(&proposer)]),
        another(&[operator_of(&proposer), another(&[operator_of(&proposer)])]),
    );
    let bids = [
        (first, bid(slot, first, &[5, 6], 61)),
        (second, bid(slot, second, &[5], 30)),
        (second, bid(slot, second, &[6, 7], 45)),
    ];
    let mut held = Vec::new();
    for (by, bid) in bids {
        held.push(place(&world, by, bid).await);
    }
    let again = client.post_bid(&held[0].bid).await.unwrap();
    assert_eq!(again, held[0].ack, "the same bid has the same acknowledgement");
    let second_of_nonce = sign(&world, first, OrderingBid { nonce: 61, ..bid(slot, first, &[5, 6], 62) });
    as_documented(&world, slot, &held[0].bid, &second_of_nonce, 409).await;
    let sealed = record(&world, slot).await;
    assert_eq!((sealed.status, sealed.bid_count, sealed.outcome), (AuctionStatus::Open, 3, None));
    assert_eq!((sealed.window, sealed.proposer), (window, proposer));
    let (_, text) = world.get(&auction_path(slot)).await;
    for one in &held {
        let text = text.to_string();
        assert!(
            !text.contains(&one.bid.message.account.to_string())
                && !text.contains(&one.ack.message.bid_hash.to_string())
        );
    }

    let is_closed = |event: &OrderingEvent| matches!(event, OrderingEvent::AuctionClosed { slot: of, .. } if of.0 == slot);
    let OrderingEvent::AuctionClosed { winners, bid_count, .. } = events.find(is_closed).await else {
        panic!()
    };
    assert_eq!(bid_count, 3);
    as_documented(&world, slot, &held[0].bid, &sign(&world, first, bid(slot, first, &[7], 500)), 400).await;
    let closed = record(&world, slot).await;
    assert_eq!(closed.status, AuctionStatus::Closed);
    let outcome = closed.outcome.unwrap();
    assert_eq!(outcome.winners, winners);
    // 30 and 45 beat 61 and a reserve of 10.
    let expected: BTreeSet<B256> = held[1..].iter().map(|one| one.ack.message.bid_hash).collect();
    assert_eq!(outcome.winners, expected.iter().copied().collect::<Vec<_>>());
    assert_eq!((outcome.bids.len(), outcome.result, outcome.allocation), (3, None, None));

    // First refusal: by the proposer's operator alone, for the same rollups and amount.
    let own = operator_of(&proposer);
    let path = format!("{}/match", auction_path(slot));
    let matched = &held[1];
    let good = OrderingBid { matches: matched.ack.message.bid_hash, ..bid(slot, own, &[5], 30) };
    let cases = [
        (
            "not_proposer",
            first,
            OrderingBid { matches: matched.ack.message.bid_hash, ..bid(slot, first, &[5], 30) },
        ),
        ("no_winner", own, OrderingBid { matches: held[0].ack.message.bid_hash, ..good.clone() }),
        ("other_amount", own, OrderingBid { amount_wei: Wei(U256::from(31)), ..good.clone() }),
        ("other_rollups", own, OrderingBid { rollup_ids: vec![RollupId(6)], ..good.clone() }),
        ("bad_matches", own, OrderingBid { matches: B256::ZERO, ..good.clone() }),
        ("wrong_slot", own, OrderingBid { slot: Slot(slot + 1), ..good.clone() }),
    ];
    for (code, by, bid) in cases {
        assert_eq!(refused(&world, &path, &sign(&world, by, bid)).await, (400, code.to_owned()));
    }
    let match_bid = sign(&world, own, good.clone());
    let match_ack = client.post_match(&match_bid).await.unwrap();
    assert_eq!(client.post_match(&match_bid).await.unwrap(), match_ack);
    let twice = sign(&world, own, OrderingBid { nonce: 99, ..good });
    assert_eq!(refused(&world, &path, &twice).await, (409, "already_matched".to_owned()));
    let late = sign(&world, first, bid(slot, first, &[7], 500));
    assert_eq!(refused(&world, BIDS, &late).await, (400, "auction_closed".to_owned()));
    held.push(HeldAck { bid: match_bid, ack: match_ack });

    let is_result = |event: &OrderingEvent| matches!(event, OrderingEvent::AuctionResult(result) if result.message.slot.0 == slot);
    let OrderingEvent::AuctionResult(result) = events.find(is_result).await else { panic!() };
    result.verify(&world.network, relay_address()).unwrap();
    as_documented(&world, slot, &held[0].bid, &late, 400).await;
    let done = client.auction(slot).await.unwrap();
    assert_eq!(done.status, AuctionStatus::Final);
    let outcome = done.outcome.unwrap();
    assert_eq!(outcome.result.as_ref(), Some(&result));
    let allocation = outcome.allocation.unwrap();
    assert_eq!(allocation.abi_hash(), result.message.allocation_hash);
    let rows: Vec<_> = allocation
        .entries
        .iter()
        .map(|entry| (entry.rollup_id.0, entry.account, entry.price_wei.0.to::<u64>()))
        .collect();
    let (by_match, by_second) = (owner(own).address(), owner(second).address());
    assert_eq!(rows, [(5, by_match, 30), (6, by_second, 0), (7, by_second, 45)]);
    assert_eq!((allocation.start_ms, result.message.closed_at_ms), (window.start_ms, window.close_ms));
    assert_eq!(verify(&world, slot, &held).await.findings, []);
    let over = sign(
        &world,
        own,
        OrderingBid { matches: held[2].ack.message.bid_hash, ..bid(slot, own, &[6, 7], 45) },
    );
    assert_eq!(refused(&world, &path, &over).await, (400, "first_refusal_over".to_owned()));

    // The delegation may carry this allocation, and no other.
    let delegate = |metadata| Delegation {
        proposer,
        delegate: bls(50).public_key(),
        committer: Address::repeat_byte(5),
        slot: Slot(slot),
        metadata,
    };
    let mut other = allocation.clone();
    other.entries.pop();
    let key = bls(own);
    let wrong = SignedDelegation::sign(delegate(other.to_metadata()), &key, &world.network).unwrap();
    let (status, body) = world.post("/constraints/v0/builder/delegate", &wrong).await;
    assert_eq!((status, &body["code"]), (400, &json!("allocation_not_result")), "{body}");
    let right = SignedDelegation::sign(delegate(allocation.to_metadata()), &key, &world.network).unwrap();
    assert_eq!(world.post("/constraints/v0/builder/delegate", &right).await.0, 200);
    let is_delegation = |event: &OrderingEvent| matches!(event, OrderingEvent::Delegation(_));
    let OrderingEvent::Delegation(authority) = events.find(is_delegation).await else { panic!() };
    assert_eq!(authority.delegation, right);
    assert_eq!(verify(&world, slot, &held).await.findings, []);
    let ended =
        |event: &OrderingEvent| matches!(event, OrderingEvent::Sealed { slot: of, .. } if of.0 == slot);
    events.find(ended).await;
    let ((), last) = tokio::join!(world.stop(), async {
        loop {
            let (name, _) = events.next().await;
            if name == "dropped" {
                return name;
            }
        }
    });
    assert_eq!(last, "dropped");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bids_by_table() {
    let world = World::start(setting(6_000)).await;
    let (slot, ..) = open_slot(&world, 1).await;
    let changed = |change: &dyn Fn(&mut OrderingBid)| {
        let mut bid = bid(slot, 5, &[5, 6], 100);
        change(&mut bid);
        sign(&world, 5, bid)
    };
    let forged = SignedBid::sign(bid(slot, 5, &[5, 6], 100), &owner(6), &domain(&world)).unwrap();
    let elsewhere = MarketDomain { market: Address::ZERO, ..domain(&world) };
    let elsewhere = SignedBid::sign(bid(slot, 5, &[5, 6], 100), &owner(5), &elsewhere).unwrap();
    let mut altered = changed(&|_| {});
    altered.message.amount_wei = Wei(U256::from(101));
    let cases = [
        ("bad_signature", forged),
        ("bad_signature", elsewhere),
        ("bad_signature", altered),
        ("unknown_slot", changed(&|bid| bid.slot = Slot(u64::MAX))),
        ("unknown_slot", changed(&|bid| bid.slot.0 += 1_000)),
        ("not_sequencing", changed(&|bid| bid.slot = Slot(1))),
        ("bad_bid", changed(&|bid| bid.rollup_ids.reverse())),
        ("bad_bid", changed(&|bid| bid.rollup_ids.clear())),
        ("bad_bid", changed(&|bid| bid.url = "x".repeat(257))),
        ("wrong_relay", changed(&|bid| bid.relay = Address::repeat_byte(9))),
        ("not_for_sale", changed(&|bid| bid.rollup_ids.push(RollupId(8)))),
        ("not_for_sale", changed(&|bid| bid.rollup_ids.push(RollupId(9)))),
        ("not_for_sale", changed(&|bid| bid.rollup_ids = vec![RollupId(1)])),
        ("amount_too_large", changed(&|bid| bid.amount_wei = Wei(U256::from(MAX_WEI) + U256::from(1)))),
        ("amount_too_large", changed(&|bid| bid.amount_wei = Wei(U256::MAX))),
        ("below_reserve", changed(&|bid| bid.amount_wei = Wei(U256::from(19)))),
        ("expires_early", changed(&|bid| bid.expiry = world.now_ms() / 1_000)),
        ("bad_matches", changed(&|bid| bid.matches = B256::repeat_byte(1))),
        ("unknown_operator", changed(&|bid| bid.registration_root = B256::repeat_byte(99))),
        ("not_owner", changed(&|bid| bid.registration_root = B256::repeat_byte(6))),
        ("wrong_committer", changed(&|bid| bid.committer = Address::repeat_byte(9))),
        ("bad_delegate", changed(&|bid| bid.delegate = BlsPublicKey::repeat_byte(0xff))),
        ("escrow_too_low", changed(&|bid| bid.amount_wei = Wei(U256::from(ESCROW + 1)))),
    ];
    for (code, bid) in cases {
        assert_eq!(refused(&world, BIDS, &bid).await, (400, code.to_owned()));
    }
    for (status, body) in [(400, "{}".to_owned()), (400, "[]".to_owned()), (413, "x".repeat(9 << 10))] {
        let request = world.http.post(world.url(BIDS)).header("content-type", "application/json").body(body);
        assert_eq!(request.send().await.unwrap().status(), status);
    }
    let path = format!("{}/match", auction_path(slot));
    let early = changed(&|bid| bid.matches = B256::repeat_byte(1));
    assert_eq!(refused(&world, &path, &early).await, (400, "auction_open".to_owned()));
    for (path, status, code) in [
        (auction_path(1), 404, json!("not_sequencing")),
        (auction_path(9_999), 404, json!("unknown_slot")),
        (format!("{}x", auction_path(1)), 400, json!(400)),
    ] {
        let (got, body) = world.get(&path).await;
        assert_eq!((got, &body["code"]), (status, &code), "{path}");
    }
    assert_eq!(record(&world, slot).await.bid_count, 0, "something was taken");

    // All live bids of an account share its escrow, those for other slots too.
    place(&world, 5, bid(slot, 5, &[5], 600)).await;
    let (other, ..) = open_slot(&world, 2).await;
    let fits = bid(other, 5, &[5], 400);
    let over = bid(other, 5, &[5], 401);
    assert_eq!(refused(&world, BIDS, &sign(&world, 5, over)).await, (400, "escrow_too_low".to_owned()));
    place(&world, 5, fits).await;
    let more = bid(slot, 5, &[6], 1);
    assert_eq!(refused(&world, BIDS, &sign(&world, 5, more)).await, (400, "escrow_too_low".to_owned()));
    // Replayed with another amount, and more than an account may have.
    place(&world, 6, bid(slot, 6, &[6], 1)).await;
    let replayed = OrderingBid { nonce: 1, ..bid(slot, 6, &[6], 2) };
    assert_eq!(refused(&world, BIDS, &sign(&world, 6, replayed)).await, (409, "nonce_used".to_owned()));
    for wei in 2..=8 {
        place(&world, 6, bid(slot, 6, &[6], wei)).await;
    }
    let ninth = sign(&world, 6, bid(slot, 6, &[6], 9));
    assert_eq!(refused(&world, BIDS, &ninth).await, (400, "too_many_bids".to_owned()));
    world.stop().await;
}

/// Before close nobody learns by asking whether a bid was made: an acknowledgement is only for whoever has its signature.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bid_that_is_guessed_is_not_acknowledged() {
    let world = World::start(setting(3_000)).await;
    let (slot, proposer, _) = open_slot(&world, 2).await;
    let (first, own) = (another(&[operator_of(&proposer)]), operator_of(&proposer));
    let held = place(&world, first, bid(slot, first, &[5], 40)).await;
    let guessed = |by: u8, message: &OrderingBid| {
        SignedBid::sign(message.clone(), &ecdsa(by), &domain(&world)).unwrap()
    };
    let made = guessed(9, &held.bid.message);
    let not_made = guessed(9, &OrderingBid { nonce: 77, ..held.bid.message.clone() });
    for bid in [&made, &not_made] {
        assert_eq!(refused(&world, BIDS, bid).await, (400, "bad_signature".to_owned()));
    }
    assert_eq!(place(&world, first, held.bid.message.clone()).await, held);

    until(&world, slot, AuctionStatus::Closed).await;
    let path = format!("{}/match", auction_path(slot));
    let matching = OrderingBid { matches: held.ack.message.bid_hash, ..bid(slot, own, &[5], 40) };
    assert_eq!(world.post(&path, &sign(&world, own, matching.clone())).await.0, 200);
    assert_eq!(refused(&world, &path, &guessed(9, &matching)).await, (400, "bad_signature".to_owned()));
    world.stop().await;
}

/// A reorg of the block that decided the proposers takes the auction's ground away: its result is then for nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_sold_under_another_proposer_cannot_be_delegated() {
    let more_keys: Vec<SecretKey> = (60..112).map(bls).collect();
    let mut setting = Setting { more_keys: more_keys.clone(), ..setting(2_000) };
    setting.market.operators[0].validators.extend(more_keys.iter().map(SecretKey::public_key));
    let world = World::start(setting).await;
    let options = ValidatorOptions::new(world.keys.clone(), world.node.url().clone(), None);
    let validators = Validators::start(options).await.unwrap();
    let clock = world.node.clock();
    let head = world.node.wait_for_head(|head| head.header.slot > clock.slots_per_epoch()).await;
    // The first slots of the next epoch are sold before it begins.
    let slot = clock.first_slot(clock.epoch_of(head.header.slot) + 1);
    let mut slots = Vec::new();
    for slot in slot..slot + 3 {
        place(&world, 5, bid(slot, 5, &[5], 40)).await;
        slots.push((slot, world.proposer(slot).await.0));
    }
    let (last, _) = slots[2];
    until(&world, last, AuctionStatus::Final).await;
    validators.shutdown().await;
    world.node.change_lookahead().await.unwrap();
    let changed = async {
        loop {
            for (slot, before) in &slots {
                let (now, key) = world.proposer(*slot).await;
                if now != *before {
                    return (*slot, key);
                }
            }
        }
    };
    let (slot, key) = tokio::time::timeout(PATIENCE, changed).await.unwrap();
    let record = record(&world, slot).await;
    let metadata = record.outcome.unwrap().allocation.unwrap().to_metadata();
    let message = Delegation {
        proposer: key.public_key(),
        delegate: bls(50).public_key(),
        committer: Address::repeat_byte(5),
        slot: Slot(slot),
        metadata,
    };
    let delegation = SignedDelegation::sign(message.clone(), &key, &world.network).unwrap();
    let (status, body) = world.post("/constraints/v0/builder/delegate", &delegation).await;
    assert_eq!((status, &body["code"]), (400, &json!("allocation_not_result")), "{body}");
    // Its own gateway may serve the slot all the same.
    let plain = Delegation { metadata: Bytes::new(), ..message };
    let plain = SignedDelegation::sign(plain, &key, &world.network).unwrap();
    assert_eq!(world.post("/constraints/v0/builder/delegate", &plain).await.0, 200);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarts_lose_no_bid_and_sign_no_second_result() {
    let mut world = World::start(setting(3_000)).await;
    let (slot, proposer, _) = open_slot(&world, 3).await;
    let (first, second) = (another(&[operator_of(&proposer)]), 6);
    let mut held = vec![
        place(&world, first, bid(slot, first, &[5, 6, 7], 90)).await,
        place(&world, second, bid(slot, second, &[6], 40)).await,
    ];
    // Between acknowledgement and close.
    world = world.restart().await;
    assert_eq!(record(&world, slot).await.bid_count, 2);
    let (status, ack) = world.post(BIDS, &held[0].bid).await;
    assert_eq!((status, ack), (200, json!(held[0].ack)), "the same acknowledgement");
    let changed = OrderingBid { rollup_ids: vec![RollupId(5)], ..held[0].bid.message.clone() };
    let changed = sign(&world, first, changed);
    assert_eq!(refused(&world, BIDS, &changed).await, (409, "nonce_used".to_owned()));
    held.push(place(&world, second, bid(slot, second, &[5, 7], 45)).await);

    // Between close and result.
    let closed = until(&world, slot, AuctionStatus::Closed).await;
    world = world.restart().await;
    let again = record(&world, slot).await;
    if again.status == AuctionStatus::Closed {
        assert_eq!(again, closed);
    }
    let done = until(&world, slot, AuctionStatus::Final).await;
    assert_eq!(done.outcome.as_ref().unwrap().winners, closed.outcome.unwrap().winners);
    let verdict = verify(&world, slot, &held).await;
    assert_eq!((verdict.findings.len(), verdict.counted), (0, 3), "{:?}", verdict.findings);

    // After the result: the same one, to the byte, and no other comes.
    for _ in 0..2 {
        world = world.restart().await;
        let shown = record(&world, slot).await;
        assert_eq!(shown, done);
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_that_comes_too_late_is_not_signed_and_bids_are_shown() {
    let mut world = World::start(setting(1_000)).await;
    let (slot, _, window) = open_slot(&world, 1).await;
    let held = place(&world, 5, bid(slot, 5, &[5], 500)).await;
    world = world.restart_at(window.start_ms).await;
    let shown = async {
        loop {
            let shown = record(&world, slot).await;
            if shown.outcome.is_some() {
                return shown;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let shown = tokio::time::timeout(PATIENCE, shown).await.unwrap();
    assert_eq!(shown.status, AuctionStatus::Lapsed);
    let outcome = shown.outcome.unwrap();
    assert_eq!((outcome.bids[0].hash, outcome.result), (held.ack.message.bid_hash, None));
    // What cannot be paid any more takes up no escrow.
    let (other, ..) = open_slot(&world, 1).await;
    place(&world, 5, bid(other, 5, &[5], ESCROW)).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_market_nothing_is_sold() {
    let world = World::start(Setting::default()).await;
    let (status, rollups) = world.get("/ordering/v1/rollups").await;
    assert_eq!((status, &rollups["rollups"]), (200, &json!([])));
    let slot = world.slot_ahead(4);
    let bid = sign(&world, 1, bid(slot, 1, &[5], 50));
    for path in [BIDS.to_owned(), format!("{}/match", auction_path(slot))] {
        assert_eq!(refused(&world, &path, &bid).await, (404, "no_market".to_owned()));
    }
    let (status, body) = world.get(&auction_path(slot)).await;
    assert_eq!((status, &body["code"]), (404, &json!("no_market")));
    let _: Value = body;
    world.stop().await;
}

#[test]
fn an_acknowledgement_names_the_bid_and_the_time() {
    let ack = BidAck { bid_hash: B256::repeat_byte(1), received_at_ms: 7 };
    assert_eq!(json!(ack), json!({ "bid_hash": B256::repeat_byte(1), "received_at_ms": "7" }));
}
