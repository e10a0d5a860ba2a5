//! Turns: so many at once, those who wait by rank and then by arrival.

use crate::builders::Rank;
use earnest_builder_types::BlsPublicKey;
use parking_lot::Mutex;
use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};
use tokio::sync::oneshot;

/// Blocks of one builder and slot that wait at most.
const WAITING_OF_ONE: usize = 2;

/// Who asks for a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Applicant {
    pub(crate) rank: Rank,
    pub(crate) builder: BlsPublicKey,
    pub(crate) slot: u64,
}

/// Why there is no turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoTurn {
    /// As many wait as may.
    Full,
    /// A newer block of the same builder and slot has its place.
    Superseded,
}

/// Gives out turns.
#[derive(Debug, Clone)]
pub(crate) struct Turns(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    free: usize,
    /// Who waits; the last is next.
    waiting: BTreeMap<Place, Waiting>,
    most_waiting: usize,
    arrivals: u64,
}

/// A place in the queue. Who takes another's gets its arrival.
type Place = (Rank, Reverse<u64>);

#[derive(Debug)]
struct Waiting {
    /// Its own arrival, whosever place it has.
    id: u64,
    builder: BlsPublicKey,
    slot: u64,
    told: oneshot::Sender<Result<Turn, NoTurn>>,
}

/// A turn, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn(Option<Turns>);

/// Takes who waits out of the queue when it waits no more.
struct Leaving<'a> {
    turns: &'a Turns,
    place: Place,
    id: u64,
}

impl Turns {
    /// `parallel` turns at once (one at least), and `waiting` that wait.
    pub(crate) fn new(parallel: usize, waiting: usize) -> Self {
        let state =
            State { free: parallel.max(1), waiting: BTreeMap::new(), most_waiting: waiting, arrivals: 0 };
        Self(Arc::new(Mutex::new(state)))
    }

    /// Waits for a turn. A builder has two blocks waiting for a slot at most: a third takes the place of the oldest.
    ///
    /// # Errors
    /// [`NoTurn::Full`] if as many wait as may, none of a lower rank; also for one of the lowest that has to go for a
    /// higher. [`NoTurn::Superseded`] for one whose place a newer took.
    pub(crate) async fn take(&self, applicant: Applicant) -> Result<Turn, NoTurn> {
        let (receiver, _leaving) = {
            let mut state = self.0.lock();
            if state.free > 0 {
                state.free = state.free.saturating_sub(1);
                return Ok(Turn(Some(self.clone())));
            }
            state.arrivals = state.arrivals.saturating_add(1);
            let id = state.arrivals;
            let place = state.place(&applicant, id)?;
            let (told, receiver) = oneshot::channel();
            let Applicant { builder, slot, .. } = applicant;
            state.waiting.insert(place, Waiting { id, builder, slot, told });
            (receiver, Leaving { turns: self, place, id })
        };
        receiver.await.unwrap_or(Err(NoTurn::Full))
    }

    /// Hands a turn to who is next.
    fn pass_on(&self) {
        loop {
            let next = {
                let mut state = self.0.lock();
                let next = state.waiting.pop_last();
                if next.is_none() {
                    state.free = state.free.saturating_add(1);
                }
                next
            };
            let Some((_, next)) = next else { return };
            match next.told.send(Ok(Turn(Some(self.clone())))) {
                // It waits no more; what it was given is passed on here, not by its end.
                Err(Ok(mut unwanted)) => unwanted.0 = None,
                _ => return,
            }
        }
    }
}

impl State {
    /// The place of one that has to wait, made free where another has to go for it.
    fn place(&mut self, applicant: &Applicant, arrival: u64) -> Result<Place, NoTurn> {
        let own = || {
            let waiting = self.waiting.iter();
            waiting.filter(|(_, one)| one.builder == applicant.builder && one.slot == applicant.slot)
        };
        let oldest = own().min_by_key(|(_, one)| one.id).map(|(place, _)| *place);
        if let Some(place) = oldest.filter(|_| own().count() >= WAITING_OF_ONE) {
            self.send_away(&place, NoTurn::Superseded);
            return Ok((applicant.rank, place.1));
        }
        if self.waiting.len() >= self.most_waiting {
            // The last of the lowest rank goes, if this one is of a higher.
            let least = self.waiting.keys().next().copied();
            let least = least.filter(|(lowest, _)| *lowest < applicant.rank).ok_or(NoTurn::Full)?;
            self.send_away(&least, NoTurn::Full);
        }
        Ok((applicant.rank, Reverse(arrival)))
    }

    fn send_away(&mut self, place: &Place, why: NoTurn) {
        if let Some(one) = self.waiting.remove(place) {
            // It may have left by itself.
            let _ = one.told.send(Err(why));
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(turns) = self.0.take() {
            turns.pass_on();
        }
    }
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        let mut state = self.turns.0.lock();
        if state.waiting.get(&self.place).is_some_and(|one| one.id == self.id) {
            state.waiting.remove(&self.place);
        }
    }
}

#[cfg(test)]
mod tests;
