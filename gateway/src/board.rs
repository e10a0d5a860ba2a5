//! What the sequencer has signed and readers may see: the open windows, and where recent transactions stand.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use alloy_primitives::{Address, B256};
use earnest_protocol::{
    RollupId, Slot,
    merkle::MerkleTree,
    objects::{Authority, OrderingCommitment, SignedCommitment},
    ordering::Draft,
    receipt::PreconfReceipt,
};
use parking_lot::RwLock;

/// Windows of a rollup whose receipts stay at hand: the open one and those before it.
const WINDOWS_KEPT: usize = 16;

/// Holders remembered, the slots ahead: two epochs and more.
const HOLDERS_KEPT: usize = 128;

/// A microblock or seal that is durable and signed.
#[derive(Debug)]
pub(crate) struct Signed {
    /// Its position in the journal, which is its id in the stream.
    pub(crate) position: u64,
    pub(crate) ordering: OrderingCommitment,
    pub(crate) commitment: SignedCommitment,
    /// Hashes of its transactions, in order.
    pub(crate) hashes: Vec<B256>,
    pub(crate) authority: Arc<Authority>,
    tree: MerkleTree,
}

impl Signed {
    pub(crate) fn new(
        position: u64,
        draft: &Draft,
        commitment: SignedCommitment,
        authority: Arc<Authority>,
    ) -> Self {
        Self {
            position,
            ordering: draft.commitment.clone(),
            commitment,
            hashes: draft.txs.iter().map(|tx| tx.hash).collect(),
            authority,
            tree: draft.tree.clone(),
        }
    }

    /// One read back from the journal.
    pub(crate) fn again(
        position: u64,
        ordering: OrderingCommitment,
        commitment: SignedCommitment,
        hashes: Vec<B256>,
        authority: Arc<Authority>,
    ) -> Self {
        let tree = MerkleTree::over(u64::from(ordering.first_index), &hashes);
        Self { position, ordering, commitment, hashes, authority, tree }
    }

    /// The receipt of its `offset`-th transaction.
    pub(crate) fn receipt(&self, offset: usize) -> Option<PreconfReceipt> {
        Some(PreconfReceipt {
            rollup_id: self.ordering.rollup_id,
            slot: self.ordering.slot,
            segment: self.ordering.segment,
            index: self.ordering.first_index.checked_add(u32::try_from(offset).ok()?)?,
            tx_hash: *self.hashes.get(offset)?,
            path: self.tree.path(offset)?,
            commitment: self.commitment.clone(),
            authority: Arc::clone(&self.authority),
        })
    }
}

/// Where a transaction stands.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) signed: Arc<Signed>,
    pub(crate) offset: usize,
}

/// The window a gateway is ordering.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OpenWindow {
    /// L1 slot that it ends with.
    pub(crate) slot: Slot,
    /// Start, Unix milliseconds.
    pub(crate) start_ms: u64,
    /// End, Unix milliseconds.
    pub(crate) seal_ms: u64,
    /// Journal position of its opening.
    pub(crate) position: u64,
}

/// Who holds a rollup's next or present window, where it is not this gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) committer: Address,
    pub(crate) url: String,
    pub(crate) from_ms: u64,
    pub(crate) until_ms: u64,
}

#[derive(Debug, Default)]
struct RollupBoard {
    open: Option<OpenWindow>,
    holders: BTreeMap<Slot, Holder>,
    places: BTreeMap<Slot, HashMap<B256, Place>>,
}

/// Shared by the sequencer, which writes, and the API, which reads.
#[derive(Debug, Default)]
pub(crate) struct Board {
    rollups: BTreeMap<RollupId, RwLock<RollupBoard>>,
}

impl Board {
    pub(crate) fn new(rollups: impl IntoIterator<Item = RollupId>) -> Self {
        Self { rollups: rollups.into_iter().map(|id| (id, RwLock::default())).collect() }
    }

    pub(crate) fn has(&self, rollup: RollupId) -> bool {
        self.rollups.contains_key(&rollup)
    }

    pub(crate) fn rollups(&self) -> impl Iterator<Item = RollupId> {
        self.rollups.keys().copied()
    }

    pub(crate) fn open_window(&self, rollup: RollupId) -> Option<OpenWindow> {
        self.rollups.get(&rollup)?.read().open.clone()
    }

    pub(crate) fn set_open(&self, rollup: RollupId, open: Option<OpenWindow>) {
        if let Some(board) = self.rollups.get(&rollup) {
            board.write().open = open;
        }
    }

    pub(crate) fn drop_holder(&self, rollup: RollupId, slot: Slot) {
        if let Some(board) = self.rollups.get(&rollup) {
            board.write().holders.remove(&slot);
        }
    }

    pub(crate) fn set_holder(&self, rollup: RollupId, slot: Slot, holder: Holder) {
        if let Some(board) = self.rollups.get(&rollup) {
            let mut board = board.write();
            board.holders.insert(slot, holder);
            while board.holders.len() > HOLDERS_KEPT {
                board.holders.pop_first();
            }
        }
    }

    /// The first holder whose window has not ended by `now_ms`; forgets those whose has.
    pub(crate) fn holder(&self, rollup: RollupId, now_ms: u64) -> Option<Holder> {
        let mut board = self.rollups.get(&rollup)?.write();
        board.holders.retain(|_, holder| holder.until_ms > now_ms);
        board.holders.values().next().cloned()
    }

    /// Enters what was signed.
    pub(crate) fn place(&self, signed: &Arc<Signed>) {
        let Some(board) = self.rollups.get(&signed.ordering.rollup_id) else { return };
        let mut board = board.write();
        let window = board.places.entry(signed.ordering.slot).or_default();
        for (offset, hash) in signed.hashes.iter().enumerate() {
            window.insert(*hash, Place { signed: Arc::clone(signed), offset });
        }
        while board.places.len() > WINDOWS_KEPT {
            board.places.pop_first();
        }
    }

    /// Where a transaction of a recent window stands.
    pub(crate) fn find(&self, rollup: RollupId, hash: &B256) -> Option<Place> {
        let board = self.rollups.get(&rollup)?.read();
        board.places.values().rev().find_map(|window| window.get(hash)).cloned()
    }

    /// Where a transaction stands in this window or the last (design §4: asked for again, it gets its first
    /// receipt).
    pub(crate) fn find_recent(&self, rollup: RollupId, hash: &B256) -> Option<Place> {
        let board = self.rollups.get(&rollup)?.read();
        board.places.values().rev().take(2).find_map(|window| window.get(hash)).cloned()
    }
}
