//! A beacon node that knows the time and the proposers, and nothing else.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Sse;
use axum::response::sse::Event;
use axum::routing::get;
use axum::{Json, Router};
use earnest_builder_types::BlsPublicKey;
use http::StatusCode;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use url::Url;

use crate::network::NETWORK;

pub(crate) const SLOTS_PER_EPOCH: u64 = 8;
pub(crate) const SECONDS_PER_SLOT: u64 = 12;

#[derive(Clone)]
pub(crate) struct BeaconStandIn {
    pub(crate) url: Url,
    genesis_s: u64,
    proposers: Arc<Mutex<BTreeMap<u64, BlsPublicKey>>>,
}

impl BeaconStandIn {
    /// A chain whose slot 0 began at `genesis_s`.
    pub(crate) async fn start(genesis_s: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
        let beacon = Self { url, genesis_s, proposers: Arc::default() };
        let app = Router::new()
            .route("/eth/v1/config/spec", get(spec))
            .route("/eth/v1/beacon/genesis", get(genesis))
            .route("/eth/v1/validator/duties/proposer/{epoch}", get(duties))
            .route("/eth/v1/events", get(events))
            .fallback(|| async { (StatusCode::NOT_FOUND, Json(json!({"code": 404, "message": "not here"}))) })
            .with_state(beacon.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        beacon
    }

    /// Who proposes a slot; all others are strangers'.
    pub(crate) fn proposes(&self, slot: u64, key: BlsPublicKey) {
        self.proposers.lock().insert(slot, key);
    }

    /// Nobody of ours proposes anything any more.
    pub(crate) fn forget(&self) {
        self.proposers.lock().clear();
    }
}

async fn spec() -> Json<Value> {
    Json(json!({"data": {
        "SECONDS_PER_SLOT": SECONDS_PER_SLOT.to_string(),
        "SLOTS_PER_EPOCH": SLOTS_PER_EPOCH.to_string(),
        "DEPOSIT_CHAIN_ID": NETWORK.chain_id.to_string(),
        "GENESIS_FORK_VERSION": alloy_primitives::hex::encode_prefixed(NETWORK.genesis_fork_version),
    }}))
}

async fn genesis(State(beacon): State<BeaconStandIn>) -> Json<Value> {
    Json(json!({"data": {
        "genesis_time": beacon.genesis_s.to_string(),
        "genesis_validators_root": alloy_primitives::B256::ZERO,
        "genesis_fork_version": alloy_primitives::hex::encode_prefixed(NETWORK.genesis_fork_version),
    }}))
}

async fn duties(State(beacon): State<BeaconStandIn>, Path(epoch): Path<u64>) -> Json<Value> {
    let first = epoch * SLOTS_PER_EPOCH;
    let proposers = beacon.proposers.lock();
    let stranger = BlsPublicKey::repeat_byte(0xee);
    let data: Vec<Value> = (first..first + SLOTS_PER_EPOCH)
        .map(|slot| {
            let pubkey = proposers.get(&slot).copied().unwrap_or(stranger);
            json!({"pubkey": pubkey, "validator_index": "1", "slot": slot.to_string()})
        })
        .collect();
    Json(json!({
        "dependent_root": alloy_primitives::B256::ZERO, "execution_optimistic": false, "data": data
    }))
}

async fn events() -> Sse<futures::stream::Pending<Result<Event, Infallible>>> {
    Sse::new(futures::stream::pending())
}
