//! `earnest load relay`.

mod bare;
mod blocks;
mod budgets;
mod payload_attributes;
mod reads;
mod registrations;
mod submissions;
mod target;
#[cfg(test)]
mod tests;
mod world;

use std::{path::PathBuf, time::Duration};

use alloy_primitives::B256;
use clap::{Args, ValueEnum};
use earnest_builder_types::BlsPublicKey;
use earnest_client::{Limits, RelayClient, transport};
use reqwest::header::HeaderValue;
use serde::Serialize;
use url::Url;

use crate::failure::Failure;

/// Longest wait for the answer to one request; a list of registrations takes seconds.
const ANSWER_TIME: Duration = Duration::from_secs(120);

const HELP: &str = "\
What is measured:
  header, status, duties, schedule, delivered
      GETs at a fixed rate. Times run from the instant a request was due to the last byte of its answer, so a relay that
      stalls is charged for every request it kept waiting. An answer other than 200 is an error; so is 204, a header that is
      not on offer. With --peer, parts of one second or more alternate between the relay and a bare axum handler in this
      process that answers the very same bytes; the quantiles shown are medians over the parts.
  submissions
      Blocks of about 1 MB without blobs, each worth 1 wei more than the one before, built on the payload attributes of a
      beacon node (--beacon) and posted at a fixed rate. Times end with the relay's 200, which an Earnest relay gives once
      the bid is on offer; whether the last one is on offer is asked at the end. Nobody executes these blocks: a proposer
      that takes one loses its slot. Refused where the beacon node is mainnet's.
  registrations
      --count validators with the interop keys of test networks, signed anew, posted in lists (--list) one after the other:
      first as news, then unchanged. Beside it, in this process and on all cores, the verification of the same signatures by
      blst's own batch function. A relay refuses validators that its beacon node does not know.

Where --slot, --parent-hash or --pubkey is not given, a header's is looked up before each part: in the payload attributes of
--beacon if given, else among the blocks that the relay says it received, and in the relay's list of duties.

What is not measured: the network between (everything is as far away as the relay is), TLS unless the URL has it, many
addresses (all requests come from one, so switch the relay's limit for each client off or stay below it), payload delivery,
blobs, simulation. Generator, bare handler and, with --self-contained, relay and beacon node share this machine's cores.";

/// Options of `earnest load relay`.
#[derive(Debug, Args)]
#[command(after_long_help = HELP)]
pub(crate) struct RelayLoad {
    /// Base URL of the relay.
    #[arg(long, required_unless_present = "self_contained")]
    url: Option<Url>,
    /// Start a relay over an in-memory beacon node in this process and measure the project's budgets: getHeader,
    /// submissions, registrations, or only --what. Takes about four minutes and half a gigabyte of memory on two cores.
    #[arg(long, conflicts_with_all = ["url", "beacon", "peer", "slot", "parent_hash", "pubkey", "builder_key"])]
    self_contained: bool,
    /// What to ask for or post. Default `header`.
    #[arg(long, value_enum)]
    what: Option<What>,
    /// Requests a second. Default 2,000, of submissions 10.
    #[arg(long)]
    rate: Option<u64>,
    /// Seconds of load; with --peer as many for each.
    #[arg(long, default_value_t = 20)]
    duration: u64,
    /// Requests in flight at most, each on a connection of its own; more are counted as errors, not sent.
    #[arg(long, default_value_t = 100)]
    in_flight: usize,
    /// Measure a bare handler that answers the same bytes beside the relay.
    #[arg(long)]
    peer: bool,
    /// How headers, submissions and registrations are encoded. Default SSZ, of registrations JSON, as clients send them.
    #[arg(long, value_enum)]
    encoding: Option<Encoding>,
    /// Slot of the header.
    #[arg(long)]
    slot: Option<u64>,
    /// Parent of the header: the hash of an execution block.
    #[arg(long)]
    parent_hash: Option<B256>,
    /// Proposer of the header.
    #[arg(long)]
    pubkey: Option<BlsPublicKey>,
    /// A beacon node of the relay's network, for payload attributes and the network's fork version.
    #[arg(long)]
    beacon: Option<Url>,
    /// File with the hex of the key that signs submissions; a random one unless said.
    #[arg(long)]
    builder_key: Option<PathBuf>,
    /// Bytes of transactions in a submission.
    #[arg(long, default_value_t = 1_000_000)]
    block_bytes: usize,
    /// Validators to register.
    #[arg(long, default_value_t = 45_000)]
    count: usize,
    /// Registrations in one request; 0 for all in one.
    #[arg(long, default_value_t = 500)]
    list: usize,
    /// Index of the first interop key to register.
    #[arg(long, default_value_t = 0)]
    first_key: u64,
    /// How often registrations are measured by --self-contained; on two cores each time takes a minute.
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// Folder for the data of --self-contained, removed at the end. Durable writes go to its disk: give another where the
    /// system's folder for temporary files is in memory.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    data_dir: PathBuf,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

/// What a relay can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum What {
    /// `GET /eth/v1/builder/header/…`
    Header,
    /// `GET /eth/v1/builder/status`
    Status,
    /// `GET /relay/v1/builder/validators`
    Duties,
    /// `GET /ordering/v1/schedule`
    Schedule,
    /// `GET /relay/v1/data/bidtraces/proposer_payload_delivered`
    Delivered,
    /// `POST /relay/v1/builder/blocks`
    Submissions,
    /// `POST /eth/v1/builder/validators`
    Registrations,
}

/// The two forms of the Builder API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Encoding {
    /// `application/json`
    Json,
    /// `application/octet-stream`
    Ssz,
}

impl Encoding {
    fn media(self) -> HeaderValue {
        match self {
            Self::Json => transport::JSON,
            Self::Ssz => transport::OCTETS,
        }
    }
}

impl RelayLoad {
    /// Logs as the relay writes them in production where it runs in this process: they are part of what it costs.
    pub(crate) fn log_level(&self) -> &'static str {
        if self.self_contained { "warn,earnest_relay=info,earnest_http=info" } else { "warn" }
    }

    /// A client of the relay, whose answers may take long.
    fn client(url: &Url) -> Result<RelayClient, Failure> {
        let limits = Limits { timeout: ANSWER_TIME, ..Limits::default() };
        RelayClient::new(url, limits).map_err(|error| Failure::new(error.to_string()))
    }

    fn rate(&self) -> u64 {
        let usual = if self.what == Some(What::Submissions) { 10 } else { 2_000 };
        self.rate.unwrap_or(usual).max(1)
    }

    fn encoding(&self) -> Encoding {
        let usual = if self.what == Some(What::Registrations) { Encoding::Json } else { Encoding::Ssz };
        self.encoding.unwrap_or(usual)
    }
}

/// Runs the load and prints the report.
///
/// # Errors
/// When the relay does not answer, or not once as it should, or something that it needs is not given.
pub(super) async fn run(options: &RelayLoad) -> Result<(), Failure> {
    let Some(url) = &options.url else { return budgets::run(options).await };
    let client = RelayLoad::client(url)?;
    match options.what.unwrap_or(What::Header) {
        What::Submissions => print(options, &submissions::run(options, &client).await?),
        What::Registrations => print(options, &registrations::run(options, &client).await?),
        what => print(options, &reads::run(options, &client, what).await?),
    }
}

fn print<T: Serialize + std::fmt::Display>(options: &RelayLoad, report: &T) -> Result<(), Failure> {
    if options.json {
        println!("{}", serde_json::to_string(report).map_err(|error| Failure::new(error.to_string()))?);
    } else {
        print!("{report}");
    }
    Ok(())
}

/// Says on the error stream what takes so long.
fn progress(what: &str) {
    eprintln!("{what} …");
}

fn cause(error: impl std::fmt::Display) -> Failure {
    Failure::new(error.to_string())
}
