//! The layers around every router, outermost last.

use crate::error::ApiError;
use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::middleware::{Next, from_fn, map_response};
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use hyper::body::Body as _;
use std::any::Any;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tower_http::catch_panic::CatchPanicLayer;
use tracing::Instrument;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The id of a request: the client's own if it is short and printable, else ours. It is an extension
/// of the request, a field of every log line under it, and a header of the answer.
#[derive(Clone, Debug)]
pub struct RequestId(pub HeaderValue);

/// Puts around a router: 404 and 405 as `{code, message}`, a time limit for the head of the answer,
/// panics as 500, a span and a histogram for each request, and its id.
pub fn layered(router: Router, request_time: Duration) -> Router {
    router
        .layer(map_response(explain))
        .layer(from_fn(observe))
        .layer(from_fn(move |request: Request, next: Next| async move {
            match tokio::time::timeout(request_time, next.run(request)).await {
                Ok(response) => response,
                Err(_) => ApiError::unavailable("the request took too long").into_response(),
            }
        }))
        .layer(CatchPanicLayer::custom(on_panic))
        .layer(from_fn(identify))
}

/// The answer to a path that no route has.
pub(crate) fn not_found() -> ApiError {
    ApiError::not_found("no such route")
}

/// Gives the router's own empty 404 and 405 a body. Fallbacks set here would replace those that a guard
/// has wrapped, so that neither would count against the client.
async fn explain(response: Response) -> Response {
    let is_empty = response.body().size_hint().exact() == Some(0);
    let error = match response.status() {
        StatusCode::NOT_FOUND if is_empty => not_found(),
        StatusCode::METHOD_NOT_ALLOWED if is_empty => {
            ApiError::status(StatusCode::METHOD_NOT_ALLOWED, "method not allowed on this route")
        }
        _ => return response,
    };
    let (head, _) = response.into_parts();
    let mut response = error.into_response();
    response.extensions_mut().extend(head.extensions);
    if let Some(methods) = head.headers.get(header::ALLOW) {
        response.headers_mut().insert(header::ALLOW, methods.clone());
    }
    response
}

/// A panic is a defect: logged whole, answered as 500 without its text.
#[expect(clippy::needless_pass_by_value, reason = "the layer calls it so")]
fn on_panic(cause: Box<dyn Any + Send + 'static>) -> Response {
    let cause = cause
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| cause.downcast_ref::<&str>().copied())
        .unwrap_or("unknown");
    tracing::error!(cause, "a request handler panicked");
    metrics::counter!("earnest_http_panics_total").increment(1);
    ApiError::internal().into_response()
}

async fn identify(mut request: Request, next: Next) -> Response {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let given = request.headers().get(REQUEST_ID).filter(|value| is_id(value)).cloned();
    let id = given.unwrap_or_else(|| HeaderValue::from(NEXT.fetch_add(1, Ordering::Relaxed)));
    let span = tracing::info_span!(
        "request",
        id = id.to_str().unwrap_or_default(),
        method = %request.method(),
        path = request.uri().path(),
    );
    request.extensions_mut().insert(RequestId(id.clone()));
    let mut response = next.run(request).instrument(span).await;
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

fn is_id(value: &HeaderValue) -> bool {
    value.len() <= 64 && !value.is_empty() && value.as_bytes().iter().all(u8::is_ascii_graphic)
}

async fn observe(request: Request, next: Next) -> Response {
    let started = Instant::now();
    let route =
        request.extensions().get::<MatchedPath>().map_or("none".to_owned(), |path| path.as_str().to_owned());
    let response = next.run(request).await;
    let status = response.status();
    let elapsed = started.elapsed();
    metrics::histogram!("earnest_http_request_seconds", "route" => route, "status" => status.as_u16().to_string())
        .record(elapsed.as_secs_f64());
    tracing::debug!(status = status.as_u16(), micros = elapsed.as_micros(), "answered");
    response
}
