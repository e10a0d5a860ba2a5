//! The searchers' and rollups' API: a table of contents, one file for each endpoint.

mod info;
mod openapi;
mod receipt;
mod stream;
mod submit;

use std::{collections::BTreeMap, sync::Arc};

use alloy_primitives::Address;
use axum::{Router, extract::DefaultBodyLimit, routing::get};
use earnest_http::{ApiError, ClientLimiter, ClientStreams};
use earnest_protocol::{RollupId, objects::Policy, signing::Network, tx::TxRules};
use http::StatusCode;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::{board::Board, queue::Queue, rollup_state::RollupState, stream::Feed};

/// What every endpoint reads.
#[derive(Clone)]
pub(crate) struct Api(pub(crate) Arc<ApiState>);

pub(crate) struct ApiState {
    pub(crate) board: Arc<Board>,
    pub(crate) queue: Queue,
    pub(crate) rules: BTreeMap<RollupId, TxRules>,
    pub(crate) states: BTreeMap<RollupId, RollupState>,
    pub(crate) policies: BTreeMap<RollupId, Policy>,
    pub(crate) feed: Feed,
    pub(crate) committer: Address,
    pub(crate) relay_address: Address,
    pub(crate) network: Network,
    pub(crate) streams: Arc<Semaphore>,
    pub(crate) client_streams: ClientStreams,
    /// Journal reads for streams at once.
    pub(crate) catch_ups: Arc<Semaphore>,
    pub(crate) shutdown: CancellationToken,
}

/// The gateway's routes.
pub(crate) fn router(state: Arc<ApiState>, limiter: &ClientLimiter) -> Router {
    let body = state.rules.values().map(|rules| rules.max_bytes).max().unwrap_or_default();
    // Hex in JSON doubles the bytes.
    let body = body.saturating_mul(2).saturating_add(1024);
    let (router, document) = openapi::routes().split_for_parts();
    let document = Arc::new(document);
    let router = router
        .route("/openapi.json", get(move || std::future::ready(axum::Json(Arc::clone(&document)))))
        .layer(DefaultBodyLimit::max(body))
        .with_state(Api(state));
    limiter.guard(router)
}

/// The rollup of a path, if this gateway orders it.
fn known_rollup(state: &ApiState, text: &str) -> Result<RollupId, ApiError> {
    let id: RollupId = text.parse().map_err(|_| {
        ApiError::named(StatusCode::BAD_REQUEST, "bad_rollup", "a rollup id is a decimal chain id")
    })?;
    if state.board.has(id) {
        return Ok(id);
    }
    let known: Vec<String> = state.board.rollups().map(|id| id.to_string()).collect();
    let message = format!("this gateway does not order rollup {id}; it orders {}", known.join(", "));
    Err(ApiError::named(StatusCode::NOT_FOUND, "unknown_rollup", message))
}
