//! Which delegations to sign and deliver, and when. Pure: told the time and the lookahead, it says what to do next.
//!
//! The life of one of our sequencing slots:
//!
//! ```text
//! seen ──close──▶ due ──relays asked──▶ looked ──claim durable──▶ signed ──receipt of every Earnest relay──▶ delivered
//!   │              │                     │    │                      │
//!   │              └─one of ours found───┼────┼──claim durable──────▶┘
//!   │                                    │    └──start──▶ missed     └──start──▶ left as it is: still constrained
//!   └──lookahead changed──▶ gone ◀───────┘
//! ```
//!
//! The record says what we signed, unless it is a new one or an old copy. So the relays are asked first, once in each run, whether a key of
//! ours signed for the slot already: what they show with its signature is taken into the record and is what the slot is constrained by.
//!
//! From the moment the claim is durable the slot is constrained, whatever the lookahead, the relay or the configuration do
//! afterwards: somebody may hold the signature.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::B256;
use earnest_builder_types::BlsPublicKey;
use earnest_protocol::Slot;
use earnest_protocol::objects::{Delegation, SignedDelegation};
use earnest_protocol::window::{Timing, Window};

use crate::slot_state::SourceIndex;

/// Who and where: one delegation at most.
pub type Place = (Slot, BlsPublicKey);

/// A slot that a key of ours proposes, with its window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Duty {
    /// The proposing key.
    pub key: BlsPublicKey,
    /// The slot's window.
    pub window: Window,
}

impl Duty {
    /// Where this duty's delegation stands.
    #[must_use]
    pub const fn place(&self) -> Place {
        (self.window.slot, self.key)
    }
}

/// The windows of `own` keys among the sequencing slots of `proposers`, which are in the order of the slots. A sequencing
/// slot is one whose proposer is `opted_in` (design §2).
pub fn duties(
    timing: &Timing,
    proposers: impl IntoIterator<Item = (Slot, BlsPublicKey)>,
    opted_in: impl Fn(Slot, &BlsPublicKey) -> bool,
    own: impl Fn(&BlsPublicKey) -> bool,
) -> Vec<Duty> {
    let mut previous = None;
    let mut duties = Vec::new();
    for (slot, key) in proposers.into_iter().filter(|(slot, key)| opted_in(*slot, key)) {
        if own(&key)
            && let Some(window) = timing.window(slot, previous)
        {
            duties.push(Duty { key, window });
        }
        previous = Some(slot);
    }
    duties
}

/// What to do next.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Ask the relays whether this duty's key signed for its slot already.
    Look(Duty),
    /// Sign a delegation for this duty.
    Sign(Duty),
    /// Finish a delegation that was claimed before a crash: sign the same message again.
    Resign(Box<Delegation>),
    /// Post a signed delegation to an Earnest relay that has not given a receipt.
    Deliver(SourceIndex, Box<SignedDelegation>),
}

#[derive(Debug, Clone)]
struct Held {
    message: Delegation,
    signed: Option<SignedDelegation>,
    start_ms: u64,
    delivered: BTreeSet<SourceIndex>,
    refused: BTreeSet<SourceIndex>,
    elsewhere: bool,
}

/// Slots at or below which nothing is signed that is not in the record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Floors {
    /// For every key.
    pub of_all: Option<u64>,
    /// For one key.
    pub by_key: BTreeMap<BlsPublicKey, u64>,
}

/// All delegations of this sidecar.
#[derive(Debug)]
pub struct DelegationPlan {
    relays: Vec<SourceIndex>,
    held: BTreeMap<Place, Held>,
    foreign: BTreeSet<Place>,
    floors: BTreeMap<BlsPublicKey, u64>,
    floor: Option<u64>,
    declined: BTreeSet<Place>,
    looked: BTreeSet<Place>,
    after_first_refusal: bool,
}

/// A second, different delegation for a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("another delegation for slot {} of {} is recorded already", .0.0, .0.1)]
pub struct AlreadyDelegated(pub Place);

impl DelegationPlan {
    /// No delegations yet; they are to be delivered to `relays`.
    #[must_use]
    pub const fn new(relays: Vec<SourceIndex>) -> Self {
        Self {
            relays,
            held: BTreeMap::new(),
            foreign: BTreeSet::new(),
            floors: BTreeMap::new(),
            floor: None,
            declined: BTreeSet::new(),
            looked: BTreeSet::new(),
            after_first_refusal: false,
        }
    }

    /// The same plan where the market decides: delegations carry its results, which are there once first refusal is over.
    #[must_use]
    pub fn after_first_refusal(self) -> Self {
        Self { after_first_refusal: true, ..self }
    }

    /// Takes up a delegation whose claim is durable.
    ///
    /// # Errors
    /// [`AlreadyDelegated`] if another one holds its place.
    pub fn claimed(&mut self, message: Delegation) -> Result<(), AlreadyDelegated> {
        let place = (message.slot, message.proposer);
        if let Some(held) = self.held.get(&place) {
            return if held.message == message { Ok(()) } else { Err(AlreadyDelegated(place)) };
        }
        let start_ms = message.allocation().map_or(0, |allocation| allocation.start_ms);
        let held = Held {
            message,
            signed: None,
            start_ms,
            delivered: BTreeSet::new(),
            refused: BTreeSet::new(),
            elsewhere: false,
        };
        self.held.insert(place, held);
        Ok(())
    }

    /// Takes up the signature of a claimed delegation.
    ///
    /// # Errors
    /// [`AlreadyDelegated`] if another message holds its place.
    pub fn signed(&mut self, signed: SignedDelegation) -> Result<(), AlreadyDelegated> {
        self.claimed(signed.message.clone())?;
        if let Some(held) = self.held.get_mut(&(signed.message.slot, signed.message.proposer)) {
            held.signed = Some(signed);
        }
        Ok(())
    }

    /// Notes that a relay gave its receipt.
    pub fn delivered(&mut self, place: Place, relay: SourceIndex) {
        if let Some(held) = self.held.get_mut(&place) {
            held.delivered.insert(relay);
        }
    }

    /// Notes that a relay which is no longer configured gave its receipt: it may hold constraints that nobody can be asked
    /// about.
    pub fn delivered_elsewhere(&mut self, place: Place) {
        if let Some(held) = self.held.get_mut(&place) {
            held.elsewhere = true;
        }
    }

    /// Whether somebody holds a delegation for this place whose constraints we cannot ask about or check: a relay that is no
    /// longer configured, or whoever has what was signed before the record was lost.
    #[must_use]
    pub fn is_elsewhere(&self, place: Place) -> bool {
        self.held.get(&place).map_or_else(|| self.is_closed(place), |held| held.elsewhere)
    }

    /// Notes that a key of ours signed for a place, and that what it signed is not known.
    pub fn foreign(&mut self, place: Place) {
        self.foreign.insert(place);
    }

    /// Sets the floors: at or below them anything may have been signed.
    pub fn set_floors(&mut self, floors: Floors) {
        self.floor = floors.of_all;
        self.floors = floors.by_key;
    }

    /// Notes that nothing is to be signed for a place: there is nothing to sign, or the market relay did something wrong.
    pub fn decline(&mut self, place: Place) {
        self.declined.insert(place);
        let newest = place.0.0;
        self.declined.retain(|(slot, _)| slot.0.saturating_add(1024) > newest);
    }

    /// Notes that the relays were asked about a place.
    pub fn looked(&mut self, place: Place) {
        self.looked.insert(place);
        let newest = place.0.0;
        self.looked.retain(|(slot, _)| slot.0.saturating_add(1024) > newest);
    }

    const fn due_ms(&self, window: &Window) -> u64 {
        if self.after_first_refusal { window.first_refusal_ms } else { window.close_ms }
    }

    fn is_undone(&self, place: Place) -> bool {
        !self.held.contains_key(&place) && !self.declined.contains(&place) && !self.is_closed(place)
    }

    /// Whether nothing may be signed for a place that we hold nothing for.
    #[must_use]
    pub fn is_closed(&self, (slot, key): Place) -> bool {
        let floor = self.floors.get(&key).copied().max(self.floor);
        self.foreign.contains(&(slot, key)) || floor.is_some_and(|floor| slot.0 <= floor)
    }

    /// Notes that a relay refused for good, so that asking again is no use.
    pub fn refused(&mut self, place: Place, relay: SourceIndex) {
        if let Some(held) = self.held.get_mut(&place) {
            held.refused.insert(relay);
        }
    }

    /// Whether headers for this slot and key must keep constraints.
    #[must_use]
    pub fn is_constrained(&self, slot: Slot, key: BlsPublicKey) -> bool {
        self.held.contains_key(&(slot, key))
    }

    /// The delegation recorded for a slot and key.
    #[must_use]
    pub fn delegation(&self, slot: Slot, key: BlsPublicKey) -> Option<&Delegation> {
        self.held.get(&(slot, key)).map(|held| &held.message)
    }

    /// Whether any Earnest relay has given its receipt.
    #[must_use]
    pub fn is_delivered(&self, place: Place) -> bool {
        self.held.get(&place).is_some_and(|held| !held.delivered.is_empty())
    }

    /// The relays that gave their receipt: they may hold constraints for the slot.
    #[must_use]
    pub fn holders(&self, place: Place) -> Vec<SourceIndex> {
        self.held.get(&place).map(|held| held.delivered.iter().copied().collect()).unwrap_or_default()
    }

    /// What to do at `now_ms`, earliest slots first. `may_know` says which relay may have a key's delegations.
    #[must_use]
    pub fn steps(
        &self,
        duties: &[Duty],
        now_ms: u64,
        may_know: impl Fn(SourceIndex, &BlsPublicKey) -> bool,
    ) -> Vec<Step> {
        let mut steps = Vec::new();
        for held in self.held.values().filter(|held| now_ms < held.start_ms) {
            let Some(signed) = &held.signed else {
                steps.push(Step::Resign(Box::new(held.message.clone())));
                continue;
            };
            let open =
                |relay: &&SourceIndex| !held.is_done(**relay) && may_know(**relay, &held.message.proposer);
            for relay in self.relays.iter().filter(open) {
                steps.push(Step::Deliver(*relay, Box::new(signed.clone())));
            }
        }
        for duty in duties {
            let window = &duty.window;
            if self.due_ms(window) > now_ms || !self.is_undone(duty.place()) {
                continue;
            }
            // Headers are asked for a while after the slot began.
            let end_ms = window.slot_ms.saturating_add(window.slot_ms.saturating_sub(window.seal_ms));
            if !self.looked.contains(&duty.place()) {
                if now_ms < end_ms {
                    steps.push(Step::Look(*duty));
                }
            } else if now_ms < window.start_ms {
                steps.push(Step::Sign(*duty));
            }
        }
        steps
    }

    /// When the next duty becomes due, after `now_ms`.
    #[must_use]
    pub fn next_due(&self, duties: &[Duty], now_ms: u64) -> Option<u64> {
        duties
            .iter()
            .filter(|duty| self.is_undone(duty.place()))
            .map(|duty| self.due_ms(&duty.window))
            .filter(|due_ms| *due_ms > now_ms)
            .min()
    }

    /// Hash of every message held, by place: the protection record.
    pub fn record(&self) -> impl Iterator<Item = (Place, Option<B256>)> {
        self.held.iter().map(|(place, held)| (*place, held.message.hash().ok()))
    }
}

impl Held {
    fn is_done(&self, relay: SourceIndex) -> bool {
        self.delivered.contains(&relay) || self.refused.contains(&relay)
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{Address, FixedBytes};
    use earnest_protocol::objects::SlotAllocation;
    use earnest_protocol::signing::Signed;

    use super::*;

    const TIMING: Timing = Timing::new(0, 1_000, 8);

    fn key(byte: u8) -> BlsPublicKey {
        FixedBytes::repeat_byte(byte)
    }

    fn proposers(keys: &[u8]) -> Vec<(Slot, BlsPublicKey)> {
        keys.iter().enumerate().map(|(at, byte)| (Slot(16 + at as u64), key(*byte))).collect()
    }

    fn set(bytes: &[u8]) -> BTreeSet<BlsPublicKey> {
        bytes.iter().map(|byte| key(*byte)).collect()
    }

    /// Duties with the same keys opted in in all slots.
    fn duties(
        timing: &Timing,
        proposers: impl IntoIterator<Item = (Slot, BlsPublicKey)>,
        opted_in: &BTreeSet<BlsPublicKey>,
        own: &BTreeSet<BlsPublicKey>,
    ) -> Vec<Duty> {
        super::duties(timing, proposers, |_, key| opted_in.contains(key), |key| own.contains(key))
    }

    #[test]
    fn a_key_counts_in_the_slots_that_it_is_opted_in_for() {
        let found = super::duties(&TIMING, proposers(&[1, 1, 1]), |slot, _| slot != Slot(17), |_| true);
        assert_eq!(found.iter().map(|duty| duty.window.slot.0).collect::<Vec<_>>(), [16, 18]);
        assert_eq!(found[1].window, TIMING.window(Slot(18), Some(Slot(16))).unwrap());
    }

    fn delegation(duty: &Duty, committer: u8) -> Delegation {
        let allocation = SlotAllocation {
            slot: duty.window.slot,
            start_ms: duty.window.start_ms,
            auction_root: B256::ZERO,
            entries: Vec::new(),
        };
        Delegation {
            proposer: duty.key,
            delegate: key(99),
            committer: Address::repeat_byte(committer),
            slot: duty.window.slot,
            metadata: allocation.to_metadata(),
        }
    }

    const fn everyone(_: SourceIndex, _: &BlsPublicKey) -> bool {
        true
    }

    fn signed(message: Delegation) -> SignedDelegation {
        Signed::new(message, FixedBytes::ZERO)
    }

    #[test]
    fn windows_are_those_of_all_opted_in_proposers() {
        let proposers = proposers(&[1, 9, 2, 1, 9, 9, 9, 1]);
        let found = duties(&TIMING, proposers.clone(), &set(&[1, 2]), &set(&[1]));
        assert_eq!(found.iter().map(|duty| duty.window.slot.0).collect::<Vec<_>>(), [16, 19, 23]);
        assert_eq!(found[1].window, TIMING.window(Slot(19), Some(Slot(18))).unwrap());
        assert_eq!(found[2].window, TIMING.window(Slot(23), Some(Slot(19))).unwrap());
        assert!(duties(&TIMING, proposers, &set(&[2]), &set(&[1])).is_empty(), "ours, but not opted in");
    }

    #[test]
    fn a_duty_is_signed_after_close_delivered_until_start_and_never_twice() {
        let duty = duties(&TIMING, proposers(&[9, 9, 1]), &set(&[1]), &set(&[1]))[0];
        let Window { close_ms, start_ms, .. } = duty.window;
        let mut plan = DelegationPlan::new(vec![0, 3]);
        assert!(plan.steps(&[duty], close_ms - 1, everyone).is_empty());
        assert_eq!(plan.next_due(&[duty], close_ms - 1), Some(close_ms));
        assert_eq!(plan.steps(&[duty], close_ms, everyone), [Step::Look(duty)]);
        plan.looked(duty.place());
        assert_eq!(plan.steps(&[duty], close_ms, everyone), [Step::Sign(duty)]);
        assert!(plan.steps(&[duty], start_ms, everyone).is_empty(), "missed");
        assert!(!plan.is_constrained(duty.window.slot, duty.key));

        let message = delegation(&duty, 1);
        plan.claimed(message.clone()).unwrap();
        assert!(plan.is_constrained(duty.window.slot, duty.key));
        assert_eq!(plan.steps(&[duty], close_ms, everyone), [Step::Resign(Box::new(message.clone()))]);
        let signed = signed(message);
        plan.signed(signed.clone()).unwrap();
        let deliver = |relay| Step::Deliver(relay, Box::new(signed.clone()));
        assert_eq!(plan.steps(&[duty], close_ms, everyone), [deliver(0), deliver(3)]);
        assert_eq!(plan.steps(&[duty], close_ms, |relay, _| relay == 3), [deliver(3)]);
        plan.delivered(duty.place(), 3);
        assert_eq!(plan.holders(duty.place()), [3]);
        assert_eq!(plan.steps(&[duty], start_ms - 1, everyone), [deliver(0)]);
        plan.refused(duty.place(), 0);
        assert!(plan.steps(&[duty], close_ms, everyone).is_empty());
        assert!(plan.is_delivered(duty.place()));
        assert_eq!(plan.next_due(&[duty], 0), None);
    }

    /// After a restart too late to sign, the slot may be constrained by what is not in the record.
    #[test]
    fn relays_are_asked_what_was_signed_until_headers_are_no_longer_asked_for() {
        let duty = duties(&TIMING, proposers(&[9, 9, 1]), &set(&[1]), &set(&[1]))[0];
        let Window { start_ms, seal_ms, slot_ms, .. } = duty.window;
        let mut plan = DelegationPlan::new(vec![0]);
        for at_ms in [start_ms, seal_ms, slot_ms, slot_ms + 499] {
            assert_eq!(plan.steps(&[duty], at_ms, everyone), [Step::Look(duty)], "{at_ms}");
        }
        assert!(plan.steps(&[duty], slot_ms + 500, everyone).is_empty());
        plan.looked(duty.place());
        assert!(plan.steps(&[duty], start_ms, everyone).is_empty());
        // Found: taken up as if it had been signed here, and in the record.
        plan.signed(signed(delegation(&duty, 7))).unwrap();
        assert!(plan.is_constrained(duty.window.slot, duty.key));
    }

    #[test]
    fn a_second_delegation_for_a_place_is_refused_and_the_same_one_taken_again() {
        let duty = duties(&TIMING, proposers(&[1]), &set(&[1]), &set(&[1]))[0];
        let mut plan = DelegationPlan::new(vec![0]);
        plan.claimed(delegation(&duty, 1)).unwrap();
        assert_eq!(plan.claimed(delegation(&duty, 1)), Ok(()));
        assert_eq!(plan.claimed(delegation(&duty, 2)), Err(AlreadyDelegated(duty.place())));
        assert_eq!(plan.signed(signed(delegation(&duty, 2))), Err(AlreadyDelegated(duty.place())));
        assert_eq!(plan.delegation(duty.window.slot, duty.key), Some(&delegation(&duty, 1)));
    }

    #[test]
    fn at_or_below_a_floor_nothing_new_is_signed_and_nobody_is_believed() {
        let duty = duties(&TIMING, proposers(&[1]), &set(&[1]), &set(&[1]))[0];
        let (slot, close) = (duty.window.slot.0, duty.window.close_ms);
        let by_key = |floor| Floors { of_all: None, by_key: BTreeMap::from([(duty.key, floor)]) };
        for (floors, closed) in [
            (by_key(slot), true),
            (by_key(slot - 1), false),
            (Floors { of_all: Some(slot), ..by_key(0) }, true),
            (Floors { of_all: Some(slot - 1), by_key: BTreeMap::new() }, false),
        ] {
            let mut plan = DelegationPlan::new(vec![0]);
            plan.set_floors(floors);
            assert_eq!(plan.is_elsewhere(duty.place()), closed);
            assert_eq!(plan.steps(&[duty], close, everyone).is_empty(), closed);
            plan.claimed(delegation(&duty, 1)).unwrap();
            assert!(!plan.is_elsewhere(duty.place()), "what is in the record is known");
        }
        let mut plan = DelegationPlan::new(vec![0]);
        plan.foreign(duty.place());
        assert!(plan.is_elsewhere(duty.place()) && plan.steps(&[duty], close, everyone).is_empty());
    }

    #[test]
    fn a_changed_lookahead_moves_the_window_but_not_a_signed_delegation() {
        let own = set(&[1, 2]);
        let before = duties(&TIMING, proposers(&[9, 9, 9, 1]), &own, &own)[0];
        let after = duties(&TIMING, proposers(&[9, 9, 2, 1]), &own, &own);
        let moved = after[1];
        assert_ne!(before.window, moved.window);
        let mut plan = DelegationPlan::new(vec![0]);
        plan.signed(signed(delegation(&before, 1))).unwrap();
        plan.delivered(before.place(), 0);
        let steps = plan.steps(&after, moved.window.close_ms, everyone);
        assert!(!steps.iter().any(|step| matches!(step, Step::Sign(duty) if duty.place() == before.place())));
        assert!(plan.is_constrained(before.window.slot, before.key));
    }

    #[test]
    fn a_slot_that_passes_to_another_key_of_ours_is_that_keys_own_place() {
        let own = set(&[1, 2]);
        let before = duties(&TIMING, proposers(&[9, 1]), &own, &own)[0];
        let after = duties(&TIMING, proposers(&[9, 2]), &own, &own)[0];
        let mut plan = DelegationPlan::new(vec![0]);
        plan.signed(signed(delegation(&before, 1))).unwrap();
        assert!(plan.steps(&[after], after.window.close_ms, everyone).contains(&Step::Look(after)));
    }
}
