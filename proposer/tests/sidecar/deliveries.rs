//! A signed block is never lost to one source that misbehaves.

use std::time::{Duration, Instant};

use alloy_primitives::FixedBytes;
use earnest_builder_types::{
    BlobsBundle, BlobsBundleDeneb, ForkCodec, KzgCommitments, PayloadAndBlobs, SignedBuilderBid, Versioned,
};

use reqwest::header::HeaderValue;

use crate::blocks::signed_block;
use crate::network::{Cast, PARENT, Sidecar, block, json, mev_boost, payload_at};
use crate::relay_stand_in::{RelayStandIn, Says};

const V1: &str = "v1/builder/blinded_blocks";
const V2: &str = "v2/builder/blinded_blocks";

/// The payload of the block that `bid` is for.
pub(crate) fn payload(bid: &SignedBuilderBid) -> PayloadAndBlobs {
    let value = bid.value().try_into().unwrap();
    PayloadAndBlobs::new(payload_at(value, PARENT, &block(), 1), None).unwrap()
}

pub(crate) fn payload_json(bid: &SignedBuilderBid) -> Vec<u8> {
    Versioned::new(payload(bid)).to_json().unwrap()
}

fn json_type() -> HeaderValue {
    HeaderValue::from_static("application/json")
}

fn deneb() -> HeaderValue {
    HeaderValue::from_static("deneb")
}

/// Two relays that offer the same block, and one that offers another.
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
        self.submit_taking(version, "*/*").await
    }

    async fn submit_taking(&self, version: &str, accept: &str) -> (u16, reqwest::header::HeaderMap, Vec<u8>) {
        let url = self.sidecar.url(&format!("eth/{version}/builder/blinded_blocks"));
        let body = signed_block(&self.cast, &self.bid).to_json().unwrap();
        let request = self.sidecar.http.post(url).header("content-type", "application/json").body(body);
        let request = request.header("accept", accept).header("eth-consensus-version", "deneb");
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
    three.second.says(V2, Says::Silence);
    three.stranger.says(V2, Says::Json(202, Vec::new()));
    let url = three.sidecar.url("eth/v2/builder/blinded_blocks");
    let body = signed_block(&three.cast, &three.bid).to_json().unwrap();
    let request = three.sidecar.http.post(url).header("content-type", "application/json").body(body);
    let hung_up = tokio::spawn(request.send());
    three.first.wait_for(V2, 1).await;
    hung_up.abort();
    // Asked only when the others were silent for a while: the delivery went on.
    assert_eq!(three.stranger.wait_for(V2, 1).await.len(), 1);
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
    assert_eq!(status, 400);
    assert!([b"first".as_slice(), b"second"].contains(&body.as_slice()), "of one that offered it");
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
    let renamed = String::from_utf8(good.clone()).unwrap().replace(r#""deneb""#, r#""electra""#).into_bytes();
    let hollow = PayloadAndBlobs::new(payload_at(9, PARENT, &block()[1..], 1), None).unwrap();
    let commitments = KzgCommitments::new(vec![FixedBytes::repeat_byte(1)]).unwrap();
    let bundle = BlobsBundleDeneb { commitments, ..BlobsBundleDeneb::default() };
    let blobs =
        PayloadAndBlobs::new(payload_at(9, PARENT, &block(), 1), Some(BlobsBundle::Deneb(bundle))).unwrap();
    let table: Vec<(&str, Says)> = vec![
        ("accepted", Says::Json(202, good.clone())),
        ("no content", Says::Json(204, Vec::new())),
        ("empty", Says::Json(200, Vec::new())),
        ("garbage", Says::Json(200, b"{}".to_vec())),
        ("half", Says::Json(200, good[..good.len() / 2].to_vec())),
        ("another block's", Says::Json(200, Versioned::new(other.clone()).to_json().unwrap())),
        ("another block's, ssz", Says::Ssz(other.to_ssz(), "deneb")),
        ("another fork's, ssz", Says::Ssz(payload(&three.bid).to_ssz(), "capella")),
        ("another fork's name", Says::Json(200, renamed)),
        ("the right hash on other transactions", Says::Json(200, Versioned::new(hollow).to_json().unwrap())),
        ("other blobs", Says::Json(200, Versioned::new(blobs).to_json().unwrap())),
    ];
    for (name, says) in table {
        three.first.says(V1, says);
        let (status, headers, body) = three.submit("v1").await;
        assert_eq!((status, &body), (200, &good), "{name}");
        assert_eq!(headers["content-type"], "application/json", "{name}");
        assert_eq!(headers["eth-consensus-version"], "deneb", "{name}");
    }
    three.second.says(V1, Says::Json(500, Vec::new()));
    let ssz = payload(&three.bid).to_ssz();
    three.first.says(V1, Says::Ssz(ssz.clone(), "deneb"));
    let (status, headers, body) = three.submit("v1").await;
    assert_eq!((status, body), (200, ssz.clone()));
    assert_eq!(headers["content-type"], "application/octet-stream");
    // Whatever a source calls it, the beacon node is given it by its right name, and in a form that it takes.
    three.first.says(V1, Says::Named(good.clone(), "text/html", "capella"));
    let (status, headers, body) = three.submit("v1").await;
    assert_eq!((status, body), (200, good.clone()));
    assert_eq!((&headers["content-type"], &headers["eth-consensus-version"]), (&json_type(), &deneb()));
    three.first.says(V1, Says::Ssz(ssz.clone(), "deneb"));
    let (status, headers, body) = three.submit_taking("v1", "application/json").await;
    assert_eq!((status, body), (200, good.clone()));
    assert_eq!(&headers["content-type"], &json_type());
    three.first.says(V1, Says::Json(200, good.clone()));
    let (status, headers, body) = three.submit_taking("v1", "application/octet-stream").await;
    assert_eq!((status, body), (200, ssz));
    assert_eq!(
        (headers["content-type"].to_str().unwrap(), &headers["eth-consensus-version"]),
        ("application/octet-stream", &deneb())
    );

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

/// A source that only copied another's offer, with a higher price on it, takes the block and does nothing.
#[tokio::test]
async fn a_copied_offer_does_not_keep_the_block_from_the_one_that_has_it() {
    let cast = Cast::new();
    let (copies, has) = (RelayStandIn::start().await, RelayStandIn::start().await);
    let bid = cast.bid(9, &block());
    let dearer = {
        let SignedBuilderBid::Deneb(mut copy) = bid.clone() else { panic!("not of deneb") };
        copy.message.value = alloy_primitives::U256::from(10);
        SignedBuilderBid::Deneb(copy)
    };
    copies.says("builder/header", Says::Json(200, json(&dearer))).says(V2, Says::Json(202, Vec::new()));
    has.says("builder/header", Says::Json(200, json(&bid))).says(V2, Says::Json(202, Vec::new()));
    let sources = vec![mev_boost(&copies.url), mev_boost(&has.url)];
    let sidecar = Sidecar::start(&cast, sources, false).await;
    let answer = sidecar.http.get(sidecar.header_url(&cast)).send().await.unwrap();
    assert_eq!(answer.bytes().await.unwrap(), json(&dearer));
    let body = signed_block(&cast, &bid).to_json().unwrap();
    let url = sidecar.url("eth/v2/builder/blinded_blocks");
    let request = sidecar.http.post(url).header("content-type", "application/json").body(body);
    assert_eq!(request.send().await.unwrap().status(), 202);
    assert_eq!(has.wait_for(V2, 1).await.len(), 1);
    sidecar.stop().await;
}
