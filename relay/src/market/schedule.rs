//! Which slots are sequencing slots, and their windows, as the lookahead has them.

use crate::relay::Relay;
use earnest_chain::Proposer;
use earnest_protocol::{Slot, window::Window};

/// A sequencing slot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SequencingSlot {
    pub(crate) slot: Slot,
    pub(crate) proposer: Proposer,
    /// The sequencing slot before it, among those known.
    pub(crate) previous: Option<Slot>,
    /// Its times; none if there is no time left for a window.
    pub(crate) window: Option<Window>,
    /// Whether all slots that bear on the window are known. If not, its auction closed before this relay knew of it.
    pub(crate) decided: bool,
}

/// The sequencing slots known, by ascending slot.
pub(crate) fn sequencing_slots(relay: &Relay) -> Vec<SequencingSlot> {
    let proposers: Vec<Proposer> = relay.duties.read().lookahead.from_slot(0).copied().collect();
    let (mut previous, mut last, mut known_from) = (None, None, 0);
    let mut slots = Vec::new();
    for proposer in proposers {
        // Of an epoch that is missing nothing can be told.
        if last.is_none_or(|last: u64| last.saturating_add(1) != proposer.slot) {
            (previous, known_from) = (None, proposer.slot);
        }
        last = Some(proposer.slot);
        let slot = Slot(proposer.slot);
        if !relay.l1.is_opted_in(slot, &proposer.pubkey) {
            continue;
        }
        let window = relay.timing.window(slot, previous);
        // Slot 0 has no block, and some nodes name no proposer for it.
        let decided = previous.is_some() || known_from <= relay.timing.bears_on(slot).0.max(1);
        slots.push(SequencingSlot { slot, proposer, previous, window, decided });
        previous = Some(slot);
    }
    slots
}
