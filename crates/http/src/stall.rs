//! A connection that ends when its client stalls: in the middle of a head, or by not reading answers.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// What a connection is at: odd while a request is served, even between requests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Turn(Arc<AtomicU64>);

impl Turn {
    /// A request begins; it ends when the guard is dropped.
    pub(crate) fn begin(&self) -> Serving {
        self.0.fetch_add(1, Ordering::AcqRel);
        Serving(Some(self.clone()))
    }

    fn now(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// A request that is being served.
#[derive(Debug)]
pub(crate) struct Serving(Option<Turn>);

impl Serving {
    /// The connection was upgraded: no head will follow on it.
    pub(crate) fn forever(mut self) {
        self.0 = None;
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if let Some(turn) = &self.0 {
            turn.0.fetch_add(1, Ordering::AcqRel);
        }
    }
}

/// The body of an answer, whose end ends the request.
pub(crate) struct Answer {
    body: Body,
    _serving: Option<Serving>,
}

impl Answer {
    pub(crate) fn new(body: Body, serving: Option<Serving>) -> Self {
        Self { body, _serving: serving }
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream under [`Turn`]'s eye. Reads fail when a head takes longer than `head_time` from its first byte
/// (the first head: from the connection), writes when none of them makes progress for `write_time`.
pub(crate) struct Watched<S> {
    stream: S,
    turn: Turn,
    head_time: Duration,
    write_time: Duration,
    head: Option<(u64, Pin<Box<Sleep>>)>,
    write: Option<Pin<Box<Sleep>>>,
}

impl<S> Watched<S> {
    pub(crate) fn new(stream: S, turn: Turn, head_time: Duration, write_time: Duration) -> Self {
        let head = Some((turn.now(), Box::pin(sleep(head_time))));
        Self { stream, turn, head_time, write_time, head, write: None }
    }

    fn judge_write<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.write = None;
            return polled;
        }
        let write_time = self.write_time;
        let timer = self.write.get_or_insert_with(|| Box::pin(sleep(write_time)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read its answers")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(cx, buf);
        let turn = this.turn.now();
        if turn & 1 == 1 {
            this.head = None;
            return polled;
        }
        this.head.take_if(|(of, _)| *of != turn);
        if buf.filled().len() > before && this.head.is_none() {
            this.head = Some((turn, Box::pin(sleep(this.head_time))));
        }
        if let Some((_, timer)) = &mut this.head
            && timer.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the head took too long")));
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, data);
        self.judge_write(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, data);
        self.judge_write(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    const HEAD: Duration = Duration::from_secs(15);
    const WRITE: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_stalls_is_cut_and_a_slow_one_is_not() {
        let (near, mut far) = duplex(64);
        let mut watched = Watched::new(near, Turn::default(), HEAD, WRITE);
        let slow = tokio::spawn(async move {
            let mut chunk = [0; 64];
            for _ in 0..10 {
                tokio::time::sleep(WRITE - Duration::from_secs(1)).await;
                far.read_exact(&mut chunk).await.unwrap();
            }
            far
        });
        watched.write_all(&[0; 64 * 11]).await.unwrap();
        let _far = slow.await.unwrap();
        let error = watched.write_all(&[0; 64]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_has_its_time_from_its_first_byte() {
        let (near, mut far) = duplex(64);
        let turn = Turn::default();
        let mut watched = Watched::new(near, turn.clone(), HEAD, WRITE);
        far.write_all(b"a").await.unwrap();
        assert_eq!(watched.read_u8().await.unwrap(), b'a');
        let serving = turn.begin();
        let served = tokio::time::timeout(HEAD * 9, watched.read_u8()).await;
        assert!(served.is_err(), "no head is due while a request is served");
        drop(serving);
        let idle = tokio::time::timeout(HEAD * 9, watched.read_u8()).await;
        assert!(idle.is_err(), "no head is due while the connection idles");
        far.write_all(b"b").await.unwrap();
        assert_eq!(watched.read_u8().await.unwrap(), b'b');
        let error = watched.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
