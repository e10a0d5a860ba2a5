//! Whether the body of a request was read to its end.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};

/// Says of a request's body whether something of it was not read.
#[derive(Clone, Debug)]
pub(crate) struct Rest(Arc<AtomicBool>);

impl Rest {
    /// True until the body has come to its end.
    pub(crate) fn is_unread(&self) -> bool {
        !self.0.load(Ordering::Acquire)
    }
}

/// The body of a request, and where its end is told; `None` where there is no body.
pub(crate) fn watched(body: Incoming) -> (Body, Option<Rest>) {
    if body.is_end_stream() {
        return (Body::new(body), None);
    }
    let ended = Arc::new(AtomicBool::new(false));
    (Body::new(Asked { body, ended: Arc::clone(&ended) }), Some(Rest(ended)))
}

struct Asked {
    body: Incoming,
    ended: Arc<AtomicBool>,
}

impl HttpBody for Asked {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if frame.is_none() || self.body.is_end_stream() {
            self.ended.store(true, Ordering::Release);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
