//! GETs at a fixed rate, of the relay alone or beside a bare handler.

use std::{fmt, time::Duration};

use earnest_client::RelayClient;
use reqwest::StatusCode;
use serde::Serialize;
use tokio::runtime::Handle;

use super::{
    Encoding, RelayLoad, What,
    bare::Bare,
    cause,
    target::{Found, Target, send},
};
use crate::{
    failure::Failure,
    load::open_loop::{self, Measured, Pace, Quantiles},
};

/// Parts of each of the two in a run beside a bare handler.
const PAIRS: u64 = 10;
/// Load before what counts.
const WARM_UP: Duration = Duration::from_secs(2);

/// What one of the two answered with.
#[derive(Debug, Serialize)]
pub(super) struct Side {
    pub(super) ok: u64,
    pub(super) errors: u64,
    pub(super) per_s: f64,
    /// Of the whole run; with parts, the medians over them.
    #[serde(flatten)]
    pub(super) latency: Quantiles,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) first_error: Option<String>,
}

/// The relay's times over the bare handler's.
#[derive(Debug, Serialize)]
pub(super) struct Ratio {
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) p999: f64,
}

/// What was measured.
#[derive(Debug, Serialize)]
pub(super) struct ReadReport {
    what: What,
    path: String,
    pub(super) encoding: Encoding,
    pub(super) rate: u64,
    seconds: u64,
    answer_bytes: usize,
    pub(super) relay: Side,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bare: Option<Side>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ratio: Option<Ratio>,
}

/// How a run is made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) rate: u64,
    pub(super) seconds: u64,
    pub(super) in_flight: usize,
}

impl Plan {
    const fn pace(&self, seconds: u64) -> Pace {
        Pace { rate: self.rate, total: self.rate.saturating_mul(seconds), in_flight: self.in_flight }
    }
}

pub(super) async fn run(
    options: &RelayLoad,
    client: &RelayClient,
    what: What,
) -> Result<ReadReport, Failure> {
    let plan = Plan { rate: options.rate(), seconds: options.duration, in_flight: options.in_flight };
    let part = if options.peer { pair_seconds(plan) } else { 1 };
    let target = Target::new(options, what, Duration::from_secs(part)).await?;
    if !options.peer {
        return alone(plan, client, &target, what).await;
    }
    // Threads of its own, as the relay has them.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(cause)?;
    let report = beside(plan, client, &target, what, runtime.handle()).await;
    runtime.shutdown_background();
    report
}

const fn pair_seconds(plan: Plan) -> u64 {
    if plan.seconds <= PAIRS { 1 } else { plan.seconds.div_ceil(PAIRS) }
}

/// The relay alone; a target that changes is found again every second.
async fn alone(plan: Plan, client: &RelayClient, target: &Target, what: What) -> Result<ReadReport, Failure> {
    let mut found = target.find(client).await?;
    let parts = if target.is_fixed() { 1 } else { plan.seconds };
    let seconds = plan.seconds.checked_div(parts).unwrap_or(1);
    let mut all = Measured::nothing()?;
    for part in 0..parts {
        if part > 0 {
            found = target.find(client).await?;
        }
        all.add(&load(plan.pace(seconds), client, &found.path, target.encoding()).await?);
    }
    let latency = all.quantiles();
    report(plan, target, what, &found, Side::of(&all, latency)?)
}

/// The relay and a bare handler by turns, who begins changing each time, so that the machine's mood meets both alike.
pub(super) async fn beside(
    plan: Plan,
    client: &RelayClient,
    target: &Target,
    what: What,
    runtime: &Handle,
) -> Result<ReadReport, Failure> {
    let mut found = target.find(client).await?;
    let mut bare = Bare::start(runtime, &found.path, found.answer.clone()).await?;
    let mut bare_client = RelayLoad::client(&bare.url)?;
    for client in [client, &bare_client] {
        load(plan.pace(WARM_UP.as_secs()), client, &found.path, target.encoding()).await?;
    }
    let pairs = plan.seconds.clamp(1, PAIRS);
    let pace = plan.pace(pair_seconds(plan));
    let (mut relay_parts, mut bare_parts) = (Vec::new(), Vec::new());
    for pair in 0..pairs {
        if !target.is_fixed() {
            found = target.find(client).await?;
            if !bare.answers(&found.answer) {
                bare = Bare::start(runtime, &found.path, found.answer.clone()).await?;
                bare_client = RelayLoad::client(&bare.url)?;
            }
        }
        for turn in 0..2_u64 {
            if pair.wrapping_add(turn) % 2 == 0 {
                relay_parts.push(load(pace, client, &found.path, target.encoding()).await?);
            } else {
                bare_parts.push(load(pace, &bare_client, &found.path, target.encoding()).await?);
            }
        }
    }
    let (relay, bare) = (Side::of_parts(&relay_parts)?, Side::of_parts(&bare_parts)?);
    let over = |of: fn(&Quantiles) -> f64| of(&relay.latency) / of(&bare.latency).max(f64::MIN_POSITIVE);
    let ratio = Ratio { p50: over(|q| q.p50_ms), p99: over(|q| q.p99_ms), p999: over(|q| q.p999_ms) };
    let report = report(plan, target, what, &found, relay)?;
    Ok(ReadReport { bare: Some(bare), ratio: Some(ratio), ..report })
}

async fn load(pace: Pace, client: &RelayClient, path: &str, encoding: Encoding) -> Result<Measured, Failure> {
    let (client, path) = (client.clone(), path.to_owned());
    open_loop::run(pace, move |_| {
        let (client, path) = (client.clone(), path.clone());
        async move {
            let answer = send(&client, &path, encoding).await?;
            if answer.status == StatusCode::OK {
                return Ok(());
            }
            Err(format!("{} {}", answer.status, String::from_utf8_lossy(&answer.body)))
        }
    })
    .await
}

fn report(
    plan: Plan,
    target: &Target,
    what: What,
    found: &Found,
    relay: Side,
) -> Result<ReadReport, Failure> {
    if let (0, Some(error)) = (relay.ok, &relay.first_error) {
        return Err(Failure::new(format!("not one answer: {error}")));
    }
    Ok(ReadReport {
        what,
        path: found.path.clone(),
        encoding: target.encoding(),
        rate: plan.rate,
        seconds: plan.seconds,
        answer_bytes: found.answer.body.len(),
        relay,
        bare: None,
        ratio: None,
    })
}

impl Side {
    fn of(all: &Measured, latency: Quantiles) -> Result<Self, Failure> {
        let (ok, errors, per_s) = (all.ok(), all.errors, all.per_second());
        Ok(Self { ok, errors, per_s, latency, first_error: all.first_error.clone() })
    }

    fn of_parts(parts: &[Measured]) -> Result<Self, Failure> {
        let mut all = Measured::nothing()?;
        for part in parts {
            all.add(part);
        }
        let median_of = |quantile: f64| median(parts.iter().map(|part| part.quantile_ms(quantile)).collect());
        let latency =
            Quantiles { p50_ms: median_of(0.5), p99_ms: median_of(0.99), p999_ms: median_of(0.999) };
        Self::of(&all, latency)
    }
}

/// The middle one; the lower of two.
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or_default()
}

impl fmt::Display for ReadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "/{}", self.path)?;
        writeln!(f, "{} bytes, {}/s for {} s", self.answer_bytes, self.rate, self.seconds)?;
        writeln!(
            f,
            "{:<14}{:>9}{:>9}{:>11}{:>11}{:>11}",
            "", "ok", "errors", "p50 ms", "p99 ms", "p99.9 ms"
        )?;
        let sides = [("relay", Some(&self.relay)), ("bare handler", self.bare.as_ref())];
        for (name, side) in sides.into_iter().filter_map(|(name, side)| Some((name, side?))) {
            let Quantiles { p50_ms, p99_ms, p999_ms } = side.latency;
            let (ok, errors) = (side.ok, side.errors);
            writeln!(f, "{name:<14}{ok:>9}{errors:>9}{p50_ms:>11.3}{p99_ms:>11.3}{p999_ms:>11.3}")?;
        }
        if let Some(Ratio { p50, p99, p999 }) = self.ratio {
            writeln!(f, "{:<32}{p50:>11.2}{p99:>11.2}{p999:>11.2}", "ratio")?;
        }
        match &self.relay.first_error {
            Some(error) => writeln!(f, "first error: {error}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_one_of_the_values() {
        for (values, middle) in
            [(vec![], 0.0), (vec![3.0], 3.0), (vec![9.0, 1.0, 5.0], 5.0), (vec![2.0, 1.0], 1.0)]
        {
            assert_eq!(median(values).to_bits(), f64::to_bits(middle));
        }
    }
}
