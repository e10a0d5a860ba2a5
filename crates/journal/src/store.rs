//! The database of a log: its tables, and the check of everything in them.

use crate::entry::{Claim, Row, genesis_hash};
use crate::head::Head;
use crate::{Entry, Fault};
use alloy_primitives::B256;
use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Version of the tables and rows. A log of a newer one is refused, so that a downgrade cannot
/// misread it.
pub const SCHEMA_VERSION: u64 = 1;

const ENTRIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("entries");
const CLAIMS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("claims");
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const META_SCHEMA: &str = "schema";
const META_LOG_ID: &str = "log_id";
const CLAIM_BYTES: usize = 32 + 8;

/// How the database of a log is opened; tests put a faulty disk here.
pub(crate) type Opener = Box<dyn Fn(&redb::Builder) -> Result<Database, redb::DatabaseError> + Send + Sync>;

/// What is wrong with a database.
#[derive(Debug)]
pub(crate) enum Defect {
    Broken { position: u64, reason: String },
    SchemaTooNew(u64),
    Fault(Fault),
}

impl<E: Into<redb::Error>> From<E> for Defect {
    fn from(error: E) -> Self {
        Self::Fault(fault(error))
    }
}

/// The engine's error, behind a type that does not name the engine.
pub(crate) fn fault(error: impl Into<redb::Error>) -> Fault {
    Box::new(error.into())
}

fn broken(position: u64, reason: impl Into<String>) -> Defect {
    Defect::Broken { position, reason: reason.into() }
}

/// An open database.
pub(crate) struct Store {
    database: Database,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

/// Lays the tables of a new log into an empty database.
pub(crate) fn initialise(database: &Database, log_id: &[u8; 16]) -> Result<(), redb::Error> {
    let write = database.begin_write()?;
    {
        let mut meta = write.open_table(META)?;
        meta.insert(META_SCHEMA, SCHEMA_VERSION.to_be_bytes().as_slice())?;
        meta.insert(META_LOG_ID, log_id.as_slice())?;
        write.open_table(ENTRIES)?;
        write.open_table(CLAIMS)?;
    }
    write.commit()?;
    Ok(())
}

impl Store {
    /// Opens the database and checks all of it: schema, identity, the chain from first to last, the
    /// claims against the chain, the `required` heads, and at last the engine's own pages.
    pub(crate) fn open(
        opener: &Opener,
        cache_bytes: usize,
        log_id: &[u8; 16],
        required: &[Head],
    ) -> Result<(Self, Head), Defect> {
        let mut builder = Database::builder();
        builder.set_cache_size(cache_bytes);
        let mut store = Self { database: opener(&builder)? };
        let mut head = store.verify(log_id, required)?;
        // The chain comes first because it can name a position; the engine's check then covers what
        // holds no records, such as the map of free pages.
        if !store.database.check_integrity()? {
            head = store.verify(log_id, required)?;
        }
        Ok((store, head))
    }

    fn verify(&self, log_id: &[u8; 16], required: &[Head]) -> Result<Head, Defect> {
        let mut reached = None;
        let verified = guarded(|| verify(&self.database.begin_read()?, log_id, required, &mut reached));
        match (verified, reached) {
            (Ok(Ok(head)), _) => Ok(head),
            (Ok(Err(Defect::Fault(fault))) | Err(fault), Some(Head { count, .. })) => {
                Err(broken(count, format!("the records after it cannot be read: {fault}")))
            }
            (Ok(Err(defect)), _) => Err(defect),
            (Err(fault), None) => Err(Defect::Fault(fault)),
        }
    }

    /// Appends rows and their claims in one durable commit.
    pub(crate) fn append(&self, rows: &[Row]) -> Result<(), redb::Error> {
        let write = self.database.begin_write()?;
        insert(&write, rows)?;
        write.commit()?;
        Ok(())
    }

    /// Rows from `from` on; see [`crate::Log::read`] for the limits. The first is checked against the
    /// row before it, each other against the one it follows.
    pub(crate) fn read(
        &self,
        log_id: &[u8; 16],
        from: u64,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Vec<Entry>, Defect> {
        let read = self.database.begin_read()?;
        let entries = read.open_table(ENTRIES)?;
        let mut parent = match from.checked_sub(1) {
            None => genesis_hash(log_id),
            Some(before) => match entries.get(before)? {
                None => return Ok(Vec::new()),
                Some(value) => {
                    Row::decode(before, value.value())
                        .ok_or_else(|| broken(before, "the record cannot be decoded"))?
                        .entry
                        .hash
                }
            },
        };
        let mut bytes = 0usize;
        let mut taken: Vec<Entry> = Vec::new();
        for (position, item) in (from..).zip(entries.range(from..)?.take(max_records)) {
            let (key, value) = item?;
            let row = Row::decode(position, value.value())
                .filter(|row| key.value() == position && row.follows(parent))
                .ok_or_else(|| broken(position, "the record does not match the hash chain"))?;
            bytes = bytes.saturating_add(row.entry.body.len());
            if bytes > max_bytes && !taken.is_empty() {
                break;
            }
            parent = row.entry.hash;
            taken.push(row.entry);
        }
        Ok(taken)
    }

    /// The value held for a key.
    pub(crate) fn claimed(&self, key: &[u8]) -> Result<Option<B256>, Defect> {
        let read = self.database.begin_read()?;
        let claims = read.open_table(CLAIMS)?;
        let Some(held) = claims.get(key)? else { return Ok(None) };
        let (value, _) = decode_claim(held.value()).ok_or_else(|| broken(0, "a claim cannot be decoded"))?;
        Ok(Some(value))
    }

    /// The claims under a prefix.
    pub(crate) fn claims(&self, prefix: &[u8]) -> Result<Vec<Claim>, Defect> {
        let read = self.database.begin_read()?;
        let claims = read.open_table(CLAIMS)?;
        let mut found = Vec::new();
        for item in claims.range(prefix..)? {
            let (key, held) = item?;
            if !key.value().starts_with(prefix) {
                break;
            }
            let (value, _) =
                decode_claim(held.value()).ok_or_else(|| broken(0, "a claim cannot be decoded"))?;
            found.push(Claim { key: key.value().to_vec(), value });
        }
        Ok(found)
    }

    /// Closes the database; the engine's error is only worth a log line, since every record in it is
    /// already durable.
    pub(crate) fn close(self) {
        if let Err(error) = self.database.close() {
            tracing::warn!(%error, "the journal's database did not close cleanly");
        }
    }
}

/// Checks all of a log from first to last. `reached` is the last head that was whole, also when this
/// ends in an error.
pub(crate) fn verify(
    read: &ReadTransaction,
    log_id: &[u8; 16],
    required: &[Head],
    reached: &mut Option<Head>,
) -> Result<Head, Defect> {
    check_identity(read, log_id)?;
    let entries = read.open_table(ENTRIES)?;
    let claims = read.open_table(CLAIMS)?;
    let mut head = Head { count: 0, hash: genesis_hash(log_id) };
    let mut claimed = 0u64;
    *reached = Some(head);
    for item in entries.iter()? {
        let (key, value) = item?;
        if key.value() != head.count {
            return Err(broken(head.count, format!("the next record is {}", key.value())));
        }
        let row = Row::decode(head.count, value.value())
            .ok_or_else(|| broken(head.count, "the record cannot be decoded"))?;
        if !row.follows(head.hash) {
            return Err(broken(head.count, "the record does not match the hash chain"));
        }
        for Claim { key, value } in &row.claims {
            let held = claims.get(key.as_slice())?;
            if held.and_then(|held| decode_claim(held.value())) != Some((*value, head.count)) {
                return Err(broken(head.count, "a claim made here is not in the table of claims"));
            }
            claimed = claimed.saturating_add(1);
        }
        let count = head.count.checked_add(1).ok_or_else(|| broken(head.count, "the log is full"))?;
        head = Head { count, hash: row.entry.hash };
        *reached = Some(head);
        if required.iter().any(|known| known.count == head.count && known.hash != head.hash) {
            return Err(broken(row.entry.position, "another record was acknowledged here"));
        }
    }
    if let Some(missing) = required.iter().find(|known| known.count > head.count) {
        let reason = format!("the log ends here, but {} records were acknowledged", missing.count);
        return Err(broken(head.count, reason));
    }
    let mut held = 0u64;
    for item in claims.iter()? {
        item?;
        held = held.saturating_add(1);
    }
    if held != claimed {
        let reason = format!("the table of claims holds {held}, the records made {claimed}");
        return Err(broken(head.count, reason));
    }
    Ok(head)
}

/// Runs the engine, which may panic on a file that was altered behind its back: that is a fault like
/// any other.
pub(crate) fn guarded<T>(run: impl FnOnce() -> T) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|_| "the storage engine met a page it cannot read".into())
}

fn insert(write: &WriteTransaction, rows: &[Row]) -> Result<(), redb::Error> {
    let mut entries = write.open_table(ENTRIES)?;
    for row in rows {
        entries.insert(row.entry.position, row.encode().as_slice())?;
    }
    if rows.iter().all(|row| row.claims.is_empty()) {
        return Ok(());
    }
    let mut claims = write.open_table(CLAIMS)?;
    for row in rows {
        for Claim { key, value } in &row.claims {
            let mut held = [0u8; CLAIM_BYTES];
            let (value_bytes, position_bytes) = held.split_at_mut(32);
            value_bytes.copy_from_slice(value.as_slice());
            position_bytes.copy_from_slice(&row.entry.position.to_be_bytes());
            claims.insert(key.as_slice(), held.as_slice())?;
        }
    }
    Ok(())
}

fn decode_claim(held: &[u8]) -> Option<(B256, u64)> {
    let (value, position) = held.split_first_chunk::<32>()?;
    Some((B256::new(*value), u64::from_be_bytes(position.try_into().ok()?)))
}

fn check_identity(read: &ReadTransaction, log_id: &[u8; 16]) -> Result<(), Defect> {
    let meta = read.open_table(META)?;
    let schema = meta
        .get(META_SCHEMA)?
        .and_then(|value| value.value().try_into().ok().map(u64::from_be_bytes))
        .ok_or_else(|| broken(0, "the database names no schema"))?;
    if schema > SCHEMA_VERSION {
        return Err(Defect::SchemaTooNew(schema));
    }
    if schema != SCHEMA_VERSION {
        return Err(broken(0, format!("unknown schema {schema}")));
    }
    let same = meta.get(META_LOG_ID)?.is_some_and(|value| value.value() == log_id.as_slice());
    if !same {
        return Err(broken(0, "the head file belongs to another log"));
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// Writes another schema version into a database.
    pub(crate) fn set_schema(path: &std::path::Path, schema: u64) {
        let database = Database::open(path).unwrap();
        let write = database.begin_write().unwrap();
        write.open_table(META).unwrap().insert(META_SCHEMA, schema.to_be_bytes().as_slice()).unwrap();
        write.commit().unwrap();
    }

    /// Changes the table of claims behind the log's back.
    pub(crate) fn with_claims(
        path: &std::path::Path,
        change: impl FnOnce(&mut redb::Table<'_, &[u8], &[u8]>),
    ) {
        let database = Database::open(path).unwrap();
        let write = database.begin_write().unwrap();
        change(&mut write.open_table(CLAIMS).unwrap());
        write.commit().unwrap();
    }

    /// Changes the table of records behind the log's back.
    pub(crate) fn with_entries(
        path: &std::path::Path,
        change: impl FnOnce(&mut redb::Table<'_, u64, &[u8]>),
    ) {
        let database = Database::open(path).unwrap();
        let write = database.begin_write().unwrap();
        change(&mut write.open_table(ENTRIES).unwrap());
        write.commit().unwrap();
    }
}
