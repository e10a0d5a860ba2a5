//! `GET /ordering/v1/events`: what happens at this relay, as server-sent events.
//!
//! First comes a `lookahead` as it is, then each event as it happens, by the names of
//! [`OrderingEvent`]. The last one before the relay ends a stream is `dropped`, and says why.

use crate::{
    api::openapi::schemas,
    market::{self, event_frame},
    relay::Relay,
    sse,
    streams::Kind,
};
use axum::{Extension, extract::State, response::Response};
use earnest_http::{ApiError, PeerAddr};
use earnest_protocol::messages::OrderingEvent;
use http::HeaderMap;
use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

/// What a reader is told that fell behind.
const LAGGED: &str = "events were not taken fast enough: listen again";

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
) -> Result<Response, ApiError> {
    let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |Extension(PeerAddr(peer))| peer.ip());
    let place = relay.streams.open(Kind::Events, peer, &headers)?;
    // Listening before looking: what comes between is told twice rather than never.
    let live = relay.news.listen();
    let slots = market::sequencing_slots(&relay);
    let now = OrderingEvent::Lookahead(market::lookahead(&relay, &slots));
    let past = event_frame(&now).into_iter().collect();
    Ok(sse::answer(place, past, live, relay.tasks.token(), LAGGED, Some))
}
