//! The circuit breaker: what costs blocks is left alone for a while, and it says why.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use alloy_primitives::B256;
use earnest_builder_types::{ForkCodec, SignedBuilderBid};
use earnest_protocol::window::Fraction;
use tree_hash::TreeHash;

use crate::beacon_stand_in::{BeaconStandIn, SECONDS_PER_SLOT};
use crate::blocks::signed_block;
use crate::network::{Cast, PARENT, SLOT, Sidecar, bid_at, block, json, mev_boost};
use crate::relay_stand_in::{RelayStandIn, Says};

const V2: &str = "v2/builder/blinded_blocks";

/// A slot that has just begun, a relay with a bid for it, and a beacon node.
struct Stage {
    cast: Cast,
    relay: RelayStandIn,
    beacon: BeaconStandIn,
    sidecar: Sidecar,
    bid: SignedBuilderBid,
}

impl Stage {
    async fn set() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let genesis_s = now - SLOT * SECONDS_PER_SLOT;
        let cast = Cast::new();
        let bid = bid_at(&cast.relay, 5, PARENT, &block(), now);
        let relay = RelayStandIn::start().await;
        relay.says("builder/header", Says::Json(200, json(&bid)));
        let beacon = BeaconStandIn::start(genesis_s).await;
        let node = beacon.url.clone();
        let sidecar = Sidecar::start_with(&cast, vec![mev_boost(&relay.url)], false, |config| {
            config.beacon = vec![node];
            config.header_latest = Fraction(1_000, 1);
        })
        .await;
        Self { cast, relay, beacon, sidecar, bid }
    }

    async fn header(&self) -> u16 {
        self.sidecar.http.get(self.sidecar.header_url(&self.cast)).send().await.unwrap().status().as_u16()
    }

    /// Asks until the answer has this status.
    async fn until_header_is(&self, status: u16) {
        let asking = async { while self.header().await != status {} };
        tokio::time::timeout(Duration::from_secs(30), asking).await.unwrap();
    }

    async fn until_ready(&self) {
        let asking = async {
            while self.sidecar.running.health().ready().is_err() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), asking).await.unwrap();
    }

    async fn until_readyz_says(&self, words: &str) {
        let asking = async {
            let says = || async {
                let answer = self.sidecar.http.get(self.sidecar.url("readyz")).send().await.unwrap();
                answer.text().await.unwrap()
            };
            while !says().await.contains(words) {}
        };
        tokio::time::timeout(Duration::from_secs(30), asking).await.unwrap();
    }

    async fn submit(&self) -> u16 {
        let url = self.sidecar.url("eth/v2/builder/blinded_blocks");
        let body = signed_block(&self.cast, &self.bid).to_json().unwrap();
        let request = self.sidecar.http.post(url).header("content-type", "application/json").body(body);
        request.send().await.unwrap().status().as_u16()
    }
}

#[tokio::test]
async fn a_lost_block_opens_it_and_the_same_block_delivered_closes_it() {
    let stage = Stage::set().await;
    stage.until_ready().await;
    assert_eq!(stage.header().await, 200);
    stage.relay.says(V2, Says::Json(500, Vec::new()));
    assert_eq!(stage.submit().await, 500);
    assert_eq!(stage.header().await, 204);
    stage.until_readyz_says("circuit breaker: 1 of our blocks in a row were lost: no relay delivered").await;
    let asked = stage.relay.heard("builder/header").len();
    assert_eq!(stage.header().await, 204);
    assert_eq!(stage.relay.heard("builder/header").len(), asked, "nobody is asked");

    // The beacon node tries the block again.
    stage.relay.says(V2, Says::Json(202, Vec::new()));
    assert_eq!(stage.submit().await, 202);
    stage.until_header_is(200).await;
    stage.until_ready().await;
    stage.sidecar.stop().await;
}

#[tokio::test]
async fn a_block_that_a_relay_took_and_the_chain_does_not_have_opens_it() {
    for on_chain in [false, true] {
        let stage = Stage::set().await;
        stage.until_ready().await;
        stage.relay.says(V2, Says::Json(202, Vec::new()));
        assert_eq!(stage.submit().await, 202);
        assert_eq!(stage.header().await, 200);
        if on_chain {
            let root = signed_block(&stage.cast, &stage.bid).message().tree_hash_root();
            stage.beacon.head(SLOT, root);
            stage.beacon.head(SLOT + 1, B256::repeat_byte(2));
            // What is asked about our block was answered before anything later is.
            stage.beacon.until_asked_for(SLOT).await;
            assert_eq!(stage.header().await, 200);
        } else {
            stage.beacon.head(SLOT + 1, B256::repeat_byte(2));
            stage.until_header_is(204).await;
            stage.until_readyz_says("a relay took the block of slot 77, and it is not on the chain").await;
        }
        stage.sidecar.stop().await;
    }
}

#[tokio::test]
async fn slots_without_blocks_open_it_until_the_next_block() {
    let stage = Stage::set().await;
    stage.until_ready().await;
    assert_eq!(stage.header().await, 200, "not known is not missed");
    stage.beacon.head(SLOT - 4, B256::ZERO);
    stage.until_header_is(204).await;
    stage.until_readyz_says("circuit breaker: the chain has no block in the").await;
    stage.beacon.head(SLOT - 1, B256::repeat_byte(1));
    stage.until_header_is(200).await;
    stage.sidecar.stop().await;
}
