//! A devnet in one process: an in-process beacon node over a real execution client, validators that propose
//! through the Builder API, a builder, and every role of Earnest between them.

pub mod anvil;
pub mod auctions;
pub mod beacon;
pub mod builder;
pub mod contracts;
pub mod execution;
pub mod network;
pub mod process;
pub mod promises;
pub mod traffic;
pub mod validator;

pub use network::{MAX_OPTED_IN, Network, NetworkError, NetworkOptions, Ready, ReadyOperator};
pub use process::ProcessError;
