//! Server-sent events: frames that are encoded once for all who listen, and streams that end with a reason.

use crate::streams::{Kind, Place};
use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE};
use std::{convert::Infallible, sync::Arc, time::Duration};
use tokio::{
    sync::{
        Semaphore,
        broadcast::{
            Receiver,
            error::{RecvError, TryRecvError},
        },
    },
    time::sleep,
};
use tokio_util::sync::CancellationToken;

/// Silence after which a comment shows that the stream lives.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
const COMMENT: Bytes = Bytes::from_static(b":\n\n");
/// Bytes of frames from which no more are put together.
const GATHERED: usize = 8 << 10;

/// An event as it is sent. Neither part has line breaks.
pub(crate) fn frame(name: &str, data: &str) -> Bytes {
    format!("event: {name}\ndata: {data}\n\n").into()
}

/// A stream of `past` frames, then of those that `pick` makes of what is `live`. Its last event, if the relay ends it, is
/// `dropped`: a reader that fell further behind than the channel is long is told `lagged`. Nothing is kept for a reader but
/// what is on its way to it.
pub(crate) fn answer<T: Clone + Send + 'static>(
    place: Place,
    past: Vec<Bytes>,
    live: Receiver<T>,
    shutdown: CancellationToken,
    lagged: &'static str,
    pick: impl Fn(T) -> Option<Bytes> + Send + 'static,
) -> Response {
    let live = follow(Listener { kind: place.kind(), turns: place.turns(), live, shutdown, lagged, pick });
    let frames = stream::iter(past).chain(live).map(move |frame| {
        // Held until the connection is done with.
        let _ = &place;
        Ok::<_, Infallible>(frame)
    });
    // Who was dropped holds no connection.
    let head = [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-cache"), (CONNECTION, "close")];
    (head, Body::from_stream(frames)).into_response()
}

/// One reader of what is live.
struct Listener<T, P> {
    kind: Kind,
    turns: Arc<Semaphore>,
    live: Receiver<T>,
    shutdown: CancellationToken,
    lagged: &'static str,
    pick: P,
}

/// Why the relay ends a stream.
#[derive(Debug, Clone, Copy)]
enum Dropped {
    Slow,
    Stopping,
}

impl<T: Clone, P: Fn(T) -> Option<Bytes>> Listener<T, P> {
    /// What is to be sent next, or why nothing more is.
    async fn next(&mut self) -> Result<Bytes, Dropped> {
        loop {
            let received = tokio::select! {
                biased;
                () = self.shutdown.cancelled() => Err(RecvError::Closed),
                received = self.live.recv() => received,
                () = sleep(KEEP_ALIVE) => return Ok(COMMENT),
            };
            let first = received.map_err(|error| match error {
                RecvError::Lagged(_) => Dropped::Slow,
                RecvError::Closed => Dropped::Stopping,
            })?;
            // All readers are woken at once. Those that go on to write are few at any time, so that what else is to be done,
            // such as a header, comes between them and not behind them all.
            let _turn = Arc::clone(&self.turns).acquire_owned().await;
            let first = (self.pick)(first);
            if let Some(frames) = self.gather(first)? {
                return Ok(frames);
            }
        }
    }

    /// A frame with those that came meanwhile, which are sent as one.
    fn gather(&mut self, first: Option<Bytes>) -> Result<Option<Bytes>, Dropped> {
        let mut frames: Vec<Bytes> = first.into_iter().collect();
        while frames.iter().map(Bytes::len).fold(0, usize::saturating_add) < GATHERED {
            match self.live.try_recv() {
                Ok(told) => frames.extend((self.pick)(told)),
                Err(TryRecvError::Lagged(_)) => return Err(Dropped::Slow),
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        if frames.len() > 1 {
            return Ok(Some(frames.concat().into()));
        }
        Ok(frames.pop())
    }
}

fn follow<T: Clone + Send + 'static, P: Fn(T) -> Option<Bytes> + Send + 'static>(
    listener: Listener<T, P>,
) -> impl Stream<Item = Bytes> + Send {
    stream::unfold(Some(listener), async |listener| {
        let mut listener = listener?;
        match listener.next().await {
            Ok(frames) => Some((frames, Some(listener))),
            Err(Dropped::Slow) => Some((dropped(listener.kind, "slow", listener.lagged), None)),
            Err(Dropped::Stopping) => {
                Some((dropped(listener.kind, "stopping", "the relay is stopping"), None))
            }
        }
    })
}

fn dropped(kind: Kind, name: &'static str, reason: &str) -> Bytes {
    metrics::counter!("earnest_relay_streams_dropped_total", "stream" => kind.name(), "reason" => name)
        .increment(1);
    frame("dropped", reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::broadcast;

    /// Frames of what is even, and the end of the channel.
    fn listen(
        sender: &broadcast::Sender<u32>,
        shutdown: &CancellationToken,
    ) -> std::pin::Pin<Box<impl Stream<Item = Bytes> + use<>>> {
        let turns = Arc::new(Semaphore::new(1));
        let (live, shutdown) = (sender.subscribe(), shutdown.clone());
        Box::pin(follow(Listener { kind: Kind::Events, turns, live, shutdown, lagged: "too slow", pick }))
    }

    fn pick(number: u32) -> Option<Bytes> {
        number.is_multiple_of(2).then(|| frame("number", &number.to_string()))
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_and_comments_in_between() {
        let (sender, shutdown) = (broadcast::Sender::new(4), CancellationToken::new());
        let mut frames = listen(&sender, &shutdown);
        for number in 1..=3 {
            sender.send(number).unwrap();
        }
        assert_eq!(frames.next().await.unwrap(), "event: number\ndata: 2\n\n");
        assert_eq!(frames.next().await.unwrap(), COMMENT, "after ten seconds");
        sender.send(4).unwrap();
        assert_eq!(frames.next().await.unwrap(), "event: number\ndata: 4\n\n");
        sender.send(6).unwrap();
        sender.send(8).unwrap();
        let both = "event: number\ndata: 6\n\nevent: number\ndata: 8\n\n";
        assert_eq!(frames.next().await.unwrap(), both, "as one");
        shutdown.cancel();
        assert_eq!(frames.next().await.unwrap(), "event: dropped\ndata: the relay is stopping\n\n");
        assert_eq!(frames.next().await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn who_falls_behind_is_told_so_and_that_is_the_end() {
        let (sender, shutdown) = (broadcast::Sender::new(4), CancellationToken::new());
        let (mut slow, mut quick) = (listen(&sender, &shutdown), listen(&sender, &shutdown));
        for number in [2, 4, 6, 8, 10] {
            sender.send(number).unwrap();
            assert_eq!(quick.next().await.unwrap(), frame("number", &number.to_string()));
        }
        assert_eq!(slow.next().await.unwrap(), "event: dropped\ndata: too slow\n\n");
        assert_eq!(slow.next().await, None, "the other's end is not its own");
        sender.send(12).unwrap();
        assert_eq!(quick.next().await.unwrap(), "event: number\ndata: 12\n\n");
    }
}
