//! What a relay publishes of its market: bodies of `/ordering/v1/market` and `/ordering/v1/rollups`.

use super::{BidFault, Operator};
use crate::{
    Slot, integer,
    objects::{RollupRegistration, SignedAuctionResult, SignedBid, SignedBidAck, SlotAllocation},
    signing::Network,
    window::Window,
};
use alloy_primitives::{Address, B256};
use earnest_builder_types::BlsPublicKey;
use serde::{Deserialize, Serialize};

/// `GET /ordering/v1/rollups`: what sells at this relay, and where bids are meant for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarketRollups {
    /// The slot at which these registrations are in force.
    pub slot: Slot,
    /// The relay's address.
    pub relay: Address,
    /// The L1 network.
    pub network: Network,
    /// The OrderingMarket, the verifying contract of bids.
    pub market: Address,
    /// The rollups that name this relay, the inactive among them, by ascending id.
    pub rollups: Vec<RollupRegistration>,
}

/// How far an auction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuctionStatus {
    /// Bids are taken, and sealed.
    Open,
    /// Bids are public; the slot's proposer may match winners.
    Closed,
    /// The result is signed.
    Final,
    /// There is no result, and there will be none: the slot has no window any more, or its start is past.
    Lapsed,
}

/// `GET /ordering/v1/market/auctions/{slot}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuctionRecord {
    /// The sequencing slot.
    pub slot: Slot,
    /// The relay's address.
    pub relay: Address,
    /// The L1 network.
    pub network: Network,
    /// The OrderingMarket.
    pub market: Address,
    /// The slot's proposer.
    pub proposer: BlsPublicKey,
    /// The sequencing slot before it, if it bears on the window.
    pub previous: Option<Slot>,
    /// The slot's times.
    pub window: Window,
    /// How far it is.
    pub status: AuctionStatus,
    /// Bids taken.
    #[serde(with = "integer")]
    pub bid_count: u64,
    /// All of it; none before close.
    pub outcome: Option<AuctionOutcome>,
}

/// What was bid, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuctionOutcome {
    /// The rollups' registrations by which the auction was judged: those of the slot that name the relay.
    pub rollups: Vec<RollupRegistration>,
    /// The operators of all bids, as the relay read them from the Registry at the reference block.
    pub operators: Vec<Operator>,
    /// The operator of the slot's proposer, who has the first refusal.
    pub proposer_operator: Option<Operator>,
    /// Every bid that was taken, by ascending hash.
    pub bids: Vec<PublishedBid>,
    /// Root over their hashes.
    pub auction_root: B256,
    /// The winners at close, ascending.
    pub winners: Vec<B256>,
    /// Bids of the slot's proposer that match winners, in the order they came.
    pub matches: Vec<PublishedBid>,
    /// What the slot's delegation may carry; none before first refusal is over.
    pub allocation: Option<SlotAllocation>,
    /// The relay's word on it; none before first refusal is over.
    pub result: Option<SignedAuctionResult>,
}

/// A bid that was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedBid {
    /// Its hash.
    pub hash: B256,
    /// The bid.
    pub bid: SignedBid,
    /// The relay's word that it had it.
    pub ack: SignedBidAck,
    /// Why it did not count, if it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub excluded: Option<Exclusion>,
}

/// Why a bid that was taken did not count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exclusion {
    /// [`BidFault::code`].
    pub code: String,
    /// The same in words.
    pub message: String,
}

impl From<&BidFault> for Exclusion {
    fn from(fault: &BidFault) -> Self {
        Self { code: fault.code().to_owned(), message: fault.to_string() }
    }
}

/// What a bidder keeps: its bid and the relay's acknowledgement, which shows a bid left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldAck {
    /// The bid.
    pub bid: SignedBid,
    /// The acknowledgement.
    pub ack: SignedBidAck,
}
