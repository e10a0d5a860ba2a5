//! `earnest load gateway`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use alloy_consensus::TxEip1559;
use alloy_primitives::{Address, Bytes, TxKind, U256};
use clap::Args;
use earnest_journal::{Batch, Journal, Log, Options, Record};
use earnest_protocol::signing::EcdsaSecret;
use earnest_signer::sign_transaction;
use serde::Serialize;
use url::Url;

use super::{
    join,
    open_loop::{self, Pace, Quantiles},
};
use crate::failure::Failure;

/// Options of `earnest load gateway`.
#[derive(Debug, Args)]
pub(crate) struct GatewayLoad {
    /// Base URL of the gateway.
    #[arg(long)]
    url: Url,
    /// Rollup to submit to; the gateway's first unless said.
    #[arg(long)]
    rollup: Option<u64>,
    /// Transactions a second.
    #[arg(long, default_value_t = 100)]
    rate: u64,
    /// Seconds.
    #[arg(long, default_value_t = 10)]
    duration: u64,
    /// Requests in flight at most, each on a connection of its own; more are counted as errors, not sent. A gateway takes
    /// 256 connections of one address unless configured otherwise.
    #[arg(long, default_value_t = 200)]
    in_flight: usize,
    /// Bytes of call data in each transaction.
    #[arg(long, default_value_t = 0)]
    data_bytes: usize,
    /// Before the load, measure durable writes of 512 bytes in this folder (put it on the gateway's disk).
    #[arg(long)]
    probe_dir: Option<std::path::PathBuf>,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

/// What a load run measured; times in milliseconds from the instant a request was due.
#[derive(Debug, Serialize)]
struct Report {
    rate: u64,
    duration_s: f64,
    sent: u64,
    ok: u64,
    errors: u64,
    #[serde(flatten)]
    latency: Quantiles,
    per_s: f64,
    /// Median durable write of the same run, where `--probe-dir` was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    durable_write_p50_ms: Option<f64>,
    /// First error seen, to save a look at the logs.
    #[serde(skip_serializing_if = "Option::is_none")]
    first_error: Option<String>,
}

/// Runs the load and prints the report.
///
/// # Errors
/// When the gateway does not answer at all, or the probe folder cannot be written.
pub(super) async fn run(options: &GatewayLoad) -> Result<(), Failure> {
    let http = reqwest::Client::builder()
        .timeout(Duration::from_secs(10))
        .build()
        .map_err(|e| Failure::new(format!("no HTTP client: {e}")))?;
    let rollup = match options.rollup {
        Some(id) => id,
        None => first_rollup(&http, &options.url).await?,
    };
    let durable_write_p50_ms = options.probe_dir.as_deref().map(durable_write).transpose()?;
    let report = submit_all(options, http, rollup, durable_write_p50_ms).await?;
    if options.json {
        println!("{}", serde_json::to_string(&report).map_err(|e| Failure::new(e.to_string()))?);
    } else {
        print_table(&report);
    }
    match (report.ok, &report.first_error) {
        (0, Some(error)) => Err(Failure::new(format!("not one receipt: {error}"))),
        _ => Ok(()),
    }
}

async fn first_rollup(http: &reqwest::Client, url: &Url) -> Result<u64, Failure> {
    let info: serde_json::Value = get_json(http, join(url, "ordering/v1/info")?).await?;
    info.pointer("/rollups/0/id")
        .and_then(|id| id.as_u64().or_else(|| id.as_str()?.parse().ok()))
        .ok_or_else(|| Failure::new("the gateway orders no rollup"))
}

async fn get_json(http: &reqwest::Client, url: Url) -> Result<serde_json::Value, Failure> {
    let answer = http.get(url.clone()).send().await.map_err(|e| Failure::new(format!("{url}: {e}")))?;
    answer.json().await.map_err(|e| Failure::new(format!("{url}: {e}")))
}

/// Median time of a bare journal append of 512 bytes.
fn durable_write(dir: &std::path::Path) -> Result<f64, Failure> {
    let path = dir.join(format!("probe-{}", std::process::id()));
    let journal = Journal::open(&path, Options::default()).map_err(|e| Failure::new(e.to_string()))?;
    let mut times = Vec::new();
    for _ in 0..400 {
        let batch = Batch { records: vec![Record { kind: 1, body: vec![7_u8; 512].into() }], claims: vec![] };
        let from = Instant::now();
        journal.append(journal.head(), batch).map_err(|e| Failure::new(e.to_string()))?;
        times.push(from.elapsed().as_secs_f64() * 1e3);
    }
    journal.close();
    let _ = std::fs::remove_dir_all(&path);
    times.sort_by(f64::total_cmp);
    Ok(times.get(times.len() / 2).copied().unwrap_or_default())
}

async fn submit_all(
    options: &GatewayLoad,
    http: reqwest::Client,
    rollup: u64,
    durable_write_p50_ms: Option<f64>,
) -> Result<Report, Failure> {
    let target = join(&options.url, &format!("ordering/v1/rollups/{rollup}/transactions"))?;
    let sender = Arc::new(Sender::random(rollup, options.data_bytes));
    let total = options.rate.saturating_mul(options.duration);
    let pace = Pace { rate: options.rate, total, in_flight: options.in_flight };
    let measured = open_loop::run(pace, move |_| {
        let (http, target, sender) = (http.clone(), target.clone(), Arc::clone(&sender));
        async move { submit_one(&http, target, &sender).await }
    });
    let measured = measured.await?;
    Ok(Report {
        rate: options.rate,
        duration_s: measured.elapsed.as_secs_f64(),
        sent: total,
        ok: measured.ok(),
        errors: measured.errors,
        latency: measured.quantiles(),
        per_s: measured.per_second(),
        durable_write_p50_ms,
        first_error: measured.first_error,
    })
}

async fn submit_one(http: &reqwest::Client, target: Url, sender: &Sender) -> Result<(), String> {
    let raw = sender.next()?;
    let answer = http
        .post(target)
        .header("content-type", "application/octet-stream")
        .body(raw.0)
        .send()
        .await
        .map_err(|e| e.to_string())?;
    let status = answer.status();
    let body = answer.bytes().await.map_err(|e| e.to_string())?;
    if status.is_success() { Ok(()) } else { Err(format!("{status}: {}", String::from_utf8_lossy(&body))) }
}

/// One account that signs transfers with rising nonces.
struct Sender {
    key: EcdsaSecret,
    rollup: u64,
    nonce: AtomicU64,
    data: Bytes,
}

impl Sender {
    fn random(rollup: u64, data_bytes: usize) -> Self {
        Self {
            key: EcdsaSecret::random(),
            rollup,
            nonce: AtomicU64::new(0),
            data: vec![0x5a; data_bytes].into(),
        }
    }

    fn next(&self) -> Result<Bytes, String> {
        let data_gas = u64::try_from(self.data.len()).unwrap_or(u64::MAX).saturating_mul(40);
        let transaction = TxEip1559 {
            chain_id: self.rollup,
            nonce: self.nonce.fetch_add(1, Ordering::Relaxed),
            gas_limit: data_gas.saturating_add(21_000),
            max_fee_per_gas: 2_000_000_000,
            max_priority_fee_per_gas: 1_000_000_000,
            to: TxKind::Call(Address::repeat_byte(0x11)),
            value: U256::from(1),
            input: self.data.clone(),
            ..Default::default()
        };
        sign_transaction(transaction, &self.key).map_err(|error| error.to_string())
    }
}

fn print_table(report: &Report) {
    println!("sent       {:>10}   in {:.1} s at {}/s", report.sent, report.duration_s, report.rate);
    println!("receipts   {:>10}   {:.0}/s", report.ok, report.per_s);
    println!("errors     {:>10}   {}", report.errors, report.first_error.as_deref().unwrap_or(""));
    println!(
        "latency ms   p50 {:.3}   p99 {:.3}   p99.9 {:.3}",
        report.latency.p50_ms, report.latency.p99_ms, report.latency.p999_ms
    );
    if let Some(write) = report.durable_write_p50_ms {
        println!("one durable write, same run: p50 {write:.3} ms");
    }
}
