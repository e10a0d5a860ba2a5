//! Watches a devnet's market from outside: tells each auction's result, computes it again, and settles what was won once the
//! slot is past.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use alloy_primitives::Address;
use alloy_rpc_types_eth::{BlockNumberOrTag, Log};
use earnest_chain::ExecutionClient;
use earnest_client::{L1Account, NothingOwed, Owed, RelayClient, SettleError, Settled, SettlementDesk, owed};
use earnest_protocol::{
    Slot,
    auction::{AuctionRecord, AuctionStatus, Public, Verdict, verify_auction},
    objects::Authority,
    settlement::Outcome,
};
use tokio::sync::mpsc;

use crate::{
    beacon::BeaconNode,
    promises::{Seen, SettledBid},
};

/// Slots ahead whose auctions are looked at: they close less than six slots before their windows end.
const AHEAD: u64 = 8;
/// Slots that a settlement may take to get into a block on a busy machine.
const LIMIT_SLOTS: u64 = 12;

/// Watches the auctions of one relay.
pub struct AuctionWatch<'a> {
    /// The relay.
    pub relay: RelayClient,
    /// Where it is settled.
    pub desk: SettlementDesk,
    /// Who pays for that: nobody is paid for it.
    pub payer: L1Account,
    /// The chain.
    pub beacon: &'a BeaconNode,
    /// Its execution client.
    pub execution: ExecutionClient,
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
        proposer_operator: None,
        now_ms: None,
    };
    verify_auction(&public).ok()
}

/// Blocks that are read again each time: EthereumJS has a block's logs a moment after the block.
const AGAIN_BLOCKS: u64 = 3;
/// Gas of a settlement, at most: of any, and for each rollup.
const GAS: u64 = 600_000;
const RIGHT_GAS: u64 = 100_000;

/// A settlement that was sent.
struct Sent {
    slot: Slot,
    account: Address,
    foreseen: Outcome,
    /// The last slot in which it may come into a block.
    until: u64,
}

struct Progress {
    /// The first slot that was not told of.
    next: u64,
    /// Later ones that were.
    told: BTreeSet<u64>,
    /// Results that are not settled.
    unsettled: BTreeMap<u64, AuctionRecord>,
    /// The payer's next nonce.
    nonce: u64,
    sent: Vec<Sent>,
    /// The last block that was looked into.
    block: u64,
}

impl AuctionWatch<'_> {
    /// Runs until nobody listens.
    ///
    /// # Errors
    /// [`SettleError`] if L1 cannot be asked at the start.
    pub async fn run(self, seen: mpsc::UnboundedSender<Seen>) -> Result<(), SettleError> {
        let mut progress = Progress {
            next: self.beacon.head().header.slot,
            told: BTreeSet::new(),
            unsettled: BTreeMap::new(),
            nonce: self.payer.nonce().await?,
            sent: Vec::new(),
            block: self.execution.block_number().await?,
        };
        let pause = Duration::from_millis(self.beacon.clock().slot_ms() / 4);
        while !seen.is_closed() {
            if let Err(error) = self.round(&mut progress, &seen).await {
                tracing::warn!(%error, "L1 or the relay cannot be asked about auctions");
            }
            tokio::time::sleep(pause).await;
        }
        Ok(())
    }

    async fn round(
        &self,
        progress: &mut Progress,
        seen: &mpsc::UnboundedSender<Seen>,
    ) -> Result<(), SettleError> {
        // Nobody listening ends this at the next round.
        let tell = |what: Seen| drop(seen.send(what));
        self.look(progress, tell).await;
        let Some(head) = self.execution.block(BlockNumberOrTag::Latest).await? else { return Ok(()) };
        let (number, head_ms) = (head.header.number, head.header.timestamp.saturating_mul(1_000));
        if number > progress.block {
            let logs = self.desk.logs(progress.block.saturating_sub(AGAIN_BLOCKS), number).await?;
            progress.block = number;
            self.check_off(progress, &logs, head_ms, tell);
        }
        // What L1's own clock has left behind can be settled.
        while let Some((slot, record)) = progress.unsettled.first_key_value()
            && self.beacon.clock().start_of(*slot) < head_ms
        {
            let slot = *slot;
            let authorities = self.relay.authorities(slot).await?;
            let again = self.relay.auction(slot).await?;
            let same = again.outcome == record.outcome;
            progress.unsettled.remove(&slot);
            self.settle(&again, &authorities, same, progress, tell).await?;
        }
        Ok(())
    }

    /// Tells of the results that are there.
    async fn look(&self, progress: &mut Progress, tell: impl Fn(Seen)) {
        let head = self.beacon.head().header.slot;
        for slot in progress.next..head.saturating_add(AHEAD) {
            if progress.told.contains(&slot) || self.last.is_some_and(|last| slot > last.0) {
                continue;
            }
            let record = match self.relay.auction(slot).await {
                Ok(record) => record,
                // That is its last word only once the slot is past.
                Err(error) if error.refusal().is_some() && slot < head => {
                    progress.told.insert(slot);
                    continue;
                }
                Err(_) => continue,
            };
            match record.status {
                AuctionStatus::Final => drop(progress.unsettled.insert(slot, record.clone())),
                AuctionStatus::Lapsed => {}
                AuctionStatus::Open | AuctionStatus::Closed => continue,
            }
            progress.told.insert(slot);
            tell(Seen::Auction(Box::new(record)));
        }
        while progress.told.remove(&progress.next) {
            progress.next = progress.next.saturating_add(1);
        }
    }

    /// Tells of the settlements that came into blocks, and of those that did not in time.
    fn check_off(&self, progress: &mut Progress, logs: &[Log], head_ms: u64, tell: impl Fn(Seen)) {
        let head = self.beacon.clock().slot_at(head_ms).unwrap_or_default();
        progress.sent.retain(|sent| {
            let Sent { slot, account, foreseen, until } = sent;
            if let Some(settled) = Settled::read(logs, self.desk.rules().address, foreseen.bid_hash) {
                let as_foreseen = settled.is(foreseen);
                tell(Seen::Settled(Box::new(SettledBid {
                    slot: *slot,
                    account: *account,
                    settled,
                    as_foreseen,
                })));
                return false;
            }
            if head > *until {
                let error = "in no block in the time allowed, or reverted".to_owned();
                tell(Seen::NotSettled { slot: *slot, account: *account, error });
            }
            head <= *until
        });
    }

    /// Verifies a result and sends what settles it. `same` says whether it is as it was shown before.
    async fn settle(
        &self,
        record: &AuctionRecord,
        authorities: &[Authority],
        same: bool,
        progress: &mut Progress,
        tell: impl Fn(Seen),
    ) -> Result<(), SettleError> {
        let slot = record.slot;
        let mut findings: Vec<String> = match verified(record, authorities) {
            Some(verdict) => verdict.findings.iter().map(ToString::to_string).collect(),
            None => vec!["the result is gone".to_owned()],
        };
        if !same {
            findings.push("the relay shows another outcome than before".to_owned());
        }
        let won = owed(record, authorities);
        let void = won == Err(NothingOwed::NoDelegation);
        if let (false, Err(error)) = (void, &won) {
            findings.push(error.to_string());
        }
        tell(Seen::Verified { slot, findings, void });
        for owed in won.unwrap_or_default() {
            let account = owed.bid.message.account;
            match self.desk.foresee(&owed).await? {
                Err(error) => tell(Seen::NotSettled { slot, account, error: error.to_string() }),
                Ok(foreseen) => {
                    self.send(&owed, progress.nonce).await?;
                    progress.nonce = progress.nonce.saturating_add(1);
                    let now = self.beacon.head().header.slot;
                    let until = now.saturating_add(LIMIT_SLOTS);
                    progress.sent.push(Sent { slot, account, foreseen, until });
                }
            }
        }
        Ok(())
    }

    /// With gas enough and no estimate, which would execute it once more: EthereumJS is slow at it.
    async fn send(&self, owed: &Owed, nonce: u64) -> Result<(), SettleError> {
        let rights = u64::try_from(owed.bid.message.rollup_ids.len()).unwrap_or(u64::MAX);
        let gas = GAS.saturating_add(RIGHT_GAS.saturating_mul(rights));
        self.payer.send(&self.desk.call(owed)?, nonce, gas).await?;
        Ok(())
    }
}
