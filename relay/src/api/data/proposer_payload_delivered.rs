//! `GET /relay/v1/data/bidtraces/proposer_payload_delivered`: payloads that were unblinded and that a beacon node took.

use super::{Arguments, RawQuery};
use crate::{events::Unblinded, relay::Relay};
use alloy_primitives::B256;
use axum::{Json, extract::State};
use earnest_builder_types::{
    BlsPublicKey,
    beacon::relay::{OrderBy, ProposerPayloadDelivered},
};
use earnest_http::ApiError;
use std::{cmp::Reverse, sync::Arc};

/// Most rows of an answer, and how many without a limit.
const MAX_ROWS: usize = 200;

/// What is asked for; all that is given must hold.
#[derive(Debug)]
struct Filter {
    slot: Option<u64>,
    /// The newest slot wanted: where the page before ended.
    cursor: Option<u64>,
    block_hash: Option<B256>,
    block_number: Option<u64>,
    proposer_pubkey: Option<BlsPublicKey>,
    builder_pubkey: Option<BlsPublicKey>,
    order_by: Option<OrderBy>,
    limit: usize,
}

/// The rows asked for: newest slot first, or by value.
pub(crate) async fn get(
    State(relay): State<Arc<Relay>>,
    query: RawQuery,
) -> Result<Json<Vec<ProposerPayloadDelivered>>, ApiError> {
    let filter = Filter::read(&Arguments::read(query)?)?;
    // Held no longer than it takes to look through what is kept, which is bounded; sorted and written without it.
    let delivered: Vec<Arc<Unblinded>> = {
        let views = relay.ledger.views();
        let from = filter.slot.or(filter.cursor).unwrap_or(u64::MAX);
        let to = filter.slot.unwrap_or(0);
        let range = views.delivered(from).take_while(|delivered| delivered.trace.slot >= to);
        let wanted = range.filter(|delivered| filter.takes(delivered)).cloned();
        match filter.order_by {
            None => wanted.take(filter.limit).collect(),
            Some(_) => wanted.collect(),
        }
    };
    Ok(Json(filter.order(delivered).iter().map(|delivered| row(delivered)).collect()))
}

impl Filter {
    fn read(arguments: &Arguments) -> Result<Self, ApiError> {
        let filter = Self {
            slot: arguments.number("slot")?,
            cursor: arguments.number("cursor")?,
            block_hash: arguments.hash("block_hash")?,
            block_number: arguments.number("block_number")?,
            proposer_pubkey: arguments.key("proposer_pubkey")?,
            builder_pubkey: arguments.key("builder_pubkey")?,
            order_by: match arguments.text("order_by") {
                None => None,
                Some("value") => Some(OrderBy::Asc),
                Some("-value") => Some(OrderBy::Desc),
                Some(_) => {
                    return Err(ApiError::bad_request("invalid order_by argument: expected value or -value"));
                }
            },
            limit: arguments.limit(MAX_ROWS)?.unwrap_or(MAX_ROWS),
        };
        if filter.slot.is_some() && filter.cursor.is_some() {
            return Err(ApiError::bad_request("cannot specify both slot and cursor"));
        }
        Ok(filter)
    }

    fn takes(&self, delivered: &Unblinded) -> bool {
        let trace = &delivered.trace;
        self.block_hash.is_none_or(|hash| hash == trace.block_hash)
            && self.block_number.is_none_or(|number| number == delivered.block_number)
            && self.proposer_pubkey.is_none_or(|key| key == trace.proposer_pubkey)
            && self.builder_pubkey.is_none_or(|key| key == trace.builder_pubkey)
    }

    /// The first rows of the wanted order; of equal value the newest slot first.
    fn order(&self, mut delivered: Vec<Arc<Unblinded>>) -> Vec<Arc<Unblinded>> {
        match self.order_by {
            None => {}
            Some(OrderBy::Asc) => delivered.sort_by_key(|delivered| delivered.trace.value),
            Some(OrderBy::Desc) => delivered.sort_by_key(|delivered| Reverse(delivered.trace.value)),
        }
        delivered.truncate(self.limit);
        delivered
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
