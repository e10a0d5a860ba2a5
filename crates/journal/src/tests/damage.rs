use super::*;
use crate::OpenError;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::path::PathBuf;

/// A log with a history, closed in order, and as it lies on the disk while it is open.
fn logs(directory: &Path) -> (Vec<Entry>, Vec<Claim>, [PathBuf; 2]) {
    let (closed, live) = (directory.join("closed"), directory.join("live"));
    let log = open(&closed);
    for number in 0..40 {
        log.append_next(workload(number)).unwrap();
    }
    copy_log(&closed, &live);
    let (entries, claims) = (read_all(&log), log.claims(b"").unwrap());
    log.close();
    (entries, claims, [closed, live])
}

/// Opens a damaged log: `true` if it was refused, and if not, everything must be there.
fn refused_or_whole(path: &Path, entries: &[Entry], claims: &[Claim], damage: &str) -> bool {
    let Ok(log) = Journal::open(path, OPTIONS) else { return true };
    assert_eq!(read_all(&log), entries, "{damage}");
    assert_eq!(log.claims(b"").unwrap(), claims, "{damage}");
    for claim in claims {
        assert_eq!(log.claimed(&claim.key).unwrap(), Some(claim.value), "{damage}");
    }
    let head = log.append_next(workload(77)).unwrap();
    assert_eq!(log.reopen().unwrap(), head, "{damage}");
    false
}

#[test]
fn a_flipped_byte_anywhere_is_noticed_or_harmless() {
    const FLIPS: usize = 350;
    let directory = tempfile::tempdir().unwrap();
    let (entries, claims, logs) = logs(directory.path());
    let copy = directory.path().join("copy");
    let mut random = StdRng::seed_from_u64(5);
    for log in logs {
        let database = std::fs::read(log.join("log.redb")).unwrap();
        let used: Vec<usize> = (0..database.len()).filter(|at| database[*at] != 0).collect();
        let (mut refused, mut whole) = (0, 0);
        for number in 0..FLIPS {
            copy_log(&log, &copy);
            // Every byte of the engine's header, and bytes that hold something as well as any.
            let (file, at) = match number % 7 {
                0 => ("log.redb", random.random_range(0..database.len())),
                1 => ("head", random.random_range(0..4096 + 100)),
                2 => ("log.redb", random.random_range(0..320)),
                _ => ("log.redb", used[random.random_range(0..used.len())]),
            };
            let mut bytes = std::fs::read(copy.join(file)).unwrap();
            let flip = random.random_range(1..=255u8);
            bytes[at] ^= flip;
            std::fs::write(copy.join(file), bytes).unwrap();
            let damage = format!("{} {file} byte {at} ^ {flip}", log.display());
            if refused_or_whole(&copy, &entries, &claims, &damage) { refused += 1 } else { whole += 1 }
        }
        assert!(refused > FLIPS / 10 && whole > 0, "{refused} refused, {whole} whole");
    }
}

#[test]
fn a_truncated_file_is_noticed_or_harmless() {
    let directory = tempfile::tempdir().unwrap();
    let (entries, claims, logs) = logs(directory.path());
    let copy = directory.path().join("copy");
    let mut random = StdRng::seed_from_u64(6);
    for log in logs {
        let length = std::fs::metadata(log.join("log.redb")).unwrap().len();
        let mut lengths: Vec<u64> = (0..60).map(|_| random.random_range(0..length)).collect();
        lengths.extend([0, 1, 64, 320, 4096, length - 1, length - 4096, length / 2]);
        let mut refused = 0;
        for cut in lengths {
            copy_log(&log, &copy);
            let file = std::fs::OpenOptions::new().write(true).open(copy.join("log.redb")).unwrap();
            file.set_len(cut).unwrap();
            // The torn tail may also read as zeros.
            if cut % 2 == 0 {
                file.set_len(length).unwrap();
            }
            let damage = format!("{} cut at {cut} of {length}", log.display());
            refused += u32::from(refused_or_whole(&copy, &entries, &claims, &damage));
        }
        assert!(refused > 0);
    }
    copy_log(&directory.path().join("closed"), &copy);
    for cut in [0, 50, 99, 100, 4096, 4150] {
        copy_log(&directory.path().join("closed"), &copy);
        let head = std::fs::OpenOptions::new().write(true).open(copy.join("head")).unwrap();
        head.set_len(cut).unwrap();
        refused_or_whole(&copy, &entries, &claims, &format!("head cut at {cut}"));
    }
}

/// Whether the log was closed or its process was killed, the refusal names the damaged record.
#[test]
fn the_damaged_record_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let (entries, _, logs) = logs(directory.path());
    let copy = directory.path().join("copy");
    for log in logs {
        for entry in entries.iter().step_by(7) {
            copy_log(&log, &copy);
            let mut bytes = std::fs::read(copy.join("log.redb")).unwrap();
            // Pages of earlier commits hold the record too.
            let hash = entry.hash.as_slice();
            let copies: Vec<usize> =
                (0..bytes.len() - 32).filter(|at| bytes[*at..].starts_with(hash)).collect();
            assert!(!copies.is_empty());
            copies.iter().for_each(|at| bytes[at + 40] ^= 1);
            std::fs::write(copy.join("log.redb"), bytes).unwrap();
            match Journal::open(&copy, OPTIONS) {
                Err(OpenError::Broken { position, .. }) => assert_eq!(position, entry.position),
                other => panic!("{}: {other:?}", log.display()),
            }
        }
    }
}
