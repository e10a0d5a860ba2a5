//! Learns from the relay which windows this gateway holds, and checks every word of it.

use std::{collections::BTreeSet, sync::Arc};

use alloy_primitives::{Address, U256};
use alloy_rpc_types_eth::{BlockId, TransactionInput, TransactionRequest};
use alloy_sol_types::SolCall;
use earnest_bindings::Inbox;
use earnest_chain::{BeaconClient, ExecutionClient, Lookahead, LookaheadChange, SlotClock};
use earnest_client::RelayClient;
use earnest_protocol::{
    BlsPublicKey, RollupId, Slot,
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

/// Slots whose delegations are asked for at every poll.
const NEXT_SLOTS: usize = 3;

/// What is known of the slots ahead.
struct Known {
    lookahead: Lookahead,
    decided: BTreeSet<(Slot, RollupId)>,
    /// Slot in which the proposers were read last.
    slot: Option<u64>,
}

impl Rights {
    /// Runs until shutdown.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) -> Result<(), std::convert::Infallible> {
        let lookahead = Lookahead::new(self.clock.slots_per_epoch());
        let mut known = Known { lookahead, decided: BTreeSet::new(), slot: None };
        let mut ticks = interval(self.poll);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                _ = ticks.tick() => {}
            }
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = self.pass(&mut known) => {}
            }
        }
    }

    /// Asks for the delegations that are not known yet: of the next slots always, of all others once a slot.
    async fn pass(&mut self, known: &mut Known) {
        let current = self.clock.slot_at(now_ms()).unwrap_or_default();
        let new_slot = known.slot != Some(current);
        known.decided = known.decided.split_off(&(Slot(current), RollupId(0)));
        if new_slot && self.refresh(known, current).await {
            known.slot = Some(current);
        }
        let proposers: Vec<(Slot, BlsPublicKey)> = known
            .lookahead
            .from_slot(current)
            .map(|proposer| (Slot(proposer.slot), proposer.pubkey))
            .collect();
        let mut asked = 0_usize;
        for (slot, pubkey) in proposers {
            let open: Vec<RollupId> =
                self.rollups.iter().copied().filter(|id| !known.decided.contains(&(slot, *id))).collect();
            if open.is_empty()
                || now_ms() >= self.timing.slot_start(slot)
                || (!new_slot && asked >= NEXT_SLOTS)
            {
                continue;
            }
            asked = asked.saturating_add(1);
            let authorities = match self.relay.authorities(slot.0).await {
                Ok(authorities) => authorities,
                Err(error) => {
                    tracing::warn!(%error, "the relay gives no delegations");
                    return;
                }
            };
            let trust = TrustRoots {
                network: self.network,
                relay: self.relay_address,
                proposer: Some(pubkey),
                slasher: None,
            };
            for id in open {
                if self.decide(id, slot, &authorities, &trust).await {
                    known.decided.insert((slot, id));
                }
            }
        }
    }

    /// Reads the proposers of this epoch and the next again; what a change takes back is given up. Returns whether a
    /// beacon node answered.
    async fn refresh(&self, known: &mut Known, current: u64) -> bool {
        let epoch = self.clock.epoch_of(current);
        known.lookahead.prune_before(epoch);
        let epochs = match self.beacon.proposer_lookahead(epoch, self.clock.slots_per_epoch()).await {
            Ok(epochs) => epochs,
            Err(error) => {
                tracing::warn!(%error, "the beacon node gives no proposers");
                return false;
            }
        };
        for duties in epochs {
            match known.lookahead.apply(duties) {
                Ok(None) => {}
                Ok(Some(change)) => self.give_up(known, &change),
                Err(error) => tracing::warn!(%error, "the beacon node's proposers are refused"),
            }
        }
        true
    }

    fn give_up(&self, known: &mut Known, change: &LookaheadChange) {
        for proposer in &change.dropped {
            let slot = Slot(proposer.slot);
            for id in &self.rollups {
                if known.decided.remove(&(slot, *id)) {
                    tracing::warn!(rollup = %id, %slot, "the lookahead changed: the window's delegation is void");
                    self.board.drop_holder(*id, slot);
                    if let Err(error) = self.queue.revoke(*id, slot) {
                        tracing::error!(rollup = %id, %slot, %error, "window not taken back");
                    }
                }
            }
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
    // Signatures cost a pairing: only of delegations that name the rollup.
    let named = authorities.iter().filter(|authority| {
        authority.delegation.message.allocation().is_ok_and(|allocation| allocation.entry(id).is_some())
    });
    named.into_iter().find_map(|authority| match valid_delegation(authority, id, slot, trust) {
        Ok(holding) => Some((authority, holding)),
        Err(error) => {
            tracing::debug!(rollup = %id, %slot, %error, "delegation gives no right");
            None
        }
    })
}
