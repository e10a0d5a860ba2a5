//! A signed block is never lost to one source that misbehaves.

use std::time::{Duration, Instant};

use alloy_primitives::{Address, B256, FixedBytes, U256};
use earnest_builder_types::{
    ExecutionPayload, ExecutionPayloadDeneb, ForkCodec, PayloadAndBlobs, SignedBuilderBid, Versioned,
};

use crate::blocks::signed_block;
use crate::network::{Cast, PARENT, Sidecar, block, json, mev_boost};
use crate::relay_stand_in::{RelayStandIn, Says};

const V1: &str = "v1/builder/blinded_blocks";
const V2: &str = "v2/builder/blinded_blocks";

/// A payload of the block that `bid` is for.
pub(crate) fn payload(bid: &SignedBuilderBid) -> PayloadAndBlobs {
    let payload = ExecutionPayload::Deneb(ExecutionPayloadDeneb {
        parent_hash: PARENT,
        fee_recipient: Address::ZERO,
        state_root: B256::ZERO,
        receipts_root: B256::ZERO,
        logs_bloom: FixedBytes::ZERO,
        prev_randao: B256::ZERO,
        block_number: 1,
        gas_limit: 30_000_000,
        gas_used: 0,
        timestamp: 1,
        extra_data: Default::default(),
        base_fee_per_gas: U256::from(7),
        block_hash: bid.header().block_hash(),
        transactions: Default::default(),
        withdrawals: Default::default(),
        blob_gas_used: 0,
        excess_blob_gas: 0,
    });
    PayloadAndBlobs::new(payload, None).unwrap()
}

pub(crate) fn payload_json(bid: &SignedBuilderBid) -> Vec<u8> {
    Versioned::new(payload(bid)).to_json().unwrap()
}

/// Two relays that offer the same block, of which the first is asked first, and one that offers another.
struct Three {
    first: RelayStandIn,
    second: RelayStandIn,
    stranger: RelayStandIn,
    sidecar: Sidecar,
    cast: Cast,
    bid: SignedBuilderBid,
}

impl Three {
    async fn start(payload_limit_ms: u64) -> Self {
        let cast = Cast::new();
        let relays = [RelayStandIn::start().await, RelayStandIn::start().await, RelayStandIn::start().await];
        let bid = cast.bid(9, &block());
        for relay in &relays[..2] {
            relay.says("builder/header", Says::Json(200, json(&bid)));
        }
        relays[2].says("builder/header", Says::Json(200, json(&cast.bid(5, &block()))));
        let sources = relays.iter().map(|relay| mev_boost(&relay.url)).collect();
        let sidecar = Sidecar::start_with(&cast, sources, false, |config| {
            config.payload_limit_ms = payload_limit_ms;
        })
        .await;
        assert_eq!(sidecar.http.get(sidecar.header_url(&cast)).send().await.unwrap().status(), 200);
        let [first, second, stranger] = relays;
        Self { first, second, stranger, sidecar, cast, bid }
    }

    async fn submit(&self, version: &str) -> (u16, reqwest::header::HeaderMap, Vec<u8>) {
        let url = self.sidecar.url(&format!("eth/{version}/builder/blinded_blocks"));
        let body = signed_block(&self.cast, &self.bid).to_json().unwrap();
        let request = self.sidecar.http.post(url).header("content-type", "application/json").body(body);
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        (status, headers, answer.bytes().await.unwrap().to_vec())
    }
}

#[tokio::test]
async fn a_source_that_hangs_is_not_waited_for() {
    let three = Three::start(20_000).await;
    three.first.says(V2, Says::Silence);
    three.second.says(V2, Says::Json(202, b"second".to_vec()));
    let started = Instant::now();
    let (status, _, body) = three.submit("v2").await;
    assert_eq!((status, body.as_slice()), (202, b"second".as_slice()));
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    assert_eq!(three.first.heard(V2).len(), 1);
    assert!(three.stranger.heard(V2).is_empty());
    three.sidecar.stop().await;
}

#[tokio::test]
async fn a_beacon_node_that_hangs_up_does_not_stop_a_delivery() {
    let three = Three::start(4_000).await;
    three.first.says(V2, Says::Silence);
    three.second.says(V2, Says::Json(202, Vec::new()));
    let url = three.sidecar.url("eth/v2/builder/blinded_blocks");
    let body = signed_block(&three.cast, &three.bid).to_json().unwrap();
    let request = three.sidecar.http.post(url).header("content-type", "application/json").body(body);
    let hung_up = tokio::spawn(request.send());
    three.first.wait_for(V2, 1).await;
    hung_up.abort();
    assert_eq!(three.second.wait_for(V2, 1).await.len(), 1);
    three.sidecar.stop().await;
}

#[tokio::test]
async fn one_refusal_is_not_the_end_and_all_of_them_bring_in_the_rest() {
    let three = Three::start(4_000).await;
    let refusal = |text: &str| Says::Json(400, text.as_bytes().to_vec());
    three.first.says(V2, refusal("first"));
    three.second.says(V2, Says::Json(202, Vec::new()));
    assert_eq!(three.submit("v2").await.0, 202);
    assert!(three.stranger.heard(V2).is_empty());

    three.second.says(V2, refusal("second"));
    three.stranger.says(V2, Says::Json(200, b"stranger".to_vec()));
    let (status, _, body) = three.submit("v2").await;
    assert_eq!((status, body.as_slice()), (200, b"stranger".as_slice()));

    three.stranger.says(V2, refusal("stranger"));
    let (status, _, body) = three.submit("v2").await;
    assert_eq!((status, body.as_slice()), (400, b"first".as_slice()));
    three.sidecar.stop().await;
}

#[tokio::test]
async fn a_source_that_comes_back_in_time_is_asked_again() {
    let three = Three::start(20_000).await;
    three.first.says(V2, Says::Breaks);
    three.second.says(V2, Says::Json(400, Vec::new()));
    three.stranger.says(V2, Says::Json(400, Vec::new()));
    let back = async {
        three.first.wait_for(V2, 1).await;
        three.stranger.wait_for(V2, 1).await;
        three.first.says(V2, Says::Json(202, b"first".to_vec()));
    };
    let ((status, _, body), ()) = tokio::join!(three.submit("v2"), back);
    assert_eq!((status, body.as_slice()), (202, b"first".as_slice()));
    // Those that refused, or never offered the block, are not asked again.
    assert_eq!((three.second.heard(V2).len(), three.stranger.heard(V2).len()), (1, 1));
    three.sidecar.stop().await;
}

#[tokio::test]
async fn one_limit_holds_for_all_attempts_together() {
    let three = Three::start(1_500).await;
    three.first.says(V2, Says::Silence);
    three.second.says(V2, Says::Stall);
    three.stranger.says(V2, Says::Silence);
    let started = Instant::now();
    assert_eq!(three.submit("v2").await.0, 502);
    assert!(started.elapsed() < Duration::from_millis(2_700), "{:?}", started.elapsed());
    three.sidecar.stop().await;
}

#[tokio::test]
async fn only_what_delivers_the_block_counts_as_a_delivery() {
    let three = Three::start(4_000).await;
    let good = payload_json(&three.bid);
    three.second.says(V1, Says::Json(200, good.clone()));
    let other = payload(&three.cast.bid(8, &block()));
    let table: Vec<(&str, Says)> = vec![
        ("accepted", Says::Json(202, good.clone())),
        ("no content", Says::Json(204, Vec::new())),
        ("empty", Says::Json(200, Vec::new())),
        ("garbage", Says::Json(200, b"{}".to_vec())),
        ("half", Says::Json(200, good[..good.len() / 2].to_vec())),
        ("another block's", Says::Json(200, Versioned::new(other.clone()).to_json().unwrap())),
        ("another block's, ssz", Says::Ssz(other.to_ssz(), "deneb")),
        ("another fork's, ssz", Says::Ssz(payload(&three.bid).to_ssz(), "capella")),
    ];
    for (name, says) in table {
        three.first.says(V1, says);
        let (status, headers, body) = three.submit("v1").await;
        assert_eq!((status, &body), (200, &good), "{name}");
        assert_eq!(headers["content-type"], "application/json", "{name}");
        assert_eq!(headers["eth-consensus-version"], "deneb", "{name}");
    }
    let ssz = payload(&three.bid).to_ssz();
    three.first.says(V1, Says::Ssz(ssz.clone(), "deneb"));
    let (status, headers, body) = three.submit("v1").await;
    assert_eq!((status, body), (200, ssz));
    assert_eq!(headers["content-type"], "application/octet-stream");

    three.second.says(V2, Says::Json(200, b"second".to_vec()));
    for status in [203, 204, 304] {
        three.first.says(V2, Says::Json(status, Vec::new()));
        assert_eq!(three.submit("v2").await.2, b"second", "{status}");
    }
    // None of these is passed on as if the block were taken.
    for relay in [&three.first, &three.second, &three.stranger] {
        relay.says(V2, Says::Json(204, Vec::new())).says(V1, Says::Json(200, Vec::new()));
    }
    assert_eq!(three.submit("v2").await.0, 502);
    assert_eq!(three.submit("v1").await.0, 502);
    three.sidecar.stop().await;
}
