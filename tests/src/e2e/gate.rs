//! Stands between the relay and its beacon node's API, so that the node's events can be cut while all else works.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use futures::StreamExt;
use http::{HeaderMap, HeaderName, StatusCode, header};
use tokio::{net::TcpListener, task::AbortHandle};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::http_client;

/// Largest request: a block with its blobs.
const MAX_BODY: usize = 32 << 20;
/// Fields that concern one connection only.
const OF_ONE_CONNECTION: [HeaderName; 4] =
    [header::HOST, header::CONNECTION, header::TRANSFER_ENCODING, header::CONTENT_LENGTH];

/// A gate before a beacon node. Closed when dropped.
#[derive(Debug)]
pub struct Gate {
    /// Where it listens.
    pub url: Url,
    shared: Arc<Shared>,
    serving: AbortHandle,
}

#[derive(Debug)]
struct Shared {
    node: Url,
    http: reqwest::Client,
    /// Ends the event streams that are open; cancelled for as long as there shall be none.
    events: Mutex<CancellationToken>,
}

impl Gate {
    /// An open gate before the node at `node`.
    ///
    /// # Panics
    /// If it cannot listen.
    pub async fn open(node: Url) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
        let shared = Arc::new(Shared { node, http: http_client(), events: Mutex::default() });
        let router = Router::new().fallback(forward).with_state(shared.clone());
        let serving =
            tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }).abort_handle();
        Self { url, shared, serving }
    }

    /// Ends all event streams, and lets no new one begin.
    ///
    /// # Panics
    /// Never, unless another thread did while it held the lock.
    pub fn cut_events(&self) {
        self.shared.events.lock().unwrap().cancel();
    }

    /// Lets event streams begin again.
    ///
    /// # Panics
    /// As [`Self::cut_events`].
    pub fn mend(&self) {
        *self.shared.events.lock().unwrap() = CancellationToken::new();
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn forward(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let events = request.uri().path().ends_with("/events").then(|| shared.events.lock().unwrap().clone());
    if events.as_ref().is_some_and(CancellationToken::is_cancelled) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    match pass_on(&shared, request).await {
        Ok(answer) => {
            let (status, headers) = (answer.status(), of_the_message(answer.headers()));
            let bytes = answer.bytes_stream();
            let body = match events {
                Some(cut) => Body::from_stream(bytes.take_until(cut.cancelled_owned())),
                None => Body::from_stream(bytes),
            };
            (status, headers, body).into_response()
        }
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}

async fn pass_on(shared: &Shared, request: Request) -> Result<reqwest::Response, reqwest::Error> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let body = to_bytes(body, MAX_BODY).await.unwrap();
    let url = shared.node.join(path).unwrap();
    shared.http.request(parts.method, url).headers(of_the_message(&parts.headers)).body(body).send().await
}

fn of_the_message(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    for name in OF_ONE_CONNECTION {
        headers.remove(name);
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::{get, post};

    /// A node that sends one event and then nothing, and gives bodies back.
    async fn node() -> Url {
        let events = async || {
            let first = futures::stream::once(async { Ok::<_, String>("event: head\n\n") });
            Body::from_stream(first.chain(futures::stream::pending()))
        };
        let echo = async |headers: HeaderMap, body: String| ([("x-fork", headers["x-fork"].clone())], body);
        let router = Router::new().route("/eth/v1/events", get(events)).route("/echo", post(echo));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        url
    }

    #[tokio::test]
    async fn events_end_and_begin_again_and_all_else_passes() {
        let (gate, http) = (Gate::open(node().await).await, http_client());
        let events = gate.url.join("eth/v1/events?topics=head").unwrap();
        let mut stream = http.get(events.clone()).send().await.unwrap();
        assert_eq!(stream.chunk().await.unwrap().unwrap(), "event: head\n\n");

        gate.cut_events();
        assert_eq!(stream.chunk().await.unwrap(), None);
        assert_eq!(http.get(events.clone()).send().await.unwrap().status(), 503);
        let echo = http.post(gate.url.join("echo").unwrap());
        let answer = echo.header("x-fork", "fulu").body("block").send().await.unwrap();
        assert_eq!(answer.headers()["x-fork"], "fulu");
        assert_eq!(answer.text().await.unwrap(), "block");

        gate.mend();
        let mut stream = http.get(events).send().await.unwrap();
        assert_eq!(stream.chunk().await.unwrap().unwrap(), "event: head\n\n");
    }
}
