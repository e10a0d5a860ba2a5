//! The single writer of one window's order.

use super::{
    MAX_SEGMENTS,
    chain::{ChainError, LinkContent, Place, Places, WindowChain},
    policy,
    state::{Event, Refusal, State},
};
use crate::{
    RollupId, Slot, inbox,
    merkle::MerkleTree,
    objects::{Object, OrderingCommitment, Policy},
    tx::ValidatedTx,
};
use alloy_primitives::{B256, Bytes, keccak256};
use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
};

/// How much a window holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest batch of a segment: bytes of the whole encoded L1 transaction.
    pub max_batch_bytes: u32,
    /// Segments of the window.
    pub max_segments: u16,
    /// Transactions of one microblock.
    pub max_microblock_txs: usize,
    /// Bytes of transactions of one microblock; one that is larger has a microblock for itself.
    pub max_microblock_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_batch_bytes: super::DEFAULT_MAX_BATCH_BYTES,
            max_segments: MAX_SEGMENTS,
            max_microblock_txs: 4096,
            max_microblock_bytes: 8 << 20,
        }
    }
}

/// What a window is opened with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowConfig {
    /// The rollup.
    pub rollup_id: RollupId,
    /// The sequencing slot.
    pub slot: Slot,
    /// Head of the forced-inclusion queue; the window's first link fixes it.
    pub forced_inclusion_head: u64,
    /// Order within a microblock.
    pub policy: Policy,
    /// How much it holds.
    pub limits: Limits,
}

/// What became of a transaction that was pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It waits for its place.
    Queued,
    /// The same transaction waits already.
    Waiting,
    /// The same transaction has a place, in this window or the last.
    Placed(Place),
}

/// Why a transaction is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// The window takes none.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// All segments are full.
    #[error("the window is full")]
    WindowFull,
    /// Larger than a whole segment.
    #[error("larger than a batch")]
    TooLarge,
}

/// Why a draft cannot be settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// There is none in flight.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The draft does not follow: a fault of the engine, which has failed.
    #[error(transparent)]
    Chain(#[from] ChainError),
}

/// A link to be made durable, then signed, then answered and streamed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// The link.
    pub commitment: OrderingCommitment,
    /// Its exact encoding, the payload of what is signed.
    pub payload: Bytes,
    /// Its hash.
    pub hash: B256,
    /// Its transactions, in order.
    pub txs: Vec<Arc<ValidatedTx>>,
    /// The tree over its transactions, which gives the receipts' paths.
    pub tree: MerkleTree,
    /// Of a seal: all transactions of the segment, as the L1 batch carries them.
    pub batch: Option<Vec<Bytes>>,
}

#[derive(Debug, Clone)]
struct Queued {
    segment: u16,
    tx: Arc<ValidatedTx>,
}

#[derive(Debug, Clone)]
struct InFlight {
    draft: Arc<Draft>,
    /// The draft's transactions as they were queued.
    arrivals: Vec<Queued>,
}

/// Orders one rollup's window. See [`State`] for its life.
///
/// The shell pushes validated transactions; whenever nothing is in flight it takes a [`Draft`], makes it durable,
/// and says [`committed`](Self::committed), [`rejected`](Self::rejected) or [`fail`](Self::fail).
#[derive(Debug, Clone)]
pub struct WindowEngine {
    config: WindowConfig,
    state: State,
    chain: WindowChain,
    previous: Arc<Places>,
    queue: VecDeque<Queued>,
    in_flight: Option<InFlight>,
    waiting: HashSet<B256>,
    /// Where the next transaction would go, once all that waits has its place: segment, and bytes in it.
    tail: (u16, u64),
}

impl WindowEngine {
    /// Opens a window. `previous` holds the places of the rollup's last window, which must have ended.
    #[must_use]
    pub fn open(config: WindowConfig, previous: Arc<Places>) -> Self {
        Self::resume(config, previous, WindowChain::new(config.rollup_id, config.slot))
    }

    /// Rebuilds a window from its durable links: the state it had, without what was waiting.
    ///
    /// # Errors
    /// [`ChainError`] if the links are not a window's order.
    pub fn replay<'a>(
        config: WindowConfig,
        previous: Arc<Places>,
        links: impl IntoIterator<Item = (&'a OrderingCommitment, &'a [Bytes])>,
    ) -> Result<Self, ChainError> {
        let mut chain = WindowChain::new(config.rollup_id, config.slot);
        for (link, txs) in links {
            chain.append(link, txs)?;
        }
        Ok(Self::resume(config, previous, chain))
    }

    fn resume(config: WindowConfig, previous: Arc<Places>, chain: WindowChain) -> Self {
        Self {
            config,
            state: if chain.ended() { State::Sealed } else { State::Idle },
            tail: (chain.segment(), chain.bytes()),
            chain,
            previous,
            queue: VecDeque::new(),
            in_flight: None,
            waiting: HashSet::new(),
        }
    }

    /// Where the window stands.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// The durable order.
    #[must_use]
    pub const fn chain(&self) -> &WindowChain {
        &self.chain
    }

    /// What the window was opened with.
    #[must_use]
    pub const fn config(&self) -> &WindowConfig {
        &self.config
    }

    /// The draft in flight.
    #[must_use]
    pub fn in_flight(&self) -> Option<&Arc<Draft>> {
        self.in_flight.as_ref().map(|in_flight| &in_flight.draft)
    }

    /// How many transactions wait, in flight or queued.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Gives up an ended window's places, to open the next with.
    #[must_use]
    pub fn into_places(self) -> Arc<Places> {
        Arc::new(self.chain.into_places())
    }

    /// Where a transaction stands, in this window or the last.
    #[must_use]
    pub fn place_of(&self, tx_hash: &B256) -> Option<Place> {
        self.chain.places().get(tx_hash).or_else(|| self.previous.get(tx_hash))
    }

    /// Takes a transaction, unless it is known.
    ///
    /// # Errors
    /// [`PushError`] if there is no place for it.
    pub fn push(&mut self, tx: Arc<ValidatedTx>) -> Result<Pushed, PushError> {
        if let Some(place) = self.place_of(&tx.hash) {
            return Ok(Pushed::Placed(place));
        }
        if self.waiting.contains(&tx.hash) {
            return Ok(Pushed::Waiting);
        }
        self.state = self.state.on(Event::Push)?;
        let (segment, bytes) = self.fit(&tx)?;
        self.tail = (segment, bytes);
        self.waiting.insert(tx.hash);
        self.queue.push_back(Queued { segment, tx });
        Ok(Pushed::Queued)
    }

    /// The tail after a transaction: in the segment where it is if that has room, else in the next.
    fn fit(&self, tx: &ValidatedTx) -> Result<(u16, u64), PushError> {
        let budget = u64::from(self.config.limits.max_batch_bytes);
        let size = inbox::tx_bytes(tx.raw.len());
        let (segment, bytes) = self.tail;
        let here = bytes.saturating_add(size);
        if here <= budget && segment < self.config.limits.max_segments {
            return Ok((segment, here));
        }
        let next = segment.saturating_add(1);
        let there = inbox::overhead_bytes(next).saturating_add(size);
        if there > budget {
            return Err(PushError::TooLarge);
        }
        if next < self.config.limits.max_segments { Ok((next, there)) } else { Err(PushError::WindowFull) }
    }

    /// The next link, if there is anything to promise and nothing is in flight: a microblock of what waits; the
    /// segment's seal, if what waits goes to the next; the window's seal, if it is closing.
    pub fn draft(&mut self, now_ms: u64) -> Option<Arc<Draft>> {
        let (arrivals, closing) = match self.state {
            State::Idle => (self.collect()?, false),
            State::Closing => (Vec::new(), true),
            _ => return None,
        };
        self.state = self.state.on(Event::Draft).ok()?;
        let txs = arrivals.iter().map(|queued| Arc::clone(&queued.tx)).collect();
        let txs = policy::order(self.config.policy, txs);
        let draft = Arc::new(self.link(txs, closing, now_ms));
        self.in_flight = Some(InFlight { draft: Arc::clone(&draft), arrivals });
        Some(draft)
    }

    /// What waits for the current segment, as much as one microblock takes; nothing if all waits for the next.
    fn collect(&mut self) -> Option<Vec<Queued>> {
        self.queue.front()?;
        let segment = self.chain.segment();
        let Limits { max_microblock_txs, max_microblock_bytes, .. } = self.config.limits;
        let mut bytes = 0_usize;
        let fits = self.queue.iter().enumerate().take_while(|(place, queued)| {
            bytes = bytes.saturating_add(queued.tx.raw.len());
            queued.segment == segment
                && (*place == 0 || (*place < max_microblock_txs && bytes <= max_microblock_bytes))
        });
        let count = fits.count();
        Some(self.queue.drain(..count).collect())
    }

    fn link(&self, txs: Vec<Arc<ValidatedTx>>, closing: bool, now_ms: u64) -> Draft {
        let hashes: Vec<B256> = txs.iter().map(|tx| tx.hash).collect();
        let first_index = u64::try_from(self.chain.txs().len()).unwrap_or(u64::MAX);
        let tree = MerkleTree::over(first_index, &hashes);
        let content = match u32::try_from(hashes.len()).unwrap_or(u32::MAX) {
            0 if closing => LinkContent::WindowSeal,
            0 => LinkContent::SegmentSeal,
            tx_count => LinkContent::Microblock { tx_count, tx_root: tree.root() },
        };
        let commitment = self.chain.next_link(content, now_ms, self.config.forced_inclusion_head);
        let payload = commitment.abi_encode();
        let batch = commitment.kind.is_seal().then(|| self.chain.txs().to_vec());
        Draft { hash: keccak256(&payload), payload: payload.into(), commitment, txs, tree, batch }
    }

    /// The draft in flight is durable: applies it and gives it back.
    ///
    /// # Errors
    /// [`EngineError`] if nothing is in flight.
    pub fn committed(&mut self) -> Result<Arc<Draft>, EngineError> {
        let Some(InFlight { draft, .. }) = self.in_flight.take() else {
            return Err(Refusal::NothingInFlight.into());
        };
        let state = self.state.on(Event::Committed { kind: draft.commitment.kind })?;
        let raw: Vec<Bytes> = draft.txs.iter().map(|tx| tx.raw.clone()).collect();
        if let Err(error) = self.chain.append(&draft.commitment, &raw) {
            self.state = State::Failed;
            return Err(error.into());
        }
        self.state = state;
        for tx in &draft.txs {
            self.waiting.remove(&tx.hash);
        }
        Ok(draft)
    }

    /// The draft in flight is certainly not durable. While the window is open its transactions wait again, as
    /// they arrived; else they are given back.
    ///
    /// # Errors
    /// [`Refusal::NothingInFlight`] if nothing is in flight.
    pub fn rejected(&mut self) -> Result<Vec<Arc<ValidatedTx>>, Refusal> {
        let Some(InFlight { arrivals, .. }) = self.in_flight.take() else {
            return Err(Refusal::NothingInFlight);
        };
        self.state = self.state.on(Event::Rejected)?;
        if self.state.is_open() {
            for queued in arrivals.into_iter().rev() {
                self.queue.push_front(queued);
            }
            return Ok(Vec::new());
        }
        Ok(self.release(arrivals))
    }

    /// Ends the window: takes no more, and owes the seal. Gives back what waited without being in flight.
    pub fn close(&mut self) -> Vec<Arc<ValidatedTx>> {
        self.end(Event::Close)
    }

    /// The right to order is lost: as [`Self::close`], but a window without any link ends without a seal.
    pub fn lose_right(&mut self) -> Vec<Arc<ValidatedTx>> {
        self.end(Event::LoseRight { begun: self.chain.begun() })
    }

    /// The fate of the draft in flight is unknown, or the log is lost: orders nothing more until replayed. Gives
    /// back all that waited; what was in flight may yet turn out to be durable.
    pub fn fail(&mut self) -> Vec<Arc<ValidatedTx>> {
        let in_flight = self.in_flight.take().map(|in_flight| in_flight.arrivals).unwrap_or_default();
        let mut txs = self.release(in_flight);
        txs.extend(self.end(Event::Fail));
        txs
    }

    fn end(&mut self, event: Event) -> Vec<Arc<ValidatedTx>> {
        if let Ok(state) = self.state.on(event) {
            self.state = state;
        }
        let queue = std::mem::take(&mut self.queue);
        self.release(queue)
    }

    fn release(&mut self, queued: impl IntoIterator<Item = Queued>) -> Vec<Arc<ValidatedTx>> {
        queued
            .into_iter()
            .inspect(|queued| {
                self.waiting.remove(&queued.tx.hash);
            })
            .map(|queued| queued.tx)
            .collect()
    }
}

impl Draft {
    /// Where the transaction at `position` of this link stands.
    #[must_use]
    pub fn place(&self, position: usize) -> Option<Place> {
        self.txs.get(position)?;
        let OrderingCommitment { slot, segment, number, first_index, .. } = self.commitment;
        let index = first_index.checked_add(u32::try_from(position).ok()?)?;
        Some(Place { slot, segment, number, index })
    }
}

#[cfg(test)]
mod tests;
