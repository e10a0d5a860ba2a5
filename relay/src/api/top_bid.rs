//! `GET /relay/v1/builder/top_bid` (and `/ws/v1/top_bid`): a WebSocket that tells builders which bid to beat.
//!
//! Binary messages, each one [`TopBidUpdate`](earnest_builder_types::TopBidUpdate) in SSZ: first the bids that lead now,
//! then one whenever another bid leads the auction of a slot, parent and proposer, also if it is worth less than the one
//! before. `timestamp` is when it came to lead; of those that lead already, when the stream was opened. If none leads any
//! more, value, block hash and builder are zero.
//!
//! The relay pings; a reader that says nothing for too long, or falls too far behind, is dropped with a reason.

use crate::{
    api::openapi::schemas,
    relay::Relay,
    streams::{Kind, Place},
};
use axum::{
    Error, Extension,
    extract::{
        State, WebSocketUpgrade,
        ws::{CloseFrame, Message, Utf8Bytes, close_code, rejection::WebSocketUpgradeRejection},
    },
    response::Response,
};
use bytes::Bytes;
use earnest_http::{ApiError, PeerAddr};
use futures::{Sink, SinkExt, Stream, StreamExt};
use http::HeaderMap;
use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{broadcast, broadcast::error::RecvError},
    time::{Instant, MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;

/// Bytes of a message from a reader. It has nothing to say but pongs.
const MESSAGE_BYTES: usize = 1 << 10;
/// Bytes on their way to one reader beyond what the socket holds.
const WRITE_BYTES: usize = 16 << 10;
const READ_BYTES: usize = 4 << 10;
/// Messages of a reader between two pings.
const CHATTER: u32 = 64;
/// How long a reader has to answer a close.
const PARTING: Duration = Duration::from_secs(1);

/// Why a reader is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dropped {
    Stopping,
    Slow,
    Silent,
    Chatty,
}

impl Dropped {
    const fn frame(self) -> (u16, &'static str) {
        match self {
            Self::Stopping => (close_code::AWAY, "the relay is stopping"),
            Self::Slow => (close_code::POLICY, "too slow: updates were not taken; connect again"),
            Self::Silent => (close_code::POLICY, "no pong came; connect again and answer pings"),
            Self::Chatty => (close_code::POLICY, "too many messages: this stream takes none but pongs"),
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Stopping => "stopping",
            Self::Slow => "slow",
            Self::Silent => "silent",
            Self::Chatty => "chatty",
        }
    }
}

#[utoipa::path(
    get,
    path = "/relay/v1/builder/top_bid",
    tag = "builders",
    responses(
        (
            status = 101,
            description = "A WebSocket, also at `/ws/v1/top_bid`. Binary messages of 188 bytes, each the SSZ of `timestamp: \
                           uint64` (Unix milliseconds), `slot: uint64`, `block_number: uint64`, `block_hash: Bytes32`, \
                           `parent_hash: Bytes32`, `builder_pubkey: Bytes48`, `fee_recipient: Bytes20`, `value: uint256`: \
                           first the bids that lead now, then one whenever another bid leads the auction of a slot, parent \
                           and proposer, a fall included. If none leads any more, value, block hash and builder are zero. \
                           Pings must be answered. Closed with 1001 when the relay stops, with 1008 and a reason when the \
                           reader is too slow, silent or too chatty.",
        ),
        (status = 400, description = "No WebSocket handshake", body = schemas::Problem),
        (status = 429, description = "`too_many_streams` of this client, `busy`", body = schemas::Problem),
        (status = 503, description = "`too_many_streams`", body = schemas::Problem),
    ),
)]
pub(crate) async fn get(
    State(relay): State<Arc<Relay>>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    peer: Option<Extension<PeerAddr>>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let upgrade = upgrade.map_err(|rejection| {
        let message = format!("{}: this is a WebSocket", rejection.body_text());
        ApiError::status(rejection.status(), message)
    })?;
    let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |Extension(PeerAddr(peer))| peer.ip());
    let place = relay.streams.open(Kind::TopBids, peer, &headers)?;
    let upgrade = upgrade
        .max_message_size(MESSAGE_BYTES)
        .max_frame_size(MESSAGE_BYTES)
        .read_buffer_size(READ_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(WRITE_BYTES);
    Ok(upgrade.on_upgrade(async move |socket| {
        let tasks = relay.tasks.clone();
        // Shutdown waits until the reader was told.
        let _ = tasks.detach(serve(relay, socket, place)).await;
    }))
}

async fn serve<S>(relay: Arc<Relay>, mut socket: S, place: Place)
where
    S: Stream<Item = Result<Message, Error>> + Sink<Message, Error = Error> + Unpin,
{
    let (leading, live) = relay.book.top_bids(relay.current_slot());
    let idle = Duration::from_millis(relay.config.bounds.stream_idle_ms);
    if let Some(dropped) = pump(&mut socket, leading, live, &relay.tasks.token(), idle).await {
        let (code, reason) = dropped.frame();
        tracing::debug!(reason, "dropped a reader of top bids");
        metrics::counter!("earnest_relay_streams_dropped_total", "stream" => "top_bid", "reason" => dropped.name())
            .increment(1);
        part(&mut socket, code, reason).await;
    }
    drop(place);
}

/// Why a stream ended; none if the reader left.
type Ended = Option<Dropped>;

/// Sends `leading`, then what is `live`.
async fn pump<S>(
    socket: &mut S,
    leading: Vec<Bytes>,
    mut live: broadcast::Receiver<Bytes>,
    shutdown: &CancellationToken,
    idle: Duration,
) -> Ended
where
    S: Stream<Item = Result<Message, Error>> + Sink<Message, Error = Error> + Unpin,
{
    for update in leading {
        if let Err(ended) = send(socket, Message::Binary(update), shutdown, idle).await {
            return ended;
        }
    }
    let pause = idle.checked_div(3).unwrap_or(idle).max(Duration::from_millis(1));
    let mut pings = interval(pause);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut heard, mut said) = (Instant::now(), 0_u32);
    loop {
        let message = tokio::select! {
            biased;
            () = shutdown.cancelled() => return Some(Dropped::Stopping),
            message = socket.next() => match message {
                None | Some(Err(_) | Ok(Message::Close(_))) => return None,
                Some(Ok(_)) if said >= CHATTER => return Some(Dropped::Chatty),
                Some(Ok(_)) => {
                    said = said.saturating_add(1);
                    heard = Instant::now();
                    continue;
                }
            },
            _ = pings.tick() => {
                if heard.elapsed() >= idle {
                    return Some(Dropped::Silent);
                }
                said = 0;
                Message::Ping(Bytes::new())
            }
            update = live.recv() => match update {
                Ok(update) => Message::Binary(update),
                Err(RecvError::Lagged(_)) => return Some(Dropped::Slow),
                Err(RecvError::Closed) => return Some(Dropped::Stopping),
            },
        };
        if let Err(ended) = send(socket, message, shutdown, idle).await {
            return ended;
        }
    }
}

async fn send<S: Sink<Message, Error = Error> + Unpin>(
    socket: &mut S,
    message: Message,
    shutdown: &CancellationToken,
    patience: Duration,
) -> Result<(), Ended> {
    tokio::select! {
        biased;
        sent = timeout(patience, socket.send(message)) => match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(None),
            Err(_) => Err(Some(Dropped::Slow)),
        },
        () = shutdown.cancelled() => Err(Some(Dropped::Stopping)),
    }
}

/// Says why, and waits a moment for the reader to say goodbye, so that it gets to read it.
async fn part<S>(socket: &mut S, code: u16, reason: &'static str)
where
    S: Stream<Item = Result<Message, Error>> + Sink<Message, Error = Error> + Unpin,
{
    let close = Message::Close(Some(CloseFrame { code, reason: Utf8Bytes::from_static(reason) }));
    let parting = async {
        if socket.send(close).await.is_ok() {
            while let Some(Ok(_)) = socket.next().await {}
        }
    };
    let _ = timeout(PARTING, parting).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::channel::mpsc;
    use std::{
        pin::Pin,
        task::{Context, Poll},
    };

    const IDLE: Duration = Duration::from_secs(30);

    /// A socket whose reader is the test.
    struct Socket {
        sent: mpsc::Sender<Message>,
        said: mpsc::UnboundedReceiver<Message>,
    }

    impl Stream for Socket {
        type Item = Result<Message, Error>;

        fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            self.said.poll_next_unpin(cx).map(|message| message.map(Ok))
        }
    }

    impl Sink<Message> for Socket {
        type Error = Error;

        fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
            self.sent.poll_ready(cx).map_err(Error::new)
        }

        fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), Error> {
            self.sent.start_send(message).map_err(Error::new)
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
            self.sent.poll_flush_unpin(cx).map_err(Error::new)
        }

        fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
            self.sent.poll_close_unpin(cx).map_err(Error::new)
        }
    }

    struct Reader {
        got: mpsc::Receiver<Message>,
        say: mpsc::UnboundedSender<Message>,
        updates: broadcast::Sender<Bytes>,
        shutdown: CancellationToken,
        ended: tokio::task::JoinHandle<Ended>,
    }

    impl Reader {
        fn open(leading: Vec<Bytes>) -> Self {
            let (sent, got) = mpsc::channel(0);
            let (say, said) = mpsc::unbounded();
            let (updates, live) = broadcast::channel(4);
            let shutdown = CancellationToken::new();
            let token = shutdown.clone();
            let ended = tokio::spawn(async move {
                let mut socket = Socket { sent, said };
                pump(&mut socket, leading, live, &token, IDLE).await
            });
            Self { got, say, updates, shutdown, ended }
        }

        /// The next update; pings are answered.
        async fn update(&mut self) -> Bytes {
            loop {
                match self.got.next().await.unwrap() {
                    Message::Binary(update) => return update,
                    Message::Ping(_) => self.say.unbounded_send(Message::Pong(Bytes::new())).unwrap(),
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_leads_then_what_comes() {
        let mut reader = Reader::open(vec![Bytes::from_static(b"a"), Bytes::from_static(b"b")]);
        assert_eq!(reader.update().await, "a");
        assert_eq!(reader.update().await, "b");
        for _ in 0..20 {
            reader.updates.send(Bytes::from_static(b"c")).unwrap();
            assert_eq!(reader.update().await, "c");
            tokio::time::sleep(IDLE / 4).await;
        }
        reader.say.unbounded_send(Message::Close(None)).unwrap();
        drop(reader.got);
        assert_eq!(reader.ended.await.unwrap(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_too_slow() {
        let reader = Reader::open(vec![Bytes::from_static(b"a"); 4]);
        assert_eq!(reader.ended.await.unwrap(), Some(Dropped::Slow));
    }

    #[tokio::test(start_paused = true)]
    async fn who_falls_behind_is_too_slow() {
        let mut reader = Reader::open(vec![Bytes::from_static(b"a"); 4]);
        assert_eq!(reader.update().await, "a");
        for _ in 0..5 {
            reader.updates.send(Bytes::from_static(b"b")).unwrap();
        }
        while let Some(message) = reader.got.next().await {
            if matches!(message, Message::Ping(_)) {
                reader.say.unbounded_send(Message::Pong(Bytes::new())).unwrap();
            }
        }
        assert_eq!(reader.ended.await.unwrap(), Some(Dropped::Slow));
    }

    #[tokio::test(start_paused = true)]
    async fn who_answers_no_ping_is_dropped() {
        let mut reader = Reader::open(vec![]);
        let mut pings = 0;
        while let Some(message) = reader.got.next().await {
            assert!(matches!(message, Message::Ping(_)), "{message:?}");
            pings += 1;
        }
        assert_eq!((reader.ended.await.unwrap(), pings), (Some(Dropped::Silent), 3));
    }

    #[tokio::test(start_paused = true)]
    async fn who_talks_too_much_is_dropped() {
        let mut reader = Reader::open(vec![]);
        assert!(matches!(reader.got.next().await, Some(Message::Ping(_))));
        for _ in 0..=CHATTER {
            reader.say.unbounded_send(Message::text("hello")).unwrap();
        }
        assert_eq!(reader.ended.await.unwrap(), Some(Dropped::Chatty));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_does_not_wait_for_a_reader() {
        let reader = Reader::open(vec![Bytes::from_static(b"a"); 4]);
        reader.shutdown.cancel();
        assert_eq!(reader.ended.await.unwrap(), Some(Dropped::Stopping));
    }
}
