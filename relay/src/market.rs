//! The ordering market of this relay (design §2): bids are taken and sealed, auctions close and are decided by the clock, and
//! one result of each slot is signed.
//!
//! A slot's auction is open, then closed ([`AuctionClosed`]: bids public, winners known, first refusal), then final
//! ([`AuctionDecided`]: its result may be signed). Each step is in the journal before anything is said on its strength,
//! with a claim, so that no second one can be: after a crash the same bids give the same winners, and the same result
//! the same signature.
//!
//! [`AuctionClosed`]: crate::events::AuctionClosed
//! [`AuctionDecided`]: crate::events::AuctionDecided

mod auctions;
mod config;
mod news;
mod refusal;
mod schedule;
mod taking;
mod task;
mod view;

pub(crate) use auctions::{record, result_of};
pub use config::{ListedEscrow, ListedOperator, MarketConfig};
pub(crate) use news::{MarketNews, event_frame};
pub(crate) use refusal::MarketRefusal;
pub(crate) use schedule::sequencing_slots;
pub(crate) use taking::{take_bid, take_match};
pub(crate) use task::{lookahead, run};
pub(crate) use view::{HeldBid, MarketView};

use crate::relay::Relay;
use alloy_primitives::Address;
use earnest_protocol::{
    Slot,
    auction::Sale,
    objects::{MarketDomain, RollupRegistration},
};

impl Relay {
    /// What bids are signed for.
    pub(crate) const fn market_domain(&self) -> MarketDomain {
        MarketDomain { chain_id: self.config.network.chain_id, market: self.config.market.contract }
    }

    /// Whether this relay holds auctions.
    pub(crate) fn has_market(&self) -> bool {
        self.config.market.contract != Address::ZERO
    }

    /// The registrations in force at a slot that name this relay, by ascending id.
    pub(crate) fn rollups(&self, slot: Slot) -> Vec<RollupRegistration> {
        let mut rollups = self.l1.rollups(slot);
        rollups.retain(|registration| registration.relay == self.ecdsa.address());
        rollups.sort_by_key(|registration| registration.rollup_id);
        rollups
    }

    /// What is for sale of these.
    pub(crate) fn sale(&self, rollups: &[RollupRegistration]) -> Sale {
        Sale::of(rollups, self.ecdsa.address())
    }
}
