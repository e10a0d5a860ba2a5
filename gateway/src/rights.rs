//! Learns from the relay which windows this gateway holds, and checks every word of it.

use std::{collections::BTreeSet, sync::Arc};

use alloy_primitives::{Address, U256};
use alloy_rpc_types_eth::{BlockId, TransactionInput, TransactionRequest};
use alloy_sol_types::SolCall;
use earnest_bindings::Inbox;
use earnest_chain::{BeaconClient, ExecutionClient, Lookahead, SlotClock};
use earnest_client::RelayClient;
use earnest_protocol::{
    RollupId, Slot,
    delegation::{Holding, TrustRoots, valid_delegation},
    objects::Authority,
    signing::Network,
    window::Timing,
};
use tokio::time::{Duration, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::{
    board::{Board, Holder},
    clock::now_ms,
    queue::Queue,
    records::WindowOpened,
};

/// Follows delegations for the slots ahead.
pub(crate) struct Rights {
    pub(crate) relay: RelayClient,
    pub(crate) beacon: BeaconClient,
    pub(crate) execution: ExecutionClient,
    pub(crate) inbox: Address,
    pub(crate) clock: SlotClock,
    pub(crate) timing: Timing,
    pub(crate) network: Network,
    pub(crate) relay_address: Address,
    pub(crate) committer: Address,
    pub(crate) rollups: Vec<RollupId>,
    pub(crate) board: Arc<Board>,
    pub(crate) queue: Queue,
    /// Windows that began before this instant are left alone (a backup was restored); 0: none.
    pub(crate) sit_out_before_ms: u64,
    pub(crate) poll: Duration,
}

impl Rights {
    /// Runs until shutdown.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) -> Result<(), std::convert::Infallible> {
        let mut lookahead = Lookahead::new(self.clock.slots_per_epoch());
        let mut decided: BTreeSet<(Slot, RollupId)> = BTreeSet::new();
        let mut ticks = interval(self.poll);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                _ = ticks.tick() => {}
            }
            let now = now_ms();
            let current = self.clock.slot_at(now).unwrap_or_default();
            decided = decided.split_off(&(Slot(current), RollupId(0)));
            self.refresh(&mut lookahead, current).await;
            for proposer in lookahead.from_slot(current).map(|p| (Slot(p.slot), p.pubkey)).collect::<Vec<_>>()
            {
                let (slot, pubkey) = proposer;
                let open: Vec<RollupId> =
                    self.rollups.iter().copied().filter(|id| !decided.contains(&(slot, *id))).collect();
                if open.is_empty() || now >= self.timing.seal_at(slot) {
                    continue;
                }
                let authorities = match self.relay.authorities(slot.0).await {
                    Ok(authorities) => authorities,
                    Err(error) => {
                        tracing::warn!(%error, "the relay gives no delegations");
                        break;
                    }
                };
                let trust =
                    TrustRoots { network: self.network, relay: self.relay_address, proposer: Some(pubkey) };
                for id in open {
                    if self.decide(id, slot, &authorities, &trust).await {
                        decided.insert((slot, id));
                    }
                }
            }
        }
    }

    /// Reads the proposers of this epoch and the next where they are not known yet.
    async fn refresh(&self, lookahead: &mut Lookahead, current: u64) {
        let epoch = self.clock.epoch_of(current);
        lookahead.prune_before(epoch);
        if lookahead.last_epoch().is_some_and(|last| last > epoch) {
            return;
        }
        match self.beacon.proposer_lookahead(epoch, self.clock.slots_per_epoch()).await {
            Ok(epochs) => {
                for duties in epochs {
                    if let Err(error) = lookahead.apply(duties) {
                        tracing::warn!(%error, "the beacon node's proposers are refused");
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "the beacon node gives no proposers"),
        }
    }

    /// Takes up the first valid delegation for a rollup's window. Returns whether there was one.
    async fn decide(
        &mut self,
        id: RollupId,
        slot: Slot,
        authorities: &[Authority],
        trust: &TrustRoots,
    ) -> bool {
        let Some((authority, holding)) = first_valid(id, slot, authorities, trust) else { return false };
        let (start_ms, seal_ms) = (holding.allocation.start_ms, self.timing.seal_at(slot));
        let entry = holding.entry;
        let holder =
            Holder { committer: entry.committer, url: entry.url, from_ms: start_ms, until_ms: seal_ms };
        self.board.set_holder(id, slot, holder);
        if entry.committer != self.committer {
            return true;
        }
        if start_ms < self.sit_out_before_ms {
            tracing::warn!(rollup = %id, %slot, "window began before the backup was restored: sitting it out");
            return true;
        }
        let Some(forced_inclusion_head) = self.forced_head(id).await else { return false };
        let window = WindowOpened {
            rollup_id: id.0,
            slot: slot.0,
            start_ms,
            seal_ms,
            network: self.network,
            forced_inclusion_head,
            authority: authority.clone(),
        };
        match self.queue.take(window) {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(rollup = %id, %slot, %error, "window not handed to the sequencer yet");
                false
            }
        }
    }

    /// Head of the rollup's forced-inclusion queue on L1.
    async fn forced_head(&self, id: RollupId) -> Option<u64> {
        let call = Inbox::forcedHeadCall { rollupId: id.0 }.abi_encode();
        let request = TransactionRequest {
            to: Some(self.inbox.into()),
            input: TransactionInput::new(call.into()),
            ..TransactionRequest::default()
        };
        match self.execution.call(&request, BlockId::latest()).await {
            Ok(answer) => U256::try_from_be_slice(&answer).and_then(|head| u64::try_from(head).ok()),
            Err(error) => {
                tracing::warn!(%error, "the Inbox does not answer");
                None
            }
        }
    }
}

/// The first delegation that is valid for `(rollup, slot)` (design §2), with what it grants.
fn first_valid<'a>(
    id: RollupId,
    slot: Slot,
    authorities: &'a [Authority],
    trust: &TrustRoots,
) -> Option<(&'a Authority, Holding)> {
    authorities.iter().find_map(|authority| match valid_delegation(authority, id, slot, trust) {
        Ok(holding) => Some((authority, holding)),
        Err(error) => {
            tracing::debug!(rollup = %id, %slot, %error, "delegation gives no right");
            None
        }
    })
}
