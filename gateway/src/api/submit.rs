//! `POST /ordering/v1/rollups/{rollup}/transactions`: a transaction in, a durable signed receipt out.
//!
//! The body is the signed EIP-2718 transaction, raw (`application/octet-stream`) or as JSON
//! `{"transaction": "0x…"}`.

use alloy_primitives::Bytes;
use axum::{
    Json,
    body::Body,
    extract::{Path, State},
};
use earnest_http::{ApiError, BodyLimits, Media, content_type, read_body};
use earnest_protocol::{
    messages::SubmitTransaction,
    receipt::PreconfReceipt,
    tx::{self, TxError},
};
use http::{HeaderMap, StatusCode};

use super::{Api, ApiState, known_rollup};
use crate::{clock::now_ms, queue::QueueError, rollup_state::StateError, sequencer::Refusal};

pub(super) async fn submit(
    State(Api(state)): State<Api>,
    Path(rollup): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<PreconfReceipt>, ApiError> {
    let rollup = known_rollup(&state, &rollup)?;
    let Some(rules) = state.rules.get(&rollup) else { return Err(ApiError::internal()) };
    let raw = read_transaction(&headers, body, rules.max_bytes).await?;

    let transaction = tx::validate(raw, rules).map_err(|error| invalid(&error))?;
    if let Some(place) = state.board.find_recent(rollup, &transaction.hash) {
        return answer(&place);
    }
    if let Some(rpc) = state.states.get(&rollup) {
        rpc.check(&transaction).await.map_err(|error| unfunded(&error))?;
    }
    let outcome = state.queue.submit(rollup, transaction.clone()).await;
    if !matches!(outcome, Ok(Ok(_)))
        && let Some(rpc) = state.states.get(&rollup)
    {
        rpc.release(&transaction);
    }
    match outcome.map_err(busy)? {
        Ok(place) => answer(&place),
        Err(refusal) => Err(refused(&state, rollup, &refusal)),
    }
}

async fn read_transaction(headers: &HeaderMap, body: Body, max_bytes: usize) -> Result<Bytes, ApiError> {
    let media = content_type(headers, &[Media::Json, Media::Ssz])?;
    let limit =
        if media == Media::Json { max_bytes.saturating_mul(2).saturating_add(1024) } else { max_bytes };
    let body = read_body(headers, body, BodyLimits::of(limit)).await?;
    if media == Media::Json {
        let request: SubmitTransaction = serde_json::from_slice(&body).map_err(|error| {
            let message = format!("the body is not {{\"transaction\": \"0x…\"}}: {error}");
            ApiError::named(StatusCode::BAD_REQUEST, "bad_encoding", message)
        })?;
        return Ok(request.transaction);
    }
    Ok(body.into())
}

fn answer(place: &crate::board::Place) -> Result<Json<PreconfReceipt>, ApiError> {
    place.signed.receipt(place.offset).map(Json).ok_or_else(ApiError::internal)
}

fn invalid(error: &TxError) -> ApiError {
    let status = match error {
        TxError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        _ => StatusCode::BAD_REQUEST,
    };
    ApiError::named(status, error.code(), error.to_string())
}

fn unfunded(error: &StateError) -> ApiError {
    match error {
        StateError::Nonce { .. } => ApiError::named(StatusCode::BAD_REQUEST, "nonce", error.to_string()),
        StateError::Balance { .. } => ApiError::named(StatusCode::BAD_REQUEST, "balance", error.to_string()),
        StateError::Unavailable => {
            ApiError::named(StatusCode::SERVICE_UNAVAILABLE, "rollup_unavailable", error.to_string())
                .retry_after(1)
        }
    }
}

fn busy(error: QueueError) -> ApiError {
    ApiError::named(StatusCode::SERVICE_UNAVAILABLE, "busy", error.to_string()).retry_after(1)
}

fn refused(state: &ApiState, rollup: earnest_protocol::RollupId, refusal: &Refusal) -> ApiError {
    let unavailable = |code, seconds| {
        ApiError::named(StatusCode::SERVICE_UNAVAILABLE, code, refusal.to_string()).retry_after(seconds)
    };
    match refusal {
        Refusal::NotOpen => not_open(state, rollup),
        Refusal::WindowFull => unavailable("window_full", 1),
        Refusal::NoSpace => unavailable("no_space", 30),
        Refusal::TooLarge => ApiError::named(StatusCode::PAYLOAD_TOO_LARGE, "too_large", refusal.to_string()),
    }
}

/// 409 with the holder where there is one, else 503 `unheld`.
fn not_open(state: &ApiState, rollup: earnest_protocol::RollupId) -> ApiError {
    let now = now_ms();
    let Some(holder) = state.board.holder(rollup, now) else {
        let message = "nobody holds the right to order this rollup now; try again when a window opens";
        return ApiError::named(StatusCode::SERVICE_UNAVAILABLE, "unheld", message).retry_after(1);
    };
    if holder.committer == state.committer && holder.from_ms > now {
        let message = format!("this gateway's window starts at {} ms", holder.from_ms);
        let seconds = holder.from_ms.saturating_sub(now).div_ceil(1000);
        return ApiError::named(StatusCode::SERVICE_UNAVAILABLE, "unheld", message).retry_after(seconds);
    }
    ApiError::named(StatusCode::CONFLICT, "not_holder", "another gateway orders this rollup: send it there")
        .with("holder", holder.committer.to_string())
        .with("url", holder.url)
        .with("from_ms", holder.from_ms)
}
