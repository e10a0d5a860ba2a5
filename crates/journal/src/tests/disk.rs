use super::*;
use crate::store::Opener;
use crate::{AppendError, ReadError};
use parking_lot::Mutex;
use redb::StorageBackend;
use redb::backends::FileBackend;
use std::io;
use std::sync::Arc;

/// One operation on the database file.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    Write { offset: u64, bytes: Vec<u8> },
    SetLength(u64),
    Sync,
}

#[derive(Debug, Default)]
pub(crate) struct Control {
    /// How many operations still succeed; `None` for all.
    pub(crate) healthy: Option<u64>,
    /// What was done, if it is recorded.
    pub(crate) trace: Option<Vec<Operation>>,
}

/// A disk that fails on demand, in the middle of a write, and can tell what was done to it.
#[derive(Debug)]
struct Disk {
    file: FileBackend,
    control: Arc<Mutex<Control>>,
}

impl Disk {
    fn run(&self, operation: Operation) -> Result<(), io::Error> {
        let mut control = self.control.lock();
        let broken = control.healthy == Some(0);
        if let Some(healthy) = &mut control.healthy {
            *healthy = healthy.saturating_sub(1);
        }
        match &operation {
            Operation::Write { offset, bytes } if broken => {
                let half = bytes.len() / 2;
                self.file.write(*offset, &bytes[..half])?;
            }
            _ if broken => {}
            Operation::Write { offset, bytes } => self.file.write(*offset, bytes)?,
            Operation::SetLength(length) => self.file.set_len(*length)?,
            Operation::Sync => self.file.sync_data()?,
        }
        if let Some(trace) = &mut control.trace {
            trace.push(operation);
        }
        if broken { Err(io::Error::from(io::ErrorKind::StorageFull)) } else { Ok(()) }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> Result<u64, io::Error> {
        self.file.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.file.read(offset, out)
    }
    fn set_len(&self, length: u64) -> Result<(), io::Error> {
        self.run(Operation::SetLength(length))
    }
    fn sync_data(&self) -> Result<(), io::Error> {
        self.run(Operation::Sync)
    }
    fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), io::Error> {
        self.run(Operation::Write { offset, bytes: bytes.to_vec() })
    }
}

/// Opens a log on such a disk.
pub(crate) fn open_on_disk(path: &Path, control: &Arc<Mutex<Control>>) -> Journal {
    drop(open(path));
    let (database, control) = (path.join("log.redb"), Arc::clone(control));
    let opener: Opener = Box::new(move |builder| {
        let file = std::fs::OpenOptions::new().read(true).write(true).open(&database)?;
        builder.create_with_backend(Disk { file: FileBackend::new(file)?, control: Arc::clone(&control) })
    });
    Journal::open_with(path, OPTIONS, opener).unwrap()
}

/// The disk fails at every operation of an append in turn.
#[test]
fn after_a_failed_write_nothing_is_accepted_until_reopened() {
    let directory = tempfile::tempdir().unwrap();
    let control = Arc::new(Mutex::new(Control::default()));
    let log = open_on_disk(directory.path(), &control);
    let (mut acknowledged, mut failures) = (Vec::new(), 0);
    for healthy in 0..200 {
        let batch = workload(healthy);
        control.lock().healthy = Some(healthy);
        let head = log.head();
        match log.append(head, batch.clone()) {
            Ok(after) => {
                control.lock().healthy = None;
                acknowledged.push(batch);
                assert_eq!(log.head(), after);
                if failures > 0 && acknowledged.len() > 5 {
                    break;
                }
                continue;
            }
            Err(AppendError::Io(_)) => failures += 1,
            Err(error) => panic!("{error}"),
        }
        assert_eq!(log.head(), head, "a failed append is not visible");
        assert!(matches!(log.append(head, batch.clone()), Err(AppendError::Failed)));
        assert!(matches!(log.writable(), Err(AppendError::Failed)));
        control.lock().healthy = Some(0);
        if log.reopen().is_err() {
            assert!(matches!(log.append(head, batch.clone()), Err(AppendError::Failed)));
            assert!(matches!(log.claimed(b"x"), Err(ReadError::Closed)));
        }
        control.lock().healthy = None;
        let reopened = log.reopen().unwrap();
        assert_eq!(log.head(), reopened);
        if reopened > head {
            acknowledged.push(batch);
        }
        let expected: Vec<Record> = acknowledged.iter().flat_map(|batch| batch.records.clone()).collect();
        let found = read_all(&log).into_iter().map(|entry| Record { kind: entry.kind, body: entry.body });
        assert_eq!(found.collect::<Vec<_>>(), expected);
        for claim in acknowledged.iter().flat_map(|batch| &batch.claims) {
            assert_eq!(log.claimed(&claim.key).unwrap(), Some(claim.value));
        }
    }
    assert!(failures > 3, "an append is several operations, each of which was made to fail: {failures}");
}
