//! What can be wrong with an auction that a relay published.

use super::{BidFault, MatchFault};
use crate::{BlsPublicKey, RollupId, Wei, delegation::DelegationError, signing::SigningError};
use alloy_primitives::B256;

/// What is wrong with an auction.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    /// The record is of something else.
    #[error("{what} is {stated}, and should be {expected}")]
    Differs {
        /// What differs.
        what: &'static str,
        /// As the relay has it.
        stated: String,
        /// As it is.
        expected: String,
    },
    /// A bid is listed more than once.
    #[error("bid {0} is listed more than once")]
    Twice(B256),
    /// A bid is listed under another hash than its own.
    #[error("bid {computed} is listed as {stated}")]
    BidHash {
        /// As listed.
        stated: B256,
        /// As it is.
        computed: B256,
    },
    /// A bid's acknowledgement is not the relay's.
    #[error("bid {hash}: acknowledgement: {error}")]
    Acknowledgement {
        /// The bid.
        hash: B256,
        /// What is wrong with the signature.
        error: SigningError,
    },
    /// A bid is listed with the acknowledgement of another.
    #[error("bid {hash} has the acknowledgement of {of}")]
    AcknowledgementOfAnother {
        /// The bid.
        hash: B256,
        /// What the acknowledgement names.
        of: B256,
    },
    /// An acknowledged bid is not listed.
    #[error("bid {hash} was acknowledged at {received_at_ms} ms and is left out")]
    LeftOut {
        /// The bid.
        hash: B256,
        /// When the relay had it, Unix milliseconds.
        received_at_ms: u64,
    },
    /// The auction closed long ago, and its bids are not shown.
    #[error("the auction closed at {close_ms} ms, and of its {bid_count} bids none is shown")]
    Withheld {
        /// When it closed, Unix milliseconds.
        close_ms: u64,
        /// Bids taken, by the relay's own count.
        bid_count: u64,
    },
    /// A bid is counted that must not be.
    #[error("bid {hash} is counted: {fault}")]
    Counted {
        /// The bid.
        hash: B256,
        /// Why it does not count.
        fault: BidFault,
    },
    /// A bid is not counted that must be.
    #[error("bid {hash} is not counted ({stated}), and nothing is wrong with it")]
    NotCounted {
        /// The bid.
        hash: B256,
        /// The relay's reason.
        stated: String,
    },
    /// A match is counted that does not match.
    #[error("match {hash} is counted: {fault}")]
    Match {
        /// The match.
        hash: B256,
        /// Why it does not match.
        fault: MatchFault,
    },
    /// The root is not that of the bids.
    #[error("the auction root is {stated}, and that of the bids is {computed}")]
    Root {
        /// As published.
        stated: B256,
        /// As computed.
        computed: B256,
    },
    /// Others won.
    #[error("{}", winners(stated, *stated_wei, best, *best_wei))]
    Winners {
        /// As published.
        stated: Vec<B256>,
        /// What they bring with the reserves of what they leave unsold, wei; none if they are no disjoint bids that count.
        stated_wei: Option<u128>,
        /// The winners.
        best: Vec<B256>,
        /// What they bring, wei.
        best_wei: u128,
    },
    /// First refusal is over, and no result is published.
    #[error("there is no signed result")]
    NoResult,
    /// The result's signature is not the relay's.
    #[error("the result's signature: {0}")]
    ResultSignature(SigningError),
    /// Two results of the slot are signed.
    #[error("two results are signed: one with allocation {first}, another with allocation {second}")]
    TwoResults {
        /// Allocation hash of the one that is published.
        first: B256,
        /// Allocation hash of the other.
        second: B256,
    },
    /// The winners of the result are not those at close with matches in their places.
    #[error(
        "the result names the winners {}, and after first refusal they are {}",
        list(stated),
        list(computed)
    )]
    ResultWinners {
        /// As signed.
        stated: Vec<B256>,
        /// As computed.
        computed: Vec<B256>,
    },
    /// The result's allocation hash is not that of the allocation.
    #[error("the result is of allocation {stated}, and the allocation that follows is {computed}")]
    AllocationHash {
        /// As signed.
        stated: B256,
        /// As computed.
        computed: B256,
    },
    /// A rollup has no entry.
    #[error("rollup {0} was sold and has no entry in the allocation")]
    EntryMissing(RollupId),
    /// A rollup has an entry though it was not sold.
    #[error("rollup {0} has an entry in the allocation and was not sold")]
    EntryUnsold(RollupId),
    /// A rollup's price is wrong.
    #[error("rollup {rollup} is paid {stated} wei, and its part is {computed} wei")]
    Price {
        /// The rollup.
        rollup: RollupId,
        /// As allocated.
        stated: Wei,
        /// As computed.
        computed: Wei,
    },
    /// An entry is not that of the bid that won.
    #[error("the entry of rollup {rollup} has another {field} than the bid that won")]
    Entry {
        /// The rollup.
        rollup: RollupId,
        /// The field.
        field: &'static str,
    },
    /// The entries are not by ascending rollup.
    #[error("the allocation's entries are not by ascending rollup")]
    EntryOrder,
    /// A delegation carries another allocation than the result.
    #[error("proposer {proposer} delegated by allocation {stated}, and the result is of {result:?}")]
    Misallocated {
        /// Who signed.
        proposer: BlsPublicKey,
        /// Hash of the allocation that the delegation carries.
        stated: B256,
        /// The allocation hash of the result, if there is one.
        result: Option<B256>,
    },
    /// A delegation with an allocation, or its receipt, does not hold.
    #[error("delegation of {proposer}: {error}")]
    Delegation {
        /// Who it says signed.
        proposer: BlsPublicKey,
        /// What is wrong.
        error: DelegationError,
    },
}

fn list(hashes: &[B256]) -> String {
    if hashes.is_empty() {
        return "nobody".to_owned();
    }
    hashes.iter().map(B256::to_string).collect::<Vec<_>>().join(", ")
}

fn winners(stated: &[B256], stated_wei: Option<u128>, best: &[B256], best_wei: u128) -> String {
    let (stated, best) = (list(stated), list(best));
    match stated_wei {
        Some(wei) if wei < best_wei => {
            format!("{stated} won with {wei} wei, and {best} would have brought {best_wei} wei")
        }
        Some(wei) => format!("{stated} won with {wei} wei, and of equal sets the rules prefer {best}"),
        None => format!("{stated} won, and are no disjoint bids that count; {best} bring {best_wei} wei"),
    }
}
