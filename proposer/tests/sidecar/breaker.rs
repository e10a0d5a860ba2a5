//! The circuit breaker: what costs blocks is left alone for a while, and it says why.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use alloy_primitives::B256;
use earnest_builder_types::{ForkCodec, SignedBlindedBeaconBlock, SignedBuilderBid};
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
    /// Another source, whose bid is worth less.
    other: RelayStandIn,
    beacon: BeaconStandIn,
    sidecar: Sidecar,
    bid: SignedBuilderBid,
    now: u64,
}

impl Stage {
    async fn set() -> Self {
        Self::set_with(false).await
    }

    async fn set_with(two: bool) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let genesis_s = now - SLOT * SECONDS_PER_SLOT;
        let cast = Cast::new();
        let bid = bid_at(&cast.relay, 5, PARENT, &block(), now);
        let relay = RelayStandIn::start().await;
        relay.says("builder/header", Says::Json(200, json(&bid)));
        let other = RelayStandIn::start().await;
        let beacon = BeaconStandIn::start(genesis_s).await;
        let node = beacon.url.clone();
        let sources = vec![mev_boost(&relay.url), mev_boost(&other.url)];
        let sources = if two { sources } else { sources[..1].to_vec() };
        let sidecar = Sidecar::start_with(&cast, sources, false, |config| {
            config.beacon = vec![node];
            config.header_latest = Fraction(1_000, 1);
        })
        .await;
        Self { cast, relay, other, beacon, sidecar, bid, now }
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
        self.submit_block(&signed_block(&self.cast, &self.bid)).await
    }

    async fn submit_block(&self, block: &SignedBlindedBeaconBlock) -> u16 {
        let url = self.sidecar.url("eth/v2/builder/blinded_blocks");
        let body = block.to_json().unwrap();
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
        assert_eq!(stage.header().await, 200);
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

/// Whoever can reach the port may send any block, and a source may say of it what it likes: nobody is shut out for that.
#[tokio::test]
async fn blocks_that_the_proposer_did_not_sign_or_was_not_served_shut_nobody_out() {
    for status in [500, 202] {
        let stage = Stage::set().await;
        stage.until_ready().await;
        stage.relay.says(V2, Says::Json(status, Vec::new()));
        // The header was not served yet, here and by anybody; then one that somebody else signed.
        assert_eq!(stage.submit().await, status);
        assert_eq!(stage.header().await, 200);
        let forged = signed_block(&Cast::new(), &stage.bid);
        assert_eq!(stage.submit_block(&forged).await, status);
        assert_eq!(stage.header().await, 200);
        let served_for_another_slot = {
            let mut block = signed_block(&stage.cast, &stage.bid);
            let SignedBlindedBeaconBlock::Deneb(deneb) = &mut block else { panic!("not of deneb") };
            deneb.message.slot = SLOT - 1;
            block
        };
        assert_eq!(stage.submit_block(&served_for_another_slot).await, status);
        stage.beacon.head(SLOT + 1, B256::repeat_byte(2));
        assert_eq!(stage.header().await, 200);
        stage.sidecar.stop().await;
    }
}

#[tokio::test]
async fn a_source_that_takes_blocks_and_does_not_deliver_is_shut_out_alone() {
    let stage = Stage::set_with(true).await;
    let less = bid_at(&stage.cast.relay, 4, PARENT, &block(), stage.now);
    stage.other.says("builder/header", Says::Json(200, json(&less)));
    stage.until_ready().await;
    let value = async || {
        let answer = stage.sidecar.http.get(stage.sidecar.header_url(&stage.cast)).send().await.unwrap();
        answer.bytes().await.unwrap()
    };
    assert_eq!(value().await, json(&stage.bid));
    stage.relay.says(V2, Says::Json(202, Vec::new()));
    assert_eq!(stage.submit().await, 202);
    stage.beacon.head(SLOT + 1, B256::repeat_byte(2));
    let asking = async { while value().await != json(&less) {} };
    tokio::time::timeout(Duration::from_secs(30), asking).await.unwrap();
    let asked = stage.relay.heard("builder/header").len();
    assert_eq!(value().await, json(&less));
    assert_eq!(stage.relay.heard("builder/header").len(), asked, "it is not asked");
    assert!(stage.sidecar.running.health().ready().is_ok(), "the other is enough");
    stage.sidecar.stop().await;
}

/// A beacon node's head far ahead of the clock must not make every slot up to it a missed one.
#[tokio::test]
async fn a_head_far_ahead_opens_nothing() {
    let stage = Stage::set().await;
    stage.until_ready().await;
    stage.beacon.head(SLOT, B256::repeat_byte(1));
    stage.beacon.head(SLOT + 1_000_000, B256::repeat_byte(2));
    stage.beacon.head(SLOT - 5, B256::repeat_byte(3));
    stage.relay.says(V2, Says::Json(202, Vec::new()));
    assert_eq!(stage.header().await, 200);
    assert_eq!(stage.submit().await, 202);
    // Our block is looked up at the head after it: by then all the others were taken.
    stage.beacon.head(SLOT + 1, B256::repeat_byte(4));
    stage.beacon.until_asked_for(SLOT).await;
    stage.until_readyz_says("lost").await;
    let text =
        stage.sidecar.http.get(stage.sidecar.url("readyz")).send().await.unwrap().text().await.unwrap();
    assert!(!text.contains("the chain has no block"), "{text}");
    stage.sidecar.stop().await;
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
