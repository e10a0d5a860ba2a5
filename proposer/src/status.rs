//! `GET /eth/v1/builder/status`: 200 if any source is up.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use earnest_http::ApiError;
use futures::stream::{FuturesUnordered, StreamExt};
use http::StatusCode;

use crate::sidecar::Sidecar;

const TIME: Duration = Duration::from_secs(2);

/// Asks every source at once; the first that is up answers for all.
///
/// # Errors
/// 503 if none is up within two seconds.
pub(crate) async fn status(State(sidecar): State<Arc<Sidecar>>) -> Result<StatusCode, ApiError> {
    let mut asked: FuturesUnordered<_> =
        sidecar.sources.iter().map(|(_, source)| source.brief.status()).collect();
    let any_up = async {
        while let Some(answer) = asked.next().await {
            if answer.is_ok() {
                return true;
            }
        }
        false
    };
    match tokio::time::timeout(TIME, any_up).await {
        Ok(true) => Ok(StatusCode::OK),
        Ok(false) | Err(_) => Err(ApiError::unavailable("no relay is up")),
    }
}
