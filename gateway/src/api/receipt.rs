//! `GET /ordering/v1/rollups/{rollup}/receipts/{hash}`: the receipt again.

use alloy_primitives::B256;
use axum::{
    Json,
    extract::{Path, State},
};
use earnest_http::ApiError;
use earnest_protocol::receipt::PreconfReceipt;
use http::StatusCode;

use super::{Api, known_rollup, openapi::Problem};

#[utoipa::path(
    get,
    path = "/ordering/v1/rollups/{rollup}/receipts/{hash}",
    tag = "ordering",
    params(
        ("rollup" = String, Path, description = "Chain id of the rollup, decimal"),
        ("hash" = String, Path, description = "Transaction hash, 0x and 64 hex digits"),
    ),
    responses(
        (status = 200, description = "The receipt that was given", content_type = "application/json"),
        (status = 400, description = "`bad_rollup`, `bad_hash`", body = Problem),
        (status = 404, description = "`unknown_rollup`, `unknown_transaction`", body = Problem),
    ),
)]
pub(super) async fn receipt(
    State(Api(state)): State<Api>,
    Path((rollup, hash)): Path<(String, String)>,
) -> Result<Json<PreconfReceipt>, ApiError> {
    let rollup = known_rollup(&state, &rollup)?;
    let hash: B256 = hash.parse().map_err(|_| {
        ApiError::named(StatusCode::BAD_REQUEST, "bad_hash", "a transaction hash is 0x and 64 hex digits")
    })?;
    state.board.find(rollup, &hash).and_then(|place| place.signed.receipt(place.offset)).map(Json).ok_or_else(
        || {
            let message = "no receipt for that transaction in the recent windows of this gateway";
            ApiError::named(StatusCode::NOT_FOUND, "unknown_transaction", message)
        },
    )
}
