//! All that a gateway ever promised to anybody, and whether it ever said two things.

use std::collections::{BTreeMap, HashMap};

use alloy_primitives::{B256, Bytes};
use earnest_protocol::{
    RollupId, Slot,
    delegation::TrustRoots,
    objects::{OrderingCommitment, SignedCommitment},
    receipt::PreconfReceipt,
};

/// Names a commitment: rollup, slot, segment, number.
pub type Position = (RollupId, Slot, u16, u32);
/// Names a place: rollup, slot, segment, index.
pub type Place = (RollupId, Slot, u16, u32);

/// The promises of one gateway. Every method panics at the first that contradicts another.
#[derive(Debug)]
pub struct Ledger {
    trust: TrustRoots,
    receipts: HashMap<B256, (PreconfReceipt, Bytes)>,
    commitments: BTreeMap<Position, SignedCommitment>,
    places: BTreeMap<Place, B256>,
}

impl Ledger {
    /// An empty ledger.
    #[must_use]
    pub fn new(trust: TrustRoots) -> Self {
        Self { trust, receipts: HashMap::new(), commitments: BTreeMap::new(), places: BTreeMap::new() }
    }

    /// Takes in a receipt: it must verify offline, and be the same as every one given for its transaction before.
    /// True if there was one before.
    ///
    /// # Panics
    /// If it does not verify, differs from one before, or gives away a place that is taken.
    pub fn receipt(&mut self, receipt: PreconfReceipt, raw: &Bytes) -> bool {
        let hash = alloy_primitives::keccak256(raw);
        assert_eq!(receipt.tx_hash, hash, "a receipt of another transaction");
        receipt.verify(&self.trust).unwrap_or_else(|error| panic!("a receipt does not verify: {error}"));
        self.commitment(&receipt.commitment);
        let place = (receipt.rollup_id, receipt.slot, receipt.segment, receipt.index);
        let holder = *self.places.entry(place).or_insert(hash);
        assert_eq!(holder, hash, "place {place:?} was given twice");
        if let Some((before, _)) = self.receipts.get(&hash) {
            assert_eq!(*before, receipt, "transaction {hash} has two receipts");
            return true;
        }
        self.receipts.insert(hash, (receipt, raw.clone()));
        false
    }

    /// Takes in a commitment: for its position there is no other, and its signature is the same bytes.
    ///
    /// # Panics
    /// If there is another.
    pub fn commitment(&mut self, commitment: &SignedCommitment) -> OrderingCommitment {
        let ordering = commitment.commitment.ordering().expect("an ordering");
        let position = (ordering.rollup_id, ordering.slot, ordering.segment, ordering.number);
        let first = self.commitments.entry(position).or_insert_with(|| commitment.clone());
        assert_eq!(*first, *commitment, "two commitments for {position:?}");
        ordering
    }

    /// Receipts with their transactions.
    pub fn receipts(&self) -> impl Iterator<Item = &(PreconfReceipt, Bytes)> {
        self.receipts.values()
    }

    /// How many receipts there are.
    #[must_use]
    pub fn receipt_count(&self) -> usize {
        self.receipts.len()
    }

    /// Where there are commitments.
    pub fn positions(&self) -> impl Iterator<Item = &Position> {
        self.commitments.keys()
    }

    /// How many commitments there are.
    #[must_use]
    pub fn commitment_count(&self) -> usize {
        self.commitments.len()
    }

    /// The seals that were seen, by rollup, slot and segment.
    #[must_use]
    pub fn seals(&self) -> BTreeMap<(RollupId, Slot, u16), OrderingCommitment> {
        let orderings = self.commitments.values().map(|signed| signed.commitment.ordering().unwrap());
        let seals = orderings.filter(|ordering| ordering.kind.is_seal());
        seals.map(|seal| ((seal.rollup_id, seal.slot, seal.segment), seal)).collect()
    }
}
