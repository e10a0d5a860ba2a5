//! Bodies that stop, and work that keeps processors busy: both are bounded, and headers wait for neither.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod world;

use alloy_primitives::{Address, Bytes};
use earnest_builder_types::{
    SignedValidatorRegistration, ValidatorRegistration, bls::SecretKey, registrations_to_ssz,
};
use earnest_http::LimitConfig;
use earnest_relay::Bounds;
use futures::future::join_all;
use serde_json::{Value, json};
use std::{io::Write, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
};
use world::{
    PATIENCE, Setting, World,
    refusal::{Answer, Ask, JSON, SSZ},
    workshop::Workshop,
};

const VALIDATORS: &str = "/eth/v1/builder/validators";
const BLOCKS: &str = "/relay/v1/builder/blocks";
const BLINDED: &str = "/eth/v1/builder/blinded_blocks";
const TAKING: [&str; 7] = [
    VALIDATORS,
    BLOCKS,
    BLINDED,
    "/eth/v2/builder/blinded_blocks",
    "/constraints/v0/relay/blocks_with_proofs",
    "/constraints/v0/builder/delegate",
    "/constraints/v0/builder/constraints",
];
/// Headers that are answered while something else is open.
const HEADERS: u32 = 3;

fn unlimited() -> LimitConfig {
    LimitConfig { per_second: 0, ..LimitConfig::default() }
}

/// Posts the beginning of a body and then no more; the answer's bytes.
async fn stop_midway(world: &World, path: &str, framing: &str, pieces: &[&[u8]]) -> Vec<u8> {
    let mut stream = TcpStream::connect(world.relay.local_addr).await.unwrap();
    let head = format!("POST {path} HTTP/1.1\r\nhost: relay\r\ncontent-type: {JSON}\r\n{framing}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    for piece in pieces {
        stream.write_all(piece).await.unwrap();
    }
    let mut answer = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_stops_is_told_so() {
    let bounds = Bounds { body_ms: 500, ..Bounds::default() };
    let world = World::start(Setting { bounds, clients: unlimited(), ..Setting::default() }).await;
    let framings: [(&str, &[&[u8]]); 5] = [
        ("content-length: 100", &[b"["]),
        ("content-length: 100", &[]),
        ("transfer-encoding: chunked", &[b"1\r\n[\r\n", b"1\r\n1\r\n"]),
        ("transfer-encoding: chunked", &[b"5\r\n[1"]),
        ("content-length: 100\r\ncontent-encoding: gzip", &[&[0x1f, 0x8b, 8, 0]]),
    ];
    let asked = TAKING.iter().flat_map(|path| framings.map(|(framing, pieces)| (*path, framing, pieces)));
    let cases = asked.map(|(path, framing, pieces)| {
        let world = &world;
        async move {
            let answer = Answer::read(&stop_midway(world, path, framing, pieces).await);
            let (code, message) =
                answer.refusal().unwrap_or_else(|other| panic!("{path} {framing}: {other}"));
            assert_eq!((answer.status, code.as_str()), (408, "408"), "{path} {framing}");
            assert_eq!(message, "body did not arrive within 500ms", "{path} {framing}");
        }
    });
    let cases = join_all(cases).await;
    println!("{} bodies that stop", cases.len());
    world.stop().await;
}

/// Asks for a header. There is none, which takes as long as if there were one.
async fn header(world: &World, path: &str) {
    let answer = world.http.get(world.url(path)).send().await.unwrap();
    assert_eq!(answer.status(), 204);
}

/// Asks for headers while all of the work goes on.
async fn headers_meanwhile(world: &World, path: &str, work: Vec<JoinHandle<u16>>) -> Vec<u16> {
    let mut answered = 0;
    while work.iter().any(|one| !one.is_finished()) {
        header(world, path).await;
        answered += u32::from(work.iter().all(|one| !one.is_finished()));
    }
    assert!(answered >= HEADERS, "only {answered} headers before the first of {} answers", work.len());
    join_all(work).await.into_iter().map(Result::unwrap).collect()
}

/// A world in which nothing happens, and the path of a header.
async fn quiet(more_keys: Vec<SecretKey>) -> (World, String) {
    let setting = Setting { slot_ms: 60_000, clients: unlimited(), more_keys, ..Setting::default() };
    let world = World::start(setting).await;
    let slot = world.slot_ahead(1);
    let (_, proposer) = world.proposer(slot).await;
    let path = world.header_path("/eth/v1/builder/header", slot, &proposer);
    header(&world, &path).await;
    (world, path)
}

impl World {
    fn send(&self, path: &str, content_type: &str, coding: Option<&str>, body: Bytes) -> JoinHandle<u16> {
        let mut request = self.http.post(self.url(path)).header("content-type", content_type).body(body.0);
        if let Some(coding) = coding {
            request = request.header("content-encoding", coding);
        }
        tokio::spawn(async move { request.send().await.unwrap().status().as_u16() })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_do_not_wait_for_submissions() {
    let (world, path) = quiet(vec![]).await;
    // Eight megabytes of transactions, in the form that takes longest to read.
    let mut block = json!(Workshop::unannounced(&world, 1).await.block(&world, 97, 1, 1).await);
    let transaction = format!("0x02{}", "ab".repeat(1 << 16));
    block["execution_payload"]["transactions"] = vec![json!(transaction); 8 << 4].into();
    let body = Bytes::from(block.to_string().into_bytes());
    let work = (0..4).map(|_| world.send(BLOCKS, JSON, None, body.clone())).collect();
    assert_eq!(headers_meanwhile(&world, &path, work).await, [400; 4]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_do_not_wait_for_registrations() {
    let keys: Vec<SecretKey> = (0..6_000_u32)
        .map(|number| {
            let mut secret = [1; 32];
            secret[..4].copy_from_slice(&number.to_be_bytes());
            SecretKey::from_bytes(&secret).unwrap()
        })
        .collect();
    let (world, path) = quiet(keys.clone()).await;
    let domain = world.node.builder_domain();
    let registration = |key: &SecretKey| {
        let message = ValidatorRegistration {
            fee_recipient: Address::repeat_byte(1),
            gas_limit: 30_000_000,
            timestamp: 1_700_000_000,
            pubkey: key.public_key(),
        };
        message.sign(key, domain)
    };
    let lists = keys.chunks(2_000).map(|keys| {
        let list: Vec<SignedValidatorRegistration> = keys.iter().map(registration).collect();
        Bytes::from(registrations_to_ssz(&list))
    });
    let lists: Vec<Bytes> = lists.collect();
    let work = lists.iter().map(|list| world.send(VALIDATORS, SSZ, None, list.clone())).collect();
    assert_eq!(headers_meanwhile(&world, &path, work).await, [200; 3]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_do_not_wait_for_bombs() {
    let (world, path) = quiet(vec![]).await;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(&vec![b' '; 256 << 20]).unwrap();
    let bomb = Bytes::from(encoder.finish().unwrap());
    let work = (0..8).map(|_| world.send(BLOCKS, JSON, Some("gzip"), bomb.clone())).collect();
    // Some may have waited too long for their turn.
    let told = headers_meanwhile(&world, &path, work).await;
    assert!(told.iter().all(|status| [413, 503].contains(status)), "{told:?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_do_not_wait_for_blinded_blocks() {
    let (world, path) = quiet(vec![]).await;
    let vectors = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/builder-specs/electra");
    let json = std::fs::read(format!("{vectors}/signed_blinded_beacon_block.json")).unwrap();
    let mut block = serde_json::from_slice::<Value>(&json).unwrap()["value"].take();
    // As many proofs as a body can hold.
    let changes = block["message"]["body"]["bls_to_execution_changes"].as_array_mut().unwrap();
    let change = changes[0].clone();
    changes.extend(vec![change; 4_500]);
    let body = Bytes::from(block.to_string().into_bytes());
    assert!(body.len() < 2 << 20, "{}", body.len());
    let work = (0..32).map(|_| world.send(BLINDED, JSON, None, body.clone())).collect();
    // One address has a share of what such bodies may take.
    let told = headers_meanwhile(&world, &path, work).await;
    assert!(told.iter().all(|status| [400, 429].contains(status)), "{told:?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_do_not_wait_for_bodies_that_stop() {
    let (world, path) = quiet(vec![]).await;
    let mut open = Vec::new();
    for path in TAKING.iter().cycle().take(140) {
        let ask = Ask::post(*path)
            .header("content-type", JSON)
            .header("content-length", "1000")
            .body("[")
            .unframed();
        let mut stream = TcpStream::connect(world.relay.local_addr).await.unwrap();
        stream.write_all(&ask.bytes()).await.unwrap();
        open.push(stream);
    }
    for _ in 0..HEADERS {
        header(&world, &path).await;
    }
    for stream in &open {
        assert_eq!(
            stream.try_read(&mut [0; 16]).unwrap_err().kind(),
            std::io::ErrorKind::WouldBlock,
            "it is open"
        );
    }
    drop(open);
    tokio::time::timeout(Duration::from_secs(30), world.stop()).await.unwrap();
}
