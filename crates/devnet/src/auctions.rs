//! Watches a devnet's market from outside: tells each auction's result, computes it again, and settles what was won once the
//! slot is past.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use earnest_client::{L1Account, NothingOwed, Owed, RelayClient, SettleError, SettlementDesk, owed};
use earnest_protocol::{
    Slot,
    auction::{AuctionRecord, AuctionStatus, Public, Verdict, verify_auction},
    objects::Authority,
};
use tokio::sync::mpsc;

use crate::{
    beacon::BeaconNode,
    promises::{Seen, SettledBid},
};

/// Slots ahead whose auctions are looked at: they close less than six slots before their windows end.
const AHEAD: u64 = 8;
/// Slots that a settlement may take to get into a block on a busy machine.
const LIMIT_SLOTS: u32 = 12;

/// Watches the auctions of one relay.
pub struct AuctionWatch<'a> {
    /// The relay.
    pub relay: RelayClient,
    /// Where it is settled.
    pub desk: SettlementDesk,
    /// Who pays for that: nobody is paid for it.
    pub payer: Arc<L1Account>,
    /// The chain.
    pub beacon: &'a BeaconNode,
    /// The last slot of interest, if there is one.
    pub last: Option<Slot>,
}

impl std::fmt::Debug for AuctionWatch<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuctionWatch").field("relay", &self.relay).finish_non_exhaustive()
    }
}

/// Computes an auction again from what its relay publishes: what `earnest market verify` does.
///
/// `None` before close, or where no auction was held.
#[must_use]
pub fn verified(record: &AuctionRecord, authorities: &[Authority]) -> Option<Verdict> {
    let public = Public {
        network: record.network,
        market: record.market,
        relay: record.relay,
        slot: record.slot,
        record,
        held: &[],
        results: &[],
        authorities,
        window: None,
        proposer: None,
        rollups: None,
        operators: None,
    };
    verify_auction(&public).ok()
}

#[derive(Default)]
struct Progress {
    /// Slots whose result was told, or which have none.
    told: BTreeSet<u64>,
    /// Results that are not settled.
    unsettled: BTreeMap<u64, AuctionRecord>,
    nonce: Option<u64>,
}

impl AuctionWatch<'_> {
    /// Runs until nobody listens.
    pub async fn run(self, seen: mpsc::UnboundedSender<Seen>) {
        let clock = self.beacon.clock();
        let mut progress = Progress::default();
        let pause = clock.slot_duration() / 4;
        let mut settling = tokio::task::JoinSet::new();
        while !seen.is_closed() {
            let head = self.beacon.head().header.slot;
            self.look(head, &mut progress, &seen).await;
            let ripe: Vec<u64> = progress.unsettled.range(..head).map(|(slot, _)| *slot).collect();
            for slot in ripe {
                if let Some(record) = progress.unsettled.get(&slot)
                    && let Err(error) = self.settle(record, &mut progress.nonce, &seen, &mut settling).await
                {
                    tracing::warn!(slot, %error, "not settled yet");
                    continue;
                }
                progress.unsettled.remove(&slot);
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Tells of the results that are there.
    async fn look(&self, head: u64, progress: &mut Progress, seen: &mpsc::UnboundedSender<Seen>) {
        progress.told = progress.told.split_off(&head);
        for slot in head..head.saturating_add(AHEAD) {
            if progress.told.contains(&slot) || self.last.is_some_and(|last| slot > last.0) {
                continue;
            }
            let Ok(record) = self.relay.auction(slot).await else { continue };
            match record.status {
                AuctionStatus::Final => progress.unsettled.insert(slot, record.clone()),
                AuctionStatus::Lapsed => None,
                AuctionStatus::Open | AuctionStatus::Closed => continue,
            };
            progress.told.insert(slot);
            // Nobody listening ends this at the next round.
            let _ = seen.send(Seen::Auction(Box::new(record)));
        }
    }

    /// Verifies a result and sends what settles it.
    async fn settle(
        &self,
        record: &AuctionRecord,
        nonce: &mut Option<u64>,
        seen: &mpsc::UnboundedSender<Seen>,
        settling: &mut tokio::task::JoinSet<()>,
    ) -> Result<(), SettleError> {
        let slot = record.slot;
        // The result as it is now, a second time: it must be the same.
        let again = self.relay.auction(slot.0).await?;
        let authorities = self.relay.authorities(slot.0).await?;
        let mut findings: Vec<String> = verified(&again, &authorities).map_or_else(
            || vec!["the result is gone".to_owned()],
            |verdict| verdict.findings.iter().map(ToString::to_string).collect(),
        );
        if again.outcome != record.outcome {
            findings.push("the relay shows another outcome than before".to_owned());
        }
        let (owed, void) = match owed(&again, &authorities) {
            Ok(owed) => (owed, false),
            Err(NothingOwed::NoDelegation) => (Vec::new(), true),
            Err(error) => {
                findings.push(error.to_string());
                (Vec::new(), false)
            }
        };
        let _ = seen.send(Seen::Verified { slot, findings, void });
        for owed in owed {
            let account = owed.bid.message.account;
            let failed =
                |error: &dyn std::fmt::Display| Seen::NotSettled { slot, account, error: error.to_string() };
            let sent = match self.send(&owed, nonce).await {
                Ok(sent) => sent,
                Err(error) => {
                    let _ = seen.send(failed(&error));
                    continue;
                }
            };
            let (desk, payer, seen) = (self.desk.clone(), Arc::clone(&self.payer), seen.clone());
            let limit: Duration = self.beacon.clock().slot_duration().saturating_mul(LIMIT_SLOTS);
            settling.spawn(async move {
                let (transaction, foreseen) = sent;
                let told = match desk.included(&payer, transaction, &owed, limit).await {
                    Ok(settled) => {
                        let as_foreseen = settled.is(&foreseen);
                        Seen::Settled(Box::new(SettledBid { slot, account, settled, as_foreseen }))
                    }
                    Err(error) => Seen::NotSettled { slot, account, error: error.to_string() },
                };
                let _ = seen.send(told);
            });
        }
        Ok(())
    }

    /// What the rules foresee, and the transaction that does it.
    async fn send(
        &self,
        owed: &Owed,
        nonce: &mut Option<u64>,
    ) -> Result<
        (alloy_primitives::B256, earnest_protocol::settlement::Outcome),
        Box<dyn std::error::Error + Send + Sync>,
    > {
        let foreseen = self.desk.foresee(owed).await??;
        let next = match *nonce {
            Some(nonce) => nonce,
            None => self.payer.nonce().await?,
        };
        let sent = self.payer.post(&self.desk.call(owed)?, next).await?;
        *nonce = Some(next.saturating_add(1));
        Ok((sent, foreseen))
    }
}
