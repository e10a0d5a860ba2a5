//! `POST /eth/v1/builder/validators`: registrations go to every source.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use bytes::Bytes;
use earnest_builder_types::{SignedValidatorRegistration, registrations_from_ssz};
use earnest_client::transport::{JSON, OCTETS};
use earnest_client::{Answer, ClientError};
use earnest_http::{ApiError, BodyLimits, Media, read_body};
use futures::stream::{FuturesUnordered, StreamExt};
use http::{HeaderMap, StatusCode};

use crate::sidecar::Sidecar;
use crate::sources::Source;

/// A source's time for registrations: a relay verifies the signature of each before it answers, which for thousands takes
/// longer than anything else it is asked.
const TIME: Duration = Duration::from_secs(30);

/// Passes registrations on as they came; a source that does not read SSZ gets JSON. The first source that takes them answers
/// for all.
///
/// # Errors
/// 415 for another form than JSON and SSZ, 400 for SSZ that is not registrations, 502 if no source took them.
pub(crate) async fn register_validators(
    State(sidecar): State<Arc<Sidecar>>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, ApiError> {
    let media = earnest_http::content_type(&headers, &[Media::Json, Media::Ssz])?;
    let body = read_body(&headers, body, BodyLimits::of(sidecar.config.max_body)).await?;
    let registrations = match media {
        Media::Ssz => Some(
            registrations_from_ssz(&body)
                .map_err(|_| ApiError::bad_request("body is not SSZ of signed registrations"))?,
        ),
        _ => None,
    };
    let registrations: Option<Arc<[SignedValidatorRegistration]>> = registrations.map(Into::into);
    // Tasks of their own: a source that takes its time is not cut off when another has answered or the caller hangs up.
    let mut asked: FuturesUnordered<_> = sidecar
        .sources
        .iter()
        .map(|(_, source)| tokio::spawn(register(source.clone(), body.clone(), registrations.clone())))
        .collect();
    let mut refused = None;
    while let Some(joined) = asked.next().await {
        match joined {
            Ok(Ok(_)) => return Ok(StatusCode::OK),
            Ok(Err(error)) => {
                refused = error.refusal().map(|refusal| refusal.message.clone()).or(refused);
            }
            Err(_) => {}
        }
    }
    let cause = refused.unwrap_or_else(|| "no relay is reachable".to_owned());
    Err(ApiError::status(StatusCode::BAD_GATEWAY, format!("no relay took the registrations: {cause}")))
}

async fn register(
    source: Source,
    body: Bytes,
    registrations: Option<Arc<[SignedValidatorRegistration]>>,
) -> Result<Answer, ClientError> {
    let taken = post(&source, body, registrations.as_deref()).await;
    if let Err(error) = &taken {
        tracing::warn!(source = source.name, %error, "registrations not taken");
    }
    taken
}

async fn post(
    source: &Source,
    body: Bytes,
    registrations: Option<&[SignedValidatorRegistration]>,
) -> Result<Answer, ClientError> {
    let Some(registrations) = registrations else {
        return source.client.register_raw(JSON, body, TIME).await?.ok();
    };
    let answer = source.client.register_raw(OCTETS, body, TIME).await?;
    if answer.status != StatusCode::UNSUPPORTED_MEDIA_TYPE {
        return answer.ok();
    }
    let json = serde_json::to_vec(registrations).map_err(|cause| ClientError::Setup(cause.to_string()))?;
    source.client.register_raw(JSON, json.into(), TIME).await?.ok()
}
