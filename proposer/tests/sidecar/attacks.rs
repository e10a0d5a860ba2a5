//! What a hostile source, or a neighbour who can reach the port, may try.

use std::time::{Duration, Instant};

use alloy_primitives::{B256, U256};
use earnest_builder_types::{
    BuilderBid, ExecutionPayloadHeader, ExecutionPayloadHeaderElectra, ExecutionRequests, ForkCodec,
    KzgCommitments, SignedBuilderBid, domain,
};
use futures::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::beacon_stand_in::{BeaconStandIn, SECONDS_PER_SLOT};
use crate::blocks::signed_block;
use crate::network::{Cast, NETWORK, PARENT, SLOT, Sidecar, bid_at, block, json, mev_boost};
use crate::relay_stand_in::{RelayStandIn, Says};

const HEADER: &str = "builder/header";

/// A bad source and a good one whose bid is worth less, in a slot that has just begun.
struct Stage {
    cast: Cast,
    bad: RelayStandIn,
    good: RelayStandIn,
    bid: SignedBuilderBid,
    now: u64,
    sidecar: Sidecar,
    _beacon: BeaconStandIn,
}

impl Stage {
    async fn set() -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let cast = Cast::new();
        let beacon = BeaconStandIn::start(now - SLOT * SECONDS_PER_SLOT).await;
        let (bad, good) = (RelayStandIn::start().await, RelayStandIn::start().await);
        let bid = bid_at(&cast.relay, 5, PARENT, &block(), now);
        good.says(HEADER, Says::Json(200, json(&bid)));
        let node = beacon.url.clone();
        let sources = vec![mev_boost(&bad.url), mev_boost(&good.url)];
        let sidecar = Sidecar::start_with(&cast, sources, false, |config| {
            config.beacon = vec![node];
            config.header_latest = earnest_protocol::window::Fraction(1_000, 1);
        })
        .await;
        let ready = async {
            while sidecar.running.health().ready().is_err() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), ready).await.unwrap();
        Self { cast, bad, good, bid, now, sidecar, _beacon: beacon }
    }

    async fn header(&self) -> (u16, Vec<u8>) {
        let answer = self.sidecar.http.get(self.sidecar.header_url(&self.cast)).send().await.unwrap();
        (answer.status().as_u16(), answer.bytes().await.unwrap().to_vec())
    }

    fn address(&self) -> std::net::SocketAddr {
        self.sidecar.running.local_addr()
    }
}

fn electra(cast: &Cast, timestamp: u64) -> SignedBuilderBid {
    let deneb = bid_at(&cast.relay, 50, PARENT, &block(), timestamp);
    let SignedBuilderBid::Deneb(deneb) = deneb else { panic!("not of deneb") };
    let text = serde_json::to_value(&deneb.message.header).unwrap();
    let header: ExecutionPayloadHeaderElectra = serde_json::from_value(text).unwrap();
    let header = ExecutionPayloadHeader::Electra(header);
    let (commitments, requests) = (KzgCommitments::default(), ExecutionRequests::default());
    BuilderBid::new(header, commitments, requests, U256::from(50), cast.relay.public_key())
        .unwrap()
        .sign(&cast.relay, domain::builder_domain(NETWORK.genesis_fork_version))
}

/// Each would win by its value, and none is a header that the beacon node could take.
#[tokio::test]
async fn a_bid_that_does_not_fit_the_slot_costs_the_others_nothing() {
    let stage = Stage::set().await;
    let bid = |value, parent, timestamp| bid_at(&stage.cast.relay, value, parent, &block(), timestamp);
    let good = json(&bid(50, PARENT, stage.now));
    let renamed = String::from_utf8(good.clone()).unwrap().replace(r#""deneb""#, r#""electra""#).into_bytes();
    let worth = |wei: &str| {
        let text = String::from_utf8(good.clone()).unwrap();
        let there = text.find(r#""value":"50""#).unwrap();
        let (start, end) = text.split_at(there);
        format!("{start}{}", end.replacen(r#""50""#, &format!(r#""{wei}""#), 1)).into_bytes()
    };
    let above = U256::MAX.to_string();
    let ssz = bid(50, PARENT, stage.now).to_ssz();
    // The head of an empty archive; nobody asked for one.
    let gzip = [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 1, 255, 255][..], &good].concat();
    let table: Vec<(&str, Says)> = vec![
        ("of another fork", Says::Json(200, json(&electra(&stage.cast, stage.now)))),
        ("of another fork, ssz", Says::Ssz(electra(&stage.cast, stage.now).to_ssz(), "electra")),
        ("of another fork by name", Says::Json(200, renamed)),
        ("of another parent", Says::Json(200, json(&bid(50, B256::ZERO, stage.now)))),
        ("of another slot", Says::Json(200, json(&bid(50, PARENT, stage.now + SECONDS_PER_SLOT)))),
        ("worth all there could be", Says::Json(200, worth(&above))),
        ("worth more than 256 bits", Says::Json(200, worth(&format!("{above}0")))),
        ("worth less than nothing", Says::Json(200, worth("-1"))),
        ("worth no number", Says::Json(200, worth("0x"))),
        ("ssz that says it is json", Says::Named(ssz.clone(), "application/json", "deneb")),
        ("json that says it is ssz", Says::Named(good.clone(), "application/octet-stream", "deneb")),
        ("ssz of an older fork by name", Says::Ssz(ssz.clone(), "capella")),
        ("half of it", Says::Json(200, good[..good.len() / 2].to_vec())),
        ("half of the ssz", Says::Ssz(ssz[..ssz.len() / 2].to_vec(), "deneb")),
        ("twice", Says::Json(200, [good.clone(), good.clone()].concat())),
        ("empty", Says::Json(200, Vec::new())),
        ("empty ssz", Says::Ssz(Vec::new(), "deneb")),
        ("compressed, unasked", Says::With(200, gzip, "content-encoding", "gzip")),
        ("of no length that is so", Says::Breaks),
        ("deep", Says::Json(200, [vec![b'['; 1 << 20], vec![b']'; 1 << 20]].concat())),
        ("elsewhere", Says::Elsewhere("/constraints/v0/builder/header_with_proofs/elsewhere")),
        ("partial content", Says::Json(206, good.clone())),
    ];
    // Where a redirect that was followed would lead.
    stage.bad.says("header_with_proofs", Says::Json(200, good.clone()));
    for (name, says) in table {
        stage.bad.says(HEADER, says);
        assert_eq!(stage.header().await, (200, json(&stage.bid)), "{name}");
    }
    assert!(stage.bad.heard("header_with_proofs").is_empty(), "a redirect was followed");
    // What is right is taken.
    stage.bad.says(HEADER, Says::Json(200, good.clone()));
    assert_eq!(stage.header().await, (200, good));
    stage.sidecar.stop().await;
}

/// Requests for headers that a hostile source never answers, as many as an address may have: another's is not kept waiting, and every
/// one is answered in time.
#[tokio::test]
async fn many_requests_for_one_slot_are_all_answered_in_time() {
    let stage = Stage::set().await;
    stage.bad.says(HEADER, Says::Silence);
    stage.good.says(HEADER, Says::Silence);
    let started = Instant::now();
    let many = join_all((0..200).map(|_| stage.header())).await;
    assert!(many.iter().all(|(status, _)| *status == 204));
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    let asked = stage.good.heard(HEADER).len();
    assert!(asked <= earnest_proposer::header_turns::MAX_TURNS_OF_ONE, "{asked} questions for 200 requests");
    stage.good.says(HEADER, Says::Json(200, json(&stage.bid)));
    assert_eq!(stage.header().await, (200, json(&stage.bid)), "the turns are given back");
    stage.sidecar.stop().await;
}

async fn raw(address: std::net::SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The server may have answered and closed before all of it is sent.
    drop(stream.write_all(request).await);
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    let reading = async {
        while let Ok(count) = stream.read(&mut piece).await {
            answer.extend_from_slice(&piece[..count]);
            if count == 0 || answer.windows(4).any(|four| four == b"\r\n\r\n") {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), reading).await.expect("an answer in time");
    String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned()
}

/// Malformed requests are refused, and the next good one is answered.
#[tokio::test]
async fn requests_that_are_none_are_refused_and_cost_nobody_else_anything() {
    let stage = Stage::set().await;
    let path = stage.sidecar.header_url(&stage.cast).path().to_owned();
    let giant = format!("GET {path} HTTP/1.1\r\nhost: x\r\nx-fill: {}\r\n\r\n", "a".repeat(64 << 10));
    let many: String = (0..2_000).map(|number| format!("x-{number}: 1\r\n")).collect();
    let post = |route: &str, headers: &str, body: &str| {
        format!("POST /eth/{route} HTTP/1.1\r\nhost: x\r\n{headers}\r\n\r\n{body}")
    };
    let v2 = "v2/builder/blinded_blocks";
    let table = [
        ("a giant header", giant, "431"),
        ("many headers", format!("GET {path} HTTP/1.1\r\nhost: x\r\n{many}\r\n"), "431"),
        ("a giant path", format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(60 << 10)), "4"),
        ("two lengths", post(v2, "content-length: 1\r\ncontent-length: 2", "ab"), "400"),
        ("a block of gigabytes", post(v2, "content-length: 4294967296", ""), "413"),
        ("a chunk that is no chunk", post(v2, "transfer-encoding: chunked", "zz\r\n"), "400"),
        ("an unknown coding", post(v2, "content-encoding: br\r\ncontent-length: 2", "{}"), "415"),
        ("a coding that it is not", post(v2, "content-encoding: gzip\r\ncontent-length: 2", "{}"), "400"),
        (
            "registrations in a coding",
            post(
                "v1/builder/validators",
                "content-type: application/json\r\ncontent-encoding: br\r\ncontent-length: 2",
                "[]",
            ),
            "415",
        ),
        ("no HTTP at all", "\u{16}\u{3}\u{1}\r\n\r\n".to_owned(), "400"),
    ];
    for (name, request, status) in table {
        let line = raw(stage.address(), request.as_bytes()).await;
        assert!(line.starts_with(&format!("HTTP/1.1 {status}")), "{name}: {line}");
    }
    assert!(stage.good.heard("v2/builder/blinded_blocks").is_empty(), "none of these went on");
    assert_eq!(stage.header().await, (200, json(&stage.bid)));
    stage.sidecar.stop().await;
}

/// Bodies that trickle, each with most of what one may hold announced and sent: the beacon node's block still goes through, from another
/// address and after some ended also from the same.
#[tokio::test]
async fn bodies_that_never_end_are_bounded_together_and_end() {
    let cast = Cast::new();
    let relay = RelayStandIn::start().await;
    relay.says("v2/builder/blinded_blocks", Says::Json(202, Vec::new()));
    relay.says("builder/validators", Says::Json(200, Vec::new()));
    let sidecar = Sidecar::start_with(&cast, vec![mev_boost(&relay.url)], false, |config| {
        config.payload_limit_ms = 2_000;
        config.max_body = 64 << 10;
    })
    .await;
    // Registrations: four of the largest fit at once.
    let head = |route: &str| {
        format!(
            "POST /eth/{route} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
        )
    };
    let chunk = format!("{:x}\r\n{}\r\n", 60 << 10, " ".repeat(60 << 10));
    let mut slow = Vec::new();
    for _ in 0..4 {
        let mut stream = TcpStream::connect(sidecar.running.local_addr()).await.unwrap();
        stream.write_all(head("v1/builder/validators").as_bytes()).await.unwrap();
        stream.write_all(chunk.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    let register = || {
        let request = sidecar.http.post(sidecar.url("eth/v1/builder/validators"));
        request.header("content-type", "application/json").body("[]").send()
    };
    // Once all of them have come, the fifth finds no room.
    let refused = async {
        while register().await.unwrap().status().is_success() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), refused).await.unwrap();
    let status = register().await.unwrap().status();
    assert!([429, 503].contains(&status.as_u16()), "{status}");
    // A signed block has room of its own.
    let bid = cast.bid(9, &block());
    let submit = || {
        let body = signed_block(&cast, &bid).to_json().unwrap();
        let request = sidecar.http.post(sidecar.url("eth/v2/builder/blinded_blocks"));
        request.header("content-type", "application/json").body(body).send()
    };
    assert_eq!(submit().await.unwrap().status(), 202);
    drop(slow);
    let taken = async {
        while !register().await.unwrap().status().is_success() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), taken).await.unwrap();
    // A block whose body never ends is given up.
    let started = Instant::now();
    let line = raw(sidecar.running.local_addr(), head("v2/builder/blinded_blocks").as_bytes()).await;
    assert!(line.starts_with("HTTP/1.1 408"), "{line}");
    assert!(started.elapsed() < Duration::from_secs(10));
    sidecar.stop().await;
}

/// The same block twice, blocks of which nobody has heard, and what is no block.
#[tokio::test]
async fn a_block_twice_or_one_that_nobody_offered_goes_to_everyone_who_may_have_it() {
    let stage = Stage::set().await;
    let v2 = "v2/builder/blinded_blocks";
    stage.bad.says(v2, Says::Json(400, Vec::new()));
    stage.good.says(v2, Says::Json(202, Vec::new()));
    assert_eq!(stage.header().await.0, 200);
    let submit = |body: Vec<u8>| {
        let request = stage.sidecar.http.post(stage.sidecar.url("eth/v2/builder/blinded_blocks"));
        request.header("content-type", "application/json").body(body).send()
    };
    let served = signed_block(&stage.cast, &stage.bid).to_json().unwrap();
    let both = join_all([submit(served.clone()), submit(served)]).await;
    assert!(both.into_iter().all(|answer| answer.unwrap().status() == 202));
    assert_eq!((stage.bad.heard(v2).len(), stage.good.heard(v2).len()), (0, 2));
    let unknown = signed_block(&stage.cast, &bid_at(&stage.cast.relay, 77, PARENT, &block(), stage.now));
    for body in [unknown.to_json().unwrap(), b"{}".to_vec(), vec![0xff; 1 << 20]] {
        let before = (stage.bad.heard(v2).len(), stage.good.heard(v2).len());
        assert_eq!(submit(body).await.unwrap().status(), 202);
        assert_eq!((stage.bad.heard(v2).len(), stage.good.heard(v2).len()), (before.0 + 1, before.1 + 1));
    }
    assert_eq!(stage.header().await.0, 200, "none of it opened the breaker");
    stage.sidecar.stop().await;
}

/// A source that sends more than any honest one has to say is not read to the end.
#[tokio::test]
async fn answers_longer_than_they_need_be_are_not_read() {
    let cast = Cast::new();
    let bad = RelayStandIn::start().await;
    let sidecar = Sidecar::start(&cast, vec![mev_boost(&bad.url)], false).await;
    let status =
        async || sidecar.http.get(sidecar.url("eth/v1/builder/status")).send().await.unwrap().status();
    let register = async || {
        let request = sidecar.http.post(sidecar.url("eth/v1/builder/validators"));
        request.header("content-type", "application/json").body("[]").send().await.unwrap().status()
    };
    for (bytes, answers) in [(1 << 20, (200, 200)), ((1 << 20) + 1, (503, 502))] {
        let long = Says::Json(200, vec![b' '; bytes]);
        bad.says("builder/status", long.clone()).says("builder/validators", long);
        assert_eq!((status().await.as_u16(), register().await.as_u16()), answers, "{bytes}");
    }
    sidecar.stop().await;
}
