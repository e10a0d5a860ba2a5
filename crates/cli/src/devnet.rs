//! `earnest devnet`: the whole system in one process, with a searcher and a follower to watch it work.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use alloy_primitives::U256;
use clap::Args;
use earnest_chain::ExecutionClient;
use earnest_client::{
    Finding, GatewayClient, Limits, follower::FollowerConfig, inbox_watch::InboxWatch,
    inclusion::InclusionFinding,
};
use earnest_devnet::{
    MAX_OPTED_IN, Network, NetworkOptions, Ready,
    promises::{Promises, Seen, Verdict, follow, sealed_by},
    traffic::{Executor, Searcher},
    validator::{Outcome, Report},
};
use earnest_protocol::{RollupId, Slot, Wei, signing::EcdsaSecret};
use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{failure::Failure, role::on_signal};

/// Options of `earnest devnet`.
#[derive(Debug, Args)]
pub(crate) struct DevnetArgs {
    /// Write where everything is to this file (JSON) once all is up.
    #[arg(long)]
    ready_file: Option<PathBuf>,
    /// Stop after this many slots; the exit status says whether every promise was kept.
    #[arg(long)]
    slots: Option<u64>,
    /// Length of a slot, milliseconds.
    #[arg(long, default_value_t = 2_000)]
    slot_ms: u64,
    /// Validators.
    #[arg(long, default_value_t = 4)]
    validators: u64,
    /// How many of the validators are opted in: 256 at most, and unless said, as many as there are.
    #[arg(long)]
    opted_in: Option<u64>,
    /// Chain id of a rollup whose order an execution client (anvil) executes; may be repeated. Nonces and balances are
    /// checked against it.
    #[arg(long = "rollup", default_values_t = [42_069])]
    rollups: Vec<u64>,
    /// Chain id of a rollup without an execution client, whose nonces and balances nobody checks: the one to put load
    /// on. May be repeated.
    #[arg(long = "bare-rollup", default_values_t = [42_070])]
    bare_rollups: Vec<u64>,
    /// Transactions a second that a searcher of the devnet's own sends to each rollup; 0 for none.
    #[arg(long, default_value_t = 1.0)]
    traffic: f64,
    /// Keep keys, configurations, journals and logs in this folder; else they are gone at the end.
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Print only the summary.
    #[arg(long)]
    quiet: bool,
}

impl DevnetArgs {
    /// The level of logs unless the environment says another.
    pub(crate) const fn log_level(&self) -> &'static str {
        "warn"
    }
}

/// Runs a devnet until a signal, or for the slots asked for.
pub(crate) async fn run(args: DevnetArgs) -> Result<ExitCode, Failure> {
    let stop = on_signal()?;
    let options = NetworkOptions {
        slot_ms: args.slot_ms,
        validators: args.validators,
        opted_in: args.opted_in.unwrap_or(args.validators.min(MAX_OPTED_IN)),
        rollups: args.rollups.clone(),
        bare_rollups: args.bare_rollups.clone(),
        data_dir: args.data_dir.clone(),
        gateway_rate: 0,
    };
    if !args.quiet {
        println!("starting L1, validators, sidecar, relay, builder, gateway…");
    }
    let network = tokio::select! {
        network = Network::start(&options) => network.map_err(|error| Failure::new(error.to_string()))?,
        () = stop.cancelled() => return Ok(ExitCode::FAILURE),
    };
    if let Some(path) = &args.ready_file {
        write_ready(path, network.ready())?;
    }
    if !args.quiet {
        greet(&network);
    }
    let verdict = watch(&args, &network, &stop).await?;
    network.stop().await;
    Ok(sum_up(&verdict))
}

/// Writes the file whole or not at all: whoever waits for it never reads half.
fn write_ready(path: &PathBuf, ready: &Ready) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(ready).map_err(|error| Failure::new(error.to_string()))?;
    let partial = path.with_extension("partial");
    std::fs::write(&partial, text)
        .and_then(|()| std::fs::rename(&partial, path))
        .map_err(|error| Failure::new(format!("{}: {error}", path.display())))
}

fn greet(network: &Network) {
    let ready = network.ready();
    let rows = [
        ("gateway", &ready.gateway),
        ("relay", &ready.relay),
        ("beacon node", &ready.beacon),
        ("L1 execution", &ready.execution),
    ];
    println!();
    for (name, url) in rows {
        println!("  {name:<14} {url}");
    }
    if let Some(proposer) = ready.proposers.first() {
        println!("  {:<14} {}", "sidecar", proposer.url);
    }
    for rollup in &ready.rollups {
        let rpc = rollup.rpc.as_ref().map_or("no execution client", url::Url::as_str);
        println!("  {:<14} {rpc}", format!("rollup {}", rollup.id));
    }
    println!("  {:<14} {} on {}", "L1", network.execution.name(), ready.network.chain_id);
    println!("\ndeployed on L1:\n");
    for (name, address) in &ready.contracts {
        println!("  {name:<16} {address}");
    }
    if let Some(operator) = &ready.operator {
        println!("\n  operator {}", operator.registration_root);
        println!(
            "  of {} registered {} validators with {} ether, and opted in to the slasher with the gateway's committer {}",
            operator.owner,
            operator.validators,
            ether(operator.collateral_wei),
            operator.committer
        );
    }
    let fork = alloy_primitives::hex::encode_prefixed(ready.network.genesis_fork_version);
    let network_name = format!("{fork}:{}", ready.network.chain_id);
    let inbox = ready.contracts.get("Inbox").copied().unwrap_or_default();
    let slasher = ready.contracts.iter().find(|(name, _)| **name == "OrderingSlasher");
    let slasher = slasher.map_or_else(String::new, |(_, address)| format!(" --slasher {address}"));
    println!("\nin another shell, from here:\n");
    if let Some(rollup) = ready.rollups.last() {
        println!(
            "  earnest load gateway --url {} --rollup {} --rate 50 --duration 10",
            ready.gateway, rollup.id
        );
        println!(
            "  earnest follow --gateway {} --rollup {} --l1 {} --inbox {inbox}{slasher}",
            ready.gateway, rollup.id, ready.execution
        );
        println!(
            "  curl -s {}ordering/v1/rollups/{}/receipts/TX_HASH > receipt.json",
            ready.gateway, rollup.id
        );
    }
    println!(
        "  earnest verify receipt.json --network {network_name} --relay {}{slasher}\n",
        ready.relay_address
    );
}

/// Whole ether, and what is left of it to three places.
fn ether(wei: Wei) -> String {
    let (milli, _) = wei.0.div_rem(U256::from(1_000_000_000_000_000_u64));
    let (whole, rest) = milli.div_rem(U256::from(1_000));
    if rest.is_zero() { whole.to_string() } else { format!("{whole}.{rest:03}") }
}

async fn watch(args: &DevnetArgs, network: &Network, stop: &CancellationToken) -> Result<Verdict, Failure> {
    let ready = network.ready();
    let (seen, mut sightings) = mpsc::unbounded_channel();
    let mut tasks = JoinSet::new();
    for rollup in &ready.rollups {
        spawn_rollup(args, network, rollup.id, &seen, &mut tasks)?;
    }
    drop(seen);
    let mut proposals = network.validators.reports();
    let mut promises = Promises::default();
    let clock = network.beacon.clock();
    let last = args.slots.map(|slots| Slot(slots.max(1)));
    // The last window's batch is in the block of its slot; three more slots to see that.
    let end = last.map(|last| last.0.saturating_add(3));
    loop {
        let over = async {
            match end {
                Some(end) => network.beacon.wait_for_slot(end).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => break,
            () = over => break,
            Some(sighting) = sightings.recv() => {
                promises.on(&sighting);
                if !args.quiet {
                    tell(&sighting);
                }
                let settled = last.is_some_and(|last| clock.slot_at(now_ms()) > Some(last.0) && promises.open(last) == 0);
                if settled && clock.slot_at(now_ms()) > last.map(|last| last.0.saturating_add(1)) {
                    break;
                }
            }
            Ok(report) = proposals.recv() => {
                if let Report::Proposed(proposal) = report && !args.quiet {
                    println!("slot {:>4}  validator {} {}", proposal.slot, proposal.validator_index, outcome(&proposal.outcome));
                }
            }
        }
    }
    tasks.shutdown().await;
    while let Ok(sighting) = sightings.try_recv() {
        promises.on(&sighting);
    }
    // Windows whose slot has not passed are owed nothing yet.
    let passed = Slot(clock.slot_at(now_ms()).unwrap_or_default().saturating_sub(2));
    Ok(promises.verdict(last.map_or(passed, |last| last.min(passed))))
}

fn spawn_rollup(
    args: &DevnetArgs,
    network: &Network,
    rollup: RollupId,
    seen: &mpsc::UnboundedSender<Seen>,
    tasks: &mut JoinSet<()>,
) -> Result<(), Failure> {
    let ready = network.ready();
    let failed = |error: String| Failure::new(error);
    let gateway = GatewayClient::new(&ready.gateway, Limits::default()).map_err(|e| failed(e.to_string()))?;
    let inbox = ready.contracts.get("Inbox").copied().unwrap_or_default();
    let config = FollowerConfig {
        rollup,
        roots: network.trust(),
        policy: None,
        inbox: Some(InboxWatch {
            execution: network.execution.rpc().clone(),
            inbox,
            poll: Duration::from_millis((args.slot_ms / 8).max(50)),
            timing: Some(*network.timing()),
        }),
        last_event_id: None,
    };
    tasks.spawn(follow(gateway.clone(), config, seen.clone()));
    let rpc: Option<ExecutionClient> =
        network.anvils.iter().find(|anvil| anvil.chain_id() == rollup.0).map(|anvil| anvil.rpc().clone());
    if let Some(rpc) = rpc.clone() {
        let executor = Executor { gateway: gateway.clone(), rollup, trust: network.trust(), rpc };
        tasks.spawn(executor.run());
    }
    let account =
        ready.accounts.last().and_then(|account| EcdsaSecret::from_bytes(&account.private_key.0).ok());
    if let (Some(account), true) = (account, args.traffic > 0.0) {
        let gap = Duration::from_secs_f64(1.0 / args.traffic.clamp(0.01, 1_000.0));
        let searcher = Searcher { gateway, rollup, account, gap, trust: network.trust(), rpc };
        tasks.spawn(searcher.run(seen.clone()));
    }
    Ok(())
}

fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Builder { block_hash, value, .. } => {
            format!("proposed the relay's block {}, bid {value} wei", short(block_hash))
        }
        Outcome::Local { block_hash, reason, .. } => {
            format!("proposed its own block {}: {reason}", short(block_hash))
        }
        Outcome::Missed { reason } => format!("MISSED: {reason}"),
    }
}

fn tell(sighting: &Seen) {
    match sighting {
        Seen::Receipt { rollup, receipt, latency } => println!(
            "           rollup {rollup}: receipt for {} in {:.2} ms: slot {}, place {}.{}",
            receipt.tx_hash,
            latency.as_secs_f64() * 1e3,
            receipt.slot,
            receipt.segment,
            receipt.index
        ),
        Seen::BadReceipt { rollup, error } => println!("           rollup {rollup}: BAD RECEIPT: {error}"),
        Seen::Refused { .. } => {}
        Seen::Found { rollup, finding } => {
            if let Some((slot, count)) = sealed_by(finding) {
                println!(
                    "           rollup {rollup}: window of slot {slot} sealed with {count} transactions"
                );
            }
            match &**finding {
                Finding::Inclusion(InclusionFinding::Included(record)) => println!(
                    "           rollup {rollup}: batch of slot {} with {} transactions is in L1 block {}, as sealed",
                    record.slot, record.count, record.block
                ),
                finding if finding.is_violation() => {
                    println!("           rollup {rollup}: BROKEN: {finding:?}");
                }
                _ => {}
            }
        }
    }
}

fn sum_up(verdict: &Verdict) -> ExitCode {
    println!();
    let median = verdict
        .median
        .map_or_else(String::new, |median| format!(", median {:.2} ms", median.as_secs_f64() * 1e3));
    println!(
        "{} receipts, all verified{median}; {} batches on L1 as sealed",
        verdict.receipts, verdict.batches
    );
    for (code, count) in &verdict.refusals {
        println!("{count} refused: {code}");
    }
    for promise in &verdict.broken {
        println!("BROKEN: {promise}");
    }
    if verdict.broken.is_empty() {
        println!("every promise was kept");
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn short(hash: &alloy_primitives::B256) -> String {
    let text = hash.to_string();
    text.get(..10).unwrap_or(&text).to_owned()
}

fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
