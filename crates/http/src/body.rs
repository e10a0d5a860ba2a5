//! Bodies read whole, bounded in size before and after decompression and in time.

use crate::budget::BodyLease;
use crate::error::ApiError;
use axum::body::Body;
use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;
use std::io::{self, Write};
use std::ops::Deref;
use std::time::Duration;

/// Least memory for a body that has bytes.
const LEAST_ROOM: usize = 8 << 10;
/// How long a body waits for its turn at being decompressed.
const INFLATE_WAIT: Duration = Duration::from_secs(1);
/// Seconds after which a body may find room again.
const RETRY_AFTER: u64 = 1;

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
    /// 503 `busy`: the process holds as many bytes of bodies as it may.
    #[error("the server works on as many requests as it can: try again")]
    Busy,
    /// 429 `busy`: the client has as many bytes of bodies here as it may.
    #[error("too much is being read from this address: wait for the answers to earlier requests")]
    ClientBusy,
}

impl From<BodyError> for ApiError {
    fn from(error: BodyError) -> Self {
        let status = match error {
            BodyError::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            BodyError::TooSlow(_) => StatusCode::REQUEST_TIMEOUT,
            BodyError::Encoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            BodyError::Gzip | BodyError::Broken => StatusCode::BAD_REQUEST,
            BodyError::Busy | BodyError::ClientBusy => {
                let status = match error {
                    BodyError::Busy => StatusCode::SERVICE_UNAVAILABLE,
                    _ => StatusCode::TOO_MANY_REQUESTS,
                };
                return Self::named(status, "busy", error.to_string()).retry_after(RETRY_AFTER);
            }
        };
        Self::status(status, error.to_string())
    }
}

/// A body read whole, with the bytes of the budget that it takes.
#[derive(Debug)]
pub struct LeasedBody {
    bytes: Bytes,
    lease: BodyLease,
}

impl LeasedBody {
    /// The bytes, and their lease for whoever goes on with what is made of them.
    pub fn into_parts(self) -> (Bytes, BodyLease) {
        (self.bytes, self.lease)
    }
}

impl Deref for LeasedBody {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Reads the whole body of a request, decompressed if its `Content-Encoding` says gzip.
///
/// Decompression stops at the limit, so a small body that unfolds into a large one costs no more
/// than an honest one.
pub async fn read_body(headers: &HeaderMap, body: Body, limits: BodyLimits) -> Result<Bytes, BodyError> {
    Ok(read_leased_body(headers, body, limits, BodyLease::unlimited()).await?.bytes)
}

/// As [`read_body`], within a budget: what arrives and what it unfolds into is taken from the lease's.
///
/// Decompression runs where it holds up no other request, as many at once as there are cores.
pub async fn read_leased_body(
    headers: &HeaderMap,
    body: Body,
    limits: BodyLimits,
    lease: BodyLease,
) -> Result<LeasedBody, BodyError> {
    let BodyLimits { max_bytes, max_time } = limits;
    let gzip = is_gzip(headers)?;
    let stated =
        headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if stated.is_some_and(|length| length > max_bytes as u64) {
        return Err(BodyError::TooLarge(max_bytes));
    }
    let sent = tokio::time::timeout(max_time, collect(body, Bounded::new(max_bytes, lease)))
        .await
        .map_err(|_| BodyError::TooSlow(max_time))??;
    if !gzip {
        return Ok(LeasedBody { bytes: sent.bytes.into(), lease: sent.lease });
    }
    let turns = sent.lease.budget().inflating();
    let turn = tokio::time::timeout(INFLATE_WAIT, turns.acquire_owned()).await;
    let Ok(Ok(turn)) = turn else { return Err(BodyError::Busy) };
    let inflated = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        inflate(sent)
    });
    inflated.await.map_err(|_| BodyError::Broken)?
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

async fn collect(mut body: Body, mut sent: Bounded) -> Result<Bounded, BodyError> {
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else { continue };
        sent.push(&data)?;
    }
    Ok(sent)
}

/// Unfolds a body until its end or its limit. Blocks.
fn inflate(sent: Bounded) -> Result<LeasedBody, BodyError> {
    let Bounded { bytes, max_bytes, lease } = sent;
    let mut decoder = MultiGzDecoder::new(Bounded::new(max_bytes, lease));
    decoder.write_all(&bytes).map_err(gzip_error)?;
    let mut plain = decoder.finish().map_err(gzip_error)?;
    plain.lease.give_back(bytes.capacity());
    drop(bytes);
    Ok(LeasedBody { bytes: plain.bytes.into(), lease: plain.lease })
}

/// Why a decoder stopped: its output took no more, or its input is no gzip.
fn gzip_error(error: io::Error) -> BodyError {
    error.downcast().unwrap_or(BodyError::Gzip)
}

/// A buffer that refuses to grow past its limit or its lease.
#[derive(Debug)]
struct Bounded {
    bytes: Vec<u8>,
    max_bytes: usize,
    lease: BodyLease,
}

impl Bounded {
    fn new(max_bytes: usize, lease: BodyLease) -> Self {
        Self { bytes: Vec::new(), max_bytes, lease }
    }

    fn push(&mut self, data: &[u8]) -> Result<(), BodyError> {
        let needed = self.bytes.len().saturating_add(data.len());
        if needed > self.max_bytes {
            return Err(BodyError::TooLarge(self.max_bytes));
        }
        let room = self.bytes.capacity();
        if needed > room {
            let doubled = needed.checked_next_power_of_two().unwrap_or(needed);
            let target = doubled.max(LEAST_ROOM).min(self.max_bytes).max(needed);
            self.lease.take(target.saturating_sub(room))?;
            self.bytes.reserve_exact(target.saturating_sub(self.bytes.len()));
        }
        self.bytes.extend_from_slice(data);
        Ok(())
    }
}

impl Write for Bounded {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.push(data).map_err(io::Error::other)?;
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::BodyBudget;
    use flate2::{Compression, write::GzEncoder};
    use futures::stream;
    use http::HeaderValue;
    use std::net::IpAddr;

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
    async fn a_bomb_stops_at_the_limit() {
        let bomb = gzip(&vec![0u8; 50 << 20]);
        assert!(bomb.len() < 100_000, "the bomb is small on the wire: {}", bomb.len());
        assert_eq!(read(&encoding("gzip"), bomb, 1 << 20).await, Err(BodyError::TooLarge(1 << 20)));
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
            (BodyError::Busy, 503),
            (BodyError::ClientBusy, 429),
        ];
        for (error, status) in cases {
            assert_eq!(ApiError::from(error).status.as_u16(), status);
        }
    }

    fn client(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    /// A body of which some has come and the rest never does.
    fn unfinished(bytes: usize) -> Body {
        let first = stream::iter([Ok::<_, io::Error>(Bytes::from(vec![1; bytes]))]);
        Body::from_stream(futures::StreamExt::chain(first, stream::pending()))
    }

    #[tokio::test]
    async fn many_bodies_stay_within_the_budget() {
        let budget = BodyBudget::new(256 << 10, 128 << 10);
        let limits = BodyLimits { max_time: Duration::MAX, ..BodyLimits::of(1 << 20) };
        let none = HeaderMap::new();
        let mut waiting = Vec::new();
        for last in [1, 1, 2, 2] {
            let mut reading =
                Box::pin(read_leased_body(&none, unfinished(64 << 10), limits, budget.lease(client(last))));
            assert!(futures::poll!(reading.as_mut()).is_pending());
            waiting.push(reading);
        }
        assert_eq!(budget.held(), 256 << 10);
        let another = |last| read_leased_body(&none, Body::from("x"), limits, budget.lease(client(last)));
        assert_eq!(another(1).await.unwrap_err(), BodyError::ClientBusy);
        assert_eq!(another(3).await.unwrap_err(), BodyError::Busy);
        waiting.pop();
        let (bytes, lease) = another(3).await.unwrap().into_parts();
        assert_eq!((&bytes[..], lease.bytes()), (&b"x"[..], LEAST_ROOM));
        drop(waiting);
        assert_eq!(budget.held(), lease.bytes(), "held as long as the lease, not as the request");
        drop(lease);
        assert_eq!(budget.held(), 0);
    }

    #[tokio::test]
    async fn what_a_body_unfolds_into_counts() {
        let budget = BodyBudget::new(256 << 10, usize::MAX);
        let limits = BodyLimits::of(32 << 20);
        let bomb = Body::from(gzip(&vec![0; 32 << 20]));
        let lease = budget.lease(client(1));
        let refused = read_leased_body(&encoding("gzip"), bomb, limits, lease).await;
        assert_eq!(refused.unwrap_err(), BodyError::Busy);
        assert_eq!(budget.held(), 0);
        let body = Body::from(gzip(&vec![0; 64 << 10]));
        let read = read_leased_body(&encoding("gzip"), body, limits, budget.lease(client(1))).await.unwrap();
        assert_eq!((read.len(), budget.held()), (64 << 10, 64 << 10), "the compressed bytes are given back");
    }

    #[tokio::test]
    async fn bodies_take_turns_at_being_decompressed() {
        let budget = BodyBudget::new(usize::MAX, usize::MAX);
        let turns = budget.inflating();
        let cores = u32::try_from(turns.available_permits()).unwrap();
        let all = turns.acquire_many_owned(cores).await.unwrap();
        let headers = encoding("gzip");
        let read = |lease| read_leased_body(&headers, gzip(b"hello").into(), BodyLimits::of(100), lease);
        let mut reading = Box::pin(read(budget.lease(client(1))));
        assert!(futures::poll!(reading.as_mut()).is_pending());
        let other = BodyBudget::new(usize::MAX, usize::MAX);
        assert_eq!(&*read(other.lease(client(1))).await.unwrap(), b"hello", "another budget, other turns");
        drop(all);
        assert_eq!(&*reading.await.unwrap(), b"hello");
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
