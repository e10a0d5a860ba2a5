//! The least that can be put beside a relay: a bare axum handler that answers one relay's answer.

use axum::{
    Router,
    response::IntoResponse,
    routing::get,
    serve::{ListenerExt, serve},
};
use earnest_client::Answer;
use reqwest::header::{CONNECTION, CONTENT_LENGTH, DATE, HeaderMap, TRANSFER_ENCODING};
use tokio::{net::TcpListener, runtime::Handle, task::AbortHandle};
use url::Url;

use super::cause;
use crate::failure::Failure;

/// A handler that serves until it is dropped.
#[derive(Debug)]
pub(super) struct Bare {
    /// Its base URL.
    pub(super) url: Url,
    answer: Answer,
    server: AbortHandle,
}

impl Bare {
    /// Serves status, headers and body of `answer` at `path`, which is a path below the base, on threads of `runtime`.
    pub(super) async fn start(runtime: &Handle, path: &str, answer: Answer) -> Result<Self, Failure> {
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(cause)?;
        let url = format!("http://{}", listener.local_addr().map_err(cause)?).parse().map_err(cause)?;
        let listener = listener.into_std().map_err(cause)?;
        let (status, headers, body) = (answer.status, carried(&answer.headers), answer.body.clone());
        let handler = move || {
            let answer = (status, headers.clone(), body.clone());
            async move { answer.into_response() }
        };
        let router = Router::new().route(&format!("/{path}"), get(handler));
        let server = runtime.spawn(async move {
            let listener = TcpListener::from_std(listener)?.tap_io(|connection| {
                if let Err(error) = connection.set_nodelay(true) {
                    tracing::debug!(%error, "cannot set TCP_NODELAY");
                }
            });
            serve(listener, router).await
        });
        Ok(Self { url, answer, server: server.abort_handle() })
    }

    /// Whether it answers this, but for what differs from one answer to the next.
    pub(super) fn answers(&self, other: &Answer) -> bool {
        (self.answer.status, &self.answer.body) == (other.status, &other.body)
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// The headers that the handler has to set itself; the others the server writes by itself.
fn carried(headers: &HeaderMap) -> HeaderMap {
    let mut carried = headers.clone();
    for own in [CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING] {
        carried.remove(own);
    }
    carried
}

#[cfg(test)]
mod tests {
    use super::*;
    use earnest_client::{Limits, RelayClient};
    use reqwest::{Method, StatusCode, header::HeaderName};

    #[tokio::test]
    async fn it_answers_what_it_was_given() {
        let mut headers = HeaderMap::new();
        headers.insert(HeaderName::from_static("eth-consensus-version"), "fulu".parse().unwrap());
        headers.insert(CONTENT_LENGTH, "9".parse().unwrap());
        let answer = Answer { status: StatusCode::ACCEPTED, headers, body: "some bid".into() };
        let path = "eth/v1/builder/header/1/0x00/0xaa";
        let bare = Bare::start(&Handle::current(), path, answer.clone()).await.unwrap();
        let client = RelayClient::new(&bare.url, Limits::default()).unwrap();
        let request = client.transport().request(Method::GET, path).unwrap();
        let got = client.transport().send(request).await.unwrap();
        assert!(bare.answers(&got));
        assert_eq!(got.headers["eth-consensus-version"], "fulu");
        assert!(!bare.answers(&Answer { body: "another".into(), ..answer }));
    }
}
