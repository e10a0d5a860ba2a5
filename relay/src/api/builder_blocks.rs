//! `POST /relay/v1/builder/blocks`

use crate::{
    api::{blocking, read, slot_in_json, stated_fork},
    bids::{Candidate, Placed},
    relay::Relay,
    submission::{self, Expected},
};
use axum::extract::{Query, Request, State, rejection::QueryRejection};
use earnest_builder_types::{BidSubmission, ForkCodec, ForkName};
use earnest_http::{ApiError, Media, content_type};
use http::StatusCode;
use serde::Deserialize;
use std::{sync::Arc, time::Instant};

/// What may stand behind the question mark.
#[derive(Debug, Deserialize)]
pub(crate) struct Options {
    /// `1` or `true`: this bid replaces the builder's earlier one, even if it is worth less.
    cancellations: Option<String>,
}

pub(crate) async fn post(
    State(relay): State<Arc<Relay>>,
    options: Result<Query<Options>, QueryRejection>,
    request: Request,
) -> Result<StatusCode, ApiError> {
    let (started, received_at_ms) = (Instant::now(), relay.now_ms());
    let Query(options) = options.map_err(|error| ApiError::bad_request(error.body_text()))?;
    let cancels = matches!(options.cancellations.as_deref(), Some("1" | "true"));
    let media = content_type(request.headers(), &[Media::Json, Media::Ssz])?;
    let stated = stated_fork(request.headers())?;
    let (_, body) = read(request, relay.body(relay.config.bounds.submission_bytes)).await?;
    let placed = blocking(move || take(&relay, media, stated, &body, cancels, received_at_ms)).await?;
    let outcome = match &placed {
        Ok(Placed::Best) => "best",
        Ok(Placed::Held) => "held",
        Ok(Placed::Worse) => "worse",
        Ok(Placed::Full) => "full",
        Err(_) => "refused",
    };
    metrics::counter!("earnest_relay_submissions_total", "outcome" => outcome).increment(1);
    metrics::histogram!("earnest_relay_submission_seconds").record(started.elapsed().as_secs_f64());
    match placed? {
        Placed::Full => Err(ApiError::unavailable("the relay holds as many bids for this slot as it can")),
        Placed::Best | Placed::Held | Placed::Worse => Ok(StatusCode::OK),
    }
}

fn take(
    relay: &Relay,
    media: Media,
    stated: Option<ForkName>,
    body: &[u8],
    cancels: bool,
    received_at_ms: u64,
) -> Result<Placed, ApiError> {
    let submission = decode(relay, media, stated, body)?;
    let slot = submission.message().slot;
    check(relay, &submission)?;
    let payload = submission.payload();
    let num_tx = payload.transactions().len() as u64;
    relay.received.record(submission.message(), payload.block_number(), num_tx, received_at_ms);
    let candidate = Candidate::new(submission);
    let value = candidate.trace.value;
    let proposer = candidate.trace.proposer_pubkey;
    let placed =
        relay.book.place(candidate, cancels, || relay.required(slot, &proposer)).map_err(|error| {
            tracing::error!(slot, %error, "a bid cannot be offered");
            ApiError::internal()
        })?;
    tracing::debug!(slot, %value, ?placed, "took a bid");
    Ok(placed)
}

fn decode(
    relay: &Relay,
    media: Media,
    stated: Option<ForkName>,
    body: &[u8],
) -> Result<BidSubmission, ApiError> {
    // Builders do not all name the fork; the slot gives it. The trace comes first in SSZ, and the slot in it.
    let slot = if media == Media::Ssz { slot_in_ssz(body) } else { slot_in_json(body) };
    let fork = stated.or_else(|| relay.fork_at(slot?));
    let fork =
        fork.ok_or_else(|| ApiError::bad_request("no slot in the body, and no Eth-Consensus-Version"))?;
    let decoded = match media {
        Media::Ssz => BidSubmission::from_ssz(fork, body),
        _ => BidSubmission::from_json(fork, body),
    };
    decoded.map_err(|error| ApiError::bad_request(format!("not a {fork} submission: {error}")))
}

fn slot_in_ssz(body: &[u8]) -> Option<u64> {
    body.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes))
}

fn check(relay: &Relay, submission: &BidSubmission) -> Result<(), ApiError> {
    let trace = submission.message();
    let duties = relay.duties.read();
    let proposer = duties.proposer(trace.slot).map(|proposer| proposer.pubkey);
    let attributes = duties.attributes(trace.slot, &trace.parent_hash).cloned();
    drop(duties);
    let registration = proposer.and_then(|key| relay.ledger.views().registrations().get(&key));
    let expected = Expected {
        fork: relay.fork_at(trace.slot),
        open: relay.now_ms() <= relay.header_until_ms(trace.slot),
        proposer,
        fee_recipient: registration.map(|registration| registration.message.fee_recipient),
        attributes: attributes.as_ref().map(|known| &known.attributes),
        parent_number: attributes.as_ref().and_then(|known| known.parent_number),
        builder_domain: relay.builder_domain,
    };
    Ok(submission::check(submission, &expected)?)
}
