//! Who is a validator, asked for many keys at once.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::Query,
    http::StatusCode,
    response::IntoResponse,
    routing::{get, post},
};
use earnest_builder_types::BlsPublicKey;
use earnest_chain::{BeaconClient, ChainError, ValidatorRecord};
use serde_json::{Value, json};

use super::{
    client,
    node::{Node, Says},
    patient,
};

const PATH: &str = "/eth/v1/beacon/states/head/validators";

/// The sizes of the requests that came.
type Sizes = Arc<Mutex<Vec<usize>>>;

fn key(number: u64) -> BlsPublicKey {
    let mut bytes = [0; 48];
    bytes[40..].copy_from_slice(&number.to_be_bytes());
    BlsPublicKey::from(bytes)
}

fn keys(numbers: std::ops::Range<u64>) -> Vec<BlsPublicKey> {
    numbers.map(key).collect()
}

/// Keys with an odd number belong to validators.
fn records(ids: &[String]) -> Value {
    let found = ids.iter().filter_map(|id| {
        let number = u64::from_str_radix(&id[id.len() - 16..], 16).unwrap();
        (number % 2 == 1).then(|| {
            json!({"index": number.to_string(), "balance": "1", "status": "active_ongoing", "validator": {
                "pubkey": id, "withdrawal_credentials": format!("0x{}", "00".repeat(32)),
                "effective_balance": "1", "slashed": false, "activation_eligibility_epoch": "0",
                "activation_epoch": "0", "exit_epoch": "18446744073709551615",
                "withdrawable_epoch": "18446744073709551615"
            }})
        })
    });
    json!({"execution_optimistic": false, "finalized": false, "data": found.collect::<Vec<_>>()})
}

fn by_query(sizes: Sizes) -> axum::routing::MethodRouter {
    get(async move |Query(query): Query<HashMap<String, String>>| {
        let ids: Vec<String> = query["id"].split(',').map(str::to_owned).collect();
        sizes.lock().unwrap().push(ids.len());
        Json(records(&ids))
    })
}

async fn node(router: Router) -> (Node, BeaconClient) {
    let node = Node::with_routes(1, Says::at(1, 1), router).await;
    let beacon = client(&[&node], patient());
    (node, beacon)
}

#[tokio::test]
async fn many_are_asked_for_by_post_in_parts() {
    let sizes = Sizes::default();
    let (posts, gets) = (sizes.clone(), Sizes::default());
    let by_body = post(async move |Json(body): Json<HashMap<String, Vec<String>>>| {
        posts.lock().unwrap().push(body["ids"].len());
        Json(records(&body["ids"]))
    });
    let (_node, beacon) = node(Router::new().route(PATH, by_body.merge(by_query(gets.clone())))).await;

    let mut asked = keys(0..2_500);
    asked.extend(keys(0..100));
    let mut found = beacon.validators_by_pubkey(&asked).await.unwrap();
    found.sort_by_key(|record| record.index);
    let odd: Vec<BlsPublicKey> = (1..2_500).step_by(2).map(key).collect();
    assert_eq!(found.iter().map(|one| one.pubkey).collect::<Vec<_>>(), odd);
    assert!(found.iter().all(ValidatorRecord::may_register));
    sizes.lock().unwrap().sort_unstable();
    assert_eq!(*sizes.lock().unwrap(), [500, 1_000, 1_000], "each key once");
    assert!(gets.lock().unwrap().is_empty());

    assert_eq!(beacon.validators_by_pubkey(&keys(0..64)).await.unwrap().len(), 32);
    assert_eq!(
        (sizes.lock().unwrap().len(), gets.lock().unwrap().as_slice()),
        (3, &[64][..]),
        "few go by GET"
    );
    assert_eq!(beacon.validators_by_pubkey(&[]).await.unwrap(), [], "no filter would mean all");
}

#[tokio::test]
async fn nodes_without_the_post_are_asked_by_get() {
    for status in [404, 405, 415, 501] {
        let gets = Sizes::default();
        let refuse = post(async move || StatusCode::from_u16(status).unwrap());
        let (_node, beacon) = node(Router::new().route(PATH, refuse.merge(by_query(gets.clone())))).await;
        let found = beacon.validators_by_pubkey(&keys(0..1_200)).await.unwrap();
        assert_eq!(found.len(), 600, "{status}");
        assert_eq!(gets.lock().unwrap().iter().sum::<usize>(), 1_200);
        assert!(gets.lock().unwrap().iter().all(|size| *size <= 64));
    }
    let refuse =
        post(async |_: Bytes| (StatusCode::BAD_REQUEST, Json(json!({"code": 400, "message": "no"}))));
    let (_node, beacon) = node(Router::new().route(PATH, refuse)).await;
    let error = beacon.validators_by_pubkey(&keys(0..100)).await.unwrap_err();
    assert!(matches!(error, ChainError::Status { status: 400, .. }), "{error}");
}

#[tokio::test]
async fn an_answer_longer_than_was_asked_for_is_not_read() {
    let all = post(async |_: Bytes| {
        Json(records(&keys(0..5_000).iter().map(ToString::to_string).collect::<Vec<_>>())).into_response()
    });
    let (_node, beacon) = node(Router::new().route(PATH, all)).await;
    let error = beacon.validators_by_pubkey(&keys(0..100)).await.unwrap_err();
    assert!(matches!(error, ChainError::TooLarge { .. }), "{error}");
}
