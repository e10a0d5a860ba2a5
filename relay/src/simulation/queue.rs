//! Turns: so many at once, those who wait by rank and then by arrival.

use crate::builders::Rank;
use parking_lot::Mutex;
use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};
use tokio::sync::oneshot;

/// As many wait as may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

/// Gives out turns.
#[derive(Debug, Clone)]
pub(crate) struct Turns(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    free: usize,
    /// Who waits; the last is next.
    waiting: BTreeMap<(Rank, Reverse<u64>), oneshot::Sender<Turn>>,
    most_waiting: usize,
    arrivals: u64,
}

/// A turn, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn(Option<Turns>);

impl Turns {
    /// `parallel` turns at once (one at least), and `waiting` that wait.
    pub(crate) fn new(parallel: usize, waiting: usize) -> Self {
        let state =
            State { free: parallel.max(1), waiting: BTreeMap::new(), most_waiting: waiting, arrivals: 0 };
        Self(Arc::new(Mutex::new(state)))
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// [`Full`] if as many wait as may, none of a lower rank; also for one of the lowest that has to go for a higher.
    pub(crate) async fn take(&self, rank: Rank) -> Result<Turn, Full> {
        let receiver = {
            let mut state = self.0.lock();
            if state.free > 0 {
                state.free = state.free.saturating_sub(1);
                return Ok(Turn(Some(self.clone())));
            }
            if state.waiting.len() >= state.most_waiting {
                // The last of the lowest rank goes, if this one is of a higher.
                let least = state.waiting.keys().next().copied();
                match least.filter(|(lowest, _)| *lowest < rank) {
                    Some(least) => drop(state.waiting.remove(&least)),
                    None => return Err(Full),
                }
            }
            state.arrivals = state.arrivals.saturating_add(1);
            let key = (rank, Reverse(state.arrivals));
            let (sender, receiver) = oneshot::channel();
            state.waiting.insert(key, sender);
            receiver
        };
        receiver.await.map_err(|_| Full)
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
            let Some((_, sender)) = next else { return };
            match sender.send(Turn(Some(self.clone()))) {
                Ok(()) => return,
                // It waits no more; what it was given is passed on here, not by its end.
                Err(mut unwanted) => unwanted.0 = None,
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{FutureExt, future::BoxFuture};

    type Waiting = BoxFuture<'static, Result<Turn, Full>>;

    fn wait(turns: &Turns, rank: Rank) -> Waiting {
        let turns = turns.clone();
        let mut waiting = async move { turns.take(rank).await }.boxed();
        assert!((&mut waiting).now_or_never().is_none(), "it waits");
        waiting
    }

    fn has_turn(waiting: &mut Waiting) -> Option<Result<Turn, Full>> {
        waiting.now_or_never()
    }

    #[test]
    fn those_of_higher_rank_come_first_then_those_who_came_first() {
        let turns = Turns::new(1, 10);
        let mut turn = turns.take(Rank::Usual).now_or_never().unwrap().unwrap();
        let order = [Rank::Demoted, Rank::Usual, Rank::First, Rank::Usual, Rank::First];
        let mut waiting: Vec<Waiting> = order.iter().map(|rank| wait(&turns, *rank)).collect();
        for next in [2, 4, 1, 3, 0] {
            drop(turn);
            turn = has_turn(&mut waiting[next]).unwrap().unwrap();
        }
        drop(turn);
        assert_eq!(turns.0.lock().free, 1);
    }

    #[test]
    fn a_full_queue_lets_the_lowest_go_for_a_higher() {
        let turns = Turns::new(1, 2);
        let turn = turns.take(Rank::Usual).now_or_never().unwrap().unwrap();
        let mut first = wait(&turns, Rank::Usual);
        let mut second = wait(&turns, Rank::Usual);
        assert_eq!(turns.take(Rank::Usual).now_or_never().unwrap().unwrap_err(), Full);
        assert_eq!(turns.take(Rank::Demoted).now_or_never().unwrap().unwrap_err(), Full);
        let mut higher = wait(&turns, Rank::First);
        assert_eq!(has_turn(&mut second).unwrap().unwrap_err(), Full, "the later of the two");
        drop(turn);
        drop(has_turn(&mut higher).unwrap().unwrap());
        drop(has_turn(&mut first).unwrap().unwrap());
    }

    #[test]
    fn who_leaves_takes_no_turn_with_it() {
        let turns = Turns::new(2, 10);
        let one = turns.take(Rank::Usual).now_or_never().unwrap().unwrap();
        let two = turns.take(Rank::Usual).now_or_never().unwrap().unwrap();
        let left = wait(&turns, Rank::First);
        let mut stays = wait(&turns, Rank::Usual);
        drop(left);
        drop(one);
        let turn = has_turn(&mut stays).unwrap().unwrap();
        let given = wait(&turns, Rank::Usual);
        drop(two);
        // Given, but never looked at.
        drop(given);
        drop(turn);
        assert_eq!(turns.0.lock().free, 2);
    }
}
