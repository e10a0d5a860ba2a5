//! What is known of the Registry, for whoever asks.

use std::{collections::BTreeMap, convert::Infallible, sync::Arc};

use earnest_protocol::Epoch;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::state::{BlockRef, OptedIn, State};

/// How far the follower is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It has not reached the head yet.
    CatchingUp,
    /// It is at the head.
    Current,
    /// Its last question failed.
    Faulty(String),
}

/// What the follower tells.
#[derive(Debug, Clone)]
pub(super) struct Published {
    pub(super) standing: Standing,
    pub(super) tip: Option<BlockRef>,
    pub(super) state: Arc<State>,
    pub(super) decided: Arc<BTreeMap<Epoch, Arc<OptedIn>>>,
    /// The execution client's newest block, as far as it was asked.
    pub(super) head: u64,
    pub(super) reorgs: u64,
    pub(super) faults: u64,
}

impl Published {
    pub(super) fn nothing(standing: Standing) -> Self {
        let (state, decided) = Default::default();
        Self { standing, tip: None, state, decided, head: 0, reorgs: 0, faults: 0 }
    }
}

/// What is known of the Registry, for whoever asks. Clones see the same.
#[derive(Debug, Clone)]
pub struct RegistryView {
    pub(super) optin_delay: u64,
    pub(super) published: watch::Receiver<Published>,
}

impl RegistryView {
    /// Who is opted in for the proposers of `epoch`, by the reference-block rule. None while that is not known: before
    /// the epoch of the reference block is over, while catching up, for epochs long past, and for a network's first
    /// epochs ([`Self::is_before_reference`]).
    #[must_use]
    pub fn opted_in(&self, epoch: Epoch) -> Option<Arc<OptedIn>> {
        let reference = epoch.0.checked_sub(1)?.checked_sub(self.optin_delay)?;
        self.published.borrow().decided.get(&Epoch(reference)).cloned()
    }

    /// Whether the reference block of the proposers of `epoch` would lie before the network's genesis, so that no
    /// Registry can say who is opted in.
    #[must_use]
    pub const fn is_before_reference(&self, epoch: Epoch) -> bool {
        epoch.0 < self.optin_delay.saturating_add(1)
    }

    /// The contracts' state after the newest block.
    #[must_use]
    pub fn state(&self) -> Arc<State> {
        Arc::clone(&self.published.borrow().state)
    }

    /// The newest block; none before the first.
    #[must_use]
    pub fn tip(&self) -> Option<BlockRef> {
        self.published.borrow().tip
    }

    /// How far the follower is.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.published.borrow().standing.clone()
    }

    /// How the follower is doing, in numbers.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let published = self.published.borrow();
        let newest = published.decided.last_key_value().map(|(_, set)| set);
        let block = published.tip.map_or(0, |tip| tip.number);
        Figures {
            block,
            head: published.head.max(block),
            faulty: matches!(published.standing, Standing::Faulty(_)),
            faults: published.faults,
            reorgs: published.reorgs,
            operators: newest.map_or(0, |set| set.operators().len()),
            keys: newest.map_or(0, |set| set.keys().len()),
        }
    }

    /// Shows the figures as metrics of a role (see [`Figures::show`]), until `shutdown`.
    ///
    /// # Errors
    /// Never.
    pub async fn show(mut self, role: &str, shutdown: CancellationToken) -> Result<(), Infallible> {
        loop {
            self.figures().show(role);
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                going_on = self.changed() => if !going_on {
                    shutdown.cancelled().await;
                    return Ok(());
                },
            }
        }
    }

    /// Waits for the next change of anything. False once the follower is gone.
    pub async fn changed(&mut self) -> bool {
        self.published.changed().await.is_ok()
    }
}

/// How a follower is doing, in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// The newest block taken.
    pub block: u64,
    /// The execution client's newest block.
    pub head: u64,
    /// Whether the last question failed.
    pub faulty: bool,
    /// Questions that failed so far.
    pub faults: u64,
    /// Reorganisations of L1 that took something back.
    pub reorgs: u64,
    /// Operators that count, by the newest reference block known.
    pub operators: usize,
    /// Their keys.
    pub keys: usize,
}

impl Figures {
    /// Sets the metrics `earnest_<role>_registry_…`: gauges `block`, `head`, `lag_blocks`, `faulty`, `operators`, `keys`, and
    /// counters `faults_total`, `reorgs_total`.
    pub fn show(&self, role: &str) {
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let gauges = [
            ("block", self.block),
            ("head", self.head),
            ("lag_blocks", self.head.saturating_sub(self.block)),
            ("faulty", u64::from(self.faulty)),
            ("operators", count(self.operators)),
            ("keys", count(self.keys)),
        ];
        for (name, value) in gauges {
            #[expect(clippy::cast_precision_loss, reason = "gauges are floating-point numbers")]
            metrics::gauge!(format!("earnest_{role}_registry_{name}")).set(value as f64);
        }
        for (name, value) in [("faults_total", self.faults), ("reorgs_total", self.reorgs)] {
            metrics::counter!(format!("earnest_{role}_registry_{name}")).absolute(value);
        }
    }
}
