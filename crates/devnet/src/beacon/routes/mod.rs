//! The beacon API, one file for each group of endpoints.

mod blocks;
mod config;
mod duties;
mod events;
mod ids;
mod produce;
mod publish;
mod status;
mod validators;

use std::sync::Arc;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware,
    routing::{get, post},
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

pub(super) use config::genesis_of;

use super::{
    faults::{Endpoints, inject},
    node::Node,
};

/// What every route is given.
#[derive(Clone)]
pub(super) struct Served {
    pub(super) node: Arc<Node>,
    pub(super) stop: CancellationToken,
}

/// All routes of the node.
pub(super) fn router(node: Arc<Node>, stop: CancellationToken) -> Router {
    let faults = node.faults.clone();
    let group = |endpoints: Endpoints, routes: Router<Served>| {
        routes.layer(middleware::from_fn_with_state((faults.clone(), endpoints), inject))
    };
    Router::new()
        .merge(group(
            Endpoints::Node,
            Router::new()
                .route("/eth/v1/node/version", get(status::version))
                .route("/eth/v1/node/health", get(status::health))
                .route("/eth/v1/node/syncing", get(status::syncing)),
        ))
        .merge(group(
            Endpoints::Config,
            Router::new()
                .route("/eth/v1/beacon/genesis", get(config::genesis))
                .route("/eth/v1/config/spec", get(config::spec))
                .route("/eth/v1/config/fork_schedule", get(config::fork_schedule))
                .route("/eth/v1/config/deposit_contract", get(config::deposit_contract))
                .route("/eth/v1/beacon/states/{state_id}/fork", get(config::fork)),
        ))
        .merge(group(
            Endpoints::Blocks,
            Router::new()
                .route("/eth/v1/beacon/headers", get(blocks::headers))
                .route("/eth/v1/beacon/headers/{block_id}", get(blocks::header))
                .route("/eth/v1/beacon/blocks/{block_id}/root", get(blocks::root))
                .route("/eth/v2/beacon/blocks/{block_id}", get(blocks::block))
                .route("/eth/v1/beacon/states/{state_id}/finality_checkpoints", get(blocks::finality))
                .route("/eth/v1/beacon/states/{state_id}/randao", get(blocks::randao)),
        ))
        .merge(group(
            Endpoints::Validators,
            Router::new()
                .route(
                    "/eth/v1/beacon/states/{state_id}/validators",
                    get(validators::by_query).post(validators::by_body),
                )
                .route("/eth/v1/beacon/states/{state_id}/validators/{validator_id}", get(validators::one)),
        ))
        .merge(group(
            Endpoints::Duties,
            Router::new().route("/eth/v1/validator/duties/proposer/{epoch}", get(duties::proposers)),
        ))
        .merge(group(
            Endpoints::Lookahead,
            Router::new().route(
                "/eth/v1/beacon/states/{state_id}/proposer_lookahead",
                get(duties::proposer_lookahead),
            ),
        ))
        .merge(group(Endpoints::Events, Router::new().route("/eth/v1/events", get(events::events))))
        .merge(group(
            Endpoints::Produce,
            Router::new()
                .route("/eth/v3/validator/blocks/{slot}", get(produce::block))
                .route("/eth/v1/validator/prepare_beacon_proposer", post(produce::prepare_proposers)),
        ))
        .merge(group(
            Endpoints::Publish,
            Router::new()
                .route("/eth/v1/beacon/blocks", post(publish::block_v1))
                .route("/eth/v2/beacon/blocks", post(publish::block_v2))
                .route("/eth/v1/beacon/blinded_blocks", post(publish::blinded_v1))
                .route("/eth/v2/beacon/blinded_blocks", post(publish::blinded_v2)),
        ))
        .layer(DefaultBodyLimit::disable())
        .with_state(Served { node, stop })
}

/// The envelope of answers about a block or a state.
fn enveloped(finalized: bool, data: impl serde::Serialize) -> Value {
    json!({"execution_optimistic": false, "finalized": finalized, "data": data})
}
