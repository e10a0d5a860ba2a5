//! Stands before an execution client, and does what its peers would do if it had any: what is sent to its pool goes on to others'.

use std::sync::Arc;

use alloy_primitives::Bytes;
use axum::{
    Router,
    body::Bytes as Body,
    extract::State,
    response::{IntoResponse, Response},
};
use earnest_chain::ExecutionClient;
use http::{StatusCode, header};
use serde_json::Value;
use tokio::{net::TcpListener, task::AbortHandle};
use url::Url;

use super::http_client;

/// The JSON-RPC of an execution client with peers. Closed when dropped.
#[derive(Debug)]
pub struct Gossip {
    /// Where it listens.
    pub url: Url,
    serving: AbortHandle,
}

#[derive(Debug)]
struct Shared {
    client: Url,
    others: Vec<ExecutionClient>,
    http: reqwest::Client,
}

impl Gossip {
    /// Before the client at `client`, whose peers are `others`.
    ///
    /// # Panics
    /// If it cannot listen.
    pub async fn before(client: Url, others: Vec<ExecutionClient>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
        let shared = Arc::new(Shared { client, others, http: http_client() });
        let router = Router::new().fallback(pass).with_state(shared);
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, serving: serving.abort_handle() }
    }
}

impl Drop for Gossip {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn pass(State(shared): State<Arc<Shared>>, request: Body) -> Response {
    if let Some(transaction) = sent(&request) {
        for other in &shared.others {
            // Whether a peer wants it is its own affair.
            let _ = other.send_raw_transaction(&transaction).await;
        }
    }
    let json = (header::CONTENT_TYPE, "application/json");
    let asked = shared.http.post(shared.client.clone()).header(json.0.clone(), json.1).body(request);
    let answer = async {
        let answer = asked.send().await?;
        Ok::<_, reqwest::Error>((answer.status(), answer.bytes().await?))
    };
    match answer.await {
        Ok((status, body)) => (status, [json], body).into_response(),
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}

/// The transaction that a request sends, if it sends one.
fn sent(request: &[u8]) -> Option<Bytes> {
    let request: Value = serde_json::from_slice(request).ok()?;
    let sends = request.get("method")?.as_str()? == "eth_sendRawTransaction";
    sends.then(|| request.get("params")?.get(0)?.as_str()?.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_found_and_nothing_else() {
        let request = |method: &str, of: &str| {
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":["{of}"]}}"#)
        };
        let found = |method: &str, of: &str| sent(request(method, of).as_bytes());
        assert_eq!(found("eth_sendRawTransaction", "0x02ff"), Some(Bytes::from_static(&[2, 0xff])));
        assert_eq!(found("eth_sendRawTransaction", "0x02f"), None);
        assert_eq!(found("eth_call", "0x02ff"), None);
        assert_eq!(sent(b"[]"), None);
        assert_eq!(sent(&[0xff, 0]), None);
    }
}
