//! `kill -9` at any moment takes nothing from a relay that it promised: headers are honoured, a slot has one block, receipts
//! stand (design §5, §10). A relay in a process of its own, killed again and again.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

use earnest_builder_types::{PayloadAndBlobs, TreeHash, Versioned};
use earnest_devnet::beacon::{Endpoints, Fault};
use earnest_tests::{
    patience::until,
    relay_rig::{Answer, PATIENCE, Rig, text},
};

fn refused_as_second(answer: &Answer) {
    let (status, body) = answer.as_ref().expect("an answer");
    assert_eq!(*status, 400, "{}", text(body));
    assert!(text(body).contains("another block of this slot was unblinded before"), "{}", text(body));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_served_before_a_kill_is_honoured_after_it() {
    let rig = Rig::new(6_000, 4).await;
    let mut relay = rig.relay("0").await;
    rig.register().await;
    let builder = rig.builder().await;
    let mut reports = builder.reports();
    let mut from = rig.next_slot();
    for version in [1, 2] {
        let slot = rig.bid(&mut reports, from).await;
        from = slot + 1;
        let (_, key) = rig.proposer(slot);
        let bid = rig.header_in_slot(slot, &key).await;
        let (block, other) = (rig.blinded(slot, &bid, 1), rig.blinded(slot, &bid, 2));
        relay.kill().await;
        relay = rig.relay(&format!("v{version}")).await;
        let (status, body) = rig.propose(version, &block).await.unwrap();
        assert_eq!(status, if version == 1 { 200 } else { 202 }, "{}", text(&body));
        if version == 1 {
            let payload = Versioned::<PayloadAndBlobs>::from_json(&body).unwrap().data;
            assert_eq!(payload.payload().block_hash(), bid.header().block_hash());
        }
        let root = block.message().tree_hash_root();
        let head = rig.node.wait_for_head(|head| head.header.slot >= slot);
        assert_eq!(tokio::time::timeout(PATIENCE, head).await.unwrap().root, root);
        refused_as_second(&rig.propose(version, &other).await);
    }
    builder.shutdown().await;
    assert!(relay.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_between_the_record_and_the_publishing_costs_no_block_and_allows_no_second() {
    let rig = Rig::new(10_000, 4).await;
    let relay = rig.relay("0").await;
    rig.register().await;
    let builder = rig.builder().await;
    let slot = rig.bid(&mut builder.reports(), rig.next_slot()).await;
    let (_, key) = rig.proposer(slot);
    let bid = rig.header_in_slot(slot, &key).await;
    let (block, other) = (rig.blinded(slot, &bid, 1), rig.blinded(slot, &bid, 2));

    // The node hangs on every block: the record is durable once it was asked.
    let faults = rig.node.faults();
    faults.set(Endpoints::Publish, Fault::slow(PATIENCE * 2));
    let asked = async {
        until("the publishing", PATIENCE, async || (faults.struck(Endpoints::Publish) > 0).then_some(()))
            .await;
        relay.kill().await;
    };
    let (answer, ()) = tokio::join!(rig.propose(2, &block), asked);
    // The answer of a node that hangs is not waited for long; it may have come before the kill.
    assert!(answer.is_none_or(|(status, _)| status == 202));
    assert!(rig.node.head().header.slot < slot, "not published");

    // The same is answered, another refused, while the node still hangs; and after another kill.
    let relay = rig.relay("1").await;
    refused_as_second(&rig.propose(1, &other).await);
    let (status, body) = rig.propose(1, &block).await.unwrap();
    assert_eq!(status, 200, "{}", text(&body));
    refused_as_second(&rig.propose(2, &other).await);
    assert!(rig.node.head().header.slot < slot, "not published");
    relay.kill().await;
    faults.clear();
    let relay = rig.relay("2").await;
    refused_as_second(&rig.propose(2, &other).await);
    // It is published without being asked for again, and answered when it is.
    let head = rig.node.wait_for_head(|head| head.header.slot >= slot);
    let head = tokio::time::timeout(PATIENCE, head).await.unwrap();
    assert_eq!(head.root, block.message().tree_hash_root());
    assert_eq!(rig.propose(2, &block).await.unwrap().0, 202);
    refused_as_second(&rig.propose(1, &other).await);
    let rows = rig.delivered().await.unwrap();
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!(rows[0]["block_hash"], bid.header().block_hash().to_string());
    builder.shutdown().await;
    assert!(relay.terminate().await.success());
}
