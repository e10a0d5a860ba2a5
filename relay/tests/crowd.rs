//! Thousands of readers of the relay's event streams, half of which take nothing: auctions, headers and blocks go on beside
//! them, and what a slow reader costs is bounded.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod world;

use alloy_primitives::{Address, Bytes};
use earnest_devnet::builder::Report;
use earnest_http::affordable;
use earnest_protocol::{
    Slot,
    auction::AuctionStatus,
    objects::{Constraint, ConstraintsMessage, Delegation, SignedConstraints, SignedDelegation},
};
use earnest_relay::Bounds;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    runtime::Builder,
    sync::{Notify, broadcast},
    task::JoinSet,
};
use world::{
    PATIENCE, Setting, World,
    auction::{another, bid, bls, open_slot, operator_of, place, setting, until},
    transfer, unhurried,
};

const EVENTS: &str = "/ordering/v1/events";
const CONSTRAINTS: &str = "/constraints/v0/relay/constraints_stream";
/// Streams of one client.
const PER_CLIENT: usize = 8;
/// Messages of constraints: more than what is on its way to a reader that takes nothing and what the relay holds for it.
const MESSAGES: u64 = 480;
/// Of them, those of one request. Less than the relay holds for a reader that is behind.
const AT_ONCE: usize = 40;
/// Bytes of memory that one reader may cost at most, both ends together.
const READER_BYTES: usize = 64 << 10;

/// One connection that reads a stream.
struct Reader {
    stream: TcpStream,
    text: Vec<u8>,
    /// Bytes of it in which no frame ends.
    seen: usize,
}

impl Reader {
    /// Opens a stream for a client of an address of its own; gives the status of the answer. With a small buffer, what is not
    /// read waits at the relay.
    async fn open(world: &World, client: usize, path: &str, small: bool) -> (u16, Self) {
        let socket = TcpSocket::new_v4().unwrap();
        if small {
            socket.set_recv_buffer_size(32 << 10).unwrap();
        }
        // What is 127 is here.
        let [high, low] = u16::try_from(client + 1).unwrap().to_be_bytes();
        socket.bind(SocketAddr::from((Ipv4Addr::new(127, 1, high, low), 0))).unwrap();
        let mut stream = socket.connect(world.relay.local_addr).await.unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nhost: relay\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut status = [0; 12];
        tokio::time::timeout(PATIENCE, stream.read_exact(&mut status)).await.unwrap().unwrap();
        let status = std::str::from_utf8(&status[9..]).unwrap().parse().unwrap();
        (status, Self { stream, text: Vec::new(), seen: 0 })
    }

    async fn opened(world: &World, client: usize, path: &str, small: bool) -> Self {
        let (status, reader) = Self::open(world, client, path, small).await;
        assert_eq!(status, 200);
        reader
    }

    /// Where the first whole frame ends.
    fn frame_end(&mut self) -> Option<usize> {
        let unseen = &self.text[self.seen..];
        if let Some(at) = unseen.windows(2).position(|two| two == b"\n\n") {
            let end = self.seen + at + 2;
            self.seen = 0;
            return Some(end);
        }
        self.seen = self.text.len().saturating_sub(1);
        None
    }

    /// Name and data of the next event; none when the connection has ended.
    async fn next(&mut self) -> Option<(String, String)> {
        loop {
            while let Some(end) = self.frame_end() {
                let frame = String::from_utf8(self.text.drain(..end).collect()).unwrap();
                let line = |start: &str| frame.lines().find_map(|line| line.strip_prefix(start));
                if let (Some(name), Some(data)) = (line("event: "), line("data: ")) {
                    return Some((name.to_owned(), data.to_owned()));
                }
            }
            let read =
                tokio::time::timeout(2 * PATIENCE, self.stream.read_buf(&mut self.text)).await.unwrap();
            if read.is_ok_and(|read| read > 0) {
                continue;
            }
            return None;
        }
    }

    /// How many messages of constraints come until the stream ends, and whether that was with a reason.
    async fn read_out(mut self) -> (usize, bool) {
        let mut read = 0;
        while let Some((name, data)) = self.next().await {
            if name == "dropped" {
                assert!(data.contains("not taken fast enough"), "{data}");
                assert!(self.next().await.is_none(), "something behind the last event");
                return (read, true);
            }
            read += 1;
        }
        (read, false)
    }

    /// Reads until the result of a slot's auction.
    async fn result(&mut self, slot: u64) {
        let slot = format!("\"slot\":\"{slot}\"");
        loop {
            let (name, data) = self.next().await.expect("the stream goes on");
            assert_ne!(name, "dropped", "{data}");
            if name == "auction_result" && data.contains(&slot) {
                return;
            }
        }
    }
}

/// How many messages the readers have read, all together.
#[derive(Default)]
struct Count(AtomicUsize, Notify);

impl Count {
    fn one_more(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
        self.1.notify_one();
    }

    async fn reaches(&self, wanted: usize) {
        let reached = async {
            while self.0.load(Ordering::SeqCst) < wanted {
                self.1.notified().await;
            }
        };
        tokio::time::timeout(PATIENCE, reached).await.expect("every reader that reads is told");
    }
}

/// Bytes of memory that this process has.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim_end_matches("kB").trim().parse::<usize>().unwrap() << 10
}

/// Delegates a slot to key 50; gives messages of constraints for it.
async fn constrained(world: &World, slot: u64) -> Vec<SignedConstraints> {
    let (_, proposer) = world.proposer(slot).await;
    let message = Delegation {
        proposer: proposer.public_key(),
        delegate: bls(50).public_key(),
        committer: Address::repeat_byte(1),
        slot: Slot(slot),
        metadata: Bytes::new(),
    };
    let signed = SignedDelegation::sign(message, &proposer, &world.network).unwrap();
    assert_eq!(world.post("/constraints/v0/builder/delegate", &signed).await.0, 200);
    let constraint = |nonce| {
        let message = ConstraintsMessage {
            proposer: proposer.public_key(),
            delegate: bls(50).public_key(),
            slot: Slot(slot),
            constraints: vec![Constraint::inclusion(Slot(slot), transfer(1, nonce, 1))],
            receivers: vec![],
        };
        SignedConstraints::sign(message, &bls(50), &world.network).unwrap()
    };
    (0..MESSAGES).map(constraint).collect()
}

async fn metric(world: &World, series: &str) -> usize {
    let text = world.http.get(world.url("/metrics")).send().await.unwrap().text().await.unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(series));
    line.unwrap_or_else(|| panic!("no {series}: {text}")).trim().parse().unwrap()
}

/// A header of a coming slot is served, and its block delivered.
async fn propose(world: &World, reports: &mut broadcast::Receiver<Report>, constrained: u64) {
    let coming = world.slot_ahead(0).max(1);
    let slot = world.bid(reports, if coming == constrained { coming + 1 } else { coming }).await;
    let (index, key) = world.proposer(slot).await;
    let header = world.header(slot, &key).await;
    let block = world.blinded(slot, &header, index, &key, 0);
    let (status, body) = world.post("/eth/v1/builder/blinded_blocks", &block).await;
    assert_eq!(status, 200, "{body}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_of_readers_keeps_nobody_waiting_and_who_is_slow_is_cut() {
    // Two thousand, if this process, of which both ends are, may open so many files.
    let crowd = (affordable(9_200) / 6).min(1_500);
    let bounds = Bounds {
        connections: 9_200,
        streams: 3 * crowd,
        streams_per_client: PER_CLIENT,
        constraints_per_slot: 1_000,
        ..Bounds::default()
    };
    let world = World::start(Setting { bounds, timing: unhurried(), ..setting(6_000) }).await;
    world.register().await;
    let builder = world.builder().await;
    // Readers have a thread of their own.
    let aside = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();

    // Of the readers of constraints one in five reads. All of those hear of everything.
    let (seen, mut reading, mut slow) = (Arc::new(Count::default()), JoinSet::new(), Vec::new());
    for number in 0..crowd / 3 {
        let is_slow = number % 5 != 0;
        let mut reader = Reader::opened(&world, number / PER_CLIENT, CONSTRAINTS, is_slow).await;
        if is_slow {
            slow.push(reader);
            continue;
        }
        let seen = Arc::clone(&seen);
        let read = async move {
            while let Some((name, data)) = reader.next().await {
                match name.as_str() {
                    "signed_constraints" => seen.one_more(),
                    name => assert_eq!((name, data.as_str()), ("dropped", "the relay is stopping")),
                }
            }
        };
        reading.spawn_on(read, aside.handle());
    }
    let constrain = world.slot_ahead(7);
    let messages = constrained(&world, constrain).await;
    let mut posted = 0;
    for some in messages.chunks(AT_ONCE) {
        let (status, body) = world.post("/constraints/v0/builder/constraints", &some).await;
        assert_eq!(status, 200, "{body}");
        posted += some.len();
        seen.reaches(posted * reading.len()).await;
    }
    // Who took nothing is told so when it reads at last, or was cut before.
    let (slow_ones, mut told, mut ended) = (slow.len(), 0, JoinSet::new());
    for reader in slow {
        ended.spawn_on(reader.read_out(), aside.handle());
    }
    while let Some(end) = ended.join_next().await {
        let (read, was_told) = end.unwrap();
        assert!(read < posted, "a slow reader was told of all {read}");
        told += usize::from(was_told);
    }
    println!(
        "{posted} messages told to each of {}; of {slow_ones} slow ones {told} were told, the others cut",
        reading.len()
    );
    let dropped = "earnest_relay_streams_dropped_total{stream=\"constraints\",reason=\"slow\"}";
    assert_eq!(metric(&world, dropped).await, told);
    let open = async |stream| metric(&world, &format!("earnest_relay_streams{{stream=\"{stream}\"}}")).await;
    let gone = async {
        while open("constraints").await > reading.len() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("the places of those who were cut are free");

    // Of the readers of events every second one reads nothing until the auction is over.
    let (before, mut events) = (resident(), Vec::new());
    for number in 0..crowd {
        events.push(Reader::opened(&world, crowd + number / PER_CLIENT, EVENTS, false).await);
    }
    let each = resident().saturating_sub(before) / crowd;
    println!("{crowd} readers of events, {} KiB each", each >> 10);
    assert!(each < READER_BYTES, "{each}");
    assert_eq!(open("events").await, crowd);
    // More of them are turned away, and hold no connection. Builders have places of their own.
    for (client, expected) in [(crowd, 429), (2 * crowd, 503)] {
        let (status, mut reader) = Reader::open(&world, client, EVENTS, false).await;
        assert_eq!(status, expected);
        let mut answer = String::new();
        tokio::time::timeout(PATIENCE, reader.stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        assert!(answer.contains("too_many_streams") && answer.contains("connection: close"), "{answer}");
    }
    let constraints = Reader::opened(&world, 2 * crowd, CONSTRAINTS, false).await;
    let (auction, proposer, _) = open_slot(&world, 2).await;
    let (idle, quick): (Vec<_>, Vec<_>) =
        events.into_iter().enumerate().partition(|(number, _)| number % 2 == 0);
    let mut hearing = JoinSet::new();
    for (_, mut reader) in quick {
        hearing.spawn_on(async move { reader.result(auction).await }, aside.handle());
    }

    // Bids are acknowledged, a header served and its block delivered, and the auction has its result in time.
    let by = another(&[operator_of(&proposer)]);
    let mut held = Vec::new();
    for wei in 100..103 {
        held.push(place(&world, by, bid(auction, by, &[5], wei)).await);
    }
    propose(&world, &mut builder.reports(), constrain).await;
    let done = until(&world, auction, AuctionStatus::Final).await;
    let outcome = done.outcome.unwrap();
    assert_eq!(outcome.bids.len(), held.len());
    assert_eq!(outcome.winners, [held[2].ack.message.bid_hash]);
    // Everyone hears of it, also who reads only now.
    for (_, mut reader) in idle {
        hearing.spawn_on(async move { reader.result(auction).await }, aside.handle());
    }
    while let Some(heard) = hearing.join_next().await {
        heard.unwrap();
    }
    drop(constraints);
    builder.shutdown().await;
    world.stop().await;
    while let Some(read) = reading.join_next().await {
        read.unwrap();
    }
    aside.shutdown_background();
}
