//! Signs and delivers delegations as [`crate::delegation_plan`] says: durable first, then signed, then posted.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use earnest_client::ClientError;
use earnest_http::health::Part;
use earnest_journal::AppendError;
use earnest_protocol::Slot;
use earnest_protocol::objects::{Delegation, DelegationReceipt, SignedDelegation};
use earnest_signer::SignerError;
use futures::future::join_all;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::allocation;
use crate::config::GatewayConfig;
use crate::delegation_plan::{Duty, Step};
use crate::delegation_record::{self, Received, RecordError};
use crate::found_delegations;
use crate::market::allotment::{AllotError, Allotted, Market};
use crate::market::evidence;
use crate::market::l1::Behind;
use crate::protected_signer::{ProtectedSigner, SignError};
use crate::sidecar::{Sidecar, now_ms};
use crate::slot_state::SourceIndex;
use crate::sources::Source;

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
    #[error("our view of L1 cannot tell whether the auction holds: {0}")]
    Behind(Behind),
    #[error("no Earnest relay says whether the slot was delegated before: {0}")]
    NobodySays(ClientError),
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
            let (mut failed, mut urgent) = (false, false);
            for (step, result) in steps.iter().zip(results) {
                if let Err(error) = result {
                    failed = true;
                    // Past its start a slot can only be looked at.
                    urgent |= !matches!(step, Step::Look(duty) if duty.window.start_ms <= now);
                    self.report(step, &error);
                }
            }
            let pause = match (failed, urgent) {
                (_, true) => RETRY,
                (true, false) => LONGEST_SLEEP,
                (false, false) => self.pause(&duties, steps.is_empty()),
            };
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
            Step::Look(duty) => ("look", duty.window.slot),
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
            Step::Look(duty) => self.look(duty).await,
            Step::Sign(duty) => self.sign_new(duty).await,
            Step::Resign(message) => self.sign((**message).clone()).await,
            Step::Deliver(relay, signed) => self.deliver(*relay, signed).await,
        }
    }

    async fn sign_new(&self, duty: &Duty) -> Result<(), StepError> {
        let Some(market) = &self.market else {
            return self.sign(allocation::delegation(duty, &self.gateway)).await;
        };
        let Some(clock) = self.sidecar.clock.get() else { return Err(StepError::NoResultYet) };
        match market.allot(duty, clock).await? {
            Allotted::Delegation(message) => self.sign(*message).await,
            Allotted::NotYet => Err(StepError::NoResultYet),
            Allotted::Behind(behind) => Err(StepError::Behind(behind)),
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

    /// Asks every Earnest relay that may know the key whether it signed for the slot already. One answer is enough: each was posted to all.
    async fn look(&self, duty: &Duty) -> Result<(), StepError> {
        let place = duty.place();
        let may_know = |index: &SourceIndex| self.sidecar.wishes.of(&duty.key).sources.contains(index);
        let earnest = self.sidecar.sources.earnest().into_iter().filter(may_know);
        let sources: Vec<&Source> = earnest.filter_map(|index| self.sidecar.sources.get(index)).collect();
        let network = self.sidecar.config.network;
        let answers = join_all(sources.iter().map(|source| found_delegations::ask(source, place, network)));
        let mut found = Vec::new();
        let (mut answered, mut silent) = (false, None);
        for answer in answers.await {
            match answer {
                Ok(all) => {
                    answered = true;
                    found.extend(all);
                }
                Err(error) => silent = Some(error),
            }
        }
        if let Some(first) = found.first().cloned() {
            self.adopt(first, &found).await?;
        } else if let (false, Some(error)) = (answered, silent) {
            return Err(StepError::NobodySays(error));
        }
        self.sidecar.plan.lock().looked(place);
        Ok(())
    }

    /// Takes a delegation that a key of ours signed and the record does not have into the record: it is what the slot is constrained by.
    async fn adopt(&self, found: SignedDelegation, all: &[SignedDelegation]) -> Result<(), StepError> {
        let place = (found.message.slot, found.message.proposer);
        tracing::error!(
            slot = %place.0, proposer = %place.1,
            "a relay has a delegation that our key signed and the record does not have: it counts, and nothing else is signed. \
             Was the record lost or put back, or does another host sign?"
        );
        metrics::counter!("earnest_proposer_found_delegations_total").increment(1);
        self.keep_evidence(place.0, all).await;
        self.signer.adopt(&found).await?;
        let mut plan = self.sidecar.plan.lock();
        let differs = all.iter().any(|other| other.message != found.message);
        plan.signed(found).map_err(RecordError::from)?;
        if differs {
            // Whose constraints hold cannot be known.
            plan.delivered_elsewhere(place);
        }
        Ok(())
    }

    /// A relay has another delegation for the place of ours: if our key signed that too, both together are a fault.
    async fn look_for_another(&self, source: &Source, ours: &Delegation) {
        let place = (ours.slot, ours.proposer);
        let Ok(found) = found_delegations::ask(source, place, self.sidecar.config.network).await else {
            return;
        };
        let others: Vec<SignedDelegation> =
            found.into_iter().filter(|other| other.message != *ours).collect();
        if !others.is_empty() {
            tracing::error!(
                slot = %place.0, proposer = %place.1, relay = source.name,
                "our key signed two delegations for one slot, here and elsewhere: this is slashable"
            );
            metrics::counter!("earnest_proposer_found_delegations_total").increment(1);
            self.keep_evidence(place.0, &others).await;
        }
    }

    async fn keep_evidence(&self, slot: Slot, found: &[SignedDelegation]) {
        let (data_dir, found) = (self.sidecar.config.data_dir.clone(), found.to_vec());
        let written =
            tokio::task::spawn_blocking(move || evidence::write_delegations(&data_dir, slot, &found));
        match written.await {
            Ok(Ok(folder)) => tracing::error!(%slot, folder = %folder.display(), "delegations written"),
            Ok(Err(error)) => tracing::error!(%slot, %error, "delegations cannot be written"),
            Err(_) => {}
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
        let Some(relay_key) = source.pubkey.map(|key| key.bytes()) else { return Ok(()) };
        let place = (signed.message.slot, signed.message.proposer);
        let posted = tokio::time::timeout(POST_TIME, source.brief.post_delegation(signed));
        let timed_out =
            || ClientError::TimedOut { ms: u64::try_from(POST_TIME.as_millis()).unwrap_or(u64::MAX) };
        let receipt = match posted.await.unwrap_or_else(|_| Err(timed_out())) {
            Ok(receipt) => receipt,
            Err(error) => {
                if is_final(&error) {
                    self.sidecar.plan.lock().refused(place, relay);
                }
                if error.refusal().is_some_and(|refusal| refusal.code == "already_delegated") {
                    self.look_for_another(source, &signed.message).await;
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
