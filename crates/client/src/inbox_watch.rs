//! Asks an execution client what the Inbox recorded, and feeds [`InclusionCheck`].

use std::time::Duration;

use alloy_primitives::{Address, B256};
use alloy_rpc_types_eth::{BlockNumberOrTag, Filter, Log};
use alloy_sol_types::SolEvent;
use earnest_bindings::Inbox::BatchRecorded;
use earnest_chain::{ChainError, ExecutionClient};
use earnest_protocol::objects::OrderingCommitment;
use earnest_protocol::window::Timing;
use earnest_protocol::{RollupId, Slot};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use crate::inclusion::{InboxRecord, InclusionCheck, InclusionFinding, SETTLED_BLOCKS};

/// Where L1 is asked.
#[derive(Debug, Clone)]
pub struct InboxWatch {
    /// An execution client of L1.
    pub execution: ExecutionClient,
    /// The Inbox.
    pub inbox: Address,
    /// How often it is asked.
    pub poll: Duration,
    /// The network's clock. Without it nothing is ever late.
    pub timing: Option<Timing>,
}

/// A seal to look for, with its signer.
pub(crate) type Expected = (OrderingCommitment, Address);

impl InboxWatch {
    /// Runs until the other end of `expected` or `findings` is gone. Faults of the client are waited out.
    pub(crate) async fn run(
        self,
        rollup: RollupId,
        mut expected: mpsc::UnboundedReceiver<Expected>,
        findings: mpsc::Sender<InclusionFinding>,
    ) {
        let mut check = InclusionCheck::default();
        // The head that the logs were read at, if no seal has been asked for since.
        let mut read_at = None;
        let mut ticks = interval(self.poll.max(Duration::from_millis(10)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                seal = expected.recv() => {
                    let Some((seal, committer)) = seal else { return };
                    let due_s = self.timing.map(|timing| timing.slot_start(seal.slot) / 1000);
                    check.expect(seal, committer, due_s);
                    read_at = None;
                }
                _ = ticks.tick(), if !check.is_idle() => match self.poll_once(rollup, &mut check, &mut read_at).await {
                    Ok(found) => {
                        for finding in found {
                            if findings.send(finding).await.is_err() {
                                return;
                            }
                        }
                    }
                    Err(error) => tracing::warn!(%error, "the Inbox cannot be read; trying again"),
                },
            }
        }
    }

    async fn poll_once(
        &self,
        rollup: RollupId,
        check: &mut InclusionCheck,
        read_at: &mut Option<B256>,
    ) -> Result<Vec<InclusionFinding>, ChainError> {
        let Some(head) = self.execution.block(BlockNumberOrTag::Latest).await? else { return Ok(Vec::new()) };
        // The logs are those of hundreds of blocks: they are asked for only where they may be others.
        if *read_at == Some(head.header.hash) {
            return Ok(Vec::new());
        }
        let (number, time_s) = (head.header.number, head.header.timestamp);
        let filter = Filter::new()
            .address(self.inbox)
            .event_signature(BatchRecorded::SIGNATURE_HASH)
            .topic1(alloy_primitives::U256::from(rollup.0))
            .from_block(number.saturating_sub(SETTLED_BLOCKS.saturating_mul(2)))
            .to_block(number);
        let logs = self.execution.logs(&filter).await?;
        let records: Vec<InboxRecord> =
            logs.iter().filter_map(|log| record(log, self.inbox, rollup)).collect();
        *read_at = Some(head.header.hash);
        Ok(check.on_records(&records, number, time_s))
    }
}

fn record(log: &Log, inbox: Address, rollup: RollupId) -> Option<InboxRecord> {
    if log.inner.address != inbox || log.removed {
        return None;
    }
    let event = BatchRecorded::decode_log(&log.inner).ok()?.data;
    (event.rollupId == rollup.0).then_some(InboxRecord {
        slot: Slot(event.slot),
        segment: event.segment,
        committer: event.committer,
        tx_root: event.txRoot,
        count: event.count,
        time_s: event.time,
        block: log.block_number?,
        block_hash: log.block_hash?,
        transaction: log.transaction_hash?,
    })
}
