//! Validators of the state: all active from genesis, with the same stake.

use axum::{
    Json,
    extract::{Path, Query, State},
};
use earnest_builder_types::BlsPublicKey;
use earnest_http::ApiError;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{super::node::Node, Served, enveloped, ids};

/// The stake of every validator, in gwei.
const STAKE_GWEI: &str = "32000000000";
const NEVER: &str = "18446744073709551615";

/// Filters in the query: `id=1,2` or `id=1&id=2`, and `status` likewise.
#[derive(Debug, Default)]
struct Filters {
    ids: Vec<String>,
    statuses: Vec<String>,
}

impl Filters {
    fn from_pairs(pairs: Vec<(String, String)>) -> Self {
        let mut filters = Self::default();
        for (key, value) in pairs {
            let values = value.split(',').map(str::to_owned);
            match key.as_str() {
                "id" => filters.ids.extend(values),
                "status" => filters.statuses.extend(values),
                _ => {}
            }
        }
        filters
    }
}

/// Filters in a body.
#[derive(Debug, Default, Deserialize)]
pub(super) struct FiltersBody {
    #[serde(default)]
    ids: Option<Vec<String>>,
    #[serde(default)]
    statuses: Option<Vec<String>>,
}

/// `GET /eth/v1/beacon/states/{state_id}/validators`
pub(super) async fn by_query(
    State(served): State<Served>,
    Path(state_id): Path<String>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Json<Value>, ApiError> {
    answer(&served.node, &state_id, &Filters::from_pairs(pairs))
}

/// `POST /eth/v1/beacon/states/{state_id}/validators`
pub(super) async fn by_body(
    State(served): State<Served>,
    Path(state_id): Path<String>,
    Json(body): Json<FiltersBody>,
) -> Result<Json<Value>, ApiError> {
    let filters = Filters { ids: body.ids.unwrap_or_default(), statuses: body.statuses.unwrap_or_default() };
    answer(&served.node, &state_id, &filters)
}

/// `GET /eth/v1/beacon/states/{state_id}/validators/{validator_id}`
pub(super) async fn one(
    State(served): State<Served>,
    Path((state_id, validator_id)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    let state = ids::state(&served.node, &state_id)?;
    let index = index_of(&served.node, &validator_id)?;
    let found = index.and_then(|index| Some(shown(index, &served.node.validator(index)?)));
    let found = found.ok_or_else(|| ApiError::not_found("validator not found"))?;
    Ok(Json(enveloped(ids::is_final(&served.node, &state.block), found)))
}

fn answer(node: &Node, state_id: &str, filters: &Filters) -> Result<Json<Value>, ApiError> {
    let state = ids::state(node, state_id)?;
    let active = |status: &String| ["active", "active_ongoing"].contains(&status.as_str());
    let found: Vec<Value> = if !filters.statuses.is_empty() && !filters.statuses.iter().any(active) {
        vec![]
    } else if filters.ids.is_empty() {
        (0..).zip(&node.settings.validators).map(|(index, key)| shown(index, key)).collect()
    } else {
        let mut found = Vec::with_capacity(filters.ids.len());
        for id in &filters.ids {
            let index = index_of(node, id)?;
            found.extend(index.and_then(|index| Some(shown(index, &node.validator(index)?))));
        }
        found
    };
    Ok(Json(enveloped(ids::is_final(node, &state.block), found)))
}

/// The index an id names; `None` for a key nobody has.
fn index_of(node: &Node, id: &str) -> Result<Option<u64>, ApiError> {
    if !id.starts_with("0x") {
        return id.parse().map(Some).map_err(|_| ApiError::bad_request("neither an index nor a public key"));
    }
    let key: BlsPublicKey = id.parse().map_err(|_| ApiError::bad_request("not a public key of 48 bytes"))?;
    Ok(node.settings.indices.get(&key).copied())
}

fn shown(index: u64, key: &BlsPublicKey) -> Value {
    json!({
        "index": index.to_string(),
        "balance": STAKE_GWEI,
        "status": "active_ongoing",
        "validator": {
            "pubkey": key,
            "withdrawal_credentials": format!("0x01{:062x}", 0),
            "effective_balance": STAKE_GWEI,
            "slashed": false,
            "activation_eligibility_epoch": "0",
            "activation_epoch": "0",
            "exit_epoch": NEVER,
            "withdrawable_epoch": NEVER,
        }
    })
}
