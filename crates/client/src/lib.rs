//! Typed clients of Earnest's own APIs, and a follower that checks all that a gateway says.
//!
//! Every answer is bounded in bytes and time, and a server's `{code, message}` is kept ([`Refusal`]).
#![cfg_attr(test, allow(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

pub mod error;
mod event_parser;
pub mod follower;
pub mod gateway;
pub mod header_with_proofs;
pub mod inbox_watch;
pub mod inclusion;
pub mod l1_account;
pub mod operator;
pub mod relay;
pub mod settlement;
pub mod stream;
pub mod transport;

pub use error::{ClientError, Refusal};
pub use follower::{Finding, Follower, FollowerConfig};
pub use gateway::GatewayClient;
pub use header_with_proofs::{HeaderWithProofs, HeaderWithProofsError, inclusions};
pub use l1_account::{Call, Fees, L1Account, L1Error, LATEST, Receipt, SignedCall, gas_limit};
pub use relay::{HeaderRequest, MAX_HEADER_ANSWER, RelayClient, read_header, read_header_with_proofs};
pub use settlement::{NothingOwed, Owed, SettleError, Settled, SettlementDesk, owed};
pub use stream::{Numbered, OrderStream};
pub use transport::{Answer, Limits, Transport, install_tls_provider};
