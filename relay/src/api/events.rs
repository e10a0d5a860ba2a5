//! `GET /ordering/v1/events`: what happens at this relay, as server-sent events.
//!
//! First comes a `lookahead` as it is, then each event as it happens, by the names of
//! [`OrderingEvent`]. The last one before the relay ends a stream is `dropped`, and says why.

use crate::{
    api::openapi::schemas,
    market::{self, Told},
    relay::Relay,
};
use axum::{
    Extension,
    extract::State,
    response::{
        Sse,
        sse::{Event, KeepAlive},
    },
};
use earnest_http::{ApiError, PeerAddr};
use earnest_protocol::messages::OrderingEvent;
use futures::{Stream, StreamExt, stream};
use http::HeaderMap;
use std::{
    convert::Infallible,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio_util::sync::CancellationToken;

const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// A stream that counts as open until it is dropped.
struct Counted;

impl Counted {
    fn new() -> Self {
        metrics::gauge!("earnest_relay_streams", "stream" => "events").increment(1);
        Self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        metrics::gauge!("earnest_relay_streams", "stream" => "events").decrement(1);
    }
}

#[utoipa::path(
    get,
    path = "/ordering/v1/events",
    tag = "ordering",
    responses(
        (
            status = 200,
            description = "Events `lookahead`, `auction_opened`, `auction_closed`, `auction_result`, `delegation`, `constraints`, \
                           `sealed`; `dropped` as the last one",
            content_type = "text/event-stream",
        ),
        (status = 429, description = "`too_many_streams` of this client, `busy`", body = schemas::Problem),
        (status = 503, description = "`too_many_streams`", body = schemas::Problem),
    ),
)]
pub(crate) async fn get(
    State(relay): State<Arc<Relay>>,
    peer: Option<Extension<PeerAddr>>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |Extension(PeerAddr(peer))| peer.ip());
    let place = (relay.streams.open(peer, &headers)?, Counted::new());
    // Listening before looking: what comes between is told twice rather than never.
    let live = relay.news.listen();
    let slots = market::sequencing_slots(&relay);
    let now = OrderingEvent::Lookahead(market::lookahead(&relay, &slots));
    let events = stream::iter(event(&now)).chain(follow(live, relay.tasks.token())).map(move |event| {
        // Counted until the connection is done with.
        let _ = &place;
        Ok(event)
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

fn event(event: &OrderingEvent) -> Option<Event> {
    Some(Event::default().event(event.name()).data(event.data().ok()?))
}

fn dropped(name: &'static str, reason: &'static str) -> Event {
    metrics::counter!("earnest_relay_streams_dropped_total", "stream" => "events", "reason" => name)
        .increment(1);
    Event::default().event("dropped").data(reason)
}

fn follow(live: Receiver<Told>, shutdown: CancellationToken) -> impl Stream<Item = Event> {
    stream::unfold(Some((live, shutdown)), move |state| async move {
        let (mut live, shutdown) = state?;
        loop {
            let received = tokio::select! {
                biased;
                () = shutdown.cancelled() => Err(RecvError::Closed),
                received = live.recv() => received,
            };
            match received {
                Ok(told) => {
                    if let Some(event) = event(&told) {
                        return Some((event, Some((live, shutdown))));
                    }
                }
                Err(RecvError::Lagged(_)) => {
                    return Some((dropped("slow", "events were not taken fast enough: listen again"), None));
                }
                Err(RecvError::Closed) => {
                    return Some((dropped("stopping", "the relay is stopping"), None));
                }
            }
        }
    })
}
