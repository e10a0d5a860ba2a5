//! The page for people at `/`, and the document for programs at `/openapi.json`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod world;

use alloy_primitives::{Address, Bytes};
use earnest_builder_types::bls::SecretKey;
use earnest_http::LimitConfig;
use earnest_protocol::{
    Slot,
    objects::{Constraint, ConstraintsMessage, Delegation, SignedConstraints, SignedDelegation},
};
use serde_json::json;
use world::{Setting, World, document::Document, transfer, unhurried, workshop::Workshop};

async fn page(world: &World) -> (u16, http::HeaderMap, String) {
    let response = world.http.get(world.url("/")).send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    (status, headers, response.text().await.unwrap())
}

fn gateway() -> SecretKey {
    SecretKey::from_bytes(&[50; 32]).unwrap()
}

fn delegation(world: &World, slot: u64, proposer: &SecretKey) -> SignedDelegation {
    let message = Delegation {
        proposer: proposer.public_key(),
        delegate: gateway().public_key(),
        committer: Address::repeat_byte(0xc0),
        slot: Slot(slot),
        metadata: Bytes::new(),
    };
    SignedDelegation::sign(message, proposer, &world.network).unwrap()
}

fn constraints(world: &World, slot: u64, proposer: &SecretKey) -> SignedConstraints {
    let message = ConstraintsMessage {
        proposer: proposer.public_key(),
        delegate: gateway().public_key(),
        slot: Slot(slot),
        constraints: vec![Constraint::inclusion(Slot(slot), transfer(1, 0, 5))],
        receivers: vec![],
    };
    SignedConstraints::sign(message, &gateway(), &world.network).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_shows_slots_delegations_and_payloads() {
    let world = World::start(Setting { slot_ms: 6_000, timing: unhurried(), ..Setting::default() }).await;
    let (status, headers, html) = page(&world).await;
    assert_eq!((status, headers["content-type"].to_str().unwrap()), (200, "text/html; charset=utf-8"));
    let policy = headers["content-security-policy"].to_str().unwrap();
    assert!(
        policy.starts_with("default-src 'none'; style-src 'sha256-") && !policy.contains("unsafe"),
        "{policy}"
    );
    for text in ["No payload has been delivered.", "No slot that is known ahead is delegated.", "chain 1337"]
    {
        assert!(html.contains(text), "{text}: {html}");
    }
    for own in [world.relay.address.to_string(), world.relay.pubkey.to_string()] {
        assert!(html.contains(&own), "{own}: {html}");
    }

    world.register().await;
    let delegated = world.slot_ahead(4);
    let (_, proposer) = world.proposer(delegated).await;
    let taken =
        world.post("/constraints/v0/builder/delegate", &delegation(&world, delegated, &proposer)).await;
    assert_eq!(taken.0, 200, "{}", taken.1);
    let workshop = Workshop::open(&world, 1).await;
    let block = workshop.bid(&world, 1, 20, false).await;
    let (slot, key) = (workshop.slot, &workshop.proposer);
    let bid = world.header(slot, key).await;
    let (index, _) = world.proposer(slot).await;
    let signed = world.blinded(slot, &bid, index, key, 0);
    assert_eq!(world.post("/eth/v1/builder/blinded_blocks", &signed).await.0, 200);
    // A page is shown for a second.
    let shown = async {
        loop {
            let (_, _, html) = page(&world).await;
            if html.contains("imported") {
                return html;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let html = tokio::time::timeout(world::PATIENCE, shown).await.unwrap();
    let expected = [
        block.message().block_hash.to_string(),
        block.message().builder_pubkey.to_string(),
        "20 wei".to_owned(),
        Address::repeat_byte(0xc0).to_string(),
        format!("<td class=\"number\">{delegated}</td>"),
    ];
    for text in expected {
        assert!(html.contains(&text), "{text}: {html}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_counts_towards_a_clients_limit() {
    let clients = LimitConfig { per_second: 1, burst: 1, ..LimitConfig::default() };
    let world = World::start(Setting { clients, ..Setting::default() }).await;
    let limited = async || page(&world).await.0 == 429;
    assert!(limited().await || limited().await, "two at once");
    assert_eq!(world.post("/", &json!({})).await.0, 429);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_is_as_the_document_says() {
    let world = World::start(Setting { slot_ms: 6_000, timing: unhurried(), ..Setting::default() }).await;
    let document = Document::of(&world).await;
    assert_eq!(document.0["info"]["title"], "Earnest relay");
    assert!(document.0["externalDocs"]["url"].as_str().unwrap().contains("relay-specs"));

    let slot = world.slot_ahead(4);
    let (_, proposer) = world.proposer(slot).await;
    let delegate = "/constraints/v0/builder/delegate";
    let held = "/constraints/v0/builder/constraints";
    let taken = delegation(&world, slot, &proposer);
    let mut other = taken.message.clone();
    other.committer = Address::repeat_byte(0xc1);
    let other = SignedDelegation::sign(other, &proposer, &world.network).unwrap();
    let wanted = constraints(&world, slot, &proposer);
    document.post(&world, held, &json!(wanted), 400).await;
    document.post(&world, delegate, &json!(taken), 200).await;
    document.post(&world, delegate, &json!(other), 409).await;
    document.post(&world, delegate, &json!({"message": 1}), 400).await;
    document.post(&world, held, &json!(wanted), 200).await;
    document.post(&world, held, &json!([wanted]), 200).await;
    document.get(&world, "/constraints/v0/builder/capabilities", &[], 200).await;
    for route in [
        "/constraints/v0/relay/delegations/{slot}",
        "/ordering/v1/delegations/{slot}",
        "/constraints/v0/relay/constraints/{slot}",
    ] {
        let rows = document.get(&world, route, &[&slot.to_string()], 200).await;
        assert_eq!(rows.as_array().unwrap().len(), 1, "{route}");
        document.get(&world, route, &["x"], 400).await;
    }
    let schedule = document.get(&world, "/ordering/v1/schedule", &[], 200).await;
    assert!(schedule["slots"].as_array().unwrap().iter().any(|slot| slot["delegation"].is_object()));
    document.get(&world, "/relay/v1/builder/top_bid", &[], 400).await;

    world.register().await;
    let workshop = Workshop::open(&world, 1).await;
    workshop.bid(&world, 1, 20, false).await;
    world.node.wait_for_slot(workshop.slot).await;
    let with_proofs = "/constraints/v0/builder/header_with_proofs/{slot}/{parent_hash}/{pubkey}";
    let (slot, parent) = (workshop.slot.to_string(), world.node.head().execution.hash.to_string());
    let key = workshop.proposer.public_key().to_string();
    let header = document.get(&world, with_proofs, &[&slot, &parent, &key], 200).await;
    assert_eq!(header["data"]["proofs"], json!({"constraintTypes": [], "payloads": []}));
    document.get(&world, with_proofs, &["0", &parent, &key], 400).await;

    let mut tried = document.0["paths"].as_object().unwrap().keys().collect::<Vec<_>>();
    tried.retain(|path| {
        !["/constraints/v0", "/ordering/v1", "/relay/v1"].iter().any(|start| path.starts_with(start))
    });
    assert!(tried.is_empty(), "not ours: {tried:?}");
}
