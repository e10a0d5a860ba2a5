//! Every answer is bounded, and a refusal keeps its code.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use earnest_client::transport::JSON;
use earnest_client::{
    ClientError, GatewayClient, HeaderRequest, Limits, MAX_HEADER_ANSWER, RelayClient, Transport,
};
use earnest_protocol::RollupId;
use futures::StreamExt;
use std::time::Duration;
use tokio::net::TcpListener;
use url::Url;

use crate::server::{limits, serve, soon};

const STATUS: &str = "/eth/v1/builder/status";

async fn status_of(answer: fn() -> Response) -> Result<(), ClientError> {
    let url = serve(Router::new().route(STATUS, get(move || async move { answer() }))).await;
    soon(RelayClient::new(&url, limits()).unwrap().status()).await
}

fn endless() -> Response {
    let chunks = futures::stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; 1024])));
    Body::from_stream(chunks).into_response()
}

fn stalling() -> Response {
    let start = futures::stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"{"))]);
    Body::from_stream(start.chain(futures::stream::pending())).into_response()
}

#[tokio::test]
async fn answers_are_bounded_in_bytes_and_time() {
    assert!(status_of(|| ().into_response()).await.is_ok());
    let announced = status_of(|| vec![b'x'; 65 << 10].into_response()).await;
    assert!(matches!(announced, Err(ClientError::TooLarge { limit: 65_536 })), "{announced:?}");
    let endless = status_of(endless).await;
    assert!(matches!(endless, Err(ClientError::TooLarge { limit: 65_536 })), "{endless:?}");
    let stalling = status_of(stalling).await;
    assert!(matches!(stalling, Err(ClientError::TimedOut { ms: 800 })), "{stalling:?}");
}

#[tokio::test]
async fn what_a_header_is_asked_with_is_bounded_more_tightly_than_a_block() {
    let app = Router::new().fallback(|| async { endless() });
    let limits = Limits { max_body: 64 << 20, ..limits() };
    let client = RelayClient::new(&serve(app).await, limits).unwrap();
    let wanted = HeaderRequest { slot: 1, parent_hash: Default::default(), pubkey: Default::default() };
    let time = Duration::from_secs(20);
    let too_large = |error: ClientError| matches!(error, ClientError::TooLarge { limit: MAX_HEADER_ANSWER });
    assert!(too_large(soon(client.header_answer(&wanted, JSON, time)).await.unwrap_err()));
    assert!(too_large(soon(client.header_with_proofs(&wanted, time)).await.unwrap_err()));
    assert!(too_large(soon(client.constraints_answer(1, time)).await.unwrap_err()));
}

#[tokio::test]
async fn nobody_there_is_told_without_the_urls_secrets() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let url = Url::parse(&format!("http://user:secret@{address}/key-of-an-api/")).unwrap();
    let error = soon(RelayClient::new(&url, limits()).unwrap().status()).await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error:?}");
    assert!(error.is_transient());
    let text = format!("{error} {error:?}");
    assert!(
        text.contains(&address.to_string()) && !text.contains("secret") && !text.contains("key-of"),
        "{text}"
    );
}

#[tokio::test]
async fn a_refusal_keeps_code_message_and_what_else_there_is() {
    let body = r#"{"code":"not_holder","message":"not now","holder":"0x01","url":"http://x/","from_ms":"5"}"#;
    let app = Router::new().fallback(move || async move {
        (axum::http::StatusCode::CONFLICT, [("retry-after", "3")], body).into_response()
    });
    let gateway = GatewayClient::new(&serve(app).await, limits()).unwrap();
    let error = soon(gateway.submit(RollupId(1), &vec![1, 2].into())).await.unwrap_err();
    let refusal = error.refusal().unwrap();
    assert_eq!(
        (refusal.status, refusal.code.as_str(), refusal.message.as_str()),
        (409, "not_holder", "not now")
    );
    assert_eq!(refusal.retry_after, Some(3));
    assert_eq!(refusal.body["holder"], "0x01");
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_a_base_path_is_kept() {
    let app = Router::new()
        .route("/base/eth/v1/builder/status", get(|| async { axum::response::Redirect::to("/elsewhere") }))
        .route("/elsewhere", get(|| async { "followed" }));
    let base = serve(app).await.join("base").unwrap();
    let error = soon(RelayClient::new(&base, limits()).unwrap().status()).await.unwrap_err();
    assert_eq!(error.refusal().unwrap().status, 303);
}

#[test]
fn only_http_urls_with_a_host_are_bases() {
    for bad in ["ftp://x/", "file:///x", "data:text/plain,x"] {
        let refused = Transport::new(&Url::parse(bad).unwrap(), limits());
        assert!(matches!(refused, Err(ClientError::Url(_))), "{bad}");
    }
}
