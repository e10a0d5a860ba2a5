//! What happens to a log when its process is killed, runs out of disk, or is not alone.

#![allow(
    missing_docs,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

use alloy_primitives::B256;
use earnest_journal::{AppendError, Batch, Claim, Journal, Log, OpenError, Options, Record};
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const ROLE: &str = "EARNEST_JOURNAL_TEST_ROLE";
const PATH: &str = "EARNEST_JOURNAL_TEST_PATH";
const OPTIONS: Options = Options { free_space_floor: 0, cache_bytes: 1 << 20, recent_bytes: 1 << 16 };

/// Not a test of its own: the process that the tests below start, kill and starve.
#[test]
fn child() {
    let (Ok(role), Ok(path)) = (std::env::var(ROLE), std::env::var(PATH)) else { return };
    let path = Path::new(&path);
    match role.as_str() {
        "load" => load(path),
        "fill" => fill(path),
        "fill-disk" => fill_disk(path),
        "open" => say(&match Journal::open(path, OPTIONS) {
            Ok(log) => format!("opened {}", log.head()),
            Err(OpenError::Locked { path }) => format!("locked {}", path.display()),
            Err(error) => format!("error {error}"),
        }),
        other => panic!("unknown role {other}"),
    }
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "@{line}").unwrap();
    out.flush().unwrap();
}

fn start(role: &str, path: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["child", "--exact", "--nocapture"]).env(ROLE, role).env(PATH, path);
    command.stdout(Stdio::piped()).stdin(Stdio::null());
    command
}

/// The lines a child said; the last one may be cut off by its end and does not count.
fn lines(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    let mut out = BufReader::new(child.stdout.take().unwrap());
    std::iter::from_fn(move || {
        loop {
            let mut line = String::new();
            out.read_line(&mut line).unwrap();
            let whole = line.strip_suffix('\n')?;
            if let Some((_, said)) = whole.split_once('@') {
                return Some(said.to_owned());
            }
        }
    })
}

/// Two writers append records with claims as fast as they can and say what was acknowledged.
fn load(path: &Path) {
    let log = Journal::open(path, OPTIONS).unwrap();
    let seed = log.head();
    thread::scope(|scope| {
        for writer in 0..2u64 {
            let log = &log;
            scope.spawn(move || {
                let mut random = StdRng::seed_from_u64(seed * 2 + writer);
                loop {
                    let expected = log.head();
                    let value = B256::from(random.random::<[u8; 32]>());
                    let batch = Batch {
                        records: vec![Record {
                            kind: 1,
                            body: vec![writer as u8; random.random_range(0..2000)].into(),
                        }],
                        claims: vec![Claim { key: expected.to_be_bytes().to_vec(), value }],
                    };
                    match log.append(expected, batch) {
                        Ok(head) => {
                            let entry = log.read(head - 1, 1, 0).unwrap().remove(0);
                            assert_eq!(entry.position, expected);
                            say(&format!("{} {} {value}", entry.position, entry.hash));
                        }
                        Err(AppendError::Conflict { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
    });
}

#[test]
fn killed_at_any_moment_it_keeps_all_it_acknowledged() {
    const ROUNDS: usize = 30;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let mut random = StdRng::seed_from_u64(1);
    let mut acknowledged: Vec<(u64, B256, B256)> = Vec::new();
    let (mut kills_in_flight, started) = (0, Instant::now());
    for round in 0..ROUNDS {
        let mut child = start("load", &path).spawn().unwrap();
        let mut said = lines(&mut child);
        // Kill it so many acknowledgements and microseconds into its work.
        let mut wanted = random.random_range(1..60);
        while wanted > 0 {
            acknowledged.push(parse(&said.next().expect("the writer runs until it is killed")));
            wanted -= 1;
        }
        thread::sleep(Duration::from_micros(random.random_range(0..2_000)));
        child.kill().unwrap();
        acknowledged.extend(said.map(|line| parse(&line)));
        child.wait().unwrap();

        let log = Journal::open(&path, OPTIONS).unwrap_or_else(|error| panic!("round {round}: {error}"));
        acknowledged.sort_unstable();
        acknowledged.dedup();
        for (position, hash, value) in &acknowledged {
            let entry = log.read(*position, 1, 0).unwrap().into_iter().next();
            assert_eq!(entry.map(|entry| entry.hash), Some(*hash), "round {round}, position {position}");
            assert_eq!(log.claimed(&position.to_be_bytes()).unwrap(), Some(*value), "round {round}");
        }
        let newest = acknowledged.last().map_or(0, |(position, ..)| position + 1);
        assert!(log.head() >= newest);
        kills_in_flight += usize::from(log.head() > newest);
    }
    println!(
        "{ROUNDS} kills, {} acknowledged appends, none lost; {kills_in_flight} kills fell between the write and its acknowledgement; {:?}",
        acknowledged.len(),
        started.elapsed()
    );
}

fn parse(line: &str) -> (u64, B256, B256) {
    let mut words = line.split(' ');
    let mut next = || words.next().unwrap();
    (next().parse().unwrap(), next().parse().unwrap(), next().parse().unwrap())
}

/// Appends what is promised until the disk is full: the log refuses before the disk does, however the room is used up, and
/// goes on when there is room again.
fn fill_disk(path: &Path) {
    let log = Journal::open(path, OPTIONS).unwrap();
    let mut random = StdRng::seed_from_u64(4);
    let (other, mut length) = (path.join("other"), 0);
    let (mut refused, mut acknowledged) = (0, 0);
    while refused < 400 {
        // Something else takes the room little by little.
        length += random.random_range(0..8_000);
        let _ = std::fs::write(&other, vec![1; length]);
        let size = random.random_range(1..=20_000);
        match log.append_owed(None, Batch::record(9, vec![log.head() as u8; size])) {
            Ok(head) => acknowledged = head,
            Err(AppendError::NoSpace { .. }) => {
                assert!(log.read(0, 1, 0).unwrap().len() == 1 && log.head() == acknowledged, "reads go on");
                refused += 1;
            }
            Err(error) => panic!("{error} with {} bytes free", log.room().unwrap_or_default()),
        }
    }
    assert!(acknowledged > 20, "{acknowledged}");
    std::fs::remove_file(&other).unwrap();
    log.append_owed(None, Batch::record(9, vec![log.head() as u8; 9])).unwrap();
    say(&format!("acknowledged {}", log.head()));
    say("goes on");
}

/// Appends until the file cannot grow, then says how the log behaves.
fn fill(path: &Path) {
    let log = Journal::open(path, OPTIONS).unwrap();
    let mut random = StdRng::seed_from_u64(3);
    let failed = loop {
        let size = random.random_range(1..=60_000);
        match log.append_next(Batch::record(9, vec![log.head() as u8; size])) {
            Ok(head) => say(&format!("acknowledged {head}")),
            Err(error) => break error,
        }
    };
    assert!(matches!(failed, AppendError::Io(_)), "{failed}");
    assert!(matches!(log.append_next(Batch::record(9, vec![1])), Err(AppendError::Failed)));
    say("failed");
    match log.reopen() {
        Ok(head) => say(&format!("reopened {head}")),
        Err(error) => {
            say(&format!("not reopened: {error}"));
            assert!(matches!(log.append_next(Batch::record(9, vec![1])), Err(AppendError::Failed)));
        }
    }
}

fn check_filled(mut child: Child, path: &Path) {
    let said: Vec<String> = lines(&mut child).collect();
    assert!(child.wait().unwrap().success(), "{said:?}");
    let count = |name: &str| {
        said.iter().filter_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok()).next_back()
    };
    let acknowledged = count("acknowledged").expect("something fitted");
    assert!(said.iter().any(|line| line == "failed"));
    assert!(count("reopened").unwrap() >= acknowledged);
    let log = Journal::open(path, OPTIONS).unwrap();
    assert!(log.head() >= acknowledged && log.head() <= acknowledged + 1);
    for position in 0..log.head() {
        let body = log.read(position, 1, 0).unwrap().remove(0).body;
        assert!(!body.is_empty() && body.iter().all(|byte| *byte == position as u8));
    }
}

#[test]
fn a_file_that_cannot_grow_fails_the_append_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let exe = std::env::current_exe().unwrap();
    let limited = "trap '' XFSZ; ulimit -f 6000; exec \"$0\" child --exact --nocapture";
    let mut command = Command::new("sh");
    command.args(["-c", limited]).arg(exe).env(ROLE, "fill").env(PATH, &path);
    let child = command.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
    check_filled(child, &path);
}

/// A real file system without room, in a namespace of the child's own: no leave of anybody is needed.
#[test]
fn on_a_full_disk_nothing_is_begun_that_does_not_fit() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk");
    std::fs::create_dir(&path).unwrap();
    let exe = std::env::current_exe().unwrap();
    let mounted = "mount -t tmpfs -o size=6m none \"$1\" && \"$0\" child --exact --nocapture && cp -r \"$1\" \"$1-moved\"";
    let mut command = Command::new("unshare");
    command.args(["-Urm", "sh", "-c", mounted]).arg(exe).arg(&path).env(ROLE, "fill-disk").env(PATH, &path);
    let mut child = command.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
    let said: Vec<String> = lines(&mut child).collect();
    let status = child.wait().unwrap();
    if said.is_empty() && !path.join("lock").exists() && !directory.path().join("disk-moved").exists() {
        let mounting = ["-Urm", "mount", "-t", "tmpfs", "none", "/mnt"];
        let may = Command::new("unshare").args(mounting).stderr(Stdio::null()).status();
        assert!(!may.is_ok_and(|may| may.success()), "{status}");
        println!(
            "no leave to mount a disk in a namespace of its own: the size limit of the other test stands for it"
        );
        return;
    }
    assert!(status.success(), "{said:?}");
    assert!(said.iter().any(|line| line == "goes on"), "{said:?}");
    let last = said.iter().find_map(|line| line.strip_prefix("acknowledged ")?.parse::<u64>().ok());
    let moved = Journal::open(&directory.path().join("disk-moved"), OPTIONS).unwrap();
    assert_eq!(Some(moved.head()), last);
}

#[test]
fn a_second_process_is_kept_out() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let ask = || {
        let mut child = start("open", &path).spawn().unwrap();
        let answers: Vec<String> = lines(&mut child).collect();
        assert!(child.wait().unwrap().success());
        answers.concat()
    };
    let log = Journal::open(&path, OPTIONS).unwrap();
    log.append(0, Batch::record(1, vec![1])).unwrap();
    assert_eq!(ask(), format!("locked {}", path.display()));
    log.close();
    assert_eq!(ask(), "opened 1");
    Journal::open(&path, OPTIONS).unwrap();
}
