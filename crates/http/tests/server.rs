//! The server as a client sees it: over sockets.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use axum::extract::Request;
use axum::routing::{get, post};
use axum::{Extension, Router};
use earnest_http::*;
use http::StatusCode;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The workspace's HTTP client takes its cryptography from the process.
fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

struct Server {
    address: SocketAddr,
    shutdown: CancellationToken,
    task: JoinHandle<std::io::Result<()>>,
}

impl Server {
    async fn start(router: Router, limits: ServerLimits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(serve(listener, router, limits, shutdown.clone()));
        Self { address, shutdown, task }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }
}

async fn echo(request: Request) -> Result<String, ApiError> {
    let (parts, body) = request.into_parts();
    let limits = BodyLimits { max_bytes: 64, max_time: Duration::from_millis(200) };
    let bytes = read_body(&parts.headers, body, limits).await?;
    Ok(format!("{} bytes", bytes.len()))
}

fn router() -> Router {
    Router::new()
        .route("/hello", get(async || "hello"))
        .route("/peer", get(async |Extension(peer): Extension<PeerAddr>| peer.0.ip().to_string()))
        .route("/panic", get(async || -> &'static str { panic!("a defect") }))
        .route("/never", get(async || std::future::pending::<&'static str>().await))
        .route("/echo", post(echo))
}

async fn error_of(response: reqwest::Response) -> (u16, Value) {
    (response.status().as_u16(), response.json().await.unwrap())
}

#[tokio::test]
async fn every_error_has_a_code_and_a_message() {
    let limits = ServerLimits { request_time: Duration::from_millis(300), ..ServerLimits::default() };
    let server = Server::start(router(), limits).await;
    let client = client();

    let get = async |path: &str| error_of(client.get(server.url(path)).send().await.unwrap()).await;
    assert_eq!(get("/nowhere").await, (404, json!({"code": 404, "message": "no such route"})));
    assert_eq!(get("/panic").await, (500, json!({"code": 500, "message": "internal error"})));
    assert_eq!(get("/never").await, (503, json!({"code": 503, "message": "the request took too long"})));

    let response = client.post(server.url("/hello")).send().await.unwrap();
    assert_eq!(response.headers()["allow"], "GET,HEAD");
    let expected = json!({"code": 405, "message": "method not allowed on this route"});
    assert_eq!(error_of(response).await, (405, expected));

    let response = client.post(server.url("/echo")).body(vec![0; 65]).send().await.unwrap();
    assert_eq!(
        error_of(response).await,
        (413, json!({"code": 413, "message": "body is larger than 64 bytes"}))
    );
    server.stop().await;
}

#[tokio::test]
async fn a_panic_does_not_harm_the_next_request() {
    let server = Server::start(router(), ServerLimits::default()).await;
    let client = client();
    for _ in 0..3 {
        assert_eq!(client.get(server.url("/panic")).send().await.unwrap().status(), 500);
        assert_eq!(client.get(server.url("/hello")).send().await.unwrap().text().await.unwrap(), "hello");
    }
    assert_eq!(client.get(server.url("/peer")).send().await.unwrap().text().await.unwrap(), "127.0.0.1");
    server.stop().await;
}

#[tokio::test]
async fn request_ids() {
    let server = Server::start(router(), ServerLimits::default()).await;
    let client = client();
    let send = async |id: Option<&str>| {
        let mut request = client.get(server.url("/hello"));
        if let Some(id) = id {
            request = request.header("x-request-id", id);
        }
        request.send().await.unwrap().headers()["x-request-id"].to_str().unwrap().to_owned()
    };
    assert_eq!(send(Some("abc-1")).await, "abc-1");
    let long = "x".repeat(65);
    assert_ne!(send(Some(&long)).await, long);
    assert_ne!(send(None).await, send(None).await);
    server.stop().await;
}

/// The server will not read what is left of a refused body, so the connection ends. The client has to know: else it may
/// send its next request on it, which is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_refused_unread_ends_the_connection() {
    let server = Server::start(router(), ServerLimits::default()).await;
    let client = client();
    for round in 0..30 {
        let refused = client.post(server.url("/echo")).body(vec![b'x'; 60_000]).send().await.unwrap();
        assert_eq!(refused.status(), 413);
        assert_eq!(refused.headers()["connection"], "close");
        let good = client.post(server.url("/echo")).body("good").send().await;
        let good = good.unwrap_or_else(|error| panic!("round {round}: {error:?}"));
        assert!(good.headers().get("connection").is_none());
        assert_eq!(good.text().await.unwrap(), "4 bytes");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_slow_body_is_answered_408() {
    let server = Server::start(router(), ServerLimits::default()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nabc").await.unwrap();
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&answer), "HTTP/1.1 408");
    server.stop().await;
}

#[tokio::test]
async fn a_slow_head_is_cut_off() {
    let limits = ServerLimits { head_time: Duration::from_millis(100), ..ServerLimits::default() };
    let server = Server::start(router(), limits).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET /hello HTTP/1.1\r\nhost:").await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    assert!(!String::from_utf8_lossy(&answer).contains("200"), "never served");
    server.stop().await;
}

#[tokio::test]
async fn an_endless_head_is_refused() {
    let server = Server::start(router(), ServerLimits::default()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET /hello HTTP/1.1\r\n").await.unwrap();
    let line = format!("x: {}\r\n", "y".repeat(1000));
    for _ in 0..40 {
        if stream.write_all(line.as_bytes()).await.is_err() {
            break;
        }
    }
    let mut answer = vec![0; 12];
    // The server may reset the connection before its 431 is read.
    if stream.read_exact(&mut answer).await.is_ok() {
        assert_eq!(String::from_utf8_lossy(&answer), "HTTP/1.1 431");
    }
    server.stop().await;
}

#[tokio::test]
async fn connections_over_the_cap_wait_their_turn() {
    let limits = ServerLimits { max_connections: 1, ..ServerLimits::default() };
    let server = Server::start(router(), limits).await;
    let mut first = TcpStream::connect(server.address).await.unwrap();
    first.write_all(b"GET /hello HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut byte = [0; 1];
    first.read_exact(&mut byte).await.unwrap();

    let mut second = TcpStream::connect(server.address).await.unwrap();
    second.write_all(b"GET /hello HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let waiting = tokio::time::timeout(Duration::from_millis(200), second.read_exact(&mut byte)).await;
    assert!(waiting.is_err(), "served beyond the cap");
    drop(first);
    second.read_exact(&mut byte).await.unwrap();
    assert_eq!(&byte, b"H");
    server.stop().await;
}

#[tokio::test]
async fn shutdown_lets_a_request_end_and_accepts_no_other() {
    let (began, mut begun) = mpsc::channel::<oneshot::Sender<()>>(1);
    let slow = get(move || {
        let began = began.clone();
        async move {
            let (release, released) = oneshot::channel();
            began.send(release).await.unwrap();
            released.await.unwrap();
            "done"
        }
    });
    let server = Server::start(Router::new().route("/slow", slow), ServerLimits::default()).await;
    let request = tokio::spawn(client().get(server.url("/slow")).send());
    let release = tokio::time::timeout(Duration::from_secs(20), begun.recv()).await.unwrap().unwrap();
    server.shutdown.cancel();
    while TcpStream::connect(server.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!server.task.is_finished());
    release.send(()).unwrap();
    assert_eq!(request.await.unwrap().unwrap().text().await.unwrap(), "done");
    server.task.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_does_not_end_is_closed_after_the_drain_time() {
    let limits = ServerLimits { drain_time: Duration::from_millis(100), ..ServerLimits::default() };
    let server = Server::start(router(), limits).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET /never HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    // A second connection answered says that the first was accepted.
    client().get(server.url("/hello")).send().await.unwrap();
    server.stop().await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(answer.is_empty());
}

#[tokio::test]
async fn operation_routes() {
    let health = Health::new();
    let part = health.part("beacon");
    let routes = operation_router(health.clone(), telemetry::metrics_handle().unwrap());
    let server = Server::start(router().merge(routes), ServerLimits::default()).await;
    let status = async |path: &str| client().get(server.url(path)).send().await.unwrap().status().as_u16();

    assert_eq!(status("/livez").await, 200);
    let response = client().get(server.url("/readyz")).send().await.unwrap();
    let expected = json!({"code": 503, "message": "not ready: beacon: starting"});
    assert_eq!(error_of(response).await, (503, expected));
    part.ready();
    assert_eq!(status("/readyz").await, 200);
    assert_eq!(status("/hello").await, 200);
    let text = client().get(server.url("/metrics")).send().await.unwrap().text().await.unwrap();
    assert!(text.contains(r#"earnest_http_request_seconds_count{route="/hello",status="200"}"#), "{text}");
    server.stop().await;
}

#[tokio::test]
async fn a_client_over_its_rate_gets_429() {
    let limiter = ClientLimiter::new(&LimitConfig { per_second: 1, burst: 2, trusted_proxies: vec![] });
    let server = Server::start(limiter.guard(router()), ServerLimits::default()).await;
    let client = client();
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(client.get(server.url("/hello")).send().await.unwrap().status());
    }
    assert_eq!(statuses, [StatusCode::OK, StatusCode::OK, StatusCode::TOO_MANY_REQUESTS]);
    let response = client.get(server.url("/hello")).send().await.unwrap();
    assert_eq!(response.headers()["retry-after"], "1");
    let (_, body) = error_of(response).await;
    assert_eq!(body["code"], "busy");
    server.stop().await;
}

#[tokio::test]
async fn what_does_not_exist_counts_against_the_client() {
    let cases = [("/nowhere", "GET", 404), ("/hello", "POST", 405)];
    for (path, method, status) in cases {
        let limiter = ClientLimiter::new(&LimitConfig { per_second: 1, burst: 2, trusted_proxies: vec![] });
        let other = operation_router(Health::new(), telemetry::metrics_handle().unwrap());
        let server = Server::start(limiter.guard(router()).merge(other), ServerLimits::default()).await;
        let mut statuses = Vec::new();
        for _ in 0..3 {
            let request = client().request(method.parse().unwrap(), server.url(path));
            statuses.push(request.send().await.unwrap().status().as_u16());
        }
        assert_eq!(statuses, [status, status, 429], "{method} {path}");
        server.stop().await;
    }
}

#[tokio::test]
async fn a_client_that_reads_no_answer_is_cut() {
    let limits = ServerLimits {
        max_connections: 1,
        write_time: Duration::from_millis(200),
        ..ServerLimits::default()
    };
    let big = get(async || vec![0u8; 32 << 20]);
    let server = Server::start(router().route("/big", big), limits).await;
    let mut stalled = TcpStream::connect(server.address).await.unwrap();
    stalled.write_all(b"GET /big HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let next = tokio::time::timeout(Duration::from_secs(20), client().get(server.url("/hello")).send());
    assert_eq!(next.await.expect("its place is free again").unwrap().status(), 200);
    drop(stalled);
    server.stop().await;
}

#[tokio::test]
async fn one_client_cannot_take_every_connection() {
    let capped = ServerLimits { max_connections_per_client: 1, ..ServerLimits::default() };
    let exempt = ServerLimits { exempt: vec!["127.0.0.0/8".parse().unwrap()], ..capped.clone() };
    let none = ServerLimits { max_connections_per_client: 0, ..capped.clone() };
    for (limits, served) in [(capped, false), (exempt, true), (none, true)] {
        let server = Server::start(router(), limits).await;
        let hello = async |stream: &mut TcpStream| {
            let _ = stream.write_all(b"GET /hello HTTP/1.1\r\nhost: x\r\n\r\n").await;
            stream.read_exact(&mut [0; 1]).await.is_ok()
        };
        let mut first = TcpStream::connect(server.address).await.unwrap();
        assert!(hello(&mut first).await);
        let mut second = TcpStream::connect(server.address).await.unwrap();
        assert_eq!(hello(&mut second).await, served);
        drop(first);
        let again = async {
            while !hello(&mut TcpStream::connect(server.address).await.unwrap()).await {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), again)
            .await
            .expect("a closed connection gives its place back");
        server.stop().await;
    }
}

/// An answer without end, and how much of it was made.
struct Endless(Arc<AtomicUsize>, Option<oneshot::Sender<()>>);

impl Drop for Endless {
    fn drop(&mut self) {
        self.1.take().unwrap().send(()).unwrap();
    }
}

/// What one reader costs that reads nothing: little is made for it, by us and by the system, until it is cut.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_reads_nothing_is_made_little_and_cut() {
    const CHUNK: usize = 1 << 10;
    let (made, (ended, end)) = (Arc::new(AtomicUsize::new(0)), oneshot::channel());
    let endless = Arc::new(std::sync::Mutex::new(Some(Endless(Arc::clone(&made), Some(ended)))));
    let answer = move || {
        let endless = endless.lock().unwrap().take().unwrap();
        let chunks = futures::stream::repeat_with(move || {
            endless.0.fetch_add(CHUNK, Ordering::Relaxed);
            Ok::<_, std::convert::Infallible>(vec![b'x'; CHUNK])
        });
        axum::body::Body::from_stream(chunks)
    };
    let router = Router::new().route("/endless", get(async move || answer()));
    let limits = ServerLimits { write_time: Duration::from_millis(300), ..ServerLimits::default() };
    let server = Server::start(router, limits).await;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 << 10).unwrap();
    let mut stream = socket.connect(server.address).await.unwrap();
    stream.write_all(b"GET /endless HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    end.await.unwrap();
    let made = made.load(Ordering::Relaxed);
    println!("{made} bytes were made for a reader that takes none");
    assert!(made < 256 << 10, "{made}");
    server.stop().await;
}
