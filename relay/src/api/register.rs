//! `POST /eth/v1/builder/validators`

use crate::{
    api::{blocking, read},
    events::Event,
    registrations::{self, Fresh, Judged, Untaken},
    relay::Relay,
};
use axum::extract::{Request, State};
use earnest_builder_types::{BlsPublicKey, SignedValidatorRegistration, registrations_from_ssz};
use earnest_http::{ApiError, LeasedBody, Media, content_type};
use http::StatusCode;
use std::{collections::HashSet, sync::Arc};

pub(crate) async fn post(State(relay): State<Arc<Relay>>, request: Request) -> Result<StatusCode, ApiError> {
    let media = content_type(request.headers(), &[Media::Json, Media::Ssz])?;
    let (_, body) = read(request, relay.body(relay.config.bounds.registration_bytes)).await?;
    let tasks = relay.tasks.clone();
    // What was read is registered, also if the one who asked goes away.
    let registered = tasks.detach(async move { register(&relay, media, body).await });
    registered.await.map_err(|_| ApiError::internal())?
}

/// What costs least comes first: only those that are newer and of validators have their signatures verified.
async fn register(relay: &Arc<Relay>, media: Media, body: LeasedBody) -> Result<StatusCode, ApiError> {
    let (body, _lease) = body.into_parts();
    let reader = Arc::clone(relay);
    let read = turn(relay, move || {
        let all = decode(media, &body)?;
        // The views are locked for one key at a time: others read and write between.
        let held = |key: &BlsPublicKey| reader.ledger.views().registrations().timestamp(key);
        Ok::<_, ApiError>(registrations::fresh(all, reader.now_ms() / 1000, held))
    });
    let Fresh { mut updates, strangers, early } = read.await??;
    let admitted = admit(relay, strangers).await;
    updates.extend(admitted.known);
    let domain = relay.builder_domain;
    let Judged { mut good, bad } = turn(relay, move || registrations::verify(updates, domain)).await?;
    let full = registrations::fit(
        &mut good,
        relay.config.bounds.registrations,
        relay.ledger.views().registrations(),
    );
    metrics::counter!("earnest_relay_registrations_total").increment(good.len() as u64);
    if !good.is_empty() {
        relay.ledger.write(Event::Registrations(good), vec![]).await?;
    }
    let untaken = Untaken { bad, early, unknown: admitted.unknown?, full };
    if untaken.is_empty() { Ok(StatusCode::OK) } else { Err(registrations::refusal(&untaken)) }
}

/// Runs work on one list, of which few have their turn at once.
async fn turn<T: Send + 'static>(
    relay: &Relay,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    let _turn = relay.registering.acquire().await.map_err(|_| ApiError::internal())?;
    blocking(work).await
}

/// Registrations of keys that the relay does not know.
struct Admitted {
    /// Those of validators.
    known: Vec<SignedValidatorRegistration>,
    /// Keys of the others, or that no node could be asked.
    unknown: Result<Vec<BlsPublicKey>, ApiError>,
}

/// Asks the beacon nodes which strangers are validators that may register.
async fn admit(relay: &Relay, strangers: Vec<SignedValidatorRegistration>) -> Admitted {
    if strangers.is_empty() {
        return Admitted { known: vec![], unknown: Ok(vec![]) };
    }
    let keys: Vec<BlsPublicKey> = strangers.iter().map(|one| one.message.pubkey).collect();
    let Ok(_turn) = relay.asking.acquire().await else {
        return Admitted { known: vec![], unknown: Err(ApiError::internal()) };
    };
    match relay.beacon.validators_by_pubkey(&keys).await {
        Ok(records) => {
            let may = records.iter().filter(|record| record.may_register()).map(|record| record.pubkey);
            let may: HashSet<BlsPublicKey> = may.collect();
            let (known, unknown): (Vec<_>, Vec<_>) =
                strangers.into_iter().partition(|one| may.contains(&one.message.pubkey));
            Admitted { known, unknown: Ok(unknown.iter().map(|one| one.message.pubkey).collect()) }
        }
        Err(error) => {
            tracing::warn!(%error, "no beacon node told which validators there are");
            let message = "no beacon node can be asked for new validators: try again";
            Admitted { known: vec![], unknown: Err(ApiError::unavailable(message).retry_after(5)) }
        }
    }
}

fn decode(media: Media, body: &[u8]) -> Result<Vec<SignedValidatorRegistration>, ApiError> {
    match media {
        Media::Ssz => registrations_from_ssz(body).map_err(|error| ApiError::bad_request(error.to_string())),
        _ => serde_json::from_slice(body)
            .map_err(|error| ApiError::bad_request(format!("invalid JSON: {error}"))),
    }
}
