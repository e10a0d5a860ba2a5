//! Bodies read whole, bounded in size before and after decompression and in time.

use crate::error::ApiError;
use axum::body::Body;
use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;
use std::io::{self, Write};
use std::time::Duration;

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
}

impl From<BodyError> for ApiError {
    fn from(error: BodyError) -> Self {
        let status = match error {
            BodyError::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            BodyError::TooSlow(_) => StatusCode::REQUEST_TIMEOUT,
            BodyError::Encoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            BodyError::Gzip | BodyError::Broken => StatusCode::BAD_REQUEST,
        };
        Self::status(status, error.to_string())
    }
}

/// Reads the whole body of a request, decompressed if its `Content-Encoding` says gzip.
///
/// Decompression stops at the limit, so a small body that unfolds into a large one costs no more
/// than an honest one.
pub async fn read_body(headers: &HeaderMap, body: Body, limits: BodyLimits) -> Result<Bytes, BodyError> {
    let gzip = is_gzip(headers)?;
    let stated =
        headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if stated.is_some_and(|length| length > limits.max_bytes as u64) {
        return Err(BodyError::TooLarge(limits.max_bytes));
    }
    tokio::time::timeout(limits.max_time, collect(body, gzip, limits.max_bytes))
        .await
        .map_err(|_| BodyError::TooSlow(limits.max_time))?
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

async fn collect(mut body: Body, gzip: bool, max_bytes: usize) -> Result<Bytes, BodyError> {
    let mut wire = 0usize;
    let mut plain = Bounded { bytes: Vec::new(), max_bytes };
    let mut decoder = gzip.then(|| MultiGzDecoder::new(Bounded { bytes: Vec::new(), max_bytes }));
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else { continue };
        wire = wire.saturating_add(data.len());
        if wire > max_bytes {
            return Err(BodyError::TooLarge(max_bytes));
        }
        match &mut decoder {
            Some(decoder) => decoder.write_all(&data).map_err(|error| gzip_error(&error, max_bytes))?,
            None => plain.write_all(&data).map_err(|_| BodyError::TooLarge(max_bytes))?,
        }
    }
    let out = match decoder {
        Some(decoder) => decoder.finish().map_err(|error| gzip_error(&error, max_bytes))?,
        None => plain,
    };
    Ok(out.bytes.into())
}

fn gzip_error(error: &io::Error, max_bytes: usize) -> BodyError {
    if error.kind() == io::ErrorKind::FileTooLarge { BodyError::TooLarge(max_bytes) } else { BodyError::Gzip }
}

/// A buffer that refuses to grow past its limit.
struct Bounded {
    bytes: Vec<u8>,
    max_bytes: usize,
}

impl Write for Bounded {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.bytes.len().saturating_add(data.len()) > self.max_bytes {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(data);
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
        ];
        for (error, status) in cases {
            assert_eq!(ApiError::from(error).status.as_u16(), status);
        }
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
