//! A server on a port of the system's choice.

use axum::Router;
use earnest_client::Limits;
use std::time::Duration;
use tokio::net::TcpListener;
use url::Url;

/// Serves until the test ends.
pub(crate) async fn serve(app: Router) -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    url
}

pub(crate) fn limits() -> Limits {
    Limits { max_body: 64 << 10, timeout: Duration::from_millis(800), ..Limits::default() }
}

/// Fails the test rather than hanging it.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("in time")
}
