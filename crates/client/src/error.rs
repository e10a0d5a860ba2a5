//! What can go wrong between a client and a server of ours.

use serde::Deserialize;
use serde_json::Value;

/// A failed call. Every variant says who is at fault: the network, the server's answer, or the server's rules.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The server understood the request and said no.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// No whole answer within the time allowed.
    #[error("no answer within {ms} ms")]
    TimedOut {
        /// The time allowed, in milliseconds.
        ms: u64,
    },
    /// The answer is larger than this client accepts.
    #[error("answer is larger than {limit} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The connection could not be made, or broke.
    #[error("cannot reach {host}: {cause}")]
    Unreachable {
        /// Host and port of the server; never the whole URL, which may hold credentials.
        host: String,
        /// The transport's own words.
        cause: String,
    },
    /// The answer arrived whole and is not what the API promises.
    #[error("bad answer, {what}: {cause}")]
    Malformed {
        /// What was being read.
        what: &'static str,
        /// Why it could not be.
        cause: String,
    },
    /// The URL cannot serve as the base of an API.
    #[error("bad URL: {0}")]
    Url(String),
    /// The HTTP client itself could not be made.
    #[error("cannot make an HTTP client: {0}")]
    Setup(String),
}

impl ClientError {
    /// The answer is not what the API promises.
    pub(crate) fn malformed(what: &'static str, cause: impl std::fmt::Display) -> Self {
        Self::Malformed { what, cause: cause.to_string() }
    }

    /// The server's refusal, if that is what this is.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }

    /// Whether the same request may succeed later without a change: the network failed, or the server is busy or broken.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.status >= 500 || matches!(refusal.status, 408 | 425 | 429),
            Self::TimedOut { .. } | Self::Unreachable { .. } => true,
            Self::TooLarge { .. } | Self::Malformed { .. } | Self::Url(_) | Self::Setup(_) => false,
        }
    }
}

/// A server's `{code, message}` answer (design §4, §5), kept as it came.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{status} {code}: {message}")]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// The machine-readable code: a name in our APIs (`not_holder`), the status as a number in the Builder API.
    pub code: String,
    /// The server's explanation.
    pub message: String,
    /// Seconds after which to try again, if the server said so.
    pub retry_after: Option<u64>,
    /// The whole body, for the fields that only some codes have (`holder`, `url`, `from_ms`). Null if it was not JSON.
    pub body: Value,
}

#[derive(Deserialize)]
struct Envelope {
    code: Value,
    #[serde(default)]
    message: String,
}

impl Refusal {
    /// Reads a refusal out of an answer that is not a success. A body that is not `{code, message}` becomes the message.
    #[must_use]
    pub fn read(status: u16, retry_after: Option<u64>, body: &[u8]) -> Self {
        let value = serde_json::from_slice::<Value>(body).unwrap_or(Value::Null);
        match Envelope::deserialize(&value) {
            Ok(envelope) => Self {
                status,
                code: match envelope.code {
                    Value::String(code) => code,
                    other => other.to_string(),
                },
                message: envelope.message,
                retry_after: retry_after.or_else(|| value.get("retry_after").and_then(Value::as_u64)),
                body: value,
            },
            Err(_) => Self {
                status,
                code: status.to_string(),
                message: String::from_utf8_lossy(body).chars().take(200).collect(),
                retry_after,
                body: value,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_keeps_the_servers_code_and_message() {
        type Case = (u16, &'static [u8], &'static str, &'static str, Option<u64>);
        let cases: [Case; 5] = [
            (409, br#"{"code":"not_holder","message":"no","holder":"0x01"}"#, "not_holder", "no", None),
            (400, br#"{"code":400,"message":"bad"}"#, "400", "bad", None),
            (503, br#"{"code":"busy","message":"later","retry_after":2}"#, "busy", "later", Some(2)),
            (502, b"<html>oops", "502", "<html>oops", None),
            (500, b"", "500", "", None),
        ];
        for (status, body, code, message, retry) in cases {
            let refusal = Refusal::read(status, None, body);
            assert_eq!(
                (refusal.code.as_str(), refusal.message.as_str(), refusal.retry_after),
                (code, message, retry)
            );
            assert_eq!(refusal.status, status);
        }
        assert_eq!(
            Refusal::read(409, None, br#"{"code":"not_holder","holder":"0x01"}"#).body["holder"],
            "0x01"
        );
    }

    #[test]
    fn only_the_network_and_a_busy_server_are_worth_a_retry() {
        let refused = |status| ClientError::Refused(Box::new(Refusal::read(status, None, b"{}")));
        for status in [408, 425, 429, 500, 503] {
            assert!(refused(status).is_transient(), "{status}");
        }
        for status in [400, 404, 406, 409, 415] {
            assert!(!refused(status).is_transient(), "{status}");
        }
        assert!(ClientError::TimedOut { ms: 1 }.is_transient());
        assert!(!ClientError::TooLarge { limit: 1 }.is_transient());
    }
}
