//! Signs and delivers delegations as [`crate::delegation_plan`] says: durable first, then signed, then posted.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use earnest_client::ClientError;
use earnest_http::health::Part;
use earnest_journal::AppendError;
use earnest_protocol::objects::{Delegation, DelegationReceipt, SignedDelegation};
use earnest_signer::SignerError;
use futures::future::join_all;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::allocation;
use crate::config::GatewayConfig;
use crate::delegation_plan::{Duty, Step};
use crate::delegation_record::{self, Received, RecordError};
use crate::market::allotment::{AllotError, Allotted, Market};
use crate::protected_signer::{ProtectedSigner, SignError};
use crate::sidecar::{Sidecar, now_ms};
use crate::slot_state::SourceIndex;

/// Pause before a failed step is tried again.
const RETRY: Duration = Duration::from_millis(200);
/// Longest sleep: a clock that jumps is noticed after this.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// Limit for one post of a delegation.
const POST_TIME: Duration = Duration::from_secs(2);

/// The task that signs for our slots.
#[derive(Debug)]
pub struct DelegationTask {
    /// What it shares with the endpoints.
    pub sidecar: Arc<Sidecar>,
    /// Whom to delegate to.
    pub gateway: GatewayConfig,
    /// The market, if its results decide what is delegated.
    pub market: Option<Arc<Market>>,
    /// The protection record with the keys behind it.
    pub signer: ProtectedSigner,
    /// Our duties, as the lookahead has them.
    pub duties: watch::Receiver<Vec<Duty>>,
    /// What `/readyz` says of the record.
    pub health: Part,
}

#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error(transparent)]
    Sign(SignError),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("relay: {0}")]
    Relay(#[from] ClientError),
    #[error("auction: {0}")]
    Auction(#[from] AllotError),
    #[error("the market relay has not signed the auction's result yet")]
    NoResultYet,
    #[error("the market relay's auction does not hold: nothing is signed for this slot")]
    WrongAuction,
    #[error("the relay's receipt is not for this delegation, or not signed by the market relay")]
    BadReceipt,
    #[error("the relay had the delegation at {received_at_ms}, not before the window's start at {start_ms}")]
    LateReceipt { received_at_ms: u64, start_ms: u64 },
}

impl From<SignError> for StepError {
    fn from(error: SignError) -> Self {
        match error {
            SignError::Record(error) => Self::Record(error),
            error => Self::Sign(error),
        }
    }
}

/// Codes of a relay that no later try changes. Others may: its lookahead may be behind ours.
const FINAL: [&str; 4] = ["already_delegated", "bad_metadata", "bad_signature", "slot_begun"];

fn is_final(error: &ClientError) -> bool {
    error.refusal().is_some_and(|refusal| FINAL.contains(&refusal.code.as_str()) || refusal.status == 404)
}

impl DelegationTask {
    /// Runs until `shutdown`.
    ///
    /// # Errors
    /// Never; what fails is tried again as long as it can still count.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), Infallible> {
        self.health.ready();
        while !shutdown.is_cancelled() {
            let now = now_ms();
            let duties = self.duties.borrow_and_update().clone();
            let may_know = |relay, key: &_| self.sidecar.wishes.of(key).sources.contains(&relay);
            let steps = self.sidecar.plan.lock().steps(&duties, now, may_know);
            let results = join_all(steps.iter().map(|step| self.take(step))).await;
            let mut failed = false;
            for (step, result) in steps.iter().zip(results) {
                if let Err(error) = result {
                    failed = true;
                    self.report(step, &error);
                }
            }
            let pause = if failed { RETRY } else { self.pause(&duties, steps.is_empty()) };
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
                changed = self.duties.changed() => if changed.is_err() { break },
            }
        }
        shutdown.cancelled().await;
        Ok(())
    }

    fn pause(&self, duties: &[Duty], idle: bool) -> Duration {
        if !idle {
            return Duration::ZERO;
        }
        let now = now_ms();
        let due = self.sidecar.plan.lock().next_due(duties, now);
        due.map_or(LONGEST_SLEEP, |due| Duration::from_millis(due.saturating_sub(now))).min(LONGEST_SLEEP)
    }

    fn report(&self, step: &Step, error: &StepError) {
        let (what, slot) = match step {
            Step::Sign(duty) => ("sign", duty.window.slot),
            Step::Resign(message) => ("sign again", message.slot),
            Step::Deliver(_, signed) => ("deliver", signed.message.slot),
        };
        metrics::counter!("earnest_proposer_delegation_failures_total", "step" => what).increment(1);
        tracing::warn!(%slot, what, %error, "delegation");
        if let StepError::Record(RecordError::Refused(SignerError::Unreadable(cause))) = error {
            self.health.not_ready(cause.to_string());
        }
        if let StepError::Record(RecordError::Append(cause)) = error {
            self.health.not_ready(cause.to_string());
            if matches!(cause, AppendError::Io(_) | AppendError::Failed) {
                tracing::error!(%cause, "the protection record failed: no delegation is signed until a restart");
            }
        }
    }

    async fn take(&self, step: &Step) -> Result<(), StepError> {
        match step {
            Step::Sign(duty) => self.sign_new(duty).await,
            Step::Resign(message) => self.sign((**message).clone()).await,
            Step::Deliver(relay, signed) => self.deliver(*relay, signed).await,
        }
    }

    async fn sign_new(&self, duty: &Duty) -> Result<(), StepError> {
        let Some(market) = &self.market else {
            return self.sign(allocation::delegation(duty, &self.gateway)).await;
        };
        match market.allot(duty).await? {
            Allotted::Delegation(message) => self.sign(*message).await,
            Allotted::NotYet => Err(StepError::NoResultYet),
            Allotted::Nothing => {
                tracing::info!(slot = %duty.window.slot, "nothing was sold: nothing is delegated");
                self.sidecar.plan.lock().decline(duty.place());
                Ok(())
            }
            Allotted::Refused => {
                self.sidecar.plan.lock().decline(duty.place());
                Err(StepError::WrongAuction)
            }
        }
    }

    async fn sign(&self, message: Delegation) -> Result<(), StepError> {
        self.signer.claim(&message).await?;
        self.sidecar.plan.lock().claimed(message.clone()).map_err(RecordError::from)?;
        let signed = self.signer.sign(message).await?;
        tracing::info!(slot = %signed.message.slot, proposer = %signed.message.proposer, "delegation signed");
        metrics::counter!("earnest_proposer_delegations_total").increment(1);
        self.sidecar.plan.lock().signed(signed).map_err(RecordError::from)?;
        self.health.ready();
        Ok(())
    }

    async fn deliver(&self, relay: SourceIndex, signed: &SignedDelegation) -> Result<(), StepError> {
        let Some(source) = self.sidecar.sources.get(relay) else { return Ok(()) };
        let Some(relay_key) = source.pubkey else { return Ok(()) };
        let place = (signed.message.slot, signed.message.proposer);
        let posted = tokio::time::timeout(POST_TIME, source.client.post_delegation(signed));
        let timed_out =
            || ClientError::TimedOut { ms: u64::try_from(POST_TIME.as_millis()).unwrap_or(u64::MAX) };
        let receipt = match posted.await.unwrap_or_else(|_| Err(timed_out())) {
            Ok(receipt) => receipt,
            Err(error) => {
                if is_final(&error) {
                    self.sidecar.plan.lock().refused(place, relay);
                }
                return Err(error.into());
            }
        };
        let expected = DelegationReceipt::of(&signed.message, receipt.message.received_at_ms);
        let of_this = expected.is_ok_and(|expected| expected == receipt.message);
        if !of_this || receipt.verify(&self.sidecar.config.network, self.gateway.relay_address).is_err() {
            self.sidecar.plan.lock().refused(place, relay);
            return Err(StepError::BadReceipt);
        }
        let received_at_ms = receipt.message.received_at_ms;
        let start_ms = signed.message.allocation().map_or(0, |allocation| allocation.start_ms);
        let received = Received { proposer: signed.message.proposer, relay: relay_key, receipt };
        self.signer.write(move |log| delegation_record::keep_receipt(log, &received)).await?;
        self.sidecar.plan.lock().delivered(place, relay);
        if received_at_ms >= start_ms {
            return Err(StepError::LateReceipt { received_at_ms, start_ms });
        }
        tracing::info!(slot = %place.0, relay = source.name, received_at_ms, "delegation delivered");
        Ok(())
    }
}
