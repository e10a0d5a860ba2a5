//! Version, health and sync status.

use axum::{Json, extract::State};
use http::StatusCode;
use serde_json::{Value, json};

use super::Served;

/// `GET /eth/v1/node/version`
pub(super) async fn version() -> Json<Value> {
    Json(json!({"data": {"version": concat!("earnest-devnet/", env!("CARGO_PKG_VERSION"))}}))
}

/// `GET /eth/v1/node/health`: 200, or 206 while the execution client does not answer.
pub(super) async fn health(State(served): State<Served>) -> StatusCode {
    if served.node.engine_offline() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK }
}

/// `GET /eth/v1/node/syncing`: never syncing, there is nobody to sync with.
pub(super) async fn syncing(State(served): State<Served>) -> Json<Value> {
    let node = &served.node;
    let head = node.chain.read().head().header.slot;
    Json(json!({"data": {
        "head_slot": head.to_string(),
        "sync_distance": node.current_slot().saturating_sub(head).to_string(),
        "is_syncing": false,
        "is_optimistic": false,
        "el_offline": node.engine_offline(),
    }}))
}
