//! `getHeader` against every way a source can behave.

use std::time::{Duration, Instant};

use alloy_primitives::{B256, Bytes};
use earnest_builder_types::bls::SecretKey;
use earnest_builder_types::{ForkCodec, ForkName, SignedBuilderBid, Versioned};

use earnest_proposer::ValidatorConfig;
use earnest_protocol::Wei;

use crate::network::{
    Cast, HEADER_LIMIT_MS, PARENT, SLOT, Sidecar, bid, block, earnest, json, mev_boost, nobody, proofs,
    with_proofs,
};
use crate::relay_stand_in::{RelayStandIn, Says};

/// The value of the bid served, none for 204. Anything else is a failure.
async fn served(sidecar: &Sidecar, cast: &Cast) -> Option<u64> {
    let started = Instant::now();
    let answer = sidecar.http.get(sidecar.header_url(cast)).send().await.unwrap();
    assert!(started.elapsed() < Duration::from_millis(HEADER_LIMIT_MS * 3), "{:?}", started.elapsed());
    match answer.status().as_u16() {
        204 => None,
        200 => {
            let body = answer.bytes().await.unwrap();
            let bid = Versioned::<SignedBuilderBid>::from_json(&body).unwrap().data;
            Some(bid.value().try_into().unwrap())
        }
        other => panic!("status {other}"),
    }
}

fn held(cast: &Cast, positions: &[usize]) -> Says {
    let transactions: Vec<Bytes> = positions.iter().map(|position| block()[*position].clone()).collect();
    Says::Json(200, serde_json::to_vec(&[cast.constraints(&transactions)]).unwrap())
}

#[tokio::test]
async fn an_unconstrained_slot_gets_the_best_bid_byte_for_byte() {
    let cast = Cast::new();
    let (ours, boost) = (RelayStandIn::start().await, RelayStandIn::start().await);
    ours.says("builder/header", Says::Json(200, json(&cast.bid(5, &block()))));
    // Spaces and all: what is passed through is not written anew.
    let stranger = SecretKey::random().unwrap();
    let mut text = b"  ".to_vec();
    text.extend(json(&bid(&stranger, 9, crate::network::PARENT, &block())));
    boost.says("builder/header", Says::Json(200, text.clone()));
    let sources = vec![earnest(&ours.url, cast.relay.public_key()), mev_boost(&boost.url)];
    let sidecar = Sidecar::start(&cast, sources, false).await;

    let answer = sidecar.http.get(sidecar.header_url(&cast)).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "application/json");
    assert_eq!(answer.bytes().await.unwrap(), text);
    assert!(ours.heard("header_with_proofs").is_empty());
    assert!(ours.heard("relay/constraints").is_empty());
    sidecar.stop().await;
}

#[tokio::test]
async fn an_answer_is_passed_on_with_the_headers_it_should_have_had() {
    let cast = Cast::new();
    let relay = RelayStandIn::start().await;
    let bid = cast.bid(5, &block());
    relay.says("builder/header", Says::Bare(json(&bid)));
    let sidecar = Sidecar::start(&cast, vec![mev_boost(&relay.url)], false).await;
    let answer = sidecar.http.get(sidecar.header_url(&cast)).send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/json");
    assert_eq!(answer.headers()["eth-consensus-version"], "deneb");
    assert_eq!(answer.bytes().await.unwrap(), json(&bid));
    sidecar.stop().await;
}

#[tokio::test]
async fn ssz_passes_through_and_is_made_where_only_json_came() {
    let cast = Cast::new();
    let relay = RelayStandIn::start().await;
    let bid = cast.bid(5, &block());
    let sidecar = Sidecar::start(&cast, vec![earnest(&relay.url, cast.relay.public_key())], false).await;
    for says in [Says::Ssz(bid.to_ssz(), "deneb"), Says::Json(200, json(&bid))] {
        relay.says("builder/header", says);
        let asked = sidecar.http.get(sidecar.header_url(&cast)).header("accept", "application/octet-stream");
        let answer = asked.send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], "application/octet-stream");
        assert_eq!(answer.headers()["eth-consensus-version"], "deneb");
        let body = answer.bytes().await.unwrap();
        assert_eq!(SignedBuilderBid::from_ssz(ForkName::Deneb, &body).unwrap(), bid);
    }
    sidecar.stop().await;
}

#[tokio::test]
async fn what_the_caller_sends_wrong_is_refused() {
    let cast = Cast::new();
    let relay = RelayStandIn::start().await;
    let sidecar = Sidecar::start(&cast, vec![mev_boost(&relay.url)], false).await;
    let good = sidecar.header_url(&cast);
    let accept = sidecar.http.get(good.clone()).header("accept", "text/html").send().await.unwrap();
    assert_eq!(accept.status(), 406);
    for bad in ["eth/v1/builder/header/x/0x00/0x00", "eth/v1/builder/header/1/0x00/0x00"] {
        let answer = sidecar.http.get(sidecar.url(bad)).send().await.unwrap();
        assert_eq!(answer.status(), 400);
        assert_eq!(answer.json::<serde_json::Value>().await.unwrap()["code"], 400);
    }
    assert!(relay.heard("builder/header").is_empty());
    sidecar.stop().await;
}

/// Whatever one source does, the other's good bid is served, and in time.
#[tokio::test]
async fn a_bad_source_costs_nothing_but_its_own_bid() {
    let cast = Cast::new();
    let (bad, good) = (RelayStandIn::start().await, RelayStandIn::start().await);
    good.says("builder/header", Says::Json(200, json(&cast.bid(5, &block()))));
    let mut unsigned = cast.bid(50, &block());
    *unsigned.signature_mut() = Default::default();
    let stranger = SecretKey::random().unwrap();
    let table: Vec<(&str, Says)> = vec![
        ("silent", Says::Silence),
        ("stalls", Says::Stall),
        ("breaks off", Says::Breaks),
        ("late", Says::LateJson(Duration::from_secs(60), json(&cast.bid(50, &block())))),
        ("garbage", Says::Json(200, b"<html>".to_vec())),
        ("garbage ssz", Says::Ssz(vec![1, 2, 3], "deneb")),
        ("ssz of no fork", Says::Ssz(cast.bid(50, &block()).to_ssz(), "nonsense")),
        ("error", Says::Json(500, br#"{"code":500,"message":"no"}"#.to_vec())),
        ("huge", Says::Json(200, vec![b' '; 9 << 20])),
        ("error with a bid", Says::Json(503, json(&cast.bid(50, &block())))),
        ("a redirect", Says::Json(302, Vec::new())),
        ("nothing", Says::Json(204, Vec::new())),
        ("worthless", Says::Json(200, json(&cast.bid(0, &block())))),
        ("bad signature", Says::Json(200, json(&unsigned))),
        ("another relay's", Says::Json(200, json(&bid(&stranger, 50, crate::network::PARENT, &block())))),
        ("another parent", Says::Json(200, json(&bid(&cast.relay, 50, B256::ZERO, &block())))),
    ];
    let sources =
        vec![earnest(&bad.url, cast.relay.public_key()), earnest(&good.url, cast.relay.public_key())];
    let sidecar = Sidecar::start(&cast, sources, false).await;
    for (name, says) in table {
        bad.says("builder/header", says);
        assert_eq!(served(&sidecar, &cast).await, Some(5), "{name}");
    }
    sidecar.stop().await;

    let sources = vec![mev_boost(&nobody().await), earnest(&good.url, cast.relay.public_key())];
    let sidecar = Sidecar::start(&cast, sources, false).await;
    assert_eq!(served(&sidecar, &cast).await, Some(5), "down");
    sidecar.stop().await;
}

#[tokio::test]
async fn the_callers_time_is_kept() {
    let cast = Cast::new();
    let relay = RelayStandIn::start().await;
    relay.says("builder/header", Says::Silence);
    let sidecar = Sidecar::start(&cast, vec![mev_boost(&relay.url)], false).await;
    let started = Instant::now();
    let asked = sidecar.http.get(sidecar.header_url(&cast)).header("X-Timeout-Ms", "200");
    assert_eq!(asked.send().await.unwrap().status(), 204);
    assert!(started.elapsed() < Duration::from_millis(HEADER_LIMIT_MS));
    sidecar.stop().await;
}

/// A constrained slot: the good proven header or nothing, never a header that was not shown to keep the promise.
#[tokio::test]
async fn a_constrained_slot_is_served_only_what_is_proven() {
    let cast = Cast::new();
    let (ours, boost) = (RelayStandIn::start().await, RelayStandIn::start().await);
    boost.says("builder/header", Says::Json(200, json(&cast.bid(1_000, &[]))));
    ours.says("builder/header", Says::Json(200, json(&cast.bid(900, &[]))));
    let sources = vec![earnest(&ours.url, cast.relay.public_key()), mev_boost(&boost.url)];
    let sidecar = Sidecar::start(&cast, sources, true).await;

    let bid5 = cast.bid(5, &block());
    let good = with_proofs(&bid5, &proofs(&block(), &[1, 3]));
    let mut swapped = proofs(&block(), &[1, 3]);
    swapped[1].branch[7] = B256::repeat_byte(7);
    let mut moved = proofs(&block(), &[1, 3]);
    moved[0].index = 0;
    let mut other_tx = proofs(&block(), &[1, 3]);
    other_tx[0].signed_tx = Bytes::from_static(&[2, 8, 8]);
    let of_another_block = with_proofs(&cast.bid(5, &block()[..4]), &proofs(&block(), &[1, 3]));
    let mut unsigned = bid5.clone();
    *unsigned.signature_mut() = Default::default();
    let too_often = proofs(&block(), &[&[1, 3][..], &[0; 255]].concat());
    // White space after a good answer, which a reader of JSON would not mind.
    let mut huge = good.clone();
    huge.resize(3 << 20, b' ');
    let refuse = |code| Says::Json(code, br#"{"code":500,"message":"no"}"#.to_vec());
    let ok = |body: Vec<u8>| Says::Json(200, body);
    let both = held(&cast, &[1, 3]);
    let twice = held(&cast, &[1, 3, 3, 1]);
    let forged = {
        let mut constraints = cast.constraints(&[block()[1].clone()]);
        constraints.message.constraints.pop();
        Says::Json(200, serde_json::to_vec(&[constraints]).unwrap())
    };

    // Every node of both branches, swapped one at a time.
    let nodes = proofs(&block(), &[1, 3]).iter().map(|proof| proof.branch.len()).collect::<Vec<_>>();
    let swaps: Vec<(&str, Says, Says, Option<u64>)> = (0..2)
        .flat_map(|proof| (0..nodes[proof]).map(move |node| (proof, node)))
        .map(|(proof, node)| {
            let mut proofs = proofs(&block(), &[1, 3]);
            proofs[proof].branch[node] = B256::repeat_byte(7);
            ("one node swapped", both.clone(), ok(with_proofs(&bid5, &proofs)), None)
        })
        .collect();
    assert!(swaps.len() >= 2 * 20, "{}", swaps.len());

    let table: Vec<(&str, Says, Says, Option<u64>)> = vec![
        ("all proven", both.clone(), ok(good.clone()), Some(5)),
        ("one constraint fewer", held(&cast, &[3]), ok(good.clone()), Some(5)),
        ("one not proven", both.clone(), ok(with_proofs(&bid5, &proofs(&block(), &[1]))), None),
        ("nothing proven", both.clone(), ok(with_proofs(&bid5, &[])), None),
        ("no proofs at all", both.clone(), ok(json(&bid5)), None),
        ("swapped node", both.clone(), ok(with_proofs(&bid5, &swapped)), None),
        ("moved", both.clone(), ok(with_proofs(&bid5, &moved)), None),
        ("another transaction", both.clone(), ok(with_proofs(&bid5, &other_tx)), None),
        ("another block's root", both.clone(), ok(of_another_block), None),
        ("bad signature", both.clone(), ok(with_proofs(&unsigned, &proofs(&block(), &[1, 3]))), None),
        ("no proven header", both.clone(), Says::Json(204, Vec::new()), None),
        ("proven header late", both.clone(), Says::Silence, None),
        ("proven header breaks off", both.clone(), Says::Breaks, None),
        ("proven header garbage", both.clone(), ok(b"{}".to_vec()), None),
        ("proven header refused", both.clone(), refuse(500), None),
        ("proven twice", both.clone(), ok(with_proofs(&bid5, &proofs(&block(), &[1, 3, 3, 1]))), Some(5)),
        ("proven too often", both.clone(), ok(with_proofs(&bid5, &too_often)), None),
        ("proven header huge", both.clone(), ok(huge), None),
        ("held twice", twice, ok(good.clone()), Some(5)),
        ("constraints refused", refuse(500), ok(good.clone()), None),
        ("constraints not found", refuse(404), ok(good.clone()), None),
        ("constraints garbage", ok(b"[{}]".to_vec()), ok(good.clone()), None),
        ("constraints forged", forged, ok(good.clone()), None),
        ("constraints break off", Says::Breaks, ok(good.clone()), None),
        ("constraints late", Says::Silence, ok(good.clone()), None),
        ("reachable and empty", ok(b"[]".to_vec()), ok(with_proofs(&bid5, &[])), Some(1_000)),
        ("empty and no proven header", ok(b"[]".to_vec()), Says::Json(204, Vec::new()), Some(1_000)),
        ("held but not shown", ok(b"[]".to_vec()), ok(good), Some(5)),
    ];
    for (name, constraints, proven, expected) in swaps.into_iter().chain(table) {
        ours.says("relay/constraints", constraints).says("header_with_proofs", proven);
        assert_eq!(served(&sidecar, &cast).await, expected, "{name}");
    }
    sidecar.stop().await;
}

fn wants(cast: &Cast, change: impl FnOnce(&mut ValidatorConfig)) -> Vec<ValidatorConfig> {
    let pubkeys = vec![cast.proposer.public_key()];
    let mut wants = ValidatorConfig { pubkeys, fee_recipient: None, min_bid_wei: None, relays: Vec::new() };
    change(&mut wants);
    vec![wants]
}

#[tokio::test]
async fn a_validator_gets_bids_of_its_own_relays_alone() {
    let cast = Cast::new();
    let (one, other) = (RelayStandIn::start().await, RelayStandIn::start().await);
    one.says("builder/header", Says::Json(200, json(&cast.bid(5, &block()))));
    other.says("builder/header", Says::Json(200, json(&cast.bid(9, &block()))));
    let sources = vec![mev_boost(&one.url), mev_boost(&other.url)];
    let name = sources[0].name();
    let validators = wants(&cast, |wants| wants.relays = vec![name]);
    let sidecar = Sidecar::start_with(&cast, sources, false, |config| config.validators = validators).await;
    assert_eq!(served(&sidecar, &cast).await, Some(5));
    assert!(other.heard("builder/header").is_empty());
    let stranger = SecretKey::random().unwrap().public_key();
    let path = format!("eth/v1/builder/header/{SLOT}/{PARENT}/{stranger}");
    let answer = sidecar.http.get(sidecar.url(&path)).send().await.unwrap();
    assert_eq!(answer.bytes().await.unwrap(), json(&cast.bid(9, &block())));
    sidecar.stop().await;
}

#[tokio::test]
async fn a_bid_below_the_least_that_a_validator_takes_is_left() {
    let cast = Cast::new();
    let relay = RelayStandIn::start().await;
    relay.says("builder/header", Says::Json(200, json(&cast.bid(5, &block()))));
    for (all, own, expected) in
        [(5, None, Some(5)), (6, None, None), (6, Some(5), Some(5)), (0, Some(6), None)]
    {
        let wei = |wei: u64| Wei(alloy_primitives::U256::from(wei));
        let validators = wants(&cast, |wants| wants.min_bid_wei = own.map(wei));
        let sidecar = Sidecar::start_with(&cast, vec![mev_boost(&relay.url)], false, |config| {
            config.validators = validators;
            config.min_bid_wei = wei(all);
        })
        .await;
        assert_eq!(served(&sidecar, &cast).await, expected, "{all} {own:?}");
        sidecar.stop().await;
    }
}

#[tokio::test]
async fn a_constrained_slot_with_its_relay_down_gets_nothing() {
    let cast = Cast::new();
    let boost = RelayStandIn::start().await;
    boost.says("builder/header", Says::Json(200, json(&cast.bid(1_000, &[]))));
    let sources = vec![earnest(&nobody().await, cast.relay.public_key()), mev_boost(&boost.url)];
    let sidecar = Sidecar::start(&cast, sources, true).await;
    assert_eq!(served(&sidecar, &cast).await, None);
    sidecar.stop().await;
}

#[tokio::test]
async fn a_proven_header_is_served_as_a_plain_bid_in_either_form() {
    let cast = Cast::new();
    let relay = RelayStandIn::start().await;
    let bid = cast.bid(5, &block());
    relay
        .says("relay/constraints", held(&cast, &[2]))
        .says("header_with_proofs", Says::Json(200, with_proofs(&bid, &proofs(&block(), &[2]))));
    let sidecar = Sidecar::start(&cast, vec![earnest(&relay.url, cast.relay.public_key())], true).await;
    let answer = sidecar.http.get(sidecar.header_url(&cast)).send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/json");
    assert_eq!(answer.bytes().await.unwrap(), json(&bid));
    let asked = sidecar.http.get(sidecar.header_url(&cast)).header("accept", "application/octet-stream");
    let answer = asked.send().await.unwrap();
    assert_eq!(answer.headers()["eth-consensus-version"], "deneb");
    assert_eq!(answer.bytes().await.unwrap(), bid.to_ssz());
    sidecar.stop().await;
}
