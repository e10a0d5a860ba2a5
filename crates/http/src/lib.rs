//! What every server of Earnest needs of HTTP, once: content negotiation, bounded bodies, errors as
//! `{code, message}`, limits for each client, health, metrics, graceful shutdown and supervised tasks
//! (design §5, §10).
//!
//! [`negotiate`] is pure. [`serve()`](serve::serve) puts the outer layers (request id, trace, panic,
//! time limit, 404 and 405) around a role's router, so that no role can forget one.
#![cfg_attr(test, allow(clippy::arithmetic_side_effects))]

pub mod body;
pub mod budget;
pub mod client_streams;
pub mod error;
pub mod health;
pub mod layers;
pub mod limit;
pub mod negotiate;
pub mod operation;
pub mod serve;
mod stall;
pub mod supervise;
pub mod telemetry;
mod unread;

pub use body::{BodyError, BodyLimits, LeasedBody, read_body, read_leased_body};
pub use budget::{BodyBudget, BodyLease};
pub use client_streams::{ClientStream, ClientStreams};
pub use error::{ApiError, Code};
pub use health::Health;
pub use limit::{ClientLimiter, LimitConfig};
pub use negotiate::{Media, NotAcceptable, Unsupported, accept, content_type};
pub use operation::operation_router;
pub use serve::{PeerAddr, ServerLimits, affordable, serve};
pub use supervise::{Supervisor, TaskEnded};
