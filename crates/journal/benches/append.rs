//! One durable append of a 512-byte record, beside a bare redb commit of the same bytes.
//!
//! The two alternate on the same disk, so that its mood meets both alike. It does not measure many
//! writers, large records, or a log that has outgrown the cache.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use earnest_journal::{Batch, Journal, Log, Options};
use redb::{Database, TableDefinition};
use std::time::{Duration, Instant};

const TABLE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("bare");
const ROUNDS: u64 = 3_000;

fn main() {
    let directory = tempfile::tempdir_in(".").unwrap();
    let bare = Database::create(directory.path().join("bare.redb")).unwrap();
    let log = Journal::open(&directory.path().join("log"), Options::default()).unwrap();
    let body = vec![0x5a; 512];
    let (mut bare_times, mut log_times) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let start = Instant::now();
        let write = bare.begin_write().unwrap();
        write.open_table(TABLE).unwrap().insert(round, body.as_slice()).unwrap();
        write.commit().unwrap();
        bare_times.push(start.elapsed());
        let start = Instant::now();
        log.append(round, Batch::record(1, body.clone())).unwrap();
        log_times.push(start.elapsed());
    }
    let (bare, log) = (median(bare_times), median(log_times));
    println!(
        "bare redb commit p50 {bare:?}, journal append p50 {log:?}, ratio {:.3}",
        log.as_secs_f64() / bare.as_secs_f64()
    );
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
