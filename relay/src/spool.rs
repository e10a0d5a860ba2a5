//! Blocks on offer, kept in files so that a header served before a crash can still be honoured after it.
//!
//! The files are no record of anything: the journal is. They are written without a sync, which outlives the
//! process though not the machine, and what cannot be read back is left out.

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
}

impl Spool {
    /// Opens the directory, making it if it is not there, and removes what was left half written.
    pub(crate) fn open(directory: &Path) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == UNFINISHED) {
                fs::remove_file(path)?;
            }
        }
        Ok(Self { directory: directory.to_path_buf() })
    }

    /// Writes a submission, whole or not at all.
    pub(crate) fn put(&self, submission: &BidSubmission) -> io::Result<()> {
        let trace = submission.message();
        let name = format!("{}-{}-{}", trace.slot, submission.fork(), trace.block_hash);
        let temporary = self.directory.join(format!("{name}.{UNFINISHED}"));
        fs::write(&temporary, submission.to_ssz())?;
        fs::rename(&temporary, self.directory.join(name))
    }

    /// Every submission for `slot` and later, without order.
    pub(crate) fn from_slot(&self, slot: u64) -> io::Result<Vec<BidSubmission>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let path = entry?.path();
            let Some((of, fork)) = name_of(&path) else { continue };
            if of < slot {
                continue;
            }
            match BidSubmission::from_ssz(fork, &fs::read(&path)?) {
                Ok(submission) => found.push(submission),
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "a payload that cannot be read back")
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
