//! A whole auction as an honest relay publishes it.

use super::{DOMAIN, RELAY, bid, operator, registration, relay, window};
use crate::{
    RollupId, Slot,
    auction::{
        AuctionOutcome, AuctionRecord, AuctionStatus, BidFault, Clearing, Exclusion, HeldAck, NamedBid,
        Public, PublishedBid, Sale, Verdict, clear, verify_auction,
    },
    fixtures::{NETWORK, SLOT, bls_secret, ecdsa_secret},
    objects::{
        Authority, BidAck, Delegation, DelegationReceipt, OrderingBid, SignedAuctionResult, SignedBid,
        SignedBidAck, auction_root,
    },
    signing::{EcdsaSignature, Signed},
};
use alloy_primitives::B256;

/// A whole auction as an honest relay publishes it, with its delegation.
pub(super) struct Auction {
    pub(super) record: AuctionRecord,
    pub(super) authorities: Vec<Authority>,
    pub(super) held: Vec<HeldAck>,
    pub(super) results: Vec<SignedAuctionResult>,
}

pub(super) fn ack(hash: B256, received_at_ms: u64) -> SignedBidAck {
    Signed::<_, EcdsaSignature>::sign(
        BidAck { bid_hash: hash, received_at_ms },
        &ecdsa_secret(RELAY),
        &NETWORK,
    )
    .unwrap()
}

pub(super) fn publish(by: u8, bid: OrderingBid, received_at_ms: u64) -> PublishedBid {
    let bid = SignedBid::sign(bid, &ecdsa_secret(by), &DOMAIN).unwrap();
    let hash = bid.message.hash(&DOMAIN);
    PublishedBid { hash, bid, ack: ack(hash, received_at_ms), excluded: None }
}

impl Auction {
    pub(super) fn honest() -> Self {
        let window = window();
        let before = window.close_ms - 10;
        let rollups = vec![registration(1, 5), registration(2, 6), registration(3, 0)];
        let mut bids = vec![
            publish(10, bid(10, &[1, 2], 30), before),
            publish(11, bid(11, &[1], 12), before),
            publish(11, bid(11, &[3], 4), before),
            publish(12, bid(12, &[2, 3], 25), before),
            publish(13, bid(13, &[3], 9), before),
        ];
        bids[4].excluded = Some(Exclusion::from(&BidFault::Escrow));
        bids.sort_by_key(|bid| bid.hash);
        let mut auction = Self {
            record: AuctionRecord {
                slot: SLOT,
                relay: relay(),
                network: NETWORK,
                market: DOMAIN.market,
                proposer: bls_secret(1).public_key(),
                previous: Some(Slot(SLOT.0 - 10)),
                window,
                status: AuctionStatus::Final,
                bid_count: bids.len() as u64,
                outcome: Some(AuctionOutcome {
                    rollups,
                    // Of those who bid: the proposer, who did not, matches all the same.
                    operators: [10, 11, 12, 13].map(operator).to_vec(),
                    proposer_operator: Some(operator(20)),
                    bids,
                    auction_root: B256::ZERO,
                    winners: vec![],
                    matches: vec![],
                    allocation: None,
                    result: None,
                }),
            },
            authorities: vec![],
            held: vec![],
            results: vec![],
        };
        auction.close();
        let winner = auction.outcome().winners[0];
        let matched = &auction.outcome().bids.iter().find(|bid| bid.hash == winner).unwrap().bid.message;
        let taking = OrderingBid {
            matches: winner,
            amount_wei: matched.amount_wei,
            rollup_ids: matched.rollup_ids.clone(),
            ..bid(20, &[1], 0)
        };
        auction.outcome().matches.push(publish(20, taking, window.close_ms + 3));
        auction.settle();
        auction.delegate();
        auction
    }

    pub(super) fn outcome(&mut self) -> &mut AuctionOutcome {
        self.record.outcome.as_mut().unwrap()
    }

    pub(super) fn clearing(&mut self) -> Clearing {
        let outcome = self.outcome();
        let counted: Vec<_> = outcome.bids.iter().filter(|bid| bid.excluded.is_none()).collect();
        let named: Vec<_> =
            counted.iter().map(|one| NamedBid { hash: one.hash, bid: &one.bid.message }).collect();
        clear(&Sale::of(&outcome.rollups, relay()), &named)
    }

    pub(super) fn close(&mut self) {
        let winners = self.clearing().hashes();
        let outcome = self.outcome();
        outcome.winners = winners;
        outcome.auction_root = auction_root(&outcome.bids.iter().map(|bid| bid.hash).collect::<Vec<_>>());
    }

    pub(super) fn settle(&mut self) {
        let (clearing, window) = (self.clearing(), self.record.window);
        let outcome = self.outcome();
        let matches: Vec<_> =
            outcome.matches.iter().map(|one| NamedBid { hash: one.hash, bid: &one.bid.message }).collect();
        let after = clearing.refused(&matches);
        let allocation = after.allocation(&window, outcome.auction_root);
        let result = after.result(SLOT, window.close_ms, &allocation);
        let signed = Signed::<_, EcdsaSignature>::sign(result, &ecdsa_secret(RELAY), &NETWORK);
        (outcome.allocation, outcome.result) = (Some(allocation), Some(signed.unwrap()));
    }

    pub(super) fn sign_again(&mut self, change: impl FnOnce(&mut crate::objects::AuctionResult)) {
        let mut message = self.outcome().result.clone().unwrap().message;
        change(&mut message);
        let signed = Signed::<_, EcdsaSignature>::sign(message, &ecdsa_secret(RELAY), &NETWORK);
        self.outcome().result = Some(signed.unwrap());
    }

    pub(super) fn delegate(&mut self) {
        let metadata = self.outcome().allocation.as_ref().unwrap().to_metadata();
        let message = Delegation {
            proposer: bls_secret(1).public_key(),
            delegate: bls_secret(4).public_key(),
            committer: operator(20).committer,
            slot: SLOT,
            metadata,
        };
        let receipt = DelegationReceipt::of(&message, self.record.window.start_ms - 1).unwrap();
        self.authorities = vec![Authority {
            delegation: Signed::<_, crate::BlsSignature>::sign(message, &bls_secret(1), &NETWORK).unwrap(),
            receipt: Signed::<_, EcdsaSignature>::sign(receipt, &ecdsa_secret(RELAY), &NETWORK).unwrap(),
        }];
    }

    pub(super) fn public(&self) -> Public<'_> {
        Public {
            network: NETWORK,
            market: DOMAIN.market,
            relay: relay(),
            slot: SLOT,
            record: &self.record,
            held: &self.held,
            results: &self.results,
            authorities: &self.authorities,
            window: None,
            proposer: None,
            rollups: None,
            operators: None,
            proposer_operator: None,
            now_ms: None,
        }
    }

    pub(super) fn verify(&self) -> Verdict {
        verify_auction(&self.public()).unwrap()
    }

    pub(super) fn hash_by(&self, by: u8, rollups: &[u64]) -> B256 {
        let bids = &self.record.outcome.as_ref().unwrap().bids;
        let ids: Vec<_> = rollups.iter().copied().map(RollupId).collect();
        let of = |bid: &&PublishedBid| {
            bid.bid.message.account == operator(by).owner && bid.bid.message.rollup_ids == ids
        };
        bids.iter().find(of).unwrap().hash
    }
}
