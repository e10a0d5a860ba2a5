//! The beacon client against small servers that answer as nodes do, well and badly.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

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
use earnest_builder_types::{ForkCodec, ForkName, SignedBlockContents, TreeHash};
use earnest_chain::{
    BeaconClient, BeaconEvent, BeaconOptions, BroadcastValidation, ChainError, DependentRoots, EpochDuties,
    EventTopic, Published, Spec, Standing,
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
    let hasty = BeaconOptions { timeout: Duration::from_millis(200), ..options() };
    let silent = BeaconClient::with_options([serve(silent).await], hasty).unwrap();
    assert!(matches!(silent.genesis().await, Err(ChainError::Timeout { .. })));

    let odd = serve(Router::new().route("/eth/v1/beacon/genesis", get(async || "[]"))).await;
    assert!(matches!(client([odd]).genesis().await, Err(ChainError::Malformed { .. })));

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody: Url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    drop(listener);
    assert!(matches!(client([nobody]).genesis().await, Err(ChainError::Unreachable { .. })));
}

/// A node at slot 9 of 4-slot epochs, with slots 3 and 7 missed. Slot 7 has a block on another branch, which some
/// nodes show.
fn node_at_slot_nine() -> Router {
    let header = |slot: u8, canonical: bool| {
        json!({"execution_optimistic": false, "finalized": false, "data": {
            "root": root(slot), "canonical": canonical,
            "header": {"message": {
                "slot": slot.to_string(), "proposer_index": "3", "parent_root": root(8),
                "state_root": root(0x50 + slot), "body_root": root(0)
            }, "signature": format!("0x{}", hex_of(0, 96))}
        }})
    };
    Router::new()
        .route(
            "/eth/v1/beacon/headers/{id}",
            get(async move |Path(id): Path<String>| {
                let slot = if id == "head" { 9 } else { id.parse().unwrap() };
                if slot == 3 || slot > 9 {
                    let missing = json!({"code": 404, "message": "no block"});
                    return (StatusCode::NOT_FOUND, Json(missing)).into_response();
                }
                Json(header(slot, slot != 7)).into_response()
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

fn lookahead(indices: [u64; 8]) -> Json<Value> {
    Json(json!({"version": "fulu", "data": indices.map(|index| index.to_string())}))
}

/// Duties as nodes with the first version of the endpoint give them: their dependent root is the epoch's last block
/// before, and the epoch after the next is too far.
fn duties(router: Router, indices: [u64; 8]) -> Router {
    let answer = async move |Path(epoch): Path<u64>| {
        let first = match epoch {
            2 => 8,
            3 => 12,
            _ => {
                return (StatusCode::BAD_REQUEST, Json(json!({"code": 400, "message": "too far"})))
                    .into_response();
            }
        };
        let duty = |slot: u64| {
            let index = indices[usize::try_from(slot - 8).unwrap()];
            let pubkey = format!("0x{}", hex_of(u8::try_from(index).unwrap(), 48));
            json!({"pubkey": pubkey, "validator_index": index.to_string(), "slot": slot.to_string()})
        };
        let data: Vec<Value> = [3, 0, 1, 2].into_iter().map(|offset| duty(first + offset)).collect();
        Json(json!({"dependent_root": root(0xdd), "data": data})).into_response()
    };
    router.route("/eth/v1/validator/duties/proposer/{epoch}", get(answer))
}

/// Slots with their proposers, and the dependent roots.
fn shown(epochs: &[EpochDuties]) -> (Vec<(u64, u64)>, Vec<String>) {
    let proposers = epochs.iter().flat_map(|duties| &duties.proposers);
    (
        proposers.map(|one| (one.slot, one.validator_index)).collect(),
        epochs.iter().map(|duties| duties.dependent_root.to_string()).collect(),
    )
}

#[tokio::test]
async fn the_deterministic_lookahead_is_joined_with_keys_and_dependent_roots() {
    let router = node_at_slot_nine().route(
        "/eth/v1/beacon/states/{state}/proposer_lookahead",
        get(async |Path(state): Path<String>| {
            assert_eq!(state, root(0x59));
            lookahead([1, 2, 3, 4, 4, 3, 2, 1])
        }),
    );
    let beacon = client([serve(router).await]);
    let epochs = beacon.proposer_lookahead(2, 4).await.unwrap();
    assert_eq!(epochs.iter().map(|duties| duties.epoch).collect::<Vec<_>>(), [2, 3]);
    let (proposers, roots) = shown(&epochs);
    assert_eq!(proposers, [(8, 1), (9, 2), (10, 3), (11, 4), (12, 4), (13, 3), (14, 2), (15, 1)]);
    assert_eq!(epochs[0].proposers[1].pubkey.to_string(), format!("0x{}", hex_of(2, 48)));
    assert_eq!(roots, [root(2), root(6)], "slots 3 and 7 were missed");
    let expected =
        DependentRoots { epoch: 2, current: epochs[0].dependent_root, next: epochs[1].dependent_root };
    assert_eq!(beacon.dependent_roots(2, 4).await.unwrap(), expected);
}

#[tokio::test]
async fn a_head_state_that_is_not_found_by_root_is_found_by_slot() {
    let by_slot = async |Path(state): Path<String>| match state.as_str() {
        "9" => lookahead([1, 2, 3, 4, 4, 3, 2, 1]).into_response(),
        _ => {
            (StatusCode::NOT_FOUND, Json(json!({"code": 404, "message": "State not found"}))).into_response()
        }
    };
    let router = node_at_slot_nine().route("/eth/v1/beacon/states/{state}/proposer_lookahead", get(by_slot));
    let epochs = client([serve(router).await]).proposer_lookahead(2, 4).await.unwrap();
    assert_eq!(shown(&epochs).0[3..5], [(11, 4), (12, 4)]);
}

#[tokio::test]
async fn duties_are_asked_for_where_there_is_no_lookahead() {
    // Unknown, refused, not there yet, broken; no lookahead at all, and one of validators that do not exist.
    for status in [404, 400, 405, 500, 501, 200] {
        let answer = async move || {
            (
                StatusCode::from_u16(status).unwrap(),
                Json(json!({"code": status, "message": "no", "data": []})),
            )
        };
        let router =
            node_at_slot_nine().route("/eth/v1/beacon/states/{state}/proposer_lookahead", get(answer));
        let beacon = client([serve(duties(router, [5, 6, 7, 8, 8, 7, 6, 5])).await]);
        let epochs = beacon.proposer_lookahead(2, 4).await.unwrap();
        let (proposers, roots) = shown(&epochs);
        assert_eq!(
            proposers,
            [(8, 5), (9, 6), (10, 7), (11, 8), (12, 8), (13, 7), (14, 6), (15, 5)],
            "{status}"
        );
        assert_eq!(roots, [root(2), root(6)], "as head events name them");
        let too_far = beacon.proposer_lookahead(3, 4).await.unwrap();
        assert_eq!(too_far.len(), 1, "the next epoch is left out where the node does not tell it");
    }
    // A node that is busy or syncing has one.
    for status in [429, 503] {
        let answer = async move || StatusCode::from_u16(status).unwrap();
        let router =
            node_at_slot_nine().route("/eth/v1/beacon/states/{state}/proposer_lookahead", get(answer));
        let error = client([serve(duties(router, [5; 8])).await]).proposer_lookahead(2, 4).await.unwrap_err();
        assert_eq!(error.status(), Some(status));
    }
}

#[tokio::test]
async fn duties_count_where_a_node_s_lookahead_says_something_else() {
    // As a genesis state made without a lookahead has it: zeros, for the next epoch too.
    let zeros = get(async || lookahead([0; 8]));
    let router = node_at_slot_nine().route("/eth/v1/beacon/states/{state}/proposer_lookahead", zeros);
    let beacon = client([serve(duties(router, [5, 6, 7, 8, 8, 7, 6, 5])).await]);
    let (proposers, roots) = shown(&beacon.proposer_lookahead(2, 4).await.unwrap());
    assert_eq!(proposers, [(8, 5), (9, 6), (10, 7), (11, 8), (12, 8), (13, 7), (14, 6), (15, 5)]);
    assert_eq!(roots, [root(2), root(6)]);
}

#[tokio::test]
async fn a_broken_event_stream_is_opened_again() {
    let head = |slot: u64| {
        format!(
            "event: head\ndata: {}\n\n",
            json!({"slot": slot.to_string(), "block": root(u8::try_from(slot).unwrap()), "state": root(2),
                "epoch_transition": false, "previous_duty_dependent_root": root(3),
                "current_duty_dependent_root": root(4), "execution_optimistic": false})
        )
    };
    let opened = Arc::new(AtomicUsize::new(0));
    let node = serve(Router::new().route(
        "/eth/v1/events",
        get(move |Query(query): Query<std::collections::HashMap<String, String>>| {
            assert_eq!(query["topics"], "head,block");
            let chunks = match opened.fetch_add(1, Ordering::SeqCst) {
                0 => vec![format!(": hello\n\nevent: head\ndata: nonsense\n\n{}", head(1))],
                1 => vec![head(2), format!("event: head\ndata: {}", "x".repeat(2000))],
                _ => vec![],
            };
            async {
                Body::from_stream(futures::stream::iter(chunks.into_iter().map(Ok::<_, std::io::Error>)))
            }
        }),
    ))
    .await;

    let mut events = client([node.clone()]).events(&[EventTopic::Head, EventTopic::Block]);
    let mut seen = Vec::new();
    for _ in 0..8 {
        seen.push(match events.next().await.unwrap() {
            BeaconEvent::Connected { node: name } => {
                format!("connected {}", node.as_str() == format!("http://{name}/"))
            }
            BeaconEvent::Disconnected { reason: ChainError::Malformed { .. }, .. } => "broken".to_owned(),
            BeaconEvent::Head(head) => format!("head {}", head.slot),
            other => format!("{other:?}"),
        });
    }
    assert_eq!(
        seen,
        [
            "connected true",
            "head 1",
            "broken",
            "connected true",
            "head 2",
            "broken",
            "connected true",
            "broken"
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

#[tokio::test]
async fn a_node_that_hangs_delays_no_other_and_one_that_is_busy_is_asked_again() {
    let ssz = "application/octet-stream";
    let hanging = serve(Router::new().fallback(std::future::pending::<StatusCode>)).await;
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let busy_once = async move || match count.fetch_add(1, Ordering::SeqCst) {
        0 => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::OK,
    };
    let busy_once = serve(Router::new().route("/eth/v2/beacon/blocks", post(busy_once))).await;
    let refusing = publishing(StatusCode::BAD_REQUEST, ssz).await;
    let client = client([hanging, busy_once, refusing]);
    let block = block();
    let mut publication = client.publication(&block, BroadcastValidation::ConsensusAndEquivocation);
    assert_eq!(publication.ranking(), [0, 1, 2]);
    let mut status = [0; 3];
    for _ in 0..2 {
        let word = publication.next().await.unwrap();
        status[word.place] = word.outcome.unwrap_err().status().unwrap();
        assert_eq!(word.standing, Standing::Unknown);
    }
    assert_eq!(status, [0, 503, 400], "the one that hangs is not waited for");
    publication.ask(1);
    publication.ask(9);
    let word = publication.next().await.unwrap();
    assert_eq!((word.place, word.outcome), (1, Ok(Published::Imported)));
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_node_that_refuses_a_block_that_it_has_took_it_before() {
    let refused = async || (StatusCode::BAD_REQUEST, Json(json!({"code": 400, "message": "seen before"})));
    let header = async move |Path(id): Path<String>| {
        assert_eq!(id, block().message().tree_hash_root().to_string());
        let message = json!({"slot": "1", "proposer_index": "0", "parent_root": root(0),
            "state_root": root(0), "body_root": root(0)});
        let header = json!({"message": message, "signature": format!("0x{}", hex_of(0, 96))});
        Json(json!({"execution_optimistic": false, "finalized": false,
            "data": {"root": id, "canonical": true, "header": header}}))
    };
    let routes = Router::new().route("/eth/v2/beacon/blocks", post(refused));
    let has_it = serve(routes.clone().route("/eth/v1/beacon/headers/{id}", get(header))).await;
    let hangs = std::future::pending::<StatusCode>;
    let will_not_say = serve(routes.clone().route("/eth/v1/beacon/headers/{id}", get(hangs))).await;
    let options = BeaconOptions { survey_timeout: Duration::from_millis(20), ..options() };
    let client = BeaconClient::with_options([serve(routes).await, has_it, will_not_say], options).unwrap();
    let report = client.publish_block(&block(), BroadcastValidation::ConsensusAndEquivocation).await;
    let statuses: Vec<_> =
        report.nodes.iter().map(|node| node.outcome.clone().map_err(|error| error.status())).collect();
    assert_eq!(statuses, [Err(Some(400)), Ok(Published::Imported), Err(Some(400))]);
}
