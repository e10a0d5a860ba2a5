//! The routes that an operator's tools ask of every role.

use crate::error::ApiError;
use crate::health::Health;
use crate::negotiate::Media;
use axum::Router;
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;

/// `/livez`, `/readyz` and `/metrics` (design §10).
pub fn operation_router(health: Health, metrics: PrometheusHandle) -> Router {
    Router::new()
        .route("/livez", get(async || "alive"))
        .route("/readyz", get(async move || -> Result<&'static str, ApiError> { health.readyz() }))
        .route("/metrics", get(async move || ([Media::Text.header()], metrics.render())))
}
