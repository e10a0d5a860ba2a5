//! `GET /constraints/v0/relay/constraints_stream`: constraints as they come, as server-sent events.
//!
//! An event `signed_constraints` has a list as `GET /constraints` gives it, those held for slots that are not past first; an
//! event `judged` says which of a slot can be in no block upon a parent: `{slot, parent_hash, dropped: [[hash, cause]]}`. `?slot=N` narrows it to one slot, and
//! there the `X-Receiver` headers show also what is not for everyone. The last event before the relay ends a stream is
//! `dropped`, and says why.

use crate::{
    api::{get_constraints::reader, number, openapi::schemas},
    feed::{News, held_frame},
    relay::Relay,
    sse,
    streams::Kind,
};
use axum::{
    Extension,
    extract::{Query, State, rejection::QueryRejection},
    response::Response,
};
use bytes::Bytes;
use earnest_builder_types::BlsPublicKey;
use earnest_http::{ApiError, PeerAddr};
use earnest_protocol::{Slot, objects::SignedConstraints, receiver::may_read};
use http::HeaderMap;
use serde::Deserialize;
use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

/// What a reader is told that fell behind.
const LAGGED: &str = "events were not taken fast enough: ask for the slot's constraints and listen again";

/// What may stand behind the question mark.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Options {
    slot: Option<String>,
}

/// Who listens, and to what.
struct Listener {
    only: Option<Slot>,
    reader: Option<BlsPublicKey>,
}

impl Listener {
    fn news(&self, news: News) -> Option<Bytes> {
        match news {
            News::Held(held, frame) => self.wants(&held.taken.constraints).then_some(frame),
            News::Judged(slot, frame) => self.only.is_none_or(|only| only.0 == slot).then_some(frame),
        }
    }

    fn wants(&self, constraints: &SignedConstraints) -> bool {
        self.only.is_none_or(|slot| slot == constraints.message.slot)
            && may_read(&constraints.message, self.reader.as_ref())
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
) -> Result<Response, ApiError> {
    let Query(options) = options.map_err(|error| ApiError::bad_request(error.body_text()))?;
    let only = options.slot.map(|slot| number("slot", &slot)).transpose()?.map(Slot);
    let reader = match only {
        Some(slot) => reader(&relay, slot, &headers).await?,
        None => None,
    };
    let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |Extension(PeerAddr(peer))| peer.ip());
    let place = relay.streams.open(Kind::Constraints, peer, &headers)?;
    let listener = Listener { only, reader };
    // Listening before looking: what comes between is told twice rather than never.
    let live = relay.feed.listen();
    let past = {
        let views = relay.ledger.views();
        let held = views.constraints_from(relay.current_slot());
        let binding = held.iter().filter(|held| views.dropped(held).is_none());
        let wanted = binding.map(|held| &held.taken.constraints).filter(|held| listener.wants(held));
        wanted.filter_map(held_frame).collect()
    };
    let pick = move |news| listener.news(news);
    Ok(sse::answer(place, past, live, relay.tasks.token(), LAGGED, pick))
}
