//! The clients against servers that keep to the APIs, and servers that do not.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic
)]

mod bounds;
mod following;
mod proven_headers;
mod server;
mod streaming;
