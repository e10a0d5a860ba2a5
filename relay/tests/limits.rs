//! What many clients, or large ones, may take from the others.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod world;

use alloy_primitives::Address;
use earnest_builder_types::{SignedValidatorRegistration, ValidatorRegistration, bls::SecretKey};
use earnest_http::LimitConfig;
use earnest_relay::Bounds;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use world::{PATIENCE, Setting, World};

const VALIDATORS: &str = "/eth/v1/builder/validators";
const BLINDED: &str = "/eth/v1/builder/blinded_blocks";

/// A request whose body begins and does not end.
async fn unfinished(world: &World, path: &str, client: &str, bytes: usize) -> TcpStream {
    let mut stream = TcpStream::connect(world.relay.local_addr).await.unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: relay\r\ncontent-type: application/json\r\nx-forwarded-for: {client}\r\n\
         content-length: {}\r\n\r\n",
        bytes + 1
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![b' '; bytes]).await.unwrap();
    stream
}

async fn post(world: &World, path: &str, client: &str) -> (u16, Value, Option<String>) {
    let request = world.http.post(world.url(path)).header("x-forwarded-for", client).body("[]");
    let response = request.header("content-type", "application/json").send().await.unwrap();
    let retry = response.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
    let (status, body) = world::answer(response).await;
    (status, body["code"].clone(), retry)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_of_some_leave_room_for_those_of_others() {
    let bounds = Bounds {
        body_budget_bytes: 256 << 10,
        body_budget_per_client: 128 << 10,
        blinded_budget_bytes: 1 << 20,
        body_ms: 600_000,
        ..Bounds::default()
    };
    let trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    let clients = LimitConfig { per_second: 0, trusted_proxies, ..LimitConfig::default() };
    let world = World::start(Setting { bounds, clients, ..Setting::default() }).await;
    let once = |client, expected: (u16, Value, Option<String>)| {
        let world = &world;
        let asked = async move {
            while post(world, VALIDATORS, client).await != expected {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, asked)
    };
    let busy = |status| (status, Value::from("busy"), Some("1".to_owned()));
    assert_eq!(post(&world, VALIDATORS, "1.1.1.1").await.0, 200);
    let _first = unfinished(&world, VALIDATORS, "1.1.1.1", 128 << 10).await;
    once("1.1.1.1", busy(429)).await.unwrap();
    assert_eq!(post(&world, VALIDATORS, "2.2.2.2").await.0, 200);
    let second = unfinished(&world, "/relay/v1/builder/blocks", "2.2.2.2", 128 << 10).await;
    once("3.3.3.3", busy(503)).await.unwrap();
    for client in ["1.1.1.1", "3.3.3.3"] {
        assert_eq!(post(&world, BLINDED, client).await.0, 400, "a blinded block is read in any case");
    }
    drop(second);
    once("3.3.3.3", (200, Value::Null, None)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trusted_proxy_may_have_many_connections() {
    let trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    let clients = LimitConfig { trusted_proxies, ..LimitConfig::default() };
    let world = World::start(Setting { clients, ..Setting::default() }).await;
    let mut open = Vec::new();
    for _ in 0..260 {
        open.push(TcpStream::connect(world.relay.local_addr).await.unwrap());
    }
    for stream in &mut open {
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: relay\r\n\r\n").await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
    }
}

fn registration(world: &World, key: &SecretKey, timestamp: u64) -> SignedValidatorRegistration {
    let message = ValidatorRegistration {
        fee_recipient: Address::repeat_byte(0xfe),
        gas_limit: 30_000_000,
        timestamp,
        pubkey: key.public_key(),
    };
    message.sign(key, world.node.builder_domain())
}

async fn registered_at(world: &World, key: &SecretKey) -> Option<String> {
    let path = format!("/relay/v1/data/validator_registration?pubkey={}", key.public_key());
    let (_, body) = world.get(&path).await;
    body["message"]["timestamp"].as_str().map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_cost_no_signature_and_take_no_update_with_them() {
    let bounds = Bounds { registrations: 2, ..Bounds::default() };
    let world = World::start(Setting { bounds, ..Setting::default() }).await;
    let [first, second, third, _] = world.keys.as_slice() else { panic!("four keys") };
    let mut forged = registration(&world, &SecretKey::from_bytes(&[42; 32]).unwrap(), 5);
    forged.message.gas_limit = 1;
    let (status, body) = world.post(VALIDATORS, &vec![registration(&world, first, 5), forged]).await;
    assert_eq!(status, 400);
    let message = body["message"].as_str().unwrap();
    assert!(
        message.starts_with("not an active or pending validator: "),
        "not that its signature is bad: {message}"
    );
    assert_eq!(registered_at(&world, first).await.as_deref(), Some("5"));

    assert_eq!(world.post(VALIDATORS, &vec![registration(&world, second, 5)]).await.0, 200);
    let list = vec![registration(&world, third, 6), registration(&world, first, 6)];
    let (status, body) = world.post(VALIDATORS, &list).await;
    assert_eq!(status, 503, "{body}");
    assert!(body["message"].as_str().unwrap().contains(&third.public_key().to_string()), "{body}");
    assert_eq!(registered_at(&world, first).await.as_deref(), Some("6"), "updates need no room");
    assert_eq!(registered_at(&world, third).await, None);
}
