//! `GET /eth/v1/builder/header/{slot}/{parent_hash}/{pubkey}`

use crate::{
    api::{Params, fork_header, hex, number, params},
    bids::{BidKey, Served},
    relay::Relay,
};
use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use earnest_http::{ApiError, Media, accept};
use http::{HeaderMap, StatusCode};
use std::sync::Arc;

/// `(slot, parent_hash, pubkey)` as they stand in the path.
pub(crate) type Wanted = (String, String, String);

pub(crate) async fn get(
    State(relay): State<Arc<Relay>>,
    path: Params<Wanted>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let media = accept(&headers, &[Media::Json, Media::Ssz])?;
    let Some(served) = on_offer(&relay, path, &headers).await? else {
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    let body = if media == Media::Ssz { served.ssz.clone() } else { served.json.clone() };
    Ok(([media.header(), fork_header(served.fork)], body).into_response())
}

/// The bid on offer; none if there is none, the time for one is not, or the journal could not take that its payload is
/// given out.
///
/// # Errors
/// 400 for a path that cannot be read, a slot that is past, and a validator that does not propose it.
pub(crate) async fn on_offer(
    relay: &Relay,
    path: Params<Wanted>,
    headers: &HeaderMap,
) -> Result<Option<Arc<Served>>, ApiError> {
    let (slot, parent_hash, pubkey) = params(path)?;
    let key = BidKey {
        slot: number("slot", &slot)?,
        parent_hash: hex("parent_hash", &parent_hash)?,
        proposer: hex("pubkey", &pubkey)?,
    };
    let now_ms = relay.now_ms();
    observe_delay(headers, now_ms);
    if key.slot < relay.current_slot() {
        return Err(ApiError::bad_request(format!("slot {slot} is past")));
    }
    metrics::histogram!("earnest_relay_header_slot_seconds").record(relay.seconds_into(key.slot, now_ms));
    if relay.duties.read().proposes(key.slot, &key.proposer) == Some(false) {
        return Err(ApiError::bad_request(format!("{pubkey} does not propose slot {slot}")));
    }
    // Until a delegated slot is settled it may still be given constraints that a header served now would miss.
    let early = !relay.is_settled(key.slot) && relay.is_delegated(key.slot, &key.proposer);
    if early || now_ms > relay.header_until_ms(key.slot) {
        return Ok(None);
    }
    let served = if relay.ledger.may_promise() { relay.book.give(&key) } else { None };
    metrics::counter!("earnest_relay_headers_total", "served" => if served.is_some() { "yes" } else { "no" })
        .increment(1);
    Ok(served)
}

/// `Date-Milliseconds` says when the request left. Clocks differ and the field may be missing or malformed; it is
/// measured, not judged, and so is `X-Timeout-Ms`: an answer made of ready bytes is never late by our doing.
fn observe_delay(headers: &HeaderMap, now_ms: u64) {
    let sent =
        headers.get("date-milliseconds").and_then(|value| value.to_str().ok()?.trim().parse::<u64>().ok());
    if let Some(delay) =
        sent.and_then(|sent| now_ms.checked_sub(sent)).and_then(|delay| u32::try_from(delay).ok())
    {
        metrics::histogram!("earnest_relay_header_delay_seconds").record(f64::from(delay) / 1000.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn any_time_of_a_client_is_measured_or_passed_over() {
        bolero::check!().with_iterations(1000).with_type::<(Vec<u8>, u64, u64)>().for_each(
            |(bytes, sent, now_ms)| {
                for value in [bytes.clone(), sent.to_string().into_bytes()] {
                    let Ok(value) = HeaderValue::from_bytes(&value) else { continue };
                    let mut headers = HeaderMap::new();
                    headers.insert("date-milliseconds", value.clone());
                    headers.insert("x-timeout-ms", value);
                    observe_delay(&headers, *now_ms);
                }
            },
        );
    }
}
