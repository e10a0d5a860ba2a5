//! One HTTP client under all typed ones: every answer is bounded in bytes and time.

use std::sync::Once;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Method, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::Url;

use crate::error::{ClientError, Refusal};

/// `application/json`.
pub const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// `application/octet-stream`: SSZ in the Builder API, raw transactions in ours.
pub const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");
/// SSZ if the server has it, else JSON.
pub const SSZ_OR_JSON: HeaderValue =
    HeaderValue::from_static("application/octet-stream;q=1,application/json;q=0.9");
/// `text/event-stream`.
pub const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");
/// The fork of an SSZ body (Builder API).
pub const CONSENSUS_VERSION: HeaderName = HeaderName::from_static("eth-consensus-version");
/// The caller's own time allowance in milliseconds (Builder API).
pub const TIMEOUT_MS: HeaderName = HeaderName::from_static("x-timeout-ms");
/// When the caller sent the request, in milliseconds since the Unix epoch (Builder API).
pub const DATE_MS: HeaderName = HeaderName::from_static("date-milliseconds");

/// What a client accepts from a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest body read, in bytes.
    pub max_body: usize,
    /// Time from sending a request to the last byte of its answer.
    pub timeout: Duration,
    /// Time to establish a connection.
    pub connect_timeout: Duration,
}

impl Default for Limits {
    /// 16 MiB, 10 s, 2 s: a full block with its blobs fits.
    fn default() -> Self {
        Self { max_body: 16 << 20, timeout: Duration::from_secs(10), connect_timeout: Duration::from_secs(2) }
    }
}

/// A whole answer, success or not.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: StatusCode,
    /// Headers as they came.
    pub headers: HeaderMap,
    /// The body, at most [`Limits::max_body`] bytes.
    pub body: Bytes,
}

impl Answer {
    /// The answer itself if the status is a success, else the server's refusal.
    ///
    /// # Errors
    /// [`ClientError::Refused`] for any status but 2xx.
    pub fn ok(self) -> Result<Self, ClientError> {
        if self.status.is_success() {
            return Ok(self);
        }
        let retry_after = self
            .headers
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.parse().ok());
        Err(ClientError::Refused(Box::new(Refusal::read(self.status.as_u16(), retry_after, &self.body))))
    }

    /// Reads a JSON body.
    ///
    /// # Errors
    /// [`ClientError::Malformed`] if it is not a `T`.
    pub fn json<T: DeserializeOwned>(&self, what: &'static str) -> Result<T, ClientError> {
        serde_json::from_slice(&self.body).map_err(|cause| ClientError::malformed(what, cause))
    }

    /// Whether the body is binary (SSZ) by its content type.
    #[must_use]
    pub fn is_octets(&self) -> bool {
        self.headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split(';').next())
            .is_some_and(|media| media.trim().eq_ignore_ascii_case("application/octet-stream"))
    }
}

/// Makes `ring` the process's TLS provider. Safe to call often; the first call of the process counts.
pub fn install_tls_provider() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if rustls::crypto::ring::default_provider().install_default().is_err() {
            tracing::debug!("a TLS provider is installed already");
        }
    });
}

/// A base URL with an HTTP client. Clones share the connection pool.
#[derive(Clone, Debug)]
pub struct Transport {
    http: reqwest::Client,
    base: Url,
    limits: Limits,
}

impl Transport {
    /// A client of the server at `base`, whose path (if any) is kept as a prefix. Redirects are not followed, proxies of the
    /// environment not used: a relay's address is exact.
    ///
    /// # Errors
    /// [`ClientError::Url`] if `base` is not http(s) with a host, [`ClientError::Setup`] if TLS cannot be set up.
    pub fn new(base: &Url, limits: Limits) -> Result<Self, ClientError> {
        install_tls_provider();
        if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() {
            return Err(ClientError::Url(format!("{} is not an http(s) URL with a host", base.scheme())));
        }
        let mut base = base.clone();
        if !base.path().ends_with('/') {
            let path = format!("{}/", base.path());
            base.set_path(&path);
        }
        let http = reqwest::Client::builder()
            .connect_timeout(limits.connect_timeout)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .tcp_nodelay(true)
            .user_agent(concat!("earnest/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|cause| ClientError::Setup(cause.to_string()))?;
        Ok(Self { http, base, limits })
    }

    /// The same client, over the same connections, that reads answers of at most so many bytes.
    #[must_use]
    pub fn limited(&self, max_body: usize) -> Self {
        let limits = Limits { max_body: self.limits.max_body.min(max_body), ..self.limits };
        Self { limits, ..self.clone() }
    }

    /// The base URL.
    #[must_use]
    pub fn base(&self) -> &Url {
        &self.base
    }

    /// Host and port: the name of this server in logs and errors.
    #[must_use]
    pub fn host(&self) -> String {
        let host = self.base.host_str().unwrap_or_default();
        self.base.port_or_known_default().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    /// The limits this client was made with.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// A request for `path` below the base URL.
    ///
    /// # Errors
    /// [`ClientError::Url`] if the path does not join.
    pub fn request(&self, method: Method, path: &str) -> Result<reqwest::RequestBuilder, ClientError> {
        let url = self
            .base
            .join(path.trim_start_matches('/'))
            .map_err(|cause| ClientError::Url(cause.to_string()))?;
        Ok(self.http.request(method, url))
    }

    /// Sends a request and reads the whole answer within this client's limits, whatever its status.
    ///
    /// # Errors
    /// [`ClientError::TimedOut`], [`ClientError::TooLarge`], [`ClientError::Unreachable`].
    pub async fn send(&self, request: reqwest::RequestBuilder) -> Result<Answer, ClientError> {
        self.send_within(request, self.limits.timeout).await
    }

    /// [`Self::send`] with its own time limit.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn send_within(
        &self,
        request: reqwest::RequestBuilder,
        timeout: Duration,
    ) -> Result<Answer, ClientError> {
        self.send_bounded(request, timeout, self.limits.max_body).await
    }

    /// [`Self::send_within`] with its own limit of the answer's body, in bytes. The smaller of this and the client's counts.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn send_bounded(
        &self,
        request: reqwest::RequestBuilder,
        timeout: Duration,
        max_body: usize,
    ) -> Result<Answer, ClientError> {
        let exchange = self.exchange(request, self.limits.max_body.min(max_body));
        tokio::time::timeout(timeout, exchange).await.map_err(|_| ClientError::TimedOut {
            ms: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX),
        })?
    }

    async fn exchange(&self, request: reqwest::RequestBuilder, limit: usize) -> Result<Answer, ClientError> {
        let mut response = self.open(request).await?;
        let announced = response.content_length().unwrap_or(0);
        if usize::try_from(announced).unwrap_or(usize::MAX) > limit {
            return Err(ClientError::TooLarge { limit });
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|cause| self.unreachable(&cause))? {
            if body.len().saturating_add(chunk.len()) > limit {
                return Err(ClientError::TooLarge { limit });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status: response.status(), headers: response.headers().clone(), body: body.freeze() })
    }

    /// Sends a request and gives back its answer with the body not yet read.
    pub(crate) async fn open(
        &self,
        request: reqwest::RequestBuilder,
    ) -> Result<reqwest::Response, ClientError> {
        request.send().await.map_err(|cause| self.unreachable(&cause))
    }

    pub(crate) fn unreachable(&self, cause: &reqwest::Error) -> ClientError {
        let mut words = String::new();
        let mut source: Option<&dyn std::error::Error> = std::error::Error::source(cause);
        while let Some(inner) = source {
            if !words.is_empty() {
                words.push_str(": ");
            }
            words.push_str(&inner.to_string());
            source = inner.source();
        }
        if words.is_empty() {
            words = if cause.is_timeout() { "timed out".into() } else { "connection failed".into() };
        }
        ClientError::Unreachable { host: self.host(), cause: words }
    }

    /// GET of a JSON resource.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn get_json<T: DeserializeOwned>(
        &self,
        path: &str,
        what: &'static str,
    ) -> Result<T, ClientError> {
        let request = self.request(Method::GET, path)?.header(ACCEPT, JSON);
        self.send(request).await?.ok()?.json(what)
    }

    /// POST of a JSON body; the answer is not yet judged.
    ///
    /// # Errors
    /// Any [`ClientError`] but a refusal.
    pub async fn post_json<B: Serialize + ?Sized>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<Answer, ClientError> {
        let body = serde_json::to_vec(body).map_err(|cause| ClientError::malformed("own request", cause))?;
        let request =
            self.request(Method::POST, path)?.header(CONTENT_TYPE, JSON).header(ACCEPT, JSON).body(body);
        self.send(request).await
    }
}
