//! The journal and what is folded from it, as one thing that is written to.

use crate::{
    events::{Event, EventError},
    views::Views,
};
use earnest_http::{ApiError, health::Part};
use earnest_journal::{AppendError, Batch, Claim, Journal, Log, OpenError, Options, ReadError};
use parking_lot::{RwLock, RwLockReadGuard};
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// Records read at once when folding.
const FOLD_RECORDS: usize = 1024;
const FOLD_BYTES: usize = 16 << 20;
/// How long it is believed that writes are taken, or are not, before another look.
const WRITABLE_FOR: Duration = Duration::from_millis(200);
/// How long it is believed while that look waits for a long write to end.
const BELIEVED_FOR: Duration = Duration::from_secs(3);
/// How often the journal is looked at though nobody asks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

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
        tracing::error!(%error, "not written to the journal");
        Self::unavailable("the relay cannot write its journal").retry_after(1)
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
    looked: RwLock<Option<(Instant, bool)>>,
    looking: AtomicBool,
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
            journal,
            views: RwLock::new(views),
            broken: CancellationToken::new(),
            decide: tokio::sync::Mutex::new(()),
            looked: RwLock::new(None),
            looking: AtomicBool::new(false),
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

    /// Records of the journal, and its bytes on the disk; 0 bytes if they cannot be told.
    pub(crate) fn size(&self) -> (u64, u64) {
        let journal = &self.inner.journal;
        (journal.head(), journal.disk_bytes().unwrap_or_default())
    }

    /// Whether new promises may be made, such as to deliver a header's payload: writes are taken, or were a moment ago. Who
    /// asks waits for no write that is under way, unless nothing was known for too long.
    pub(crate) async fn may_promise(&self) -> bool {
        let looked = *self.inner.looked.read();
        match looked {
            Some((at, writable)) if at.elapsed() < WRITABLE_FOR => writable,
            Some((at, writable)) if at.elapsed() < BELIEVED_FOR => {
                if !self.inner.looking.swap(true, Ordering::AcqRel) {
                    let ledger = self.clone();
                    tokio::spawn(async move {
                        let _ = ledger.look().await;
                        ledger.inner.looking.store(false, Ordering::Release);
                    });
                }
                writable
            }
            _ => self.look().await.is_ok(),
        }
    }

    /// Looks whether writes are taken: the disk has room. Waits for a write that is under way.
    async fn look(&self) -> Result<(), WriteError> {
        let ledger = self.clone();
        let looked = tokio::task::spawn_blocking(move || ledger.inner.journal.writable());
        let writable = looked.await.map_err(|_| WriteError::Stopped)?.map_err(WriteError::Journal);
        *self.inner.looked.write() = Some((Instant::now(), writable.is_ok()));
        writable
    }

    /// Looks, and tells whether writes are taken.
    pub(crate) async fn tell(&self, journal: &Part) {
        match self.look().await {
            Ok(()) => journal.ready(),
            Err(error) => {
                tracing::error!(%error, "the journal takes no writes");
                journal.not_ready(error.to_string());
            }
        }
    }

    /// Tells whether writes are taken until `shutdown`, or until the journal takes nothing more: what the disk holds is known
    /// again only after a new start.
    pub(crate) async fn watch(self, journal: Part, shutdown: CancellationToken) -> Result<(), LedgerError> {
        let telling = async {
            let mut looks = interval(LOOK_EVERY);
            looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                looks.tick().await;
                self.tell(&journal).await;
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => Ok(()),
            () = self.inner.broken.cancelled() => Err(LedgerError::Broken),
            () = telling => Ok(()),
        }
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
    use futures::FutureExt;

    fn open(path: &Path) -> Ledger {
        Ledger::open(path, Options { free_space_floor: 0, ..Options::default() }).unwrap()
    }

    fn unblinded(slot: u64, root: u8) -> Event {
        let trace = BidTrace { slot, ..BidTrace::default() };
        let block_root = B256::repeat_byte(root);
        Event::Unblinded(Unblinded { trace, block_root, block_number: 1, transactions: 0 })
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
        assert!(!ledger.may_promise().await);
        let refused = ledger.write(unblinded(5, 1), claim(5, 1)).await;
        assert!(matches!(refused, Err(WriteError::Journal(AppendError::NoSpace { .. }))), "{refused:?}");
        ledger.write_owed(unblinded(5, 1), claim(5, 1)).await.unwrap();
        let refused = ledger.write_owed(unblinded(5, 2), claim(5, 2)).await;
        assert!(matches!(refused, Err(WriteError::Claimed)), "{refused:?}");
        ledger.close();
        let ledger = open(directory.path());
        assert!(ledger.may_promise().await);
    }

    #[tokio::test]
    async fn a_closed_journal_ends_the_role() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = open(directory.path());
        ledger.close();
        let error = ApiError::from(ledger.write(unblinded(5, 1), vec![]).await.unwrap_err());
        assert_eq!((error.status.as_u16(), error.retry_after), (503, Some(1)));
        let part = earnest_http::Health::new().part("journal");
        let watched = ledger.watch(part, CancellationToken::new()).await;
        assert!(matches!(watched, Err(LedgerError::Broken)));
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_for_a_promise_does_not_wait_for_a_look() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = open(directory.path());
        assert!(ledger.may_promise().await);
        for pause in [WRITABLE_FOR, BELIEVED_FOR - WRITABLE_FOR * 2] {
            tokio::time::advance(pause).await;
            assert_eq!(ledger.may_promise().now_or_never(), Some(true), "after {pause:?}");
        }
        while ledger.inner.looking.load(Ordering::Acquire) {
            tokio::task::yield_now().await;
        }
        // What was true too long ago is not believed.
        ledger.close();
        tokio::time::advance(BELIEVED_FOR).await;
        assert!(!ledger.may_promise().await);
    }

    #[tokio::test]
    async fn whether_the_journal_takes_writes_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let health = earnest_http::Health::new();
        for (floor, expected) in [(0, Ok(())), (u64::MAX / 2, Err(()))] {
            let options = Options { free_space_floor: floor, ..Options::default() };
            let ledger = Ledger::open(directory.path(), options).unwrap();
            let stop = CancellationToken::new();
            let part = health.part("journal");
            ledger.tell(&part).await;
            assert_eq!(health.ready().map_err(|_| ()), expected);
            let watching = tokio::spawn(ledger.clone().watch(part, stop.clone()));
            stop.cancel();
            watching.await.unwrap().unwrap();
            ledger.close();
        }
    }
}
