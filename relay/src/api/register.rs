//! `POST /eth/v1/builder/validators`

use crate::{
    api::{blocking, read},
    events::Event,
    registrations::{self, Fresh, Judged},
    relay::Relay,
};
use axum::extract::{Request, State};
use bytes::Bytes;
use earnest_builder_types::{SignedValidatorRegistration, registrations_from_ssz};
use earnest_http::{ApiError, Media, content_type};
use http::StatusCode;
use std::sync::Arc;

pub(crate) async fn post(State(relay): State<Arc<Relay>>, request: Request) -> Result<StatusCode, ApiError> {
    let media = content_type(request.headers(), &[Media::Json, Media::Ssz])?;
    let (_, body) = read(request, relay.body(relay.config.bounds.registration_bytes)).await?;
    let tasks = relay.tasks.clone();
    // What was read is registered, also if the one who asked goes away.
    let registered = tasks.detach(async move { register(&relay, media, body).await });
    registered.await.map_err(|_| ApiError::internal())?
}

async fn register(relay: &Arc<Relay>, media: Media, body: Bytes) -> Result<StatusCode, ApiError> {
    let turn = relay.registering.acquire().await.map_err(|_| ApiError::internal())?;
    let judge = Arc::clone(relay);
    let (Judged { good, bad }, early) = blocking(move || {
        let all = decode(media, &body)?;
        let views = judge.ledger.views();
        let Fresh { new, early } =
            registrations::fresh(all, judge.now_ms() / 1000, |key| views.registration(key));
        let room = judge.config.bounds.registrations.saturating_sub(views.registered());
        let unknown = new.iter().filter(|one| views.registration(&one.message.pubkey).is_none()).count();
        drop(views);
        if unknown > room {
            return Err(ApiError::unavailable("the relay holds as many registrations as it can"));
        }
        Ok((registrations::verify(new, judge.builder_domain), early))
    })
    .await??;
    drop(turn);
    metrics::counter!("earnest_relay_registrations_total").increment(good.len() as u64);
    if !good.is_empty() {
        relay.ledger.write(Event::Registrations(good), vec![]).await?;
    }
    if bad.is_empty() && early.is_empty() {
        Ok(StatusCode::OK)
    } else {
        Err(registrations::refusal(&bad, &early))
    }
}

fn decode(media: Media, body: &[u8]) -> Result<Vec<SignedValidatorRegistration>, ApiError> {
    match media {
        Media::Ssz => registrations_from_ssz(body).map_err(|error| ApiError::bad_request(error.to_string())),
        _ => serde_json::from_slice(body)
            .map_err(|error| ApiError::bad_request(format!("invalid JSON: {error}"))),
    }
}
