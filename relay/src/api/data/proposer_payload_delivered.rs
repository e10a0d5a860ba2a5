//! `GET /relay/v1/data/bidtraces/proposer_payload_delivered`

use crate::{events::Unblinded, relay::Relay};
use alloy_primitives::B256;
use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use earnest_builder_types::{BlsPublicKey, beacon::relay::ProposerPayloadDelivered};
use earnest_http::ApiError;
use serde::Deserialize;
use std::sync::Arc;

/// Most rows of an answer, and how many without a limit.
const MAX_ROWS: usize = 200;

/// Filters; all that are given must hold.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Filter {
    slot: Option<u64>,
    /// The newest slot wanted: where the page before ended.
    cursor: Option<u64>,
    limit: Option<usize>,
    block_hash: Option<B256>,
    block_number: Option<u64>,
    proposer_pubkey: Option<BlsPublicKey>,
    builder_pubkey: Option<BlsPublicKey>,
}

/// Payloads that were unblinded and taken by a beacon node, newest first.
pub(crate) async fn proposer_payload_delivered(
    State(relay): State<Arc<Relay>>,
    filter: Result<Query<Filter>, QueryRejection>,
) -> Result<Json<Vec<ProposerPayloadDelivered>>, ApiError> {
    let Query(filter) = filter.map_err(|error| ApiError::bad_request(error.body_text()))?;
    let limit = filter.limit.unwrap_or(MAX_ROWS);
    if limit > MAX_ROWS {
        return Err(ApiError::bad_request(format!("limit is at most {MAX_ROWS}")));
    }
    if filter.slot.is_some() && filter.cursor.is_some() {
        return Err(ApiError::bad_request("give slot or cursor, not both"));
    }
    let views = relay.ledger.views();
    let from = filter.slot.or(filter.cursor).unwrap_or(u64::MAX);
    let rows = views.delivered(from).filter(|delivered| filter.takes(delivered)).take(limit);
    Ok(Json(rows.map(|delivered| row(delivered)).collect()))
}

impl Filter {
    fn takes(&self, delivered: &Unblinded) -> bool {
        let trace = &delivered.trace;
        self.slot.is_none_or(|slot| slot == trace.slot)
            && self.block_hash.is_none_or(|hash| hash == trace.block_hash)
            && self.block_number.is_none_or(|number| number == delivered.block_number)
            && self.proposer_pubkey.is_none_or(|key| key == trace.proposer_pubkey)
            && self.builder_pubkey.is_none_or(|key| key == trace.builder_pubkey)
    }
}

fn row(delivered: &Unblinded) -> ProposerPayloadDelivered {
    let trace = &delivered.trace;
    ProposerPayloadDelivered {
        slot: trace.slot,
        parent_hash: trace.parent_hash,
        block_hash: trace.block_hash,
        builder_pubkey: trace.builder_pubkey,
        proposer_pubkey: trace.proposer_pubkey,
        proposer_fee_recipient: trace.proposer_fee_recipient,
        gas_limit: trace.gas_limit,
        gas_used: trace.gas_used,
        value: trace.value,
        block_number: delivered.block_number,
        num_tx: delivered.transactions,
    }
}
