//! A beacon node that knows the time, the proposers and the heads it is told, and nothing else.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use alloy_primitives::{B256, FixedBytes};
use axum::extract::{Path, State};
use axum::response::sse::Event;
use axum::response::{IntoResponse, Response, Sse};
use axum::routing::get;
use axum::{Json, Router};
use earnest_builder_types::BlsPublicKey;
use futures::Stream;
use http::StatusCode;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use url::Url;

use crate::network::NETWORK;

pub(crate) const SLOTS_PER_EPOCH: u64 = 8;
pub(crate) const SECONDS_PER_SLOT: u64 = 12;
const DENEB: [u8; 4] = [0x50, 0, 0, 0];

/// The domain that blocks are signed in.
pub(crate) fn proposer_domain() -> B256 {
    earnest_builder_types::domain::beacon_proposer_domain(DENEB, B256::ZERO)
}

#[derive(Clone)]
pub(crate) struct BeaconStandIn {
    pub(crate) url: Url,
    genesis_s: u64,
    proposers: Arc<Mutex<BTreeMap<u64, BlsPublicKey>>>,
    blocks: Arc<Mutex<BTreeMap<u64, B256>>>,
    heads: Arc<watch::Sender<Vec<(u64, B256)>>>,
    asked: Arc<watch::Sender<Vec<u64>>>,
}

impl BeaconStandIn {
    /// A chain whose slot 0 began at `genesis_s`.
    pub(crate) async fn start(genesis_s: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
        let heads = Arc::new(watch::channel(Vec::new()).0);
        let asked = Arc::new(watch::channel(Vec::new()).0);
        let beacon = Self { url, genesis_s, proposers: Arc::default(), blocks: Arc::default(), heads, asked };
        let app = Router::new()
            .route("/eth/v1/config/spec", get(spec))
            .route("/eth/v1/beacon/genesis", get(genesis))
            .route("/eth/v1/validator/duties/proposer/{epoch}", get(duties))
            .route("/eth/v1/beacon/headers/{slot}", get(header))
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

    /// The chain's head is now a block of `slot` with this root, and everyone who listens is told.
    pub(crate) fn head(&self, slot: u64, root: B256) {
        self.blocks.lock().insert(slot, root);
        self.heads.send_modify(|heads| heads.push((slot, root)));
    }

    /// Waits until the block of a slot was asked for.
    pub(crate) async fn until_asked_for(&self, slot: u64) {
        let mut asked = self.asked.subscribe();
        let waiting = asked.wait_for(|asked| asked.contains(&slot));
        tokio::time::timeout(std::time::Duration::from_secs(30), waiting)
            .await
            .expect("asked in time")
            .unwrap();
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
        "DENEB_FORK_EPOCH": "0",
        "DENEB_FORK_VERSION": alloy_primitives::hex::encode_prefixed(DENEB),
        "GENESIS_FORK_VERSION": alloy_primitives::hex::encode_prefixed(NETWORK.genesis_fork_version),
    }}))
}

async fn genesis(State(beacon): State<BeaconStandIn>) -> Json<Value> {
    Json(json!({"data": {
        "genesis_time": beacon.genesis_s.to_string(),
        "genesis_validators_root": B256::ZERO,
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
        "dependent_root": B256::ZERO, "execution_optimistic": false, "data": data
    }))
}

async fn header(State(beacon): State<BeaconStandIn>, Path(slot): Path<u64>) -> Response {
    beacon.asked.send_modify(|asked| asked.push(slot));
    let Some(root) = beacon.blocks.lock().get(&slot).copied() else {
        return (StatusCode::NOT_FOUND, Json(json!({"code": 404, "message": "no block"}))).into_response();
    };
    let message = json!({
        "slot": slot.to_string(), "proposer_index": "1",
        "parent_root": B256::ZERO, "state_root": B256::ZERO, "body_root": B256::ZERO,
    });
    let header = json!({"message": message, "signature": FixedBytes::<96>::ZERO});
    let data = json!({"root": root, "canonical": true, "header": header});
    Json(json!({"execution_optimistic": false, "finalized": false, "data": data})).into_response()
}

/// All heads so far, and then each as it comes.
async fn events(State(beacon): State<BeaconStandIn>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let heads = futures::stream::unfold((beacon.heads.subscribe(), 0), |(mut heads, next)| async move {
        let (slot, root) = heads.wait_for(|heads| heads.len() > next).await.ok()?[next];
        let data = json!({
            "slot": slot.to_string(), "block": root, "state": B256::ZERO, "epoch_transition": false,
            "previous_duty_dependent_root": B256::ZERO, "current_duty_dependent_root": B256::ZERO,
            "execution_optimistic": false,
        });
        Some((Ok(Event::default().event("head").data(data.to_string())), (heads, next + 1)))
    });
    Sse::new(heads)
}
