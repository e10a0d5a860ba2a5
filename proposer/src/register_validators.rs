//! `POST /eth/v1/builder/validators`: registrations go to every source.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use bytes::Bytes;
use earnest_builder_types::{SignedValidatorRegistration, registrations_from_ssz};
use earnest_client::transport::{JSON, OCTETS};
use earnest_client::{Answer, ClientError};
use earnest_http::{ApiError, BodyLimits, Media, read_body};
use http::{HeaderMap, StatusCode};

use crate::sidecar::Sidecar;
use crate::sources::Source;

const PATH: &str = "eth/v1/builder/validators";

/// Passes registrations on as they came; a source that does not read SSZ gets JSON.
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
    let registrations = registrations.as_deref();
    let answers = futures::future::join_all(
        sidecar.sources.iter().map(|(_, source)| post(source, body.clone(), registrations)),
    )
    .await;
    let mut refused = None;
    let mut taken = false;
    for ((_, source), answer) in sidecar.sources.iter().zip(answers) {
        match answer {
            Ok(_) => taken = true,
            Err(error) => {
                tracing::warn!(source = source.name, %error, "registrations not taken");
                refused = error.refusal().map(|refusal| refusal.message.clone()).or(refused);
            }
        }
    }
    if taken {
        return Ok(StatusCode::OK);
    }
    let cause = refused.unwrap_or_else(|| "no relay is reachable".to_owned());
    Err(ApiError::status(StatusCode::BAD_GATEWAY, format!("no relay took the registrations: {cause}")))
}

async fn post(
    source: &Source,
    body: Bytes,
    registrations: Option<&[SignedValidatorRegistration]>,
) -> Result<Answer, ClientError> {
    let Some(registrations) = registrations else {
        return source.client.post_raw(PATH, JSON, None, body).await?.ok();
    };
    let answer = source.client.post_raw(PATH, OCTETS, None, body).await?;
    if answer.status != StatusCode::UNSUPPORTED_MEDIA_TYPE {
        return answer.ok();
    }
    source.client.transport().post_json(PATH, registrations).await?.ok()
}
