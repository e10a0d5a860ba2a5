//! The one error of this crate's clients.

use std::time::Duration;

use alloy_primitives::Bytes;

/// Why a beacon node or an execution client gave no usable answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// The client was configured in a way that cannot work (no node, a TLS set-up that fails).
    #[error("configuration: {0}")]
    Config(String),
    /// No connection, or it broke off.
    #[error("{endpoint} cannot be reached: {reason}")]
    Unreachable {
        /// The endpoint asked, without credentials.
        endpoint: String,
        /// What the transport said.
        reason: String,
    },
    /// The answer did not come in time.
    #[error("{endpoint} did not answer within {limit:?}")]
    Timeout {
        /// The endpoint asked, without credentials.
        endpoint: String,
        /// The time that was allowed.
        limit: Duration,
    },
    /// The answer is longer than we read.
    #[error("{endpoint} answered more than {limit} bytes")]
    TooLarge {
        /// The endpoint asked, without credentials.
        endpoint: String,
        /// The bytes that were allowed.
        limit: usize,
    },
    /// An HTTP status that is not success.
    #[error("{endpoint} answered {status}: {message}")]
    Status {
        /// The endpoint asked, without credentials.
        endpoint: String,
        /// HTTP status code.
        status: u16,
        /// The `message` of the error body, or the start of the body.
        message: String,
    },
    /// The answer is not what the API promises.
    #[error("{endpoint} answered something else than the API promises: {reason}")]
    Malformed {
        /// The endpoint asked, without credentials.
        endpoint: String,
        /// What was wrong with it.
        reason: String,
    },
    /// A JSON-RPC error object.
    #[error("JSON-RPC error {code}: {message}")]
    Rpc {
        /// The error's code.
        code: i64,
        /// The error's message.
        message: String,
        /// What a contract said when it reverted: its error, ABI-encoded.
        data: Option<Bytes>,
    },
}

impl ChainError {
    /// What a contract said when it reverted, if this is that.
    #[must_use]
    pub const fn revert_data(&self) -> Option<&Bytes> {
        match self {
            Self::Rpc { data, .. } => data.as_ref(),
            _ => None,
        }
    }

    /// Whether another node may well give the answer this one did not: the fault lies with the node or the
    /// way to it, not with the request.
    #[must_use]
    pub fn is_of_the_node(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::Timeout { .. }
            | Self::TooLarge { .. }
            | Self::Malformed { .. } => true,
            Self::Status { status, .. } => *status >= 500 || *status == 429,
            Self::Config(_) | Self::Rpc { .. } => false,
        }
    }

    /// The HTTP status, where the node gave one.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(*status),
            _ => None,
        }
    }
}
