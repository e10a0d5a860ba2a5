//! The market of one sequencing slot (design §2): which bids count, who wins, what each rollup is paid, and whether what
//! a relay published is what its bids amount to. Pure.
//!
//! 1. [`Sale`]: the rollups that sell the slot at a relay, with their reserves.
//! 2. [`admit`]: whether a bid may take part.
//! 3. [`clear`]: the winners and their prices, exact.
//! 4. [`Clearing::refused`]: the slot's proposer takes the place of winners that it matched.
//! 5. [`Clearing::allocation`] and [`Clearing::result`]: what the proposer and the relay sign.
//! 6. [`verify_auction`]: all of it again, from what is public.

mod admission;
mod clearing;
mod finding;
mod price;
mod record;
mod sale;
mod solve;
mod verify;

pub use admission::{BidFault, BidKind, BidTerms, Operator, admit, admit_signed};
pub use clearing::{Clearing, MatchFault, NamedBid, Won, award, check_match, clear};
pub use finding::Finding;
pub use record::{
    AuctionOutcome, AuctionRecord, AuctionStatus, Exclusion, HeldAck, MarketRollups, PublishedBid,
};
pub use sale::{Lot, Sale};
pub use verify::{Public, Unshown, Verdict, verify_auction};

/// Most rollups that sell one slot at one relay.
pub const MAX_ROLLUPS: usize = 16;

/// Largest amount of a bid, and largest reserve of a rollup that sells, wei: sums of all of them stay exact.
pub const MAX_WEI: u128 = (1 << 118) - 1;

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]
mod tests;
