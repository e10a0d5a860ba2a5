//! The journal and what is folded from it, as one thing that is written to.

use crate::{
    events::{Event, EventError},
    views::Views,
    writable::Writable,
};
use earnest_http::{ApiError, health::Part};
use earnest_journal::{AppendError, Batch, Claim, Journal, Log, OpenError, Options, ReadError};
use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use std::{convert::Infallible, path::Path, sync::Arc};
use tokio_util::sync::CancellationToken;

/// Records read at once when folding.
const FOLD_RECORDS: usize = 1024;
const FOLD_BYTES: usize = 16 << 20;
/// Bytes that must be free for a header to be given out, whatever is configured.
const LEAST_ROOM: u64 = 4 << 20;

/// Why the journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// It does not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A record is not what its kind says.
    #[error("journal position {position}: {source}")]
    Event {
        /// The record's position.
        position: u64,
        /// What is wrong with it.
        source: EventError,
    },
    /// It takes nothing more: the process must start again and fold what the disk has.
    #[error("the journal takes no more writes")]
    Broken,
}

/// Why an event was not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    /// The claim is held by something else.
    #[error("claimed by something else")]
    Claimed,
    /// Not durable.
    #[error("{0}")]
    Journal(AppendError),
    /// The event has no encoding.
    #[error(transparent)]
    Event(#[from] EventError),
    /// The process is shutting down.
    #[error("shutting down")]
    Stopped,
}

impl From<WriteError> for ApiError {
    fn from(error: WriteError) -> Self {
        let message = if let WriteError::Journal(AppendError::NoSpace { .. }) = error {
            // Said once in the log, when it begins.
            tracing::debug!(%error, "not written to the journal");
            "the relay's disk is full: it takes nothing new"
        } else {
            tracing::error!(%error, "not written to the journal");
            "the relay cannot write its journal"
        };
        Self::unavailable(message).retry_after(1)
    }
}

/// The journal with its views. Clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    journal: Journal,
    views: RwLock<Views>,
    broken: CancellationToken,
    decide: tokio::sync::Mutex<()>,
    writable: Writable,
    /// Bytes that must stay free for anything new to be written.
    floor: u64,
}

impl Ledger {
    /// Opens the journal and folds it. Blocks.
    pub(crate) fn open(path: &Path, options: Options) -> Result<Self, LedgerError> {
        let journal = Journal::open(path, options)?;
        let mut views = Views::default();
        let mut from = 0;
        loop {
            let entries = journal.read(from, FOLD_RECORDS, FOLD_BYTES)?;
            let Some(last) = entries.last() else { break };
            from = last.position.saturating_add(1);
            for entry in entries {
                let event = Event::read(entry.kind, &entry.body)
                    .map_err(|source| LedgerError::Event { position: entry.position, source })?;
                if let Some(event) = event {
                    views.apply(event);
                }
            }
        }
        let inner = Inner {
            writable: Writable::new(journal.room()),
            floor: options.free_space_floor,
            journal,
            views: RwLock::new(views),
            broken: CancellationToken::new(),
            decide: tokio::sync::Mutex::new(()),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The views. Hold the guard shortly, never across an await.
    pub(crate) fn views(&self) -> RwLockReadGuard<'_, Views> {
        self.inner.views.read()
    }

    /// Held while something is decided by the views and then written, so that nothing comes between.
    pub(crate) async fn deciding(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.inner.decide.lock().await
    }

    /// Writes an event and its claim durably, then folds it in.
    pub(crate) async fn write(&self, event: Event, claims: Vec<Claim>) -> Result<(), WriteError> {
        self.append(event, claims, Journal::append_next).await
    }

    /// Writes what keeps a promise already made, also into the space below the floor.
    pub(crate) async fn write_owed(&self, event: Event, claims: Vec<Claim>) -> Result<(), WriteError> {
        self.append(event, claims, |journal, batch| journal.append_owed(None, batch)).await
    }

    async fn append(
        &self,
        event: Event,
        claims: Vec<Claim>,
        append: fn(&Journal, Batch) -> Result<u64, AppendError>,
    ) -> Result<(), WriteError> {
        let ledger = self.clone();
        let written = tokio::task::spawn_blocking(move || {
            let record = event.record()?;
            match append(&ledger.inner.journal, Batch { records: vec![record], claims }) {
                Ok(_) => {
                    ledger.inner.views.write().apply(event);
                    Ok(())
                }
                Err(AppendError::Refused { .. }) => Err(WriteError::Claimed),
                Err(error) => {
                    if matches!(error, AppendError::Io(_) | AppendError::Failed | AppendError::Closed) {
                        ledger.inner.broken.cancel();
                    }
                    Err(WriteError::Journal(error))
                }
            }
        });
        written.await.map_err(|_| WriteError::Stopped)?
    }

    /// Whether anything new is written, or was a moment ago. Waits for no write that is being taken.
    pub(crate) fn writable(&self) -> Result<(), String> {
        let floor = self.inner.floor;
        match self.inner.writable.room()? {
            free if free < floor => Err(AppendError::NoSpace { free, floor }.to_string()),
            _ => Ok(()),
        }
    }

    /// Bytes free on the journal's disk, as they were a moment ago; 0 if it takes nothing at all.
    pub(crate) fn room(&self) -> u64 {
        self.inner.writable.room().unwrap_or_default()
    }

    /// Keeps known whether writes are taken, and tells the part of the role's health, until shutdown.
    pub(crate) async fn watch(self, part: Part, shutdown: CancellationToken) -> Result<(), Infallible> {
        let asked = self.clone();
        let ask = move || {
            let room = asked.inner.journal.room();
            // A write that failed with nobody waiting for it, such as that of the head file behind a record.
            if matches!(room, Err(AppendError::Failed)) {
                asked.inner.broken.cancel();
            }
            room
        };
        let last = Mutex::new(Ok(()));
        let tell = || {
            let now = self.writable();
            let before = std::mem::replace(&mut *last.lock(), now.clone());
            match now {
                Ok(()) => part.ready(),
                Err(_) if before.is_err() => {}
                Err(error) => {
                    tracing::error!(error, "the journal takes nothing new");
                    part.not_ready(error);
                }
            }
        };
        tell();
        self.inner.writable.watch(ask, tell, shutdown).await;
        Ok(())
    }

    /// Records of the journal, and its bytes on the disk; 0 bytes if they cannot be told.
    pub(crate) fn size(&self) -> (u64, u64) {
        let journal = &self.inner.journal;
        (journal.head(), journal.disk_bytes().unwrap_or_default())
    }

    /// Whether headers may be given out, each of which promises its payload: also while nothing else is taken, until half of
    /// what is kept free is used. They are one record in a slot, and a proposer without one has a worse block.
    pub(crate) fn may_promise(&self) -> bool {
        let floor = (self.inner.floor / 2).max(LEAST_ROOM);
        self.inner.writable.room().is_ok_and(|free| free >= floor)
    }

    /// Ends when the journal takes nothing more. What the disk holds is known again only after a new start.
    pub(crate) async fn broken(&self) -> Result<(), LedgerError> {
        self.inner.broken.cancelled().await;
        Err(LedgerError::Broken)
    }

    /// Frees the journal's lock.
    pub(crate) fn close(&self) {
        self.inner.journal.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::{Published, Unblinded};
    use alloy_primitives::B256;
    use earnest_builder_types::BidTrace;

    fn open(path: &Path) -> Ledger {
        Ledger::open(path, Options { free_space_floor: 0, ..Options::default() }).unwrap()
    }

    fn unblinded(slot: u64, root: u8) -> Event {
        let trace = BidTrace { slot, ..BidTrace::default() };
        let block_root = B256::repeat_byte(root);
        Event::Unblinded(Unblinded { trace, block_root, block_number: 1, transactions: 0, block: None })
    }

    fn claim(slot: u64, root: u8) -> Vec<Claim> {
        vec![Claim { key: slot.to_be_bytes().to_vec(), value: B256::repeat_byte(root) }]
    }

    #[tokio::test]
    async fn views_and_claims_outlive_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = open(directory.path());
        ledger.write(unblinded(5, 1), claim(5, 1)).await.unwrap();
        let published = Published { slot: 5, block_root: B256::repeat_byte(1), imported: true };
        ledger.write(Event::Published(published), vec![]).await.unwrap();
        ledger.write(unblinded(6, 2), claim(6, 2)).await.unwrap();
        for restarts in 0..3 {
            ledger.close();
            let ledger = open(directory.path());
            assert!(ledger.views().is_published(5, B256::repeat_byte(1)), "after {restarts} restarts");
            assert_eq!(ledger.views().delivered(u64::MAX).count(), 1);
            ledger.write(unblinded(5, 1), claim(5, 1)).await.unwrap();
            let refused = ledger.write(unblinded(5, 3), claim(5, 3)).await;
            assert!(matches!(refused, Err(WriteError::Claimed)), "{refused:?}");
            ledger.close();
        }
    }

    #[tokio::test]
    async fn below_the_floor_old_promises_are_kept_and_none_is_made() {
        let directory = tempfile::tempdir().unwrap();
        let options = Options { free_space_floor: u64::MAX / 2, ..Options::default() };
        let ledger = Ledger::open(directory.path(), options).unwrap();
        assert!(!ledger.may_promise());
        let refused = ledger.write(unblinded(5, 1), claim(5, 1)).await;
        assert!(matches!(refused, Err(WriteError::Journal(AppendError::NoSpace { .. }))), "{refused:?}");
        ledger.write_owed(unblinded(5, 1), claim(5, 1)).await.unwrap();
        let refused = ledger.write_owed(unblinded(5, 2), claim(5, 2)).await;
        assert!(matches!(refused, Err(WriteError::Claimed)), "{refused:?}");
        ledger.close();
        let ledger = open(directory.path());
        assert!(ledger.may_promise());
    }

    #[tokio::test]
    async fn a_closed_journal_ends_the_role() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = open(directory.path());
        ledger.close();
        let error = ApiError::from(ledger.write(unblinded(5, 1), vec![]).await.unwrap_err());
        assert_eq!((error.status.as_u16(), error.retry_after), (503, Some(1)));
        assert!(matches!(ledger.broken().await, Err(LedgerError::Broken)));
    }
}
