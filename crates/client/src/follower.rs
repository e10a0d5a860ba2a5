//! Follows a gateway's stream and believes none of it: every authority, chain link, root, signature and seal is checked, and
//! on request every seal against L1.

use alloy_primitives::Address;
use earnest_protocol::RollupId;
use earnest_protocol::delegation::TrustRoots;
use earnest_protocol::messages::StreamEvent;
use earnest_protocol::stream::{Accepted, PolicyRules, StreamChecker, Violation};
use std::collections::BTreeMap;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::error::ClientError;
use crate::gateway::GatewayClient;
use crate::inbox_watch::{Expected, InboxWatch};
use crate::inclusion::InclusionFinding;
use crate::stream::{Numbered, OrderStream};

/// Committers remembered, by slot.
const WINDOWS_KEPT: usize = 64;
/// Findings of L1 that may wait for whoever follows.
const FINDINGS: usize = 64;

/// What to follow, and whose word counts.
#[derive(Debug, Clone)]
pub struct FollowerConfig {
    /// The rollup.
    pub rollup: RollupId,
    /// The network, and the market relay whose receipts count.
    pub roots: TrustRoots,
    /// How the rollup orders; without it the order within a microblock is not judged.
    pub policy: Option<PolicyRules>,
    /// Where to look for the batches; without it levels end at C1.
    pub inbox: Option<InboxWatch>,
    /// Id of the event to go on after; none starts with the open window.
    pub last_event_id: Option<String>,
}

/// One checked thing.
#[derive(Debug, Clone, PartialEq)]
pub enum Finding {
    /// An event that is as it should be.
    Accepted {
        /// The event's id.
        id: String,
        /// What it was.
        accepted: Box<Accepted>,
    },
    /// An event that breaks a rule.
    Violation {
        /// The event's id.
        id: String,
        /// Which, with the evidence.
        violation: Box<Violation>,
    },
    /// What L1 says of a seal.
    Inclusion(InclusionFinding),
}

impl Finding {
    /// Whether a rule or a promise was broken.
    #[must_use]
    pub const fn is_violation(&self) -> bool {
        match self {
            Self::Accepted { .. } => false,
            Self::Violation { .. } => true,
            Self::Inclusion(finding) => finding.is_violation(),
        }
    }
}

#[derive(Debug)]
struct Watch {
    expected: mpsc::UnboundedSender<Expected>,
    findings: mpsc::Receiver<InclusionFinding>,
    task: JoinHandle<()>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A verifying reader of one rollup's order.
#[derive(Debug)]
pub struct Follower {
    stream: OrderStream,
    checker: StreamChecker,
    committers: BTreeMap<earnest_protocol::Slot, Address>,
    watch: Option<Watch>,
}

impl Follower {
    /// Follows `gateway`. Must be called within a Tokio runtime, since L1 is watched by a task of its own; it ends with the
    /// follower.
    #[must_use]
    pub fn new(gateway: &GatewayClient, config: FollowerConfig) -> Self {
        let FollowerConfig { rollup, roots, policy, inbox, last_event_id } = config;
        let watch = inbox.map(|inbox| {
            let (expected, to_watch) = mpsc::unbounded_channel();
            let (to_us, findings) = mpsc::channel(FINDINGS);
            Watch { expected, findings, task: tokio::spawn(inbox.run(rollup, to_watch, to_us)) }
        });
        Self {
            stream: gateway.stream(rollup, last_event_id),
            checker: StreamChecker::new(rollup, roots, policy),
            committers: BTreeMap::new(),
            watch,
        }
    }

    /// The next finding; repeated events are passed over. Safe to drop and call again.
    ///
    /// # Errors
    /// [`ClientError`] if the gateway refuses the stream or sends what is not an event; the caller may call again.
    pub async fn next(&mut self) -> Result<Finding, ClientError> {
        loop {
            let numbered = tokio::select! {
                biased;
                Some(finding) = next_inclusion(&mut self.watch) => return Ok(Finding::Inclusion(finding)),
                numbered = self.stream.next() => numbered?,
            };
            if let Some(finding) = self.judge(numbered) {
                return Ok(finding);
            }
        }
    }

    fn judge(&mut self, numbered: Numbered) -> Option<Finding> {
        let Numbered { id, event } = numbered;
        match self.checker.on(&event) {
            Ok(Accepted::Repeated) => None,
            Ok(accepted) => {
                self.note(&accepted);
                Some(Finding::Accepted { id, accepted: Box::new(accepted) })
            }
            Err(violation) => {
                let kind = StreamEvent::name(&event);
                tracing::error!(id, kind, %violation, "the gateway broke a rule");
                Some(Finding::Violation { id, violation: Box::new(violation) })
            }
        }
    }

    fn note(&mut self, accepted: &Accepted) {
        match accepted {
            Accepted::Window { slot, holding } => {
                self.committers.insert(*slot, holding.entry.committer);
                while self.committers.len() > WINDOWS_KEPT {
                    self.committers.pop_first();
                }
            }
            Accepted::Seal(seal) => {
                let committer = self.committers.get(&seal.slot).copied();
                if let (Some(watch), Some(committer)) = (&self.watch, committer)
                    && watch.expected.send((seal.clone(), committer)).is_err()
                {
                    tracing::error!("the watch of L1 ended");
                }
            }
            Accepted::Microblock(_) | Accepted::Repeated => {}
        }
    }
}

async fn next_inclusion(watch: &mut Option<Watch>) -> Option<InclusionFinding> {
    match watch {
        Some(watch) => watch.findings.recv().await,
        None => std::future::pending().await,
    }
}
