use crate::directory::{self, DATABASE_FILE, HEAD_FILE};
use crate::entry::{
    Batch, Claim, Entry, KIND_CLAIMS, MAX_BODY_BYTES, MAX_CLAIMS, MAX_KEY_BYTES, Record, Row,
};
use crate::error::{AppendError, OpenError, ReadError};
use crate::head::{Head, HeadFile};
use crate::recent::Recent;
use crate::store::{self, Defect, Opener, SCHEMA_VERSION, Store};
use crate::subscription::{Progress, Subscription};
use crate::{Log, inspect};
use alloy_primitives::B256;
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::watch;

/// Bytes that must be free for any append, beside twice its size: the engine writes whole pages, and some of its own. A write
/// that finds no room halfway closes the log to appends; one that is not begun costs nothing.
const SPARE_BYTES: u64 = 1024 * 1024;

/// Settings of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes that must stay free on the disk: an append that would leave less is refused.
    pub free_space_floor: u64,
    /// Bytes of memory the storage engine may use as cache.
    pub cache_bytes: usize,
    /// Bytes of the newest records kept in memory for those who follow the log.
    pub recent_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        const MIB: usize = 1024 * 1024;
        Self { free_space_floor: 256 * 1024 * 1024, cache_bytes: 64 * MIB, recent_bytes: 8 * MIB }
    }
}

/// A log in a directory of its own; see the [crate's page](crate). Clones are the same log.
#[derive(Clone, Debug)]
pub struct Journal {
    shared: Arc<Shared>,
}

struct Shared {
    directory: PathBuf,
    options: Options,
    log_id: [u8; 16],
    opener: Opener,
    lock: Mutex<Option<File>>,
    /// Taken before `store` by whoever takes both.
    writer: Mutex<Writer>,
    store: RwLock<Option<Store>>,
    recent: RwLock<Recent>,
    progress: watch::Sender<Progress>,
}

#[derive(Debug)]
struct Writer {
    head: Head,
    at_ms: u64,
    head_file: HeadFile,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// A write failed, or did not come back: what the disk holds is not known.
    Failed,
    Closed,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal")
            .field("directory", &self.directory)
            .field("head", &self.progress.borrow().head.count)
            .finish_non_exhaustive()
    }
}

impl Journal {
    /// Opens the log in a directory, which is made if it is not there, and checks all of it.
    ///
    /// # Errors
    /// [`OpenError::Locked`] if it is open elsewhere, [`OpenError::Broken`] with the position if a
    /// record, a claim or the end of the log is not what was acknowledged, [`OpenError::SchemaTooNew`]
    /// if a newer version wrote it.
    pub fn open(path: &Path, options: Options) -> Result<Self, OpenError> {
        let database = path.join(DATABASE_FILE);
        Self::open_with(path, options, Box::new(move |builder| builder.open(&database)))
    }

    pub(crate) fn open_with(path: &Path, options: Options, opener: Opener) -> Result<Self, OpenError> {
        let lock = directory::lock(path)?;
        let (head_file, log_id, head) = match directory::find(path)? {
            Some(found) => found,
            None => directory::create(path)?,
        };
        let (store, verified) = open_store(path, &opener, options.cache_bytes, &log_id, &[head])?;
        let mut writer = Writer { head: verified, at_ms: 0, head_file, state: State::Open };
        writer.settle(&store, &log_id, path)?;
        let (progress, _) = watch::channel(Progress { head: verified, closed: false });
        let shared = Shared {
            directory: path.to_path_buf(),
            options,
            log_id,
            opener,
            lock: Mutex::new(Some(lock)),
            writer: Mutex::new(writer),
            store: RwLock::new(Some(store)),
            recent: RwLock::new(Recent::new(options.recent_bytes)),
            progress,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Closes the database and opens it again, with all checks of [`Journal::open`]; the way back
    /// after [`AppendError::Io`]. Returns the head, which is at least the last acknowledged one.
    ///
    /// # Errors
    /// As [`Journal::open`]; the log then stays closed to reads and writes, and this may be tried
    /// again.
    pub fn reopen(&self) -> Result<u64, OpenError> {
        let shared = &*self.shared;
        let mut writer = shared.writer.lock();
        if writer.state == State::Closed {
            return Err(OpenError::Closed);
        }
        writer.state = State::Failed;
        let mut store = shared.store.write();
        if let Some(failed) = store.take() {
            failed.close();
        }
        directory::forget_cached_pages(&shared.directory.join(DATABASE_FILE));
        let required = [writer.head];
        let cache_bytes = shared.options.cache_bytes;
        let (opened, verified) =
            open_store(&shared.directory, &shared.opener, cache_bytes, &shared.log_id, &required)?;
        writer.head = verified;
        writer.settle(&opened, &shared.log_id, &shared.directory)?;
        shared.recent.write().clear();
        *store = Some(opened);
        writer.state = State::Open;
        shared.progress.send_modify(|progress| progress.head = verified);
        Ok(verified.count)
    }

    /// Closes the log and frees its lock, whoever else still holds a clone. Subscriptions end.
    pub fn close(&self) {
        self.shared.close();
    }

    /// The log's directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.shared.directory
    }

    /// Bytes of the log's database on the disk.
    ///
    /// # Errors
    /// When the file cannot be looked at.
    pub fn disk_bytes(&self) -> std::io::Result<u64> {
        Ok(std::fs::metadata(self.shared.directory.join(DATABASE_FILE))?.len())
    }

    /// Whether an append can be accepted: the log is open, no write has failed, and the disk has room.
    /// For readiness; an append checks this itself.
    ///
    /// # Errors
    /// What an append would answer.
    pub fn writable(&self) -> Result<(), AppendError> {
        self.shared.writer.lock().accepts()?;
        self.shared.check_space(0, self.shared.options.free_space_floor)
    }

    /// Bytes free on the log's disk, whatever the floor is. For those who judge by more than one floor.
    ///
    /// # Errors
    /// As [`Journal::writable`], without the floor.
    pub fn room(&self) -> Result<u64, AppendError> {
        self.shared.writer.lock().accepts()?;
        self.shared.free()
    }

    fn append_at(&self, expected: Option<u64>, batch: Batch, floor: u64) -> Result<u64, AppendError> {
        let shared = &*self.shared;
        let size = check_sizes(&batch)?;
        let mut writer = shared.writer.lock();
        writer.accepts()?;
        if expected.is_some_and(|expected| expected != writer.head.count) {
            return Err(AppendError::Conflict { head: writer.head.count });
        }
        let open = shared.store.read();
        let store = open.as_ref().ok_or(AppendError::Failed)?;
        let claims = new_claims(store, batch.claims)?;
        let mut records = batch.records;
        if records.is_empty() {
            if claims.is_empty() {
                return Ok(writer.head.count);
            }
            records.push(Record { kind: KIND_CLAIMS, body: Bytes::new() });
        }
        shared.check_space(size, floor)?;
        let at_ms = now_ms().max(writer.at_ms);
        let (rows, head) = chain(writer.head, at_ms, records, claims)?;
        // Whatever ends the write other than its success leaves the log closed to appends, an unwinding
        // stack included.
        writer.state = State::Failed;
        store::guarded(|| store.append(&rows).map_err(store::fault))
            .and_then(|done| done)
            .map_err(AppendError::Io)?;
        writer.head = head;
        writer.at_ms = at_ms;
        match writer.head_file.write(head) {
            Ok(()) => writer.state = State::Open,
            Err(error) => tracing::error!(%error, "the journal's head file cannot be written"),
        }
        {
            let mut recent = shared.recent.write();
            rows.into_iter().for_each(|row| recent.push(row.entry));
        }
        shared.progress.send_modify(|progress| progress.head = head);
        Ok(head.count)
    }

    fn with_store<T>(&self, read: impl FnOnce(&Store) -> Result<T, Defect>) -> Result<T, ReadError> {
        let open = self.shared.store.read();
        let store = open.as_ref().ok_or(ReadError::Closed)?;
        store::guarded(|| read(store)).map_err(ReadError::Io)?.map_err(|defect| match defect {
            Defect::Broken { position, reason } => ReadError::Broken { position, reason },
            Defect::SchemaTooNew(schema) => {
                ReadError::Broken { position: 0, reason: format!("schema {schema}") }
            }
            Defect::Fault(fault) => ReadError::Io(fault),
        })
    }
}

impl Log for Journal {
    fn head(&self) -> u64 {
        self.shared.progress.borrow().head.count
    }

    fn head_hash(&self) -> B256 {
        self.shared.progress.borrow().head.hash
    }

    fn append(&self, expected: u64, batch: Batch) -> Result<u64, AppendError> {
        self.append_at(Some(expected), batch, self.shared.options.free_space_floor)
    }

    fn append_next(&self, batch: Batch) -> Result<u64, AppendError> {
        self.append_at(None, batch, self.shared.options.free_space_floor)
    }

    fn append_owed(&self, expected: Option<u64>, batch: Batch) -> Result<u64, AppendError> {
        self.append_at(expected, batch, 0)
    }

    fn read(&self, from: u64, max_records: usize, max_bytes: usize) -> Result<Vec<Entry>, ReadError> {
        if let Some(entries) = self.shared.recent.read().read(from, max_records, max_bytes) {
            return Ok(entries);
        }
        self.with_store(|store| store.read(&self.shared.log_id, from, max_records, max_bytes))
    }

    fn read_recent(&self, from: u64, max_records: usize) -> Option<Vec<Entry>> {
        self.shared.recent.read().read(from, max_records, usize::MAX)
    }

    fn claimed(&self, key: &[u8]) -> Result<Option<B256>, ReadError> {
        self.with_store(|store| store.claimed(key))
    }

    fn claims(&self, prefix: &[u8]) -> Result<Vec<Claim>, ReadError> {
        self.with_store(|store| store.claims(prefix))
    }

    fn subscribe(&self, from: u64) -> Subscription {
        Subscription::new(Arc::new(self.clone()), self.shared.progress.subscribe(), from)
    }
}

impl Shared {
    fn close(&self) {
        let mut writer = self.writer.lock();
        if writer.state == State::Closed {
            return;
        }
        writer.state = State::Closed;
        if let Some(open) = self.store.write().take() {
            open.close();
        }
        if let Err(error) = writer.head_file.sync() {
            tracing::warn!(%error, "the journal's head file was not synced");
        }
        self.lock.lock().take();
        self.progress.send_modify(|progress| progress.closed = true);
    }

    /// Refuses a batch that would leave less than `floor` free, or that may not fit.
    fn check_space(&self, size: u64, floor: u64) -> Result<(), AppendError> {
        let free = self.free()?;
        let floor = floor.max(SPARE_BYTES).saturating_add(size.saturating_mul(2));
        if free < floor { Err(AppendError::NoSpace { free, floor }) } else { Ok(()) }
    }

    fn free(&self) -> Result<u64, AppendError> {
        let lock = self.lock.lock();
        let lock = lock.as_ref().ok_or(AppendError::Closed)?;
        let disk = rustix::fs::fstatvfs(lock).map_err(|error| AppendError::Io(Box::new(error)))?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.close();
    }
}

impl Writer {
    const fn accepts(&self) -> Result<(), AppendError> {
        match self.state {
            State::Open => Ok(()),
            State::Failed => Err(AppendError::Failed),
            State::Closed => Err(AppendError::Closed),
        }
    }

    /// Takes the time of the newest record and makes the head durable, after the log was checked.
    fn settle(&mut self, store: &Store, log_id: &[u8; 16], directory: &Path) -> Result<(), OpenError> {
        if let Some(newest) = self.head.count.checked_sub(1) {
            let read = store.read(log_id, newest, 1, 0);
            let read = read.map_err(|defect| opening(directory, defect))?;
            self.at_ms = read.first().map_or(0, |entry| entry.at_ms);
        }
        let path = directory.join(HEAD_FILE);
        let written = self.head_file.write(self.head).and_then(|()| self.head_file.sync());
        written.map_err(|source| OpenError::Io { path, source })
    }
}

fn open_store(
    path: &Path,
    opener: &Opener,
    cache_bytes: usize,
    log_id: &[u8; 16],
    required: &[Head],
) -> Result<(Store, Head), OpenError> {
    let opened = store::guarded(|| Store::open(opener, cache_bytes, log_id, required));
    opened.unwrap_or_else(|fault| Err(Defect::Fault(fault))).map_err(|defect| {
        let found = match defect {
            Defect::Fault(_) => inspect::find_break(&path.join(DATABASE_FILE), cache_bytes, log_id, required),
            Defect::Broken { .. } | Defect::SchemaTooNew(_) => None,
        };
        opening(path, found.map_or(defect, |(position, reason)| Defect::Broken { position, reason }))
    })
}

fn opening(path: &Path, defect: Defect) -> OpenError {
    let directory = path.to_path_buf();
    match defect {
        Defect::Broken { position, reason } => OpenError::Broken { path: directory, position, reason },
        Defect::SchemaTooNew(found) => {
            OpenError::SchemaTooNew { path: directory, found, supported: SCHEMA_VERSION }
        }
        Defect::Fault(source) => OpenError::Database { path: path.join(DATABASE_FILE), source },
    }
}

/// Bytes the batch needs at most, or which part of it is too large.
fn check_sizes(batch: &Batch) -> Result<u64, AppendError> {
    let within = |what, size, limit| {
        if size > limit { Err(AppendError::TooLarge { what, size, limit }) } else { Ok(size) }
    };
    within("number of claims", batch.claims.len(), MAX_CLAIMS)?;
    let mut total = 0usize;
    for record in &batch.records {
        total = total.saturating_add(within("record", record.body.len(), MAX_BODY_BYTES)?);
    }
    for claim in &batch.claims {
        total = total.saturating_add(within("claim key", claim.key.len(), MAX_KEY_BYTES)?);
    }
    within("batch", total, MAX_BODY_BYTES)?;
    Ok(u64::try_from(total).unwrap_or(u64::MAX))
}

/// The claims of a batch that are not held yet.
fn new_claims(store: &Store, claims: Vec<Claim>) -> Result<Vec<Claim>, AppendError> {
    let mut new = BTreeMap::new();
    for Claim { key, value } in claims {
        let held = match new.get(&key) {
            Some(value) => Some(*value),
            None => store.claimed(&key).map_err(|defect| {
                AppendError::Io(match defect {
                    Defect::Fault(fault) => fault,
                    Defect::Broken { reason, .. } => reason.into(),
                    Defect::SchemaTooNew(schema) => format!("schema {schema}").into(),
                })
            })?,
        };
        match held {
            None => {
                new.insert(key, value);
            }
            Some(existing) if existing != value => {
                return Err(AppendError::Refused { key: key.into(), existing });
            }
            Some(_) => {}
        }
    }
    Ok(new.into_iter().map(|(key, value)| Claim { key, value }).collect())
}

/// Chains the records to the head; the first carries the batch's claims.
fn chain(
    head: Head,
    at_ms: u64,
    records: Vec<Record>,
    claims: Vec<Claim>,
) -> Result<(Vec<Row>, Head), AppendError> {
    let mut head = head;
    let mut claims = Some(claims);
    let mut rows = Vec::with_capacity(records.len());
    for record in records {
        let row = Row::chain(head.hash, head.count, at_ms, record, claims.take().unwrap_or_default());
        let count = head.count.checked_add(1);
        let count =
            count.ok_or(AppendError::TooLarge { what: "log", size: usize::MAX, limit: usize::MAX })?;
        head = Head { count, hash: row.entry.hash };
        rows.push(row);
    }
    Ok((rows, head))
}

fn now_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}
