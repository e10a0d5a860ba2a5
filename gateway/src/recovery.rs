//! What a gateway knows when it starts: one fold over the journal.

use std::{collections::BTreeMap, sync::Arc};

use alloy_primitives::{Address, B256, Bytes, keccak256};
use earnest_journal::{Batch, Journal, KIND_CLAIMS, Log, ReadError};
use earnest_protocol::{
    RollupId,
    objects::{Authority, CommitmentKind, ObjectError, OrderingCommitment},
    ordering::{ChainError, WindowEngine},
};

use crate::{
    batch::{BatchKey, OnItsWay, Sealed},
    board::{Board, Signed},
    config::RollupConfig,
    records::{Event, OrderedBody, RecordError, WindowOpened},
    sequencer::{Active, CommitError, Committer, Rollup},
};

const READ_ENTRIES: usize = 1024;
const READ_BYTES: usize = 16 << 20;
/// Batches older than this many are not looked for on L1 again.
const BATCHES_KEPT: usize = 512;

/// Why a journal does not make a gateway.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The journal cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The windows to sit out could not be marked.
    #[error("the windows to sit out cannot be marked: {0}")]
    Mark(String),
    /// An entry does not decode.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A commitment does not decode.
    #[error("entry {position} holds no ordering: {reason}")]
    NoOrdering {
        /// Position in the journal.
        position: u64,
        /// What the decoder said.
        reason: ObjectError,
    },
    /// The commitments of a window contradict each other.
    #[error("rollup {rollup}, slot {slot}: the journal's order does not follow: {reason}")]
    Order {
        /// Chain id.
        rollup: RollupId,
        /// L1 slot of the window.
        slot: u64,
        /// What does not follow.
        reason: ChainError,
    },
    /// A durable commitment cannot be signed.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The configuration lacks a rollup whose window is not sealed.
    #[error(
        "rollup {rollup} has an open window of slot {slot}: keep it in the configuration until that is sealed"
    )]
    Dropped {
        /// Chain id.
        rollup: RollupId,
        /// L1 slot of the window.
        slot: u64,
    },
    /// An open window is of another committer or network: going on would sign its places anew.
    #[error(
        "the journal has a window of slot {slot} that was delegated to {holder} on chain {chain_id}, which this \
         gateway does not sign for and whose seal is still owed: start it with that key and network once more"
    )]
    Foreign {
        /// L1 slot of the window.
        slot: u64,
        /// Committer that the window was delegated to; zero if it names none for the rollup.
        holder: Address,
        /// Chain id that its signatures were for.
        chain_id: u64,
    },
}

/// One window while the journal is read.
#[derive(Debug)]
struct Past {
    opened: WindowOpened,
    position: u64,
    authority: Arc<Authority>,
    links: Vec<(OrderingCommitment, Vec<Bytes>)>,
    /// Delegated to another committer, or for another network: not ours to go on with.
    foreign: bool,
}

impl Past {
    fn is_sealed(&self) -> bool {
        self.links.last().is_some_and(|(link, _)| link.kind == CommitmentKind::WindowSeal)
    }
}

/// What the journal says.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) rollups: BTreeMap<RollupId, Rollup>,
    pub(crate) on_their_way: BTreeMap<BatchKey, OnItsWay>,
    /// Seals whose batch was not signed, or whose constraints the relay may not have.
    pub(crate) unfinished: Vec<Sealed>,
    /// Nonce after the highest that the batch account signed.
    pub(crate) next_nonce: u64,
    /// Windows that began before this instant are not ordered.
    pub(crate) sit_out_before_ms: u64,
}

#[derive(Debug)]
struct Fold<'a> {
    committer: &'a Committer,
    batch_account: Address,
    board: &'a Board,
    microblock_transactions: usize,
    windows: BTreeMap<RollupId, Past>,
    sealed: BTreeMap<BatchKey, Sealed>,
    recovered: Recovered,
}

/// Marks the windows that are open now as never to be ordered, where the journal may not know what was promised in
/// them: it is new, or it was restored from a backup.
///
/// # Errors
/// When the mark cannot be made durable.
pub(crate) fn sit_out_if_unsure(journal: &Journal, restored: bool, now_ms: u64) -> Result<(), RecoveryError> {
    if !restored && journal.head() > 0 {
        return Ok(());
    }
    let record = Event::SitOut(now_ms).to_record().map_err(|error| RecoveryError::Mark(error.to_string()))?;
    journal
        .append_owed(None, Batch { records: vec![record], claims: vec![] })
        .map(|_| ())
        .map_err(|error| RecoveryError::Mark(error.to_string()))
}

/// Reads the whole journal.
///
/// # Errors
/// [`RecoveryError`]: the gateway must not start.
pub(crate) fn recover(
    journal: &Journal,
    committer: &Committer,
    batch_account: Address,
    board: &Board,
    rollups: &[RollupConfig],
    microblock_transactions: usize,
) -> Result<Recovered, RecoveryError> {
    let mut fold = Fold {
        committer,
        batch_account,
        board,
        microblock_transactions,
        windows: BTreeMap::new(),
        sealed: BTreeMap::new(),
        recovered: Recovered {
            rollups: rollups.iter().map(|config| (config.id.into(), Rollup::new(config.clone()))).collect(),
            on_their_way: BTreeMap::new(),
            unfinished: Vec::new(),
            next_nonce: 0,
            sit_out_before_ms: 0,
        },
    };
    let mut next = 0;
    loop {
        let entries = journal.read(next, READ_ENTRIES, READ_BYTES)?;
        let Some(last) = entries.last() else { break };
        next = last.position.saturating_add(1);
        for entry in &entries {
            if entry.kind != KIND_CLAIMS {
                fold.apply(entry.position, Event::from_entry(entry)?)?;
            }
        }
    }
    fold.finish()
}

impl Fold<'_> {
    fn apply(&mut self, position: u64, event: Event) -> Result<(), RecoveryError> {
        match event {
            Event::WindowOpened(opened) => self.open(position, *opened),
            Event::Ordered(body) => self.order(position, body),
            Event::BatchSigned(body) => {
                let key =
                    BatchKey { slot: body.slot.into(), rollup: body.rollupId.into(), segment: body.segment };
                if let Some(batch) = OnItsWay::read(body.transaction, self.batch_account) {
                    self.recovered.next_nonce = self.recovered.next_nonce.max(batch.nonce.saturating_add(1));
                    self.recovered.on_their_way.insert(key, batch);
                }
                while self.recovered.on_their_way.len() > BATCHES_KEPT {
                    self.recovered.on_their_way.pop_first();
                }
                // What remains to be done for it is to send it, and the constraints of the window's last.
                self.sealed.retain(|other, sealed| *other != key || sealed.ends_window());
                Ok(())
            }
            Event::ConstraintsHeld(held) => {
                let (slot, rollup) = (held.constraints.message.slot, RollupId(held.rollup_id));
                let signed = &self.recovered.on_their_way;
                self.sealed
                    .retain(|key, _| (key.slot, key.rollup) != (slot, rollup) || !signed.contains_key(key));
                Ok(())
            }
            Event::SitOut(before_ms) => {
                self.recovered.sit_out_before_ms = self.recovered.sit_out_before_ms.max(before_ms);
                self.sit_out();
                Ok(())
            }
        }
    }

    /// Leaves the windows that are open now alone for ever: not one link more, not even the seal.
    fn sit_out(&mut self) {
        let before_ms = self.recovered.sit_out_before_ms;
        let out: Vec<RollupId> = self
            .windows
            .iter()
            .filter(|(_, past)| !past.is_sealed() && past.opened.start_ms < before_ms)
            .map(|(id, _)| *id)
            .collect();
        for id in out {
            let Some(past) = self.windows.remove(&id) else { continue };
            tracing::warn!(rollup = %id, slot = past.opened.slot, "window sat out");
            if let Some(rollup) = self.recovered.rollups.get_mut(&id) {
                rollup.newest = Some(past.opened.slot.into());
            }
        }
    }

    fn open(&mut self, position: u64, opened: WindowOpened) -> Result<(), RecoveryError> {
        let id: RollupId = opened.rollup_id.into();
        let allocation = opened.authority.delegation.message.allocation().ok();
        let holder = allocation.and_then(|it| it.entry(id).map(|entry| entry.committer)).unwrap_or_default();
        let foreign = holder != self.committer.secret.address() || opened.network != self.committer.network;
        self.close(id)?;
        let authority = Arc::new(opened.authority.clone());
        self.windows.insert(id, Past { opened, position, authority, links: Vec::new(), foreign });
        Ok(())
    }

    fn order(&mut self, position: u64, body: OrderedBody) -> Result<(), RecoveryError> {
        let ordering = body.ordering().map_err(|reason| RecoveryError::NoOrdering { position, reason })?;
        let Some(past) = self.windows.get_mut(&ordering.rollup_id) else { return Ok(()) };
        if past.foreign {
            past.links.push((ordering, body.transactions));
            return Ok(());
        }
        let commitment = self.committer.sign(&body)?;
        let hashes: Vec<B256> = body.transactions.iter().map(keccak256).collect();
        let authority = Arc::clone(&past.authority);
        let signed = Arc::new(Signed::again(position, ordering.clone(), commitment, hashes, authority));
        self.board.place(&signed);
        if ordering.kind.is_seal() {
            let key = BatchKey { slot: ordering.slot, rollup: ordering.rollup_id, segment: ordering.segment };
            let transactions = past
                .links
                .iter()
                .filter(|(link, _)| link.segment == ordering.segment)
                .flat_map(|(_, transactions)| transactions.iter().cloned())
                .collect();
            self.sealed.insert(key, Sealed { seal: signed, transactions });
            while self.sealed.len() > BATCHES_KEPT {
                self.sealed.pop_first();
            }
        }
        past.links.push((ordering, body.transactions));
        Ok(())
    }

    /// Turns the window that was read into the rollup's state: the active one, or the last.
    fn close(&mut self, id: RollupId) -> Result<(), RecoveryError> {
        let Some(past) = self.windows.remove(&id) else { return Ok(()) };
        let slot = past.opened.slot;
        if past.foreign && !past.is_sealed() {
            let allocation = past.opened.authority.delegation.message.allocation().ok();
            let holder =
                allocation.and_then(|it| it.entry(id).map(|entry| entry.committer)).unwrap_or_default();
            return Err(RecoveryError::Foreign { slot, holder, chain_id: past.opened.network.chain_id });
        }
        let Some(rollup) = self.recovered.rollups.get_mut(&id) else {
            return if past.is_sealed() { Ok(()) } else { Err(RecoveryError::Dropped { rollup: id, slot }) };
        };
        if past.foreign {
            rollup.newest = Some(slot.into());
            return Ok(());
        }
        let config = rollup.window_config(&past.opened, self.microblock_transactions);
        let links = past.links.iter().map(|(link, transactions)| (link, transactions.as_slice()));
        let engine = WindowEngine::replay(config, Arc::clone(&rollup.previous), links)
            .map_err(|reason| RecoveryError::Order { rollup: id, slot, reason })?;
        rollup.newest = Some(slot.into());
        if engine.state().is_ended() {
            rollup.previous = engine.into_places();
            return Ok(());
        }
        rollup.active = Some(Active {
            engine,
            authority: past.authority,
            start_ms: past.opened.start_ms,
            seal_ms: past.opened.seal_ms,
            position: past.position,
        });
        Ok(())
    }

    fn finish(mut self) -> Result<Recovered, RecoveryError> {
        let ids: Vec<RollupId> = self.windows.keys().copied().collect();
        for id in ids {
            self.close(id)?;
            let active = self.recovered.rollups.get(&id).and_then(|rollup| rollup.active.as_ref());
            self.board.set_open(id, active.map(Active::view));
        }
        self.recovered.unfinished = self.sealed.into_values().collect();
        Ok(self.recovered)
    }
}
