//! `GET /ordering/v1/rollups/{rollup}/stream`: the signed order as server-sent events.
//!
//! Events `window`, `microblock` and `seal`; an event's id is its position in the journal. `Last-Event-ID` resumes
//! after that event; without it the stream begins with the open window, or with what comes next. The last event of a
//! stream that the gateway ends is `dropped`, and its data says why.

use std::{
    convert::Infallible,
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::{
    Extension,
    extract::{Path, State},
    response::sse::{Event, KeepAlive, Sse},
};
use earnest_http::{ApiError, PeerAddr};
use earnest_protocol::RollupId;
use futures::{StreamExt, stream::poll_fn};
use http::{HeaderMap, StatusCode};
use tokio::sync::{OwnedSemaphorePermit, broadcast::error::RecvError, mpsc};
use tokio_stream::Stream;

use super::{Api, ApiState, known_rollup, openapi::Problem};
use crate::stream::Item;

/// Events on their way to one reader beyond what the socket holds.
const AHEAD: usize = 16;
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// A reader that takes no event for so long is dropped.
const PATIENCE: Duration = Duration::from_secs(10);

type Items = mpsc::Sender<Arc<Item>>;

/// Why a stream ended; the text is for the reader. `None` if the reader left.
type Ended = Option<&'static str>;
const STOPPING: Ended = Some("the gateway is stopping");
const SLOW: Ended = Some("no event was taken for 10 s: resume with Last-Event-ID");
const UNREADABLE: Ended = Some("the journal cannot be read");

#[utoipa::path(
    get,
    path = "/ordering/v1/rollups/{rollup}/stream",
    tag = "ordering",
    params(
        ("rollup" = String, Path, description = "Chain id of the rollup, decimal"),
        ("last-event-id" = Option<u64>, Header, description = "Resumes after this event"),
    ),
    responses(
        (
            status = 200,
            description = "Events `window`, `microblock`, `seal`, and `dropped` as the last one",
            content_type = "text/event-stream",
        ),
        (status = 400, description = "`bad_rollup`, `bad_event_id`", body = Problem),
        (status = 404, description = "`unknown_rollup`", body = Problem),
        (status = 429, description = "`too_many_streams` of this client, `busy`", body = Problem),
        (status = 503, description = "`too_many_streams`", body = Problem),
    ),
)]
pub(super) async fn stream(
    State(Api(state)): State<Api>,
    Path(rollup): Path<String>,
    peer: Option<Extension<PeerAddr>>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    let rollup = known_rollup(&state, &rollup)?;
    let from = match headers.get("last-event-id") {
        None => state.board.open_window(rollup).map_or_else(|| state.feed.signed(), |open| open.position),
        Some(id) => resume_after(id.to_str().ok(), state.feed.signed())?,
    };
    let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |Extension(PeerAddr(peer))| peer.ip());
    let client = state.client_streams.open(peer, &headers)?;
    let permit = Arc::clone(&state.streams).try_acquire_owned().map_err(|_| {
        let message = "too many streams are open; try again later";
        ApiError::named(StatusCode::SERVICE_UNAVAILABLE, "too_many_streams", message).retry_after(5)
    })?;
    let (items, mut received) = mpsc::channel::<Arc<Item>>(AHEAD);
    let dropped = Arc::new(OnceLock::new());
    tokio::spawn(pump(state, rollup, from, items, Arc::clone(&dropped), permit));
    let events = poll_fn(move |context| {
        // Counted for the client until the connection is done with.
        let _ = &client;
        received.poll_recv(context)
    })
    .map(|item| event(&item));
    let last = futures::stream::once(async move {
        dropped.get().map(|reason: &&'static str| Event::default().event("dropped").data(*reason))
    });
    let events = events.chain(last.filter_map(std::future::ready)).map(Ok);
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

fn resume_after(id: Option<&str>, signed: u64) -> Result<u64, ApiError> {
    let bad = |message| ApiError::named(StatusCode::BAD_REQUEST, "bad_event_id", message);
    let id = id
        .and_then(|id| id.parse::<u64>().ok())
        .ok_or_else(|| bad("Last-Event-ID is the id of an event of this stream, a decimal number"))?;
    if id >= signed {
        return Err(bad("Last-Event-ID is of no event that this gateway has sent"));
    }
    Ok(id.saturating_add(1))
}

async fn pump(
    state: Arc<ApiState>,
    rollup: RollupId,
    from: u64,
    items: Items,
    dropped: Arc<OnceLock<&'static str>>,
    _permit: OwnedSemaphorePermit,
) {
    let ended = tokio::select! {
        biased;
        () = state.shutdown.cancelled() => STOPPING,
        () = items.closed() => None,
        ended = follow(&state, rollup, from, &items) => ended,
    };
    if let Some(reason) = ended {
        tracing::debug!(%rollup, reason, "a stream was ended");
        let _ = dropped.set(reason);
    }
}

/// Sends what has been, then what comes. A reader that falls behind the live events is served from the journal
/// again; nothing is kept for it.
async fn follow(state: &Arc<ApiState>, rollup: RollupId, mut next: u64, items: &Items) -> Ended {
    loop {
        let mut live = state.feed.subscribe();
        next = match catch_up(state, rollup, next, items).await {
            Ok(next) => next,
            Err(ended) => return ended,
        };
        loop {
            match live.recv().await {
                Ok(item) if item.position < next => {}
                Ok(item) => {
                    next = item.position.saturating_add(1);
                    if item.rollup == rollup
                        && let Err(ended) = send(items, item, PATIENCE).await
                    {
                        return ended;
                    }
                }
                Err(RecvError::Lagged(missed)) => {
                    tracing::debug!(%rollup, missed, "a reader fell behind; back to the journal");
                    break;
                }
                Err(RecvError::Closed) => return STOPPING,
            }
        }
    }
}

/// Sends what the journal has from `next` on.
async fn catch_up(
    state: &Arc<ApiState>,
    rollup: RollupId,
    mut next: u64,
    items: &Items,
) -> Result<u64, Ended> {
    loop {
        let from = next;
        let reader = Arc::clone(state);
        let turn = Arc::clone(&state.catch_ups).acquire_owned().await.map_err(|_| STOPPING)?;
        let past = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            reader.feed.past(rollup, from)
        });
        let (past, after) = match past.await {
            Ok(Ok(past)) => past,
            Ok(Err(error)) => {
                tracing::error!(%rollup, from, error, "the stream cannot be read from the journal");
                return Err(UNREADABLE);
            }
            Err(_) => return Err(UNREADABLE),
        };
        if after == from {
            return Ok(next);
        }
        next = after;
        for item in past {
            send(items, item, PATIENCE).await?;
        }
    }
}

async fn send<T>(items: &mpsc::Sender<T>, item: T, patience: Duration) -> Result<(), Ended> {
    items.send_timeout(item, patience).await.map_err(|error| match error {
        mpsc::error::SendTimeoutError::Timeout(_) => SLOW,
        mpsc::error::SendTimeoutError::Closed(_) => None,
    })
}

fn event(item: &Item) -> Event {
    match item.render() {
        Ok(rendered) => {
            Event::default().id(item.position.to_string()).event(rendered.name).data(&*rendered.data)
        }
        Err(error) => Event::default().comment(error.replace(['\r', '\n'], " ")),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::collections::BTreeMap;

    use alloy_primitives::{Address, Bytes};
    use axum::response::IntoResponse;
    use earnest_http::{ClientStreams, Code, LimitConfig};
    use earnest_journal::{Batch, Journal, Log, Options};
    use earnest_protocol::{
        Slot,
        objects::Policy,
        ordering::{Limits, WindowConfig, WindowEngine},
        signing::{EcdsaSecret, Network},
        tx::{TxRules, validate},
    };
    use tokio::sync::Semaphore;
    use tokio_util::sync::CancellationToken;

    use crate::{
        board::Board,
        queue::Queue,
        records::OrderedBody,
        sequencer::Committer,
        stream::{CATCH_UPS, Feed},
    };

    const ROLLUP: RollupId = RollupId(7);

    pub(in crate::api) fn microblocks(count: u8) -> Vec<OrderedBody> {
        let rules = TxRules { chain_id: 7, max_bytes: 100, max_gas: 1, opaque: true };
        let config = WindowConfig {
            rollup_id: ROLLUP,
            slot: Slot(3),
            forced_inclusion_head: 0,
            policy: Policy::Fcfs,
            limits: Limits::default(),
        };
        let mut engine = WindowEngine::open(config, Arc::default());
        let one = |byte| {
            engine.push(Arc::new(validate(Bytes::from(vec![byte; 9]), &rules).unwrap())).unwrap();
            let body = OrderedBody::of(&engine.draft(u64::from(byte) + 1).unwrap(), Address::ZERO);
            engine.committed().unwrap();
            body
        };
        (0..count).map(one).collect()
    }

    pub(in crate::api) fn state(journal: &Journal, streams_per_client: usize) -> Arc<ApiState> {
        let network = Network { genesis_fork_version: [0; 4], chain_id: 1 };
        let committer = Committer { secret: EcdsaSecret::random(), network, slasher: Address::ZERO };
        Arc::new(ApiState {
            board: Arc::new(Board::new([ROLLUP, RollupId(8)])),
            queue: Queue::new(std::sync::mpsc::sync_channel(1).0),
            rules: BTreeMap::new(),
            states: BTreeMap::new(),
            policies: BTreeMap::new(),
            committer: committer.secret.address(),
            feed: Feed::new(journal.clone(), Arc::new(committer)),
            relay_address: Address::ZERO,
            network,
            streams: Arc::new(Semaphore::new(10)),
            client_streams: ClientStreams::new(streams_per_client, LimitConfig::default()),
            catch_ups: Arc::new(Semaphore::new(CATCH_UPS)),
            shutdown: CancellationToken::new(),
        })
    }

    pub(in crate::api) fn journal_of(folder: &std::path::Path, bodies: &[OrderedBody]) -> Journal {
        let journal = Journal::open(folder, Options { free_space_floor: 0, ..Options::default() }).unwrap();
        let records = bodies.iter().map(OrderedBody::to_record).collect();
        journal.append(0, Batch { records, claims: vec![] }).unwrap();
        journal
    }

    async fn open(state: &Arc<ApiState>, after: &str) -> Result<axum::body::BodyDataStream, ApiError> {
        let mut headers = HeaderMap::new();
        headers.insert("last-event-id", after.parse().unwrap());
        let answer = stream(State(Api(Arc::clone(state))), Path(ROLLUP.to_string()), None, headers).await?;
        Ok(answer.into_response().into_body().into_data_stream())
    }

    async fn next(body: &mut axum::body::BodyDataStream) -> String {
        String::from_utf8(body.next().await.unwrap().unwrap().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn what_has_been_then_why_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let state = state(&journal_of(folder.path(), &microblocks(100)), 2);
        let mut body = open(&state, "9").await.unwrap();
        for id in 10..100 {
            let event = next(&mut body).await;
            assert!(
                event.contains(&format!("id: {id}\n")) && event.contains("event: microblock\n"),
                "{event}"
            );
        }
        state.shutdown.cancel();
        assert_eq!(next(&mut body).await, "event: dropped\ndata: the gateway is stopping\n\n");
        assert!(body.next().await.is_none());
    }

    #[tokio::test]
    async fn streams_are_counted_and_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let state = state(&journal_of(folder.path(), &microblocks(3)), 1);
        let error = open(&state, "3").await.unwrap_err();
        assert_eq!((error.status.as_u16(), error.code), (400, Code::Name("bad_event_id")));
        assert_eq!(open(&state, "x").await.unwrap_err().code, Code::Name("bad_event_id"));
        let first = open(&state, "2").await.unwrap();
        assert_eq!(open(&state, "2").await.unwrap_err().code, Code::Name("too_many_streams"));
        drop(first);
        assert!(open(&state, "2").await.is_ok());
    }

    #[tokio::test]
    async fn a_reader_that_takes_nothing_is_dropped() {
        let (items, mut received) = mpsc::channel(1);
        let soon = Duration::from_millis(20);
        assert_eq!(send(&items, 1, PATIENCE).await, Ok(()));
        assert_eq!(send(&items, 2, soon).await, Err(SLOW));
        assert_eq!(received.recv().await, Some(1));
        drop(received);
        assert_eq!(send(&items, 3, PATIENCE).await, Err(None));
    }
}
