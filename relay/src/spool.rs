//! Blocks on offer, kept in files so that a header served before a crash can still be honoured after it.
//!
//! The files are no record of anything: the journal is. They are written without a sync, which outlives the
//! process though not the machine, and what cannot be read back is left out.

use alloy_primitives::B256;
use earnest_builder_types::{BidSubmission, ForkCodec, ForkName};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

/// Extension of a file that is being written.
const UNFINISHED: &str = "new";

/// A directory of submissions.
#[derive(Debug)]
pub(crate) struct Spool {
    directory: PathBuf,
    free_space_floor: u64,
    written: AtomicU64,
}

/// A submission's file, as its name tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Filed {
    pub(crate) slot: u64,
    pub(crate) fork: ForkName,
    pub(crate) block_hash: B256,
}

/// A submission that is written, but not yet under its name; removed unless it is put there.
#[derive(Debug)]
pub(crate) struct Written {
    temporary: PathBuf,
    path: PathBuf,
    file: Filed,
}

impl Filed {
    /// The file of a submission.
    fn of(submission: &BidSubmission) -> Self {
        let trace = submission.message();
        Self { slot: trace.slot, fork: submission.fork(), block_hash: trace.block_hash }
    }

    /// The file of this name.
    fn named(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        let (slot, rest) = name.split_once('-')?;
        let (fork, hash) = rest.split_once('-')?;
        hash.strip_prefix("0x").filter(|hex| hex.len() == 64)?;
        Some(Self { slot: slot.parse().ok()?, fork: fork.parse().ok()?, block_hash: hash.parse().ok()? })
    }
}

impl Written {
    /// Puts the submission under its name, in place of any other that was.
    pub(crate) fn put(self) -> io::Result<Filed> {
        fs::rename(&self.temporary, &self.path)?;
        Ok(self.file)
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        match fs::remove_file(&self.temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %self.temporary.display(), %error, "cannot remove a payload");
            }
            _ => {}
        }
    }
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
        Ok(Self { directory: directory.to_path_buf(), free_space_floor, written: AtomicU64::new(0) })
    }

    /// Writes the SSZ of a submission beside its name. Put there, it is whole.
    pub(crate) fn write(&self, file: Filed, ssz: &[u8]) -> io::Result<Written> {
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        let path = self.path(&file);
        let temporary = path.with_extension(format!("{number}.{UNFINISHED}"));
        let written = Written { temporary, path, file };
        self.check_space(ssz.len())?;
        fs::write(&written.temporary, ssz)?;
        Ok(written)
    }

    /// Reads a submission back.
    pub(crate) fn get(&self, file: &Filed) -> io::Result<BidSubmission> {
        let bytes = fs::read(self.path(file))?;
        let submission = BidSubmission::from_ssz(file.fork, &bytes)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
        if Filed::of(&submission) != *file {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is another block than its name says"));
        }
        Ok(submission)
    }

    /// Removes one submission, if it is there.
    pub(crate) fn remove(&self, file: &Filed) -> io::Result<()> {
        match fs::remove_file(self.path(file)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    fn path(&self, Filed { slot, fork, block_hash }: &Filed) -> PathBuf {
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

    /// Files of the submissions for `slot` and later, the newest first.
    pub(crate) fn files(&self, slot: u64) -> io::Result<Vec<Filed>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            if let Some(file) = Filed::named(&entry.path()).filter(|file| file.slot >= slot) {
                files.push((entry.metadata()?.modified()?, entry.path(), file));
            }
        }
        files.sort_by(|one, other| (other.0, &other.1).cmp(&(one.0, &one.1)));
        Ok(files.into_iter().map(|(_, _, file)| file).collect())
    }

    /// Removes what lies before `slot`.
    pub(crate) fn prune(&self, slot: u64) -> io::Result<()> {
        for entry in fs::read_dir(&self.directory)? {
            let path = entry?.path();
            if Filed::named(&path).is_some_and(|file| file.slot < slot) {
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Block, damaged, tx};

    fn write(spool: &Spool, submission: &BidSubmission) -> io::Result<Written> {
        spool.write(Filed::of(submission), &submission.to_ssz())
    }

    fn put(spool: &Spool, submission: &BidSubmission) -> Filed {
        write(spool, submission).unwrap().put().unwrap()
    }

    /// What can be read back, the newest first.
    fn read(spool: &Spool, slot: u64) -> Vec<BidSubmission> {
        spool.files(slot).unwrap().iter().filter_map(|file| spool.get(file).ok()).collect()
    }

    #[test]
    fn what_was_put_is_read_until_it_is_past() {
        let directory = tempfile::tempdir().unwrap();
        let spool = Spool::open(directory.path(), 0).unwrap();
        let (early, late) = (
            Block { slot: 3, ..Block::default() }.submit(1),
            Block { slot: 5, ..Block::default() }.submit(1),
        );
        put(&spool, &early);
        put(&spool, &late);
        fs::write(directory.path().join("notes.txt"), "not ours").unwrap();
        fs::write(directory.path().join(format!("9-electra-0x{}", "00".repeat(32))), "broken").unwrap();
        fs::write(directory.path().join("7-electra-0x00.new"), "half").unwrap();
        let spool = Spool::open(directory.path(), 0).unwrap();
        assert!(!directory.path().join("7-electra-0x00.new").exists());
        assert_eq!(spool.files(0).unwrap().len(), 3);
        assert_eq!(read(&spool, 0).len(), 2);
        assert_eq!(read(&spool, 4), [late]);
        spool.prune(4).unwrap();
        assert_eq!(read(&spool, 0).len(), 1);
        assert!(directory.path().join("notes.txt").exists());
    }

    #[test]
    fn what_is_written_is_there_only_once_it_is_put() {
        let directory = tempfile::tempdir().unwrap();
        let spool = Spool::open(directory.path(), 0).unwrap();
        let submission = Block::default().submit(1);
        let files = || fs::read_dir(directory.path()).unwrap().count();
        let [one, other] = [(); 2].map(|()| write(&spool, &submission).unwrap());
        assert_eq!((files(), read(&spool, 0).len()), (2, 0));
        drop(one);
        assert_eq!(files(), 1);
        let file = other.put().unwrap();
        assert_eq!((files(), spool.get(&file).unwrap()), (1, submission));
    }

    #[test]
    fn a_file_with_another_block_than_its_name_says_is_not_read() {
        let directory = tempfile::tempdir().unwrap();
        let spool = Spool::open(directory.path(), 0).unwrap();
        let [one, other] = [1, 2].map(|builder| put(&spool, &Block::default().submit(builder)));
        fs::copy(spool.path(&one), spool.path(&other)).unwrap();
        assert_eq!(spool.get(&other).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert!(spool.get(&one).is_ok());
    }

    #[test]
    fn a_full_disk_takes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let spool = Spool::open(directory.path(), u64::MAX).unwrap();
        let error = write(&spool, &Block::default().submit(1)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn one_is_removed_alone() {
        let directory = tempfile::tempdir().unwrap();
        let spool = Spool::open(directory.path(), 0).unwrap();
        let [first, second] =
            [1, 2_u8].map(|one| Block { value: one.into(), ..Block::default() }.submit(one));
        let file = put(&spool, &first);
        put(&spool, &second);
        for _ in 0..2 {
            spool.remove(&file).unwrap();
            assert_eq!(read(&spool, 0), std::slice::from_ref(&second));
        }
    }

    #[test]
    fn any_name_is_a_file_of_ours_or_passed_over() {
        let spool =
            Spool { directory: PathBuf::from("payloads"), free_space_floor: 0, written: AtomicU64::new(0) };
        bolero::check!().with_iterations(1000).with_type::<(String, u64, [u8; 32])>().for_each(
            |(name, slot, hash)| {
                let _ = Filed::named(Path::new(name));
                for fork in ForkName::ALL {
                    let file = Filed { slot: *slot, fork, block_hash: B256::from(*hash) };
                    let path = spool.path(&file);
                    assert_eq!(Filed::named(&path), Some(file));
                    assert_eq!(Filed::named(&path.with_extension(UNFINISHED)), None);
                }
            },
        );
    }

    #[test]
    fn any_file_is_read_back_or_left_out() {
        let directory = tempfile::tempdir().unwrap();
        let spool = Spool::open(directory.path(), 0).unwrap();
        let submission = Block { transactions: vec![tx(1, 0, 1)], ..Block::default() }.submit(1);
        let file = put(&spool, &submission);
        let good = submission.to_ssz();
        bolero::check!().with_iterations(300).with_type::<(Vec<(u16, u8)>, u16)>().for_each(
            |(changes, length)| {
                fs::write(spool.path(&file), damaged(&good, changes, *length)).unwrap();
                if let Ok(read) = spool.get(&file) {
                    assert_eq!(Filed::of(&read), file);
                }
            },
        );
    }
}
