//! `GET /openapi.json`: the routes of this API, from the endpoints themselves.

use utoipa::{OpenApi, ToSchema, openapi::Info};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Api, info, receipt, stream, submit};

/// An error answer.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the shape of the answers, for the document alone")]
pub(super) struct Problem {
    /// A name that a program can act on.
    code: String,
    /// One sentence that says what is wrong.
    message: String,
    /// Seconds until another try makes sense.
    retry_after: Option<u64>,
}

#[derive(OpenApi)]
#[openapi(components(schemas(Problem)))]
struct Base;

/// The routes, each with its description.
pub(super) fn routes() -> OpenApiRouter<Api> {
    let mut document = Base::openapi();
    document.info = Info::new("Earnest gateway", env!("CARGO_PKG_VERSION"));
    OpenApiRouter::with_openapi(document)
        .routes(routes!(info::info))
        .routes(routes!(submit::submit))
        .routes(routes!(receipt::receipt))
        .routes(routes!(stream::stream))
}

#[cfg(test)]
mod tests {
    use earnest_http::{ClientLimiter, LimitConfig, ServerLimits, serve};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_util::sync::CancellationToken;

    use crate::api::stream::tests::{journal_of, microblocks, state};

    #[test]
    fn every_route_is_described() {
        let (_, document) = super::routes().split_for_parts();
        let document = serde_json::to_value(&document).unwrap();
        let routes = [
            ("/ordering/v1/info", "get"),
            ("/ordering/v1/rollups/{rollup}/transactions", "post"),
            ("/ordering/v1/rollups/{rollup}/receipts/{hash}", "get"),
            ("/ordering/v1/rollups/{rollup}/stream", "get"),
        ];
        assert_eq!(document["paths"].as_object().unwrap().len(), routes.len());
        for (path, method) in routes {
            assert!(document["paths"][path][method]["responses"]["200"].is_object(), "{method} {path}");
        }
        assert_eq!(
            document["components"]["schemas"]["Problem"]["required"],
            serde_json::json!(["code", "message"])
        );
        assert_eq!(document["info"]["title"], "Earnest gateway");
    }

    #[tokio::test]
    async fn it_is_served() {
        let folder = tempfile::tempdir().unwrap();
        let state = state(&journal_of(folder.path(), &microblocks(1)), 1);
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = crate::api::router(state, &ClientLimiter::new(&LimitConfig::default()));
        let stop = CancellationToken::new();
        let server = tokio::spawn(serve(listener, router, ServerLimits::default(), stop.clone()));
        let mut connection = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = b"GET /openapi.json HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n\r\n";
        connection.write_all(request).await.unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200") && head.contains("application/json"), "{head}");
        let document: serde_json::Value = serde_json::from_str(body).unwrap();
        assert!(document["paths"]["/ordering/v1/info"]["get"].is_object());
        stop.cancel();
        server.await.unwrap().unwrap();
    }
}
