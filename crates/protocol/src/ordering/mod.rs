//! The order of one rollup's window (design §4), as state machines without clock, disk or socket.
//!
//! [`WindowChain`] is the durable order: the one place that says which link may follow which. [`WindowEngine`]
//! makes links for it: it queues transactions, drafts one link at a time, and applies a draft once its shell has
//! made it durable. A follower checks a stream against the same chain.

mod chain;
mod engine;
#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, clippy::unwrap_used, clippy::indexing_slicing)]
mod model;
mod policy;
mod state;

pub use chain::{ChainError, LinkContent, Place, Places, WindowChain};
pub use engine::{Draft, EngineError, Limits, PushError, Pushed, WindowConfig, WindowEngine};
pub use policy::{keeps_policy, order};
pub use state::{Event, Refusal, State};

/// Segments of a window, at most.
pub const MAX_SEGMENTS: u16 = 8;
/// Default batch budget: bytes of the whole encoded L1 transaction.
pub const DEFAULT_MAX_BATCH_BYTES: u32 = 120 * 1024;
