//! `POST /eth/v1/builder/validators`

use crate::{
    api::{blocking, read},
    events::Event,
    registrations::{self, Judged},
    relay::Relay,
};
use axum::extract::{Request, State};
use earnest_builder_types::{SignedValidatorRegistration, registrations_from_ssz};
use earnest_http::{ApiError, Media, content_type};
use http::StatusCode;
use std::sync::Arc;

pub(crate) async fn post(State(relay): State<Arc<Relay>>, request: Request) -> Result<StatusCode, ApiError> {
    let media = content_type(request.headers(), &[Media::Json, Media::Ssz])?;
    let (_, body) = read(request, relay.body(relay.config.bounds.registration_bytes)).await?;
    let judge = Arc::clone(&relay);
    let Judged { good, bad } = blocking(move || {
        let all = decode(media, &body)?;
        let views = judge.ledger.views();
        let fresh = registrations::fresh(all, judge.now_ms() / 1000, |key| views.registration(key))?;
        let room = judge.config.bounds.registrations.saturating_sub(views.registered());
        let new = fresh.iter().filter(|one| views.registration(&one.message.pubkey).is_none()).count();
        drop(views);
        if new > room {
            return Err(ApiError::unavailable("the relay holds as many registrations as it can"));
        }
        Ok(registrations::verify(fresh, judge.builder_domain))
    })
    .await??;
    metrics::counter!("earnest_relay_registrations_total").increment(good.len() as u64);
    if !good.is_empty() {
        relay.ledger.write(Event::Registrations(good), vec![]).await?;
    }
    if bad.is_empty() { Ok(StatusCode::OK) } else { Err(registrations::refusal(&bad)) }
}

fn decode(media: Media, body: &[u8]) -> Result<Vec<SignedValidatorRegistration>, ApiError> {
    match media {
        Media::Ssz => registrations_from_ssz(body).map_err(|error| ApiError::bad_request(error.to_string())),
        _ => serde_json::from_slice(body)
            .map_err(|error| ApiError::bad_request(format!("invalid JSON: {error}"))),
    }
}
