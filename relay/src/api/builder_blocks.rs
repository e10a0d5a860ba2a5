//! `POST /relay/v1/builder/blocks`

use crate::{
    api::{blocking, check_fork, read, slot_in_json, stated_fork},
    bids::{Candidate, Placed},
    builders::Rank,
    relay::Relay,
    simulation::{Call, Circumstances},
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

impl Options {
    /// Whether the bid may be replaced by one that is worth less.
    pub(super) fn cancels(&self) -> bool {
        matches!(self.cancellations.as_deref(), Some("1" | "true"))
    }
}

pub(crate) async fn post(
    State(relay): State<Arc<Relay>>,
    options: Result<Query<Options>, QueryRejection>,
    request: Request,
) -> Result<StatusCode, ApiError> {
    let received_at_ms = relay.now_ms();
    let Query(options) = options.map_err(|error| ApiError::bad_request(error.body_text()))?;
    let media = content_type(request.headers(), &[Media::Json, Media::Ssz])?;
    let stated = stated_fork(request.headers())?;
    let (body, _room) = read(&relay, request, relay.config.bounds.submission_bytes).await?;
    let reader = Arc::clone(&relay);
    let submission = blocking(move || decode(&reader, media, stated, &body)).await??;
    place(relay, submission, options.cancels(), received_at_ms).await
}

/// Checks a block, has it simulated where that is done, and offers it. The answer comes when it is on offer.
pub(super) async fn place(
    relay: Arc<Relay>,
    submission: BidSubmission,
    cancellable: bool,
    received_at_ms: u64,
) -> Result<StatusCode, ApiError> {
    let started = Instant::now();
    let placed = placed(&relay, submission, cancellable, received_at_ms).await;
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

async fn placed(
    relay: &Arc<Relay>,
    submission: BidSubmission,
    cancellable: bool,
    received_at_ms: u64,
) -> Result<Placed, ApiError> {
    let taker = Arc::clone(relay);
    let Some(simulator) = &relay.simulator else {
        return blocking(move || {
            check(&taker, &submission, received_at_ms)?;
            offer(&taker, submission, cancellable)
        })
        .await?;
    };
    let (submission, call, rank) = blocking(move || {
        let (rank, circumstances) = check(&taker, &submission, received_at_ms)?;
        let call = Call::new(&submission, circumstances)?;
        Ok::<_, ApiError>((submission, call, rank))
    })
    .await??;
    if let Err(error) = simulator.simulate(&call, rank).await {
        if error.is_of_the_builder() {
            let trace = submission.message();
            relay.demote(trace, &error.to_string()).await;
        }
        return Err(error.into());
    }
    drop(call);
    let taker = Arc::clone(relay);
    blocking(move || offer(&taker, submission, cancellable)).await?
}

fn offer(relay: &Relay, submission: BidSubmission, cancellable: bool) -> Result<Placed, ApiError> {
    let slot = submission.message().slot;
    if relay.now_ms() > relay.header_until_ms(slot) {
        return Err(submission::SubmissionError::Past(slot).into());
    }
    let candidate = Candidate::new(submission);
    let value = candidate.trace.value;
    let proposer = candidate.trace.proposer_pubkey;
    let placed =
        relay.book.place(candidate, cancellable, || relay.required(slot, &proposer)).map_err(|error| {
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
    let slot = match media {
        Media::Ssz => slot_in_ssz(body).ok_or_else(|| "too short for a slot".to_owned()),
        _ => slot_in_json(body).map_err(|error| error.to_string()),
    };
    let fork = match (stated, &slot) {
        (Some(stated), _) => stated,
        (None, Ok(slot)) => relay
            .fork_at(*slot)
            .ok_or_else(|| ApiError::bad_request(format!("slot {slot} is of no known fork")))?,
        (None, Err(error)) => {
            let message = format!("not a submission, and no Eth-Consensus-Version: {error}");
            return Err(ApiError::bad_request(message));
        }
    };
    let decoded = match media {
        Media::Ssz => BidSubmission::from_ssz(fork, body),
        _ => BidSubmission::from_json(fork, body),
    };
    decoded.map_err(|error| {
        let of_another = slot.ok().and_then(|slot| check_fork(relay, slot, fork).err());
        of_another.unwrap_or_else(|| ApiError::bad_request(format!("not a {fork} submission: {error}")))
    })
}

fn slot_in_ssz(body: &[u8]) -> Option<u64> {
    body.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes))
}

/// Everything that needs no execution: whose block it is first, since that costs least. A block that passes counts as received.
fn check(
    relay: &Relay,
    submission: &BidSubmission,
    received_at_ms: u64,
) -> Result<(Rank, Circumstances), ApiError> {
    let trace = submission.message();
    let views = relay.ledger.views();
    let simulates = relay.simulator.is_some();
    let rank = relay.builders.rank(&trace.builder_pubkey, trace.slot, views.demotions(), simulates)?;
    drop(views);
    let duties = relay.duties.read();
    let proposer = duties.proposer(trace.slot).map(|proposer| proposer.pubkey);
    let attributes = duties.attributes(trace.slot, &trace.parent_hash).cloned();
    drop(duties);
    let registration = proposer.and_then(|key| relay.ledger.views().registrations().get(&key));
    let expected = Expected {
        fork: relay.fork_at(trace.slot),
        open: relay.now_ms() <= relay.header_until_ms(trace.slot),
        proposer,
        fee_recipient: registration.as_ref().map(|registration| registration.message.fee_recipient),
        attributes: attributes.as_ref().map(|known| &known.attributes),
        parent_number: attributes.as_ref().and_then(|known| known.parent_number),
        builder_domain: relay.builder_domain,
    };
    submission::check(submission, &expected)?;
    let payload = submission.payload();
    let num_tx = payload.transactions().len() as u64;
    relay.received.record(trace, payload.block_number(), num_tx, received_at_ms);
    let circumstances = Circumstances {
        registered_gas_limit: registration.map_or(0, |registration| registration.message.gas_limit),
        parent_beacon_block_root: attributes.and_then(|known| known.attributes.parent_beacon_block_root),
    };
    Ok((rank, circumstances))
}
