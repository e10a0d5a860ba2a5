//! `POST /eth/v1/builder/validators`

use crate::{
    api::{blocking, read},
    events::Event,
    registrations::{self, Fresh, Judged, Untaken},
    relay::Relay,
};
use axum::extract::{Request, State};
use bytes::Bytes;
use earnest_builder_types::{BlsPublicKey, SignedValidatorRegistration, registrations_from_ssz};
use earnest_http::{ApiError, Media, content_type};
use http::StatusCode;
use std::{collections::HashSet, sync::Arc};

/// Registrations to one record: what a proposer's block waits for is never longer.
const WRITTEN_AT_ONCE: usize = 4_096;

pub(crate) async fn post(State(relay): State<Arc<Relay>>, request: Request) -> Result<StatusCode, ApiError> {
    let media = content_type(request.headers(), &[Media::Json, Media::Ssz])?;
    let (body, room) = read(&relay, request, relay.config.bounds.registration_bytes).await?;
    let tasks = relay.tasks.clone();
    // What was read is registered, also if the one who asked goes away.
    let registered = tasks.detach(async move {
        let registered = register(&relay, media, body).await;
        drop(room);
        registered
    });
    registered.await.map_err(|_| ApiError::internal())?
}

async fn register(relay: &Arc<Relay>, media: Media, body: Bytes) -> Result<StatusCode, ApiError> {
    let turn = relay.registering.acquire().await.map_err(|_| ApiError::internal())?;
    let judge = Arc::clone(relay);
    let (Judged { good, bad }, early) = blocking(move || {
        let all = decode(media, &body)?;
        let views = judge.ledger.views();
        let held = views.registrations();
        let Fresh { new, early } =
            registrations::fresh(all, judge.now_ms() / 1000, |key| held.timestamp(key));
        let room = judge.config.bounds.registrations.saturating_sub(held.len());
        let added = new.iter().filter(|one| held.timestamp(&one.message.pubkey).is_none()).count();
        drop(views);
        if added > room {
            return Err(ApiError::unavailable("the relay holds as many registrations as it can"));
        }
        Ok((registrations::verify(new, judge.builder_domain), early))
    })
    .await??;
    let (known, unknown) = known(relay, good).await;
    drop(turn);
    metrics::counter!("earnest_relay_registrations_total").increment(known.len() as u64);
    for part in known.chunks(WRITTEN_AT_ONCE) {
        relay.ledger.write(Event::Registrations(part.to_vec()), vec![]).await?;
    }
    let untaken = Untaken { bad, early, unknown: unknown? };
    if untaken.is_empty() { Ok(StatusCode::OK) } else { Err(registrations::refusal(&untaken)) }
}

/// Those of validators: known to us, or to a beacon node, which is asked for no key but those that signed. The keys that it
/// does not know are told apart, or that no node could be asked.
async fn known(
    relay: &Relay,
    good: Vec<SignedValidatorRegistration>,
) -> (Vec<SignedValidatorRegistration>, Result<Vec<BlsPublicKey>, ApiError>) {
    let strangers: Vec<BlsPublicKey> = {
        let views = relay.ledger.views();
        let held = views.registrations();
        let keys = good.iter().map(|one| one.message.pubkey);
        keys.filter(|key| held.timestamp(key).is_none()).collect()
    };
    if strangers.is_empty() {
        return (good, Ok(vec![]));
    }
    let asked = relay.beacon.validators_by_pubkey(&strangers).await;
    let answer: Result<Vec<BlsPublicKey>, _> = asked.map(|records| {
        let may = records.iter().filter(|record| record.may_register()).map(|record| record.pubkey);
        let may: HashSet<BlsPublicKey> = may.collect();
        strangers.iter().filter(|key| !may.contains(*key)).copied().collect()
    });
    let left_out: HashSet<BlsPublicKey> = match &answer {
        Ok(unknown) => HashSet::from_iter(unknown.iter().copied()),
        Err(_) => strangers.into_iter().collect(),
    };
    let known = good.into_iter().filter(|one| !left_out.contains(&one.message.pubkey)).collect();
    let unknown = answer.map_err(|error| {
        tracing::warn!(%error, "no beacon node told which validators there are");
        ApiError::unavailable("no beacon node can be asked for new validators: try again").retry_after(5)
    });
    (known, unknown)
}

fn decode(media: Media, body: &[u8]) -> Result<Vec<SignedValidatorRegistration>, ApiError> {
    match media {
        Media::Ssz => registrations_from_ssz(body).map_err(|error| ApiError::bad_request(error.to_string())),
        _ => serde_json::from_slice(body)
            .map_err(|error| ApiError::bad_request(format!("invalid JSON: {error}"))),
    }
}
