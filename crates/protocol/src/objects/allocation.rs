//! The market's outcome for one slot, as a delegation's metadata carries it (design §2).

use super::{Object, ObjectError};
use crate::{RollupId, Slot, Wei, integer, sol};
use alloy_primitives::{Address, B256, Bytes};
use alloy_sol_types::{SolType, sol_data::Uint};
use earnest_builder_types::BlsPublicKey;
use serde::{Deserialize, Serialize};

/// Version of the metadata's form.
pub const ALLOCATION_VERSION: u8 = 1;

/// Longest URL of an entry or bid, in bytes.
const MAX_URL_BYTES: usize = 256;

/// Whether an entry or a bid may have this URL: not too long, and ASCII as URLs are, so that no two readers
/// differ on what is text.
pub(crate) const fn is_url(url: &str) -> bool {
    url.len() <= MAX_URL_BYTES && url.is_ascii()
}

/// Who holds one rollup's window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllocationEntry {
    /// The rollup.
    pub rollup_id: RollupId,
    /// The winning bid; zero if the right was not bought.
    pub bid_hash: B256,
    /// The operator's account.
    pub account: Address,
    /// The only address whose orderings count.
    pub committer: Address,
    /// Key that may send constraints for this rollup's batches.
    pub delegate: BlsPublicKey,
    /// What is paid.
    pub price_wei: Wei,
    /// Where the gateway is reached; at most 256 bytes, ASCII.
    pub url: String,
}

impl From<&AllocationEntry> for sol::AllocationEntry {
    fn from(value: &AllocationEntry) -> Self {
        Self {
            rollupId: value.rollup_id.0,
            bidHash: value.bid_hash,
            account: value.account,
            committer: value.committer,
            delegate: value.delegate.into(),
            priceWei: value.price_wei.0,
            url: value.url.clone(),
        }
    }
}

impl TryFrom<sol::AllocationEntry> for AllocationEntry {
    type Error = ObjectError;

    fn try_from(value: sol::AllocationEntry) -> Result<Self, ObjectError> {
        if !is_url(&value.url) {
            return Err(ObjectError::Field("url"));
        }
        Ok(Self {
            rollup_id: RollupId(value.rollupId),
            bid_hash: value.bidHash,
            account: value.account,
            committer: value.committer,
            delegate: value.delegate.as_ref().try_into().map_err(|_| ObjectError::Field("delegate"))?,
            price_wei: Wei(value.priceWei),
            url: value.url,
        })
    }
}

/// The outcome of a slot's market: who holds which rollup, and from when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotAllocation {
    /// The sequencing slot.
    pub slot: Slot,
    /// When the windows start, Unix milliseconds.
    #[serde(with = "integer")]
    pub start_ms: u64,
    /// Merkle root over the sorted bid hashes; zero without an auction.
    pub auction_root: B256,
    /// The holders, one for each rollup at most.
    pub entries: Vec<AllocationEntry>,
}

impl From<&SlotAllocation> for sol::SlotAllocation {
    fn from(value: &SlotAllocation) -> Self {
        Self {
            slot: value.slot.0,
            startMs: value.start_ms,
            auctionRoot: value.auction_root,
            entries: value.entries.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<sol::SlotAllocation> for SlotAllocation {
    type Error = ObjectError;

    fn try_from(value: sol::SlotAllocation) -> Result<Self, ObjectError> {
        let entries =
            value.entries.into_iter().map(TryInto::try_into).collect::<Result<Vec<AllocationEntry>, _>>()?;
        let mut rollups: Vec<_> = entries.iter().map(|entry| entry.rollup_id).collect();
        rollups.sort_unstable();
        rollups.dedup();
        if rollups.len() != entries.len() {
            return Err(ObjectError::Field("rollupId"));
        }
        Ok(Self { slot: Slot(value.slot), start_ms: value.startMs, auction_root: value.auctionRoot, entries })
    }
}

impl Object for SlotAllocation {
    type Sol = sol::SlotAllocation;
}

/// The ABI type of the metadata: `(uint8, SlotAllocation)`.
type Metadata = (Uint<8>, sol::SlotAllocation);

impl SlotAllocation {
    /// `abi.encode(uint8 1, SlotAllocation)`.
    #[must_use]
    pub fn to_metadata(&self) -> Bytes {
        Metadata::abi_encode_params(&(ALLOCATION_VERSION, sol::SlotAllocation::from(self))).into()
    }

    /// Reads what [`Self::to_metadata`] writes.
    ///
    /// # Errors
    /// [`ObjectError`] unless the bytes are canonical, of a known version, with each rollup once.
    pub fn from_metadata(bytes: &[u8]) -> Result<Self, ObjectError> {
        let pair = Metadata::abi_decode_params_validate(bytes)?;
        if Metadata::abi_encode_params(&pair) != bytes {
            return Err(ObjectError::NotCanonical);
        }
        let (version, allocation) = pair;
        if version != ALLOCATION_VERSION {
            return Err(ObjectError::Version(version));
        }
        allocation.try_into()
    }

    /// The entry for `rollup`.
    #[must_use]
    pub fn entry(&self, rollup: RollupId) -> Option<&AllocationEntry> {
        self.entries.iter().find(|entry| entry.rollup_id == rollup)
    }
}
