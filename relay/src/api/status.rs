//! `GET /eth/v1/builder/status`

use crate::relay::Relay;
use axum::extract::State;
use earnest_http::ApiError;
use http::StatusCode;
use std::sync::Arc;

pub(crate) async fn get(State(relay): State<Arc<Relay>>) -> Result<StatusCode, ApiError> {
    relay.health.readyz().map(|_| StatusCode::OK)
}
