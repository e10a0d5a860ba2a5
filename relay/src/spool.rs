//! Blocks on offer, kept in files so that a header served before a crash can still be honoured after it.
//!
//! The files are no record of anything: the journal is. They are written without a sync, which outlives the
//! process though not the machine, and what cannot be read back is left out.

use alloy_primitives::B256;
use earnest_builder_types::{BidSubmission, ForkCodec, ForkName};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Extension of a file that is being written.
const UNFINISHED: &str = "new";

/// A directory of submissions.
#[derive(Debug)]
pub(crate) struct Spool {
    directory: PathBuf,
    free_space_floor: u64,
}

impl Spool {
    /// Opens the directory, making it if it is not there, and removes what was left half written. Nothing is put into
    /// it that would leave fewer than `free_space_floor` bytes free on the disk.
    pub(crate) fn open(directory: &Path, free_space_floor: u64) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == UNFINISHED) {
                fs::remove_file(path)?;
            }
        }
        Ok(Self { directory: directory.to_path_buf(), free_space_floor })
    }

    /// Writes a submission, whole or not at all.
    pub(crate) fn put(&self, submission: &BidSubmission) -> io::Result<()> {
        let trace = submission.message();
        let path = self.path(trace.slot, submission.fork(), trace.block_hash);
        let temporary = path.with_extension(UNFINISHED);
        let bytes = submission.to_ssz();
        self.check_space(bytes.len())?;
        fs::write(&temporary, bytes)?;
        fs::rename(&temporary, path)
    }

    /// Removes one submission, if it is there.
    pub(crate) fn remove(&self, slot: u64, fork: ForkName, block_hash: B256) -> io::Result<()> {
        match fs::remove_file(self.path(slot, fork, block_hash)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    fn path(&self, slot: u64, fork: ForkName, block_hash: B256) -> PathBuf {
        self.directory.join(format!("{slot}-{fork}-{block_hash}"))
    }

    fn check_space(&self, bytes: usize) -> io::Result<()> {
        let disk = rustix::fs::statvfs(&self.directory)?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free < self.free_space_floor.saturating_add(bytes as u64) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    /// Every submission for `slot` and later, the oldest file first.
    pub(crate) fn read(&self, slot: u64) -> io::Result<Vec<BidSubmission>> {
        let mut found = Vec::new();
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            files.push((entry.metadata()?.modified()?, entry.path()));
        }
        files.sort();
        for (_, path) in files {
            let Some((of, fork)) = name_of(&path) else { continue };
            if of < slot {
                continue;
            }
            match BidSubmission::from_ssz(fork, &fs::read(&path)?) {
                Ok(submission) => found.push(submission),
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "a payload that cannot be read back");
                }
            }
        }
        Ok(found)
    }

    /// Removes what lies before `slot`.
    pub(crate) fn prune(&self, slot: u64) -> io::Result<()> {
        for entry in fs::read_dir(&self.directory)? {
            let path = entry?.path();
            if name_of(&path).is_some_and(|(of, _)| of < slot) {
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }
}

/// Slot and fork in a file's name.
fn name_of(path: &Path) -> Option<(u64, ForkName)> {
    let name = path.file_name()?.to_str()?;
    let (slot, rest) = name.split_once('-')?;
    let (fork, hash) = rest.split_once('-')?;
    hash.strip_prefix("0x").filter(|hex| hex.len() == 64)?;
    Some((slot.parse().ok()?, fork.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Block;

    #[test]
    fn what_was_put_is_read_until_it_is_past() {
        let directory = tempfile::tempdir().unwrap();
        let spool = Spool::open(directory.path(), 0).unwrap();
        let (early, late) = (
            Block { slot: 3, ..Block::default() }.submit(1),
            Block { slot: 5, ..Block::default() }.submit(1),
        );
        spool.put(&early).unwrap();
        spool.put(&late).unwrap();
        fs::write(directory.path().join("notes.txt"), "not ours").unwrap();
        fs::write(directory.path().join(format!("9-electra-0x{}", "00".repeat(32))), "broken").unwrap();
        fs::write(directory.path().join("7-electra-0x00.new"), "half").unwrap();
        let spool = Spool::open(directory.path(), 0).unwrap();
        assert!(!directory.path().join("7-electra-0x00.new").exists());
        assert_eq!(spool.read(0).unwrap().len(), 2);
        assert_eq!(spool.read(4).unwrap(), [late]);
        spool.prune(4).unwrap();
        assert_eq!(spool.read(0).unwrap().len(), 1);
        assert!(directory.path().join("notes.txt").exists());
    }

    #[test]
    fn a_full_disk_takes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let spool = Spool::open(directory.path(), u64::MAX).unwrap();
        let error = spool.put(&Block::default().submit(1)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(spool.read(0).unwrap().is_empty());
    }

    #[test]
    fn one_is_removed_alone() {
        let directory = tempfile::tempdir().unwrap();
        let spool = Spool::open(directory.path(), 0).unwrap();
        let [first, second] =
            [1, 2_u8].map(|one| Block { value: one.into(), ..Block::default() }.submit(one));
        spool.put(&first).unwrap();
        spool.put(&second).unwrap();
        for _ in 0..2 {
            let trace = first.message();
            spool.remove(trace.slot, first.fork(), trace.block_hash).unwrap();
            assert_eq!(spool.read(0).unwrap(), std::slice::from_ref(&second));
        }
    }
}
