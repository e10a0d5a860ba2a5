//! The market of one sidecar: what bidding and signing share, and the way from an auction to a delegation.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use alloy_primitives::Address;
use earnest_client::{ClientError, RelayClient};
use earnest_protocol::auction::{AuctionRecord, Finding};
use earnest_protocol::objects::{Delegation, MarketDomain, SignedAuctionResult};
use earnest_protocol::signing::{EcdsaSecret, Network};
use earnest_protocol::{Slot, objects::SlotAllocation};
use parking_lot::Mutex;

use super::audit::{self, Known, Verdict};
use super::book::MarketBook;
use super::policy::BiddingPolicy;
use super::{MarketConfig, evidence};
use crate::config::GatewayConfig;
use crate::delegation_plan::Duty;
use crate::delegation_record;
use crate::protected_signer::{ProtectedSigner, SignError};

/// Codes of a relay that holds no auction of a slot.
const NO_AUCTION: [&str; 4] = ["no_market", "nothing_for_sale", "not_sequencing", "auction_not_kept"];

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
    pub async fn allot(&self, duty: &Duty) -> Result<Allotted, AllotError> {
        let slot = duty.window.slot;
        let record = match self.relay.auction(slot.0).await {
            Ok(record) => record,
            Err(error) if has_no_auction(&error) => return Ok(Allotted::Nothing),
            Err(error) => return Err(error.into()),
        };
        if let Some(result) = record.outcome.as_ref().and_then(|outcome| outcome.result.clone()) {
            self.keep_result(result).await?;
        }
        Ok(match self.judge(&record, duty) {
            Verdict::NotYet => Allotted::NotYet,
            Verdict::NoResult => Allotted::Nothing,
            Verdict::Wrong(findings) => {
                self.accuse(&record, &findings).await;
                Allotted::Refused
            }
            Verdict::Holds(holds) => {
                let (allocation, _) = *holds;
                Allotted::Delegation(Box::new(self.delegation(duty, &allocation)))
            }
        })
    }

    /// Judges an auction by all that we know of it.
    #[must_use]
    pub fn judge(&self, record: &AuctionRecord, duty: &Duty) -> Verdict {
        let slot = duty.window.slot;
        let (held, results) = {
            let book = self.book.lock();
            (book.held(slot), book.results(slot).to_vec())
        };
        let known = Known {
            network: self.network,
            market: self.config.contract,
            relay: self.relay_address(),
            window: &duty.window,
            proposer: duty.key,
            held: &held,
            results: &results,
        };
        audit::judge(record, &known)
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
    pub async fn accuse(&self, record: &AuctionRecord, findings: &[Finding]) {
        let slot = record.slot;
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
        let (data_dir, record, findings) = (self.data_dir.clone(), record.clone(), findings.to_vec());
        let written = tokio::task::spawn_blocking(move || {
            evidence::write(&data_dir, &record, &findings, &held, &results)
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
