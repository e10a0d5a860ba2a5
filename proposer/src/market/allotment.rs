//! The market of one sidecar: what bidding and signing share, and the way from an auction to a delegation.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use alloy_primitives::Address;
use earnest_client::{ClientError, RelayClient};
use earnest_protocol::auction::{AuctionRecord, Finding, HeldAck};
use earnest_protocol::objects::{Delegation, MarketDomain, SignedAuctionResult};
use earnest_protocol::signing::{EcdsaSecret, Network};
use earnest_protocol::{Slot, objects::SlotAllocation};
use parking_lot::Mutex;

use super::audit::{self, Known, Verdict};
use super::book::MarketBook;
use super::l1::{Behind, Facts, L1View};
use super::policy::BiddingPolicy;
use super::{MarketConfig, evidence};
use crate::config::GatewayConfig;
use crate::delegation_plan::Duty;
use crate::delegation_record;
use crate::protected_signer::{ProtectedSigner, SignError};
use crate::sidecar::{NetworkClock, now_ms};

/// Codes of a relay that holds no auction of a slot.
const NO_AUCTION: [&str; 4] = ["no_market", "nothing_for_sale", "not_sequencing", "auction_not_kept"];

/// Largest answer of the market read, in bytes: an auction of thousands of bids.
pub(crate) const MAX_AUCTION: usize = 8 << 20;

/// The market as one sidecar has it.
pub struct Market {
    /// What the operator set.
    pub config: MarketConfig,
    /// Whom our bids name.
    pub gateway: GatewayConfig,
    /// The L1 network.
    pub network: Network,
    /// The relay that holds the auctions.
    pub relay: RelayClient,
    /// The key of our operator's owner.
    pub account: EcdsaSecret,
    /// Decides what is bid.
    pub policy: Arc<dyn BiddingPolicy>,
    /// Writes what must outlive a crash.
    pub record: ProtectedSigner,
    /// What was bid and promised.
    pub book: Mutex<MarketBook>,
    /// Where evidence goes.
    pub data_dir: std::path::PathBuf,
    /// Slots of which evidence was written.
    pub accused: Mutex<BTreeSet<Slot>>,
    /// Our view of L1; without it operators and terms are the relay's word.
    pub l1: Option<L1View>,
}

impl fmt::Debug for Market {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Market").field("config", &self.config).finish_non_exhaustive()
    }
}

/// What comes of a slot's auction for its delegation.
#[derive(Debug, Clone, PartialEq)]
pub enum Allotted {
    /// The delegation to sign.
    Delegation(Box<Delegation>),
    /// Ask again: there is no result yet.
    NotYet,
    /// Ask again: our own view of L1 cannot say whether the result holds.
    Behind(Behind),
    /// Nothing was sold, so that nothing is delegated.
    Nothing,
    /// The relay did something wrong: nothing is signed for this slot.
    Refused,
}

/// Why an auction could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum AllotError {
    /// The relay.
    #[error("relay: {0}")]
    Relay(#[from] ClientError),
    /// The record.
    #[error(transparent)]
    Record(#[from] SignError),
}

impl Market {
    /// The domain that bids are signed in.
    #[must_use]
    pub const fn domain(&self) -> MarketDomain {
        MarketDomain { chain_id: self.network.chain_id, market: self.config.contract }
    }

    /// The relay's address.
    #[must_use]
    pub const fn relay_address(&self) -> Address {
        self.gateway.relay_address
    }

    /// The delegation that a duty's auction leads to. The result is kept, with what we signed, before anything is signed.
    ///
    /// # Errors
    /// [`AllotError`]; to be tried again.
    pub async fn allot(&self, duty: &Duty, clock: &NetworkClock) -> Result<Allotted, AllotError> {
        let slot = duty.window.slot;
        let record = match self.auction(slot).await {
            Ok(record) => record,
            Err(error) if has_no_auction(&error) => return Ok(self.no_auction(slot).await),
            Err(error) => return Err(error.into()),
        };
        let facts = match self.facts(duty, clock) {
            Ok(facts) => facts,
            Err(behind) => return Ok(Allotted::Behind(behind)),
        };
        if let Some(result) = record.outcome.as_ref().and_then(|outcome| outcome.result.clone()) {
            self.keep_result(result).await?;
        }
        Ok(match self.judge(&record, duty, facts).await {
            Verdict::NotYet => Allotted::NotYet,
            Verdict::NoResult => Allotted::Nothing,
            Verdict::Wrong(findings) => {
                self.accuse(slot, Some(&record), &findings).await;
                Allotted::Refused
            }
            Verdict::Holds(holds) => {
                let (allocation, _) = *holds;
                Allotted::Delegation(Box::new(self.delegation(duty, &allocation)))
            }
        })
    }

    /// What the relay publishes of an auction. As much as a relay may send is read on a thread of its own: the header path waits for
    /// none of it.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn auction(&self, slot: Slot) -> Result<Arc<AuctionRecord>, ClientError> {
        let answer = self.relay.auction_answer(slot.0, MAX_AUCTION).await?;
        let read = tokio::task::spawn_blocking(move || answer.json("auction").map(Arc::new));
        read.await.unwrap_or_else(|_| Err(ClientError::Setup("the runtime is shutting down".to_owned())))
    }

    /// What L1 says of a duty's auction.
    ///
    /// # Errors
    /// [`Behind`] if our view of it does not say anything now.
    pub fn facts(&self, duty: &Duty, clock: &NetworkClock) -> Result<Facts, Behind> {
        let of = |l1: &L1View| l1.facts(clock, duty.window.slot, &duty.key, now_ms());
        self.l1.as_ref().map_or_else(|| Ok(Facts::default()), of)
    }

    /// The relay has no auction of the slot. If it acknowledged a bid of ours for it, that is left out; it may come to itself.
    async fn no_auction(&self, slot: Slot) -> Allotted {
        let held = self.book.lock().held(slot);
        if held.is_empty() {
            return Allotted::Nothing;
        }
        let left_out = |held: &HeldAck| Finding::LeftOut {
            hash: held.ack.message.bid_hash,
            received_at_ms: held.ack.message.received_at_ms,
        };
        let findings: Vec<Finding> = held.iter().map(left_out).collect();
        self.accuse(slot, None, &findings).await;
        Allotted::NotYet
    }

    /// Judges an auction by all that we know of it.
    pub async fn judge(&self, record: &Arc<AuctionRecord>, duty: &Duty, facts: Facts) -> Verdict {
        self.look(record, duty, facts, audit::judge).await.unwrap_or(Verdict::NotYet)
    }

    /// What is wrong with an auction whose bids are public.
    pub async fn findings(&self, record: &Arc<AuctionRecord>, duty: &Duty, facts: Facts) -> Vec<Finding> {
        self.look(record, duty, facts, audit::findings).await.unwrap_or_default()
    }

    /// Thousands of signatures may have to be verified, so that happens on a thread of its own.
    async fn look<T: Send + 'static>(
        &self,
        record: &Arc<AuctionRecord>,
        duty: &Duty,
        facts: Facts,
        look: fn(&AuctionRecord, &Known<'_>) -> T,
    ) -> Option<T> {
        let (held, results) = {
            let book = self.book.lock();
            (book.held(duty.window.slot), book.results(duty.window.slot).to_vec())
        };
        let (network, market, relay) = (self.network, self.config.contract, self.relay_address());
        let (record, duty) = (Arc::clone(record), *duty);
        let looked = tokio::task::spawn_blocking(move || {
            let known = Known {
                network,
                market,
                relay,
                window: &duty.window,
                proposer: duty.key,
                held: &held,
                results: &results,
                facts: &facts,
            };
            look(&record, &known)
        });
        looked.await.ok()
    }

    fn delegation(&self, duty: &Duty, allocation: &SlotAllocation) -> Delegation {
        Delegation {
            proposer: duty.key,
            delegate: self.gateway.delegate,
            committer: self.gateway.committer,
            slot: duty.window.slot,
            metadata: allocation.to_metadata(),
        }
    }

    /// Keeps a result that the relay signed, once.
    ///
    /// # Errors
    /// [`SignError`] if it is not durable.
    pub async fn keep_result(&self, result: SignedAuctionResult) -> Result<(), SignError> {
        let known =
            self.book.lock().results(result.message.slot).iter().any(|one| one.message == result.message);
        if known || result.verify(&self.network, self.relay_address()).is_err() {
            return Ok(());
        }
        let kept = result.clone();
        self.record.write(move |log| delegation_record::keep_result(log, &kept)).await?;
        self.book.lock().result(result);
        Ok(())
    }

    /// Writes down what is wrong, and says so.
    pub async fn accuse(&self, slot: Slot, record: Option<&AuctionRecord>, findings: &[Finding]) {
        if self.accused.lock().contains(&slot) {
            return;
        }
        for finding in findings {
            tracing::error!(%slot, %finding, "the market relay's auction does not hold");
        }
        if !self.accused.lock().insert(slot) {
            return;
        }
        metrics::counter!("earnest_proposer_wrong_auctions_total").increment(1);
        let (held, results) = {
            let book = self.book.lock();
            (book.held(slot), book.results(slot).to_vec())
        };
        let (data_dir, record, findings) = (self.data_dir.clone(), record.cloned(), findings.to_vec());
        let written = tokio::task::spawn_blocking(move || {
            evidence::write(&data_dir, slot, record.as_ref(), &findings, &held, &results)
        });
        match written.await {
            Ok(Ok(folder)) => tracing::error!(%slot, folder = %folder.display(), "evidence written"),
            Ok(Err(error)) => tracing::error!(%slot, %error, "evidence cannot be written"),
            Err(_) => tracing::error!(%slot, "stopped before evidence was written"),
        }
    }
}

/// Whether a refusal means that no auction of the slot is held.
#[must_use]
pub fn has_no_auction(error: &ClientError) -> bool {
    error.refusal().is_some_and(|refusal| NO_AUCTION.contains(&refusal.code.as_str()))
}
