//! `GET /ordering/v1/rollups/{rollup}/stream`: the signed order as server-sent events.
//!
//! Events `window`, `microblock` and `seal`; an event's id is its position in the journal. `Last-Event-ID` resumes
//! after that event; without it the stream begins with the open window, or with what comes next.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::{Path, State},
    response::sse::{Event, KeepAlive, Sse},
};
use earnest_http::ApiError;
use earnest_protocol::RollupId;
use http::{HeaderMap, StatusCode};
use tokio::sync::{OwnedSemaphorePermit, broadcast::error::RecvError, mpsc};
use tokio_stream::{Stream, wrappers::ReceiverStream};

use super::{Api, ApiState, known_rollup};
use crate::stream::Item;

/// Events on their way to one reader beyond what the socket holds.
const AHEAD: usize = 16;
const KEEP_ALIVE: Duration = Duration::from_secs(10);

type Events = mpsc::Sender<Result<Event, Infallible>>;

pub(super) async fn stream(
    State(Api(state)): State<Api>,
    Path(rollup): Path<String>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    let rollup = known_rollup(&state, &rollup)?;
    let from = match headers.get("last-event-id") {
        None => state.board.open_window(rollup).map_or_else(|| state.feed.signed(), |open| open.position),
        Some(id) => resume_after(id.to_str().ok())?,
    };
    let permit = Arc::clone(&state.streams).try_acquire_owned().map_err(|_| {
        let message = "too many streams are open; try again later";
        ApiError::named(StatusCode::SERVICE_UNAVAILABLE, "too_many_streams", message).retry_after(5)
    })?;
    let (events, receiver) = mpsc::channel(AHEAD);
    tokio::spawn(pump(state, rollup, from, events, permit));
    Ok(Sse::new(ReceiverStream::new(receiver)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

fn resume_after(id: Option<&str>) -> Result<u64, ApiError> {
    id.and_then(|id| id.parse::<u64>().ok()).map(|id| id.saturating_add(1)).ok_or_else(|| {
        let message = "Last-Event-ID is the id of an event of this stream, a decimal number";
        ApiError::named(StatusCode::BAD_REQUEST, "bad_event_id", message)
    })
}

/// Sends what has been, then what comes. A reader that falls behind the live events is served from the journal
/// again; nothing is kept for it.
async fn pump(
    state: Arc<ApiState>,
    rollup: RollupId,
    mut next: u64,
    events: Events,
    _permit: OwnedSemaphorePermit,
) {
    loop {
        let mut live = state.feed.subscribe();
        next = match catch_up(&state, rollup, next, &events).await {
            Some(next) => next,
            None => return,
        };
        loop {
            let item = tokio::select! {
                () = state.shutdown.cancelled() => return,
                () = events.closed() => return,
                item = live.recv() => item,
            };
            match item {
                Ok(item) if item.position < next => {}
                Ok(item) => {
                    next = item.position.saturating_add(1);
                    if item.rollup == rollup && events.send(Ok(event(&item))).await.is_err() {
                        return;
                    }
                }
                Err(RecvError::Lagged(missed)) => {
                    tracing::debug!(%rollup, missed, "a reader fell behind; back to the journal");
                    break;
                }
                Err(RecvError::Closed) => return,
            }
        }
    }
}

/// Sends what the journal has from `next` on. `None` if the reader is gone or the journal cannot be read.
async fn catch_up(state: &Arc<ApiState>, rollup: RollupId, mut next: u64, events: &Events) -> Option<u64> {
    loop {
        let from = next;
        let reader = Arc::clone(state);
        let past = tokio::task::spawn_blocking(move || reader.feed.past(from)).await.ok()?;
        let (items, after) = match past {
            Ok(past) => past,
            Err(error) => {
                tracing::error!(%rollup, from, error, "the stream cannot be read from the journal");
                return None;
            }
        };
        if after == from {
            return Some(next);
        }
        next = after;
        for item in items.iter().filter(|item| item.rollup == rollup) {
            tokio::select! {
                () = state.shutdown.cancelled() => return None,
                sent = events.send(Ok(event(item))) => sent.ok()?,
            }
        }
    }
}

fn event(item: &Item) -> Event {
    match item.render() {
        Ok(rendered) => {
            Event::default().id(item.position.to_string()).event(rendered.name).data(&*rendered.data)
        }
        Err(error) => Event::default().comment(error.replace(['\r', '\n'], " ")),
    }
}
