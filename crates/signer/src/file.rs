//! Reading within bounds, and writing secrets so that only their owner reads them.

use crate::KeystoreError;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use zeroize::Zeroizing;

/// Reads a file of at most `limit` bytes.
pub(crate) fn read_limited(path: &Path, limit: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    File::open(path)?.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > limit {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {limit} bytes")));
    }
    Ok(bytes)
}

/// Reads a keystore file.
pub(crate) fn read_keystore(path: &Path, limit: u64) -> Result<Zeroizing<Vec<u8>>, KeystoreError> {
    read_limited(path, limit).map_err(|source| match source.kind() {
        io::ErrorKind::FileTooLarge => KeystoreError::TooLarge { path: path.to_path_buf(), limit },
        _ => KeystoreError::Io { path: path.to_path_buf(), source },
    })
}

/// Writes a new file that only its owner may read, whole or not at all. A file that is there already
/// stays as it is.
pub(crate) fn write_secret(path: &Path, bytes: &[u8]) -> Result<(), KeystoreError> {
    let failed = |source| KeystoreError::Io { path: path.to_path_buf(), source };
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
    if path.try_exists().map_err(failed)? {
        return Err(KeystoreError::Exists(path.to_path_buf()));
    }
    let temporary = directory.join(format!(".{}.new", uuid::Uuid::new_v4()));
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| {
            renameat_with(CWD, &temporary, CWD, path, RenameFlags::NOREPLACE).map_err(io::Error::from)
        })
        .and_then(|()| File::open(directory)?.sync_all());
    written.map_err(|source| {
        // What could not be put in its place must not stay behind; if even that fails, the first error
        // says more.
        std::fs::remove_file(&temporary).ok();
        match source.kind() {
            io::ErrorKind::AlreadyExists => KeystoreError::Exists(path.to_path_buf()),
            _ => failed(source),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn writes_for_the_owner_alone_and_never_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys/deep/key.json");
        write_secret(&path, b"first").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let parent = path.parent().unwrap();
        assert_eq!(std::fs::metadata(parent).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(matches!(write_secret(&path, b"second"), Err(KeystoreError::Exists(_))));
        assert_eq!(std::fs::read(&path).unwrap(), b"first");
        assert_eq!(std::fs::read_dir(parent).unwrap().count(), 1, "nothing temporary stays");
    }
}
