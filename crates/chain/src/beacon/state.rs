//! What the beacon state says of validators: their keys, and who proposes next.

use std::collections::HashMap;

use alloy_primitives::B256;
use alloy_rpc_types_beacon::{
    BlsPublicKey,
    proposer::ProposerDutiesResponse,
    validator::{ValidatorData, ValidatorsResponse},
};
use serde::Deserialize;
use serde_with::{DisplayFromStr, serde_as};

use super::{BeaconClient, head};
use crate::{
    error::ChainError,
    lookahead::{EpochDuties, Proposer},
    transport::Endpoint,
};

/// Validators asked for in one request; the API promises no more.
const IDS_PER_REQUEST: usize = 64;

/// A validator as the head state has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidatorRecord {
    /// Index in the beacon state.
    pub index: u64,
    /// BLS public key.
    pub pubkey: BlsPublicKey,
    /// Status as the API names it, `active_ongoing` for instance.
    pub status: String,
    /// Whether it was slashed.
    pub slashed: bool,
    /// Withdrawal credentials.
    pub withdrawal_credentials: B256,
}

impl ValidatorRecord {
    /// Whether the validator has duties.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.status.starts_with("active")
    }

    /// Whether a relay takes its registration: active, or about to be (builder-specs, `is_eligible_for_registration`).
    #[must_use]
    pub fn may_register(&self) -> bool {
        self.is_active() || self.status.starts_with("pending")
    }
}

impl From<ValidatorData> for ValidatorRecord {
    fn from(data: ValidatorData) -> Self {
        Self {
            index: data.index,
            pubkey: data.validator.pubkey,
            status: data.status,
            slashed: data.validator.slashed,
            withdrawal_credentials: data.validator.withdrawal_credentials,
        }
    }
}

#[serde_as]
#[derive(Deserialize)]
struct ProposerLookaheadResponse {
    #[serde_as(as = "Vec<DisplayFromStr>")]
    data: Vec<u64>,
}

impl BeaconClient {
    /// The validators of these indices in the head state. Unknown ones are left out.
    ///
    /// # Errors
    /// [`ChainError`] if no node gives an answer.
    pub async fn validators(&self, indices: &[u64]) -> Result<Vec<ValidatorRecord>, ChainError> {
        let ids: Vec<String> = indices.iter().map(ToString::to_string).collect();
        self.ask(|node| validators(node, ids.clone())).await
    }

    /// The validators of these keys in the head state. Unknown ones are left out.
    ///
    /// # Errors
    /// [`ChainError`] if no node gives an answer.
    pub async fn validators_by_pubkey(
        &self,
        pubkeys: &[BlsPublicKey],
    ) -> Result<Vec<ValidatorRecord>, ChainError> {
        let ids: Vec<String> = pubkeys.iter().map(ToString::to_string).collect();
        self.ask(|node| validators(node, ids.clone())).await
    }

    /// The proposers of `epoch` and, as far as the node knows them, of the next one.
    ///
    /// Asked of `/eth/v1/beacon/states/{id}/proposer_lookahead` (EIP-7917), and of the proposer duties where a
    /// node does not have that. `slots_per_epoch` is the network's.
    ///
    /// # Errors
    /// [`ChainError`] if no node gives an answer, or one that covers no whole epoch.
    pub async fn proposer_lookahead(
        &self,
        epoch: u64,
        slots_per_epoch: u64,
    ) -> Result<Vec<EpochDuties>, ChainError> {
        self.ask(|node| async move {
            match deterministic_lookahead(&node, epoch, slots_per_epoch).await {
                Err(error) if error.status().is_some_and(|status| status != 429 && status != 503) => {
                    tracing::debug!(node = node.name(), %error, "no proposer lookahead, asking for duties");
                    duties_of_two_epochs(&node, epoch).await
                }
                answer => answer,
            }
        })
        .await
    }

    /// The proposer duties of one epoch: `/eth/v1/validator/duties/proposer/{epoch}`.
    ///
    /// # Errors
    /// [`ChainError`] if no node gives an answer.
    pub async fn proposer_duties(&self, epoch: u64) -> Result<EpochDuties, ChainError> {
        self.ask(|node| async move { duties(&node, epoch).await }).await
    }
}

async fn validators(node: Endpoint, ids: Vec<String>) -> Result<Vec<ValidatorRecord>, ChainError> {
    let mut found = Vec::with_capacity(ids.len());
    for some in ids.chunks(IDS_PER_REQUEST) {
        let path = format!("/eth/v1/beacon/states/head/validators?id={}", some.join(","));
        let answer: ValidatorsResponse = node.get_json(&path).await?;
        found.extend(answer.data.into_iter().map(ValidatorRecord::from));
    }
    Ok(found)
}

async fn duties(node: &Endpoint, epoch: u64) -> Result<EpochDuties, ChainError> {
    let answer: ProposerDutiesResponse =
        node.get_json(&format!("/eth/v1/validator/duties/proposer/{epoch}")).await?;
    let mut proposers: Vec<Proposer> = answer
        .data
        .into_iter()
        .map(|duty| Proposer { slot: duty.slot, validator_index: duty.validator_index, pubkey: duty.pubkey })
        .collect();
    proposers.sort_by_key(|proposer| proposer.slot);
    Ok(EpochDuties { epoch, dependent_root: answer.dependent_root, proposers })
}

/// Duties of `epoch` must be there; those of the next one are taken if the node gives them.
async fn duties_of_two_epochs(node: &Endpoint, epoch: u64) -> Result<Vec<EpochDuties>, ChainError> {
    let mut both = vec![duties(node, epoch).await?];
    match duties(node, epoch.saturating_add(1)).await {
        Ok(next) => both.push(next),
        Err(error) if error.is_of_the_node() => return Err(error),
        Err(error) => {
            tracing::debug!(node = node.name(), %error, "the node does not tell the next epoch's duties");
        }
    }
    Ok(both)
}

/// EIP-7917: the state of `epoch` holds the proposer indices of that epoch and the next.
///
/// The state is named by its root where the head lies in `epoch`, so that the header, the indices and the
/// dependent roots are of one chain; else by the first slot of `epoch`.
async fn deterministic_lookahead(
    node: &Endpoint,
    epoch: u64,
    per_epoch: u64,
) -> Result<Vec<EpochDuties>, ChainError> {
    let head = head::header(node, "head").await?;
    let first_slot = epoch.saturating_mul(per_epoch);
    let state = if head.slot.checked_div(per_epoch) == Some(epoch) {
        head.state_root.to_string()
    } else {
        first_slot.to_string()
    };
    let answer: ProposerLookaheadResponse =
        node.get_json(&format!("/eth/v1/beacon/states/{state}/proposer_lookahead")).await?;
    let keys = pubkeys(node, &answer.data).await?;

    let size = usize::try_from(per_epoch).unwrap_or(usize::MAX).max(1);
    let mut all = Vec::new();
    for (epoch, indices) in (epoch..).zip(answer.data.chunks_exact(size).take(2)) {
        let first_slot = epoch.saturating_mul(per_epoch);
        let mut proposers = Vec::with_capacity(indices.len());
        for (slot, validator_index) in (first_slot..).zip(indices.iter().copied()) {
            let pubkey = *keys.get(&validator_index).ok_or_else(|| {
                node.malformed(&format!("no validator {validator_index} though it proposes"))
            })?;
            proposers.push(Proposer { slot, validator_index, pubkey });
        }
        let dependent_root = dependent_root(node, epoch, per_epoch).await?;
        all.push(EpochDuties { epoch, dependent_root, proposers });
    }
    if all.is_empty() {
        return Err(node.malformed(&"a proposer lookahead shorter than an epoch"));
    }
    Ok(all)
}

/// The last block before the epoch preceding `epoch`; genesis where that underflows.
async fn dependent_root(node: &Endpoint, epoch: u64, per_epoch: u64) -> Result<B256, ChainError> {
    let decided = epoch.saturating_sub(1).saturating_mul(per_epoch).saturating_sub(1);
    head::root_at_or_before(node, decided, per_epoch.saturating_mul(2)).await
}

async fn pubkeys(node: &Endpoint, indices: &[u64]) -> Result<HashMap<u64, BlsPublicKey>, ChainError> {
    let mut unique = indices.to_vec();
    unique.sort_unstable();
    unique.dedup();
    let ids = unique.iter().map(ToString::to_string).collect();
    let records = validators(node.clone(), ids).await?;
    Ok(records.into_iter().map(|record| (record.index, record.pubkey)).collect())
}
