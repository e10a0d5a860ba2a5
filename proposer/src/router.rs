//! The sidecar's routes.

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

use crate::sidecar::Sidecar;
use crate::{get_header, register_validators, status, submit_blinded};

/// The Builder API, as the beacon node expects it of mev-boost.
pub(crate) fn router(sidecar: Arc<Sidecar>) -> Router {
    Router::new()
        .route("/eth/v1/builder/status", get(status::status))
        .route("/eth/v1/builder/validators", post(register_validators::register_validators))
        .route("/eth/v1/builder/header/{slot}/{parent_hash}/{pubkey}", get(get_header::get_header))
        .route("/eth/v1/builder/blinded_blocks", post(submit_blinded::submit_blinded_v1))
        .route("/eth/v2/builder/blinded_blocks", post(submit_blinded::submit_blinded_v2))
        .with_state(sidecar)
}
