//! Whether the gateway can do its work now, for `/readyz`: what it depends on, asked every few seconds.

use std::{fmt::Display, future::Future, time::Duration};

use earnest_chain::{BeaconClient, ExecutionClient};
use earnest_client::RelayClient;
use earnest_http::{Health, health::Part};
use earnest_journal::Journal;
use tokio_util::sync::CancellationToken;

const JOURNAL_EVERY: Duration = Duration::from_secs(1);
const OTHERS_EVERY: Duration = Duration::from_secs(3);
/// What does not answer within this has failed.
const PATIENCE: Duration = Duration::from_secs(2);
/// Failures in a row after which the relay or the beacon node counts as gone.
const FAILURES: u32 = 3;

/// What the gateway depends on.
#[derive(Debug)]
pub(crate) struct Readiness {
    pub(crate) health: Health,
    pub(crate) journal: Journal,
    pub(crate) execution: ExecutionClient,
    pub(crate) relay: RelayClient,
    pub(crate) beacon: BeaconClient,
}

/// One dependency: how it is, after how many failures in a row.
#[derive(Debug)]
struct Watched {
    part: Part,
    failures: u32,
    allowed: u32,
}

impl Watched {
    fn new(health: &Health, name: &'static str, allowed: u32) -> Self {
        Self { part: health.part(name), failures: 0, allowed }
    }

    fn see(&mut self, outcome: Result<(), String>) {
        match outcome {
            Ok(()) => {
                self.failures = 0;
                self.part.ready();
            }
            Err(cause) => {
                self.failures = self.failures.saturating_add(1);
                if self.failures >= self.allowed {
                    self.part.not_ready(cause);
                }
            }
        }
    }
}

impl Readiness {
    /// Watches until `stop`, then says that the gateway is draining.
    ///
    /// # Errors
    /// None; the type is what a supervised task has.
    pub(crate) async fn run(self, stop: CancellationToken) -> Result<(), String> {
        let health = &self.health;
        let watching = async {
            tokio::join!(
                watch(Watched::new(health, "journal", 1), JOURNAL_EVERY, || {
                    let journal = self.journal.clone();
                    async move {
                        let asked = tokio::task::spawn_blocking(move || journal.writable()).await;
                        asked.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
                    }
                }),
                watch(Watched::new(health, "execution client", 1), OTHERS_EVERY, || async {
                    said(self.execution.block_number().await)
                }),
                watch(Watched::new(health, "relay", FAILURES), OTHERS_EVERY, || async {
                    said(self.relay.status().await)
                }),
                watch(Watched::new(health, "beacon node", FAILURES), OTHERS_EVERY, || async {
                    said(self.beacon.head().await)
                }),
            )
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            _ = watching => {}
        }
        self.health.drain();
        Ok(())
    }
}

fn said<T, E: Display>(outcome: Result<T, E>) -> Result<(), String> {
    outcome.map(|_| ()).map_err(|error| error.to_string())
}

async fn watch<F: Future<Output = Result<(), String>>>(
    mut watched: Watched,
    every: Duration,
    ask: impl Fn() -> F,
) {
    loop {
        let answer = tokio::time::timeout(PATIENCE, ask()).await;
        watched.see(answer.unwrap_or_else(|_| Err("does not answer".to_owned())));
        tokio::time::sleep(every).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use earnest_journal::Options;

    #[test]
    fn a_relay_may_fail_now_and_then() {
        let health = Health::new();
        let mut relay = Watched::new(&health, "relay", FAILURES);
        assert!(health.ready().is_err(), "not asked yet");
        relay.see(Ok(()));
        let bad = || Err("gone".to_owned());
        for _ in 1..FAILURES {
            relay.see(bad());
            assert_eq!(health.ready(), Ok(()));
        }
        relay.see(bad());
        assert_eq!(health.ready(), Err("relay: gone".to_owned()));
        relay.see(Ok(()));
        relay.see(bad());
        assert_eq!(health.ready(), Ok(()), "counted anew");
    }

    #[tokio::test]
    async fn each_part_is_asked_and_the_end_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let options = Options { free_space_floor: u64::MAX, ..Options::default() };
        let nowhere = || "http://127.0.0.1:1".parse::<url::Url>().unwrap();
        let health = Health::new();
        let readiness = Readiness {
            health: health.clone(),
            journal: Journal::open(folder.path(), options).unwrap(),
            execution: ExecutionClient::new(nowhere()).unwrap(),
            relay: RelayClient::new(&nowhere(), earnest_client::Limits::default()).unwrap(),
            beacon: BeaconClient::new(vec![nowhere()]).unwrap(),
        };
        let stop = CancellationToken::new();
        let watching = tokio::spawn(readiness.run(stop.clone()));
        loop {
            let causes = health.ready().err().unwrap_or_default();
            let asked = |part: &str| causes.contains(part) && !causes.contains(&format!("{part}: starting"));
            if asked("journal") && asked("execution client") {
                assert!(causes.contains("relay: starting") && causes.contains("beacon node: starting"));
                break;
            }
            tokio::task::yield_now().await;
        }
        stop.cancel();
        watching.await.unwrap().unwrap();
        assert!(health.ready().unwrap_err().starts_with("draining"));
    }
}
