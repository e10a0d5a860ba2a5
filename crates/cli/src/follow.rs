//! `earnest follow`: reads a gateway's signed order and believes none of it; one line for each thing checked.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use alloy_primitives::Address;
use clap::Args;
use earnest_chain::{BeaconClient, ExecutionClient};
use earnest_client::inbox_watch::InboxWatch;
use earnest_client::inclusion::InclusionFinding;
use earnest_client::{Finding, Follower, FollowerConfig, GatewayClient, Limits};
use earnest_protocol::delegation::TrustRoots;
use earnest_protocol::messages::{GatewayInfo, RollupInfo};
use earnest_protocol::objects::CommitmentKind;
use earnest_protocol::stream::{Accepted, PolicyRules};
use earnest_protocol::tx::TxRules;
use earnest_protocol::window::Timing;
use earnest_protocol::{RollupId, Slot};
use serde_json::{Value, json};
use url::Url;

use crate::failure::Failure;
use crate::verify::{BROKEN, NetworkArg};

/// Options of `earnest follow`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: 0 ended by a signal or --windows, 3 the gateway broke a rule or a promise, 1 it cannot be followed."
)]
pub(crate) struct FollowArgs {
    /// Base URL of the gateway.
    #[arg(long)]
    gateway: Url,
    /// The rollup's chain id; may be left out if the gateway orders only one.
    #[arg(long)]
    rollup: Option<RollupId>,
    /// ECDSA address of the market relay whose receipts count; without it the one the gateway names is believed.
    #[arg(long)]
    relay_address: Option<Address>,
    /// The slasher that every commitment must name: one that names another is judged nowhere, and counts as a broken rule.
    /// Without it any is taken.
    #[arg(long)]
    slasher: Option<Address>,
    /// The L1 network (mainnet, hoodi, sepolia, holesky, or 0xGENESIS_FORK_VERSION:CHAIN_ID); without it the one the
    /// gateway names is believed.
    #[arg(long)]
    network: Option<NetworkArg>,
    /// An L1 execution client: then every seal is looked for in the Inbox.
    #[arg(long, requires = "inbox")]
    l1: Option<Url>,
    /// Address of the Inbox.
    #[arg(long, requires = "l1")]
    inbox: Option<Address>,
    /// A beacon node, for the clock: then a batch that is not on L1 by its slot counts as a broken promise.
    #[arg(long, requires = "l1")]
    beacon: Option<Url>,
    /// Go on after this event of the stream instead of with the open window.
    #[arg(long)]
    after: Option<String>,
    /// End after this many windows were sealed (and, with --l1, included).
    #[arg(long)]
    windows: Option<u64>,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: FollowArgs) -> Result<ExitCode, Failure> {
    let gateway = GatewayClient::new(&args.gateway, Limits::default()).map_err(cause)?;
    let info = gateway.info().await.map_err(|error| Failure::new(format!("gateway: {error}")))?;
    let rollup = choose(&info, args.rollup)?;
    let config = configure(&args, &info, rollup).await?;
    let out = Output { json: args.json };
    out.opening(&args, &config)?;
    let mut windows = WindowCount { with_l1: config.inbox.is_some(), ..WindowCount::default() };
    let mut follower = Follower::new(&gateway, config);
    let stop = crate::role::on_signal()?;
    while args.windows.is_none_or(|wanted| windows.done < wanted) {
        let finding = tokio::select! {
            () = stop.cancelled() => break,
            finding = follower.next() => match finding {
                Ok(finding) => finding,
                Err(error) => return Err(Failure::new(format!("stream: {error}"))),
            },
        };
        out.finding(&finding)?;
        if finding.is_violation() {
            return Ok(ExitCode::from(BROKEN));
        }
        windows.on(&finding);
    }
    Ok(ExitCode::SUCCESS)
}

fn cause(error: impl std::fmt::Display) -> Failure {
    Failure::new(error.to_string())
}

fn choose(info: &GatewayInfo, wanted: Option<RollupId>) -> Result<RollupInfo, Failure> {
    let known = || info.rollups.iter().map(|rollup| rollup.id.to_string()).collect::<Vec<_>>().join(", ");
    let found = match (wanted, info.rollups.as_slice()) {
        (None, [only]) => Some(only),
        (None, _) => return Err(Failure::new(format!("name a --rollup; the gateway orders {}", known()))),
        (Some(wanted), rollups) => rollups.iter().find(|rollup| rollup.id == wanted),
    };
    found
        .cloned()
        .ok_or_else(|| Failure::new(format!("the gateway does not order that rollup; it orders {}", known())))
}

async fn configure(
    args: &FollowArgs,
    info: &GatewayInfo,
    rollup: RollupInfo,
) -> Result<FollowerConfig, Failure> {
    let roots = TrustRoots {
        network: args.network.map_or(info.network, |network| network.0),
        relay: args.relay_address.unwrap_or(info.relay),
        proposer: None,
        slasher: args.slasher,
    };
    // Only the order is judged here; sizes and gas are the gateway's own rules.
    let rules = TxRules { chain_id: rollup.id.0, max_bytes: usize::MAX, max_gas: u64::MAX, opaque: false };
    let inbox = match (&args.l1, args.inbox) {
        (Some(url), Some(inbox)) => {
            let timing = match &args.beacon {
                Some(beacon) => Some(timing(beacon).await?),
                None => None,
            };
            let execution = ExecutionClient::new(url.clone()).map_err(cause)?;
            Some(InboxWatch { execution, inbox, poll: Duration::from_millis(500), timing })
        }
        _ => None,
    };
    Ok(FollowerConfig {
        rollup: rollup.id,
        roots,
        policy: Some(PolicyRules { policy: rollup.policy, rules }),
        inbox,
        last_event_id: args.after.clone(),
    })
}

async fn timing(beacon: &Url) -> Result<Timing, Failure> {
    let client = BeaconClient::new([beacon.clone()]).map_err(cause)?;
    let clock = client.slot_clock().await.map_err(|error| Failure::new(format!("beacon node: {error}")))?;
    Ok(Timing::new(clock.genesis_time_ms(), clock.slot_ms(), clock.slots_per_epoch()))
}

/// Counts windows that are done: sealed, and where L1 is watched, with every batch in the Inbox.
#[derive(Debug, Default)]
struct WindowCount {
    with_l1: bool,
    open: BTreeMap<Slot, OpenWindow>,
    done: u64,
}

#[derive(Debug, Default)]
struct OpenWindow {
    ended: bool,
    waiting: BTreeSet<u16>,
}

impl WindowCount {
    fn on(&mut self, finding: &Finding) {
        let slot = match finding {
            Finding::Accepted { accepted, .. } => {
                let Accepted::Seal(seal) = &**accepted else { return };
                let window = self.open.entry(seal.slot).or_default();
                window.ended |= seal.kind == CommitmentKind::WindowSeal;
                if self.with_l1 {
                    window.waiting.insert(seal.segment);
                }
                seal.slot
            }
            Finding::Inclusion(InclusionFinding::Included(record)) => {
                let Some(window) = self.open.get_mut(&record.slot) else { return };
                window.waiting.remove(&record.segment);
                record.slot
            }
            Finding::Inclusion(InclusionFinding::Lost { record }) => {
                self.open.entry(record.slot).or_default().waiting.insert(record.segment);
                return;
            }
            _ => return,
        };
        if self.open.get(&slot).is_some_and(|window| window.ended && window.waiting.is_empty()) {
            self.open.remove(&slot);
            self.done = self.done.saturating_add(1);
        }
    }
}

struct Output {
    json: bool,
}

impl Output {
    fn opening(&self, args: &FollowArgs, config: &FollowerConfig) -> Result<(), Failure> {
        let (relay, slasher) = (config.roots.relay, config.roots.slasher);
        if self.json {
            return self.line(
                &json!({
                    "event": "following", "rollup": config.rollup, "relay": relay,
                    "network": config.roots.network, "slasher": slasher, "l1": config.inbox.is_some(),
                })
                .to_string(),
            );
        }
        let believed = if args.relay_address.is_none() {
            " (the gateway's word; --relay-address checks it)"
        } else {
            ""
        };
        let judged = slasher.map_or_else(
            || "any slasher (--slasher names the one that counts)".to_owned(),
            |slasher| format!("slasher {slasher}"),
        );
        self.line(&format!("following   rollup {}, market relay {relay}{believed}, {judged}", config.rollup))
    }

    fn finding(&self, finding: &Finding) -> Result<(), Failure> {
        let line = if self.json { as_json(finding).to_string() } else { as_text(finding) };
        self.line(&line)
    }

    fn line(&self, line: &str) -> Result<(), Failure> {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{line}").and_then(|()| out.flush()).map_err(cause)
    }
}

fn as_text(finding: &Finding) -> String {
    match finding {
        Finding::Accepted { accepted, .. } => accepted_text(accepted),
        Finding::Violation { id, violation } => format!("VIOLATION   event {id}: {violation}"),
        Finding::Inclusion(finding) => inclusion_text(finding),
    }
}

fn accepted_text(accepted: &Accepted) -> String {
    match accepted {
        Accepted::Window { slot, holding } => format!(
            "window      slot {slot}: held by {} from {} ms; delegation and receipt ok",
            holding.entry.committer, holding.allocation.start_ms
        ),
        Accepted::Microblock(link) => format!(
            "microblock  slot {} segment {} number {}: transactions {}..{}; root, chain and signature ok",
            link.slot,
            link.segment,
            link.number,
            link.first_index,
            link.first_index.saturating_add(link.tx_count)
        ),
        Accepted::Seal(seal) => format!(
            "seal        slot {} segment {}: {} transactions, root {}{}; root, chain and signature ok",
            seal.slot,
            seal.segment,
            seal.first_index,
            seal.tx_root,
            if seal.kind == CommitmentKind::WindowSeal { ", the window's last" } else { "" }
        ),
        Accepted::Repeated => "repeated".to_owned(),
    }
}

fn inclusion_text(finding: &InclusionFinding) -> String {
    match finding {
        InclusionFinding::Included(record) => format!(
            "included    slot {} segment {}: {} transactions in L1 block {} by {}; equal to the seal (C4)",
            record.slot, record.segment, record.count, record.block, record.transaction
        ),
        InclusionFinding::Lost { record } => format!(
            "lost        slot {} segment {}: L1 block {} is no longer of the chain; C4 taken back",
            record.slot, record.segment, record.block
        ),
        InclusionFinding::Differs { seal, record } => format!(
            "VIOLATION   slot {} segment {}: sealed {} transactions with root {}, but the Inbox has {} with root {}",
            seal.slot, seal.segment, seal.first_index, seal.tx_root, record.count, record.tx_root
        ),
        InclusionFinding::Missed { seal } => format!(
            "VIOLATION   slot {} segment {}: not in the Inbox by the time of its slot",
            seal.slot, seal.segment
        ),
    }
}

fn as_json(finding: &Finding) -> Value {
    match finding {
        Finding::Accepted { id, accepted } => match &**accepted {
            Accepted::Window { slot, holding } => json!({
                "event": "window", "id": id, "slot": slot, "committer": holding.entry.committer,
                "start_ms": holding.allocation.start_ms.to_string(),
            }),
            Accepted::Microblock(link) => json!({"event": "microblock", "id": id, "commitment": link}),
            Accepted::Seal(seal) => json!({"event": "seal", "id": id, "commitment": seal}),
            Accepted::Repeated => json!({"event": "repeated", "id": id}),
        },
        Finding::Violation { id, violation } => {
            json!({"event": "violation", "id": id, "cause": violation.to_string()})
        }
        Finding::Inclusion(InclusionFinding::Included(record)) => json!({
            "event": "included", "slot": record.slot, "segment": record.segment.to_string(),
            "count": record.count.to_string(), "block": record.block.to_string(),
            "block_hash": record.block_hash, "transaction": record.transaction, "level": "C4",
        }),
        Finding::Inclusion(InclusionFinding::Lost { record }) => json!({
            "event": "lost", "slot": record.slot, "segment": record.segment.to_string(),
            "block": record.block.to_string(), "block_hash": record.block_hash, "level": "C4",
        }),
        Finding::Inclusion(InclusionFinding::Differs { seal, record }) => json!({
            "event": "violation", "slot": seal.slot, "segment": seal.segment.to_string(),
            "cause": "the Inbox has another batch than was sealed", "commitment": seal, "recorded_root": record.tx_root,
            "recorded_count": record.count.to_string(),
        }),
        Finding::Inclusion(InclusionFinding::Missed { seal }) => json!({
            "event": "violation", "slot": seal.slot, "segment": seal.segment.to_string(),
            "cause": "not in the Inbox by the time of its slot", "commitment": seal,
        }),
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{Address, B256};
    use earnest_client::inclusion::InboxRecord;
    use earnest_protocol::objects::OrderingCommitment;

    use super::*;

    fn seal(slot: u64, segment: u16, kind: CommitmentKind) -> Finding {
        let commitment = OrderingCommitment {
            rollup_id: RollupId(1),
            slot: Slot(slot),
            segment,
            number: 0,
            parent: B256::ZERO,
            first_index: 0,
            tx_count: 0,
            tx_root: B256::ZERO,
            timestamp_ms: 0,
            forced_inclusion_head: 0,
            kind,
        };
        Finding::Accepted { id: String::new(), accepted: Box::new(Accepted::Seal(commitment)) }
    }

    fn record(slot: u64, segment: u16) -> InboxRecord {
        InboxRecord {
            slot: Slot(slot),
            segment,
            committer: Address::ZERO,
            tx_root: B256::ZERO,
            count: 0,
            time_s: 0,
            block: 0,
            block_hash: B256::ZERO,
            transaction: B256::ZERO,
        }
    }

    fn included(slot: u64, segment: u16) -> Finding {
        Finding::Inclusion(InclusionFinding::Included(record(slot, segment)))
    }

    #[test]
    fn a_window_is_done_when_it_is_sealed_and_all_of_it_is_on_l1() {
        let first = || seal(5, 0, CommitmentKind::SegmentSeal);
        let last = || seal(5, 1, CommitmentKind::WindowSeal);
        let lost = || Finding::Inclusion(InclusionFinding::Lost { record: record(5, 0) });
        let cases: [(bool, Vec<Finding>, u64); 7] = [
            (false, vec![first()], 0),
            (false, vec![first(), last(), seal(6, 0, CommitmentKind::WindowSeal)], 2),
            (true, vec![first(), last()], 0),
            (true, vec![first(), included(5, 0)], 0),
            (true, vec![first(), included(5, 0), last(), included(5, 1)], 1),
            (true, vec![first(), included(5, 0), lost(), last(), included(5, 1)], 0),
            (true, vec![first(), last(), included(5, 1), included(6, 0), included(5, 0), included(5, 0)], 1),
        ];
        for (with_l1, findings, done) in cases {
            let mut windows = WindowCount { with_l1, ..WindowCount::default() };
            findings.iter().for_each(|finding| windows.on(finding));
            assert_eq!(windows.done, done, "{findings:?}");
        }
    }

    #[test]
    fn every_finding_has_one_line_in_either_form() {
        for finding in [seal(5, 0, CommitmentKind::WindowSeal), included(5, 0)] {
            assert_eq!(as_text(&finding).lines().count(), 1);
            assert!(as_json(&finding)["event"].is_string());
        }
    }
}
