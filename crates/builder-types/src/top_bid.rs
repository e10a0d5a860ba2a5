//! The top-bid stream of relays.

use alloy_primitives::{Address, B256, U256};
use ssz::{Decode as _, Encode as _};
use ssz_derive::{Decode, Encode};

use crate::{BidTrace, BlsPublicKey, CodecError};

/// Bytes of an update in SSZ.
pub const TOP_BID_UPDATE_SSZ_BYTES: usize = 188;

/// One message of a relay's top-bid WebSocket: the bid that leads the auction of a slot on a parent. No specification has
/// it; relays (ultra sound, helix, Titan) send this container in SSZ, in this order of fields.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
pub struct TopBidUpdate {
    /// When the bid came to lead, Unix milliseconds.
    pub timestamp: u64,
    /// The slot.
    pub slot: u64,
    /// Number of the execution block.
    pub block_number: u64,
    /// Hash of the execution block.
    pub block_hash: B256,
    /// Its parent: bids on another parent are another auction.
    pub parent_hash: B256,
    /// Whose bid it is.
    pub builder_pubkey: BlsPublicKey,
    /// Where the proposer wants to be paid.
    pub fee_recipient: Address,
    /// What the proposer gets, wei.
    pub value: U256,
}

impl TopBidUpdate {
    /// The update that tells of a bid.
    pub const fn new(trace: &BidTrace, block_number: u64, timestamp_ms: u64) -> Self {
        Self {
            timestamp: timestamp_ms,
            slot: trace.slot,
            block_number,
            block_hash: trace.block_hash,
            parent_hash: trace.parent_hash,
            builder_pubkey: trace.builder_pubkey,
            fee_recipient: trace.proposer_fee_recipient,
            value: trace.value,
        }
    }

    /// As it is sent.
    pub fn to_ssz(&self) -> Vec<u8> {
        self.as_ssz_bytes()
    }

    /// Reads a message.
    ///
    /// # Errors
    /// If it is not [`TOP_BID_UPDATE_SSZ_BYTES`] long.
    pub fn from_ssz(bytes: &[u8]) -> Result<Self, CodecError> {
        Ok(Self::from_ssz_bytes(bytes)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_where_relays_have_it() {
        let update = TopBidUpdate {
            timestamp: 1,
            slot: 2,
            block_number: 3,
            block_hash: B256::repeat_byte(4),
            parent_hash: B256::repeat_byte(5),
            builder_pubkey: BlsPublicKey::repeat_byte(6),
            fee_recipient: Address::repeat_byte(7),
            value: U256::from(8),
        };
        let expected = [
            &1u64.to_le_bytes()[..],
            &2u64.to_le_bytes(),
            &3u64.to_le_bytes(),
            &[4; 32],
            &[5; 32],
            &[6; 48],
            &[7; 20],
            &U256::from(8).to_le_bytes::<32>(),
        ]
        .concat();
        assert_eq!(expected.len(), TOP_BID_UPDATE_SSZ_BYTES);
        assert_eq!(update.to_ssz(), expected);
        assert_eq!(TopBidUpdate::from_ssz(&expected).unwrap(), update);
        assert!(TopBidUpdate::from_ssz(&expected[1..]).is_err());
    }
}
