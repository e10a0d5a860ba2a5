use alloy_primitives::{B256, Bytes};
use std::path::PathBuf;

/// The storage engine's own error.
pub type Fault = Box<dyn std::error::Error + Send + Sync + 'static>;

/// Why a log did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process (or another [`Journal`](crate::Journal) of this one) has the log open.
    #[error("the journal at {} is in use by another process", path.display())]
    Locked {
        /// The journal's directory.
        path: PathBuf,
    },
    /// The log was written by a newer version than this one can read.
    #[error("the journal at {} has schema {found}, this version knows {supported}: downgrade refused", path.display())]
    SchemaTooNew {
        /// The journal's directory.
        path: PathBuf,
        /// Schema of the log.
        found: u64,
        /// Newest schema this version reads.
        supported: u64,
    },
    /// The log is damaged: records up to `position` are whole, the one there is not.
    #[error("the journal at {} is broken at position {position}: {reason}", path.display())]
    Broken {
        /// The journal's directory.
        path: PathBuf,
        /// First position that cannot be trusted.
        position: u64,
        /// What was found there.
        reason: String,
    },
    /// The storage engine refuses the database file.
    #[error("the journal's database at {} does not open: {source}", path.display())]
    Database {
        /// The database file.
        path: PathBuf,
        /// The engine's error.
        source: Fault,
    },
    /// A file of the log cannot be read or written.
    #[error("cannot open the journal at {}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The log was closed with [`Journal::close`](crate::Journal::close).
    #[error("the journal was closed")]
    Closed,
}

/// Why a batch was not appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The log has moved on. Nothing was written.
    #[error("the journal's head is at {head}")]
    Conflict {
        /// The head, as a number of records.
        head: u64,
    },
    /// A claim's key already holds another value. Nothing was written.
    #[error("claim {key} already holds {existing}")]
    Refused {
        /// The claim's key.
        key: Bytes,
        /// The value it holds.
        existing: B256,
    },
    /// The disk has less free space than the floor. Nothing was written; reads go on.
    #[error("{free} bytes free on the journal's disk, the floor is {floor}")]
    NoSpace {
        /// Bytes free to this process.
        free: u64,
        /// The configured floor in bytes, with what this batch needs.
        floor: u64,
    },
    /// A record, a claim or the batch is larger than the log takes. Nothing was written.
    #[error("{what} is {size}, at most {limit} is taken")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size in bytes, or its number.
        size: usize,
        /// The limit in the same unit.
        limit: usize,
    },
    /// The write failed. Whether it took place is known only after [`Journal::reopen`](crate::Journal::reopen).
    #[error("writing the journal failed: {0}")]
    Io(#[source] Fault),
    /// An earlier write failed; the log takes nothing until it was reopened.
    #[error("an earlier write to the journal failed: reopen it first")]
    Failed,
    /// The log was closed.
    #[error("the journal is closed")]
    Closed,
}

/// Why a read gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A record read back does not match its hash.
    #[error("the journal is broken at position {position}: {reason}")]
    Broken {
        /// The record's position.
        position: u64,
        /// What was found there.
        reason: String,
    },
    /// The storage engine failed.
    #[error("reading the journal failed: {0}")]
    Io(#[source] Fault),
    /// The log was closed.
    #[error("the journal is closed")]
    Closed,
}
