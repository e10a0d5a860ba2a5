//! One HTTP client for the signers: answers bounded in bytes and time.

use super::RemoteError;
use bytes::{Bytes, BytesMut};
use reqwest::{Certificate, Method, RequestBuilder, StatusCode};
use std::fmt;
use std::path::Path;
use std::sync::Once;
use std::time::Duration;
use url::Url;

/// Largest answer, in bytes: a hundred thousand keys fit.
const MAX_ANSWER: usize = 16 << 20;
/// How much of a refusal is kept.
const MESSAGE_BYTES: usize = 256;
const CONNECT_TIME: Duration = Duration::from_millis(500);

/// A signer's HTTP interface. `Debug` shows no credentials that its URL may hold.
#[derive(Clone)]
pub(super) struct Channel {
    base: Url,
    http: reqwest::Client,
    timeout: Duration,
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Channel").field(&self.name()).finish()
    }
}

impl Channel {
    pub(super) fn new(base: &Url, ca_file: Option<&Path>, timeout: Duration) -> Result<Self, RemoteError> {
        static PROVIDER: Once = Once::new();
        PROVIDER.call_once(|| {
            // Another part of the process may have been first; then its provider serves as well.
            let _ = rustls::crypto::ring::default_provider().install_default();
        });
        let setup = |cause: String| RemoteError::Setup(cause);
        if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() {
            return Err(setup(format!("{} is not an http(s) URL with a host", base.scheme())));
        }
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIME)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .tcp_nodelay(true);
        if let Some(path) = ca_file {
            let pem = std::fs::read(path).map_err(|cause| setup(format!("{}: {cause}", path.display())))?;
            let certificate =
                Certificate::from_pem(&pem).map_err(|cause| setup(format!("{}: {cause}", path.display())))?;
            builder = builder.add_root_certificate(certificate);
        }
        let http = builder.build().map_err(|cause| setup(cause.to_string()))?;
        Ok(Self { base: base.clone(), http, timeout })
    }

    /// Host and port.
    pub(super) fn name(&self) -> String {
        let host = self.base.host_str().unwrap_or_default();
        self.base.port_or_known_default().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    /// A request for a route, which begins with a slash, below the base URL.
    pub(super) fn request(&self, method: Method, route: &str) -> RequestBuilder {
        let mut url = self.base.clone();
        let below = format!("{}{route}", url.path().trim_end_matches('/'));
        url.set_path(&below);
        self.http.request(method, url)
    }

    /// The body of a success.
    pub(super) async fn send(&self, request: RequestBuilder) -> Result<Bytes, RemoteError> {
        let exchange = tokio::time::timeout(self.timeout, exchange(request));
        let (status, body) = exchange.await.map_err(|_| {
            RemoteError::TimedOut(u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX))
        })??;
        if status.is_success() {
            return Ok(body);
        }
        let message = body.get(..MESSAGE_BYTES.min(body.len())).unwrap_or_default();
        let message = String::from_utf8_lossy(message).into_owned();
        Err(RemoteError::Refused { status: status.as_u16(), message })
    }
}

async fn exchange(request: RequestBuilder) -> Result<(StatusCode, Bytes), RemoteError> {
    // Without its URL, which may hold credentials.
    let broke = |cause: reqwest::Error| RemoteError::Unreachable(cause.without_url().to_string());
    let mut response = request.send().await.map_err(broke)?;
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(broke)? {
        if body.len().saturating_add(chunk.len()) > MAX_ANSWER {
            return Err(RemoteError::Malformed(format!("longer than {MAX_ANSWER} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok((response.status(), body.freeze()))
}
