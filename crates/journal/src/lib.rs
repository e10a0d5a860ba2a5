//! The durable log that everything which must outlive a crash is written to first (design §10).
//!
//! A [`Journal`] is a directory holding one [redb] database, a small head file and a lock. It
//! gives its one writer three things:
//!
//! - **records**, appended at an expected position and chained by hash. The chain is checked from the
//!   first record to the last on opening: a break refuses to start and names its position.
//! - **claims**, the sign-once table. A claim binds a key (who signs, and for which place) to one
//!   value for ever, and is made in the same durable write as the records beside it.
//! - a **head file** that names the newest acknowledged record outside the database. redb falls back
//!   to its previous commit when the newest one does not verify, which after a fault of the disk would
//!   look like a shorter but healthy log; the head file turns that into a refusal.
//!
//! An append is on disk when it returns, at the price of one `fdatasync`. After a failed write nothing
//! more is accepted until [`Journal::reopen`], which finds every acknowledged record.
//!
//! All calls but [`Subscription::next`] block; asynchronous callers move them to a blocking thread.

mod directory;
mod entry;
mod error;
mod head;
mod inspect;
mod journal;
mod recent;
mod store;
mod subscription;
#[cfg(test)]
mod tests;

pub use entry::{Batch, Claim, Entry, KIND_CLAIMS, MAX_BODY_BYTES, MAX_CLAIMS, MAX_KEY_BYTES, Record};
pub use error::{AppendError, Fault, OpenError, ReadError};
pub use journal::{Journal, Options};
pub use store::SCHEMA_VERSION;
pub use subscription::Subscription;

use alloy_primitives::B256;
use std::fmt::Debug;

/// An append-only log of records with sign-once claims.
///
/// The expected position of [`Log::append`] is the fence against a second writer: whoever read an
/// older head is told so and writes nothing.
pub trait Log: Debug + Send + Sync + 'static {
    /// Number of records in the log, which is the position the next one gets.
    fn head(&self) -> u64;

    /// Hash of the newest record, which stands for the whole log up to it. Of an empty log, the
    /// value that its first record is chained to.
    fn head_hash(&self) -> B256;

    /// Appends a batch at `expected` and returns the new head. Records and claims are durable
    /// together, or not at all. A claim that is already held with the same value is no new claim; a
    /// batch with nothing new is not written.
    ///
    /// # Errors
    /// [`AppendError::Conflict`] if the head is not at `expected`, [`AppendError::Refused`] if a claim
    /// is held with another value; [`AppendError`] has the rest. In every case but
    /// [`AppendError::Io`] nothing was written; after that one the outcome is known only once the log
    /// was reopened.
    fn append(&self, expected: u64, batch: Batch) -> Result<u64, AppendError>;

    /// Appends a batch wherever the head is. For writers whose records do not depend on those before
    /// them, such as sign-once claims.
    ///
    /// # Errors
    /// As [`Log::append`], without the conflict.
    fn append_next(&self, batch: Batch) -> Result<u64, AppendError>;

    /// Appends, at `expected` or wherever the head is, what keeps a promise already made: it may use the space
    /// below the free-space floor, which is kept for just that.
    ///
    /// # Errors
    /// As [`Log::append`]; [`AppendError::NoSpace`] only if the disk may not hold the batch.
    fn append_owed(&self, expected: Option<u64>, batch: Batch) -> Result<u64, AppendError>;

    /// Reads records in order from position `from`, at most `max_records` and about `max_bytes` of
    /// bodies, but always at least one if there is one. Empty at the head or beyond.
    ///
    /// # Errors
    /// [`ReadError::Broken`] if a record no longer matches its hash.
    fn read(&self, from: u64, max_records: usize, max_bytes: usize) -> Result<Vec<Entry>, ReadError>;

    /// Reads as [`Log::read`] does, but only what is at hand without the disk. `None` if `from` is
    /// not.
    fn read_recent(&self, from: u64, max_records: usize) -> Option<Vec<Entry>>;

    /// The value held for a claim key.
    ///
    /// # Errors
    /// When the log cannot be read.
    fn claimed(&self, key: &[u8]) -> Result<Option<B256>, ReadError>;

    /// Every claim whose key starts with `prefix`, in key order.
    ///
    /// # Errors
    /// When the log cannot be read.
    fn claims(&self, prefix: &[u8]) -> Result<Vec<Claim>, ReadError>;

    /// Follows the log from position `from`: first what is there, then what is appended.
    fn subscribe(&self, from: u64) -> Subscription;
}
