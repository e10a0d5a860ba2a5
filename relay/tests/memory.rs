//! However much is sent at once, memory stays bounded.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod world;

use earnest_http::LimitConfig;
use earnest_relay::Bounds;
use futures::future::join_all;
use serde_json::Value;
use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use world::{
    PATIENCE, Setting, World,
    refusal::{Answer, Ask, JSON},
    transfer, unhurried,
};

const MIB: usize = 1 << 20;
/// Bytes of all bodies at once.
const BODIES: usize = 64 * MIB;
/// What the process may grow by: a body that is whole is for a moment there twice, and the allocator keeps what was freed.
const GROWTH: usize = 6 * BODIES + 96 * MIB;
/// Clients at once; each sends as much as a body may have, two gigabytes together.
const CLIENTS: usize = 64;
const ROUNDS: usize = 3;

/// Bytes of memory that this process has.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim_end_matches("kB").trim().parse::<usize>().unwrap() << 10
}

/// The most that this process has until it is dropped.
struct Peak(Arc<AtomicUsize>, Arc<AtomicBool>);

impl Peak {
    fn watch() -> Self {
        let (peak, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let watched = Self(Arc::clone(&peak), Arc::clone(&done));
        std::thread::spawn(move || {
            while !done.load(Ordering::Relaxed) {
                peak.fetch_max(resident(), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        watched
    }

    fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Peak {
    fn drop(&mut self) {
        self.1.store(true, Ordering::Relaxed);
    }
}

/// Sends a head and then the same bytes again and again, until all is sent or there is an answer.
async fn pour(world: &World, head: &Ask, piece: &[u8], times: usize) -> Answer {
    let mut stream = TcpStream::connect(world.relay.local_addr).await.unwrap();
    let (mut reading, mut writing) = stream.split();
    let mut answer = Vec::new();
    let write = async {
        let mut sent = writing.write_all(&head.bytes()).await;
        for _ in 0..times {
            if sent.is_ok() {
                sent = writing.write_all(piece).await;
            }
        }
    };
    let (_, read) = tokio::join!(write, tokio::time::timeout(PATIENCE, reading.read_to_end(&mut answer)));
    let read = read.unwrap();
    assert!(!answer.is_empty(), "no answer: {read:?}");
    Answer::read(&answer)
}

fn post(path: &str) -> Ask {
    Ask::post(path).header("content-type", JSON).unframed().body("")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_is_bounded_whatever_is_sent_at_once() {
    let bounds = Bounds { bodies_bytes: BODIES, body_ms: 1_000, ..Bounds::default() };
    let clients = LimitConfig { per_second: 0, ..LimitConfig::default() };
    let setting = Setting { slot_ms: 4_000, timing: unhurried(), bounds, clients, ..Setting::default() };
    let world = World::start(setting).await;
    world.register().await;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(&vec![b' '; 256 * MIB]).unwrap();
    let bomb = encoder.finish().unwrap();
    let piece = vec![b' '; MIB];
    let chunk = [b"100000\r\n".as_slice(), &piece, b"\r\n"].concat();
    let taking = ["/relay/v1/builder/blocks", "/eth/v1/builder/validators"];
    let full = |path: &str| post(path).header("content-length", (32 * MIB).to_string());
    let before = resident();
    let peak = Peak::watch();
    let mut told = std::collections::BTreeMap::<(&str, u16), usize>::new();
    for _ in 0..ROUNDS {
        let stopping = taking.iter().cycle().take(CLIENTS).map(|path| {
            let (world, piece) = (&world, &piece);
            let head = full(path);
            async move { ("stopping", pour(world, &head, piece, 31).await) }
        });
        let chunked = taking.iter().cycle().take(CLIENTS).map(|path| {
            let (world, chunk) = (&world, &chunk);
            let head = post(path).header("transfer-encoding", "chunked");
            async move { ("endless", pour(world, &head, chunk, 100).await) }
        });
        let bombs = taking.iter().cycle().take(CLIENTS).map(|path| {
            let (world, bomb) = (&world, &bomb);
            let head = post(path)
                .header("content-encoding", "gzip")
                .header("content-length", bomb.len().to_string());
            async move { ("bomb", pour(world, &head, bomb, 1).await) }
        });
        let mut answers = join_all(stopping).await;
        answers.extend(join_all(chunked).await);
        answers.extend(join_all(bombs).await);
        for (what, answer) in answers {
            let (_, message) = answer.refusal().unwrap_or_else(|other| panic!("{what}: {other}"));
            if answer.status == 503 {
                assert_eq!(message, "too many bodies are held at once: try again");
                assert_eq!(answer.header("retry-after"), Some("1"));
            }
            *told.entry((what, answer.status)).or_default() += 1;
        }
    }
    let (peak, after) = (peak.bytes(), resident());
    println!("{told:?}: {} MiB before, {} at most, {} after", before / MIB, peak / MIB, after / MIB);
    assert!(told.keys().all(|(_, status)| [408, 413, 503].contains(status)), "{told:?}");
    assert!(peak.saturating_sub(before) < GROWTH, "{} MiB", (peak - before) / MIB);
    assert!(after.saturating_sub(before) < GROWTH, "{} MiB", (after - before) / MIB);

    // The room is free again.
    let registrations: Value = serde_json::json!([]);
    assert_eq!(world.post(taking[1], &registrations).await.0, 200);
    world.engine.submit(transfer(1, 0, 1));
    let builder = world.builder().await;
    let slot = world.bid(&mut builder.reports(), world.slot_ahead(1)).await;
    let (_, key) = world.proposer(slot).await;
    world.header(slot, &key).await;
    builder.shutdown().await;
    world.stop().await;
}
