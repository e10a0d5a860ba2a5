//! `POST /relay/v1/builder/blocks`

use crate::{
    api::{check_fork, read, slot_in_json, stated_fork},
    bids::{BidKey, Candidate, Placed},
    builders::Rank,
    relay::Relay,
    simulation::{Applicant, Call, Circumstances, SimulationError},
    submission::{self, Expected},
};
use axum::extract::{Query, Request, State, rejection::QueryRejection};
use bytes::Bytes;
use earnest_builder_types::{BidSubmission, ExecutionPayloadHeader, ForkCodec, ForkName};
use earnest_chain::SlotClock;
use earnest_http::{ApiError, BodyLease, Media, content_type};
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
    let (_, body) = read(request, relay.body(relay.config.bounds.submission_bytes)).await?;
    let reader = Arc::clone(&relay);
    let decoding = move || {
        let (body, lease) = body.into_parts();
        let submission = decode(&reader, media, stated, &body)?;
        Ok::<_, ApiError>(Sent { submission, ssz: (media == Media::Ssz).then_some(body), lease })
    };
    let sent = relay.submitting.run(decoding).await??;
    place(relay, sent, options.cancels(), received_at_ms).await
}

/// A builder's block as it came.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) submission: BidSubmission,
    /// What it was read from, if that was SSZ.
    pub(super) ssz: Option<Bytes>,
    pub(super) lease: BodyLease,
}

/// Checks a block, has it simulated where that is done, and offers it. The answer comes when it is on offer. All this goes
/// on if the one who sent it leaves meanwhile: that neither spares a builder its demotion nor costs it its bid.
pub(super) async fn place(
    relay: Arc<Relay>,
    Sent { submission, ssz, lease }: Sent,
    cancellable: bool,
    received_at_ms: u64,
) -> Result<StatusCode, ApiError> {
    let started = Instant::now();
    let tasks = relay.tasks.clone();
    let placing = async move {
        let placed = placed(&relay, submission, ssz, cancellable, received_at_ms).await;
        drop(lease);
        placed
    };
    let placed = tasks.detach(placing).await;
    let placed = placed.unwrap_or_else(|_| Err(ApiError::internal()));
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
    ssz: Option<Bytes>,
    cancellable: bool,
    received_at_ms: u64,
) -> Result<Placed, ApiError> {
    let taker = Arc::clone(relay);
    let Some(simulator) = &relay.simulator else {
        let turns = &relay.submitting;
        return turns
            .run(move || {
                let Passed { header, .. } = check(&taker, &submission)?;
                let candidate = Candidate::with_header(submission, header);
                offer(&taker, candidate, ssz.as_deref(), cancellable, received_at_ms)
            })
            .await?;
    };
    // A simulation may take seconds: the block is not held twice meanwhile.
    drop(ssz);
    let (candidate, call, rank) = relay
        .submitting
        .run(move || {
            let Passed { rank, circumstances, header } = check(&taker, &submission)?;
            let call = Call::new(&submission, circumstances)?;
            Ok::<_, ApiError>((Candidate::with_header(submission, header), call, rank))
        })
        .await??;
    let trace = &candidate.trace;
    let applicant = Applicant { rank, builder: trace.builder_pubkey, slot: trace.slot };
    let patience = SlotClock::until(relay.now_ms(), relay.header_until_ms(trace.slot));
    let stopping = relay.tasks.token();
    let simulated = tokio::select! {
        simulated = simulator.simulate(&call, applicant, patience) => simulated,
        () = stopping.cancelled() => Err(SimulationError::Stopping),
    };
    if let Err(error) = simulated {
        if error.is_of_the_builder() {
            relay.demote(trace, &error.to_string()).await;
        }
        return Err(error.into());
    }
    drop(call);
    let taker = Arc::clone(relay);
    relay.submitting.run(move || offer(&taker, candidate, None, cancellable, received_at_ms)).await?
}

/// Offers a block that passed everything, and counts it as received.
fn offer(
    relay: &Relay,
    candidate: Candidate,
    ssz: Option<&[u8]>,
    cancellable: bool,
    received_at_ms: u64,
) -> Result<Placed, ApiError> {
    let slot = candidate.trace.slot;
    if relay.now_ms() > relay.header_until_ms(slot) {
        return Err(submission::SubmissionError::Past(slot).into());
    }
    let payload = candidate.payload.payload();
    let num_tx = payload.transactions().len() as u64;
    relay.received.record(&candidate.trace, payload.block_number(), num_tx, received_at_ms);
    let value = candidate.trace.value;
    let key = BidKey::of(&candidate.trace);
    let placed = relay.book.place(candidate, ssz, cancellable, || relay.required(&key)).map_err(|error| {
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

/// What is known of a block that passed.
pub(super) struct Passed {
    rank: Rank,
    circumstances: Circumstances,
    header: ExecutionPayloadHeader,
}

/// Everything that needs no execution: whose block it is first, since that costs least.
pub(super) fn check(relay: &Relay, submission: &BidSubmission) -> Result<Passed, ApiError> {
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
    let header = submission::check(submission, &expected)?;
    let circumstances = Circumstances {
        registered_gas_limit: registration.map_or(0, |registration| registration.message.gas_limit),
        parent_beacon_block_root: attributes.and_then(|known| known.attributes.parent_beacon_block_root),
    };
    Ok(Passed { rank, circumstances, header })
}
