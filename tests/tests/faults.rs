//! Parts fail: blocks go on, batches land through the public pool, and what was not kept is told.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

use std::time::Duration;

use earnest_client::{
    Finding, Follower, FollowerConfig, GatewayClient, Limits, inbox_watch::InboxWatch,
    inclusion::InclusionFinding,
};
use earnest_devnet::{
    Network, NetworkOptions,
    beacon::{Endpoints, Fault},
    validator::{Outcome, Validators},
};
use earnest_protocol::{RollupId, Slot, receipt::PreconfReceipt};
use earnest_tests::{account::Account, patience::until};

const ROLLUP: RollupId = RollupId(42_070);
/// One devnet at a time.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
const LIMIT: Duration = Duration::from_secs(40);

async fn bare() -> Network {
    let options =
        NetworkOptions { rollups: vec![], bare_rollups: vec![ROLLUP.0], ..NetworkOptions::default() };
    Network::start(&options).await.unwrap()
}

fn follower(network: &Network, gateway: &GatewayClient) -> Follower {
    let inbox = InboxWatch {
        execution: network.execution.rpc().clone(),
        inbox: network.ready().contracts["Inbox"],
        poll: Duration::from_millis(200),
        timing: Some(*network.timing()),
    };
    let roots = network.trust();
    let config =
        FollowerConfig { rollup: ROLLUP, roots, policy: None, inbox: Some(inbox), last_event_id: None };
    Follower::new(gateway, config)
}

/// A receipt, as soon as a window is open.
async fn receipt(gateway: &GatewayClient, account: &Account, nonce: u64) -> PreconfReceipt {
    let raw = account.transfer(nonce);
    until("a receipt", LIMIT, async || gateway.submit(ROLLUP, &raw).await.ok()).await
}

/// Waits until a slot's window is on L1; true if that was late. What is late must be told as missed too.
async fn included_late(network: &Network, follower: &mut Follower, slot: Slot) -> bool {
    included_after(network.timing().slot_start(slot), follower, slot).await
}

async fn included_after(due_ms: u64, follower: &mut Follower, slot: Slot) -> bool {
    let (mut missed, mut late) = (false, None);
    let waiting = async {
        while late.is_none_or(|late| late && !missed) {
            match follower.next().await.unwrap() {
                Finding::Inclusion(InclusionFinding::Missed { seal }) if seal.slot == slot => missed = true,
                Finding::Inclusion(InclusionFinding::Included(record)) if record.slot == slot => {
                    late = Some(record.time_s * 1000 > due_ms);
                }
                Finding::Violation { violation, .. } => panic!("{violation}"),
                _ => {}
            }
        }
    };
    let waited = tokio::time::timeout(LIMIT, waiting).await;
    assert!(waited.is_ok(), "slot {slot}: missed told {missed}, included late {late:?}");
    assert_eq!(late, Some(missed), "slot {slot} is told as missed though it was in time");
    missed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_builder_every_slot_has_a_block_and_the_batch_lands_through_the_public_pool() {
    let _alone = ALONE.lock().await;
    let network = bare().await;
    let gateway = GatewayClient::new(&network.ready().gateway, Limits::default()).unwrap();
    let mut follower = follower(&network, &gateway);
    let account = Account::random(ROLLUP);
    let before = receipt(&gateway, &account, 0).await;
    let mut reports = network.validators[0].reports();
    let timing = *network.timing();
    network.builder.shutdown().await;

    let after = receipt(&gateway, &account, 1).await;
    // The first slot after this one's: the relay may still have a block for this one.
    let from = after.slot.0 + 1;
    for slot in from..from + 3 {
        let proposal = tokio::time::timeout(LIMIT, Validators::proposal_from(&mut reports, slot));
        let proposal = proposal.await.unwrap().unwrap();
        assert_eq!(proposal.slot, slot);
        assert!(matches!(proposal.outcome, Outcome::Local { .. }), "slot {slot}: {:?}", proposal.outcome);
    }
    let last = receipt(&gateway, &account, 2).await;
    assert!(last.slot > after.slot && after.slot >= before.slot);
    let due = timing.slot_start(last.slot);
    assert!(!included_after(due, &mut follower, last.slot).await, "late, though only the builder is gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missed_slot_is_told_as_a_missed_window_and_its_batch_lands_later() {
    let _alone = ALONE.lock().await;
    let network = bare().await;
    let gateway = GatewayClient::new(&network.ready().gateway, Limits::default()).unwrap();
    let mut follower = follower(&network, &gateway);
    let account = Account::random(ROLLUP);
    let promised = receipt(&gateway, &account, 0).await;
    network.beacon.faults().miss_slot(promised.slot.0);
    assert!(included_late(&network, &mut follower, promised.slot).await, "the slot had no block");

    // A beacon node that is slow for a while keeps nobody from going on.
    network.beacon.faults().set(Endpoints::Lookahead, Fault::slow(Duration::from_millis(1_500)).times(4));
    network.beacon.faults().set(Endpoints::Duties, Fault::slow(Duration::from_millis(1_500)).times(4));
    network.beacon.faults().break_event_streams();
    let next = receipt(&gateway, &account, 1).await;
    assert!(next.slot > promised.slot);
    included_late(&network, &mut follower, next.slot).await;
    network.stop().await;
}
