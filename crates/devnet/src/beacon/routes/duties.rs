//! Who proposes: duties of an epoch, and EIP-7917's lookahead of the state.

use axum::{
    Json,
    extract::{Path, State},
};
use earnest_http::ApiError;
use serde_json::{Value, json};

use super::{Served, ids};

/// `GET /eth/v1/validator/duties/proposer/{epoch}`: up to the epoch after the running one.
///
/// The dependent root is the block that decides the duties, the last before the preceding epoch (as in the
/// second version of this endpoint, since the lookahead is deterministic).
pub(super) async fn proposers(
    State(served): State<Served>,
    Path(epoch): Path<u64>,
) -> Result<Json<Value>, ApiError> {
    let node = &served.node;
    let clock = node.settings.clock;
    let current = clock.epoch_of(node.current_slot());
    if epoch > current.saturating_add(1) {
        return Err(ApiError::bad_request(format!("epoch {epoch} is more than one ahead of {current}")));
    }
    let (decided_by, indices) = {
        let chain = node.chain.read();
        (chain.decided_by(chain.head(), epoch), chain.proposers(chain.head(), epoch))
    };
    let duty = |(slot, index): (u64, u64)| {
        let key = node.validator(index)?;
        Some(json!({"pubkey": key, "validator_index": index.to_string(), "slot": slot.to_string()}))
    };
    let duties: Vec<Value> = clock.slots_of(epoch).zip(indices).filter_map(duty).collect();
    Ok(Json(json!({"dependent_root": decided_by, "execution_optimistic": false, "data": duties})))
}

/// `GET /eth/v1/beacon/states/{state_id}/proposer_lookahead`: indices for the state's epoch and the next.
pub(super) async fn proposer_lookahead(
    State(served): State<Served>,
    Path(state_id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let node = &served.node;
    let state = ids::state(node, &state_id)?;
    let epoch = node.settings.clock.epoch_of(state.slot);
    let indices: Vec<String> = {
        let chain = node.chain.read();
        let both = [epoch, epoch.saturating_add(1)].map(|epoch| chain.proposers(&state.block, epoch));
        both.iter().flatten().map(ToString::to_string).collect()
    };
    let finalized = ids::is_final(node, &state.block);
    Ok(Json(json!({
        "version": node.settings.fork, "execution_optimistic": false, "finalized": finalized, "data": indices,
    })))
}
