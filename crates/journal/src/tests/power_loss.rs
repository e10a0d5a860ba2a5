use super::disk::{Control, Operation, open_on_disk};
use super::*;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::sync::Arc;

const SECTOR: usize = 512;
const CUTS: u64 = 150;

fn apply(image: &mut Vec<u8>, operation: &Operation, mut keep: impl FnMut() -> bool) {
    match operation {
        Operation::Sync => {}
        Operation::SetLength(length) => {
            if keep() {
                image.resize(*length as usize, 0);
            }
        }
        Operation::Write { offset, bytes } => {
            for (number, sector) in bytes.chunks(SECTOR).enumerate() {
                let start = *offset as usize + number * SECTOR;
                if keep() {
                    let end = start + sector.len();
                    image.resize(image.len().max(end), 0);
                    image[start..end].copy_from_slice(sector);
                }
            }
        }
    }
}

/// Power is lost at any operation: what was not synced reaches the disk in part, sector by sector,
/// and the head file is as old as it may be. Whatever was acknowledged is there.
#[test]
fn losing_power_at_any_moment_loses_nothing_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let control = Arc::new(Mutex::new(Control::default()));
    let log = open_on_disk(&path, &control);
    let start = std::fs::read(path.join("log.redb")).unwrap();
    control.lock().trace = Some(Vec::new());
    // After so many operations so many records were acknowledged, and the head file read so.
    let mut acknowledged = vec![(0, 0, std::fs::read(path.join("head")).unwrap())];
    for number in 0..40 {
        let head = log.append_next(workload(number)).unwrap();
        let operations = control.lock().trace.as_ref().unwrap().len();
        acknowledged.push((operations, head, std::fs::read(path.join("head")).unwrap()));
    }
    let trace = control.lock().trace.take().unwrap();
    let all = read_all(&log);

    let mut random = StdRng::seed_from_u64(11);
    let (mut whole, mut partial) = (0, 0);
    for round in 0..CUTS {
        let cut = random.random_range(0..=trace.len());
        let synced = trace[..cut].iter().rposition(|done| matches!(done, Operation::Sync)).unwrap_or(0);
        let mut image = start.clone();
        trace[..synced].iter().for_each(|operation| apply(&mut image, operation, || true));
        let share = if round % 3 == 0 { 1.0 } else { random.random_range(0.0..=1.0) };
        trace[synced..cut]
            .iter()
            .for_each(|operation| apply(&mut image, operation, || random.random_bool(share)));
        let known = acknowledged.iter().rposition(|(operations, ..)| *operations <= cut).unwrap();
        let head_file = &acknowledged[random.random_range(0..=known)].2;

        let copy = directory.path().join(format!("cut {round}"));
        std::fs::create_dir(&copy).unwrap();
        std::fs::write(copy.join("log.redb"), image).unwrap();
        std::fs::write(copy.join("head"), head_file).unwrap();
        let recovered = Journal::open(&copy, OPTIONS).unwrap_or_else(|error| panic!("cut at {cut}: {error}"));
        let entries = read_all(&recovered);
        assert!(entries.len() as u64 >= acknowledged[known].1, "cut at {cut}");
        assert_eq!(entries, all[..entries.len()], "cut at {cut}");
        assert!(
            acknowledged.iter().any(|(_, head, _)| *head == entries.len() as u64),
            "a batch is whole or not there"
        );
        if entries.len() as u64 > acknowledged[known].1 {
            whole += 1;
        } else {
            partial += 1;
        }
        recovered.append_next(workload(99)).unwrap();
        drop(recovered);
        std::fs::remove_dir_all(copy).unwrap();
    }
    assert!(whole > 0 && partial > 0, "{whole} {partial}");
}
