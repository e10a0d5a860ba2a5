//! The project's budgets of a relay (design §11), measured on one that runs in this process.

use std::{fmt, path::Path, sync::Arc, time::Duration};

use earnest_builder_types::{bls::SecretKey, domain::builder_domain};
use earnest_client::HeaderRequest;
use serde::Serialize;
use tokio::runtime::Handle;

use super::{
    Encoding, RelayLoad, What,
    blocks::Blocks,
    cause, print, progress,
    reads::{self, ReadReport, median},
    registrations::{RegistrationReport, Registrations, post_all},
    submissions::{self, SubmissionReport},
    target::Target,
    world::{FORK_VERSION, World},
};
use crate::{failure::Failure, role};

/// Largest quotient of a figure and what it is measured beside.
const MOST_OVER_PEER: f64 = 1.3;
/// Longest median from the posting of a block of 1 MB to its being on offer, milliseconds.
const MOST_SUBMISSION_MS: f64 = 10.0;
/// Longest time for registrations that are all known, seconds.
const MOST_UNCHANGED_S: f64 = 0.5;

/// Longest wait for the servers to stop where the run was.
const STOPPING: Duration = Duration::from_secs(2);

/// One figure and its budget.
#[derive(Debug, Serialize)]
struct Line {
    what: String,
    figure: f64,
    unit: &'static str,
    /// What it is measured beside in the same run.
    #[serde(skip_serializing_if = "Option::is_none")]
    beside: Option<Beside>,
    /// The most that the figure, or its quotient by what stands beside it, may be.
    budget: f64,
    kept: bool,
}

#[derive(Debug, Serialize)]
struct Beside {
    what: &'static str,
    figure: f64,
    ratio: f64,
}

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub(super) struct Budgets {
    cores: usize,
    /// Of the last minute before the start, where the system tells it: 0 on a machine with nothing else to do.
    load_average: Option<f64>,
    lines: Vec<Line>,
}

impl Line {
    fn at_most(what: String, figure: f64, unit: &'static str, budget: f64) -> Self {
        Self { what, figure, unit, beside: None, budget, kept: figure <= budget }
    }

    fn beside(what: String, figure: f64, unit: &'static str, beside: Beside) -> Self {
        let (budget, kept) = (MOST_OVER_PEER, beside.ratio <= MOST_OVER_PEER);
        Self { what, figure, unit, beside: Some(beside), budget, kept }
    }
}

pub(super) async fn run(options: &RelayLoad) -> Result<(), Failure> {
    let stop = role::on_signal()?;
    let folder =
        tempfile::Builder::new().prefix("earnest-load-").tempdir_in(&options.data_dir).map_err(cause)?;
    // The servers have threads of their own, as they would in a process of their own.
    let servers = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(cause)?;
    let measured = tokio::select! {
        measured = measure(options, folder.path(), servers.handle()) => measured,
        () = stop.cancelled() => Err(Failure::new("stopped before everything was measured")),
    };
    // The folder goes once nobody writes to it.
    tokio::task::spawn_blocking(move || servers.shutdown_timeout(STOPPING)).await.map_err(cause)?;
    drop(folder);
    print(options, &measured?)
}

/// Measures what the options ask for; the servers run on threads of `servers` and write to `folder`.
pub(super) async fn measure(
    options: &RelayLoad,
    folder: &Path,
    servers: &Handle,
) -> Result<Budgets, Failure> {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load_average = load_average();
    Ok(Budgets { cores, load_average, lines: lines(options, folder, servers).await? })
}

async fn lines(options: &RelayLoad, folder: &Path, servers: &Handle) -> Result<Vec<Line>, Failure> {
    let budgeted = [What::Registrations, What::Submissions, What::Header];
    if options.what.is_some_and(|what| !budgeted.contains(&what)) {
        return Err(Failure::new("--self-contained measures header, submissions and registrations alone"));
    }
    let wants = |what: What| options.what.is_none_or(|only| only == what);
    let mut lines = Vec::new();
    // One more, for the relay to warm up with.
    let count = if wants(What::Registrations) { options.count } else { 64 };
    let domain = builder_domain(FORK_VERSION);
    let all = Registrations::make(options.first_key, count.saturating_add(1), domain).await?;
    if wants(What::Registrations) {
        lines.extend(registrations(options, folder, servers, &all).await?);
    }
    if !wants(What::Submissions) && !wants(What::Header) {
        return Ok(lines);
    }
    let world = World::start(servers, all.keys(), folder).await?;
    post_all(&world.client, &all.bodies(0, Encoding::Ssz)?, Encoding::Ssz).await?;
    progress("posting blocks");
    let (blocks, submitted) = submit(options, &world).await?;
    if wants(What::Submissions) {
        let what =
            format!("submission of {:.2} MB, {} transactions, p50", blocks.megabytes, blocks.transactions);
        lines.push(Line::at_most(what, submitted.latency.p50_ms, "ms", MOST_SUBMISSION_MS));
        if !submitted.on_offer {
            return Err(Failure::new("the relay answered 200 before the block was on offer"));
        }
    }
    if wants(What::Header) {
        for encoding in [Encoding::Ssz, Encoding::Json] {
            progress("asking for headers");
            lines.extend(header_lines(&headers(options, &world, encoding, servers).await?));
        }
    }
    world.stop().await?;
    Ok(lines)
}

/// Each round on a new relay. Of each way the round of the median quotient is shown.
async fn registrations(
    options: &RelayLoad,
    folder: &Path,
    servers: &Handle,
    all: &Registrations,
) -> Result<Vec<Line>, Failure> {
    let (first, others) = all.split_first().ok_or_else(|| Failure::new("--count is 0"))?;
    let encoding = options.encoding.unwrap_or(Encoding::Json);
    let mut ways = [(options.list, vec![]), (0, vec![])];
    for round in 1..=options.rounds.max(1) {
        for (list, reports) in &mut ways {
            progress(&format!("registering, {}, round {round}", in_lists(*list)));
            let world = World::start(servers, all.keys(), folder).await?;
            post_all(&world.client, &first.bodies(0, encoding)?, encoding).await?;
            reports.push(others.measure(&world.client, *list, encoding).await?);
            world.stop().await?;
        }
    }
    Ok(ways.iter().flat_map(|(list, reports)| registration_lines(options.count, *list, reports)).collect())
}

fn registration_lines(count: usize, list: usize, reports: &[RegistrationReport]) -> Vec<Line> {
    let middle = median(reports.iter().map(|report| report.cold_over_blst).collect());
    let unchanged = median(reports.iter().map(|report| report.unchanged_s).collect());
    let shown = reports.iter().find(|report| report.cold_over_blst.total_cmp(&middle).is_eq());
    let cold = shown.map(|shown| {
        let beside = Beside { what: "blst, batch", figure: shown.blst_s, ratio: shown.cold_over_blst };
        Line::beside(format!("{count} registrations, {}, cold", in_lists(list)), shown.cold_s, "s", beside)
    });
    let what = format!("{count} registrations, {}, unchanged", in_lists(list));
    cold.into_iter().chain([Line::at_most(what, unchanged, "s", MOST_UNCHANGED_S)]).collect()
}

fn in_lists(list: usize) -> String {
    if list == 0 { "one list".to_owned() } else { format!("lists of {list}") }
}

struct Block {
    megabytes: f64,
    transactions: usize,
}

async fn submit(options: &RelayLoad, world: &World) -> Result<(Block, SubmissionReport), Failure> {
    let attributes = &world.attributes;
    let key = SecretKey::random().map_err(cause)?;
    let blocks = Blocks::new(key, attributes.builder_domain, attributes.chain_id, options.block_bytes)?;
    let transactions = blocks.transactions();
    let rate = if options.what == Some(What::Submissions) { options.rate() } else { 10 };
    let plan = submissions::Plan {
        rate,
        // One is enough to have a header.
        total: if options.what == Some(What::Header) { 1 } else { rate.saturating_mul(options.duration) },
        in_flight: options.in_flight,
        encoding: options.encoding.unwrap_or(Encoding::Ssz),
    };
    let submitted = submissions::measure(plan, &world.client, attributes, Arc::new(blocks)).await?;
    Ok((Block { megabytes: submitted.body_bytes as f64 / 1e6, transactions }, submitted))
}

/// The header of the last block that was posted.
async fn headers(
    options: &RelayLoad,
    world: &World,
    encoding: Encoding,
    servers: &Handle,
) -> Result<ReadReport, Failure> {
    let event = world.attributes.next(|_| true).await?;
    let (slot, parent_hash) = (event.data.proposal_slot, event.data.parent_block_hash);
    let duties = world.client.duties().await.map_err(cause)?;
    let duty = duties.into_iter().find(|duty| duty.slot == slot);
    let pubkey = duty.ok_or_else(|| Failure::new("the relay lost a registration"))?.entry.message.pubkey;
    let target = Target::header(HeaderRequest { slot, parent_hash, pubkey }, encoding);
    let rate = if options.what == Some(What::Header) { options.rate() } else { 2_000 };
    let plan = reads::Plan { rate, seconds: options.duration, in_flight: options.in_flight };
    reads::beside(plan, &world.client, &target, What::Header, servers).await
}

fn header_lines(report: &ReadReport) -> Vec<Line> {
    let (Some(bare), Some(ratio)) = (&report.bare, &report.ratio) else { return vec![] };
    let encoding = match report.encoding {
        Encoding::Ssz => "SSZ",
        Encoding::Json => "JSON",
    };
    let line = |quantile: &str, figure, beside, ratio| {
        let what = format!("getHeader, {encoding}, {}/s, {quantile}", report.rate);
        Line::beside(what, figure, "ms", Beside { what: "bare axum", figure: beside, ratio })
    };
    vec![
        line("p50", report.relay.latency.p50_ms, bare.latency.p50_ms, ratio.p50),
        line("p99", report.relay.latency.p99_ms, bare.latency.p99_ms, ratio.p99),
    ]
}

fn load_average() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

impl fmt::Display for Budgets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let load = self.load_average.map_or("not known".to_owned(), |load| format!("{load:.2}"));
        writeln!(f, "{} cores, load average before the start {load}", self.cores)?;
        writeln!(f, "{:<52}{:>12}{:>26}{:>8}{:>10}", "what", "figure", "beside it", "ratio", "budget")?;
        for line in &self.lines {
            let (beside, ratio) = line.beside.as_ref().map_or_else(Default::default, |beside| {
                let Beside { what, figure, ratio } = beside;
                (format!("{figure:.3} {} {what}", line.unit), format!("{ratio:.2}"))
            });
            let figure = format!("{:.3} {}", line.figure, line.unit);
            let budget = match line.beside {
                Some(_) => format!("≤ {:.2}", line.budget),
                None => format!("≤ {} {}", line.budget, line.unit),
            };
            let kept = if line.kept { "kept" } else { "MISSED" };
            writeln!(f, "{:<52}{figure:>12}{beside:>26}{ratio:>8}{budget:>10}  {kept}", line.what)?;
        }
        writeln!(
            f,
            "Medians over rounds and parts. Generator, relay, beacon node and bare handler shared the cores; not measured:"
        )?;
        writeln!(
            f,
            "a network, TLS, blobs, simulation, payload delivery, constraints. More in `earnest load relay --help`."
        )
    }
}
