//! The one shape of an error answer: `{"code": …, "message": …}`.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::{Map, Value};

/// What stands in `code`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The HTTP status as a number, as the Builder, relay and beacon APIs have it.
    Status,
    /// A name that a program can act on, as our own APIs have it (design §4).
    Name(&'static str),
}

/// An error answer. Its JSON body is `{code, message}` and whatever [`ApiError::with`] added.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{status}: {message}")]
pub struct ApiError {
    /// HTTP status of the answer.
    pub status: StatusCode,
    /// What stands in `code`.
    pub code: Code,
    /// One sentence that says what is wrong.
    pub message: String,
    /// Seconds until another try makes sense, sent as `Retry-After` and as `retry_after`.
    pub retry_after: Option<u64>,
    /// Further members of the body, such as the `holder` of `not_holder`.
    pub details: Map<String, Value>,
    /// Whether the connection ends with this answer.
    pub closes: bool,
}

impl ApiError {
    /// An error whose `code` is its status.
    pub fn status(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            code: Code::Status,
            message: message.into(),
            retry_after: None,
            details: Map::new(),
            closes: false,
        }
    }

    /// An error with a `code` of its own.
    pub fn named(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { code: Code::Name(code), ..Self::status(status, message) }
    }

    /// 400 with a numeric code.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::status(StatusCode::BAD_REQUEST, message)
    }

    /// 404 with a numeric code.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::status(StatusCode::NOT_FOUND, message)
    }

    /// 500 with a numeric code. The cause belongs in the log, not in the answer.
    pub fn internal() -> Self {
        Self::status(StatusCode::INTERNAL_SERVER_ERROR, "internal error")
    }

    /// 503 with a numeric code.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::status(StatusCode::SERVICE_UNAVAILABLE, message)
    }

    /// Says when another try makes sense, in seconds.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// Ends the connection with this answer, so that those who are turned away hold none.
    #[must_use]
    pub const fn closing(mut self) -> Self {
        self.closes = true;
        self
    }

    /// Adds a member to the body. `code`, `message` and `retry_after` cannot be replaced.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.details.insert(key.to_owned(), value.into());
        self
    }

    /// The body as JSON.
    pub fn body(&self) -> Value {
        let mut body = self.details.clone();
        let code = match self.code {
            Code::Status => Value::from(self.status.as_u16()),
            Code::Name(name) => Value::from(name),
        };
        body.insert("code".to_owned(), code);
        body.insert("message".to_owned(), Value::from(self.message.as_str()));
        if let Some(seconds) = self.retry_after {
            body.insert("retry_after".to_owned(), Value::from(seconds));
        }
        Value::Object(body)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, axum::Json(self.body())).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.closes {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

impl Serialize for ApiError {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.body().serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn body_by_table() {
        let cases = [
            (ApiError::bad_request("no"), json!({"code": 400, "message": "no"})),
            (ApiError::not_found("none"), json!({"code": 404, "message": "none"})),
            (
                ApiError::named(StatusCode::BAD_REQUEST, "constraint_late", "past the cut-off"),
                json!({"code": "constraint_late", "message": "past the cut-off"}),
            ),
            (
                ApiError::named(StatusCode::CONFLICT, "not_holder", "x")
                    .with("holder", "0xab")
                    .with("code", "y"),
                json!({"code": "not_holder", "message": "x", "holder": "0xab"}),
            ),
            (
                ApiError::unavailable("busy").retry_after(3),
                json!({"code": 503, "message": "busy", "retry_after": 3}),
            ),
        ];
        for (error, body) in cases {
            assert_eq!(error.body(), body);
        }
    }

    #[test]
    fn answer_carries_status_and_retry_after() {
        let response = ApiError::unavailable("busy").retry_after(7).into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[header::RETRY_AFTER], "7");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
        assert_eq!(response.headers().get(header::CONNECTION), None);
        let response = ApiError::unavailable("full").closing().into_response();
        assert_eq!(response.headers()[header::CONNECTION], "close");
    }
}
