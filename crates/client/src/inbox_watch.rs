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

/// Blocks that are read: of what lies further back nothing is lost any more.
const READ_BLOCKS: u64 = SETTLED_BLOCKS.saturating_mul(2);

/// Blocks that are read again each time: some execution clients (EthereumJS) have a block's logs a moment after the block.
const AGAIN_BLOCKS: u64 = 3;

/// What was read of the Inbox, and as of which block.
#[derive(Debug, Default)]
struct Reading {
    /// Number and hash of that block.
    head: Option<(u64, B256)>,
    /// The rollup's records of the blocks up to there.
    records: Vec<InboxRecord>,
    /// Nothing has to be compared with them.
    compared: bool,
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
        let mut reading = Reading::default();
        let mut ticks = interval(self.poll.max(Duration::from_millis(10)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                seal = expected.recv() => {
                    let Some((seal, committer)) = seal else { return };
                    let due_s = self.timing.map(|timing| timing.slot_start(seal.slot) / 1000);
                    check.expect(seal, committer, due_s);
                    reading.compared = false;
                }
                _ = ticks.tick(), if !check.is_idle() => match self.poll_once(rollup, &mut check, &mut reading).await {
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
        reading: &mut Reading,
    ) -> Result<Vec<InclusionFinding>, ChainError> {
        let Some(head) = self.execution.block(BlockNumberOrTag::Latest).await? else { return Ok(Vec::new()) };
        let (number, time_s, hash) = (head.header.number, head.header.timestamp, head.header.hash);
        if reading.head != Some((number, hash)) {
            // Logs of hundreds of blocks are dear: where the chain only went on, those of its new blocks are enough.
            let oldest = number.saturating_sub(READ_BLOCKS);
            let next = self.goes_on_from(reading, number, head.header.parent_hash).await?;
            let from = next.map_or(oldest, |next| next.saturating_sub(AGAIN_BLOCKS));
            let filter = Filter::new()
                .address(self.inbox)
                .event_signature(BatchRecorded::SIGNATURE_HASH)
                .topic1(alloy_primitives::U256::from(rollup.0))
                .from_block(from)
                .to_block(number);
            let logs = self.execution.logs(&filter).await?;
            reading.records.retain(|record| record.block < from && record.block >= oldest);
            reading.records.extend(logs.iter().filter_map(|log| record(log, self.inbox, rollup)));
            reading.head = Some((number, hash));
            reading.compared = false;
        }
        if reading.compared {
            return Ok(Vec::new());
        }
        reading.compared = true;
        Ok(check.on_records(&reading.records, number, time_s))
    }

    /// The first block that was not read, if the chain up to block `number` is what was read and went on from there.
    async fn goes_on_from(
        &self,
        reading: &Reading,
        number: u64,
        parent: B256,
    ) -> Result<Option<u64>, ChainError> {
        let Some((read, hash)) = reading.head.filter(|(read, _)| *read < number) else { return Ok(None) };
        let next = read.saturating_add(1);
        let same = if next == number {
            parent == hash
        } else {
            self.execution.block(read.into()).await?.is_some_and(|block| block.header.hash == hash)
        };
        Ok(same.then_some(next))
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::{Json, Router, extract::State, routing::post};
    use parking_lot::Mutex;
    use serde_json::{Value, json};

    use super::*;

    const INBOX: Address = Address::repeat_byte(4);

    /// A chain by its blocks' hashes, each with a record of the slot of its number; and the logs that were asked for.
    #[derive(Default)]
    struct Chain {
        blocks: Vec<u8>,
        asked: Vec<(u64, u64)>,
    }

    type Shared = Arc<Mutex<Chain>>;

    fn number(value: &Value) -> u64 {
        u64::from_str_radix(value.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
    }

    async fn rpc(State(chain): State<Shared>, Json(request): Json<Value>) -> Json<Value> {
        let mut chain = chain.lock();
        let hash = |number: u64| B256::repeat_byte(chain.blocks[usize::try_from(number).unwrap()]);
        let result = match request["method"].as_str().unwrap() {
            "eth_getBlockByNumber" => {
                let at = match &request["params"][0] {
                    latest if latest == "latest" => chain.blocks.len() as u64 - 1,
                    at => number(at),
                };
                let mut block: alloy_rpc_types_eth::Block = Default::default();
                block.header.inner.number = at;
                block.header.inner.parent_hash = if at == 0 { B256::ZERO } else { hash(at - 1) };
                block.header.hash = hash(at);
                serde_json::to_value(block).unwrap()
            }
            "eth_getLogs" => {
                let filter = &request["params"][0];
                let (from, to) = (number(&filter["fromBlock"]), number(&filter["toBlock"]));
                let logs = (from..=to).map(|block| log(block, hash(block))).collect();
                chain.asked.push((from, to));
                Value::Array(logs)
            }
            other => panic!("{other}"),
        };
        Json(json!({"jsonrpc": "2.0", "id": request["id"], "result": result}))
    }

    fn log(block: u64, hash: B256) -> Value {
        let event = BatchRecorded {
            rollupId: 7,
            slot: block,
            committer: Address::ZERO,
            segment: 0,
            txRoot: B256::ZERO,
            count: 0,
            time: 1,
        };
        let data = event.encode_log_data();
        json!({
            "address": INBOX, "topics": data.topics(), "data": data.data, "blockNumber": format!("{block:#x}"),
            "blockHash": hash, "transactionHash": hash, "transactionIndex": "0x0", "logIndex": "0x0",
        })
    }

    #[tokio::test]
    async fn of_a_chain_that_only_went_on_the_new_blocks_are_read() {
        let chain = Shared::default();
        let router = Router::new().route("/", post(rpc)).with_state(Arc::clone(&chain));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        let execution = ExecutionClient::new(url).unwrap();
        let watch = InboxWatch { execution, inbox: INBOX, poll: Duration::from_millis(10), timing: None };
        let (mut check, mut reading) = (InclusionCheck::default(), Reading::default());
        for (newest, asked) in [
            (&[1, 2, 3][..], Some((0, 22))),
            (&[1, 2, 3], None),
            (&[1, 2, 3, 4], Some((20, 23))),
            (&[1, 2, 3, 4, 5, 6], Some((21, 25))),
            // Reorgs: to the same height, to a lower one, to a higher one.
            (&[1, 2, 3, 4, 5, 7], Some((0, 25))),
            (&[1, 2, 3, 4, 8], Some((0, 24))),
            (&[1, 2, 3, 9, 10, 11, 12], Some((0, 26))),
        ] {
            let blocks: Vec<u8> = (100..120).chain(newest.iter().copied()).collect();
            chain.lock().blocks.clone_from(&blocks);
            watch.poll_once(RollupId(7), &mut check, &mut reading).await.unwrap();
            assert_eq!(chain.lock().asked.pop(), asked);
            let records = reading.records.iter().map(|record| record.block_hash[0]);
            assert_eq!(records.collect::<Vec<_>>(), blocks);
        }
    }
}
