//! Bodies read whole, bounded in size before and after decompression, in time, and all together.

use crate::error::ApiError;
use axum::body::Body;
use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes that a body's buffer begins with, at most, on the word of its `Content-Length`.
const MOST_STATED: usize = 4 << 20;
/// Bytes that it grows by. It does not grow by doubling: that would leave holes of every size in the memory of a server
/// that holds many bodies.
const PIECE: usize = 256 << 10;

/// What a body may cost.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimits {
    /// Bytes on the wire, and again after decompression.
    pub max_bytes: usize,
    /// Time from the head of the request to the last byte of its body.
    pub max_time: Duration,
}

impl BodyLimits {
    /// Limits of a size, with ten seconds.
    pub const fn of(max_bytes: usize) -> Self {
        Self { max_bytes, max_time: Duration::from_secs(10) }
    }
}

/// Room for the bodies that a server holds at once. Clones share it.
#[derive(Clone, Debug)]
pub struct BodyRoom(Arc<Semaphore>);

/// What one body takes of a [`BodyRoom`], until it is dropped: hold it as long as what was read of the body is held.
#[derive(Debug)]
pub struct RoomTaken(OwnedSemaphorePermit);

impl BodyRoom {
    /// Room for so many bytes.
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes.min(Semaphore::MAX_PERMITS))))
    }

    fn take(&self, bytes: usize) -> Result<RoomTaken, io::Error> {
        let bytes = u32::try_from(bytes).map_err(|_| io::ErrorKind::QuotaExceeded)?;
        let taken = Arc::clone(&self.0).try_acquire_many_owned(bytes);
        taken.map(RoomTaken).map_err(|_| io::ErrorKind::QuotaExceeded.into())
    }
}

/// Why a body was not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// 413: larger than the limit, as sent or decompressed.
    #[error("body is larger than {0} bytes")]
    TooLarge(usize),
    /// 408: not all of it came in time.
    #[error("body did not arrive within {0:?}")]
    TooSlow(Duration),
    /// 415: a content coding other than gzip.
    #[error("unsupported content encoding: send gzip or none")]
    Encoding,
    /// 400: not the gzip that it says it is.
    #[error("body is not valid gzip")]
    Gzip,
    /// 400: the connection ended or broke the framing.
    #[error("body ended early")]
    Broken,
    /// 503: the bodies of others leave no room for it.
    #[error("too many bodies are held at once: try again")]
    NoRoom,
}

impl From<BodyError> for ApiError {
    fn from(error: BodyError) -> Self {
        let status = match error {
            BodyError::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            BodyError::TooSlow(_) => StatusCode::REQUEST_TIMEOUT,
            BodyError::Encoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            BodyError::Gzip | BodyError::Broken => StatusCode::BAD_REQUEST,
            BodyError::NoRoom => StatusCode::SERVICE_UNAVAILABLE,
        };
        let answer = Self::status(status, error.to_string());
        if error == BodyError::NoRoom { answer.retry_after(1) } else { answer }
    }
}

/// Reads the whole body of a request, decompressed if its `Content-Encoding` says gzip.
///
/// Decompression stops at the limit, so a small body that unfolds into a large one costs no more
/// than an honest one. It is not done on the threads that serve.
///
/// # Errors
/// [`BodyError`], but never [`BodyError::NoRoom`].
pub async fn read_body(headers: &HeaderMap, body: Body, limits: BodyLimits) -> Result<Bytes, BodyError> {
    Ok(read(headers, body, limits, None).await?.whole().0)
}

/// The same, for as long as there is room for the body beside those of others.
///
/// # Errors
/// [`BodyError`].
pub async fn read_body_in(
    room: &BodyRoom,
    headers: &HeaderMap,
    body: Body,
    limits: BodyLimits,
) -> Result<(Bytes, Option<RoomTaken>), BodyError> {
    Ok(read(headers, body, limits, Some(room.clone())).await?.whole())
}

async fn read(
    headers: &HeaderMap,
    body: Body,
    limits: BodyLimits,
    room: Option<BodyRoom>,
) -> Result<Bounded, BodyError> {
    let BodyLimits { max_bytes, max_time } = limits;
    let gzip = is_gzip(headers)?;
    let stated =
        headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if stated.is_some_and(|length| length > max_bytes as u64) {
        return Err(BodyError::TooLarge(max_bytes));
    }
    let begin = stated.and_then(|length| usize::try_from(length).ok()).unwrap_or(0).min(MOST_STATED);
    let wire = tokio::time::timeout(max_time, collect(body, Bounded::new(max_bytes, begin, room)))
        .await
        .map_err(|_| BodyError::TooSlow(max_time))??;
    if !gzip {
        return Ok(wire);
    }
    tokio::task::spawn_blocking(move || inflate(&wire)).await.map_err(|_| BodyError::Broken)?
}

fn is_gzip(headers: &HeaderMap) -> Result<bool, BodyError> {
    let mut gzip = false;
    for value in headers.get_all(header::CONTENT_ENCODING) {
        let text = value.to_str().map_err(|_| BodyError::Encoding)?;
        for coding in text.split(',').map(str::trim).filter(|coding| !coding.is_empty()) {
            if coding.eq_ignore_ascii_case("gzip") || coding.eq_ignore_ascii_case("x-gzip") {
                if gzip {
                    return Err(BodyError::Encoding);
                }
                gzip = true;
            } else if !coding.eq_ignore_ascii_case("identity") {
                return Err(BodyError::Encoding);
            }
        }
    }
    Ok(gzip)
}

async fn collect(mut body: Body, mut wire: Bounded) -> Result<Bounded, BodyError> {
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else { continue };
        wire.write_all(&data).map_err(|error| wire.refused(&error).unwrap_or(BodyError::Broken))?;
    }
    Ok(wire)
}

fn inflate(wire: &Bounded) -> Result<Bounded, BodyError> {
    let mut decoder = MultiGzDecoder::new(Bounded::new(wire.max_bytes, 0, wire.room.clone()));
    let mut inflate = || {
        for piece in wire.full.iter().chain([&wire.last]) {
            decoder.write_all(piece)?;
        }
        decoder.try_finish()
    };
    match inflate() {
        Ok(()) => decoder.finish().map_err(|_| BodyError::Gzip),
        Err(error) => Err(wire.refused(&error).unwrap_or(BodyError::Gzip)),
    }
}

/// A buffer that refuses to grow past its limit, and past the room there is.
#[derive(Debug)]
struct Bounded {
    full: Vec<Vec<u8>>,
    last: Vec<u8>,
    bytes: usize,
    max_bytes: usize,
    room: Option<BodyRoom>,
    taken: Option<RoomTaken>,
}

impl Bounded {
    fn new(max_bytes: usize, begin: usize, room: Option<BodyRoom>) -> Self {
        Self { full: Vec::new(), last: Vec::with_capacity(begin), bytes: 0, max_bytes, room, taken: None }
    }

    /// All of it, in one piece.
    fn whole(self) -> (Bytes, Option<RoomTaken>) {
        if self.full.is_empty() {
            return (self.last.into(), self.taken);
        }
        let mut whole = Vec::with_capacity(self.bytes);
        for piece in self.full.into_iter().chain([self.last]) {
            whole.extend_from_slice(&piece);
        }
        (whole.into(), self.taken)
    }

    /// What an error of a write to such a buffer means; none if it is not the buffer's.
    fn refused(&self, error: &io::Error) -> Option<BodyError> {
        match error.kind() {
            io::ErrorKind::FileTooLarge => Some(BodyError::TooLarge(self.max_bytes)),
            io::ErrorKind::QuotaExceeded => Some(BodyError::NoRoom),
            _ => None,
        }
    }
}

impl Write for Bounded {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let bytes = self.bytes.saturating_add(data.len());
        if bytes > self.max_bytes {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        if let Some(room) = &self.room {
            let more = room.take(data.len())?;
            match &mut self.taken {
                Some(taken) => taken.0.merge(more.0),
                None => self.taken = Some(more),
            }
        }
        self.bytes = bytes;
        let space = self.last.capacity().saturating_sub(self.last.len());
        let (fits, rest) = data.split_at_checked(space).unwrap_or((data, &[]));
        self.last.extend_from_slice(fits);
        if !rest.is_empty() {
            let mut next = Vec::with_capacity(PIECE.max(rest.len()));
            next.extend_from_slice(rest);
            let full = std::mem::replace(&mut self.last, next);
            self.full.extend((!full.is_empty()).then_some(full));
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use futures::stream;
    use http::HeaderValue;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn encoding(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_ENCODING, value.parse().unwrap());
        headers
    }

    async fn read(headers: &HeaderMap, body: impl Into<Body>, max: usize) -> Result<Bytes, BodyError> {
        read_body(headers, body.into(), BodyLimits::of(max)).await
    }

    async fn read_in(
        room: &BodyRoom,
        headers: &HeaderMap,
        body: Vec<u8>,
    ) -> Result<(Bytes, Option<RoomTaken>), BodyError> {
        read_body_in(room, headers, body.into(), BodyLimits::of(100)).await
    }

    #[tokio::test]
    async fn by_table() {
        let plain = HeaderMap::new();
        assert_eq!(read(&plain, "", 0).await.unwrap(), "");
        assert_eq!(read(&plain, "abc", 3).await.unwrap(), "abc");
        assert_eq!(read(&plain, "abcd", 3).await, Err(BodyError::TooLarge(3)));
        assert_eq!(read(&encoding("identity"), "abc", 3).await.unwrap(), "abc");
        for coding in ["gzip", "GZIP", "x-gzip", "identity, gzip"] {
            assert_eq!(read(&encoding(coding), gzip(b"hello"), 100).await.unwrap(), "hello", "{coding}");
        }
        for coding in ["br", "deflate", "gzip, gzip", "gzip, br"] {
            assert_eq!(read(&encoding(coding), gzip(b"x"), 100).await, Err(BodyError::Encoding), "{coding}");
        }
        assert_eq!(read(&encoding("gzip"), "not gzip at all", 100).await, Err(BodyError::Gzip));
        let whole = gzip(b"hello");
        assert_eq!(
            read(&encoding("gzip"), whole[..whole.len() - 3].to_vec(), 100).await,
            Err(BodyError::Gzip)
        );
    }

    #[tokio::test]
    async fn pieces_become_one_whole() {
        let all: Vec<u8> = (0..3 * PIECE + 17).map(|at| u8::try_from(at % 251).unwrap()).collect();
        for size in [1_000, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE] {
            for stated in [0, 1, PIECE, all.len()] {
                let pieces: Vec<io::Result<Bytes>> =
                    all.chunks(size).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
                let mut headers = HeaderMap::new();
                headers.insert(header::CONTENT_LENGTH, HeaderValue::from(stated));
                let body = Body::from_stream(stream::iter(pieces));
                assert_eq!(read(&headers, body, all.len()).await.unwrap(), all, "{size} {stated}");
            }
        }
        assert_eq!(read(&encoding("gzip"), gzip(&all), all.len()).await.unwrap(), all);
    }

    #[tokio::test]
    async fn a_bomb_stops_at_the_limit() {
        let bomb = gzip(&vec![0u8; 50 << 20]);
        assert!(bomb.len() < 100_000, "the bomb is small on the wire: {}", bomb.len());
        assert_eq!(read(&encoding("gzip"), bomb, 1 << 20).await, Err(BodyError::TooLarge(1 << 20)));
    }

    #[tokio::test]
    async fn the_thread_that_serves_inflates_nothing() {
        let (headers, body) = (encoding("gzip"), gzip(b"hello"));
        let mut reading = std::pin::pin!(read(&headers, body, 100));
        let polled = futures::FutureExt::now_or_never(&mut reading);
        assert!(polled.is_none(), "read whole by one poll: {polled:?}");
        assert_eq!(reading.await.unwrap(), "hello");
    }

    #[tokio::test]
    async fn bodies_share_the_room_until_they_are_dropped() {
        let (plain, gzipped) = (HeaderMap::new(), encoding("gzip"));
        let room = BodyRoom::new(120);
        let first = read_in(&room, &plain, vec![1; 100]).await.unwrap();
        assert_eq!(read_in(&room, &plain, vec![1; 21]).await.unwrap_err(), BodyError::NoRoom);
        let second = read_in(&room, &plain, vec![1; 20]).await.unwrap();
        assert_eq!(read_in(&room, &plain, vec![]).await.unwrap().0, "");
        drop(first);
        // What is inflated counts, beside what came.
        let (small, large) = (gzip(&[1; 50]), gzip(&[1; 90]));
        assert!(large.len() > 10 && small.len() < 50);
        assert_eq!(read_in(&room, &gzipped, large).await.unwrap_err(), BodyError::NoRoom);
        let third = read_in(&room, &gzipped, small).await.unwrap();
        assert_eq!(room.0.available_permits(), 50, "what came is let go");
        drop((second, third));
        assert_eq!(room.0.available_permits(), 120);
        let again = read_in(&room, &plain, vec![1; 101]).await.unwrap_err();
        assert_eq!((again, room.0.available_permits()), (BodyError::TooLarge(100), 120));
    }

    #[tokio::test]
    async fn a_stated_length_is_refused_unread() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("104857600"));
        let never = Body::from_stream(stream::pending::<Result<Bytes, io::Error>>());
        assert_eq!(read(&headers, never, 1024).await, Err(BodyError::TooLarge(1024)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_body_runs_out_of_time() {
        let first = stream::iter([Ok::<_, io::Error>(Bytes::from_static(b"{"))]);
        let body = Body::from_stream(futures::StreamExt::chain(first, stream::pending()));
        let limits = BodyLimits { max_bytes: 10, max_time: Duration::from_secs(2) };
        assert_eq!(
            read_body(&HeaderMap::new(), body, limits).await,
            Err(BodyError::TooSlow(limits.max_time))
        );
    }

    #[tokio::test]
    async fn a_broken_stream_is_named() {
        let body = Body::from_stream(stream::iter([Err::<Bytes, _>(io::Error::other("reset"))]));
        assert_eq!(read(&HeaderMap::new(), body, 10).await, Err(BodyError::Broken));
    }

    #[test]
    fn statuses() {
        let cases = [
            (BodyError::TooLarge(1), 413),
            (BodyError::TooSlow(Duration::ZERO), 408),
            (BodyError::Encoding, 415),
            (BodyError::Gzip, 400),
            (BodyError::Broken, 400),
            (BodyError::NoRoom, 503),
        ];
        for (error, status) in cases {
            assert_eq!(ApiError::from(error).status.as_u16(), status);
        }
        assert_eq!(ApiError::from(BodyError::NoRoom).retry_after, Some(1));
    }

    /// Any bytes sent as gzip: no panic, never more than the limit.
    #[test]
    fn any_gzip_bytes() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        bolero::check!().with_iterations(1000).for_each(|bytes| {
            let headers = encoding("gzip");
            if let Ok(out) = runtime.block_on(read(&headers, bytes.to_vec(), 64)) {
                assert!(out.len() <= 64);
            }
        });
    }
}
