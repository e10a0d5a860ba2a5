//! Asks signers elsewhere which keys they hold, so that the sidecar starts and works while they are down.

use std::convert::Infallible;
use std::time::Duration;

use earnest_http::health::Part;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::validator_keys::OwnKeys;

/// How often a signer that answers is asked.
const PAUSE: Duration = Duration::from_secs(60);
/// How soon one that does not is asked again.
const RETRY: Duration = Duration::from_secs(2);

/// The task that knows our keys.
#[derive(Debug)]
pub struct KeysTask {
    /// The keys.
    pub keys: OwnKeys,
    /// Told when they are others.
    pub changed: watch::Sender<()>,
    /// What `/readyz` says of the signers.
    pub health: Part,
}

impl KeysTask {
    /// Runs until `shutdown`.
    ///
    /// # Errors
    /// Never; a signer that is down is asked again.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), Infallible> {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = self.follow() => {}
        }
        Ok(())
    }

    async fn follow(&self) {
        let mut known = self.keys.own();
        loop {
            let pause = match self.keys.refresh().await {
                Ok(()) => {
                    self.health.ready();
                    PAUSE
                }
                Err(error) => {
                    tracing::warn!(%error, "a signer does not say which keys it holds");
                    self.health.not_ready(error.to_string());
                    RETRY
                }
            };
            let now = self.keys.own();
            if now != known {
                tracing::info!(keys = now.len(), before = known.len(), "validator keys changed");
                known = now;
                self.changed.send_replace(());
            }
            tokio::time::sleep(pause).await;
        }
    }
}
