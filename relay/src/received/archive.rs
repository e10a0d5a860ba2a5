//! Bids received, on the disk: journals of a bounded size each, the oldest of which goes when there is enough after it.
//!
//! They are apart from the relay's own journal so that it does not grow with every bid, which nothing is promised on,
//! and so that no promise waits for their writes.

use super::index::ReceivedBid;
use earnest_journal::{AppendError, Batch, Journal, Log, OpenError, Options, ReadError, Record};
use ssz::{Decode, DecodeError, Encode};
use std::{
    collections::VecDeque,
    fs, io,
    path::{Path, PathBuf},
};

/// Kind of the records: an SSZ list of bids.
const RECEIVED: u16 = 20;
/// Parts that what is kept is divided into.
const PARTS: usize = 4;
/// Journals that there are at most, however small.
const MAX_PARTS: usize = 32;
/// Records read at once.
const READ_RECORDS: usize = 256;
const READ_BYTES: usize = 4 << 20;
/// Memory that the storage engine may take for a journal.
const CACHE_BYTES: usize = 4 << 20;

/// Why bids were not written, or not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArchiveError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("a record is no list of bids: {0:?}")]
    Encoding(DecodeError),
}

/// The journals in a directory, each in a directory that is named by its number.
#[derive(Debug)]
pub(crate) struct Archive {
    directory: PathBuf,
    options: Options,
    /// Bids that must stay.
    keep: usize,
    parts: VecDeque<Part>,
    /// The last part, if it can be written to.
    open: Option<Journal>,
}

#[derive(Debug, Clone, Copy)]
struct Part {
    number: u64,
    bids: usize,
}

impl Archive {
    /// Opens the directory, making it if it is not there, and hands every bid in it to `fold`, in the order they came. A
    /// part that cannot be read is passed over: nothing is promised on it.
    ///
    /// # Errors
    /// The directory cannot be made or listed.
    pub(crate) fn open(
        directory: &Path,
        free_space_floor: u64,
        keep: usize,
        mut fold: impl FnMut(ReceivedBid),
    ) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let options = Options { free_space_floor, cache_bytes: CACHE_BYTES, recent_bytes: 0 };
        let mut numbers = Vec::new();
        for entry in fs::read_dir(directory)? {
            numbers.extend(entry?.file_name().to_str().and_then(|name| name.parse::<u64>().ok()));
        }
        numbers.sort_unstable();
        let mut archive =
            Self { directory: directory.to_path_buf(), options, keep, parts: VecDeque::new(), open: None };
        for number in numbers {
            let path = archive.path(number);
            let mut bids = 0_usize;
            let read = read(&path, options, |bid| {
                bids = bids.saturating_add(1);
                fold(bid);
            });
            if let Err(error) = &read {
                tracing::error!(path = %path.display(), %error, "bids received before are lost to the data API");
            }
            archive.parts.push_back(Part { number, bids });
            archive.open = read.ok();
        }
        Ok(archive)
    }

    /// Writes bids as one record. Blocks.
    ///
    /// # Errors
    /// Nothing was written, or that is not known; the next write is to a new journal unless it was for want of space.
    pub(crate) fn append(&mut self, bids: &[ReceivedBid]) -> Result<(), ArchiveError> {
        let full = self.parts.back().is_none_or(|part| part.bids >= (self.keep / PARTS).max(1));
        if full || self.open.is_none() {
            self.begin()?;
        }
        let (Some(journal), Some(part)) = (&self.open, self.parts.back_mut()) else { return Ok(()) };
        let record = Record { kind: RECEIVED, body: bids.to_vec().as_ssz_bytes().into() };
        match journal.append_next(Batch { records: vec![record], claims: vec![] }) {
            Ok(_) => {
                part.bids = part.bids.saturating_add(bids.len());
                Ok(())
            }
            Err(error) => {
                if !matches!(error, AppendError::NoSpace { .. }) {
                    self.close();
                }
                Err(error.into())
            }
        }
    }

    /// Frees the lock of the journal that is written to.
    pub(crate) fn close(&mut self) {
        if let Some(journal) = self.open.take() {
            journal.close();
        }
    }

    /// Begins a part, and removes those that are not needed beside it.
    fn begin(&mut self) -> Result<(), OpenError> {
        self.close();
        let number = self.parts.back().map_or(0, |last| last.number.saturating_add(1));
        self.open = Some(Journal::open(&self.path(number), self.options)?);
        self.parts.push_back(Part { number, bids: 0 });
        while let Some(oldest) = self.parts.front().copied() {
            let newer = self.parts.iter().skip(1).map(|part| part.bids).fold(0, usize::saturating_add);
            if newer < self.keep && self.parts.len() <= MAX_PARTS {
                break;
            }
            if let Err(error) = fs::remove_dir_all(self.path(oldest.number)) {
                tracing::warn!(%error, number = oldest.number, "cannot remove old bids");
            }
            self.parts.pop_front();
        }
        Ok(())
    }

    fn path(&self, number: u64) -> PathBuf {
        self.directory.join(number.to_string())
    }
}

/// Reads a part; it may be written to then.
fn read(path: &Path, options: Options, mut fold: impl FnMut(ReceivedBid)) -> Result<Journal, ArchiveError> {
    let journal = Journal::open(path, options)?;
    let mut from = 0;
    loop {
        let entries = journal.read(from, READ_RECORDS, READ_BYTES)?;
        let Some(last) = entries.last() else { return Ok(journal) };
        from = last.position.saturating_add(1);
        for entry in entries.iter().filter(|entry| entry.kind == RECEIVED) {
            decode(&entry.body).map_err(ArchiveError::Encoding)?.into_iter().for_each(&mut fold);
        }
    }
}

fn decode(body: &[u8]) -> Result<Vec<ReceivedBid>, DecodeError> {
    Vec::from_ssz_bytes(body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use earnest_builder_types::BidTrace;

    fn bids(times: std::ops::Range<u64>) -> Vec<ReceivedBid> {
        let one = |received_at_ms| ReceivedBid {
            trace: BidTrace { slot: 9, ..BidTrace::default() },
            block_number: 1,
            num_tx: 2,
            received_at_ms,
        };
        times.map(one).collect()
    }

    fn reopened(path: &Path, keep: usize) -> (Archive, Vec<u64>) {
        let mut seen = Vec::new();
        let archive = Archive::open(path, 0, keep, |bid| seen.push(bid.received_at_ms)).unwrap();
        (archive, seen)
    }

    #[test]
    fn bids_outlive_restarts_and_the_oldest_go() {
        let directory = tempfile::tempdir().unwrap();
        let mut written = 0;
        for restart in 0..12 {
            let (mut archive, seen) = reopened(directory.path(), 40);
            let first = seen.first().copied().unwrap_or(written);
            assert_eq!(
                seen,
                (first..written).collect::<Vec<_>>(),
                "restart {restart}: in order, without a gap"
            );
            assert!(written - first >= written.min(40) && written - first < 70, "restart {restart}: {first}");
            for _ in 0..3 {
                archive.append(&bids(written..written + 7)).unwrap();
                written += 7;
            }
            archive.close();
        }
        assert!(fs::read_dir(directory.path()).unwrap().count() <= 6);
    }

    #[test]
    fn a_broken_part_is_passed_over() {
        let directory = tempfile::tempdir().unwrap();
        let (mut archive, _) = reopened(directory.path(), 8);
        for at in [0, 4, 8] {
            archive.append(&bids(at..at + 4)).unwrap();
        }
        archive.close();
        fs::write(directory.path().join("1").join("head"), b"not a head file").unwrap();
        let (mut archive, seen) = reopened(directory.path(), 8);
        assert_eq!(seen, [0, 1, 2, 3, 8, 9, 10, 11]);
        archive.append(&bids(12..13)).unwrap();
        archive.close();
        assert_eq!(reopened(directory.path(), 8).1.last(), Some(&12));
    }

    #[test]
    fn without_room_on_the_disk_nothing_is_written_and_it_goes_on() {
        let directory = tempfile::tempdir().unwrap();
        let mut archive = Archive::open(directory.path(), u64::MAX / 2, 8, |_| {}).unwrap();
        for _ in 0..3 {
            let refused = archive.append(&bids(0..4));
            assert!(matches!(refused, Err(ArchiveError::Append(AppendError::NoSpace { .. }))), "{refused:?}");
        }
        archive.close();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        assert_eq!(reopened(directory.path(), 8).1, Vec::<u64>::new());
    }

    #[test]
    fn any_bytes_are_bids_or_an_error() {
        bolero::check!().with_iterations(1000).for_each(|body: &[u8]| {
            if let Ok(bids) = decode(body) {
                assert_eq!(bids.as_ssz_bytes(), body);
            }
        });
    }
}
