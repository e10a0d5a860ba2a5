//! Builders' blocks executed by an endpoint before they are offered: `flashbots_validateBuilderSubmissionV2` to `V5`.
//! Anything but success is failure (design §5).

mod queue;

use crate::{builders::Rank, config::SimulationConfig};
use alloy_primitives::B256;
use earnest_builder_types::{BidSubmission, ForkCodec, ForkName};
use earnest_chain::{ChainError, ExecutionClient, ExecutionOptions};
use earnest_http::ApiError;
use http::StatusCode;
use queue::{Full, Turns};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

/// Longest answer of an endpoint, in bytes.
const MAX_ANSWER: usize = 1 << 20;

/// Why a block is not offered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SimulationError {
    /// The endpoint executed it, and says what is wrong.
    #[error("the block does not hold: {0}")]
    Invalid(String),
    /// Nobody executed it.
    #[error("the block could not be simulated: {0}")]
    Unavailable(ChainError),
    /// Too many wait.
    #[error("as many blocks wait for simulation as may")]
    Busy,
    /// The submission has no JSON.
    #[error("the block cannot be written: {0}")]
    Encoding(#[from] serde_json::Error),
}

impl From<Full> for SimulationError {
    fn from(_: Full) -> Self {
        Self::Busy
    }
}

impl SimulationError {
    /// Whether the block is at fault, rather than us or the endpoint.
    pub(crate) const fn is_of_the_builder(&self) -> bool {
        matches!(self, Self::Invalid(_))
    }
}

impl From<SimulationError> for ApiError {
    fn from(error: SimulationError) -> Self {
        let message = error.to_string();
        match error {
            SimulationError::Invalid(_) => Self::named(StatusCode::BAD_REQUEST, "simulation_failed", message),
            SimulationError::Unavailable(_) => {
                Self::named(StatusCode::SERVICE_UNAVAILABLE, "simulation_unavailable", message).retry_after(1)
            }
            SimulationError::Busy => {
                Self::named(StatusCode::SERVICE_UNAVAILABLE, "simulation_busy", message).retry_after(1)
            }
            SimulationError::Encoding(_) => Self::internal(),
        }
    }
}

/// Asks endpoints to execute blocks, the builders of the highest rank first.
#[derive(Debug)]
pub(crate) struct Simulator {
    clients: Vec<ExecutionClient>,
    next: AtomicUsize,
    turns: Turns,
}

/// What an endpoint is told beside the submission itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Circumstances {
    /// The gas limit that the proposer registered.
    pub(crate) registered_gas_limit: u64,
    /// Root of the parent beacon block; none before Deneb.
    pub(crate) parent_beacon_block_root: Option<B256>,
}

/// The parameter of the call.
#[derive(Serialize)]
struct Request<'a> {
    #[serde(flatten)]
    submission: &'a BidSubmission,
    #[serde(with = "earnest_protocol::integer")]
    registered_gas_limit: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_beacon_block_root: Option<B256>,
}

const fn method(fork: ForkName) -> &'static str {
    match fork {
        ForkName::Bellatrix | ForkName::Capella => "flashbots_validateBuilderSubmissionV2",
        ForkName::Deneb => "flashbots_validateBuilderSubmissionV3",
        ForkName::Electra => "flashbots_validateBuilderSubmissionV4",
        ForkName::Fulu | ForkName::Gloas => "flashbots_validateBuilderSubmissionV5",
    }
}

impl Simulator {
    /// A simulator of the endpoints that are configured; none if there are none.
    ///
    /// # Errors
    /// [`ChainError::Config`] if TLS cannot be set up.
    pub(crate) fn new(config: &SimulationConfig) -> Result<Option<Self>, ChainError> {
        let timeout = Duration::from_millis(config.timeout_ms);
        let options = ExecutionOptions { timeout, max_answer_bytes: MAX_ANSWER };
        let client = |url: &url::Url| ExecutionClient::with_options(url.clone(), &options);
        let clients = config.endpoints.iter().map(client).collect::<Result<Vec<_>, _>>()?;
        let turns = Turns::new(config.parallel, config.waiting);
        Ok((!clients.is_empty()).then(|| Self { clients, next: AtomicUsize::new(0), turns }))
    }

    /// Has a block executed. An endpoint that cannot be reached is passed over; one that answers decides.
    ///
    /// # Errors
    /// [`SimulationError`] unless an endpoint says that the block is good.
    pub(crate) async fn simulate(&self, call: &Call, rank: Rank) -> Result<(), SimulationError> {
        let _turn = self.turns.take(rank).await?;
        let started = Instant::now();
        let outcome = self.ask(call).await;
        let told = match &outcome {
            Ok(()) => "valid",
            Err(SimulationError::Invalid(_)) => "invalid",
            Err(_) => "unavailable",
        };
        metrics::histogram!("earnest_relay_simulation_seconds", "outcome" => told)
            .record(started.elapsed().as_secs_f64());
        outcome
    }

    async fn ask(&self, call: &Call) -> Result<(), SimulationError> {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let mut failure = ChainError::Config("no endpoint is configured".to_owned());
        let turned = self.clients.iter().cycle().skip(first.checked_rem(self.clients.len()).unwrap_or(0));
        for client in turned.take(self.clients.len()) {
            match client.call_method::<serde::de::IgnoredAny>(call.method, [&*call.parameter]).await {
                Ok(_) => return Ok(()),
                Err(ChainError::Rpc { message, .. }) => return Err(SimulationError::Invalid(message)),
                Err(error) => failure = error,
            }
        }
        Err(SimulationError::Unavailable(failure))
    }
}

/// A block in the form of the call.
#[derive(Debug)]
pub(crate) struct Call {
    method: &'static str,
    parameter: Box<RawValue>,
}

impl Call {
    /// Writes the call; a block of megabytes takes milliseconds.
    ///
    /// # Errors
    /// If the submission has no JSON.
    pub(crate) fn new(
        submission: &BidSubmission,
        circumstances: Circumstances,
    ) -> Result<Self, SimulationError> {
        let Circumstances { registered_gas_limit, parent_beacon_block_root } = circumstances;
        let request = Request { submission, registered_gas_limit, parent_beacon_block_root };
        Ok(Self { method: method(submission.fork()), parameter: to_raw_value(&request)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Block;
    use serde_json::Value;

    #[test]
    fn the_call_is_the_submission_with_its_circumstances() {
        let submission = Block::default().submit(1);
        let circumstances = Circumstances {
            registered_gas_limit: 30_000_000,
            parent_beacon_block_root: Some(B256::repeat_byte(4)),
        };
        let call = Call::new(&submission, circumstances).unwrap();
        assert_eq!(call.method, "flashbots_validateBuilderSubmissionV4");
        let mut value: Value = serde_json::from_str(call.parameter.get()).unwrap();
        let fields = value.as_object_mut().unwrap();
        assert_eq!(fields.remove("registered_gas_limit").unwrap(), "30000000");
        let root = fields.remove("parent_beacon_block_root").unwrap();
        assert_eq!(root, serde_json::to_value(B256::repeat_byte(4)).unwrap());
        assert_eq!(value, serde_json::to_value(&submission).unwrap());
    }
}
