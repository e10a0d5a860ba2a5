//! `POST /eth/v1/builder/validators`: registrations go to every source that their validators want to be known to.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use bytes::Bytes;
use earnest_builder_types::registrations_from_ssz;
use earnest_client::transport::{JSON, OCTETS};
use earnest_client::{Answer, ClientError};
use earnest_http::{ApiError, BodyLimits, Media, PeerAddr, read_leased_body};
use futures::stream::{FuturesUnordered, StreamExt};
use http::{HeaderMap, StatusCode};

use crate::registrations::{self, Sorted};
use crate::sidecar::Sidecar;
use crate::sources::Source;

/// A source's time for registrations: a relay verifies the signature of each before it answers, which for thousands takes
/// longer than anything else it is asked.
const TIME: Duration = Duration::from_secs(30);

/// Passes registrations on as they came; a source that does not read SSZ gets JSON. The first source that takes them answers
/// for all.
///
/// # Errors
/// 415 for another form than JSON and SSZ, 400 for what is not registrations or where one names another fee recipient than its
/// validator wants (the others were passed on), 429 or 503 where too many are being read, 502 if no source took them.
pub(crate) async fn register_validators(
    State(sidecar): State<Arc<Sidecar>>,
    peer: Option<Extension<PeerAddr>>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, ApiError> {
    let media = earnest_http::content_type(&headers, &[Media::Json, Media::Ssz])?;
    let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |Extension(PeerAddr(peer))| peer.ip());
    let lease = sidecar.registrations.lease(peer);
    let body = read_leased_body(&headers, body, BodyLimits::of(sidecar.config.max_body), lease).await?;
    let (body, lease) = body.into_parts();
    // Until the last source has answered: what they are sent is made of this body.
    let lease = Arc::new(lease);
    let shared = Arc::clone(&sidecar);
    let sorted = tokio::task::spawn_blocking(move || {
        registrations::sort(media, &body, &shared.wishes, shared.sources.indices().len())
    });
    let sorted = sorted.await.map_err(|_| ApiError::unavailable("shutting down"))?;
    let Sorted { bodies, misdirected } = sorted.map_err(|error| ApiError::bad_request(error.to_string()))?;
    for key in &misdirected {
        tracing::error!(validator = %key, "its registration names another fee recipient than it wants: held back");
        metrics::counter!("earnest_proposer_misdirected_registrations_total").increment(1);
    }
    // Tasks of their own: a source that takes its time is not cut off when another has answered or the caller hangs up.
    let mut asked: FuturesUnordered<_> = bodies
        .into_iter()
        .filter_map(|(index, body)| Some((sidecar.sources.get(index)?.clone(), body)))
        .map(|(source, body)| {
            let lease = Arc::clone(&lease);
            tokio::spawn(async move {
                let _lease = lease;
                register(source, media, body).await
            })
        })
        .collect();
    let nobody_to_ask = asked.is_empty();
    let mut refused = None;
    let mut taken = false;
    while let Some(joined) = asked.next().await {
        match joined {
            Ok(Ok(_)) => {
                taken = true;
                break;
            }
            Ok(Err(error)) => {
                refused = error.refusal().map(|refusal| refusal.message.clone()).or(refused);
            }
            Err(_) => {}
        }
    }
    match misdirected.first() {
        Some(key) => Err(ApiError::bad_request(format!(
            "{} registrations name another fee recipient than `validators` has, the first of {key}; \
             the others were passed on",
            misdirected.len()
        ))),
        None if taken || nobody_to_ask => Ok(StatusCode::OK),
        None => {
            let cause = refused.unwrap_or_else(|| "no relay is reachable".to_owned());
            let message = format!("no relay took the registrations: {cause}");
            Err(ApiError::status(StatusCode::BAD_GATEWAY, message))
        }
    }
}

async fn register(source: Source, media: Media, body: Bytes) -> Result<Answer, ClientError> {
    let taken = post(&source, media, body).await;
    if let Err(error) = &taken {
        tracing::warn!(source = source.name, %error, "registrations not taken");
    }
    taken
}

async fn post(source: &Source, media: Media, body: Bytes) -> Result<Answer, ClientError> {
    if media != Media::Ssz {
        return source.brief.register_raw(JSON, body, TIME).await?.ok();
    }
    let answer = source.brief.register_raw(OCTETS, body.clone(), TIME).await?;
    if answer.status != StatusCode::UNSUPPORTED_MEDIA_TYPE {
        return answer.ok();
    }
    let setup = |cause: String| ClientError::Setup(cause);
    let registrations = registrations_from_ssz(&body).map_err(|cause| setup(cause.to_string()))?;
    let json = serde_json::to_vec(&registrations).map_err(|cause| setup(cause.to_string()))?;
    source.brief.register_raw(JSON, json.into(), TIME).await?.ok()
}
