//! A builder's blocks, and the time until they are on offer.

use std::{fmt, sync::Arc, time::Duration};

use earnest_builder_types::{BlsPublicKey, SignedValidatorRegistration, bls::SecretKey};
use earnest_chain::PayloadAttributesEvent;
use earnest_client::{HeaderRequest, RelayClient};
use earnest_signer::KeyFile;
use rayon::prelude::*;
use serde::Serialize;

use super::{
    Encoding, RelayLoad,
    blocks::{Blocks, Built},
    cause,
    payload_attributes::PayloadAttributes,
};
use crate::{
    failure::Failure,
    load::open_loop::{self, Measured, Pace, Quantiles},
};

/// Blocks built before they are sent: 128 MB of them.
const BATCH: u64 = 128;
/// Blocks sent one by one before what counts.
const WARM_UP: u64 = 5;
/// Posting ends this part of a slot before the slot begins; one that begins within twice that is not built for.
const MARGIN: (u64, u64) = (1, 12);
/// Slots in a row without a registered proposer after which there is no hope.
const MOST_SKIPPED: u64 = 64;

/// How a run is made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) rate: u64,
    pub(super) total: u64,
    pub(super) in_flight: usize,
    pub(super) encoding: Encoding,
}

/// What was measured.
#[derive(Debug, Serialize)]
pub(super) struct SubmissionReport {
    builder: BlsPublicKey,
    encoding: Encoding,
    rate: u64,
    pub(super) body_bytes: usize,
    transactions: usize,
    slots: u64,
    ok: u64,
    errors: u64,
    #[serde(flatten)]
    pub(super) latency: Quantiles,
    /// Whether the last block was on offer right after it was taken.
    pub(super) on_offer: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_error: Option<String>,
}

pub(super) async fn run(options: &RelayLoad, client: &RelayClient) -> Result<SubmissionReport, Failure> {
    let beacon = options
        .beacon
        .as_ref()
        .ok_or_else(|| Failure::new("submissions need --beacon: blocks are built on it"))?;
    let attributes = PayloadAttributes::listen(beacon).await?;
    if attributes.is_mainnet {
        return Err(Failure::new(
            "this is mainnet: blocks that nobody executed would be offered to its proposers",
        ));
    }
    measure_with(options, client, &attributes).await
}

/// What the options say, on the attributes of a node that is listened to.
pub(super) async fn measure_with(
    options: &RelayLoad,
    client: &RelayClient,
    attributes: &PayloadAttributes,
) -> Result<SubmissionReport, Failure> {
    let key = match options.builder_key.clone() {
        Some(file) => {
            tokio::task::spawn_blocking(|| KeyFile::bare(file).bls()).await.map_err(cause)?.map_err(cause)?
        }
        None => SecretKey::random().map_err(cause)?,
    };
    let blocks = Blocks::new(key, attributes.builder_domain, attributes.chain_id, options.block_bytes)?;
    let plan = Plan {
        rate: options.rate(),
        total: options.rate().saturating_mul(options.duration),
        in_flight: options.in_flight,
        encoding: options.encoding(),
    };
    measure(plan, client, attributes, Arc::new(blocks)).await
}

/// Builds for the slot that the beacon node announced last and posts, until `total` were posted.
pub(super) async fn measure(
    plan: Plan,
    client: &RelayClient,
    attributes: &PayloadAttributes,
    blocks: Arc<Blocks>,
) -> Result<SubmissionReport, Failure> {
    let mut all = Measured::nothing()?;
    let (mut number, mut slots, mut skipped) = (0_u64, 0_u64, 0_u64);
    let mut left = plan.total;
    let (mut last_slot, mut last) = (None, None);
    let margin = Duration::from_millis(attributes.clock.fraction_ms(MARGIN.0, MARGIN.1));
    while left > 0 {
        let usable = |event: &PayloadAttributesEvent| {
            let slot = event.data.proposal_slot;
            attributes.time_left(slot) > margin.saturating_mul(2) && (skipped == 0 || last_slot != Some(slot))
        };
        let event = attributes.next(usable).await?;
        let slot = event.data.proposal_slot;
        let is_new = last_slot.replace(slot) != Some(slot);
        let Some(proposer) = proposer(client, slot).await? else {
            skipped = skipped.saturating_add(1);
            if skipped > MOST_SKIPPED {
                return Err(Failure::new("no proposer is registered: no block can be offered"));
            }
            continue;
        };
        skipped = 0;
        if is_new {
            slots = slots.saturating_add(1);
            let numbers = number..number.saturating_add(WARM_UP);
            number = numbers.end;
            for block in build(&blocks, &event, &proposer, numbers, plan).await? {
                post(client, &block, plan.encoding).await.map_err(Failure::new)?;
            }
        }
        let time = attributes.time_left(slot).saturating_sub(margin).as_millis();
        let time = u64::try_from(time).unwrap_or(u64::MAX);
        let count = (plan.rate.saturating_mul(time) / 1_000).min(BATCH).min(left);
        let numbers = number..number.saturating_add(count);
        number = numbers.end;
        left = left.saturating_sub(count);
        let built = build(&blocks, &event, &proposer, numbers, plan).await?;
        let Some(newest) = built.last().cloned() else { continue };
        all.add(&post_all(plan, client, built).await?);
        let wanted = HeaderRequest {
            slot,
            parent_hash: event.data.parent_block_hash,
            pubkey: proposer.message.pubkey,
        };
        let offered = client.header(&wanted).await.map_err(cause)?;
        let on_offer = offered.is_some_and(|bid| bid.header().block_hash() == newest.block_hash);
        last = Some((newest, on_offer));
    }
    let (newest, on_offer) =
        last.ok_or_else(|| Failure::new("no block was sent: --rate or --duration is 0"))?;
    if let (0, Some(error)) = (all.ok(), &all.first_error) {
        return Err(Failure::new(format!("not one block was taken: {error}")));
    }
    Ok(SubmissionReport {
        builder: blocks.pubkey(),
        encoding: plan.encoding,
        rate: plan.rate,
        body_bytes: newest.body.len(),
        transactions: blocks.transactions(),
        slots,
        ok: all.ok(),
        errors: all.errors,
        latency: all.quantiles(),
        on_offer,
        first_error: all.first_error,
    })
}

/// The registration of a slot's proposer, if the relay has it.
async fn proposer(client: &RelayClient, slot: u64) -> Result<Option<SignedValidatorRegistration>, Failure> {
    let duties = client.duties().await.map_err(cause)?;
    Ok(duties.into_iter().find(|duty| duty.slot == slot).map(|duty| duty.entry.into()))
}

async fn build(
    blocks: &Arc<Blocks>,
    event: &PayloadAttributesEvent,
    proposer: &SignedValidatorRegistration,
    numbers: std::ops::Range<u64>,
    plan: Plan,
) -> Result<Vec<Built>, Failure> {
    let (blocks, event, proposer) = (Arc::clone(blocks), event.clone(), proposer.clone());
    let building = tokio::task::spawn_blocking(move || {
        // Nothing is worth 0: the first block is worth 1.
        let numbers = numbers.into_par_iter().map(|number| number.saturating_add(1));
        numbers.map(|number| blocks.build(&event, &proposer, number, plan.encoding)).collect()
    });
    building.await.map_err(cause)?
}

async fn post_all(plan: Plan, client: &RelayClient, built: Vec<Built>) -> Result<Measured, Failure> {
    let pace = Pace { rate: plan.rate, total: built.len() as u64, in_flight: plan.in_flight };
    let client = client.clone();
    open_loop::run(pace, move |number| {
        let block = usize::try_from(number).ok().and_then(|number| built.get(number)).cloned();
        let client = client.clone();
        async move {
            let block = block.ok_or("no such block")?;
            post(&client, &block, plan.encoding).await
        }
    })
    .await
}

async fn post(client: &RelayClient, block: &Built, encoding: Encoding) -> Result<(), String> {
    let answer = client
        .post_raw("relay/v1/builder/blocks", encoding.media(), Some(block.fork), block.body.clone())
        .await
        .map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&answer.body);
    if answer.status.is_success() { Ok(()) } else { Err(format!("{} {text}", answer.status)) }
}

impl fmt::Display for SubmissionReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Quantiles { p50_ms, p99_ms, p999_ms } = self.latency;
        writeln!(f, "builder      {}", self.builder)?;
        let (bytes, transactions) = (self.body_bytes, self.transactions);
        writeln!(f, "block        {bytes} bytes as sent, {transactions} transactions, {}/s", self.rate)?;
        writeln!(f, "taken        {:>10}   in {} slots", self.ok, self.slots)?;
        writeln!(f, "errors       {:>10}   {}", self.errors, self.first_error.as_deref().unwrap_or(""))?;
        writeln!(f, "latency ms   p50 {p50_ms:.3}   p99 {p99_ms:.3}   p99.9 {p999_ms:.3}")?;
        let offered = if self.on_offer {
            "the last block was on offer at once"
        } else {
            "the last block was NOT on offer afterwards: others bid more, the slot is constrained, or the relay offers \
             later than it answers"
        };
        writeln!(f, "{offered}")
    }
}
