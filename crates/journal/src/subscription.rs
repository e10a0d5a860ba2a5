use crate::head::Head;
use crate::{Entry, Log, ReadError};
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::watch;

/// How many records one read of a subscription takes.
const READ_RECORDS: usize = 256;
/// About how many bytes of bodies one read of a subscription takes.
const READ_BYTES: usize = 1024 * 1024;

/// What followers of a log are told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    pub(crate) head: Head,
    pub(crate) closed: bool,
}

/// Follows a log from a position: what is there first, then what is appended, without gaps.
///
/// It is pulled, so a slow reader holds nothing but its own position.
#[derive(Debug)]
pub struct Subscription {
    log: Arc<dyn Log>,
    progress: watch::Receiver<Progress>,
    next: u64,
    read: VecDeque<Entry>,
}

impl Subscription {
    pub(crate) fn new(log: Arc<dyn Log>, progress: watch::Receiver<Progress>, from: u64) -> Self {
        Self { log, progress, next: from, read: VecDeque::new() }
    }

    /// Position of the entry that [`Self::next`] gives.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.next
    }

    /// Waits for the next entry. Safe to cancel: an entry not returned is given by the next call.
    ///
    /// # Errors
    /// [`ReadError::Closed`] once the log is closed and everything before was given; otherwise when
    /// the log cannot be read.
    pub async fn next(&mut self) -> Result<Entry, ReadError> {
        loop {
            if let Some(entry) = self.read.pop_front() {
                self.next = entry.position.saturating_add(1);
                return Ok(entry);
            }
            let Progress { head, closed } = *self.progress.borrow_and_update();
            if head.count > self.next {
                self.read = self.fill().await?.into();
                if !self.read.is_empty() {
                    continue;
                }
            }
            if closed || self.progress.changed().await.is_err() {
                return Err(ReadError::Closed);
            }
        }
    }

    async fn fill(&self) -> Result<Vec<Entry>, ReadError> {
        if let Some(entries) = self.log.read_recent(self.next, READ_RECORDS) {
            return Ok(entries);
        }
        let (log, from) = (Arc::clone(&self.log), self.next);
        tokio::task::spawn_blocking(move || log.read(from, READ_RECORDS, READ_BYTES))
            .await
            .unwrap_or(Err(ReadError::Closed))
    }
}
