//! Bids before close.

use std::collections::BTreeSet;

use alloy_primitives::U256;
use earnest_protocol::objects::SignedBid;
use earnest_protocol::{RollupId, Slot, Wei};

use super::{BIDS, ROLLUPS, account, acknowledges, run, sells, window};
use crate::beacon_stand_in::SLOTS_PER_EPOCH;
use crate::delegations::{OURS, ROUTE, Stage, stop};
use crate::relay_stand_in::{Heard, Says};

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
