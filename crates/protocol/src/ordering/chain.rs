//! The durable order of one window: which link may follow which.

use crate::{
    RollupId, Slot, inbox, merkle,
    objects::{CommitmentKind, OrderingCommitment},
};
use alloy_primitives::{B256, Bytes, keccak256};
use std::collections::HashMap;

/// Why a link does not follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// For another rollup or slot.
    #[error("link of another window")]
    OtherWindow,
    /// A place that is already taken.
    #[error("segment {segment} number {number} is taken")]
    Taken {
        /// The link's segment.
        segment: u16,
        /// The link's number.
        number: u32,
    },
    /// Higher than a seal of its segment, or a higher segment than the window's last.
    #[error("segment {segment} number {number} comes after a seal")]
    PostSeal {
        /// The link's segment.
        segment: u16,
        /// The link's number.
        number: u32,
    },
    /// Links before it are missing.
    #[error("links are missing before segment {segment} number {number}")]
    Gap {
        /// The link's segment.
        segment: u16,
        /// The link's number.
        number: u32,
    },
    /// `parent` is not the hash of the link before it.
    #[error("parent is not the link before")]
    Parent,
    /// `firstIndex` is not the segment's count.
    #[error("first index {found}, not {expected}")]
    FirstIndex {
        /// The segment's count.
        expected: u32,
        /// The link's.
        found: u32,
    },
    /// A seal with a transaction count.
    #[error("seal with transactions")]
    SealWithTxs,
    /// `txCount` is not the number of transactions.
    #[error("transaction count {stated} with {found} transactions")]
    Count {
        /// What the link says.
        stated: u32,
        /// What is there.
        found: usize,
    },
    /// `txRoot` is not the root of the transactions.
    #[error("root of other transactions")]
    Root,
    /// The timestamp goes back.
    #[error("time goes back")]
    Time,
    /// The forced-inclusion head is not that of the window's first link.
    #[error("forced-inclusion head changes")]
    ForcedHead,
    /// The numbers are exhausted.
    #[error("numbers exhausted")]
    Exhausted,
}

/// Where a transaction stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    /// The sequencing slot.
    pub slot: Slot,
    /// The segment.
    pub segment: u16,
    /// The microblock's number within the segment.
    pub number: u32,
    /// Position in the segment.
    pub index: u32,
}

/// The places of a window's transactions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places(HashMap<B256, Place>);

impl Places {
    /// Where the transaction with this hash first stands.
    #[must_use]
    pub fn get(&self, tx_hash: &B256) -> Option<Place> {
        self.0.get(tx_hash).copied()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A window's order so far: what is needed to say what may come next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowChain {
    rollup_id: RollupId,
    slot: Slot,
    forced_inclusion_head: Option<u64>,
    timestamp_ms: u64,
    /// The number of each sealed segment's seal.
    sealed: Vec<u32>,
    ended: bool,
    /// The current segment, and the next number and parent in it.
    segment: u16,
    number: u32,
    parent: B256,
    hashes: Vec<B256>,
    txs: Vec<Bytes>,
    bytes: u64,
    places: Places,
}

impl WindowChain {
    /// A window without links.
    #[must_use]
    pub fn new(rollup_id: RollupId, slot: Slot) -> Self {
        Self {
            rollup_id,
            slot,
            forced_inclusion_head: None,
            timestamp_ms: 0,
            sealed: Vec::new(),
            ended: false,
            segment: 0,
            number: 0,
            parent: B256::ZERO,
            hashes: Vec::new(),
            txs: Vec::new(),
            bytes: inbox::overhead_bytes(0),
            places: Places::default(),
        }
    }

    /// The rollup.
    #[must_use]
    pub const fn rollup_id(&self) -> RollupId {
        self.rollup_id
    }

    /// The sequencing slot.
    #[must_use]
    pub const fn slot(&self) -> Slot {
        self.slot
    }

    /// The current segment; of an ended window, its last.
    #[must_use]
    pub const fn segment(&self) -> u16 {
        self.segment
    }

    /// Links of the current segment: the next one's number.
    #[must_use]
    pub const fn number(&self) -> u32 {
        self.number
    }

    /// Transactions of the current segment.
    #[must_use]
    pub fn txs(&self) -> &[Bytes] {
        &self.txs
    }

    /// Bytes of the L1 transaction that the current segment would be, authority allowance included.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether there is any link.
    #[must_use]
    pub const fn begun(&self) -> bool {
        self.forced_inclusion_head.is_some()
    }

    /// Whether the window is sealed.
    #[must_use]
    pub const fn ended(&self) -> bool {
        self.ended
    }

    /// The forced-inclusion head that the first link fixed.
    #[must_use]
    pub const fn forced_inclusion_head(&self) -> Option<u64> {
        self.forced_inclusion_head
    }

    /// Where each transaction stands.
    #[must_use]
    pub const fn places(&self) -> &Places {
        &self.places
    }

    /// Gives the places up, for the next window to know repetitions by.
    #[must_use]
    pub fn into_places(self) -> Places {
        self.places
    }

    /// The link that would follow: of `tx_count` transactions with `tx_root`, or the segment's seal.
    #[must_use]
    pub fn next_link(
        &self,
        content: LinkContent,
        now_ms: u64,
        forced_inclusion_head: u64,
    ) -> OrderingCommitment {
        let (kind, tx_count, tx_root) = match content {
            LinkContent::Microblock { tx_count, tx_root } => (CommitmentKind::Microblock, tx_count, tx_root),
            LinkContent::SegmentSeal => (CommitmentKind::SegmentSeal, 0, self.segment_root()),
            LinkContent::WindowSeal => (CommitmentKind::WindowSeal, 0, self.segment_root()),
        };
        OrderingCommitment {
            rollup_id: self.rollup_id,
            slot: self.slot,
            segment: self.segment,
            number: self.number,
            parent: self.parent,
            first_index: self.count(),
            tx_count,
            tx_root,
            timestamp_ms: self.timestamp_ms.max(now_ms),
            forced_inclusion_head: self.forced_inclusion_head.unwrap_or(forced_inclusion_head),
            kind,
        }
    }

    /// Appends a link with its transactions.
    ///
    /// # Errors
    /// [`ChainError`] if it does not follow; nothing is changed then.
    pub fn append(&mut self, link: &OrderingCommitment, txs: &[Bytes]) -> Result<(), ChainError> {
        let hashes: Vec<B256> = txs.iter().map(keccak256).collect();
        let next_number = self.check(link, &hashes)?;
        self.forced_inclusion_head = Some(link.forced_inclusion_head);
        self.timestamp_ms = link.timestamp_ms;
        match link.kind {
            CommitmentKind::Microblock => {
                self.place(link, &hashes);
                self.bytes =
                    txs.iter().map(|tx| inbox::tx_bytes(tx.len())).fold(self.bytes, u64::saturating_add);
                self.hashes.extend(hashes);
                self.txs.extend_from_slice(txs);
                self.number = next_number;
                self.parent = link.hash();
            }
            CommitmentKind::SegmentSeal => {
                self.sealed.push(link.number);
                self.segment = self.segment.checked_add(1).ok_or(ChainError::Exhausted)?;
                self.number = 0;
                self.parent = B256::ZERO;
                self.hashes.clear();
                self.txs.clear();
                self.bytes = inbox::overhead_bytes(self.segment);
            }
            CommitmentKind::WindowSeal => {
                self.sealed.push(link.number);
                self.ended = true;
            }
        }
        Ok(())
    }

    /// Checks that a link may follow, and gives the number after it.
    fn check(&self, link: &OrderingCommitment, hashes: &[B256]) -> Result<u32, ChainError> {
        if (link.rollup_id, link.slot) != (self.rollup_id, self.slot) {
            return Err(ChainError::OtherWindow);
        }
        self.check_position(link.segment, link.number)?;
        if link.parent != self.parent {
            return Err(ChainError::Parent);
        }
        if link.first_index != self.count() {
            return Err(ChainError::FirstIndex { expected: self.count(), found: link.first_index });
        }
        if link.kind.is_seal() && link.tx_count != 0 {
            return Err(ChainError::SealWithTxs);
        }
        if u32::try_from(hashes.len()) != Ok(link.tx_count) {
            return Err(ChainError::Count { stated: link.tx_count, found: hashes.len() });
        }
        let root = if link.kind.is_seal() {
            self.segment_root()
        } else {
            merkle::root(u64::from(link.first_index), hashes)
        };
        if link.tx_root != root {
            return Err(ChainError::Root);
        }
        if link.timestamp_ms < self.timestamp_ms {
            return Err(ChainError::Time);
        }
        if self.forced_inclusion_head.is_some_and(|head| head != link.forced_inclusion_head) {
            return Err(ChainError::ForcedHead);
        }
        let exhausted = link.first_index.checked_add(link.tx_count).is_none() || link.segment == u16::MAX;
        link.number.checked_add(1).filter(|_| !exhausted).ok_or(ChainError::Exhausted)
    }

    fn check_position(&self, segment: u16, number: u32) -> Result<(), ChainError> {
        let next = (self.segment, self.number);
        match self.sealed.get(usize::from(segment)) {
            Some(seal) if number > *seal => Err(ChainError::PostSeal { segment, number }),
            Some(_) => Err(ChainError::Taken { segment, number }),
            None if self.ended => Err(ChainError::PostSeal { segment, number }),
            None if (segment, number) < next => Err(ChainError::Taken { segment, number }),
            None if (segment, number) > next => Err(ChainError::Gap { segment, number }),
            None => Ok(()),
        }
    }

    fn place(&mut self, link: &OrderingCommitment, hashes: &[B256]) {
        for (index, hash) in (link.first_index..).zip(hashes) {
            let place = Place { slot: link.slot, segment: link.segment, number: link.number, index };
            self.places.0.entry(*hash).or_insert(place);
        }
    }

    fn segment_root(&self) -> B256 {
        merkle::root(0, &self.hashes)
    }

    /// Transactions of the current segment. [`Self::check`] keeps it in range.
    fn count(&self) -> u32 {
        u32::try_from(self.hashes.len()).unwrap_or(u32::MAX)
    }
}

/// What a link holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkContent {
    /// Transactions.
    Microblock {
        /// How many.
        tx_count: u32,
        /// Root over them.
        tx_root: B256,
    },
    /// Nothing: it ends the segment.
    SegmentSeal,
    /// Nothing: it ends the window.
    WindowSeal,
}
