//! `earnest load sidecar`: what the proposer sidecar adds to getHeader, on one that runs in this process.

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use alloy_primitives::{Address, B256, FixedBytes, U256};
use axum::Router;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::serve::{ListenerExt, serve};
use clap::Args;
use earnest_builder_types::bls::{self, SecretKey};
use earnest_builder_types::{
    BuilderBid, ExecutionPayloadHeader, ExecutionPayloadHeaderDeneb, ExecutionRequests, ForkCodec, ForkName,
    KzgCommitments, SignedBuilderBid, Versioned, domain,
};
use earnest_client::transport::{CONSENSUS_VERSION, JSON, OCTETS};
use earnest_client::{HeaderRequest, Limits, RelayClient};
use earnest_proposer::Config;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use serde::Serialize;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::open_loop::{self, Measured, Pace, Quantiles};
use crate::failure::Failure;

/// Parts of each side; who begins changes each time, so that the machine's mood meets all alike.
const PARTS: u64 = 10;
/// Load before what counts, seconds.
const WARM_UP: u64 = 2;
/// Time for one answer.
const ANSWER_TIME: Duration = Duration::from_millis(900);
/// Most that passing through may add, p50, milliseconds.
const MOST_PASSING: f64 = 0.5;
/// Most that verifying a relay's signature may add beside the verification itself, p50, milliseconds.
const MOST_VERIFYING: f64 = 0.2;
const FORK_VERSION: [u8; 4] = [0x10, 0, 0, 0x38];
const PARENT: B256 = B256::repeat_byte(0xaa);

const HELP: &str = "\
What is measured: getHeader of one slot without constraints at a fixed rate, by turns straight from a source and through the
sidecar. The source is a bare axum handler that answers the same signed bid. Times run from the instant a request was due to the
last byte of its answer. `passing` is a sidecar that takes the source for mev-boost, `verifying` one that has the source's key and
verifies its signature. What is added is the difference of the medians over parts; beside it stands one BLS verification of that
bid, alone on a core, in the same run and with the same pause between two: that is what the budget counts. Without a pause it is quicker.

The exit status is not 0 if a budget is missed.

What is not measured: a network, TLS, more than one source (all are asked at once, the slowest counts), constrained slots, SSZ
unless --ssz is given. Generator, source and sidecar share this machine's cores.";

/// Options of `earnest load sidecar`.
#[derive(Debug, Args)]
#[command(after_long_help = HELP)]
pub(crate) struct SidecarLoad {
    /// Requests a second.
    #[arg(long, default_value_t = 100)]
    rate: u64,
    /// Seconds of load for each side.
    #[arg(long, default_value_t = 20)]
    duration: u64,
    /// Ask for SSZ instead of JSON.
    #[arg(long)]
    ssz: bool,
    /// Folder for the sidecar's record, removed at the end.
    #[arg(long, default_value = ".")]
    data_dir: PathBuf,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

/// One way to the header.
#[derive(Debug, Serialize)]
struct Side {
    name: &'static str,
    ok: u64,
    errors: u64,
    #[serde(flatten)]
    latency: Quantiles,
    /// What it adds to the source's own time, p50 and p99, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    added_ms: Option<(f64, f64)>,
    /// The most that it may add to p50, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    budget_ms: Option<f64>,
    /// Whether it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    kept: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_error: Option<String>,
}

impl Side {
    /// In words, what this side adds above its budget.
    fn missed(&self) -> Option<String> {
        let ((p50, _), budget) = (self.added_ms?, self.budget_ms?);
        (self.kept == Some(false))
            .then(|| format!("budget missed: {} adds {p50:.3} ms at p50, and may add {budget:.3}", self.name))
    }
}

/// What was measured.
#[derive(Debug, Serialize)]
struct Report {
    cores: usize,
    rate: u64,
    seconds: u64,
    /// One verification, at the pace of the requests.
    verification_ms: f64,
    /// One of many without a pause.
    at_once_ms: f64,
    sides: Vec<Side>,
}

/// Runs the load and prints the report.
///
/// # Errors
/// When something does not start, or not one answer is as it should be.
pub(super) async fn run(options: &SidecarLoad) -> Result<(), Failure> {
    // The servers have threads of their own, as they would in processes of their own.
    let servers = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(cause)?;
    let report = measure(options, PARTS, WARM_UP, servers.handle()).await;
    servers.shutdown_background();
    let report = report?;
    if options.json {
        println!("{}", serde_json::to_string(&report).map_err(cause)?);
    } else {
        print!("{report}");
    }
    let missed: Vec<String> = report.sides.iter().filter_map(Side::missed).collect();
    if missed.is_empty() { Ok(()) } else { Err(Failure::new(missed.join("; "))) }
}

async fn measure(
    options: &SidecarLoad,
    parts_of_each: u64,
    warm_up: u64,
    servers: &Handle,
) -> Result<Report, Failure> {
    let relay = SecretKey::random().map_err(cause)?;
    let bid = bid(&relay)?;
    let at_once_ms = verification(&bid, Duration::ZERO)?;
    let gap = Duration::from_secs(1).checked_div(u32::try_from(options.rate).unwrap_or(u32::MAX));
    let verification_ms = verification(&bid, gap.unwrap_or_default())?;
    let source = source(servers, &bid).await?;
    let stop = CancellationToken::new();
    let passing = sidecar(servers, options, &source, None, &stop).await?;
    let verifying = sidecar(servers, options, &source, Some(&relay), &stop).await?;
    let ways = [("source", source), ("passing", passing.url()?), ("verifying", verifying.url()?)];
    let clients: Vec<(&'static str, RelayClient)> = ways
        .into_iter()
        .map(|(name, url)| Ok((name, RelayClient::new(&url, Limits::default()).map_err(cause)?)))
        .collect::<Result<_, Failure>>()?;
    let accept = if options.ssz { OCTETS } else { JSON };
    let seconds = options.duration.div_ceil(parts_of_each.max(1)).max(1);
    let pace = |seconds: u64| Pace {
        rate: options.rate.max(1),
        total: options.rate.max(1).saturating_mul(seconds),
        in_flight: 100,
    };
    for (_, client) in &clients {
        load(pace(warm_up), client, &accept).await?;
    }
    let mut parts: Vec<Vec<Measured>> = clients.iter().map(|_| Vec::new()).collect();
    let first_of = |part: u64| usize::try_from(part).unwrap_or(0);
    for part in 0..parts_of_each {
        for turn in 0..clients.len() {
            let at = first_of(part).wrapping_add(turn).checked_rem(clients.len()).unwrap_or(0);
            if let (Some((_, client)), Some(parts)) = (clients.get(at), parts.get_mut(at)) {
                parts.push(load(pace(seconds), client, &accept).await?);
            }
        }
    }
    stop.cancel();
    passing.join().await?;
    verifying.join().await?;
    let names = clients.iter().map(|(name, _)| *name);
    let mut sides: Vec<Side> =
        names.zip(&parts).map(|(name, parts)| side(name, parts)).collect::<Result<_, Failure>>()?;
    let beside = sides.first().map(|side| side.latency);
    for side in sides.iter_mut().skip(1) {
        side.added_ms =
            beside.map(|beside| (side.latency.p50_ms - beside.p50_ms, side.latency.p99_ms - beside.p99_ms));
        let verifies = side.name == "verifying";
        let budget = if verifies { verification_ms + MOST_VERIFYING } else { MOST_PASSING };
        side.budget_ms = Some(budget);
        side.kept = side.added_ms.map(|(p50, _)| p50 <= budget);
    }
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    Ok(Report { cores, rate: options.rate, seconds: options.duration, verification_ms, at_once_ms, sides })
}

fn side(name: &'static str, parts: &[Measured]) -> Result<Side, Failure> {
    let mut all = Measured::nothing()?;
    for part in parts {
        all.add(part);
    }
    if let (0, Some(error)) = (all.ok(), &all.first_error) {
        return Err(Failure::new(format!("{name}: not one answer: {error}")));
    }
    let median = |quantile: f64| middle(parts.iter().map(|part| part.quantile_ms(quantile)).collect());
    Ok(Side {
        name,
        ok: all.ok(),
        errors: all.errors,
        latency: Quantiles { p50_ms: median(0.5), p99_ms: median(0.99), p999_ms: median(0.999) },
        added_ms: None,
        budget_ms: None,
        kept: None,
        first_error: all.first_error,
    })
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or_default()
}

async fn load(pace: Pace, client: &RelayClient, accept: &HeaderValue) -> Result<Measured, Failure> {
    let (client, accept) = (client.clone(), accept.clone());
    open_loop::run(pace, move |number| {
        let (client, accept) = (client.clone(), accept.clone());
        // Each slot once, as a proposer asks.
        let wanted =
            HeaderRequest { slot: number, parent_hash: PARENT, pubkey: FixedBytes::repeat_byte(0xbb) };
        async move {
            let answer = client.header_answer(&wanted, accept, ANSWER_TIME).await;
            match answer.map_err(|error| error.to_string())?.status {
                StatusCode::OK => Ok(()),
                status => Err(status.to_string()),
            }
        }
    })
    .await
}

/// A sidecar that is running, on threads of the servers.
struct Sidecar {
    running: earnest_proposer::Running,
    _data: tempfile::TempDir,
}

impl Sidecar {
    fn url(&self) -> Result<Url, Failure> {
        self.running.url().ok_or_else(|| Failure::new("the sidecar has no URL"))
    }

    async fn join(self) -> Result<(), Failure> {
        self.running.join().await.map_err(cause)
    }
}

async fn sidecar(
    servers: &Handle,
    options: &SidecarLoad,
    source: &Url,
    key: Option<&SecretKey>,
    stop: &CancellationToken,
) -> Result<Sidecar, Failure> {
    let data =
        tempfile::Builder::new().prefix("earnest-load-").tempdir_in(&options.data_dir).map_err(cause)?;
    let nobody = TcpListener::bind("127.0.0.1:0").await.map_err(cause)?.local_addr().map_err(cause)?;
    let config: Config = serde_json::from_value(json!({
        "listen": "127.0.0.1:0",
        "data_dir": data.path(),
        // Nobody is there: without a clock every slot may be asked for.
        "beacon": [format!("http://{nobody}")],
        "network": {
            "genesis_fork_version": FixedBytes(FORK_VERSION),
            "chain_id": 1,
        },
        "relays": [{ "url": source, "pubkey": key.map(SecretKey::public_key) }],
        "free_space_floor": 0,
    }))
    .map_err(cause)?;
    let starting = servers.spawn(earnest_proposer::start(config, stop.clone()));
    let running = starting.await.map_err(cause)?.map_err(cause)?;
    Ok(Sidecar { running, _data: data })
}

/// A bare handler that has this bid in both forms.
async fn source(servers: &Handle, bid: &SignedBuilderBid) -> Result<Url, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(cause)?;
    let url = format!("http://{}", listener.local_addr().map_err(cause)?).parse().map_err(cause)?;
    let listener = listener.into_std().map_err(cause)?;
    let (ssz, text) = (bid.to_ssz(), Versioned::new(bid.clone()).to_json().map_err(cause)?);
    let (ssz, text) = (bytes::Bytes::from(ssz), bytes::Bytes::from(text));
    let handler = move |headers: axum::http::HeaderMap| {
        let wants_ssz = headers.get("accept").is_some_and(|accept| *accept == OCTETS);
        let (body, media) = if wants_ssz { (ssz.clone(), OCTETS) } else { (text.clone(), JSON) };
        let fork = HeaderValue::from_static(ForkName::Deneb.as_str());
        async move { ([(CONTENT_TYPE, media), (CONSENSUS_VERSION, fork)], body).into_response() }
    };
    let route = "/eth/v1/builder/header/{slot}/{parent_hash}/{pubkey}";
    let router = Router::new().route(route, get(handler));
    servers.spawn(async move {
        let listener = TcpListener::from_std(listener)?.tap_io(|connection| {
            if let Err(error) = connection.set_nodelay(true) {
                tracing::debug!(%error, "cannot set TCP_NODELAY");
            }
        });
        serve(listener, router).await
    });
    Ok(url)
}

fn bid(relay: &SecretKey) -> Result<SignedBuilderBid, Failure> {
    let header = ExecutionPayloadHeader::Deneb(ExecutionPayloadHeaderDeneb {
        parent_hash: PARENT,
        fee_recipient: Address::repeat_byte(1),
        state_root: B256::repeat_byte(2),
        receipts_root: B256::repeat_byte(3),
        logs_bloom: FixedBytes::repeat_byte(4),
        prev_randao: B256::repeat_byte(5),
        block_number: 20_000_000,
        gas_limit: 60_000_000,
        gas_used: 30_000_000,
        timestamp: 1_760_000_000,
        extra_data: Default::default(),
        base_fee_per_gas: U256::from(1_000_000_007),
        block_hash: B256::repeat_byte(6),
        transactions_root: B256::repeat_byte(7),
        withdrawals_root: B256::repeat_byte(8),
        blob_gas_used: 0,
        excess_blob_gas: 0,
    });
    // As many as a block of today may have.
    let commitments = KzgCommitments::new(vec![FixedBytes::repeat_byte(9); 6])
        .map_err(|error| Failure::new(format!("{error:?}")))?;
    let value = U256::from(50_000_000_000_000_000_u64);
    let bid = BuilderBid::new(header, commitments, ExecutionRequests::default(), value, relay.public_key());
    Ok(bid.map_err(cause)?.sign(relay, domain::builder_domain(FORK_VERSION)))
}

/// The median time of one verification of the bid's signature, milliseconds, where `pause` lies between two: what a processor has at
/// hand of the last one, and its pace, count.
fn verification(bid: &SignedBuilderBid, pause: Duration) -> Result<f64, Failure> {
    let domain = domain::builder_domain(FORK_VERSION);
    let mut times = Vec::new();
    for _ in 0..200 {
        std::thread::sleep(pause);
        let begun = Instant::now();
        bid.verify(domain).map_err(|error: bls::BlsError| cause(error))?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    Ok(middle(times))
}

fn cause(error: impl fmt::Display) -> Failure {
    Failure::new(error.to_string())
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (cores, rate, seconds) = (self.cores, self.rate, self.seconds);
        writeln!(
            f,
            "{cores} cores, {rate}/s for {seconds} s each; one BLS verification {:.3} ms at this pace, {:.3} without a pause",
            self.verification_ms, self.at_once_ms
        )?;
        writeln!(
            f,
            "{:<12}{:>8}{:>8}{:>10}{:>10}{:>12}{:>12}{:>12}",
            "", "ok", "errors", "p50 ms", "p99 ms", "added p50", "added p99", "budget p50"
        )?;
        for side in &self.sides {
            let Quantiles { p50_ms, p99_ms, .. } = side.latency;
            write!(f, "{:<12}{:>8}{:>8}{p50_ms:>10.3}{p99_ms:>10.3}", side.name, side.ok, side.errors)?;
            match (side.added_ms, side.budget_ms) {
                (Some((p50, p99)), Some(budget)) => {
                    let kept = if side.kept == Some(true) { "kept" } else { "MISSED" };
                    writeln!(f, "{p50:>12.3}{p99:>12.3}{:>12}  {kept}", format!("≤ {budget:.3}"))?;
                }
                _ => writeln!(f)?,
            }
        }
        let first = self.sides.iter().find_map(|side| side.first_error.as_ref());
        first.map_or(Ok(()), |error| writeln!(f, "first error: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn every_way_gives_the_header_in_either_form() {
        for ssz in [false, true] {
            let data = tempfile::tempdir().unwrap();
            let options =
                SidecarLoad { rate: 20, duration: 1, ssz, data_dir: data.path().to_owned(), json: false };
            let report = measure(&options, 1, 0, &Handle::current()).await.unwrap();
            let names: Vec<_> = report.sides.iter().map(|side| side.name).collect();
            assert_eq!(names, ["source", "passing", "verifying"]);
            for side in &report.sides {
                assert!(side.ok > 0 && side.errors == 0, "{}: {:?}", side.name, side.first_error);
            }
            assert!(report.to_string().contains("added p50"));
            assert!(report.sides.iter().skip(1).all(|side| side.kept.is_some()));
            let mut missed = report.sides.into_iter().next_back().unwrap();
            (missed.added_ms, missed.budget_ms, missed.kept) = (Some((2.0, 3.0)), Some(1.0), Some(false));
            assert_eq!(
                missed.missed().unwrap(),
                "budget missed: verifying adds 2.000 ms at p50, and may add 1.000"
            );
        }
    }
}
