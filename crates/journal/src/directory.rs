//! The files of a log: which ones there are, how they come to be, and who may use them.

use crate::entry::genesis_hash;
use crate::error::{Fault, OpenError};
use crate::head::{Found, Head, HeadFile};
use crate::store::{self, SCHEMA_VERSION};
use alloy_primitives::FixedBytes;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

pub(crate) const DATABASE_FILE: &str = "log.redb";
pub(crate) const HEAD_FILE: &str = "head";
const NEW_DATABASE_FILE: &str = "log.redb.new";
const LOCK_FILE: &str = "lock";

/// Makes the directory if need be and locks it for this process.
pub(crate) fn lock(path: &Path) -> Result<File, OpenError> {
    let failed = |source| OpenError::Io { path: path.to_path_buf(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let lock = options.open(path.join(LOCK_FILE)).map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked { path: path.to_path_buf() }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// Finds the head file of a log that is already there; `None` if there is no log yet.
pub(crate) fn find(path: &Path) -> Result<Option<(HeadFile, [u8; 16], Head)>, OpenError> {
    let (head_path, database) = (path.join(HEAD_FILE), path.join(DATABASE_FILE));
    let failed = |source| OpenError::Io { path: head_path.clone(), source };
    let broken =
        |reason: &str| OpenError::Broken { path: path.to_path_buf(), position: 0, reason: reason.to_owned() };
    let has_database = database.try_exists().map_err(failed)?;
    let (file, found) = match HeadFile::open(&head_path) {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound && !has_database => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(broken("the head file is missing beside the database"));
        }
        Err(error) => return Err(failed(error)),
    };
    match found {
        Found::TooNew(format) => Err(OpenError::SchemaTooNew {
            path: path.to_path_buf(),
            found: u64::from(format),
            supported: SCHEMA_VERSION,
        }),
        Found::Nothing if has_database => Err(broken("the head file cannot be read")),
        Found::Nothing => Ok(None),
        Found::Head { head, .. } if !has_database && head.count > 0 => {
            Err(broken(&format!("the database is missing, but {} records were acknowledged", head.count)))
        }
        Found::Head { .. } if !has_database => Ok(None),
        Found::Head { log_id, head, slot } => Ok(Some((HeadFile::resume(file, log_id, slot), log_id, head))),
    }
}

/// Makes a new log. The database appears under its name only when it is whole, and the head file
/// before it.
pub(crate) fn create(path: &Path) -> Result<(HeadFile, [u8; 16], Head), OpenError> {
    let log_id = FixedBytes::<16>::random().0;
    let head = Head { count: 0, hash: genesis_hash(&log_id) };
    let io = |source| OpenError::Io { path: path.to_path_buf(), source };
    let head_file = HeadFile::create(&path.join(HEAD_FILE), log_id, head).map_err(io)?;
    let fresh = path.join(NEW_DATABASE_FILE);
    let engine = |source: Fault| OpenError::Database { path: fresh.clone(), source };
    match std::fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
        Ok(()) | Err(_) => {}
    }
    let database = redb::Database::create(&fresh).map_err(|error| engine(store::fault(error)))?;
    store::initialise(&database, &log_id).map_err(|error| engine(Box::new(error)))?;
    database.close().map_err(|error| engine(store::fault(error)))?;
    File::open(&fresh).and_then(|file| file.sync_all()).map_err(io)?;
    std::fs::rename(&fresh, path.join(DATABASE_FILE)).map_err(io)?;
    File::open(path).and_then(|directory| directory.sync_all()).map_err(io)?;
    Ok((head_file, log_id, head))
}

/// After a failed sync the system may serve from memory what never reached the disk. Best effort:
/// what is read next should be what the disk has.
pub(crate) fn forget_cached_pages(database: &Path) {
    let forgotten = File::open(database).map_err(Fault::from).and_then(|file| {
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).map_err(Fault::from)
    });
    if let Err(error) = forgotten {
        tracing::debug!(%error, "the database's cached pages were not dropped");
    }
}
