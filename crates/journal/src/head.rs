use alloy_primitives::B256;
use bytes::{Buf, BufMut};
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

const MAGIC: &[u8; 8] = b"EARNHEAD";
const FORMAT: u32 = 1;
const SLOT_BYTES: usize = 8 + 4 + 16 + 8 + 32 + 32;
/// Slots lie a page apart, so that one torn write spoils one slot.
const SLOT_OFFSETS: [u64; 2] = [0, 4096];

/// The newest record of a log: how many there are, and the hash of the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) count: u64,
    pub(crate) hash: B256,
}

/// A file beside the database that names the newest acknowledged record.
///
/// It is written after the record is durable and not itself synced with each append: the system
/// keeps it through the end of the process, and after a loss of power it may only name an older
/// record, never one that is not there.
#[derive(Debug)]
pub(crate) struct HeadFile {
    file: File,
    log_id: [u8; 16],
    next_slot: usize,
}

/// What lies in a head file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// No slot is whole.
    Nothing,
    /// A slot of a newer format.
    TooNew(u32),
    /// The newest whole slot.
    Head { log_id: [u8; 16], head: Head, slot: usize },
}

impl HeadFile {
    /// Makes the file of a new log and syncs it.
    pub(crate) fn create(path: &Path, log_id: [u8; 16], head: Head) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
        let mut created = Self { file, log_id, next_slot: 0 };
        created.write(head)?;
        created.write(head)?;
        created.file.sync_all()?;
        Ok(created)
    }

    /// Opens the file of a log and reads it.
    pub(crate) fn open(path: &Path) -> io::Result<(File, Found)> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let mut slots = Vec::with_capacity(SLOT_OFFSETS.len());
        for offset in SLOT_OFFSETS {
            let mut slot = [0u8; SLOT_BYTES];
            match file.read_exact_at(&mut slot, offset) {
                Ok(()) => slots.push(slot.to_vec()),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => slots.push(Vec::new()),
                Err(error) => return Err(error),
            }
        }
        Ok((file, newest(&slots)))
    }

    /// Goes on writing to an opened file.
    pub(crate) fn resume(file: File, log_id: [u8; 16], slot: usize) -> Self {
        Self { file, log_id, next_slot: slot ^ 1 }
    }

    /// Writes the head into the older slot.
    pub(crate) fn write(&mut self, head: Head) -> io::Result<()> {
        let offset = SLOT_OFFSETS.get(self.next_slot).copied().unwrap_or_default();
        self.file.write_all_at(&encode(&self.log_id, head), offset)?;
        self.next_slot ^= 1;
        Ok(())
    }

    /// Makes what was written durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

fn encode(log_id: &[u8; 16], head: Head) -> Vec<u8> {
    let mut slot = Vec::with_capacity(SLOT_BYTES);
    slot.put_slice(MAGIC);
    slot.put_u32(FORMAT);
    slot.put_slice(log_id);
    slot.put_u64(head.count);
    slot.put_slice(head.hash.as_slice());
    let checksum = Sha256::digest(&slot);
    slot.put_slice(&checksum);
    slot
}

fn decode(slot: &[u8]) -> Option<Result<([u8; 16], Head), u32>> {
    let (payload, checksum) = slot.split_at_checked(slot.len().checked_sub(32)?)?;
    if *Sha256::digest(payload) != *checksum {
        return None;
    }
    let mut rest = payload.strip_prefix(MAGIC.as_slice())?;
    let format = rest.try_get_u32().ok()?;
    if format != FORMAT {
        return Some(Err(format));
    }
    let (log_id, mut rest) = rest.split_first_chunk::<16>()?;
    let count = rest.try_get_u64().ok()?;
    let hash = B256::try_from(rest).ok()?;
    Some(Ok((*log_id, Head { count, hash })))
}

fn newest(slots: &[Vec<u8>]) -> Found {
    let mut found = Found::Nothing;
    for (slot, bytes) in slots.iter().enumerate() {
        match decode(bytes) {
            None => {}
            Some(Err(format)) => return Found::TooNew(format),
            Some(Ok((log_id, head))) => {
                let newer = match &found {
                    Found::Head { head: known, .. } => head.count > known.count,
                    Found::Nothing | Found::TooNew(_) => true,
                };
                if newer {
                    found = Found::Head { log_id, head, slot };
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(count: u64) -> Head {
        Head { count, hash: B256::repeat_byte(u8::try_from(count).unwrap()) }
    }

    #[test]
    fn the_newest_whole_slot_counts() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("head");
        let mut file = HeadFile::create(&path, [7; 16], head(0)).unwrap();
        for count in 1..6 {
            file.write(head(count)).unwrap();
            let (_, found) = HeadFile::open(&path).unwrap();
            assert!(
                matches!(found, Found::Head { log_id, head: read, .. } if log_id == [7; 16] && read == head(count))
            );
        }
    }

    #[test]
    fn a_torn_write_leaves_the_slot_before_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("head");
        let mut file = HeadFile::create(&path, [7; 16], head(0)).unwrap();
        file.write(head(1)).unwrap();
        file.write(head(2)).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for cut in 0..SLOT_BYTES {
            let mut torn = whole.clone();
            let at = 4096 + cut;
            torn[at] ^= 0x40;
            std::fs::write(&path, &torn).unwrap();
            let (_, found) = HeadFile::open(&path).unwrap();
            assert!(matches!(found, Found::Head { head: read, .. } if read == head(1)), "{cut}: {found:?}");
        }
    }

    #[test]
    fn arbitrary_slots_never_decode_to_something_else() {
        bolero::check!().with_iterations(5_000).for_each(|bytes: &[u8]| {
            if let Some(Ok((log_id, head))) = decode(bytes) {
                assert_eq!(encode(&log_id, head), bytes);
            }
        });
    }
}
