use super::*;
use futures::{FutureExt, future::BoxFuture};
use proptest::prelude::*;

type Pending = BoxFuture<'static, Result<Turn, NoTurn>>;

/// One of so many builders, each of whose blocks is for the same slot.
fn of(rank: Rank, builder: u8) -> Applicant {
    Applicant { rank, builder: BlsPublicKey::repeat_byte(builder), slot: 1 }
}

fn ask(turns: &Turns, applicant: Applicant) -> Pending {
    let turns = turns.clone();
    async move { turns.take(applicant).await }.boxed()
}

fn wait(turns: &Turns, applicant: Applicant) -> Pending {
    let mut waiting = ask(turns, applicant);
    assert!((&mut waiting).now_or_never().is_none(), "it waits");
    waiting
}

fn at_once(turns: &Turns, applicant: Applicant) -> Result<Turn, NoTurn> {
    ask(turns, applicant).now_or_never().unwrap()
}

fn told(waiting: &mut Pending) -> Option<Result<Turn, NoTurn>> {
    waiting.now_or_never()
}

#[test]
fn those_of_higher_rank_come_first_then_those_who_came_first() {
    let turns = Turns::new(1, 10);
    let mut turn = at_once(&turns, of(Rank::Usual, 0)).unwrap();
    let order = [Rank::Demoted, Rank::Usual, Rank::First, Rank::Usual, Rank::First];
    let mut waiting: Vec<Pending> = (1..).zip(order).map(|(one, rank)| wait(&turns, of(rank, one))).collect();
    for next in [2, 4, 1, 3, 0] {
        drop(turn);
        turn = told(&mut waiting[next]).unwrap().unwrap();
    }
    drop(turn);
    assert_eq!(turns.0.lock().free, 1);
}

#[test]
fn a_full_queue_lets_the_lowest_go_for_a_higher() {
    let turns = Turns::new(1, 2);
    let turn = at_once(&turns, of(Rank::Usual, 0)).unwrap();
    let mut first = wait(&turns, of(Rank::Usual, 1));
    let mut second = wait(&turns, of(Rank::Usual, 2));
    assert_eq!(at_once(&turns, of(Rank::Usual, 3)).unwrap_err(), NoTurn::Full);
    assert_eq!(at_once(&turns, of(Rank::Demoted, 4)).unwrap_err(), NoTurn::Full);
    let mut higher = wait(&turns, of(Rank::First, 5));
    assert_eq!(told(&mut second).unwrap().unwrap_err(), NoTurn::Full, "the later of the two");
    drop(turn);
    drop(told(&mut higher).unwrap().unwrap());
    drop(told(&mut first).unwrap().unwrap());
}

#[test]
fn who_leaves_takes_no_turn_with_it() {
    let turns = Turns::new(2, 10);
    let one = at_once(&turns, of(Rank::Usual, 1)).unwrap();
    let two = at_once(&turns, of(Rank::Usual, 2)).unwrap();
    let left = wait(&turns, of(Rank::First, 3));
    let mut stays = wait(&turns, of(Rank::Usual, 4));
    drop(left);
    assert_eq!(turns.0.lock().waiting.len(), 1, "gone at once");
    drop(one);
    let turn = told(&mut stays).unwrap().unwrap();
    let given = wait(&turns, of(Rank::Usual, 5));
    drop(two);
    // Given, but never looked at.
    drop(given);
    drop(turn);
    assert_eq!(turns.0.lock().free, 2);
}

#[test]
fn a_builders_third_block_takes_the_place_of_its_oldest() {
    let turns = Turns::new(1, 3);
    let mut turn = at_once(&turns, of(Rank::Usual, 0)).unwrap();
    let mut oldest = wait(&turns, of(Rank::Usual, 1));
    let mut other = wait(&turns, of(Rank::Usual, 2));
    let mut second = wait(&turns, of(Rank::Usual, 1));
    // The queue is full by now, and stays as long.
    let mut third = wait(&turns, of(Rank::Usual, 1));
    assert_eq!(told(&mut oldest).unwrap().unwrap_err(), NoTurn::Superseded);
    drop(oldest);
    let mut fourth = wait(&turns, of(Rank::Usual, 1));
    assert_eq!(told(&mut second).unwrap().unwrap_err(), NoTurn::Superseded);
    drop(second);
    assert_eq!(turns.0.lock().waiting.len(), 3);
    // Another slot's are counted by themselves.
    let elsewhere = Applicant { slot: 2, ..of(Rank::Usual, 1) };
    assert_eq!(at_once(&turns, elsewhere).unwrap_err(), NoTurn::Full);
    for next in [&mut third, &mut other, &mut fourth] {
        drop(turn);
        turn = told(next).unwrap().unwrap();
    }
    drop(turn);
    assert_eq!(turns.0.lock().free, 1);
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Take(Rank, u8),
    Leave(usize),
    Finish(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let rank = prop_oneof![Just(Rank::Demoted), Just(Rank::Usual), Just(Rank::First)];
    let step = prop_oneof![
        4 => (rank, 0..5_u8).prop_map(|(rank, builder)| Step::Take(rank, builder)),
        1 => any::<usize>().prop_map(Step::Leave),
        3 => any::<usize>().prop_map(Step::Finish),
    ];
    proptest::collection::vec(step, 0..120)
}

/// What should be: a plain list that is searched.
#[derive(Debug, Default)]
struct Model {
    /// Rank, place, number and builder of those who wait.
    waiting: Vec<(Rank, Reverse<usize>, usize, u8)>,
    with_turn: Vec<usize>,
    sent_away: Vec<(usize, NoTurn)>,
}

impl Model {
    fn take(&mut self, number: usize, rank: Rank, builder: u8, parallel: usize, most_waiting: usize) {
        if self.with_turn.len() < parallel {
            self.with_turn.push(number);
            return;
        }
        let mut own: Vec<usize> =
            (0..self.waiting.len()).filter(|at| self.waiting[*at].3 == builder).collect();
        own.sort_by_key(|at| self.waiting[*at].2);
        let mut place = Reverse(number);
        if own.len() >= WAITING_OF_ONE {
            let gone = self.waiting.remove(own[0]);
            self.sent_away.push((gone.2, NoTurn::Superseded));
            place = gone.1;
        } else if self.waiting.len() >= most_waiting {
            let least = self.waiting.iter().min().copied();
            let Some(least) = least.filter(|least| least.0 < rank) else {
                self.sent_away.push((number, NoTurn::Full));
                return;
            };
            self.waiting.retain(|one| *one != least);
            self.sent_away.push((least.2, NoTurn::Full));
        }
        self.waiting.push((rank, place, number, builder));
    }

    fn finish(&mut self, number: usize) {
        self.with_turn.retain(|one| *one != number);
        if let Some(next) = self.waiting.iter().max().copied() {
            self.waiting.retain(|one| *one != next);
            self.with_turn.push(next.2);
        }
    }
}

proptest! {
    #[test]
    fn turns_go_by_rank_and_place_and_none_is_lost(
        steps in steps(), parallel in 1..4_usize, most_waiting in 0..6_usize,
    ) {
        let turns = Turns::new(parallel, most_waiting);
        let mut model = Model::default();
        let mut pending: BTreeMap<usize, Pending> = BTreeMap::new();
        let mut held: BTreeMap<usize, Turn> = BTreeMap::new();
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Take(rank, builder) => {
                    pending.insert(number, ask(&turns, of(rank, builder)));
                    model.take(number, rank, builder, parallel, most_waiting);
                }
                Step::Leave(which) if !pending.is_empty() => {
                    let number = *pending.keys().nth(which % pending.len()).unwrap();
                    pending.remove(&number);
                    model.waiting.retain(|one| one.2 != number);
                }
                Step::Finish(which) if !held.is_empty() => {
                    let number = *held.keys().nth(which % held.len()).unwrap();
                    held.remove(&number);
                    model.finish(number);
                }
                Step::Leave(_) | Step::Finish(_) => {}
            }
            let mut sent_away = Vec::new();
            let numbers: Vec<usize> = pending.keys().copied().collect();
            // The newest first: it is the one that was not asked yet.
            for number in numbers.into_iter().rev() {
                let Some(answer) = told(pending.get_mut(&number).unwrap()) else { continue };
                pending.remove(&number);
                match answer {
                    Ok(turn) => drop(held.insert(number, turn)),
                    Err(why) => sent_away.push((number, why)),
                }
            }
            let mut expected = std::mem::take(&mut model.sent_away);
            expected.sort_unstable_by_key(|(number, _)| Reverse(*number));
            prop_assert_eq!(sent_away, expected);
            model.with_turn.sort_unstable();
            prop_assert_eq!(held.keys().copied().collect::<Vec<_>>(), model.with_turn.clone());
            prop_assert_eq!(pending.len(), model.waiting.len());
            let state = turns.0.lock();
            prop_assert_eq!(state.waiting.len(), model.waiting.len());
            prop_assert_eq!(state.free + held.len(), parallel);
            prop_assert!(state.free == 0 || state.waiting.is_empty());
        }
    }
}
