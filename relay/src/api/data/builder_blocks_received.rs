//! `GET /relay/v1/data/bidtraces/builder_blocks_received`: bids that passed their checks.
//!
//! Newest slot first, and of a slot the newest. At least one filter is needed. As at other relays, `builder_pubkey`
//! alone gives at most 500 rows; a slot, hash or number gives all that is kept of it, unless there is a limit.

use super::{Arguments, RawQuery};
use crate::{
    received::{ReceivedBid, ReceivedFilter},
    relay::Relay,
};
use axum::{Json, extract::State};
use earnest_builder_types::beacon::relay::BuilderBlockReceived;
use earnest_http::ApiError;
use std::sync::Arc;

/// Most rows that may be asked for, and how many of a builder's without a limit.
const MAX_ROWS: usize = 500;

pub(crate) async fn get(
    State(relay): State<Arc<Relay>>,
    query: RawQuery,
) -> Result<Json<Vec<BuilderBlockReceived>>, ApiError> {
    let (filter, limit) = read(&Arguments::read(query)?)?;
    Ok(Json(relay.received.find(&filter, limit).into_iter().map(row).collect()))
}

fn read(arguments: &Arguments) -> Result<(ReceivedFilter, Option<usize>), ApiError> {
    if arguments.text("cursor").is_some() {
        return Err(ApiError::bad_request("cursor argument not supported: ask for a slot"));
    }
    let filter = ReceivedFilter {
        slot: arguments.number("slot")?,
        block_hash: arguments.hash("block_hash")?,
        block_number: arguments.number("block_number")?,
        builder_pubkey: arguments.key("builder_pubkey")?,
    };
    if filter == ReceivedFilter::default() {
        return Err(ApiError::bad_request(
            "need to query for specific slot or block_hash or block_number or builder_pubkey",
        ));
    }
    let block = filter.slot.is_some() || filter.block_hash.is_some() || filter.block_number.is_some();
    let limit = arguments.limit(MAX_ROWS)?;
    Ok((filter, if block { limit } else { Some(limit.unwrap_or(MAX_ROWS)) }))
}

fn row(bid: ReceivedBid) -> BuilderBlockReceived {
    let trace = bid.trace;
    BuilderBlockReceived {
        slot: trace.slot,
        parent_hash: trace.parent_hash,
        block_hash: trace.block_hash,
        builder_pubkey: trace.builder_pubkey,
        proposer_pubkey: trace.proposer_pubkey,
        proposer_fee_recipient: trace.proposer_fee_recipient,
        gas_limit: trace.gas_limit,
        gas_used: trace.gas_used,
        value: trace.value,
        num_tx: bid.num_tx,
        block_number: bid.block_number,
        timestamp: bid.received_at_ms / 1000,
        timestamp_ms: bid.received_at_ms,
        // Every bid is checked before it is offered.
        optimistic_submission: false,
    }
}
