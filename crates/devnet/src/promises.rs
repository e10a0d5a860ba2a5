//! What was promised on a devnet, and whether it was kept: a fold over what a searcher and a follower saw.

use std::{collections::BTreeMap, time::Duration};

use earnest_client::{Finding, follower::FollowerConfig, inclusion::InclusionFinding};
use earnest_protocol::{RollupId, Slot, receipt::PreconfReceipt, stream::Accepted};

/// Something that a part of the devnet saw.
#[derive(Debug)]
pub enum Seen {
    /// A receipt that verifies offline.
    Receipt {
        /// The rollup.
        rollup: RollupId,
        /// The receipt.
        receipt: Box<PreconfReceipt>,
        /// From request to answer.
        latency: Duration,
    },
    /// A receipt that does not verify: a broken promise.
    BadReceipt {
        /// The rollup.
        rollup: RollupId,
        /// Why not.
        error: String,
    },
    /// The gateway gave no receipt, and said why.
    Refused {
        /// The rollup.
        rollup: RollupId,
        /// Its code.
        code: String,
    },
    /// What a follower found.
    Found {
        /// The rollup.
        rollup: RollupId,
        /// What.
        finding: Box<Finding>,
    },
}

/// One segment of a window.
type Segment = (RollupId, Slot, u16);

/// The promises of a devnet.
#[derive(Debug, Default)]
pub struct Promises {
    receipts: BTreeMap<Segment, u64>,
    included: BTreeMap<Segment, u32>,
    broken: Vec<String>,
    latencies: Vec<Duration>,
    refusals: BTreeMap<String, u64>,
}

impl Promises {
    /// Takes in what was seen.
    pub fn on(&mut self, seen: &Seen) {
        match seen {
            Seen::Receipt { rollup, receipt, latency } => {
                let count = self.receipts.entry((*rollup, receipt.slot, receipt.segment)).or_default();
                *count = count.saturating_add(1);
                self.latencies.push(*latency);
            }
            Seen::BadReceipt { rollup, error } => {
                self.broken.push(format!("rollup {rollup}: a receipt does not verify: {error}"));
            }
            Seen::Refused { code, .. } => {
                let count = self.refusals.entry(code.clone()).or_default();
                *count = count.saturating_add(1);
            }
            Seen::Found { rollup, finding } => self.found(*rollup, finding),
        }
    }

    fn found(&mut self, rollup: RollupId, finding: &Finding) {
        match finding {
            Finding::Inclusion(InclusionFinding::Included(record)) => {
                self.included.insert((rollup, record.slot, record.segment), record.count);
            }
            Finding::Inclusion(InclusionFinding::Lost { record }) => {
                self.included.remove(&(rollup, record.slot, record.segment));
            }
            Finding::Inclusion(InclusionFinding::Missed { seal }) => {
                self.broken.push(format!(
                    "rollup {rollup}: slot {}, segment {} is not on L1 in time",
                    seal.slot, seal.segment
                ));
            }
            Finding::Inclusion(InclusionFinding::Differs { seal, .. }) => {
                self.broken.push(format!(
                    "rollup {rollup}: slot {}, segment {} is another on L1",
                    seal.slot, seal.segment
                ));
            }
            Finding::Violation { violation, .. } => self.broken.push(format!("rollup {rollup}: {violation}")),
            Finding::Accepted { .. } => {}
        }
    }

    /// Receipts of windows up to `last` whose segment is not on L1 yet.
    #[must_use]
    pub fn open(&self, last: Slot) -> u64 {
        let open = self.receipts.iter().filter(|(segment, _)| segment.1 <= last);
        open.filter(|(segment, _)| !self.included.contains_key(segment)).map(|(_, count)| count).sum()
    }

    /// Ends the count: what is still open up to `last` is broken.
    #[must_use]
    pub fn verdict(mut self, last: Slot) -> Verdict {
        for ((rollup, slot, segment), count) in &self.receipts {
            if *slot <= last && !self.included.contains_key(&(*rollup, *slot, *segment)) {
                self.broken.push(format!(
                    "rollup {rollup}: {count} receipts of slot {slot}, segment {segment} are not on L1"
                ));
            }
        }
        self.latencies.sort_unstable();
        Verdict {
            receipts: self.receipts.values().sum(),
            batches: self.included.len(),
            refusals: self.refusals,
            median: self.latencies.get(self.latencies.len() / 2).copied(),
            broken: self.broken,
        }
    }
}

/// How a devnet ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Receipts given, all of them verified.
    pub receipts: u64,
    /// Segments recorded on L1 as they were sealed.
    pub batches: usize,
    /// Refusals by code.
    pub refusals: BTreeMap<String, u64>,
    /// Median time from request to receipt.
    pub median: Option<Duration>,
    /// Promises that were not kept, one sentence each.
    pub broken: Vec<String>,
}

/// Follows one rollup and tells what it finds, until nobody listens.
pub async fn follow(
    gateway: earnest_client::GatewayClient,
    config: FollowerConfig,
    seen: tokio::sync::mpsc::UnboundedSender<Seen>,
) {
    let rollup = config.rollup;
    let mut follower = earnest_client::Follower::new(&gateway, config);
    loop {
        match follower.next().await {
            Ok(finding) => {
                if seen.send(Seen::Found { rollup, finding: Box::new(finding) }).is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::warn!(%rollup, %error, "the stream cannot be followed");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

/// The window that a finding opened or sealed, for display.
#[must_use]
pub fn sealed_by(finding: &Finding) -> Option<(Slot, u32)> {
    match finding {
        Finding::Accepted { accepted, .. } => match &**accepted {
            Accepted::Seal(seal) => Some((seal.slot, seal.first_index)),
            _ => None,
        },
        _ => None,
    }
}
