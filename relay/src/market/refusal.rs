//! Why a bid, a match or a question is refused. Each has its code.

use earnest_http::ApiError;
use earnest_protocol::{
    Slot,
    auction::{BidFault, MatchFault},
};
use http::StatusCode;

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MarketRefusal {
    #[error("this relay holds no auctions")]
    NoMarket,
    #[error("this relay does not know the proposers yet: try again")]
    NotReady,
    #[error("slot {0} is not known: auctions are held from the start of the epoch before the slot's")]
    UnknownSlot(Slot),
    #[error("slot {0} is no sequencing slot with a window")]
    NotSequencing(Slot),
    #[error("nothing is for sale in slot {0} at this relay")]
    NothingForSale(Slot),
    #[error("the bids of slot {0} are no longer kept in memory; they are in the relay's journal")]
    NotKept(Slot),
    #[error("the auction closed at {0} ms")]
    Closed(u64),
    #[error("the auction is open until {0} ms: a match names a winner")]
    Open(u64),
    #[error("first refusal was until {0} ms")]
    RefusalOver(u64),
    #[error(transparent)]
    Bid(#[from] BidFault),
    #[error(transparent)]
    Match(#[from] MatchFault),
    #[error("another bid of the account for this slot has nonce {0}")]
    NonceUsed(u64),
    #[error("the winner is matched already")]
    Matched,
    #[error("an account has {0} bids for one slot at most, and fewer as places run out")]
    TooManyOfAccount(usize),
    #[error("{0} bids are taken for one slot at most")]
    Full(usize),
}

impl MarketRefusal {
    /// The code of the answer.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::NoMarket => "no_market",
            Self::NotReady => "not_ready",
            Self::UnknownSlot(_) => "unknown_slot",
            Self::NotSequencing(_) => "not_sequencing",
            Self::NothingForSale(_) => "nothing_for_sale",
            Self::NotKept(_) => "auction_not_kept",
            Self::Closed(_) => "auction_closed",
            Self::Open(_) => "auction_open",
            Self::RefusalOver(_) => "first_refusal_over",
            Self::Bid(fault) => fault.code(),
            Self::Match(fault) => fault.code(),
            Self::NonceUsed(_) => "nonce_used",
            Self::Matched => "already_matched",
            Self::TooManyOfAccount(_) => "too_many_bids",
            Self::Full(_) => "auction_full",
        }
    }
}

impl From<MarketRefusal> for ApiError {
    fn from(refusal: MarketRefusal) -> Self {
        let status = match refusal {
            MarketRefusal::NoMarket | MarketRefusal::NotKept(_) => StatusCode::NOT_FOUND,
            MarketRefusal::NotReady | MarketRefusal::Full(_) => StatusCode::SERVICE_UNAVAILABLE,
            MarketRefusal::NonceUsed(_) | MarketRefusal::Matched => StatusCode::CONFLICT,
            _ => StatusCode::BAD_REQUEST,
        };
        let error = Self::named(status, refusal.code(), refusal.to_string());
        if refusal == MarketRefusal::NotReady { error.retry_after(1) } else { error }
    }
}
