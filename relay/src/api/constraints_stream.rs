//! `GET /constraints/v0/relay/constraints_stream`: constraints as they come, as server-sent events.
//!
//! An event `signed_constraints` has a list as `GET /constraints` gives it, those held for slots that are not past first; an
//! event `judged` says which of a slot can be in no block upon a parent: `{slot, parent_hash, dropped: [[hash, cause]]}`. `?slot=N` narrows it to one slot, and there the `X-Receiver` headers show also what is not for everyone. The last
//! event before the relay ends a stream is `dropped`, and says why.

use crate::{
    api::{get_constraints::reader, number, openapi::schemas},
    feed::News,
    relay::Relay,
    views::HeldConstraints,
};
use axum::{
    Extension,
    extract::{Query, State, rejection::QueryRejection},
    response::{
        Sse,
        sse::{Event, KeepAlive},
    },
};
use earnest_builder_types::BlsPublicKey;
use earnest_http::{ApiError, PeerAddr};
use earnest_protocol::{Slot, receiver::may_read};
use futures::{Stream, StreamExt, stream};
use http::HeaderMap;
use serde::Deserialize;
use std::{
    convert::Infallible,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio_util::sync::CancellationToken;

const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// What may stand behind the question mark.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Options {
    slot: Option<String>,
}

/// A stream that counts as open until it is dropped.
struct Counted;

impl Counted {
    fn new() -> Self {
        metrics::gauge!("earnest_relay_streams", "stream" => "constraints").increment(1);
        Self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        metrics::gauge!("earnest_relay_streams", "stream" => "constraints").decrement(1);
    }
}

/// Why the relay ends a stream.
#[derive(Clone, Copy)]
enum Dropped {
    Slow,
    Stopping,
}

impl Dropped {
    fn event(self) -> Event {
        let (name, reason) = match self {
            Self::Slow => {
                ("slow", "events were not taken fast enough: ask for the slot's constraints and listen again")
            }
            Self::Stopping => ("stopping", "the relay is stopping"),
        };
        metrics::counter!("earnest_relay_streams_dropped_total", "stream" => "constraints", "reason" => name)
            .increment(1);
        Event::default().event("dropped").data(reason)
    }
}

/// Who listens, and to what.
struct Listener {
    only: Option<Slot>,
    reader: Option<BlsPublicKey>,
}

impl Listener {
    fn news(&self, news: &News) -> Option<Event> {
        match news {
            News::Held(held) => self.event(held),
            News::Judged(judged) if self.only.is_none_or(|slot| slot.0 == judged.slot) => {
                Event::default().event("judged").json_data(&**judged).ok()
            }
            News::Judged(_) => None,
        }
    }

    fn event(&self, held: &HeldConstraints) -> Option<Event> {
        let constraints = &held.taken.constraints;
        let wanted = self.only.is_none_or(|slot| slot == constraints.message.slot)
            && may_read(&constraints.message, self.reader.as_ref());
        if !wanted {
            return None;
        }
        Event::default().event("signed_constraints").json_data([constraints]).ok()
    }
}

#[utoipa::path(
    get,
    path = "/constraints/v0/relay/constraints_stream",
    tag = "constraints",
    params(
        ("slot" = Option<String>, Query, description = "Only constraints of this slot"),
        ("x-receiver-publickey" = Option<String>, Header, description = "With a slot: the reader's BLS key"),
        ("x-receiver-signature" = Option<String>, Header, description = "With a slot: its signature over that"),
    ),
    responses(
        (status = 200, description = "Events `signed_constraints`, each a list; `dropped` as the last one", content_type = "text/event-stream"),
        (status = 400, description = "Slot or headers are malformed", body = schemas::Problem),
        (status = 401, description = "`bad_receiver_signature`", body = schemas::Problem),
        (status = 429, description = "`too_many_streams` of this client, `busy`", body = schemas::Problem),
        (status = 503, description = "`too_many_streams`", body = schemas::Problem),
    ),
)]
pub(crate) async fn get(
    State(relay): State<Arc<Relay>>,
    options: Result<Query<Options>, QueryRejection>,
    peer: Option<Extension<PeerAddr>>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    let Query(options) = options.map_err(|error| ApiError::bad_request(error.body_text()))?;
    let only = options.slot.map(|slot| number("slot", &slot)).transpose()?.map(Slot);
    let reader = match only {
        Some(slot) => reader(&relay, slot, &headers).await?,
        None => None,
    };
    let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |Extension(PeerAddr(peer))| peer.ip());
    let place = (relay.streams.open(peer, &headers)?, Counted::new());
    let listener = Listener { only, reader };
    // Listening before looking: what comes between is told twice rather than never.
    let live = relay.feed.listen();
    let past: Vec<Event> = {
        let views = relay.ledger.views();
        let held = views.constraints_from(relay.current_slot());
        let bind = held.iter().filter(|held| views.dropped(held).is_none());
        bind.filter_map(|held| listener.event(held)).collect()
    };
    let events = stream::iter(past).chain(follow(live, listener, relay.tasks.token())).map(move |event| {
        // Counted until the connection is done with.
        let _ = &place;
        Ok(event)
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

fn follow(
    live: Receiver<News>,
    listener: Listener,
    shutdown: CancellationToken,
) -> impl Stream<Item = Event> {
    stream::unfold(Some((live, listener, shutdown)), move |state| async move {
        let (mut live, listener, shutdown) = state?;
        loop {
            let received = tokio::select! {
                biased;
                () = shutdown.cancelled() => Err(RecvError::Closed),
                received = live.recv() => received,
            };
            match received {
                Ok(news) => {
                    if let Some(event) = listener.news(&news) {
                        return Some((event, Some((live, listener, shutdown))));
                    }
                }
                Err(RecvError::Lagged(_)) => return Some((Dropped::Slow.event(), None)),
                Err(RecvError::Closed) => return Some((Dropped::Stopping.event(), None)),
            }
        }
    })
}
