//! The beacon client with several nodes, of which some are down, slow, behind or on another branch.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod asking;
mod events;
mod lines;
mod node;
mod survey;
mod validators;

use std::time::Duration;

use earnest_chain::{BeaconClient, BeaconOptions};

use node::Node;

/// Limits that no test reaches unless it means to: the machine may be slow.
fn patient() -> BeaconOptions {
    BeaconOptions {
        timeout: Duration::from_secs(60),
        ask_timeout: Duration::from_secs(60),
        hedge_delay: Duration::from_secs(60),
        survey_timeout: Duration::from_secs(60),
        event_retry: Duration::from_millis(1),
        event_retry_max: Duration::from_millis(5),
        ..BeaconOptions::default()
    }
}

fn client(nodes: &[&Node], options: BeaconOptions) -> BeaconClient {
    lines::keep();
    BeaconClient::with_options(nodes.iter().map(|node| node.url()), options).unwrap()
}
