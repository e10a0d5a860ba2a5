//! Which bids may take part.

use super::{MAX_WEI, Sale};
use crate::{
    RollupId, Slot,
    objects::{MarketDomain, ObjectError, OrderingBid, SignedBid, pubkey_to_sol},
    signing::SigningError,
    window::Window,
};
use alloy_primitives::{Address, B256};
use serde::{Deserialize, Serialize};

/// An operator that is opted in by the registry state that counts for a slot
/// ([`Timing::reference_slot`](crate::window::Timing::reference_slot)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operator {
    /// Its registration.
    pub registration_root: B256,
    /// Its owner, who bids and pays.
    pub owner: Address,
    /// The committer that its opt-in names.
    pub committer: Address,
}

/// When a bid is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BidKind {
    /// Before close.
    Sealed,
    /// After close, by the slot's proposer, in the place of a winner.
    FirstRefusal,
}

/// What a bid is judged by.
#[derive(Debug, Clone, Copy)]
pub struct BidTerms<'a> {
    /// The times of the sequencing slot.
    pub window: &'a Window,
    /// When the relay had it, Unix milliseconds.
    pub received_at_ms: u64,
    /// The market relay.
    pub relay: Address,
    /// What is for sale.
    pub sale: &'a Sale,
    /// The operator of the registration that the bid names, if one is opted in under it.
    pub operator: Option<&'a Operator>,
    /// Whether it is a bid or a match.
    pub kind: BidKind,
}

/// Why a bid does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BidFault {
    /// Its form is bad: see [`OrderingBid::check`].
    #[error("bad form: {0}")]
    Form(ObjectError),
    /// For another slot.
    #[error("for slot {0}")]
    WrongSlot(Slot),
    /// Not before close; or, of a match, not between close and the end of first refusal.
    #[error("received at {received_at_ms} ms, and taken until {until_ms} ms")]
    OutOfTime {
        /// When the relay had it, Unix milliseconds.
        received_at_ms: u64,
        /// Until when such bids are taken, Unix milliseconds.
        until_ms: u64,
    },
    /// For another relay.
    #[error("for relay {0}")]
    WrongRelay(Address),
    /// A rollup does not sell this slot at this relay.
    #[error("rollup {0} does not sell this slot here")]
    NotForSale(RollupId),
    /// More than any account holds, and than sums can be exact with.
    #[error("an amount above {MAX_WEI} wei")]
    TooMuch,
    /// It cannot win: the rollups' reserves are higher.
    #[error("below the reserves of its rollups, {0} wei together")]
    BelowReserve(u128),
    /// It lapses before the auction closes.
    #[error("it expires at {expiry} s, before the auction closes at {close_ms} ms")]
    Expires {
        /// When it lapses, Unix seconds.
        expiry: u64,
        /// When the auction closes, Unix milliseconds.
        close_ms: u64,
    },
    /// It names a bid that it matches, or names none where it must.
    #[error("`matches` must be zero in a bid, and name a winner in a match")]
    Matches,
    /// No operator is opted in under the registration that it names.
    #[error("no operator is opted in under registration {0}")]
    UnknownOperator(B256),
    /// Its account is not the operator's owner.
    #[error("the operator's owner is {0}")]
    NotOwner(Address),
    /// Its committer is not the one that the operator's opt-in names.
    #[error("the operator's committer is {0}")]
    WrongCommitter(Address),
    /// Its delegate is no BLS key.
    #[error("the delegate is no BLS public key")]
    BadDelegate,
    /// Its account did not sign.
    #[error("signature: {0}")]
    Signature(SigningError),
    /// The account's escrow does not cover all its live and unsettled bids together.
    #[error("the escrow does not cover all live and unsettled bids of its account")]
    Escrow,
}

impl BidFault {
    /// Its name, for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Form(_) => "bad_bid",
            Self::WrongSlot(_) => "wrong_slot",
            Self::OutOfTime { .. } => "out_of_time",
            Self::WrongRelay(_) => "wrong_relay",
            Self::NotForSale(_) => "not_for_sale",
            Self::TooMuch => "amount_too_large",
            Self::BelowReserve(_) => "below_reserve",
            Self::Expires { .. } => "expires_early",
            Self::Matches => "bad_matches",
            Self::UnknownOperator(_) => "unknown_operator",
            Self::NotOwner(_) => "not_owner",
            Self::WrongCommitter(_) => "wrong_committer",
            Self::BadDelegate => "bad_delegate",
            Self::Signature(_) => "bad_signature",
            Self::Escrow => "escrow_too_low",
        }
    }
}

/// Judges all of a bid but its signature and its account's escrow.
///
/// # Errors
/// The first [`BidFault`] found.
pub fn admit(bid: &OrderingBid, terms: &BidTerms<'_>) -> Result<(), BidFault> {
    bid.check().map_err(BidFault::Form)?;
    let (window, received_at_ms) = (terms.window, terms.received_at_ms);
    if bid.slot != window.slot {
        return Err(BidFault::WrongSlot(bid.slot));
    }
    let (from_ms, until_ms) = match terms.kind {
        BidKind::Sealed => (0, window.close_ms),
        BidKind::FirstRefusal => (window.close_ms, window.first_refusal_ms),
    };
    if !(from_ms..until_ms).contains(&received_at_ms) {
        return Err(BidFault::OutOfTime { received_at_ms, until_ms });
    }
    if bid.relay != terms.relay {
        return Err(BidFault::WrongRelay(bid.relay));
    }
    if (bid.matches == B256::ZERO) != (terms.kind == BidKind::Sealed) {
        return Err(BidFault::Matches);
    }
    if let Some(id) = bid.rollup_ids.iter().find(|id| terms.sale.lot(**id).is_none()) {
        return Err(BidFault::NotForSale(*id));
    }
    let wei = u128::try_from(bid.amount_wei.0).ok().filter(|wei| *wei <= MAX_WEI).ok_or(BidFault::TooMuch)?;
    let reserve = terms.sale.reserve_of(&bid.rollup_ids).unwrap_or_default();
    if wei < reserve {
        return Err(BidFault::BelowReserve(reserve));
    }
    if bid.expiry.saturating_mul(1000) < window.close_ms {
        return Err(BidFault::Expires { expiry: bid.expiry, close_ms: window.close_ms });
    }
    let unknown = BidFault::UnknownOperator(bid.registration_root);
    let operator =
        terms.operator.filter(|one| one.registration_root == bid.registration_root).ok_or(unknown)?;
    if operator.owner != bid.account {
        return Err(BidFault::NotOwner(operator.owner));
    }
    if operator.committer != bid.committer {
        return Err(BidFault::WrongCommitter(operator.committer));
    }
    pubkey_to_sol(&bid.delegate).map(drop).map_err(|_| BidFault::BadDelegate)
}

/// [`admit`], and the account's signature, which costs most.
///
/// # Errors
/// The first [`BidFault`] found.
pub fn admit_signed(bid: &SignedBid, terms: &BidTerms<'_>, domain: &MarketDomain) -> Result<(), BidFault> {
    admit(&bid.message, terms)?;
    bid.verify(domain).map_err(BidFault::Signature)
}
