//! A relay that says what a test tells it to say, and remembers what it was told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use http::{Method, Request, StatusCode};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::watch;
use url::Url;

/// Makes status and body out of a request's body.
type Maker = dyn Fn(&[u8]) -> (u16, Vec<u8>) + Send + Sync;

/// What an endpoint answers.
#[derive(Clone)]
pub(crate) enum Says {
    /// This status and body, JSON.
    Json(u16, Vec<u8>),
    /// This body with status 200 and neither a content type nor a fork.
    Bare(Vec<u8>),
    /// This body as SSZ of a fork.
    Ssz(Vec<u8>, &'static str),
    /// This body with status 200, this content type and this fork, whatever it is.
    Named(Vec<u8>, &'static str, &'static str),
    /// A redirect to this path of the same server.
    Elsewhere(&'static str),
    /// This status and body, JSON, with one more header.
    With(u16, Vec<u8>, &'static str, &'static str),
    /// Nothing, for ever.
    Silence,
    /// The start of an answer, and then nothing.
    Stall,
    /// The start of an answer, and then the connection is closed.
    Breaks,
    /// This body with status 200, after a while.
    LateJson(Duration, Vec<u8>),
    /// This status, without a body, after a while.
    Late(Duration, u16),
    /// What a function makes of the request.
    Answer(Arc<Maker>),
}

/// One request as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) route: &'static str,
    pub(crate) content_type: Option<String>,
    pub(crate) body: Bytes,
}

#[derive(Clone)]
pub(crate) struct RelayStandIn {
    pub(crate) url: Url,
    says: Arc<Mutex<BTreeMap<&'static str, Says>>>,
    heard: Arc<watch::Sender<Vec<Heard>>>,
}

/// Routes by the part of the path that tells them apart.
const ROUTES: [&str; 13] = [
    "/match",
    "relay/delegations",
    "market/bids",
    "market/auctions",
    "ordering/v1/rollups",
    "header_with_proofs",
    "builder/header",
    "relay/constraints",
    "builder/delegate",
    "builder/validators",
    "builder/status",
    "v1/builder/blinded_blocks",
    "v2/builder/blinded_blocks",
];

impl RelayStandIn {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
        let relay = Self { url, says: Arc::default(), heard: Arc::new(watch::channel(Vec::new()).0) };
        let app = Router::new().fallback(answer).with_state(relay.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        relay
    }

    /// From now on `route` answers so. A route nothing was said of answers 204.
    pub(crate) fn says(&self, route: &'static str, says: Says) -> &Self {
        assert!(ROUTES.contains(&route));
        self.says.lock().insert(route, says);
        self
    }

    /// What came to `route` so far.
    pub(crate) fn heard(&self, route: &'static str) -> Vec<Heard> {
        self.heard.borrow().iter().filter(|heard| heard.route == route).cloned().collect()
    }

    /// Waits until `count` requests came to `route`.
    pub(crate) async fn wait_for(&self, route: &'static str, count: usize) -> Vec<Heard> {
        let mut receiver = self.heard.subscribe();
        let enough =
            receiver.wait_for(|heard| heard.iter().filter(|heard| heard.route == route).count() >= count);
        tokio::time::timeout(Duration::from_secs(20), enough).await.expect("request in time").unwrap();
        self.heard(route)
    }
}

async fn answer(State(relay): State<RelayStandIn>, request: Request<Body>) -> Response {
    let path = request.uri().path().to_owned();
    let Some(route) = ROUTES.into_iter().find(|route| path.contains(route)) else {
        return respond(404, "application/json", Vec::new());
    };
    assert!(matches!(*request.method(), Method::GET | Method::POST));
    let content_type = request.headers().get("content-type").map(|value| value.to_str().unwrap().to_owned());
    let body = axum::body::to_bytes(request.into_body(), 64 << 20).await.unwrap();
    relay.heard.send_modify(|heard| heard.push(Heard { route, content_type, body: body.clone() }));
    let says = relay.says.lock().get(route).cloned();
    match says {
        // A relay that knows of none.
        None if route == "relay/delegations" => respond(200, "application/json", b"[]".to_vec()),
        None => respond(204, "application/json", Vec::new()),
        Some(Says::Json(status, body)) => respond(status, "application/json", body),
        Some(Says::Bare(body)) => Response::new(Body::from(body)),
        Some(Says::Ssz(body, fork)) => {
            let mut response = respond(200, "application/octet-stream", body);
            response.headers_mut().insert("eth-consensus-version", fork.parse().unwrap());
            response
        }
        Some(Says::Named(body, content_type, fork)) => {
            let mut response = respond(200, content_type, body);
            response.headers_mut().insert("eth-consensus-version", fork.parse().unwrap());
            response
        }
        Some(Says::Elsewhere(path)) => {
            let mut response = respond(307, "application/json", Vec::new());
            response.headers_mut().insert("location", path.parse().unwrap());
            response
        }
        Some(Says::With(status, body, name, value)) => {
            let mut response = respond(status, "application/json", body);
            response.headers_mut().insert(name, value.parse().unwrap());
            response
        }
        Some(Says::Silence) => std::future::pending().await,
        Some(Says::Late(after, status)) => {
            tokio::time::sleep(after).await;
            respond(status, "application/json", Vec::new())
        }
        Some(Says::Stall) => {
            let start =
                futures::stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"{\"version\":"))]);
            let forever = futures::stream::pending();
            let body = Body::from_stream(futures::StreamExt::chain(start, forever));
            Response::builder().header("content-type", "application/json").body(body).unwrap()
        }
        Some(Says::Breaks) => {
            let start = Bytes::from_static(b"{\"version\":\"deneb\",");
            let pieces = futures::stream::iter([Ok(start), Err(std::io::Error::other("closed"))]);
            let response = Response::builder().header("content-type", "application/json");
            response.body(Body::from_stream(pieces)).unwrap()
        }
        Some(Says::LateJson(after, body)) => {
            tokio::time::sleep(after).await;
            respond(200, "application/json", body)
        }
        Some(Says::Answer(make)) => {
            let (status, body) = make(&body);
            respond(status, "application/json", body)
        }
    }
}

fn respond(status: u16, content_type: &str, body: Vec<u8>) -> Response {
    let status = StatusCode::from_u16(status).unwrap();
    Response::builder().status(status).header("content-type", content_type).body(Body::from(body)).unwrap()
}
