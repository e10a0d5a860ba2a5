//! `POST /ordering/v1/rollups/{rollup}/transactions`: a transaction in, a durable signed receipt out.
//!
//! The body is the signed EIP-2718 transaction, raw (`application/octet-stream`) or as JSON
//! `{"transaction": "0x…"}`.

use alloy_primitives::{Address, Bytes};
use axum::{
    Json,
    body::Body,
    extract::{Path, State},
};
use earnest_http::{ApiError, BodyError, BodyLimits, Media, content_type, read_body};
use earnest_protocol::{
    messages::SubmitTransaction,
    receipt::PreconfReceipt,
    tx::{self, TxError},
};
use http::{HeaderMap, StatusCode};

use super::{Api, ApiState, known_rollup, openapi::Problem};
use crate::{board::Holder, clock::now_ms, queue::QueueError, rollup_state::StateError, sequencer::Refusal};

#[utoipa::path(
    post,
    path = "/ordering/v1/rollups/{rollup}/transactions",
    tag = "ordering",
    params(("rollup" = String, Path, description = "Chain id of the rollup, decimal")),
    request_body(
        description = "The signed EIP-2718 transaction: raw bytes, or {\"transaction\": \"0x…\"}",
        content(("application/json"), ("application/octet-stream")),
    ),
    responses(
        (status = 200, description = "The receipt, durable and signed", content_type = "application/json"),
        (
            status = 400,
            description = "`bad_rollup`, `bad_encoding`, `wrong_chain`, `bad_signature`, `gas_too_high`, \
                           `blob_refused`, `nonce`, `balance`",
            body = Problem,
        ),
        (status = 404, description = "`unknown_rollup`", body = Problem),
        (status = 408, description = "`slow_body`", body = Problem),
        (status = 409, description = "`not_holder`, with `holder`, `url` and `from_ms`", body = Problem),
        (status = 413, description = "`too_large`", body = Problem),
        (status = 415, description = "`unsupported_media`", body = Problem),
        (status = 429, description = "`busy`", body = Problem),
        (
            status = 503,
            description = "`not_open`, `unheld`, `window_full`, `no_space`, `busy`, `rollup_unavailable`",
            body = Problem,
        ),
    ),
)]
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
    let outcome = match state.states.get(&rollup) {
        None => state.queue.submit(rollup, transaction).await,
        Some(rpc) => {
            let reservation = match rpc.reserve(&transaction).await {
                Ok(reservation) => reservation,
                Err(error) => {
                    // Placed by another request between the two looks.
                    let placed = matches!(error, StateError::Placed { .. });
                    let place = placed.then(|| state.board.find(rollup, &transaction.hash)).flatten();
                    return place.map_or_else(|| Err(unfunded(&error)), |place| answer(&place));
                }
            };
            let queue = state.queue.clone();
            // A task of its own: a caller that leaves does not free the nonce of what the sequencer still places.
            let submitted = tokio::spawn(async move {
                let outcome = queue.submit(rollup, transaction).await;
                if matches!(outcome, Ok(Ok(_))) {
                    reservation.keep();
                }
                outcome
            });
            submitted.await.map_err(|_| ApiError::internal())?
        }
    };
    match outcome.map_err(busy)? {
        Ok(place) => answer(&place),
        Err(refusal) => Err(refused(&state, rollup, &refusal)),
    }
}

async fn read_transaction(headers: &HeaderMap, body: Body, max_bytes: usize) -> Result<Bytes, ApiError> {
    let media = content_type(headers, &[Media::Json, Media::Ssz]).map_err(|error| {
        let message = ApiError::from(error).message;
        ApiError::named(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media", message)
    })?;
    // Hex in JSON doubles the bytes; raw, there is room to say how large an oversized transaction is.
    let limit = max_bytes.saturating_mul(2).saturating_add(1024);
    let body =
        read_body(headers, body, BodyLimits::of(limit)).await.map_err(|error| unread(&error, max_bytes))?;
    if media == Media::Json {
        let request: SubmitTransaction = serde_json::from_slice(&body).map_err(|error| {
            let message = format!("the body is not {{\"transaction\": \"0x…\"}}: {error}");
            ApiError::named(StatusCode::BAD_REQUEST, "bad_encoding", message)
        })?;
        return Ok(request.transaction);
    }
    Ok(body.into())
}

fn unread(error: &BodyError, max_bytes: usize) -> ApiError {
    let message = error.to_string();
    match error {
        BodyError::TooLarge(_) => {
            let message = format!("{message}, and a transaction of this rollup has at most {max_bytes}");
            ApiError::named(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
        }
        BodyError::TooSlow(_) => ApiError::named(StatusCode::REQUEST_TIMEOUT, "slow_body", message),
        BodyError::Encoding => {
            ApiError::named(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media", message)
        }
        BodyError::Gzip | BodyError::Broken => {
            ApiError::named(StatusCode::BAD_REQUEST, "bad_encoding", message)
        }
        BodyError::NoRoom => ApiError::named(StatusCode::SERVICE_UNAVAILABLE, "busy", message).retry_after(1),
    }
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
        StateError::Nonce { .. } | StateError::Placed { .. } => {
            ApiError::named(StatusCode::BAD_REQUEST, "nonce", error.to_string())
        }
        StateError::Balance { .. } => ApiError::named(StatusCode::BAD_REQUEST, "balance", error.to_string()),
        StateError::Crowded => {
            ApiError::named(StatusCode::SERVICE_UNAVAILABLE, "busy", error.to_string()).retry_after(1)
        }
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

/// 503 `not_open` where the next window is this gateway's own, 409 with the holder where there is another, else 503
/// `unheld`.
fn not_open(state: &ApiState, rollup: earnest_protocol::RollupId) -> ApiError {
    let now = now_ms();
    no_window(state.board.holder(rollup, now), state.committer, now)
}

fn no_window(holder: Option<Holder>, committer: Address, now: u64) -> ApiError {
    let Some(holder) = holder else {
        let message = "nobody holds the right to order this rollup now; try again when a window opens";
        return ApiError::named(StatusCode::SERVICE_UNAVAILABLE, "unheld", message).retry_after(1);
    };
    if holder.committer == committer {
        let message = if holder.from_ms > now {
            format!("this gateway's window starts at {} ms", holder.from_ms)
        } else {
            "this gateway's window is not open".to_owned()
        };
        let seconds = holder.from_ms.saturating_sub(now).div_ceil(1000).max(1);
        return ApiError::named(StatusCode::SERVICE_UNAVAILABLE, "not_open", message).retry_after(seconds);
    }
    ApiError::named(StatusCode::CONFLICT, "not_holder", "another gateway orders this rollup: send it there")
        .with("holder", holder.committer.to_string())
        .with("url", holder.url)
        .with("from_ms", holder.from_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use earnest_http::Code;

    fn held(committer: u8, from_ms: u64) -> Option<Holder> {
        let committer = Address::repeat_byte(committer);
        Some(Holder { committer, url: "http://holder".to_owned(), from_ms, until_ms: 90_000 })
    }

    #[test]
    fn never_sent_to_ourselves() {
        let us = Address::repeat_byte(1);
        let cases = [
            (None, 503, "unheld", Some(1)),
            (held(1, 12_500), 503, "not_open", Some(3)),
            (held(1, 9_000), 503, "not_open", Some(1)),
            (held(2, 9_000), 409, "not_holder", None),
            (held(2, 12_500), 409, "not_holder", None),
        ];
        for (holder, status, code, retry_after) in cases {
            let error = no_window(holder.clone(), us, 10_000);
            let said = (error.status.as_u16(), error.code, error.retry_after);
            assert_eq!(said, (status, Code::Name(code), retry_after), "{holder:?}");
        }
    }

    async fn refusal(headers: &[(&'static str, &'static str)], body: Vec<u8>) -> (u16, Code, String) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        let error = read_transaction(&map, body.into(), 100).await.unwrap_err();
        (error.status.as_u16(), error.code, error.message)
    }

    #[tokio::test]
    async fn a_body_that_is_not_read_has_a_named_code() {
        const RAW: (&str, &str) = ("content-type", "application/octet-stream");
        let (status, code, message) = refusal(&[RAW], vec![0; 5000]).await;
        assert_eq!((status, code), (413, Code::Name("too_large")));
        assert_eq!(
            message,
            "body is larger than 1224 bytes, and a transaction of this rollup has at most 100"
        );
        let cases = [
            (vec![("content-type", "text/plain")], 415, "unsupported_media"),
            (vec![RAW, ("content-encoding", "br")], 415, "unsupported_media"),
            (vec![RAW, ("content-encoding", "gzip")], 400, "bad_encoding"),
            (vec![("content-type", "application/json")], 400, "bad_encoding"),
        ];
        for (headers, status, code) in cases {
            let found = refusal(&headers, b"no such thing".to_vec()).await;
            assert_eq!((found.0, found.1), (status, Code::Name(code)), "{headers:?}");
        }
        let slow = unread(&BodyError::TooSlow(std::time::Duration::from_secs(10)), 100);
        assert_eq!((slow.status.as_u16(), slow.code), (408, Code::Name("slow_body")));
    }

    #[tokio::test]
    async fn an_oversized_transaction_is_told_both_sizes() {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", "application/octet-stream".parse().unwrap());
        let raw = read_transaction(&headers, vec![2; 101].into(), 100).await.unwrap();
        let rules = tx::TxRules { chain_id: 1, max_bytes: 100, max_gas: 1, opaque: false };
        let error = invalid(&tx::validate(raw, &rules).unwrap_err());
        assert_eq!((error.status.as_u16(), error.code), (413, Code::Name("too_large")));
        assert!(error.message.contains("100") && error.message.contains("101"), "{}", error.message);
    }
}
