//! Bad input, by table: each is answered by `{code, message}`, and harms nothing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod world;

use earnest_builder_types::{ValidatorRegistration, registrations_to_ssz};
use earnest_relay::Bounds;
use serde_json::{Value, json};
use std::io::Write;
use world::{Setting, World, answer};

const JSON: &str = "application/json";
const SSZ: &str = "application/octet-stream";

async fn refused(world: &World, path: &str, headers: &[(&str, &str)], body: Option<Vec<u8>>) -> (u16, Value) {
    let mut request = match body {
        Some(body) => world.http.post(world.url(path)).body(body),
        None => world.http.get(world.url(path)),
    };
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (status, body) = answer(request.send().await.unwrap()).await;
    assert!(body["message"].as_str().is_some_and(|message| !message.is_empty()), "{path}: {status} {body}");
    (status, body["code"].clone())
}

fn bomb() -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(&vec![b' '; 64 << 20]).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_requests_by_table() {
    let bounds = Bounds { submission_bytes: 1 << 20, registration_bytes: 1 << 20, ..Bounds::default() };
    let world = World::start(Setting { bounds, ..Setting::default() }).await;
    let key = world.keys[0].public_key();
    let hash = format!("0x{}", "11".repeat(32));
    let slot = world.slot_ahead(1);
    let header = format!("/eth/v1/builder/header/{slot}/{hash}/{key}");
    let proofs = format!("/constraints/v0/builder/header_with_proofs/{slot}/{hash}/{key}");
    let (index, _) = world.proposer(slot).await;
    let wrong = world.keys[usize::try_from((index + 1) % 4).unwrap()].public_key();
    let blocks = "/relay/v1/builder/blocks";
    let blinded = "/eth/v1/builder/blinded_blocks";
    let validators = "/eth/v1/builder/validators";
    type Case<'a> = (String, Vec<(&'a str, &'a str)>, Option<Vec<u8>>, u16);
    let path = |path: &str| path.to_owned();
    let cases: Vec<Case<'_>> = vec![
        // Paths and methods.
        (path("/eth/v1/builder/nothing"), vec![], None, 404),
        (path(validators), vec![], None, 405),
        (path("/eth/v1/builder/status"), vec![], Some(vec![]), 405),
        (format!("/eth/v1/builder/header/x/{hash}/{key}"), vec![], None, 400),
        (format!("/eth/v1/builder/header/-1/{hash}/{key}"), vec![], None, 400),
        (format!("/eth/v1/builder/header/99999999999999999999/{hash}/{key}"), vec![], None, 400),
        (format!("/eth/v1/builder/header/{slot}/0x12/{key}"), vec![], None, 400),
        (format!("/eth/v1/builder/header/{slot}/{hash}/0x12"), vec![], None, 400),
        (format!("/eth/v1/builder/header/{slot}/{hash}/{wrong}"), vec![], None, 400),
        (format!("/eth/v1/builder/header/{slot}/%ff/{key}"), vec![], None, 400),
        (path("/ordering/v1/delegations/x"), vec![], None, 400),
        (path("/constraints/v0/relay/delegations/x"), vec![], None, 400),
        (path("/constraints/v0/relay/constraints/x"), vec![], None, 400),
        // Forms.
        (header, vec![("accept", "text/html")], None, 406),
        (proofs, vec![("accept", SSZ)], None, 406),
        (path(blinded), vec![("accept", "text/html")], Some(b"{}".to_vec()), 406),
        (path(validators), vec![("content-type", "text/plain")], Some(b"[]".to_vec()), 415),
        (path(blocks), vec![("content-type", "text/plain")], Some(vec![]), 415),
        (path(blinded), vec![("content-type", "text/plain")], Some(vec![]), 415),
        (path(validators), vec![("content-encoding", "br")], Some(b"[]".to_vec()), 415),
        (path("/constraints/v0/builder/delegate"), vec![("content-type", SSZ)], Some(vec![]), 415),
        (path("/constraints/v0/builder/constraints"), vec![("content-type", SSZ)], Some(vec![]), 415),
        // Sizes.
        (path(validators), vec![], Some(vec![b' '; (1 << 20) + 1]), 413),
        (path(blocks), vec![("content-encoding", "gzip")], Some(bomb()), 413),
        (path(blocks), vec![("content-encoding", "gzip")], Some(b"not gzip".to_vec()), 400),
        // Contents.
        (path(validators), vec![], Some(b"{".to_vec()), 400),
        (path(validators), vec![("content-type", SSZ)], Some(vec![0; 179]), 400),
        (path(validators), vec![("content-type", SSZ)], Some(vec![0; 180]), 400),
        (path(blocks), vec![("content-type", JSON)], Some(b"{}".to_vec()), 400),
        (path(blocks), vec![("content-type", SSZ)], Some(vec![]), 400),
        (path(blocks), vec![("content-type", SSZ)], Some(vec![0; 500]), 400),
        (
            path(blocks),
            vec![("content-type", SSZ), ("eth-consensus-version", "altair")],
            Some(vec![0; 500]),
            400,
        ),
        (path("/relay/v1/builder/blocks?cancellations=1&cancellations=2"), vec![], Some(vec![]), 400),
        (path(blinded), vec![("content-type", SSZ)], Some(vec![0; 500]), 400),
        (
            path(blinded),
            vec![("content-type", SSZ), ("eth-consensus-version", "electra")],
            Some(vec![0; 500]),
            400,
        ),
        (path(blinded), vec![("content-type", JSON)], Some(b"{\"message\":{\"slot\":\"1\"}}".to_vec()), 400),
        (path("/relay/v1/data/bidtraces/proposer_payload_delivered?limit=201"), vec![], None, 400),
        (path("/relay/v1/data/bidtraces/proposer_payload_delivered?slot=1&cursor=2"), vec![], None, 400),
        (path("/relay/v1/data/bidtraces/proposer_payload_delivered?block_hash=zz"), vec![], None, 400),
    ];
    for (path, headers, body, expected) in cases {
        let (status, code) = refused(&world, &path, &headers, body).await;
        assert_eq!((status, code), (expected, expected.into()), "{path} {headers:?}");
    }
    assert_eq!(world.get("/eth/v1/builder/status").await.0, 200);
}

/// A client whose configuration has the chain in another fork learns which one it is in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_under_another_forks_name_is_told_its_own() {
    let world = World::start(Setting::default()).await;
    let vectors = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/builder-specs/electra");
    let ssz = std::fs::read(format!("{vectors}/signed_blinded_beacon_block.ssz")).unwrap();
    let json = std::fs::read(format!("{vectors}/signed_blinded_beacon_block.json")).unwrap();
    let json = serde_json::from_slice::<Value>(&json).unwrap()["value"].to_string().into_bytes();
    for (media, body) in [(SSZ, ssz), (JSON, json)] {
        for fork in ["capella", "deneb", "fulu"] {
            for path in ["/eth/v1/builder/blinded_blocks", "/eth/v2/builder/blinded_blocks"] {
                let request = world.http.post(world.url(path)).body(body.clone());
                let request = request.header("content-type", media).header("eth-consensus-version", fork);
                let message = format!("slot 1 is electra, not {fork}");
                let expected = (400, json!({"code": 400, "message": message}));
                assert_eq!(answer(request.send().await.unwrap()).await, expected, "{media} {fork}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_on_offer_is_204() {
    let world = World::start(Setting::default()).await;
    let slot = world.slot_ahead(1);
    let (_, key) = world.proposer(slot).await;
    for route in ["/eth/v1/builder/header", "/constraints/v0/builder/header_with_proofs"] {
        let path = world.header_path(route, slot, &key);
        for odd in [("date-milliseconds", "soon"), ("x-timeout-ms", "-5"), ("date-milliseconds", "1")] {
            let response = world.http.get(world.url(&path)).header(odd.0, odd.1).send().await.unwrap();
            assert_eq!(response.status(), 204);
            assert!(response.bytes().await.unwrap().is_empty());
        }
    }
    world.node.wait_for_slot(1).await;
    let past = format!("/eth/v1/builder/header/0/0x{}/{}", "11".repeat(32), key.public_key());
    let expected = json!({"code": 400, "message": "slot 0 is past"});
    assert_eq!(world.get(&past).await, (400, expected));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn registrations_are_kept_and_a_bad_one_harms_no_other() {
    let world = World::start(Setting::default()).await;
    let domain = world.node.builder_domain();
    let registration = |key: usize, timestamp: u64| {
        let message = ValidatorRegistration {
            fee_recipient: Default::default(),
            gas_limit: 30_000_000,
            timestamp,
            pubkey: world.keys[key].public_key(),
        };
        message.sign(&world.keys[key], domain)
    };
    let mut forged = registration(1, 5);
    forged.message.gas_limit = 1;
    let path = "/eth/v1/builder/validators";
    let message = format!("signature does not verify: {}", forged.message.pubkey);
    let sent = [registration(0, 5), forged, registration(2, 5)];
    assert_eq!(world.post(path, &sent).await, (400, json!({"code": 400, "message": message})));
    let ssz = registrations_to_ssz(&[registration(0, 9), registration(3, 5)]);
    let request = world.http.post(world.url(path)).header("content-type", SSZ).body(ssz);
    assert_eq!(request.send().await.unwrap().status(), 200);
    // One for a time to come harms no other, either.
    let future = registration(1, world.now_ms() / 1000 + 3_600);
    let message = format!("timestamp is in the future: {}", future.message.pubkey);
    let sent = [future, registration(2, 6)];
    assert_eq!(world.post(path, &sent).await, (400, json!({"code": 400, "message": message})));

    let registered = async |world: &World| {
        let (status, duties) = world.get("/relay/v1/builder/validators").await;
        assert_eq!(status, 200);
        let duties = duties.as_array().unwrap().clone();
        let mut keys: Vec<(String, String)> = duties
            .iter()
            .map(|duty| &duty["entry"]["message"])
            .map(|entry| (entry["pubkey"].to_string(), entry["timestamp"].to_string()))
            .collect();
        keys.sort();
        keys.dedup();
        keys
    };
    let before = registered(&world).await;
    assert!(!before.is_empty());
    let unregistered = world.keys[1].public_key().to_string();
    assert!(before.iter().all(|(key, _)| !key.contains(&unregistered)), "{before:?}");
    assert!(
        before
            .iter()
            .all(|(key, time)| !key.contains(&world.keys[2].public_key().to_string()) || time == "\"6\"")
    );
    let world = world.restart().await;
    assert_eq!(registered(&world).await, before);
}
