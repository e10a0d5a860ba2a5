//! What a proposer checks of a bid before it signs a block around it. Pure.

use alloy_primitives::B256;
use earnest_builder_types::{ForkCodec, ForkName, SignedBuilderBid, bls::BlsError};

/// What is known of the slot.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected {
    /// The fork in force.
    pub(super) fork: ForkName,
    /// The execution block that the slot stands on.
    pub(super) parent_hash: B256,
    /// When the slot starts, Unix seconds.
    pub(super) slot_start: u64,
    /// Domain of the Builder API.
    pub(super) builder_domain: B256,
}

/// Why a bid is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum BidError {
    #[error("the bid is of {0}, the chain in another fork")]
    Fork(ForkName),
    #[error("the bid stands on another block: {0}")]
    Parent(B256),
    #[error("the bid's timestamp {0} is before the slot")]
    Timestamp(u64),
    #[error("the bid's signature: {0}")]
    Signature(#[from] BlsError),
}

/// Checks a bid, the signature last.
pub(super) fn check_bid(bid: &SignedBuilderBid, expected: &Expected) -> Result<(), BidError> {
    let header = bid.header();
    if bid.fork() != expected.fork {
        return Err(BidError::Fork(bid.fork()));
    }
    if header.parent_hash() != expected.parent_hash {
        return Err(BidError::Parent(header.parent_hash()));
    }
    if header.timestamp() < expected.slot_start {
        return Err(BidError::Timestamp(header.timestamp()));
    }
    Ok(bid.verify(expected.builder_domain)?)
}

#[cfg(test)]
mod tests {
    use alloy_primitives::U256;
    use earnest_builder_types::{BuilderBid, ExecutionPayloadHeader, bls::SecretKey, domain::builder_domain};
    use serde_json::json;

    use super::*;

    fn header(fork: ForkName) -> ExecutionPayloadHeader {
        let header = json!({
            "parent_hash": B256::repeat_byte(1), "fee_recipient": alloy_primitives::Address::ZERO,
            "state_root": B256::ZERO, "receipts_root": B256::ZERO,
            "logs_bloom": alloy_primitives::Bloom::ZERO, "prev_randao": B256::ZERO, "block_number": "1",
            "gas_limit": "1", "gas_used": "0", "timestamp": "1000", "extra_data": "0x",
            "base_fee_per_gas": "7", "block_hash": B256::repeat_byte(2), "transactions_root": B256::ZERO,
            "withdrawals_root": B256::ZERO, "blob_gas_used": "0", "excess_blob_gas": "0",
        });
        ExecutionPayloadHeader::from_json(fork, header.to_string().as_bytes()).unwrap()
    }

    fn bid(fork: ForkName) -> SignedBuilderBid {
        let key = SecretKey::from_bytes(&[3; 32]).unwrap();
        let (commitments, requests) = Default::default();
        let bid = BuilderBid::new(header(fork), commitments, requests, U256::ZERO, key.public_key()).unwrap();
        bid.sign(&key, builder_domain([1; 4]))
    }

    #[test]
    fn only_a_bid_that_fits_the_slot_is_taken() {
        let fits = Expected {
            fork: ForkName::Electra,
            parent_hash: B256::repeat_byte(1),
            slot_start: 1000,
            builder_domain: builder_domain([1; 4]),
        };
        let other = B256::repeat_byte(9);
        let table = [
            (fits, Ok(())),
            (Expected { slot_start: 999, ..fits }, Ok(())),
            (Expected { fork: ForkName::Fulu, ..fits }, Err(BidError::Fork(ForkName::Electra))),
            (Expected { parent_hash: other, ..fits }, Err(BidError::Parent(B256::repeat_byte(1)))),
            (Expected { slot_start: 1001, ..fits }, Err(BidError::Timestamp(1000))),
            (Expected { builder_domain: other, ..fits }, Err(BidError::Signature(BlsError::Signature))),
        ];
        for (expected, outcome) in table {
            assert_eq!(check_bid(&bid(ForkName::Electra), &expected), outcome, "{expected:?}");
        }
    }
}
