//! Settlement of a won bid (design §2, §9): what `OrderingMarket.settle` charges and credits, or why it refuses.
//!
//! The contract judges in the same order, and gives the same name to what it refuses.

use crate::{
    BlsPublicKey, RollupId, Slot, Wei,
    delegation::{DelegationError, TrustRoots, valid_allocation},
    objects::{
        AllocationEntry, Authority, CommitmentKind, Delegation, DelegationReceipt, MarketDomain, ObjectError,
        SignedBid, SignedDelegation, SignedDelegationReceipt, SlotAllocation, pubkey_from_sol,
        signature_from_sol,
    },
    signing::{Network, ecdsa},
    sol,
};
use alloy_primitives::{Address, B256, U256};
use alloy_sol_types::SolStruct;
use std::collections::{BTreeMap, BTreeSet};

/// Most batches of a window that are looked at to tell whether it was in time.
pub const MAX_SEGMENTS: u16 = 64;
/// An auction closes no earlier than this before its windows start, in slots (design §2).
const CLOSE_AHEAD_SLOTS: u128 = 4;
const WHOLE_BPS: u16 = 10_000;

/// What an OrderingMarket has from its deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Market {
    /// Its address.
    pub address: Address,
    /// The L1 network.
    pub network: Network,
    /// When slot 0 starts, Unix milliseconds.
    pub genesis_ms: u64,
    /// Length of a slot, milliseconds.
    pub slot_ms: u64,
    /// How long after its slot a bid can be settled, seconds.
    pub horizon_seconds: u32,
}

/// A rollup's terms at the slot: what settlement reads of the RollupRegistry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Least price of a window.
    pub reserve_wei: Wei,
    /// Who is paid.
    pub revenue_recipient: Address,
    /// The market relay whose signatures count.
    pub relay: Address,
    /// Share of the price that the slot's proposer gets, in 1/10,000.
    pub inclusion_share_bps: u16,
    /// Whether the rollup sells its windows.
    pub active: bool,
}

/// The place of an Inbox record of the bid's slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BatchPlace {
    /// The rollup.
    pub rollup_id: RollupId,
    /// The segment of its window.
    pub segment: u16,
    /// Whose seal it is.
    pub committer: Address,
}

/// An Inbox record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batch {
    /// Timestamp of its L1 block, seconds.
    pub time: u64,
    /// What it ends.
    pub kind: CommitmentKind,
}

/// What settlement reads of the chain, at the bid's slot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChainState {
    /// Timestamp of the present block, seconds.
    pub now: u64,
    /// What the bid's account has deposited for the bid's relay.
    pub escrow_wei: U256,
    /// Terms in force at the slot.
    pub terms: BTreeMap<RollupId, Terms>,
    /// Batches recorded for the slot.
    pub batches: BTreeMap<BatchPlace, Batch>,
    /// Rollups whose right over the slot is paid already.
    pub settled: BTreeSet<RollupId>,
}

/// What one rollup's right brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Right {
    /// The rollup.
    pub rollup_id: RollupId,
    /// Who is credited the revenue.
    pub revenue_recipient: Address,
    /// The price less the proposer's share.
    pub revenue_wei: U256,
    /// What the slot's proposer is credited.
    pub proposer_wei: U256,
    /// Whether all of the window's batches were on L1 by the slot.
    pub in_time: bool,
}

/// What a settlement does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The bid.
    pub bid_hash: B256,
    /// What its account's deposit is charged: the sum of all that the rights bring.
    pub charged_wei: U256,
    /// The key whose operator's owner can claim the proposer's shares.
    pub proposer: BlsPublicKey,
    /// The rights, in the order of the allocation.
    pub rights: Vec<Right>,
}

/// Why a settlement is refused: the errors of `IOrderingMarket`, by their names and arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SettlementError {
    /// The slot has not begun: whether its windows were in time is not known.
    #[error("not before {0}")]
    TooEarly(u128),
    /// The horizon has passed.
    #[error("not after {0}")]
    TooLate(u128),
    /// The rollup's right over the slot is paid.
    #[error("rollup {0} is settled")]
    AlreadySettled(RollupId),
    /// Not the account's signature over the bid.
    #[error("bid's signature")]
    BadBidSignature,
    /// Not a valid delegation (design §2).
    #[error("delegation: {0}")]
    InvalidDelegation(&'static str),
    /// The bid had lapsed when the auction closed.
    #[error("bid expired")]
    BidExpired,
    /// The entries that name the bid are not the bid's.
    #[error("allocation: {0}")]
    NotAllocated(&'static str),
    /// The deposit does not cover the bid.
    #[error("escrow of {0} wei")]
    EscrowTooLow(U256),
    /// The rollup's terms do not allow it.
    #[error("rollup {0}: {1}")]
    NotForSale(RollupId, &'static str),
}

impl SettlementError {
    /// The error's name in Solidity.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::TooEarly(_) => "TooEarly",
            Self::TooLate(_) => "TooLate",
            Self::AlreadySettled(_) => "AlreadySettled",
            Self::BadBidSignature => "BadBidSignature",
            Self::InvalidDelegation(_) => "InvalidDelegation",
            Self::BidExpired => "BidExpired",
            Self::NotAllocated(_) => "NotAllocated",
            Self::EscrowTooLow(_) => "EscrowTooLow",
            Self::NotForSale(..) => "NotForSale",
        }
    }
}

impl From<DelegationError> for SettlementError {
    fn from(error: DelegationError) -> Self {
        Self::InvalidDelegation(match error {
            DelegationError::WrongSlot(_) => "delegation's slot",
            DelegationError::NoAllocation(_) => "metadata",
            DelegationError::AllocationSlot(_) => "allocation's slot",
            DelegationError::NoEntry(_) => "entry",
            DelegationError::WrongProposer => "proposer",
            DelegationError::ProposerSignature(_) => PROPOSER_SIGNATURE,
            DelegationError::ReceiptSlot(_) => "receipt's slot",
            DelegationError::ReceiptHash => "receipt's hash",
            DelegationError::TooLate { .. } => "received late",
            DelegationError::RelaySignature(_) => RELAY_SIGNATURE,
        })
    }
}

const PROPOSER_SIGNATURE: &str = "proposer's signature";
const RELAY_SIGNATURE: &str = "relay's signature";

impl Market {
    /// The domain of the bids that are meant for it.
    #[must_use]
    pub const fn domain(&self) -> MarketDomain {
        MarketDomain { chain_id: self.network.chain_id, market: self.address }
    }

    /// The call that settles `bid`.
    ///
    /// # Errors
    /// [`ObjectError::Point`] if a key or signature of the delegation is not a valid point.
    pub fn call(bid: &SignedBid, authority: &Authority) -> Result<sol::settleCall, ObjectError> {
        let (delegation, receipt) = authority.to_sol()?;
        let bid_signature = bid.signature.into();
        Ok(sol::settleCall { bid: (&bid.message).into(), bidSignature: bid_signature, delegation, receipt })
    }

    /// What `settle` would do on `chain` with these arguments.
    ///
    /// # Errors
    /// The [`SettlementError`] that it would revert with. Of several faults of one delegation the contract may name
    /// another, all of them [`SettlementError::InvalidDelegation`].
    pub fn settle(&self, call: &sol::settleCall, chain: &ChainState) -> Result<Outcome, SettlementError> {
        let bid = &call.bid;
        let slot_ms = self.in_time_to_settle(Slot(bid.slot), chain.now)?;
        let settled = bid.rollupIds.iter().map(|id| RollupId(*id)).find(|id| chain.settled.contains(id));
        if let Some(id) = settled {
            return Err(SettlementError::AlreadySettled(id));
        }
        let bid_hash = bid.eip712_signing_hash(&self.domain().eip712());
        let signature = call.bidSignature.as_ref().try_into();
        let signer = signature.ok().and_then(|signature| ecdsa::recover(bid_hash, &signature).ok());
        if signer != Some(bid.account) {
            return Err(SettlementError::BadBidSignature);
        }

        let (proposer, allocation) = self.valid_allocation(call)?;
        let start_ms = u128::from(allocation.start_ms);
        if start_ms >= slot_ms {
            return Err(SettlementError::InvalidDelegation("start"));
        }
        let lapses_ms = u128::from(bid.expiry).saturating_mul(1_000);
        let close_ahead_ms = u128::from(self.slot_ms).saturating_mul(CLOSE_AHEAD_SLOTS);
        if lapses_ms.saturating_add(close_ahead_ms) < start_ms {
            return Err(SettlementError::BidExpired);
        }
        let entries = entries_of(bid, bid_hash, &allocation)?;
        if bid.amountWei > chain.escrow_wei {
            return Err(SettlementError::EscrowTooLow(chain.escrow_wei));
        }
        let rights = entries
            .into_iter()
            .map(|entry| right(entry, bid.relay, slot_ms, chain))
            .collect::<Result<_, _>>()?;
        Ok(Outcome { bid_hash, charged_wei: bid.amountWei, proposer, rights })
    }

    /// When `slot` starts, Unix milliseconds, if its bids can be settled at `now` seconds.
    fn in_time_to_settle(&self, slot: Slot, now: u64) -> Result<u128, SettlementError> {
        let slot_ms = u128::from(self.slot_ms)
            .saturating_mul(u128::from(slot.0))
            .saturating_add(u128::from(self.genesis_ms));
        let now_ms = u128::from(now).saturating_mul(1_000);
        if now_ms <= slot_ms {
            return Err(SettlementError::TooEarly((slot_ms / 1_000).saturating_add(1)));
        }
        let until_ms = slot_ms.saturating_add(u128::from(self.horizon_seconds).saturating_mul(1_000));
        if now_ms > until_ms {
            return Err(SettlementError::TooLate(until_ms / 1_000));
        }
        Ok(slot_ms)
    }

    fn valid_allocation(
        &self,
        call: &sol::settleCall,
    ) -> Result<(BlsPublicKey, SlotAllocation), SettlementError> {
        let invalid = SettlementError::InvalidDelegation;
        let sol::SignedDelegation { delegation, nonce, signingId, signature } = &call.delegation;
        let message = Delegation {
            delegate: pubkey_from_sol(&delegation.delegate).map_err(|_| invalid("delegate"))?,
            proposer: pubkey_from_sol(&delegation.proposer).map_err(|_| invalid(PROPOSER_SIGNATURE))?,
            committer: delegation.committer,
            slot: Slot(delegation.slot),
            metadata: delegation.metadata.clone(),
        };
        let proposer = message.proposer;
        let delegation = SignedDelegation {
            message,
            nonce: *nonce,
            signing_id: *signingId,
            signature: signature_from_sol(signature).map_err(|_| invalid(PROPOSER_SIGNATURE))?,
        };
        let sol::SignedDelegationReceipt { receipt, nonce, signingId, signature } = &call.receipt;
        let receipt = SignedDelegationReceipt {
            message: DelegationReceipt {
                slot: Slot(receipt.slot),
                delegation_hash: receipt.delegationHash,
                received_at_ms: receipt.receivedAtMs,
            },
            nonce: *nonce,
            signing_id: *signingId,
            signature: signature.as_ref().try_into().map_err(|_| invalid(RELAY_SIGNATURE))?,
        };
        let roots =
            TrustRoots { network: self.network, relay: call.bid.relay, proposer: None, slasher: None };
        let allocation = valid_allocation(&Authority { delegation, receipt }, Slot(call.bid.slot), &roots)?;
        Ok((proposer, allocation))
    }
}

/// The entries that name the bid: all that it bid on, as it bid, for what it bid.
fn entries_of<'a>(
    bid: &sol::OrderingBid,
    bid_hash: B256,
    allocation: &'a SlotAllocation,
) -> Result<Vec<&'a AllocationEntry>, SettlementError> {
    let refused = |field| Err(SettlementError::NotAllocated(field));
    if !bid.rollupIds.is_sorted_by(|a, b| a < b) {
        return refused("rollupIds");
    }
    let mut unpriced = bid.amountWei;
    let mut entries = Vec::new();
    for entry in allocation.entries.iter().filter(|entry| entry.bid_hash == bid_hash) {
        if !bid.rollupIds.contains(&entry.rollup_id.0) {
            return refused("rollupIds");
        }
        if entry.account != bid.account {
            return refused("account");
        }
        if entry.committer != bid.committer {
            return refused("committer");
        }
        if entry.delegate.as_slice() != bid.delegate.as_ref() {
            return refused("delegate");
        }
        if entry.url != bid.url {
            return refused("url");
        }
        let Some(rest) = unpriced.checked_sub(entry.price_wei.0) else { return refused("amountWei") };
        unpriced = rest;
        entries.push(entry);
    }
    // No rollup has two entries.
    if entries.is_empty() || entries.len() != bid.rollupIds.len() {
        return refused("rollupIds");
    }
    if unpriced.is_zero() { Ok(entries) } else { refused("amountWei") }
}

fn right(
    entry: &AllocationEntry,
    relay: Address,
    slot_ms: u128,
    chain: &ChainState,
) -> Result<Right, SettlementError> {
    let rollup_id = entry.rollup_id;
    let refused = |field| Err(SettlementError::NotForSale(rollup_id, field));
    let Some(terms) = chain.terms.get(&rollup_id).filter(|terms| terms.active) else {
        return refused("active");
    };
    if terms.relay != relay {
        return refused("relay");
    }
    let price_wei = entry.price_wei.0;
    if price_wei < terms.reserve_wei.0 {
        return refused("reserveWei");
    }
    let in_time = is_in_time(rollup_id, entry.committer, slot_ms, chain);
    let proposer_wei =
        if in_time { proposer_share(price_wei, terms.inclusion_share_bps) } else { U256::ZERO };
    Ok(Right {
        rollup_id,
        revenue_recipient: terms.revenue_recipient,
        revenue_wei: price_wei.saturating_sub(proposer_wei),
        proposer_wei,
        in_time,
    })
}

/// `⌊price · bps / 10,000⌋`, and never more than the price.
#[must_use]
pub fn proposer_share(price_wei: U256, bps: u16) -> U256 {
    let (whole, bps) = (U256::from(WHOLE_BPS), U256::from(bps.min(WHOLE_BPS)));
    let (quotient, rest) = price_wei.div_rem(whole);
    quotient.saturating_mul(bps).saturating_add(rest.saturating_mul(bps).div_rem(whole).0)
}

/// Whether all of the window's batches, up to the seal of its last segment, were on L1 by the slot.
fn is_in_time(rollup_id: RollupId, committer: Address, slot_ms: u128, chain: &ChainState) -> bool {
    for segment in 0..MAX_SEGMENTS {
        let place = BatchPlace { rollup_id, segment, committer };
        match chain.batches.get(&place) {
            Some(batch) if u128::from(batch.time).saturating_mul(1_000) <= slot_ms => {
                if batch.kind == CommitmentKind::WindowSeal {
                    return true;
                }
            }
            _ => return false,
        }
    }
    false
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests;
