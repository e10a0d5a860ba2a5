//! `GET /eth/v1/builder/header/{slot}/{parent_hash}/{pubkey}`: the rules are those of [`crate::slot_state`].

use std::net::{IpAddr, Ipv4Addr};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::B256;
use axum::Extension;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use earnest_builder_types::{BlsPublicKey, ForkCodec, Versioned};
use earnest_client::HeaderRequest;
use earnest_client::transport::{CONSENSUS_VERSION, TIMEOUT_MS};
use earnest_http::{ApiError, Media, PeerAddr};
use earnest_protocol::Slot;
use earnest_protocol::objects::Delegation;
use futures::FutureExt;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::header_deadline::Allowance;
use crate::held_constraints;
use crate::sidecar::{Sidecar, now_ms};
use crate::slot_state::{Decision, Event, HeaderRound, NoHeader, SourceIndex};
use crate::sources::{Passable, Wanted};

const OFFERED: [Media; 2] = [Media::Json, Media::Ssz];

/// Answers the beacon node: 200 with a header, or 204.
///
/// # Errors
/// 400 for a malformed path, 406 if neither JSON nor SSZ is acceptable.
pub(crate) async fn get_header(
    State(sidecar): State<Arc<Sidecar>>,
    path: Result<Path<(u64, B256, BlsPublicKey)>, PathRejection>,
    peer: Option<Extension<PeerAddr>>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let Path((slot, parent_hash, pubkey)) = path.map_err(|error| ApiError::bad_request(error.body_text()))?;
    let media = earnest_http::accept(&headers, &OFFERED)?;
    let request = HeaderRequest { slot, parent_hash, pubkey };
    let started = Instant::now();
    let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |Extension(PeerAddr(peer))| peer.ip());
    let decision = match sidecar.turns.take(peer) {
        Some(_turn) => {
            // A defect of ours must not cost a block: the beacon node is told that there is nothing.
            let deciding = AssertUnwindSafe(decide(&sidecar, request, &headers)).catch_unwind();
            Box::pin(deciding).await.unwrap_or(Err(NoHeader::Defect))
        }
        None => Err(NoHeader::Busy),
    };
    let took = started.elapsed();
    metrics::histogram!("earnest_proposer_header_seconds").record(took.as_secs_f64());
    match decision {
        Ok((source, passable, kept)) => {
            let name = sidecar.sources.name(source);
            tracing::info!(slot, source = name, kept, ?took, "header served");
            metrics::counter!("earnest_proposer_headers_total", "answer" => "served").increment(1);
            Ok(answer(&headers, media, &passable).unwrap_or_else(|| StatusCode::NO_CONTENT.into_response()))
        }
        Err(cause) => {
            tracing::warn!(slot, %cause, ?took, "no header");
            metrics::counter!("earnest_proposer_headers_total", "answer" => "none").increment(1);
            Ok(StatusCode::NO_CONTENT.into_response())
        }
    }
}

async fn decide(
    sidecar: &Arc<Sidecar>,
    request: HeaderRequest,
    headers: &HeaderMap,
) -> Result<(usize, Passable, usize), NoHeader> {
    let wish = sidecar.wishes.of(&request.pubkey);
    if let Some(cause) = sidecar.breaker_cause(&wish.sources) {
        return Err(NoHeader::BreakerOpen(cause));
    }
    let plain: Vec<SourceIndex> =
        wish.sources.iter().copied().filter(|source| sidecar.shut_out(*source).is_none()).collect();
    let clock = sidecar.clock.get();
    let caller_ms = headers.get(TIMEOUT_MS).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let allowance =
        Allowance { hard: sidecar.config.header_limit(), caller_ms, latest: sidecar.config.header_latest };
    let time = allowance
        .time_left(Slot(request.slot), now_ms(), clock.map(|clock| &clock.timing))
        .ok_or(NoHeader::TooLate)?;
    let deadline = Instant::now().checked_add(time).ok_or(NoHeader::TooLate)?;
    let wanted = Wanted {
        request,
        timestamp: clock.map(|clock| clock.slots.payload_timestamp(request.slot)),
        fork: clock.and_then(|clock| clock.forks.at(clock.slots.epoch_of(request.slot))),
    };
    let accept = headers.get(header::ACCEPT).cloned().unwrap_or(earnest_client::transport::JSON);
    let (delegation, elsewhere, holders) = {
        let (plan, slot) = (sidecar.plan.lock(), Slot(request.slot));
        let place = (slot, request.pubkey);
        (plan.delegation(slot, request.pubkey).cloned(), plan.is_elsewhere(place), plan.holders(place))
    };
    if elsewhere {
        return Err(NoHeader::RelayGone);
    }
    // A relay that holds the delegation is asked though the validator no longer wants to be known there.
    let known = |source: &SourceIndex| wish.sources.contains(source) || holders.contains(source);
    let earnest: Vec<SourceIndex> = sidecar.sources.earnest().into_iter().filter(known).collect();
    let round = if delegation.is_some() {
        if let Some(cause) = earnest.iter().find_map(|source| sidecar.shut_out(*source)) {
            return Err(NoHeader::BreakerOpen(cause));
        }
        HeaderRound::constrained(&plain, &earnest)
    } else {
        HeaderRound::unconstrained(&plain)
    };
    let mut round = round.with_min_bid(wish.min_bid);
    let asking = if round.is_constrained() { time.saturating_sub(judging_time(time)) } else { time };
    let answers_until = Instant::now().checked_add(asking).unwrap_or(deadline);
    let delegation = delegation.map(Arc::new);
    let mut asked = questions(sidecar, wanted, &accept, delegation.as_ref(), (&plain, &earnest), asking);
    loop {
        let event = tokio::select! {
            biased;
            Some(event) = asked.join_next() => match event {
                Ok(event) => event,
                Err(_) => continue,
            },
            () = sleep_until(answers_until) => Event::Deadline,
        };
        if let Some((source, block_hash)) = event.offered() {
            sidecar.book.lock().offered(block_hash, source);
        }
        let decision;
        (round, decision) = take(round, event, deadline).await?;
        if matches!(decision, Decision::Wait) {
            continue;
        }
        for (source, fault) in round.faults() {
            tracing::warn!(slot = request.slot, source = sidecar.sources.name(*source), %fault, "bid not taken");
            metrics::counter!("earnest_proposer_faults_total", "source" => sidecar.sources.name(*source).to_owned())
                .increment(1);
        }
        return match decision {
            Decision::Serve { source, offer, kept } => {
                sidecar.book.lock().served(offer.block_hash, source, request.slot, request.pubkey);
                Ok((source, offer.answer, kept))
            }
            Decision::Nothing(cause) => Err(cause),
            Decision::Wait => Err(NoHeader::NoOffer),
        };
    }
}

/// What is kept of a constrained slot's time for judging proofs after the last answer.
fn judging_time(time: Duration) -> Duration {
    time.checked_div(8).unwrap_or_default().min(Duration::from_millis(100))
}

/// [`HeaderRound::take`], on a thread of its own where proofs may have to be judged. Never later than the deadline.
async fn take(
    mut round: HeaderRound<Passable>,
    event: Event<Passable>,
    deadline: Instant,
) -> Result<(HeaderRound<Passable>, Decision<Passable>), NoHeader> {
    if !round.is_constrained() {
        let decision = round.take(event);
        return Ok((round, decision));
    }
    let judged = tokio::task::spawn_blocking(move || {
        let decision = round.take(event);
        (round, decision)
    });
    match timeout_at(deadline, judged).await {
        Ok(Ok(judged)) => Ok(judged),
        Ok(Err(_)) | Err(_) => Err(NoHeader::NotJudged),
    }
}

/// Answers on their way. What is still asked when a round is decided is let go.
type Questions = JoinSet<Event<Passable>>;

/// Every question to every source, all at once, each in a task of its own: a bid's signature takes a millisecond to verify.
fn questions(
    sidecar: &Arc<Sidecar>,
    wanted: Wanted,
    accept: &HeaderValue,
    delegation: Option<&Arc<Delegation>>,
    (plain, earnest): (&[SourceIndex], &[SourceIndex]),
    time: Duration,
) -> Questions {
    let mut asked = Questions::new();
    for (index, source) in sidecar.sources.iter() {
        if plain.contains(&index) {
            let (shared, one, accept) = (Arc::clone(sidecar), source.clone(), accept.clone());
            asked.spawn(async move {
                Event::Plain(index, shared.sources.ask_header(&one, &wanted, accept, time).await)
            });
        }
        if !earnest.contains(&index) {
            continue;
        }
        if let Some(delegation) = delegation.cloned() {
            let (shared, one) = (Arc::clone(sidecar), source.clone());
            asked.spawn(
                async move { Event::Proven(index, shared.sources.ask_proven(&one, &wanted, time).await) },
            );
            let (network, one) = (sidecar.config.network, source.clone());
            asked.spawn(async move {
                Event::Constraints(index, held_constraints::ask(&one, &delegation, network, time).await)
            });
        }
    }
    asked
}

/// The source's own bytes where they came in a form the caller accepts, else the bid written anew in the form it prefers.
fn answer(headers: &HeaderMap, media: Media, passable: &Passable) -> Option<Response> {
    let version = (CONSENSUS_VERSION, HeaderValue::from_static(passable.bid.fork().as_str()));
    if let Some(answer) = &passable.answer {
        let came_as = if answer.is_octets() { Media::Ssz } else { Media::Json };
        if earnest_http::accept(headers, &[came_as]).is_ok() {
            return Some((StatusCode::OK, [came_as.header(), version], answer.body.clone()).into_response());
        }
    }
    let body = match media {
        Media::Ssz => passable.bid.to_ssz(),
        _ => Versioned::new(passable.bid.clone()).to_json().ok()?,
    };
    Some((StatusCode::OK, [media.header(), version], body).into_response())
}

#[cfg(test)]
mod tests {
    use tokio::runtime::Builder;

    use super::*;
    use crate::slot_state::Reply;

    #[test]
    fn judging_that_takes_too_long_ends_at_the_deadline() {
        let runtime = Builder::new_current_thread().enable_time().max_blocking_threads(1).build().unwrap();
        runtime.block_on(async {
            // The only thread for judging is taken.
            let (release, released) = std::sync::mpsc::channel::<()>();
            let busy = tokio::task::spawn_blocking(move || released.recv());
            let soon = Instant::now() + Duration::from_millis(20);
            let round = || HeaderRound::constrained(&[0], &[0]);
            let judged = take(round(), Event::Plain(0, Reply::Nothing), soon).await;
            assert_eq!(judged.unwrap_err(), NoHeader::NotJudged);
            // A slot without constraints has nothing to judge.
            let plain = take(HeaderRound::unconstrained(&[0]), Event::Deadline, soon).await;
            assert!(matches!(plain, Ok((_, Decision::Nothing(NoHeader::NoOffer)))));
            release.send(()).unwrap();
            busy.await.unwrap().unwrap();
            let later = Instant::now() + Duration::from_secs(20);
            let judged = take(round(), Event::Plain(0, Reply::Nothing), later).await;
            assert!(matches!(judged, Ok((_, Decision::Wait))));
        });
    }

    #[test]
    fn judging_has_an_eighth_of_the_time_but_no_more_than_it_needs() {
        for (time, kept) in [(80, 10), (800, 100), (4_000, 100), (0, 0)] {
            assert_eq!(judging_time(Duration::from_millis(time)), Duration::from_millis(kept));
        }
    }
}
