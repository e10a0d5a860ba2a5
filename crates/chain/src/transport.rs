//! HTTP with limits: every answer is bounded in bytes, every call in time.

use std::{fmt, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use reqwest::{Method, RequestBuilder, Response, StatusCode, header};
use serde::de::DeserializeOwned;
use url::Url;

use crate::error::ChainError;

/// Bytes of an error body that are kept for the message.
const MESSAGE_BYTES: usize = 512;

/// One HTTP endpoint with its limits. Its `Debug` form is its name, since the URL may hold credentials.
#[derive(Clone)]
pub(crate) struct Endpoint {
    base: Url,
    name: Arc<str>,
    http: reqwest::Client,
    timeout: Duration,
    max_bytes: usize,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Endpoint").field(&self.name).finish()
    }
}

/// An HTTP client whose TLS works whatever the process has set up.
pub(crate) fn http_client(connect_timeout: Duration) -> Result<reqwest::Client, ChainError> {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Another thread may have been first; then its provider serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    reqwest::Client::builder()
        .connect_timeout(connect_timeout)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|error| ChainError::Config(error.to_string()))
}

impl Endpoint {
    pub(crate) fn new(base: Url, http: reqwest::Client, timeout: Duration, max_bytes: usize) -> Self {
        let host = base.host_str().unwrap_or_default();
        let name =
            base.port_or_known_default().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        Self { base, name: name.into(), http, timeout, max_bytes }
    }

    /// The same endpoint, with answers of no more than `max_bytes` where that is less.
    pub(crate) fn at_most(&self, max_bytes: usize) -> Self {
        Self { max_bytes: self.max_bytes.min(max_bytes), ..self.clone() }
    }

    /// The endpoint as it may be shown: host and port. Hosted nodes take their keys as user, path or query.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// A request for `path` below the base URL.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let mut url = self.base.clone();
        if !path.is_empty() {
            let (path, query) =
                path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
            let below = format!("{}{path}", url.path().trim_end_matches('/'));
            url.set_path(&below);
            if query.is_some() {
                url.set_query(query);
            }
        }
        self.http.request(method, url)
    }

    /// Sends and reads the whole answer, in time and in bounds. Statuses are not judged.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Result<(StatusCode, Bytes), ChainError> {
        tokio::time::timeout(self.timeout, async {
            let response = request.send().await.map_err(|error| self.failed(&error))?;
            let status = response.status();
            Ok((status, self.read(response).await?))
        })
        .await
        .unwrap_or_else(|_| Err(self.late()))
    }

    /// Sends; any status but a success is an error.
    pub(crate) async fn send_ok(&self, request: RequestBuilder) -> Result<(StatusCode, Bytes), ChainError> {
        let (status, body) = self.send(request).await?;
        if status.is_success() { Ok((status, body)) } else { Err(self.refused(status, &body)) }
    }

    /// `GET path` as JSON.
    pub(crate) async fn get_json<T: DeserializeOwned>(&self, path: &str) -> Result<T, ChainError> {
        let request = self.request(Method::GET, path).header(header::ACCEPT, "application/json");
        self.json(request).await
    }

    /// Sends and reads JSON.
    pub(crate) async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ChainError> {
        let (_, body) = self.send_ok(request).await?;
        self.decode(&body)
    }

    /// Reads JSON out of an answer.
    pub(crate) fn decode<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, ChainError> {
        serde_json::from_slice(body).map_err(|error| self.malformed(&error))
    }

    /// Opens an answer that goes on without end. Only its beginning is bounded in time.
    pub(crate) async fn open(&self, request: RequestBuilder) -> Result<Response, ChainError> {
        let response = tokio::time::timeout(self.timeout, request.send())
            .await
            .map_err(|_| self.late())?
            .map_err(|error| self.failed(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let body =
            tokio::time::timeout(self.timeout, self.read(response)).await.map_err(|_| self.late())??;
        Err(self.refused(status, &body))
    }

    async fn read(&self, mut response: Response) -> Result<Bytes, ChainError> {
        let too_large = || ChainError::TooLarge { endpoint: self.name.to_string(), limit: self.max_bytes };
        if response.content_length().is_some_and(|length| length > self.max_bytes as u64) {
            return Err(too_large());
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.failed(&error))? {
            if body.len().saturating_add(chunk.len()) > self.max_bytes {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }

    pub(crate) fn malformed(&self, reason: &dyn std::fmt::Display) -> ChainError {
        ChainError::Malformed { endpoint: self.name.to_string(), reason: reason.to_string() }
    }

    pub(crate) fn refused(&self, status: StatusCode, body: &[u8]) -> ChainError {
        ChainError::Status {
            endpoint: self.name.to_string(),
            status: status.as_u16(),
            message: message_of(body),
        }
    }

    fn late(&self) -> ChainError {
        ChainError::Timeout { endpoint: self.name.to_string(), limit: self.timeout }
    }

    fn failed(&self, error: &reqwest::Error) -> ChainError {
        if error.is_timeout() {
            return self.late();
        }
        // The error's own text repeats the URL, which may hold credentials; its causes do not.
        let mut reason = String::new();
        let mut cause = std::error::Error::source(error);
        while let Some(one) = cause {
            if !reason.is_empty() {
                reason.push_str(": ");
            }
            reason.push_str(&one.to_string());
            cause = one.source();
        }
        if reason.is_empty() {
            "the request failed".clone_into(&mut reason);
        }
        ChainError::Unreachable { endpoint: self.name.to_string(), reason }
    }
}

/// The `message` of an error body, or its beginning as text.
fn message_of(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct ErrorBody {
        message: String,
    }
    let text = serde_json::from_slice::<ErrorBody>(body)
        .map_or_else(|_| String::from_utf8_lossy(body).into_owned(), |error| error.message);
    text.chars().filter(|one| !one.is_control()).take(MESSAGE_BYTES).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(base: &str) -> Endpoint {
        let http = http_client(Duration::from_secs(1)).unwrap();
        Endpoint::new(base.parse().unwrap(), http, Duration::from_secs(1), 1024)
    }

    #[test]
    fn paths_go_below_the_base() {
        let endpoint = endpoint("http://127.0.0.1:1/node?key=secret");
        let request = endpoint.request(Method::GET, "/eth/v1/x?id=1").build().unwrap();
        assert_eq!(request.url().path(), "/node/eth/v1/x");
        assert_eq!(request.url().query(), Some("id=1"));
        let request = endpoint.request(Method::POST, "").build().unwrap();
        assert_eq!(request.url().query(), Some("key=secret"));
    }

    #[tokio::test]
    async fn only_host_and_port_are_shown() {
        let cases = [
            ("http://user:secret@127.0.0.1:1/node?key=secret", "127.0.0.1:1"),
            ("https://mainnet.example.org/v3/secret", "mainnet.example.org:443"),
            ("http://node.example.org/?key=secret#secret", "node.example.org:80"),
            ("http://[::1]:8545/secret/", "[::1]:8545"),
        ];
        for (url, name) in cases {
            let endpoint = endpoint(url);
            assert_eq!(endpoint.name(), name);
            assert_eq!(format!("{endpoint:?}"), format!("Endpoint({name:?})"));
        }
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let endpoint = endpoint(&format!("http://user:secret@{closed}/secret?key=secret"));
        let error = endpoint.get_json::<()>("/eth").await.unwrap_err();
        assert!(matches!(error, ChainError::Unreachable { .. }), "{error:?}");
        let shown = format!("{error} {error:?}");
        assert!(shown.contains(&closed.to_string()) && !shown.contains("secret"), "{shown}");
    }

    #[test]
    fn an_error_body_gives_its_message_or_its_beginning() {
        assert_eq!(message_of(br#"{"code":400,"message":"no such state"}"#), "no such state");
        assert_eq!(message_of(b"oops\n"), "oops");
        assert_eq!(message_of(&[b'x'; 4096]).len(), MESSAGE_BYTES);
        assert_eq!(message_of(&[0xff, 0xfe]), "\u{fffd}\u{fffd}");
    }
}
