use super::*;
use crate::store::testing::{set_schema, with_claims, with_entries};
use crate::{AppendError, KIND_CLAIMS, MAX_BODY_BYTES, MAX_KEY_BYTES, OpenError, ReadError};
use std::time::Duration;

#[test]
fn appends_at_the_expected_position_only() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    assert_eq!(log.append(0, Batch::record(1, &b"a"[..])).unwrap(), 1);
    assert!(matches!(log.append(0, Batch::record(1, &b"b"[..])), Err(AppendError::Conflict { head: 1 })));
    assert!(matches!(log.append(2, Batch::record(1, &b"b"[..])), Err(AppendError::Conflict { head: 1 })));
    assert_eq!(
        log.append_next(Batch { records: vec![record(1, 9), record(2, 9)], claims: vec![] }).unwrap(),
        3
    );
    assert_eq!(log.head(), 3);
    assert_eq!(read_all(&log)[2].hash, log.head_hash());
}

#[test]
fn a_claim_holds_one_value_for_ever() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    let (first, second) = (B256::repeat_byte(1), B256::repeat_byte(2));
    assert_eq!(log.append(0, Batch::claim("slot 5", first)).unwrap(), 1);
    assert_eq!(log.append(1, Batch::claim("slot 5", first)).unwrap(), 1, "the same again is no new record");
    let other = Claim { key: b"slot 5".to_vec(), value: second };
    let both = Batch { records: vec![record(1, 10)], claims: vec![claim(0), other] };
    let refused = log.append(1, both).unwrap_err();
    assert!(
        matches!(refused, AppendError::Refused { key, existing } if key[..] == *b"slot 5" && existing == first)
    );
    assert_eq!(log.head(), 1, "a refused batch leaves no record");
    assert_eq!(log.claimed(&claim(0).key).unwrap(), None, "nor another claim");
    log.close();
    assert!(matches!(log.claimed(b"slot 5"), Err(ReadError::Closed)));
    let log = open(directory.path());
    assert_eq!(log.claimed(b"slot 5").unwrap(), Some(first));
    assert!(matches!(log.append_next(Batch::claim("slot 5", second)), Err(AppendError::Refused { .. })));
}

#[test]
fn one_batch_cannot_claim_two_values() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    let claims = [1, 2].map(|byte| Claim { key: b"k".to_vec(), value: B256::repeat_byte(byte) });
    let refused = log.append(0, Batch { records: vec![], claims: claims.to_vec() });
    assert!(matches!(refused, Err(AppendError::Refused { .. })));
    assert_eq!(log.claimed(b"k").unwrap(), None);
}

#[test]
fn claims_are_found_by_prefix() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    let keys = ["a/1", "b/1", "b/2", "b/30", "c"];
    let claims = keys.map(|key| Claim { key: key.into(), value: B256::repeat_byte(key.len() as u8) });
    log.append(0, Batch { records: vec![], claims: claims.to_vec() }).unwrap();
    let found = log.claims(b"b/").unwrap();
    assert_eq!(found, claims[1..4]);
    assert_eq!(log.claims(b"").unwrap(), claims);
    assert!(log.claims(b"d").unwrap().is_empty());
    assert_eq!(read_all(&log)[0].kind, KIND_CLAIMS);
}

#[test]
fn reads_within_limits_and_always_one() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { recent_bytes: 0, ..OPTIONS };
    let log = Journal::open(directory.path(), options).unwrap();
    for number in 0..10 {
        log.append_next(Batch { records: vec![record(number, 100)], claims: vec![] }).unwrap();
    }
    assert!(log.read_recent(9, 1).is_none(), "nothing is kept in memory here");
    let positions = |from, records, bytes| {
        log.read(from, records, bytes).unwrap().iter().map(|entry| entry.position).collect::<Vec<_>>()
    };
    assert_eq!(positions(0, 3, usize::MAX), [0, 1, 2]);
    assert_eq!(positions(4, 10, 250), [4, 5]);
    assert_eq!(positions(9, 10, 0), [9]);
    assert_eq!(positions(10, 10, 1000), [0u64; 0]);
    assert_eq!(positions(u64::MAX, 10, 1000), [0u64; 0]);
}

#[test]
fn what_is_too_large_is_refused_before_it_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    let body = vec![0; MAX_BODY_BYTES + 1];
    let key = vec![0; MAX_KEY_BYTES + 1];
    let many = (0..=crate::MAX_CLAIMS as u64).map(claim).collect();
    for batch in [
        Batch::record(0, body),
        Batch::claim(key, B256::ZERO),
        Batch { records: vec![], claims: many },
        Batch {
            records: vec![Record { kind: 0, body: vec![0; MAX_BODY_BYTES / 2 + 1].into() }; 2],
            claims: vec![],
        },
    ] {
        assert!(matches!(log.append(0, batch), Err(AppendError::TooLarge { .. })));
    }
    assert_eq!(log.append(0, Batch::record(0, vec![7; MAX_BODY_BYTES / 4])).unwrap(), 1);
}

#[test]
fn below_the_floor_appends_are_refused_and_reads_go_on() {
    let directory = tempfile::tempdir().unwrap();
    open(directory.path()).append(0, Batch::record(1, &b"kept"[..])).unwrap();
    let full = Options { free_space_floor: u64::MAX, ..OPTIONS };
    let log = Journal::open(directory.path(), full).unwrap();
    assert!(matches!(
        log.append(1, Batch::record(1, &b"x"[..])),
        Err(AppendError::NoSpace { floor: u64::MAX, .. })
    ));
    assert!(matches!(log.writable(), Err(AppendError::NoSpace { .. })));
    assert_eq!(read_all(&log)[0].body[..], *b"kept");
    log.close();
    drop(log);
    let log = open(directory.path());
    log.writable().unwrap();
    assert_eq!(log.append(1, Batch::record(1, &b"x"[..])).unwrap(), 2);
}

#[test]
fn a_second_opening_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    let refused = Journal::open(directory.path(), OPTIONS).unwrap_err();
    assert!(matches!(&refused, OpenError::Locked { path } if path == directory.path()));
    assert!(refused.to_string().contains(directory.path().to_str().unwrap()));
    let clone = log.clone();
    drop(log);
    assert!(Journal::open(directory.path(), OPTIONS).is_err());
    clone.close();
    open(directory.path());
    assert!(matches!(clone.append(0, Batch::record(1, &b"x"[..])), Err(AppendError::Closed)));
    assert!(matches!(clone.reopen(), Err(OpenError::Closed)));
}

#[test]
fn a_newer_schema_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()));
    set_schema(&directory.path().join("log.redb"), 2);
    let refused = Journal::open(directory.path(), OPTIONS).unwrap_err();
    assert!(matches!(refused, OpenError::SchemaTooNew { found: 2, supported: 1, .. }), "{refused}");
}

fn with_ten_records(path: &Path) {
    let log = open(path);
    for number in 0..10 {
        let batch = Batch { records: vec![record(number, 50)], claims: vec![claim(number)] };
        log.append(number, batch).unwrap();
    }
}

fn broken_at(path: &Path) -> u64 {
    match Journal::open(path, OPTIONS) {
        Err(OpenError::Broken { position, .. }) => position,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_break_is_named_by_its_position() {
    let directory = tempfile::tempdir().unwrap();
    let (whole, copy) = (directory.path().join("whole"), directory.path().join("copy"));
    with_ten_records(&whole);
    let database = copy.join("log.redb");
    let row = |table: &mut redb::Table<'_, u64, &[u8]>, at: u64| {
        redb::ReadableTable::get(table, at).unwrap().unwrap().value().to_vec()
    };

    copy_log(&whole, &copy);
    with_entries(&database, |entries| {
        let mut changed = row(entries, 4);
        *changed.last_mut().unwrap() ^= 1;
        entries.insert(4, changed.as_slice()).unwrap();
    });
    assert_eq!(broken_at(&copy), 4, "a changed body");

    copy_log(&whole, &copy);
    with_entries(&database, |entries| {
        entries.remove(6).unwrap();
    });
    assert_eq!(broken_at(&copy), 6, "a gap");

    copy_log(&whole, &copy);
    with_entries(&database, |entries| {
        let (a, b) = (row(entries, 2), row(entries, 3));
        entries.insert(2, b.as_slice()).unwrap();
        entries.insert(3, a.as_slice()).unwrap();
    });
    assert_eq!(broken_at(&copy), 2, "two records swapped");

    copy_log(&whole, &copy);
    with_entries(&database, |entries| {
        entries.remove(9).unwrap();
    });
    with_claims(&database, |claims| {
        claims.remove(claim(9).key.as_slice()).unwrap();
    });
    assert_eq!(broken_at(&copy), 9, "the last record gone without a trace in the database");

    copy_log(&whole, &copy);
    with_claims(&database, |claims| {
        claims.remove(claim(5).key.as_slice()).unwrap();
    });
    assert_eq!(broken_at(&copy), 5, "a claim gone");

    copy_log(&whole, &copy);
    with_claims(&database, |claims| {
        let held = [claim(3).value.as_slice(), &7u64.to_be_bytes()].concat();
        claims.insert(claim(7).key.as_slice(), held.as_slice()).unwrap();
    });
    assert_eq!(broken_at(&copy), 7, "a claim with another value");

    copy_log(&whole, &copy);
    with_claims(&database, |claims| {
        claims.insert(&b"forged"[..], &[0u8; 40][..]).unwrap();
    });
    assert_eq!(broken_at(&copy), 10, "a claim that no record made");

    copy_log(&whole, &copy);
    std::fs::remove_file(copy.join("head")).unwrap();
    assert_eq!(broken_at(&copy), 0, "no head file");

    copy_log(&whole, &copy);
    std::fs::remove_file(&database).unwrap();
    assert_eq!(broken_at(&copy), 0, "no database");

    let other = directory.path().join("other");
    with_ten_records(&other);
    std::fs::copy(other.join("log.redb"), &database).unwrap();
    assert_eq!(broken_at(&copy), 0, "the database of another log");

    copy_log(&whole, &copy);
    assert_eq!(open(&copy).head(), 10);
}

#[test]
fn an_older_copy_of_the_database_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    with_ten_records(directory.path());
    let older = std::fs::read(directory.path().join("log.redb")).unwrap();
    open(directory.path()).append(10, Batch::record(0, &b"newest"[..])).unwrap();
    std::fs::write(directory.path().join("log.redb"), older).unwrap();
    assert_eq!(broken_at(directory.path()), 10);
}

#[test]
fn a_creation_cut_short_is_taken_up_again() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()));
    std::fs::rename(directory.path().join("log.redb"), directory.path().join("log.redb.new")).unwrap();
    let log = open(directory.path());
    assert_eq!(log.append(0, Batch::record(0, &b"first"[..])).unwrap(), 1);
    log.close();
    assert_eq!(open(directory.path()).head(), 1);
}

#[test]
fn time_never_runs_backwards() {
    let directory = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        let log = open(directory.path());
        log.append_next(Batch::record(0, &b"x"[..])).unwrap();
    }
    let times: Vec<u64> = read_all(&open(directory.path())).iter().map(|entry| entry.at_ms).collect();
    assert!(times.is_sorted() && times[0] > 1_700_000_000_000, "{times:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_catches_up_and_goes_on() {
    const TOTAL: u64 = 600;
    let directory = tempfile::tempdir().unwrap();
    let options = Options { recent_bytes: 4_000, ..OPTIONS };
    let log = Journal::open(directory.path(), options).unwrap();
    let records = (0..TOTAL / 2).map(|number| record(number, 100)).collect();
    log.append(0, Batch { records, claims: vec![] }).unwrap();
    let followers: Vec<_> = [0, 1, TOTAL / 2, TOTAL / 2 + 5]
        .into_iter()
        .map(|from| {
            let mut subscription = log.subscribe(from);
            tokio::spawn(async move {
                let mut got = Vec::new();
                loop {
                    match subscription.next().await {
                        Ok(entry) => got.push(entry),
                        Err(ReadError::Closed) => return (from, got),
                        Err(error) => panic!("{error}"),
                    }
                    if got.last().is_some_and(|entry| entry.position + 1 == TOTAL) {
                        return (from, got);
                    }
                }
            })
        })
        .collect();
    let writer = log.clone();
    tokio::task::spawn_blocking(move || {
        for number in TOTAL / 2..TOTAL {
            writer.append(number, Batch { records: vec![record(number, 100)], claims: vec![] }).unwrap();
        }
    })
    .await
    .unwrap();
    let all = read_all(&log);
    for follower in followers {
        let (from, got) = tokio::time::timeout(Duration::from_secs(20), follower).await.unwrap().unwrap();
        assert_eq!(got, all[from as usize..]);
    }
}

#[tokio::test]
async fn a_subscription_ends_when_the_log_is_closed() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    log.append(0, Batch::record(1, &b"last"[..])).unwrap();
    let mut subscription = log.subscribe(0);
    assert_eq!(subscription.next().await.unwrap().body[..], *b"last");
    assert_eq!(subscription.position(), 1);
    let waiting = tokio::spawn(async move { subscription.next().await });
    log.close();
    assert!(matches!(waiting.await.unwrap(), Err(ReadError::Closed)));
}
