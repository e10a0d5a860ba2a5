//! Finds where a log breaks that the storage engine refuses to open.
//!
//! After a crash the engine verifies its pages before it lets anything be read, and says only that
//! they are corrupted. Nothing here repairs or writes: the file is read as it lies, and the chain says
//! up to where it is whole.

use crate::head::Head;
use crate::store::{self, Defect};
use redb::{BackendError, ConcurrencyMode, Database, ReadableDatabase, StorageBackend};
use std::fs::File;
use std::io;
use std::ops::Bound;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Where the engine's header keeps its flags, and the one that says it was not closed.
const FLAGS_OFFSET: u64 = 9;
const NOT_CLOSED: u8 = 2;

/// The database file, read only, seen as if it had been closed. The log's own lock keeps others out.
#[derive(Debug)]
struct AsItLies(File);

impl StorageBackend for AsItLies {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(self.0.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.0.read_exact_at(out, offset)?;
        let flags = FLAGS_OFFSET.checked_sub(offset).and_then(|at| usize::try_from(at).ok());
        if let Some(flags) = flags.and_then(|at| out.get_mut(at)) {
            *flags &= !NOT_CLOSED;
        }
        Ok(())
    }

    fn set_len(&self, _: u64) -> Result<(), io::Error> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        Ok(())
    }

    fn write(&self, _: u64, _: &[u8]) -> Result<(), io::Error> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn try_lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(true)
    }

    fn try_lock_shared_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(true)
    }

    fn lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }

    fn lock_shared_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }

    fn unlock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }

    fn query_lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(false)
    }
}

/// The first position that cannot be trusted, and why. `None` if the records can all be read, so that
/// the damage is the engine's own, or if not even the tables can be found.
pub(crate) fn find_break(
    database: &Path,
    cache_bytes: usize,
    log_id: &[u8; 16],
    required: &[Head],
) -> Option<(u64, String)> {
    let mut reached = None;
    let looked = store::guarded(|| {
        let file = File::open(database).map_err(|error| Defect::Fault(Box::new(error)))?;
        let mut builder = Database::builder();
        builder.set_cache_size(cache_bytes).set_concurrency_mode(ConcurrencyMode::SingleWriter);
        let database = builder.open_read_only_with_backend(AsItLies(file))?;
        store::verify(&database.begin_read()?, log_id, required, &mut reached)
    });
    match looked {
        Ok(Ok(_) | Err(Defect::SchemaTooNew(_))) => None,
        Ok(Err(Defect::Broken { position, reason })) => Some((position, reason)),
        Ok(Err(Defect::Fault(fault))) | Err(fault) => {
            reached.map(|Head { count, .. }| (count, format!("the records after it cannot be read: {fault}")))
        }
    }
}
