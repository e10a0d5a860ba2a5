//! The Registry's history, read once to its end.

use std::sync::Arc;
use std::time::Duration;

use earnest_chain::SlotClock;
use earnest_chain::registry::{Follower, Standing, State};
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;
use crate::role::cause;

use super::settings::Settings;

/// The contracts' state after the newest block. `clock` does not bear on it, only on which epochs are decided, which nobody asks
/// here.
pub(super) async fn state(settings: &Settings, limit: Duration) -> Result<Arc<State>, Failure> {
    let clock = SlotClock::new(0, 12_000, 32).map_err(cause)?;
    let (follower, mut view) =
        Follower::new(settings.registry.clone(), settings.config.network, None).map_err(cause)?;
    let stop = CancellationToken::new();
    let _stopped = stop.clone().drop_guard();
    let following = tokio::spawn(follower.run(clock, stop));
    let until_current = async {
        loop {
            match view.standing() {
                Standing::Current => return Ok(view.state()),
                Standing::Faulty(error) => {
                    return Err(Failure::new(format!("the Registry's history cannot be read: {error}")));
                }
                Standing::CatchingUp => {}
            }
            if !view.changed().await {
                return Err(Failure::new("the Registry's history cannot be read: stopped"));
            }
        }
    };
    let read = tokio::time::timeout(limit, until_current).await;
    following.abort();
    read.map_err(|_| {
        Failure::new(format!(
            "the Registry's history is not read within {limit:?}: give a longer --limit, or a later [registry] from_block"
        ))
    })?
}
