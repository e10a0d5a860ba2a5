//! Registrations to everyone, signed blocks to whoever offered them.

use std::time::{Duration, Instant};

use alloy_primitives::{Address, B256, FixedBytes};
use earnest_builder_types::{
    BlindedBeaconBlock, Eth1Data, ExecutionRequests, ForkCodec, KzgCommitments, ProposalContext,
    SignedBlindedBeaconBlock, SignedBuilderBid, SignedValidatorRegistration, SyncAggregate,
    ValidatorRegistration, registrations_to_ssz,
};

use earnest_proposer::ValidatorConfig;

use crate::beacon_stand_in::proposer_domain;
use crate::deliveries::payload_json;
use crate::network::{Cast, SLOT, Sidecar, block, earnest, json, mev_boost, nobody};
use crate::relay_stand_in::{RelayStandIn, Says};

pub(crate) fn signed_block(cast: &Cast, bid: &SignedBuilderBid) -> SignedBlindedBeaconBlock {
    let context = ProposalContext {
        slot: SLOT,
        proposer_index: 1,
        parent_root: B256::ZERO,
        state_root: B256::ZERO,
        randao_reveal: FixedBytes::ZERO,
        eth1_data: Eth1Data { deposit_root: B256::ZERO, deposit_count: 0, block_hash: B256::ZERO },
        graffiti: B256::ZERO,
        sync_aggregate: SyncAggregate {
            sync_committee_bits: Default::default(),
            sync_committee_signature: FixedBytes::ZERO,
        },
    };
    BlindedBeaconBlock::new_for_proposal(
        context,
        bid.header().to_owned(),
        KzgCommitments::default(),
        ExecutionRequests::default(),
    )
    .unwrap()
    .sign(&cast.proposer, proposer_domain())
}

fn taken(body: &str) -> Says {
    Says::Json(202, body.as_bytes().to_vec())
}

#[tokio::test]
async fn a_block_goes_to_its_source_and_to_all_if_that_is_not_known() {
    let cast = Cast::new();
    let (ours, boost) = (RelayStandIn::start().await, RelayStandIn::start().await);
    let (low, high) = (cast.bid(5, &block()), cast.bid(9, &block()));
    ours.says("builder/header", Says::Json(200, json(&low)));
    boost.says("builder/header", Says::Json(200, json(&high)));
    let v2 = "v2/builder/blinded_blocks";
    ours.says(v2, taken("ours"));
    boost.says(v2, taken("boost"));
    let sources = vec![earnest(&ours.url, cast.relay.public_key()), mev_boost(&boost.url)];
    let sidecar = Sidecar::start(&cast, sources, false).await;
    let submit = |bid: &SignedBuilderBid, ssz: bool| {
        let block = signed_block(&cast, bid);
        let request = sidecar.http.post(sidecar.url("eth/v2/builder/blinded_blocks"));
        let request = request.header("eth-consensus-version", "deneb");
        if ssz {
            request.header("content-type", "application/octet-stream").body(block.to_ssz()).send()
        } else {
            request.header("content-type", "application/json").body(block.to_json().unwrap()).send()
        }
    };

    // Nothing was offered yet, as after a restart: everyone is asked.
    assert_eq!(submit(&high, true).await.unwrap().status(), 202);
    assert_eq!(ours.wait_for(v2, 1).await[0].body, signed_block(&cast, &high).to_ssz());
    assert_eq!(boost.wait_for(v2, 1).await.len(), 1);

    assert_eq!(sidecar.http.get(sidecar.header_url(&cast)).send().await.unwrap().status(), 200);
    for ssz in [true, false] {
        let answer = submit(&high, ssz).await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.text().await.unwrap().as_str()), (202, "boost"));
    }
    assert_eq!((ours.heard(v2).len(), boost.heard(v2).len()), (1, 3));
    sidecar.stop().await;
}

#[tokio::test]
async fn a_relays_refusal_is_passed_back_and_a_broken_one_is_not_the_end() {
    let cast = Cast::new();
    let (ours, boost) = (RelayStandIn::start().await, RelayStandIn::start().await);
    let bid = cast.bid(5, &block());
    ours.says("builder/header", Says::Json(200, json(&bid)));
    let v1 = "v1/builder/blinded_blocks";
    let sources = vec![earnest(&ours.url, cast.relay.public_key()), mev_boost(&boost.url)];
    let sidecar = Sidecar::start(&cast, sources, false).await;
    assert_eq!(sidecar.http.get(sidecar.header_url(&cast)).send().await.unwrap().status(), 200);
    let submit = || {
        let body = signed_block(&cast, &bid).to_json().unwrap();
        let request = sidecar.http.post(sidecar.url("eth/v1/builder/blinded_blocks"));
        request.header("content-type", "application/json").body(body).send()
    };

    // A route nothing was said of answers 204: the other relay has nothing either.
    ours.says(v1, Says::Json(400, br#"{"code":400,"message":"too late"}"#.to_vec()));
    let answer = submit().await.unwrap();
    assert_eq!(answer.status(), 400);
    assert_eq!(answer.text().await.unwrap(), r#"{"code":400,"message":"too late"}"#);
    assert_eq!(boost.heard(v1).len(), 1);

    boost.says(v1, Says::Json(200, payload_json(&bid)));
    ours.says(v1, Says::Json(500, Vec::new()));
    let answer = submit().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.bytes().await.unwrap().to_vec()), (200, payload_json(&bid)));
    sidecar.stop().await;

    let sidecar = Sidecar::start(&cast, vec![mev_boost(&nobody().await)], false).await;
    let answer =
        sidecar.http.post(sidecar.url("eth/v1/builder/blinded_blocks")).body("{}").send().await.unwrap();
    assert_eq!(answer.status(), 502);
    assert_eq!(answer.json::<serde_json::Value>().await.unwrap()["code"], 502);
    sidecar.stop().await;
}

fn registration(cast: &Cast) -> SignedValidatorRegistration {
    let message = ValidatorRegistration {
        fee_recipient: Address::repeat_byte(1),
        gas_limit: 36_000_000,
        timestamp: 1,
        pubkey: cast.proposer.public_key(),
    };
    message.sign(&cast.proposer, B256::ZERO)
}

#[tokio::test]
async fn registrations_reach_every_source_in_a_form_it_reads() {
    let cast = Cast::new();
    let (ours, boost) = (RelayStandIn::start().await, RelayStandIn::start().await);
    let route = "builder/validators";
    let registrations = vec![registration(&cast)];
    // A source without SSZ.
    boost.says(
        route,
        Says::Answer(std::sync::Arc::new(|body| {
            (if body.starts_with(b"[") { 200 } else { 415 }, Vec::new())
        })),
    );
    ours.says(route, Says::Json(200, Vec::new()));
    let sources = vec![mev_boost(&ours.url), mev_boost(&boost.url), mev_boost(&nobody().await)];
    let sidecar = Sidecar::start(&cast, sources, false).await;
    let post = |content_type: &'static str, body: Vec<u8>| {
        let url = sidecar.url("eth/v1/builder/validators");
        sidecar.http.post(url).header("content-type", content_type).body(body).send()
    };

    let (as_json, as_ssz) =
        (serde_json::to_vec(&registrations).unwrap(), registrations_to_ssz(&registrations));
    assert_eq!(post("application/json", as_json.clone()).await.unwrap().status(), 200);
    assert_eq!(post("application/octet-stream", as_ssz.clone()).await.unwrap().status(), 200);
    for (relay, mut expected) in
        [(&ours, vec![as_json.clone(), as_ssz.clone()]), (&boost, vec![as_json.clone(), as_ssz, as_json])]
    {
        let heard = relay.wait_for(route, expected.len()).await;
        let mut bodies: Vec<Vec<u8>> = heard.into_iter().map(|heard| heard.body.to_vec()).collect();
        bodies.sort();
        expected.sort();
        assert_eq!(bodies, expected);
    }

    assert_eq!(post("text/plain", Vec::new()).await.unwrap().status(), 415);
    assert_eq!(post("application/octet-stream", vec![1]).await.unwrap().status(), 400);
    ours.says(route, Says::Json(400, br#"{"code":400,"message":"bad signature"}"#.to_vec()));
    boost.says(route, Says::Json(500, Vec::new()));
    let answer = post("application/json", b"[]".to_vec()).await.unwrap();
    assert_eq!(answer.status(), 502);
    let message = answer.json::<serde_json::Value>().await.unwrap()["message"].to_string();
    assert!(message.contains("no relay took the registrations"), "{message}");
    sidecar.stop().await;
}

#[tokio::test]
async fn a_registration_that_pays_another_goes_nowhere_and_the_others_go_on() {
    let cast = Cast::new();
    let relay = RelayStandIn::start().await;
    let route = "builder/validators";
    relay.says(route, Says::Json(200, Vec::new()));
    let wants = |fee_recipient| ValidatorConfig {
        pubkeys: vec![cast.proposer.public_key()],
        fee_recipient: Some(fee_recipient),
        min_bid_wei: None,
        relays: Vec::new(),
    };
    let stranger = Cast::new();
    let batch = vec![registration(&cast), registration(&stranger)];
    for (recipient, status, passed) in [(1, 200, &batch[..]), (2, 400, &batch[1..])] {
        let before = relay.heard(route).len();
        let validators = vec![wants(Address::repeat_byte(recipient))];
        let sidecar = Sidecar::start_with(&cast, vec![mev_boost(&relay.url)], false, |config| {
            config.validators = validators;
        })
        .await;
        let request = sidecar.http.post(sidecar.url("eth/v1/builder/validators"));
        let request = request.header("content-type", "application/octet-stream");
        let answer = request.body(registrations_to_ssz(&batch)).send().await.unwrap();
        assert_eq!(answer.status(), status);
        let heard = relay.wait_for(route, before + 1).await;
        assert_eq!(heard[before].body, registrations_to_ssz(passed));
        sidecar.stop().await;
    }
}

#[tokio::test]
async fn registrations_have_more_time_than_a_payload() {
    let cast = Cast::new();
    let (slow, hung) = (RelayStandIn::start().await, RelayStandIn::start().await);
    slow.says("builder/validators", Says::Late(Duration::from_millis(1_000), 200));
    hung.says("builder/validators", Says::Silence);
    let sources = vec![mev_boost(&hung.url), mev_boost(&slow.url)];
    let limit = |config: &mut earnest_proposer::Config| config.payload_limit_ms = 300;
    let sidecar = Sidecar::start_with(&cast, sources, false, limit).await;
    let url = sidecar.url("eth/v1/builder/validators");
    let request = sidecar.http.post(url).header("content-type", "application/json").body("[]");
    let started = Instant::now();
    assert_eq!(request.send().await.unwrap().status(), 200);
    // The first that takes them answers for all: nobody waits for the one that hangs.
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    sidecar.stop().await;
}

#[tokio::test]
async fn status_is_that_of_the_best_source() {
    let cast = Cast::new();
    let up = RelayStandIn::start().await;
    up.says("builder/status", Says::Json(200, Vec::new()));
    let down = nobody().await;
    for (sources, expected) in
        [(vec![mev_boost(&down), mev_boost(&up.url)], 200), (vec![mev_boost(&down)], 503)]
    {
        let sidecar = Sidecar::start(&cast, sources, false).await;
        let answer = sidecar.http.get(sidecar.url("eth/v1/builder/status")).send().await.unwrap();
        assert_eq!(answer.status(), expected);
        sidecar.stop().await;
    }
}
