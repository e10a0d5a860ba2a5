//! Tests that need the inside of a log: a disk that fails, files altered behind its back.

#![allow(clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]

mod behaviour;
mod damage;
mod disk;
mod model;
mod power_loss;

use crate::{Batch, Claim, Entry, Journal, Log, Options, Record};
use alloy_primitives::B256;
use std::path::Path;

pub(crate) const OPTIONS: Options =
    Options { free_space_floor: 0, cache_bytes: 1024 * 1024, recent_bytes: 64 * 1024 };

pub(crate) fn open(path: &Path) -> Journal {
    Journal::open(path, OPTIONS).unwrap()
}

/// A record whose body is `size` bytes that differ from record to record.
pub(crate) fn record(number: u64, size: usize) -> Record {
    let mut body: Vec<u8> = number.to_be_bytes().to_vec();
    body.extend((8..size).map(|at| (at as u64).wrapping_mul(number.wrapping_add(31)) as u8));
    Record { kind: (number % 7) as u16, body: body.into() }
}

pub(crate) fn claim(number: u64) -> Claim {
    Claim {
        key: format!("signer/{number:08}").into_bytes(),
        value: B256::from(alloy_primitives::U256::from(number)),
    }
}

/// Batch `number` of the workload that damage tests use: one to three records of mixed size, a claim
/// with every second.
pub(crate) fn workload(number: u64) -> Batch {
    let records = (0..=number % 3).map(|part| record(number * 10 + part, 20 + (number as usize % 9) * 300));
    let claims = (number.is_multiple_of(2)).then(|| claim(number));
    Batch { records: records.collect(), claims: claims.into_iter().collect() }
}

pub(crate) fn read_all(log: &Journal) -> Vec<Entry> {
    let mut entries = Vec::new();
    loop {
        let more = log.read(entries.len() as u64, 1000, usize::MAX).unwrap();
        if more.is_empty() {
            return entries;
        }
        entries.extend(more);
    }
}

pub(crate) fn copy_log(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in ["log.redb", "head"] {
        std::fs::copy(from.join(file), to.join(file)).unwrap();
    }
}
