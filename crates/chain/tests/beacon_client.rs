//! The beacon client against small servers that answer as nodes do, well and badly.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{Path, Query},
    http::{HeaderMap, StatusCode},
    response::IntoResponse,
    routing::{get, post},
};
use earnest_builder_types::{ForkCodec, ForkName, SignedBlockContents};
use earnest_chain::{
    BeaconClient, BeaconEvent, BeaconOptions, BroadcastValidation, ChainError, EventTopic, Published, Spec,
};
use futures::StreamExt;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use url::Url;

async fn serve(router: Router) -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    url.parse().unwrap()
}

fn options() -> BeaconOptions {
    BeaconOptions {
        timeout: Duration::from_millis(500),
        max_answer_bytes: 4096,
        max_event_bytes: 1024,
        event_retry: Duration::from_millis(1),
        event_retry_max: Duration::from_millis(5),
        ..BeaconOptions::default()
    }
}

fn client(urls: impl IntoIterator<Item = Url>) -> BeaconClient {
    BeaconClient::with_options(urls, options()).unwrap()
}

fn genesis() -> Json<Value> {
    Json(json!({"data": {
        "genesis_time": "1700000000",
        "genesis_validators_root": format!("0x{}", "11".repeat(32)),
        "genesis_fork_version": "0x10000910",
    }}))
}

fn root(byte: u8) -> String {
    format!("0x{}", hex_of(byte, 32))
}

fn hex_of(byte: u8, length: usize) -> String {
    format!("{byte:02x}").repeat(length)
}

#[test]
fn a_client_without_nodes_is_refused() {
    assert!(matches!(BeaconClient::new([]), Err(ChainError::Config(_))));
}

#[tokio::test]
async fn the_next_node_is_asked_when_one_fails() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = asked.clone();
    let broken = serve(Router::new().route(
        "/eth/v1/beacon/genesis",
        get(move || {
            counter.fetch_add(1, Ordering::SeqCst);
            async {
                (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({"code": 500, "message": "no database"})))
            }
        }),
    ))
    .await;
    let good = serve(Router::new().route("/eth/v1/beacon/genesis", get(async || genesis()))).await;

    let both = client([broken.clone(), good]);
    assert_eq!(both.genesis().await.unwrap().genesis_time, 1_700_000_000);
    assert_eq!(both.genesis().await.unwrap().genesis_fork_version.0, [0x10, 0, 9, 0x10]);
    assert_eq!(asked.load(Ordering::SeqCst), 1, "the node that answered is asked first the next time");

    let error = client([broken]).genesis().await.unwrap_err();
    assert!(
        matches!(error, ChainError::Status { status: 500, ref message, .. } if message == "no database"),
        "{error}"
    );
}

#[tokio::test]
async fn long_late_and_odd_answers_are_told_apart() {
    let long = serve(Router::new().route("/eth/v1/beacon/genesis", get(async || " ".repeat(5000)))).await;
    assert!(matches!(client([long]).genesis().await, Err(ChainError::TooLarge { limit: 4096, .. })));

    let endless = Router::new().route(
        "/eth/v1/beacon/genesis",
        get(async || {
            Body::from_stream(futures::stream::repeat_with(|| Ok::<_, std::io::Error>(" ".repeat(100))))
        }),
    );
    assert!(matches!(
        client([serve(endless).await]).genesis().await,
        Err(ChainError::TooLarge { limit: 4096, .. })
    ));

    let silent = Router::new()
        .route("/eth/v1/beacon/genesis", get(async || std::future::pending::<StatusCode>().await));
    assert!(matches!(client([serve(silent).await]).genesis().await, Err(ChainError::Timeout { .. })));

    let odd = serve(Router::new().route("/eth/v1/beacon/genesis", get(async || "[]"))).await;
    assert!(matches!(client([odd]).genesis().await, Err(ChainError::Malformed { .. })));

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody: Url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    drop(listener);
    assert!(matches!(client([nobody]).genesis().await, Err(ChainError::Unreachable { .. })));
}

/// A node at slot 9 of 4-slot epochs, with slots 3 and 7 missed.
fn node_at_slot_nine() -> Router {
    let header = json!({"execution_optimistic": false, "finalized": false, "data": {
        "root": root(9), "canonical": true,
        "header": {"message": {
            "slot": "9", "proposer_index": "3", "parent_root": root(8), "state_root": root(0x59), "body_root": root(0)
        }, "signature": format!("0x{}", hex_of(0, 96))}
    }});
    Router::new()
        .route("/eth/v1/beacon/headers/head", get(async move || Json(header)))
        .route(
            "/eth/v1/beacon/blocks/{id}/root",
            get(async |Path(slot): Path<u8>| match slot {
                3 | 7 | 10.. => (StatusCode::NOT_FOUND, Json(json!({"code": 404, "message": "no block"}))).into_response(),
                slot => Json(json!({"data": {"root": root(slot)}})).into_response(),
            }),
        )
        .route(
            "/eth/v1/beacon/states/head/validators",
            get(async |Query(query): Query<std::collections::HashMap<String, String>>| {
                let validator = |id: &str| {
                    json!({"index": id, "balance": "32000000000", "status": "active_ongoing", "validator": {
                        "pubkey": format!("0x{}", hex_of(id.parse().unwrap(), 48)),
                        "withdrawal_credentials": root(1), "effective_balance": "32000000000", "slashed": false,
                        "activation_eligibility_epoch": "0", "activation_epoch": "0",
                        "exit_epoch": "18446744073709551615", "withdrawable_epoch": "18446744073709551615"
                    }})
                };
                Json(json!({"data": query["id"].split(',').map(validator).collect::<Vec<_>>()}))
            }),
        )
}

#[tokio::test]
async fn the_deterministic_lookahead_is_joined_with_keys_and_dependent_roots() {
    let router = node_at_slot_nine().route(
        "/eth/v1/beacon/states/{state}/proposer_lookahead",
        get(async |Path(state): Path<String>| {
            assert_eq!(state, root(0x59));
            Json(json!({"version": "fulu", "data": ["1", "2", "3", "4", "4", "3", "2", "1"]}))
        }),
    );
    let beacon = client([serve(router).await]);
    let epochs = beacon.proposer_lookahead(2, 4).await.unwrap();
    assert_eq!(epochs.iter().map(|duties| duties.epoch).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(epochs[0].proposers.iter().map(|one| one.slot).collect::<Vec<_>>(), [8, 9, 10, 11]);
    assert_eq!(epochs[1].proposers.iter().map(|one| one.validator_index).collect::<Vec<_>>(), [4, 3, 2, 1]);
    assert_eq!(epochs[0].proposers[1].pubkey.to_string(), format!("0x{}", hex_of(2, 48)));
    assert_eq!(epochs[0].dependent_root.to_string(), root(2), "slot 3 was missed");
    assert_eq!(epochs[1].dependent_root.to_string(), root(6), "slot 7 was missed");
}

#[tokio::test]
async fn duties_are_asked_for_where_there_is_no_lookahead() {
    let router = node_at_slot_nine().route(
        "/eth/v1/validator/duties/proposer/{epoch}",
        get(async |Path(epoch): Path<u64>| {
            if epoch > 2 {
                return (StatusCode::BAD_REQUEST, Json(json!({"code": 400, "message": "too far"}))).into_response();
            }
            let duty = |slot: u64| json!({"pubkey": format!("0x{}", hex_of(5, 48)), "validator_index": "5", "slot": slot.to_string()});
            Json(json!({"dependent_root": root(6), "data": [duty(11), duty(8), duty(9), duty(10)]})).into_response()
        }),
    );
    let beacon = client([serve(router).await]);
    let epochs = beacon.proposer_lookahead(2, 4).await.unwrap();
    assert_eq!(epochs.len(), 1);
    assert_eq!(epochs[0].proposers.iter().map(|one| one.slot).collect::<Vec<_>>(), [8, 9, 10, 11]);
    assert_eq!(epochs[0].dependent_root.to_string(), root(6));
}

#[tokio::test]
async fn a_broken_event_stream_is_opened_again_at_the_next_node() {
    let head = |slot: u64| {
        format!(
            "event: head\ndata: {}\n\n",
            json!({"slot": slot.to_string(), "block": root(1), "state": root(2), "epoch_transition": false,
                "previous_duty_dependent_root": root(3), "current_duty_dependent_root": root(4), "execution_optimistic": false})
        )
    };
    let text = |text: String| async move { ([("content-type", "text/event-stream")], text) };
    let first = serve(Router::new().route(
        "/eth/v1/events",
        get(move |Query(query): Query<std::collections::HashMap<String, String>>| {
            assert_eq!(query["topics"], "head,block");
            text(format!(": hello\n\nevent: head\ndata: nonsense\n\n{}", head(1)))
        }),
    ))
    .await;
    let second = serve(Router::new().route(
        "/eth/v1/events",
        get(move || {
            let chunks = [head(2), format!("event: head\ndata: {}", "x".repeat(2000))];
            async { Body::from_stream(futures::stream::iter(chunks.map(Ok::<_, std::io::Error>))) }
        }),
    ))
    .await;

    let mut events = client([first.clone(), second.clone()]).events(&[EventTopic::Head, EventTopic::Block]);
    let mut seen = Vec::new();
    for _ in 0..7 {
        seen.push(match events.next().await.unwrap() {
            BeaconEvent::Connected { node } => {
                format!("connected {}", first.as_str() == format!("http://{node}/"))
            }
            BeaconEvent::Disconnected { .. } => "disconnected".to_owned(),
            BeaconEvent::Head(head) => format!("head {}", head.slot),
            other => format!("{other:?}"),
        });
    }
    assert_eq!(
        seen,
        [
            "connected true",
            "head 1",
            "disconnected",
            "connected false",
            "head 2",
            "disconnected",
            "connected true"
        ]
    );
}

#[test]
fn the_public_networks_specifications_are_read() {
    let data = |name: &str| -> Value {
        let path = format!("{}/tests/vectors/specs/{name}", env!("CARGO_MANIFEST_DIR"));
        let answer: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        answer.get("data").cloned().unwrap_or(answer)
    };
    let networks = [
        ("mainnet_spec_data.json", 1, [0, 0, 0, 0]),
        ("sepolia_spec_data.json", 11_155_111, [0x90, 0, 0, 0x69]),
        ("holesky_spec.json", 17_000, [1, 1, 0x70, 0]),
        ("hoodi_spec.json", 560_048, [0x10, 0, 9, 0x10]),
    ];
    for (name, chain_id, version) in networks {
        let spec: Spec = serde_json::from_value(data(name)).unwrap();
        assert_eq!(spec.chain_id(), Some(chain_id), "{name}");
        assert_eq!(spec.genesis_fork_version(), Some(version), "{name}");
        assert_eq!((spec.slot_ms(), spec.slots_per_epoch()), (Some(12_000), Some(32)), "{name}");
        assert!(spec.fork_at(u64::MAX - 1).is_some(), "{name}");
    }
}

/// The smallest full block there is: Capella's, all zero but for its list offsets.
fn block() -> SignedBlockContents {
    let header = json!({
        "slot": "1", "proposer_index": "2", "parent_root": root(1), "state_root": root(2),
        "body": {
            "randao_reveal": format!("0x{}", hex_of(0, 96)),
            "eth1_data": {"deposit_root": root(0), "deposit_count": "0", "block_hash": root(0)},
            "graffiti": root(0), "proposer_slashings": [], "attester_slashings": [], "attestations": [],
            "deposits": [], "voluntary_exits": [],
            "sync_aggregate": {
                "sync_committee_bits": format!("0x{}", hex_of(0, 64)),
                "sync_committee_signature": format!("0x{}", hex_of(0, 96))
            },
            "execution_payload": {
                "parent_hash": root(0), "fee_recipient": format!("0x{}", hex_of(0, 20)), "state_root": root(0),
                "receipts_root": root(0), "logs_bloom": format!("0x{}", hex_of(0, 256)), "prev_randao": root(0),
                "block_number": "1", "gas_limit": "1", "gas_used": "0", "timestamp": "1", "extra_data": "0x",
                "base_fee_per_gas": "7", "block_hash": root(0), "transactions": [], "withdrawals": []
            },
            "bls_to_execution_changes": []
        }
    });
    let signed = json!({"message": header, "signature": format!("0x{}", hex_of(0, 96))});
    SignedBlockContents::from_json(ForkName::Capella, signed.to_string().as_bytes()).unwrap()
}

/// A node that answers a block with `status`, if it likes the block's form.
async fn publishing(status: StatusCode, media: &'static str) -> Url {
    let answer = async move |Query(query): Query<std::collections::HashMap<String, String>>,
                             headers: HeaderMap,
                             body: Bytes| {
        assert_eq!(query["broadcast_validation"], "consensus_and_equivocation");
        assert_eq!(headers["eth-consensus-version"], "capella");
        if headers["content-type"] != media {
            return StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response();
        }
        let read = match media {
            "application/json" => SignedBlockContents::from_json(ForkName::Capella, &body),
            _ => SignedBlockContents::from_ssz(ForkName::Capella, &body),
        };
        assert_eq!(read.unwrap(), block());
        (status, Json(json!({"code": status.as_u16(), "message": "word of the node"}))).into_response()
    };
    serve(Router::new().route("/eth/v2/beacon/blocks", post(answer))).await
}

#[tokio::test]
async fn a_block_goes_to_every_node_and_each_has_its_own_word() {
    let (ssz, text) = ("application/octet-stream", "application/json");
    let nodes = [
        publishing(StatusCode::OK, ssz).await,
        publishing(StatusCode::ACCEPTED, ssz).await,
        publishing(StatusCode::OK, text).await,
        publishing(StatusCode::BAD_REQUEST, ssz).await,
    ];
    let validation = BroadcastValidation::ConsensusAndEquivocation;
    let report = client(nodes.clone()).publish_block(&block(), validation).await;
    let [imported, spread, json_only, refused] = [0, 1, 2, 3].map(|index| &report.nodes[index].outcome);
    assert_eq!(imported, &Ok(Published::Imported));
    assert_eq!(spread, &Ok(Published::BroadcastNotImported));
    assert_eq!(json_only, &Ok(Published::Imported), "JSON is sent where SSZ is refused");
    assert!(
        matches!(refused, Err(ChainError::Status { status: 400, message, .. }) if message == "word of the node")
    );
    assert!(report.imported() && report.broadcast());

    let report = client([nodes[1].clone()]).publish_block(&block(), validation).await;
    assert!(!report.imported() && report.broadcast());
    let report = client([nodes[3].clone()]).publish_block(&block(), validation).await;
    assert!(!report.imported() && !report.broadcast());
}
