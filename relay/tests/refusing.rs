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
use earnest_devnet::builder::Builder;
use earnest_http::LimitConfig;
use earnest_relay::Bounds;
use serde_json::{Value, json};
use std::io::Write;
use world::{
    Setting, World, answer,
    refusal::{Ask, JSON, SSZ, Table, no_keys},
    unhurried,
};

const VALIDATORS: &str = "/eth/v1/builder/validators";
const BLOCKS: &str = "/relay/v1/builder/blocks";
const BLINDED: [&str; 2] = ["/eth/v1/builder/blinded_blocks", "/eth/v2/builder/blinded_blocks"];
const WITH_PROOFS: &str = "/constraints/v0/relay/blocks_with_proofs";
const DELEGATE: &str = "/constraints/v0/builder/delegate";
const CONSTRAINTS: &str = "/constraints/v0/builder/constraints";
const STREAM: &str = "/constraints/v0/relay/constraints_stream";
const DATA: &str = "/relay/v1/data";
const HEADERS: [&str; 2] = ["/eth/v1/builder/header", "/constraints/v0/builder/header_with_proofs"];
const BY_SLOT: [&str; 4] = [
    "/constraints/v0/relay/delegations",
    "/ordering/v1/delegations",
    "/constraints/v0/relay/constraints",
    "/ordering/v1/constraints",
];

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Texts that are no slot.
const NO_SLOTS: [&str; 14] = [
    "x",
    "-1",
    "+1",
    "1.0",
    "1e3",
    "0x1",
    "1_000",
    "%201",
    "1%00",
    "%ff%fe",
    "18446744073709551616",
    "99999999999999999999999999999999999999999",
    "\u{661}",
    "1;2",
];

fn paths(table: &mut Table, slot: u64, parent: &str, key: &str, wrong_key: &str) {
    table.add("no route", Ask::get("/eth/v1/builder/nothing"), 404, "no such route");
    table.add("a long path", Ask::get(format!("/{}", "a".repeat(8_000))), 404, "no such route");
    for route in HEADERS {
        for text in NO_SLOTS {
            let path = format!("{route}/{text}/{parent}/{key}");
            table.add(format!("{route} of slot {text:?}"), Ask::get(path), 400, "lot");
        }
        let hashes =
            ["0x12", "0x", "zz", &parent[..65], &format!("{parent}00"), "%ff", &parent.replace('1', "g")];
        for text in hashes {
            let path = format!("{route}/{slot}/{text}/{key}");
            table.add(format!("{route} on {text}"), Ask::get(path), 400, "parent_hash");
        }
        for text in ["0x12", "0x", "zz", &key[..97], &format!("{key}00"), "%c3%28"] {
            let path = format!("{route}/{slot}/{parent}/{text}");
            table.add(format!("{route} for {text}"), Ask::get(path), 400, "pubkey");
        }
        let path = format!("{route}/{slot}/{parent}/{wrong_key}");
        table.add("a header for another proposer", Ask::get(path), 400, "does not propose slot");
        for (what, no_key) in no_keys() {
            let path = format!("{route}/{slot}/{parent}/{no_key}");
            table.add(format!("a header for a key {what}"), Ask::get(path), 400, "does not propose slot");
        }
        let path = format!("{route}/0/{parent}/{key}");
        table.add("a header that is late", Ask::get(path), 400, "slot 0 is past");
    }
    for route in BY_SLOT {
        for text in NO_SLOTS {
            table.add(format!("{route}/{text}"), Ask::get(format!("{route}/{text}")), 400, "lot");
        }
    }
    for text in NO_SLOTS {
        table.add(format!("a stream of slot {text}"), Ask::get(format!("{STREAM}?slot={text}")), 400, "slot");
    }
    table.add("a stream of two slots", Ask::get(format!("{STREAM}?slot=1&slot=2")), 400, "slot");
}

fn filters(table: &mut Table) {
    let delivered = format!("{DATA}/bidtraces/proposer_payload_delivered");
    let received = format!("{DATA}/bidtraces/builder_blocks_received");
    for path in [&delivered, &received] {
        for name in ["slot", "block_number", "limit"] {
            for text in NO_SLOTS.iter().filter(|text| **text != "1;2") {
                let text = text.replace('+', "%2B");
                let query = format!("{path}?builder_pubkey=0x{}&{name}={text}", "11".repeat(48));
                table.add(format!("{path}?{name}={text}"), Ask::get(query), 400, name);
            }
        }
        for name in ["block_hash", "builder_pubkey"] {
            for text in ["0x12", "zz", "%ff", "0x"] {
                let ask = Ask::get(format!("{path}?{name}={text}"));
                table.add(format!("{path}?{name}={text}"), ask, 400, "hexadecimal digits");
            }
        }
        table.add("twice", Ask::get(format!("{path}?slot=1&slot=1")), 400, "slot is given twice");
    }
    table.add("many", Ask::get(format!("{delivered}?limit=201")), 400, "maximum limit is 200");
    table.add("many", Ask::get(format!("{received}?slot=1&limit=501")), 400, "maximum limit is 500");
    table.add(
        "slot and cursor",
        Ask::get(format!("{delivered}?slot=1&cursor=2")),
        400,
        "both slot and cursor",
    );
    table.add("a cursor", Ask::get(format!("{delivered}?cursor=-2")), 400, "cursor");
    table.add("a cursor", Ask::get(format!("{received}?cursor=2")), 400, "cursor argument not supported");
    table.add("no order", Ask::get(format!("{delivered}?order_by=slot")), 400, "expected value or -value");
    table.add("nothing", Ask::get(received), 400, "need to query for specific slot");
    let registration = format!("{DATA}/validator_registration");
    table.add("of nobody", Ask::get(registration.clone()), 400, "missing pubkey");
    table.add("of 0x12", Ask::get(format!("{registration}?pubkey=0x12")), 400, "hexadecimal digits");
    let stranger = format!("{registration}?pubkey=0x{}", "11".repeat(48));
    table.add("of a stranger", Ask::get(stranger), 400, "no registration found");
}

fn methods(table: &mut Table, slot: u64, parent: &str, key: &str) {
    for path in [VALIDATORS, BLOCKS, BLINDED[0], BLINDED[1], WITH_PROOFS, DELEGATE, CONSTRAINTS] {
        for method in ["GET", "PUT", "DELETE", "PATCH", "BREW"] {
            let ask = Ask::get(path).method(method);
            table.add(format!("{method} {path}"), ask, 405, "method not allowed");
        }
    }
    let mut to_get = vec!["/eth/v1/builder/status".to_owned(), STREAM.to_owned(), "/".to_owned()];
    to_get.extend(HEADERS.map(|route| format!("{route}/{slot}/{parent}/{key}")));
    to_get.extend(BY_SLOT.map(|route| format!("{route}/{slot}")));
    to_get.extend(["/relay/v1/builder/validators", "/ordering/v1/schedule"].map(str::to_owned));
    to_get.extend(["/relay/v1/builder/top_bid", "/ws/v1/top_bid"].map(str::to_owned));
    for path in to_get {
        for method in ["POST", "DELETE"] {
            let ask = Ask::post(path.as_str()).method(method);
            table.add(format!("{method} {path}"), ask, 405, "method not allowed");
        }
    }
}

fn media(table: &mut Table, slot: u64, parent: &str, key: &str) {
    let header = format!("{}/{slot}/{parent}/{key}", HEADERS[0]);
    let proofs = format!("{}/{slot}/{parent}/{key}", HEADERS[1]);
    let neither = [
        "text/html",
        "text/*",
        "application/xml",
        "application/json;q=0",
        "*/*;q=0",
        "application/*;q=0.000",
        "application/json;charset=latin1",
        "application/json+ssz",
        "json",
        "/",
        ";;;",
        "application/json;q=2",
        "application/json;q=x",
        "\u{ff}",
        "*/*;q=0, text/html",
    ];
    for accept in neither {
        for ask in [Ask::get(header.as_str()), Ask::get(proofs.as_str()), Ask::post(BLINDED[0]).body("{}")] {
            let ask = ask.header("accept", accept);
            table.add(format!("accept {accept}"), ask, 406, "served as application/json");
        }
        for path in [DELEGATE, CONSTRAINTS] {
            let ask = Ask::post(path).json(&json!({})).header("accept", accept);
            table.add(format!("{path}, accept {accept}"), ask, 406, "served as application/json");
        }
    }
    table.add("proofs in SSZ", Ask::get(proofs).header("accept", SSZ), 406, "served as application/json");
    let unread = ["text/plain", "application/xml", "application/json;charset=latin1", "json", "", "\u{ff}"];
    for path in [VALIDATORS, BLOCKS, BLINDED[0], BLINDED[1], WITH_PROOFS, DELEGATE, CONSTRAINTS] {
        for content_type in unread {
            let ask = Ask::post(path).header("content-type", content_type).body("[]");
            table.add(format!("{path}, content-type {content_type:?}"), ask, 415, "reads application/json");
        }
        let ask = Ask::post(path).header("content-type", JSON).header("content-type", SSZ).body("[]");
        table.add(format!("{path} of two types"), ask, 415, "reads application/json");
        for coding in ["br", "zstd", "deflate", "gzip, gzip", "\u{ff}"] {
            let ask =
                Ask::post(path).header("content-type", JSON).header("content-encoding", coding).body("[]");
            table.add(format!("{path}, coding {coding}"), ask, 415, "send gzip or none");
        }
    }
    for path in [WITH_PROOFS, DELEGATE, CONSTRAINTS] {
        table.add(format!("{path} in SSZ"), Ask::post(path).ssz(vec![0; 500]), 415, "reads application/json");
    }
}

fn sizes(table: &mut Table) {
    let (bomb, endless) = (gzip(&vec![b' '; 64 << 20]), "1".repeat(40));
    for (path, limit) in [
        (VALIDATORS, 1 << 20),
        (BLOCKS, 1 << 20),
        (WITH_PROOFS, 1 << 20),
        (BLINDED[0], 64 << 10),
        (BLINDED[1], 64 << 10),
        (DELEGATE, 64 << 10),
        (CONSTRAINTS, 64 << 10),
    ] {
        let post = || Ask::post(path).header("content-type", JSON);
        let says = format!("larger than {limit} bytes");
        table.add(format!("{path}: one byte too many"), post().body(vec![b' '; limit + 1]), 413, &*says);
        let bombed = post().header("content-encoding", "gzip").body(bomb.clone());
        table.add(format!("{path}: a bomb"), bombed, 413, &*says);
        let announced = post().header("content-length", (100 << 20).to_string()).body("[").unframed();
        table.add(format!("{path}: 100 MB announced"), announced, 413, &*says);
        let chunk = [b"100000\r\n".as_slice(), &vec![b' '; 1 << 20], b"\r\n"].concat();
        let chunked = post().header("transfer-encoding", "chunked").body(chunk.repeat(100)).unframed();
        table.add(format!("{path}: 100 MB in chunks"), chunked, 413, &*says);
        let gzipped = post().header("content-encoding", "gzip");
        table.add(format!("{path}: no gzip"), gzipped.clone().body("[]"), 400, "not valid gzip");
        let half = gzip(b"[1, 2, 3]");
        table.add(
            format!("{path}: half a gzip"),
            gzipped.clone().body(&half[..half.len() / 2]),
            400,
            "not valid gzip",
        );
        table.add(format!("{path}: nothing gzipped"), gzipped.body(""), 400, "not valid gzip");
        let broken = post().header("transfer-encoding", "chunked").body("zz\r\n[]\r\n").unframed();
        table.add(format!("{path}: no chunk"), broken, 400, "ended early");
        let broken = post().header("transfer-encoding", "chunked").body(format!("{endless}\r\n")).unframed();
        table.add(format!("{path}: a chunk without end"), broken, 400, "ended early");
        let nested = post().body("[".repeat(30_000));
        table.add(format!("{path}: deep JSON"), nested, 400, "");
        for text in ["", "{", "null", "1", "\"a\"", "{}", "[{}]", "\u{feff}[]", "[1]", "\u{0}"] {
            table.add(format!("{path}: {text:?}"), post().body(text), 400, "");
        }
        table.add(format!("{path}: bytes that are no text"), post().body(vec![0xff; 64]), 400, "");
    }
}

/// What is no HTTP is refused before there is a request: by its status alone.
async fn no_http(world: &World) {
    let cases = [
        ("a path of bytes", Ask::get(b"/eth/v1/builder/\xff\xfe".to_vec()), 400),
        ("a path with a space", Ask::get("/eth/v1 /builder"), 400),
        ("no method", Ask::get("/").method("\0"), 400),
        ("a head that is too long", Ask::get("/").header("x-long", "a".repeat(20_000)), 431),
        ("a header of bytes", Ask::get("/").header("x-bytes", b"\0\x01".to_vec()), 400),
        ("two lengths", Ask::post(VALIDATORS).header("content-length", "7").body("[]"), 400),
        ("a length that is none", Ask::post(VALIDATORS).header("content-length", "-1").unframed(), 400),
    ];
    for (what, ask, status) in cases {
        let answer = world.ask(&ask).await;
        assert_eq!((answer.status, answer.body.len()), (status, 0), "{what}");
    }
}

/// After all of that the relay takes registrations, serves headers, and no task of its ended.
async fn serves_on(world: World, builder: Builder) {
    world.register().await;
    let slot = world.bid(&mut builder.reports(), world.slot_ahead(1)).await;
    let (_, key) = world.proposer(slot).await;
    world.header(slot, &key).await;
    let metrics = world.http.get(world.url("/metrics")).send().await.unwrap().text().await.unwrap();
    assert!(metrics.lines().any(|line| line == "earnest_http_panics_total 0"), "a handler panicked");
    assert_eq!(world.get("/eth/v1/builder/status").await.0, 200);
    builder.shutdown().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_forms_by_table() {
    let bounds = Bounds {
        submission_bytes: 1 << 20,
        registration_bytes: 1 << 20,
        body_bytes: 64 << 10,
        ..Bounds::default()
    };
    let clients = LimitConfig { per_second: 0, ..LimitConfig::default() };
    let setting = Setting { slot_ms: 4_000, timing: unhurried(), bounds, clients, ..Setting::default() };
    let world = World::start(setting).await;
    world.register().await;
    let builder = world.builder().await;
    world.node.wait_for_slot(1).await;
    // Far ahead, so that the table is through before.
    let slot = world.slot_ahead(6);
    let (index, key) = world.proposer(slot).await;
    let wrong = world.keys[usize::try_from((index + 1) % 4).unwrap()].public_key().to_string();
    let (parent, key) = (format!("0x{}", "11".repeat(32)), key.public_key().to_string());
    let mut table = Table::default();
    paths(&mut table, slot, &parent, &key, &wrong);
    table.run(&world, "paths").await;
    let mut table = Table::default();
    filters(&mut table);
    table.run(&world, "filters").await;
    let mut table = Table::default();
    methods(&mut table, slot, &parent, &key);
    table.run(&world, "methods").await;
    let mut table = Table::default();
    media(&mut table, slot, &parent, &key);
    table.run(&world, "media").await;
    let mut table = Table::default();
    sizes(&mut table);
    table.run(&world, "sizes").await;
    no_http(&world).await;
    serves_on(world, builder).await;
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
