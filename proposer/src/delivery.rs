//! Brings a signed block to the sources that can publish it: the shell around [`DeliveryOrder`] and [`delivered`].

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use earnest_builder_types::PayloadAndBlobs;
use earnest_client::{Answer, ClientError};
use futures::stream::{FuturesUnordered, StreamExt};
use http::{HeaderMap, Method, header};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use crate::delivered::{self, Expected, NotDelivered, Version};
use crate::delivery_order::{DeliveryOrder, PATIENCE};
use crate::sidecar::Sidecar;
use crate::slot_state::SourceIndex;

/// Pause before a source that offered the block and cannot be reached is asked again. A relay that is started again has the
/// payload still, and beacon nodes hand a block in once.
const PAUSE: Duration = Duration::from_millis(200);

/// A signed block to be delivered.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    /// Its sources.
    pub(crate) sidecar: Arc<Sidecar>,
    /// The endpoint's version.
    pub(crate) version: Version,
    /// The request's headers.
    pub(crate) headers: HeaderMap,
    /// The block as it came.
    pub(crate) body: Bytes,
    /// The block itself, if it can be read.
    pub(crate) expected: Option<Arc<Expected>>,
    /// When to give up, whatever is still asked.
    pub(crate) deadline: Instant,
}

/// A block that a source took.
#[derive(Debug)]
pub(crate) struct Delivered {
    /// Who took it.
    pub(crate) source: SourceIndex,
    /// What it answered.
    pub(crate) answer: Answer,
    /// The payload in the answer, if there was one to be judged.
    pub(crate) payload: Option<PayloadAndBlobs>,
}

/// Why a block is not delivered.
#[derive(Debug)]
pub(crate) enum Undelivered {
    /// A source's refusal, for passing back.
    Refused(Answer),
    /// Nobody answered so that it could be passed back.
    Failed(String),
}

enum Failure {
    Transport(ClientError),
    Answer(Answer, NotDelivered),
}

type Outcome = Result<(Answer, Option<PayloadAndBlobs>), Failure>;

impl Delivery {
    /// Delivers the block. The first delivery counts; whoever else is asked by then is left to end by itself, since a block
    /// cannot be published by too many.
    ///
    /// # Errors
    /// [`Undelivered`] if everyone failed, or nobody delivered before the deadline.
    pub(crate) async fn run(self, booked: Vec<SourceIndex>) -> Result<Delivered, Undelivered> {
        let asked_again = booked.clone();
        let mut order = DeliveryOrder::new(booked, &self.sidecar.sources.indices());
        let mut asked = FuturesUnordered::new();
        let patience = Instant::now().checked_add(PATIENCE).unwrap_or(self.deadline);
        let mut patient = true;
        let mut refused: Option<Answer> = None;
        let mut failed: Option<String> = None;
        asked.extend(order.start().into_iter().map(|source| self.ask(source, Duration::ZERO)));
        while !order.is_over() {
            let next = tokio::select! {
                biased;
                Some(joined) = asked.next() => match joined {
                    Ok((source, Ok((answer, payload)))) => {
                        tracing::info!(source = self.name(source), status = answer.status.as_u16(), "block taken");
                        return Ok(Delivered { source, answer, payload });
                    }
                    Ok((source, Err(failure))) => {
                        let cause = failure.to_string();
                        tracing::warn!(source = self.name(source), cause, "block not taken");
                        let gone = matches!(failure, Failure::Transport(ClientError::Unreachable { .. }));
                        match failure {
                            Failure::Answer(answer, _) if is_refusal(&answer) => {
                                refused = refused.or(Some(answer));
                            }
                            _ => failed = failed.or(Some(cause)),
                        }
                        let next = order.failed();
                        if gone && (asked_again.is_empty() || asked_again.contains(&source)) {
                            order.again();
                            asked.push(self.ask(source, PAUSE));
                        }
                        next
                    }
                    Err(_) => order.failed(),
                },
                () = sleep_until(self.deadline) => {
                    failed = Some("no relay delivered in time".to_owned());
                    break;
                }
                () = sleep_until(patience), if patient => {
                    patient = false;
                    order.patience_over()
                }
            };
            asked.extend(next.into_iter().map(|source| self.ask(source, Duration::ZERO)));
        }
        Err(match (refused, failed) {
            (Some(answer), _) => Undelivered::Refused(answer),
            (None, cause) => Undelivered::Failed(cause.unwrap_or_else(|| "no relay to ask".to_owned())),
        })
    }

    fn name(&self, source: SourceIndex) -> &str {
        self.sidecar.sources.name(source)
    }

    fn ask(&self, source: SourceIndex, after: Duration) -> JoinHandle<(SourceIndex, Outcome)> {
        let delivery = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            let outcome = match delivery.send(source).await {
                Ok(answer) => delivery.judge(answer).await,
                Err(error) => Err(Failure::Transport(error)),
            };
            (source, outcome)
        })
    }

    async fn send(&self, index: SourceIndex) -> Result<Answer, ClientError> {
        let source = self.sidecar.sources.get(index);
        let source = source.ok_or_else(|| ClientError::Setup("no such source".to_owned()))?;
        let transport = source.client.transport();
        let path = match self.version {
            Version::V1 => "eth/v1/builder/blinded_blocks",
            Version::V2 => "eth/v2/builder/blinded_blocks",
        };
        let mut request = transport.request(Method::POST, path)?.body(self.body.clone());
        for name in [header::CONTENT_TYPE, header::ACCEPT, earnest_client::transport::CONSENSUS_VERSION] {
            if let Some(value) = self.headers.get(&name) {
                request = request.header(name, value.clone());
            }
        }
        // Longer than the beacon node waits: a source that takes its time may still publish.
        transport.send_within(request, self.sidecar.config.payload_limit()).await
    }

    /// A payload with its blobs takes a while to read.
    async fn judge(&self, answer: Answer) -> Outcome {
        let (version, expected) = (self.version, self.expected.clone());
        let judged = tokio::task::spawn_blocking(move || {
            let judged = delivered::judge(version, expected.as_deref(), &answer);
            (answer, judged)
        });
        match judged.await {
            Ok((answer, Ok(payload))) => Ok((answer, payload)),
            Ok((answer, Err(cause))) => Err(Failure::Answer(answer, cause)),
            Err(_) => Err(Failure::Transport(ClientError::Setup("the runtime is shutting down".to_owned()))),
        }
    }
}

fn is_refusal(answer: &Answer) -> bool {
    answer.status.is_client_error() || answer.status.is_server_error()
}

impl std::fmt::Display for Failure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Transport(error) => error.fmt(formatter),
            Self::Answer(_, cause) => cause.fmt(formatter),
        }
    }
}
