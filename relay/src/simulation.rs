//! Builders' blocks executed by an endpoint before they are offered: `flashbots_validateBuilderSubmissionV2` to `V5`.
//! Anything but success is failure (design §5).

mod judgement;
mod queue;

pub(crate) use queue::Applicant;

use crate::config::SimulationConfig;
use alloy_primitives::B256;
use earnest_builder_types::{BidSubmission, ForkCodec, ForkName};
use earnest_chain::{ChainError, ExecutionClient, ExecutionOptions};
use earnest_http::ApiError;
use http::StatusCode;
use queue::{NoTurn, Turn, Turns};
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
    /// An endpoint executed it, and says what is wrong.
    #[error("the block does not hold: {reason}")]
    Invalid {
        /// In the endpoint's words.
        reason: String,
        /// Whether another endpoint says so too, or there is no other.
        confirmed: bool,
    },
    /// Nobody executed it.
    #[error("the block could not be simulated: {0}")]
    Unavailable(ChainError),
    /// Too many wait.
    #[error("as many blocks wait for simulation as may: send it again")]
    Busy,
    /// Its builder sent others for the slot meanwhile.
    #[error("a newer block of this builder took its place in the queue for simulation")]
    Superseded,
    /// Its turn did not come in time.
    #[error("headers of its slot are no longer served, and the block was not simulated by then")]
    Late,
    /// The relay stops.
    #[error("the relay is stopping")]
    Stopping,
    /// The submission has no JSON.
    #[error("the block cannot be written: {0}")]
    Encoding(#[from] serde_json::Error),
}

impl From<NoTurn> for SimulationError {
    fn from(no_turn: NoTurn) -> Self {
        match no_turn {
            NoTurn::Full => Self::Busy,
            NoTurn::Superseded => Self::Superseded,
        }
    }
}

impl SimulationError {
    /// Whether the block is at fault for sure, rather than us or an endpoint.
    pub(crate) const fn is_of_the_builder(&self) -> bool {
        matches!(self, Self::Invalid { confirmed: true, .. })
    }
}

impl From<SimulationError> for ApiError {
    fn from(error: SimulationError) -> Self {
        let message = error.to_string();
        let unavailable = |code| Self::named(StatusCode::SERVICE_UNAVAILABLE, code, message.clone());
        match error {
            SimulationError::Invalid { .. } => {
                Self::named(StatusCode::BAD_REQUEST, "simulation_failed", message)
            }
            SimulationError::Unavailable(_) | SimulationError::Stopping => {
                unavailable("simulation_unavailable").retry_after(1)
            }
            SimulationError::Busy => unavailable("simulation_busy").retry_after(1),
            SimulationError::Superseded => unavailable("simulation_superseded"),
            SimulationError::Late => unavailable("simulation_late"),
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

    /// Has a block executed; `patience` is how long it may wait for its turn. An endpoint that cannot tell is passed over.
    /// One that says the block is good decides; of one that says it is not, another is asked whether it agrees.
    ///
    /// # Errors
    /// [`SimulationError`] unless an endpoint says that the block is good, and none before it that it is not.
    pub(crate) async fn simulate(
        &self,
        call: &Call,
        applicant: Applicant,
        patience: Duration,
    ) -> Result<(), SimulationError> {
        let _turn = self.turn(applicant, patience).await?;
        let started = Instant::now();
        let outcome = self.ask(call).await;
        let told = match &outcome {
            Ok(()) => "valid",
            Err(SimulationError::Invalid { .. }) => "invalid",
            Err(_) => "unavailable",
        };
        metrics::histogram!("earnest_relay_simulation_seconds", "outcome" => told)
            .record(started.elapsed().as_secs_f64());
        outcome
    }

    async fn turn(&self, applicant: Applicant, patience: Duration) -> Result<Turn, SimulationError> {
        let turn = tokio::time::timeout(patience, self.turns.take(applicant)).await;
        Ok(turn.map_err(|_| SimulationError::Late)??)
    }

    async fn ask(&self, call: &Call) -> Result<(), SimulationError> {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let mut failure = ChainError::Config("no endpoint is configured".to_owned());
        let mut invalid: Option<String> = None;
        let turned = self.clients.iter().cycle().skip(first.checked_rem(self.clients.len()).unwrap_or(0));
        for client in turned.take(self.clients.len()) {
            match client.call_method::<serde::de::IgnoredAny>(call.method, [&*call.parameter]).await {
                Ok(_) => {
                    let Some(reason) = invalid else { return Ok(()) };
                    tracing::warn!(reason, "endpoints do not agree on a block");
                    return Err(SimulationError::Invalid { reason, confirmed: false });
                }
                Err(ChainError::Rpc { code, message, .. }) if judgement::is_of_the_block(code, &message) => {
                    if invalid.is_some() || self.clients.len() == 1 {
                        let reason = invalid.unwrap_or(message);
                        return Err(SimulationError::Invalid { reason, confirmed: true });
                    }
                    invalid = Some(message);
                }
                Err(error) => failure = error,
            }
        }
        Err(match invalid {
            Some(reason) => SimulationError::Invalid { reason, confirmed: false },
            None => SimulationError::Unavailable(failure),
        })
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
