//! Server-sent events: frames that are encoded once for all who listen, and streams that end with a reason.

use crate::streams::{Kind, Place};
use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use std::{convert::Infallible, time::Duration};
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

/// Silence after which a comment shows that the stream lives.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
const COMMENT: Bytes = Bytes::from_static(b":\n\n");

/// An event as it is sent. Neither part has line breaks.
pub(crate) fn frame(name: &str, data: &str) -> Bytes {
    format!("event: {name}\ndata: {data}\n\n").into()
}

/// A stream of `past` frames, then of those that `pick` makes of what is `live`. Its last event, if the relay ends it, is
/// `dropped`: a reader that fell further behind than the channel is long is told `lagged`. Nothing is kept for a reader but
/// what is on its way to it.
pub(crate) fn answer<T: Clone + Send + 'static>(
    (kind, place): (Kind, Place),
    past: Vec<Bytes>,
    live: Receiver<T>,
    shutdown: CancellationToken,
    lagged: &'static str,
    pick: impl Fn(T) -> Option<Bytes> + Send + 'static,
) -> Response {
    let live = follow(kind, live, shutdown, lagged, pick);
    let frames = stream::iter(past).chain(live).map(move |frame| {
        // Held until the connection is done with.
        let _ = &place;
        Ok::<_, Infallible>(frame)
    });
    let head = [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-cache")];
    (head, Body::from_stream(frames)).into_response()
}

fn follow<T: Clone + Send + 'static>(
    kind: Kind,
    live: Receiver<T>,
    shutdown: CancellationToken,
    lagged: &'static str,
    pick: impl Fn(T) -> Option<Bytes> + Send + 'static,
) -> impl Stream<Item = Bytes> + Send {
    stream::unfold(Some((live, shutdown, pick)), move |state| async move {
        let (mut live, shutdown, pick) = state?;
        loop {
            let received = tokio::select! {
                biased;
                () = shutdown.cancelled() => Err(RecvError::Closed),
                received = live.recv() => received,
                () = sleep(KEEP_ALIVE) => return Some((COMMENT, Some((live, shutdown, pick)))),
            };
            match received {
                Ok(told) => {
                    if let Some(frame) = pick(told) {
                        return Some((frame, Some((live, shutdown, pick))));
                    }
                }
                Err(RecvError::Lagged(_)) => return Some((dropped(kind, "slow", lagged), None)),
                Err(RecvError::Closed) => {
                    return Some((dropped(kind, "stopping", "the relay is stopping"), None));
                }
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
        let pick = |number: u32| number.is_multiple_of(2).then(|| frame("number", &number.to_string()));
        Box::pin(follow(Kind::Events, sender.subscribe(), shutdown.clone(), "too slow", pick))
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
