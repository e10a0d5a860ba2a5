//! `earnest devnet`: the whole system in one process, with a searcher and a follower to watch it work.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use alloy_primitives::{Address, U256};
use clap::Args;
use earnest_chain::ExecutionClient;
use earnest_client::{
    Finding, GatewayClient, Limits, RelayClient, SettlementDesk, follower::FollowerConfig,
    inbox_watch::InboxWatch, inclusion::InclusionFinding,
};
use earnest_devnet::{
    MAX_OPTED_IN, Network, NetworkOptions, Ready,
    auctions::AuctionWatch,
    promises::{MarketVerdict, Promises, Seen, SettledBid, Verdict, follow, sealed_by},
    traffic::{Executor, Searcher},
    validator::{Outcome, Report},
};
use earnest_protocol::{
    RollupId, Slot,
    auction::{AuctionRecord, AuctionStatus},
    signing::EcdsaSecret,
};
use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;
use url::Url;

/// Slots from the start to the first window that is sold: its auction closes five and a half before.
const LEAD_SLOTS: u64 = 6;

use crate::{failure::Failure, role::on_signal};

/// Options of `earnest devnet`.
#[derive(Debug, Args)]
pub(crate) struct DevnetArgs {
    /// Write where everything is to this file (JSON) once all is up.
    #[arg(long)]
    ready_file: Option<PathBuf>,
    /// Stop after this many slots from its start; the exit status says whether every promise was kept.
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
    /// Operators, to whom the opted-in validators are dealt out, each with a sidecar and a gateway: unless said, two if there is
    /// a market and as many opted-in validators, else one.
    #[arg(long)]
    operators: Option<u64>,
    /// Hold no auctions: the rollups' rights go to the proposer's own gateway unbought.
    #[arg(long)]
    no_market: bool,
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
    let opted_in = args.opted_in.unwrap_or(args.validators.min(MAX_OPTED_IN));
    let market = !args.no_market && opted_in > 0;
    let options = NetworkOptions {
        slot_ms: args.slot_ms,
        validators: args.validators,
        opted_in,
        operators: args.operators.unwrap_or(if market { opted_in.min(2) } else { 1 }),
        market,
        rollups: args.rollups.clone(),
        bare_rollups: args.bare_rollups.clone(),
        data_dir: args.data_dir.clone(),
        gateway_rate: 0,
    };
    if !args.quiet {
        println!("starting L1, validators, sidecars, relay, builder, gateways…");
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
    let verdict = Box::pin(watch(&args, &network, &stop)).await?;
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
    let gateways: Vec<(&str, &Url)> = gateways(ready).into_iter().map(|url| ("gateway", url)).collect();
    let mut sidecars: Vec<(&str, &Url)> =
        ready.proposers.iter().map(|proposer| ("sidecar", &proposer.url)).collect();
    sidecars.dedup();
    let others =
        [("relay", &ready.relay), ("beacon node", &ready.beacon), ("L1 execution", &ready.execution)];
    println!();
    for (name, url) in gateways.into_iter().chain(others).chain(sidecars) {
        println!("  {name:<14} {url}");
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
    for (number, operator) in (1..).zip(&ready.operators) {
        println!("\n  operator {number}: {}", operator.registration_root);
        println!(
            "  of {} registered {} validators with {} ether, and opted in to the slasher with its gateway's committer {}",
            operator.owner,
            operator.validators,
            ether(operator.collateral_wei.0),
            operator.committer
        );
        if ready.market {
            println!("  it has {} ether in escrow to bid with", ether(operator.escrow_wei.0));
        }
    }
    if ready.market {
        println!(
            "\nit is slot {}, and the rollups' terms are in force from slot {}: from about slot {} on each window is sold by auction",
            ready.first_slot,
            ready.terms_from,
            ready.terms_from.0.max(ready.first_slot.0.saturating_add(LEAD_SLOTS)),
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
        "  earnest verify receipt.json --network {network_name} --relay {}{slasher}",
        ready.relay_address
    );
    if ready.market {
        println!("  earnest market show SLOT --relay {}", ready.relay);
        println!("  earnest market verify SLOT --relay {} --address {}", ready.relay, ready.relay_address);
    }
    println!();
}

/// Whole ether, and what is left of it to three places.
fn ether(wei: U256) -> String {
    let (milli, _) = wei.div_rem(U256::from(1_000_000_000_000_000_u64));
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
    let last = args.slots.map(|slots| Slot(ready.first_slot.0.saturating_add(slots.max(1))));
    let desk = if ready.market { Some(desk(network).await?) } else { None };
    let auctions = match &desk {
        Some(desk) => Some(auctions(network, desk.clone(), last)?.run(seen.clone())),
        None => None,
    };
    let mut auctions = Box::pin(async move {
        if let Some(auctions) = auctions
            && let Err(error) = auctions.await
        {
            tracing::error!(%error, "auctions are not watched");
        }
        std::future::pending::<()>().await;
    });
    drop(seen);
    let mut proposals = proposals(network, &mut tasks);
    let mut promises = Promises::default();
    let clock = network.beacon.clock();
    // The last window's batch is in the block of its slot; three more slots to see that. What was won is settled two later.
    let end = last.map(|last| last.0.saturating_add(if ready.market { 8 } else { 3 }));
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
            () = &mut auctions => {}
            Some(sighting) = sightings.recv() => {
                promises.on(&sighting);
                if !args.quiet {
                    tell(&sighting, ready);
                }
                let settled = last.is_some_and(|last| {
                    clock.slot_at(now_ms()) > Some(last.0) && promises.open(last) == 0 && promises.unsettled(last) == 0
                });
                if settled && clock.slot_at(now_ms()) > last.map(|last| last.0.saturating_add(1)) {
                    break;
                }
            }
            Some(report) = proposals.recv() => {
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
    if let Some(desk) = &desk {
        audit_books(&mut promises, ready, desk).await?;
    }
    // Windows whose slot has not passed are owed nothing yet, and the payment of the last ones is under way.
    let passed = clock.slot_at(now_ms()).unwrap_or_default();
    let passed = Slot(passed.saturating_sub(if ready.market { 5 } else { 2 }));
    Ok(promises.verdict(last.map_or(passed, |last| last.min(passed)), ready.market))
}

/// What all validators do.
fn proposals(network: &Network, tasks: &mut JoinSet<()>) -> mpsc::UnboundedReceiver<Report> {
    let (tell, told) = mpsc::unbounded_channel();
    for validators in &network.validators {
        let (mut reports, tell) = (validators.reports(), tell.clone());
        tasks.spawn(async move {
            while let Ok(report) = reports.recv().await {
                if tell.send(report).is_err() {
                    return;
                }
            }
        });
    }
    told
}

fn failed(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(error.to_string())
}

async fn desk(network: &Network) -> Result<SettlementDesk, Failure> {
    let ready = network.ready();
    let market = ready.contracts.get("OrderingMarket").copied().unwrap_or_default();
    let rpc = network.execution.rpc().clone();
    SettlementDesk::open(rpc, market, ready.network).await.map_err(|error| failed(&error))
}

/// Nobody is paid for settling: here the rollups' owner does it, who has the interest.
fn auctions<'a>(
    network: &'a Network,
    desk: SettlementDesk,
    last: Option<Slot>,
) -> Result<AuctionWatch<'a>, Failure> {
    Ok(AuctionWatch {
        relay: RelayClient::new(&network.ready().relay, Limits::default()).map_err(|error| failed(&error))?,
        desk,
        payer: network.rollups_owner().map_err(|error| failed(&error))?,
        beacon: &network.beacon,
        execution: network.execution.rpc().clone(),
        last,
    })
}

/// L1's own books: each operator's escrow is short of what its bids were charged, and no more.
async fn audit_books(promises: &mut Promises, ready: &Ready, desk: &SettlementDesk) -> Result<(), Failure> {
    let (charged, credited) = promises.paid();
    for operator in &ready.operators {
        let escrow =
            desk.escrow(operator.owner, ready.relay_address).await.map_err(|error| failed(&error))?;
        let spent = operator.escrow_wei.0.saturating_sub(escrow);
        let owed = charged.get(&operator.owner).copied().unwrap_or_default();
        // A settlement may have come into a block that nobody waited for.
        if spent < owed {
            promises.break_with(format!(
                "{} was charged {owed} wei, and its escrow is {spent} short",
                operator.owner
            ));
        }
    }
    for (account, wei) in credited {
        let credit = desk.credit(account).await.map_err(|error| failed(&error))?;
        if credit < wei {
            promises.break_with(format!("{account} has earned {wei} wei and is credited {credit}"));
        }
    }
    Ok(())
}

/// The gateways, each once.
fn gateways(ready: &Ready) -> Vec<&Url> {
    if ready.operators.is_empty() {
        return vec![&ready.gateway];
    }
    ready.operators.iter().map(|operator| &operator.gateway).collect()
}

fn spawn_rollup(
    args: &DevnetArgs,
    network: &Network,
    rollup: RollupId,
    seen: &mpsc::UnboundedSender<Seen>,
    tasks: &mut JoinSet<()>,
) -> Result<(), Failure> {
    let ready = network.ready();
    let gateways: Vec<(Url, GatewayClient)> = gateways(ready)
        .into_iter()
        .map(|url| {
            let client = GatewayClient::new(url, Limits::default()).map_err(|error| failed(&error))?;
            Ok((url.clone(), client))
        })
        .collect::<Result<_, Failure>>()?;
    let inbox = ready.contracts.get("Inbox").copied().unwrap_or_default();
    let config = FollowerConfig {
        rollup,
        roots: network.trust(),
        policy: None,
        inbox: Some(InboxWatch {
            execution: network.execution.rpc().clone(),
            inbox,
            poll: Duration::from_millis((args.slot_ms / 4).max(50)),
            timing: Some(*network.timing()),
        }),
        last_event_id: None,
    };
    let rpc: Option<ExecutionClient> =
        network.anvils.iter().find(|anvil| anvil.chain_id() == rollup.0).map(|anvil| anvil.rpc().clone());
    for (_, gateway) in &gateways {
        tasks.spawn(follow(gateway.clone(), config.clone(), seen.clone()));
        if let Some(rpc) = rpc.clone() {
            let executor = Executor { gateway: gateway.clone(), rollup, trust: network.trust(), rpc };
            tasks.spawn(executor.run());
        }
    }
    let account =
        ready.accounts.last().and_then(|account| EcdsaSecret::from_bytes(&account.private_key.0).ok());
    if let (Some(account), true) = (account, args.traffic > 0.0) {
        let gap = Duration::from_secs_f64(1.0 / args.traffic.clamp(0.01, 1_000.0));
        let searcher = Searcher { gateways, rollup, account, gap, trust: network.trust(), rpc };
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

/// Who an account is.
fn operator(ready: &Ready, account: Address) -> String {
    let place = ready.operators.iter().position(|operator| operator.owner == account);
    place.map_or_else(|| account.to_string(), |place| format!("operator {}", place.saturating_add(1)))
}

/// An auction's outcome in one line.
fn auction(record: &AuctionRecord, ready: &Ready) -> String {
    let outcome = record.outcome.as_ref().filter(|_| record.status == AuctionStatus::Final);
    let Some((outcome, allocation)) =
        outcome.and_then(|outcome| Some((outcome, outcome.allocation.as_ref()?)))
    else {
        return "has no auction result".to_owned();
    };
    let sold: Vec<String> = allocation
        .entries
        .iter()
        .map(|entry| {
            let matched = outcome.matches.iter().any(|bid| bid.hash == entry.bid_hash);
            let how = if matched { " by first refusal" } else { "" };
            let (id, wei, who) = (entry.rollup_id, ether(entry.price_wei.0), operator(ready, entry.account));
            format!("rollup {id} for {wei} ether to {who}{how}")
        })
        .collect();
    let sold = if sold.is_empty() { "nothing is sold".to_owned() } else { sold.join(", ") };
    let proposer = ready.proposers.iter().find(|proposer| proposer.pubkey == record.proposer);
    let of = proposer.and_then(|proposer| {
        let place = ready.operators.iter().position(|operator| operator.sidecar == proposer.url)?;
        Some(format!(" (of operator {})", place.saturating_add(1)))
    });
    format!("{} auction closed with {} bids: {sold}", of.unwrap_or_default(), record.bid_count)
}

fn paid(bid: &SettledBid, ready: &Ready) -> String {
    let SettledBid { account, settled, .. } = bid;
    let rights: Vec<String> = settled
        .rights
        .iter()
        .map(|right| {
            let late = if right.in_time { "" } else { " (its batch was late)" };
            let (revenue, share) = (ether(right.revenue_wei), ether(right.proposer_wei));
            format!("{revenue} to rollup {}, {share} to the proposer{late}", right.rollup_id)
        })
        .collect();
    let (wei, who) = (ether(settled.charged_wei), operator(ready, *account));
    format!("{who} paid {wei} ether: {}", rights.join("; "))
}

fn tell(sighting: &Seen, ready: &Ready) {
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
        Seen::Auction(record) => println!("slot {:>4} {}", record.slot, auction(record, ready)),
        Seen::Verified { slot, findings, void } => {
            let said = match (findings.is_empty(), void) {
                (false, _) => format!("BROKEN: the auction does not hold: {}", findings.join("; ")),
                (true, true) => {
                    "no delegation carries the auction's result: nobody holds its windows".to_owned()
                }
                (true, false) => {
                    "auction verified: its result follows from its bids, and the delegation carries it"
                        .to_owned()
                }
            };
            println!("slot {slot:>4}  {said}");
        }
        Seen::Settled(bid) => println!("slot {:>4}  {}", bid.slot, paid(bid, ready)),
        Seen::NotSettled { slot, account, error } => {
            println!("slot {slot:>4}  BROKEN: {} did not pay: {error}", operator(ready, *account));
        }
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
    if let Some(market) = &verdict.market {
        println!("{}", market_line(market));
    }
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

fn market_line(market: &MarketVerdict) -> String {
    let MarketVerdict { auctions, sold, void, settled, charged_wei, proposers_wei } = market;
    let void = if *void == 0 { String::new() } else { format!(" ({void} carried by no delegation)") };
    format!(
        "{auctions} auctions{void} sold {sold} rights; {settled} are settled, for {charged_wei} wei, of which {proposers_wei} are the proposers'"
    )
}

fn short(hash: &alloy_primitives::B256) -> String {
    let text = hash.to_string();
    text.get(..10).unwrap_or(&text).to_owned()
}

fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
