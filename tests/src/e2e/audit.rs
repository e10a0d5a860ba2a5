//! What is left when the slots are over: every receipt on L1 as it was sealed, and every auction computed again.

use std::collections::BTreeSet;

use alloy_primitives::hex;
use earnest_protocol::{auction::AuctionStatus, objects::SignedDelegation, receipt::PreconfReceipt};
use futures::{StreamExt, stream};

use super::{
    contracts::{DECIDED_FROM, OPTIN_DELAY},
    course::{Course, SIGNED_BEFORE, is_sold},
    genesis::{NETWORK, SLOTS_PER_EPOCH},
};
use crate::binary;

/// One receipt of so many is given to `earnest verify`.
const EACH_RECEIPT: usize = 6;
/// Auctions that are computed at once.
const AT_ONCE: usize = 2;
/// Slots after the last one in which what is promised gets onto L1.
const LANDING_SLOTS: u64 = 8;

impl Course {
    /// Ends the searchers' traffic, and waits until all that the gateway promised is on L1.
    pub(super) async fn audit_receipts(&mut self, from: u64) {
        let mut searchers = self.front().searchers.take().expect("searchers run");
        searchers.stop().await;
        for slot in from..from + LANDING_SLOTS {
            self.network.at(slot, 1, 2).await;
            searchers.look();
            if searchers.open() == 0 {
                break;
            }
        }
        let unused = self.delegated.keys().filter(|slot| searchers.receipts(**slot) == 0).count();
        let some: Vec<&PreconfReceipt> = searchers.first_of_each().step_by(EACH_RECEIPT).collect();
        let mut verified = 0;
        for receipt in some {
            let (told, holds) = self.verify_receipt(receipt).await;
            verified += usize::from(holds);
            self.expect(holds, &format!("earnest verify: {told}"));
        }
        let verdict = searchers.verdict();
        for broken in &verdict.broken {
            self.expect(false, broken);
        }
        self.expect(verdict.receipts > 0 && verdict.batches > 0, "the gateway promised nothing");
        self.findings.push(format!(
            "gateway: {} receipts, median {:?}, in {} batches that are on L1 as sealed; `earnest verify` holds for {verified} of \
             them; {unused} delegated slots without a receipt; refused: {:?}",
            verdict.receipts,
            verdict.median.unwrap_or_default(),
            verdict.batches,
            verdict.refusals,
        ));
    }

    /// What `earnest verify` tells of a receipt, and whether it holds.
    async fn verify_receipt(&self, receipt: &PreconfReceipt) -> (String, bool) {
        let front = self.network.front.as_ref().expect("a sidecar is in front");
        let file = self.network.logs.join("receipt.json");
        std::fs::write(&file, serde_json::to_string_pretty(receipt).unwrap()).unwrap();
        let version = hex::encode_prefixed(NETWORK.genesis_fork_version);
        let (relay, slasher) = (self.network.relay.address, front.contracts().ordering_slasher);
        let arguments = format!(
            "verify receipt.json --network {version}:{} --relay {relay} --slasher {slasher}",
            NETWORK.chain_id
        );
        self.earnest(&arguments).await
    }

    /// Computes every auction again that somebody bid in, as anyone can: operators, committers and terms are read from L1 as far as
    /// it has them. One that has no result, as the relay was away, must not hold.
    pub(super) async fn audit_auctions(&mut self, last: u64) {
        let (mut slots, mut lapsed, mut by_l1) = (Vec::new(), BTreeSet::new(), 0);
        for slot in 1..=last {
            let Some(auction) = self.network.relay.auction(slot).await.filter(|one| one.bid_count > 0) else {
                continue;
            };
            slots.push(slot);
            if auction.status == AuctionStatus::Lapsed {
                lapsed.insert(slot);
                self.expect(self.may_be_kept_back(slot), &format!("slot {slot}: the auction has no result"));
            }
        }
        let verified = slots.iter().map(|slot| self.verify_auction(*slot));
        let verified: Vec<(String, bool)> = stream::iter(verified).buffered(AT_ONCE).collect().await;
        for (slot, (told, holds)) in slots.iter().zip(&verified) {
            by_l1 += usize::from(*holds && *slot >= DECIDED_FROM * SLOTS_PER_EPOCH);
            let expected = !lapsed.contains(slot);
            self.expect(*holds == expected, &format!("slot {slot}: earnest market verify:\n{told}"));
        }
        let text: String = verified.iter().map(|(told, _)| format!("{told}\n")).collect();
        std::fs::write(self.network.logs.join("auctions.log"), text).unwrap();
        self.expect(by_l1 > 0, "no auction was held whose operators L1 names");
        self.findings.push(format!(
            "market: {} auctions with bids hold, {by_l1} of them with operators and committers read from L1; {} had no result, as the \
             relay was away",
            slots.len() - lapsed.len(),
            lapsed.len()
        ));
        self.audit_sales();
    }

    /// What the auctions came to.
    fn audit_sales(&mut self) {
        // What was sold once relay and sidecar both read the market's contracts.
        let since = self.market_from.map(|from| from + SIGNED_BEFORE);
        let of_l1 = |(slot, delegation): &(&u64, &SignedDelegation)| {
            since.is_some_and(|since| **slot >= since) && is_sold(delegation)
        };
        let of_l1 = self.delegated.iter().filter(of_l1).count();
        self.expect(of_l1 > 0, "nothing was sold by the terms on L1");
        let rival = self.front().rival.committer();
        let won = |delegation: &&SignedDelegation| {
            let allocation = delegation.message.allocation().ok();
            allocation.is_some_and(|it| it.entries.iter().any(|entry| entry.committer == rival))
        };
        let won = self.delegated.values().filter(won).count();
        let (acknowledged, refused) = {
            let rival = &self.front().rival;
            (rival.acknowledged(), rival.refused.clone())
        };
        self.expect(won > 0 && acknowledged > won, "the rival did not win some and lose some");
        self.findings.push(format!(
            "market: {of_l1} slots were sold and delegated after the roles had begun to read all of it from L1; {won} of all have a \
             rollup that a rival won, by {acknowledged} bids; refused: {refused:?}"
        ));
    }

    /// What `earnest market verify` tells of a slot's auction, and whether it holds.
    async fn verify_auction(&self, slot: u64) -> (String, bool) {
        let front = self.network.front.as_ref().expect("a sidecar is in front");
        let (contracts, peers, relay) = (front.contracts(), &self.network.peers, &self.network.relay);
        let version = hex::encode_prefixed(NETWORK.genesis_fork_version);
        let mut arguments = format!(
            "market verify {slot} --relay {} --address {} --network {version}:{} --market {}",
            relay.url, relay.address, NETWORK.chain_id, contracts.ordering_market
        );
        if slot >= DECIDED_FROM * SLOTS_PER_EPOCH {
            arguments += &format!(
                " --rpc {} --beacon {} --registry {} --slasher {} --optin-delay {OPTIN_DELAY}",
                peers.geth.rpc_url, peers.beacon_url, contracts.registry, contracts.ordering_slasher
            );
        }
        if front.has_terms(slot) {
            arguments += &format!(" --rollups {}", contracts.rollup_registry);
        }
        if let Some(file) = front.rival.acknowledgement(slot) {
            arguments += &format!(" --ack {}", file.display());
        }
        self.earnest(&arguments).await
    }

    /// What the command says, run in the folder of the logs, and whether it ended well.
    async fn earnest(&self, arguments: &str) -> (String, bool) {
        let output = binary::run(arguments.split_ascii_whitespace(), &self.network.logs).await;
        let told = [output.stdout, output.stderr].concat();
        (String::from_utf8_lossy(&told).into_owned(), output.status.success())
    }
}
