//! Who proposes next, and on what blocks that rests.

use std::{collections::HashMap, sync::atomic::Ordering};

use alloy_primitives::B256;
use alloy_rpc_types_beacon::{BlsPublicKey, proposer::ProposerDutiesResponse};
use serde::Deserialize;
use serde_with::{DisplayFromStr, serde_as};

use super::{BeaconClient, head, validators::validators};
use crate::{
    error::ChainError,
    lookahead::{DependentRoots, EpochDuties, Proposer},
    transport::Endpoint,
};

#[serde_as]
#[derive(Deserialize)]
struct ProposerLookaheadResponse {
    #[serde_as(as = "Vec<DisplayFromStr>")]
    data: Vec<u64>,
}

impl BeaconClient {
    /// The proposers of `epoch` and, as far as the node knows them, of the next one.
    ///
    /// Asked of `/eth/v1/beacon/states/{id}/proposer_lookahead` (EIP-7917), and of the proposer duties where a
    /// node does not have that or what it says there makes no sense. `slots_per_epoch` is the network's.
    ///
    /// The duties of `epoch` are asked for in any case. Where a node's lookahead says something else than its
    /// duties (a genesis state made without a lookahead, for one) the duties count, for both epochs: by them
    /// validators act. Dependent roots are those of EIP-7917 in either case, so that they can be compared with
    /// what head events say.
    ///
    /// # Errors
    /// [`ChainError`] if no node gives an answer, or one that covers no whole epoch.
    pub async fn proposer_lookahead(
        &self,
        epoch: u64,
        slots_per_epoch: u64,
    ) -> Result<Vec<EpochDuties>, ChainError> {
        self.ask(|node| async move {
            let (lookahead, duties) =
                futures::join!(deterministic_lookahead(&node, epoch, slots_per_epoch), duties(&node, epoch));
            match (lookahead, duties) {
                (Ok(lookahead), Ok(duties)) if contradicts(&lookahead, &duties) => {
                    self.dispute(&node, epoch);
                    both_epochs(&node, duties, slots_per_epoch).await
                }
                (Err(error), duties) if has_no_lookahead(&error) => {
                    tracing::debug!(node = node.name(), %error, "no proposer lookahead, taking duties");
                    both_epochs(&node, duties?, slots_per_epoch).await
                }
                (lookahead, _) => lookahead,
            }
        })
        .await
    }

    /// The proposer duties of one epoch as a node gives them: `/eth/v1/validator/duties/proposer/{epoch}`.
    ///
    /// Nodes differ in what they give as dependent root here: the last block before the epoch, or since EIP-7917
    /// the last before the epoch preceding it.
    ///
    /// # Errors
    /// [`ChainError`] if no node gives an answer.
    pub async fn proposer_duties(&self, epoch: u64) -> Result<EpochDuties, ChainError> {
        self.ask(|node| async move { duties(&node, epoch).await }).await
    }

    /// The blocks on which the proposers of `epoch` and of the next one rest. Two requests, a few more where slots
    /// were missed: cheap enough to be asked for whenever events may have been lost. Compare them by
    /// [`crate::Lookahead::stale_under`].
    ///
    /// # Errors
    /// [`ChainError`] if no node gives an answer.
    pub async fn dependent_roots(
        &self,
        epoch: u64,
        slots_per_epoch: u64,
    ) -> Result<DependentRoots, ChainError> {
        self.ask(|node| async move {
            let (current, next) = futures::future::try_join(
                dependent_root(&node, epoch, slots_per_epoch),
                dependent_root(&node, epoch.saturating_add(1), slots_per_epoch),
            )
            .await?;
            Ok(DependentRoots { epoch, current, next })
        })
        .await
    }

    /// Says once an epoch that a node contradicts itself.
    fn dispute(&self, node: &Endpoint, epoch: u64) {
        if self.shared.disputed_epoch.swap(epoch, Ordering::Relaxed) != epoch {
            let node = node.name();
            tracing::warn!(node, epoch, "a node's proposer lookahead is not its duties; duties are taken");
        }
    }
}

/// Whether the fault may be that the node has no lookahead to give. Nodes refuse an endpoint or a state that they
/// do not have by many statuses; that they are busy or syncing is none of them.
fn has_no_lookahead(error: &ChainError) -> bool {
    match error {
        ChainError::Status { status, .. } => *status != 429 && *status != 503,
        ChainError::Malformed { .. } => true,
        _ => false,
    }
}

/// Whether the duties name another proposer for a slot than the lookahead. Some nodes leave out slot 0.
fn contradicts(lookahead: &[EpochDuties], duties: &EpochDuties) -> bool {
    let same_epoch = lookahead.iter().filter(|one| one.epoch == duties.epoch);
    let ahead: Vec<&Proposer> = same_epoch.flat_map(|one| &one.proposers).collect();
    duties.proposers.iter().any(|duty| !ahead.contains(&duty))
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

/// The duties of an epoch and, if the node gives them, of the next one, with the roots that EIP-7917 has them rest
/// on; the node's own word on that is kept where it does not know the block.
async fn both_epochs(
    node: &Endpoint,
    current: EpochDuties,
    per_epoch: u64,
) -> Result<Vec<EpochDuties>, ChainError> {
    let next = match duties(node, current.epoch.saturating_add(1)).await {
        Ok(next) => Some(next),
        Err(error) if error.is_of_the_node() => return Err(error),
        Err(error) => {
            tracing::debug!(node = node.name(), %error, "the node does not tell the next epoch's duties");
            None
        }
    };
    let mut both = Vec::with_capacity(2);
    for mut duties in std::iter::once(current).chain(next) {
        match dependent_root(node, duties.epoch, per_epoch).await {
            Ok(root) => duties.dependent_root = root,
            Err(error) if error.is_of_the_node() => return Err(error),
            Err(error) => tracing::debug!(node = node.name(), %error, "the node lacks a dependent root"),
        }
        both.push(duties);
    }
    Ok(both)
}

/// EIP-7917: the state of `epoch` holds the proposer indices of that epoch and the next.
///
/// The state is named by its root where the head lies in `epoch`, so that the header, the indices and the
/// dependent roots are of one chain; by the head's slot where the node does not find its head's state by root
/// (Prysm); by the first slot of `epoch` where the head lies elsewhere.
async fn deterministic_lookahead(
    node: &Endpoint,
    epoch: u64,
    per_epoch: u64,
) -> Result<Vec<EpochDuties>, ChainError> {
    let head = head::header(node, "head").await?;
    let answer = if head.slot.checked_div(per_epoch) == Some(epoch) {
        match lookahead_of(node, &head.state_root.to_string()).await {
            Err(error) if error.status() == Some(404) => lookahead_of(node, &head.slot.to_string()).await?,
            answer => answer?,
        }
    } else {
        lookahead_of(node, &epoch.saturating_mul(per_epoch).to_string()).await?
    };
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

async fn lookahead_of(node: &Endpoint, state: &str) -> Result<ProposerLookaheadResponse, ChainError> {
    node.get_json(&format!("/eth/v1/beacon/states/{state}/proposer_lookahead")).await
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
    let ids: Vec<String> = unique.iter().map(ToString::to_string).collect();
    let records = validators(node, &ids).await?;
    Ok(records.into_iter().map(|record| (record.index, record.pubkey)).collect())
}
