//! A beacon node's front, that passes questions on and does with blocks as it is told.

use super::World;
use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
    routing::{any, get, post},
};
use serde_json::json;
use std::net::SocketAddr;
use tokio::net::TcpListener;
use url::Url;

/// How the node behind the front seems.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seems {
    /// In sync; it never answers to a block.
    Hanging,
    /// Syncing; it refuses every block.
    Behind,
}

#[derive(Clone)]
struct Front {
    node: Url,
    seems: Seems,
    http: reqwest::Client,
}

impl World {
    /// A front of the world's node.
    pub(crate) async fn front(&self, seems: Seems) -> Url {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let url = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let front = Front { node: self.node.url().clone(), seems, http: self.http.clone() };
        let mut routes = Router::new()
            .route("/eth/v2/beacon/blocks", post(publish))
            .route("/eth/v1/events", any(async || StatusCode::NOT_FOUND));
        if seems == Seems::Behind {
            routes = routes.route("/eth/v1/node/syncing", get(syncing));
        }
        let router = routes.fallback(pass).with_state(front);
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }
}

async fn publish(State(front): State<Front>) -> Response {
    match front.seems {
        Seems::Hanging => std::future::pending().await,
        Seems::Behind => {
            let body = json!({"code": 400, "message": "unknown parent"});
            (StatusCode::BAD_REQUEST, Json(body)).into_response()
        }
    }
}

async fn syncing() -> Response {
    let data = json!({"head_slot": "0", "sync_distance": "9", "is_syncing": true, "is_optimistic": false,
        "el_offline": false});
    Json(json!({"data": data})).into_response()
}

async fn pass(State(front): State<Front>, uri: Uri, headers: HeaderMap) -> Response {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = front.http.get(front.node.join(path).unwrap());
    if let Some(accept) = headers.get("accept") {
        request = request.header("accept", accept);
    }
    let answer = request.send().await.unwrap();
    let status = answer.status();
    let body: Bytes = answer.bytes().await.unwrap();
    (status, [("content-type", "application/json")], body).into_response()
}
