//! Genesis, specification and forks.

use alloy_primitives::hex;
use axum::{
    Json,
    extract::{Path, State},
};
use earnest_builder_types::ForkName;
use earnest_chain::Genesis;
use earnest_http::ApiError;
use serde_json::{Map, Value, json};

use super::{
    super::{fixed, node::Node, version_of},
    Served, enveloped, ids,
};

/// The first epoch of a fork that never comes.
const NEVER: u64 = u64::MAX;

/// Genesis of the node's chain.
pub(in super::super) fn genesis_of(node: &Node) -> Genesis {
    Genesis {
        genesis_time: node.settings.clock.genesis_time_ms() / 1000,
        genesis_validators_root: node.settings.genesis_validators_root,
        genesis_fork_version: fixed(node.settings.genesis_fork_version),
    }
}

/// `GET /eth/v1/beacon/genesis`
pub(super) async fn genesis(State(served): State<Served>) -> Json<Value> {
    Json(json!({"data": genesis_of(&served.node)}))
}

/// `GET /eth/v1/config/spec`: what clients of this project and the common validator clients read.
pub(super) async fn spec(State(served): State<Served>) -> Json<Value> {
    let settings = &served.node.settings;
    let clock = settings.clock;
    let mut spec = Map::new();
    let mut put = |key: &str, value: String| spec.insert(key.to_owned(), Value::String(value));
    put("CONFIG_NAME", "earnest-devnet".to_owned());
    put("PRESET_BASE", "mainnet".to_owned());
    put("SLOT_DURATION_MS", clock.slot_ms().to_string());
    put("SECONDS_PER_SLOT", clock.slot_ms().div_ceil(1000).to_string());
    put("SLOTS_PER_EPOCH", clock.slots_per_epoch().to_string());
    put("MIN_SEED_LOOKAHEAD", "1".to_owned());
    put("MIN_GENESIS_TIME", (clock.genesis_time_ms() / 1000).to_string());
    put("GENESIS_DELAY", "0".to_owned());
    put("DEPOSIT_CHAIN_ID", settings.chain_id.to_string());
    put("DEPOSIT_NETWORK_ID", settings.chain_id.to_string());
    put("DEPOSIT_CONTRACT_ADDRESS", settings.deposit_contract.to_string());
    put("GENESIS_FORK_VERSION", hex::encode_prefixed(settings.genesis_fork_version));
    let mut altair = settings.genesis_fork_version;
    if let Some(first) = altair.first_mut() {
        *first = first.wrapping_add(0x10);
    }
    put("ALTAIR_FORK_VERSION", hex::encode_prefixed(altair));
    put("ALTAIR_FORK_EPOCH", "0".to_owned());
    for fork in ForkName::ALL {
        let name = fork.as_str().to_uppercase();
        put(
            &format!("{name}_FORK_VERSION"),
            hex::encode_prefixed(version_of(settings.genesis_fork_version, fork)),
        );
        put(&format!("{name}_FORK_EPOCH"), first_epoch(settings.fork, fork).to_string());
    }
    put("DOMAIN_BEACON_PROPOSER", "0x00000000".to_owned());
    put("DOMAIN_RANDAO", "0x02000000".to_owned());
    put("DOMAIN_APPLICATION_BUILDER", "0x00000001".to_owned());
    Json(json!({"data": spec}))
}

/// `GET /eth/v1/config/fork_schedule`
pub(super) async fn fork_schedule(State(served): State<Served>) -> Json<Value> {
    Json(json!({"data": [fork_data(&served.node)]}))
}

/// `GET /eth/v1/beacon/states/{state_id}/fork`
pub(super) async fn fork(
    State(served): State<Served>,
    Path(state_id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let state = ids::state(&served.node, &state_id)?;
    Ok(Json(enveloped(ids::is_final(&served.node, &state.block), fork_data(&served.node))))
}

/// `GET /eth/v1/config/deposit_contract`
pub(super) async fn deposit_contract(State(served): State<Served>) -> Json<Value> {
    let settings = &served.node.settings;
    Json(json!({"data": {"chain_id": settings.chain_id.to_string(), "address": settings.deposit_contract}}))
}

fn fork_data(node: &Node) -> Value {
    let version = hex::encode_prefixed(version_of(node.settings.genesis_fork_version, node.settings.fork));
    json!({"previous_version": version, "current_version": version, "epoch": "0"})
}

/// The whole chain is in one fork; those before it began with it.
fn first_epoch(chain: ForkName, fork: ForkName) -> u64 {
    if fork <= chain { 0 } else { NEVER }
}
