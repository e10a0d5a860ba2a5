//! `GET /constraints/v0/builder/header_with_proofs/{slot}/{parent_hash}/{pubkey}`
//!
//! `{version, data: {message, proofs: {constraintTypes, payloads}, signature}}`: the bid as `header` gives it, and one
//! proof for each held constraint, in their order. A payload of type 1 is
//! `abi.encode(InclusionProof{bytes signedTx, uint64 index, bytes32[] branch})`: the transaction in the block and the
//! branch from its leaf to the header's `transactions_root` (generalized index 2²¹ + index).

use crate::{
    api::{
        Params, fork_header,
        header::{Wanted, on_offer},
        openapi::schemas,
    },
    relay::Relay,
};
use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use earnest_http::{ApiError, Media, accept};
use http::{HeaderMap, StatusCode};
use std::sync::Arc;

#[utoipa::path(
    get,
    path = "/constraints/v0/builder/header_with_proofs/{slot}/{parent_hash}/{pubkey}",
    tag = "constraints",
    params(
        ("slot" = String, Path, description = "The slot, decimal"),
        ("parent_hash" = String, Path, description = "Hash of the execution block to build on"),
        ("pubkey" = String, Path, description = "The proposer's key"),
    ),
    responses(
        (status = 200, description = "The bid on offer, with a proof for each constraint held", body = schemas::HeaderWithProofs),
        (status = 204, description = "Nothing is on offer, or the time for it is not"),
        (status = 400, description = "The path cannot be read, the slot is past, or the key does not propose it", body = schemas::Problem),
        (status = 406, description = "JSON is not accepted", body = schemas::Problem),
        (status = 429, description = "`busy`: too many requests of this client", body = schemas::Problem),
    ),
)]
pub(crate) async fn get(
    State(relay): State<Arc<Relay>>,
    path: Params<Wanted>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let media = accept(&headers, &[Media::Json])?;
    let Some(served) = on_offer(&relay, path, &headers).await? else {
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    Ok(([media.header(), fork_header(served.fork)], served.with_proofs.clone()).into_response())
}
