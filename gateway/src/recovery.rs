//! What a gateway knows when it starts: one fold over the journal.

use std::{collections::BTreeMap, sync::Arc};

use alloy_primitives::{Address, B256, Bytes, keccak256};
use earnest_journal::{Journal, KIND_CLAIMS, Log, ReadError};
use earnest_protocol::{
    RollupId,
    objects::{Authority, ObjectError, OrderingCommitment},
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
const BATCHES_KEPT: usize = 1024;

/// Why a journal does not make a gateway.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The journal cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
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
    /// The journal is of another committer or network: going on would sign its places anew.
    #[error(
        "the journal has a window of slot {slot} that was delegated to {holder} on chain {chain_id}, which this \
         gateway does not sign for: start it with that key and network, or with a new data_dir"
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
}

/// What the journal says.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) rollups: BTreeMap<RollupId, Rollup>,
    pub(crate) on_their_way: BTreeMap<BatchKey, OnItsWay>,
    /// Seals whose batch was not signed, or whose constraints the relay may not have.
    pub(crate) unfinished: Vec<Sealed>,
    pub(crate) next_nonce: u64,
}

#[derive(Debug)]
struct Fold<'a> {
    committer: &'a Committer,
    board: &'a Board,
    microblock_transactions: usize,
    windows: BTreeMap<RollupId, Past>,
    sealed: BTreeMap<BatchKey, Sealed>,
    recovered: Recovered,
}

/// Reads the whole journal.
///
/// # Errors
/// [`RecoveryError`]: the gateway must not start.
pub(crate) fn recover(
    journal: &Journal,
    committer: &Committer,
    board: &Board,
    rollups: &[RollupConfig],
    microblock_transactions: usize,
) -> Result<Recovered, RecoveryError> {
    let mut fold = Fold {
        committer,
        board,
        microblock_transactions,
        windows: BTreeMap::new(),
        sealed: BTreeMap::new(),
        recovered: Recovered {
            rollups: rollups.iter().map(|config| (config.id.into(), Rollup::new(config.clone()))).collect(),
            on_their_way: BTreeMap::new(),
            unfinished: Vec::new(),
            next_nonce: 0,
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
                self.recovered.next_nonce = self.recovered.next_nonce.max(body.nonce.saturating_add(1));
                self.recovered.on_their_way.insert(key, OnItsWay { raw: body.transaction });
                while self.recovered.on_their_way.len() > BATCHES_KEPT {
                    self.recovered.on_their_way.pop_first();
                }
                Ok(())
            }
            Event::ConstraintsHeld(held) => {
                let slot = held.constraints.message.slot;
                let signed = &self.recovered.on_their_way;
                self.sealed.retain(|key, _| key.slot != slot || !signed.contains_key(key));
                Ok(())
            }
        }
    }

    fn open(&mut self, position: u64, opened: WindowOpened) -> Result<(), RecoveryError> {
        let id: RollupId = opened.rollup_id.into();
        let allocation = opened.authority.delegation.message.allocation().ok();
        let holder = allocation.and_then(|it| it.entry(id).map(|entry| entry.committer)).unwrap_or_default();
        if holder != self.committer.secret.address() || opened.network != self.committer.network {
            let (slot, chain_id) = (opened.slot, opened.network.chain_id);
            return Err(RecoveryError::Foreign { slot, holder, chain_id });
        }
        self.close(id)?;
        let authority = Arc::new(opened.authority.clone());
        self.windows.insert(id, Past { opened, position, authority, links: Vec::new() });
        Ok(())
    }

    fn order(&mut self, position: u64, body: OrderedBody) -> Result<(), RecoveryError> {
        let ordering = body.ordering().map_err(|reason| RecoveryError::NoOrdering { position, reason })?;
        let Some(past) = self.windows.get_mut(&ordering.rollup_id) else { return Ok(()) };
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
        let Some(rollup) = self.recovered.rollups.get_mut(&id) else { return Ok(()) };
        let slot = past.opened.slot;
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
