//! The fold against a chain that is read again from its beginning each time.

#![allow(clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::unwrap_used)]

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, U256, keccak256};
use earnest_protocol::{
    BlsPublicKey, RollupId, Slot, Wei,
    objects::{Policy, RollupRegistration},
};
use proptest::prelude::*;

use super::*;

/// Seconds of a slot, and slots of an epoch.
const SLOT: u64 = 2;
const SLOTS: u64 = 4;
const GENESIS: u64 = 1_000;
const MINIMUM: u64 = 100;
const FRAUD_WINDOW: u64 = 6;
const DEPTH: usize = 6;
const EPOCHS: usize = 12;

fn rules() -> Rules {
    Rules {
        clock: SlotClock::new(GENESIS * 1_000, SLOT * 1_000, SLOTS).unwrap(),
        terms: Terms { min_collateral: U256::from(MINIMUM), fraud_window: FRAUD_WINDOW },
        depth: DEPTH,
        epochs: EPOCHS,
    }
}

fn genesis() -> BlockRef {
    BlockRef { number: 0, hash: B256::repeat_byte(0xee), parent: B256::ZERO, time: 5 }
}

fn root(number: u8) -> B256 {
    B256::repeat_byte(number)
}

fn address(number: u8) -> Address {
    Address::repeat_byte(number)
}

fn key(number: u8) -> BlsPublicKey {
    BlsPublicKey::repeat_byte(number)
}

fn registered(operator: u8, collateral: u64, keys: &[u8]) -> Event {
    Event::Registered {
        root: root(operator),
        owner: address(operator),
        collateral: U256::from(collateral),
        keys: keys.iter().map(|one| key(*one)).collect(),
    }
}

fn opted_in(operator: u8, committer: u8) -> Event {
    Event::OptedIn { root: root(operator), committer: address(committer) }
}

/// A chain that grows block by block; blocks of one history differ from those of another.
#[derive(Debug, Clone, Default)]
struct Chain {
    blocks: Vec<BlockEvents>,
    salt: u64,
}

impl Chain {
    fn tip(&self) -> BlockRef {
        self.blocks.last().map_or_else(genesis, |last| last.block)
    }

    /// The next block, `skipped` slots after the earliest it can be in.
    fn next(&mut self, skipped: u64, events: Vec<Event>) -> BlockEvents {
        let tip = self.tip();
        self.salt += 1;
        let hash = keccak256([tip.hash.0, B256::from(U256::from(self.salt)).0].concat());
        let time = tip.time.max(GENESIS - SLOT) + SLOT * (1 + skipped);
        let block = BlockRef { number: tip.number + 1, hash, parent: tip.hash, time };
        let next = BlockEvents { block, events };
        self.blocks.push(next.clone());
        next
    }

    fn epoch(time: u64) -> u64 {
        (time - GENESIS) / SLOT / SLOTS
    }

    /// The blocks up to the end of an epoch, if a later one shows that it is over.
    fn until_end_of(&self, epoch: u64) -> Option<&[BlockEvents]> {
        let later = self.blocks.iter().position(|one| Self::epoch(one.block.time) > epoch)?;
        Some(&self.blocks[..later])
    }
}

/// Keys with their operators and committers after some blocks, by looking at what happened and folding nothing.
fn looked_up(blocks: &[BlockEvents]) -> BTreeMap<BlsPublicKey, (B256, Address)> {
    let now = blocks.last().map_or(genesis().time, |last| last.block.time);
    let all: Vec<(u64, &Event)> =
        blocks.iter().flat_map(|one| one.events.iter().map(|event| (one.block.time, event))).collect();
    let mut keys = BTreeMap::new();
    let mut seen = Vec::new();
    for (at, (time, event)) in all.iter().enumerate() {
        let Event::Registered { root, collateral, keys: of_operator, .. } = event else { continue };
        if seen.contains(&root) {
            continue;
        }
        seen.push(root);
        let after = || all[at..].iter().map(|(_, event)| *event);
        let gone = after().any(|event| {
            matches!(event, Event::Unregistered { root: it } | Event::Slashed { root: it, .. } if it == root)
        });
        let paid = after()
            .filter_map(|event| match event {
                Event::CollateralAdded { root: it, collateral } if it == root => Some(*collateral),
                Event::CollateralClaimed { root: it } if it == root => Some(U256::ZERO),
                _ => None,
            })
            .next_back()
            .unwrap_or(*collateral);
        let committer = after()
            .filter_map(|event| match event {
                Event::OptedIn { root: it, committer } if it == root => Some(Some(*committer)),
                Event::OptedOut { root: it } if it == root => Some(None),
                _ => None,
            })
            .next_back()
            .flatten();
        if let Some(committer) = committer
            && !gone
            && paid >= U256::from(MINIMUM)
            && now >= time + FRAUD_WINDOW
        {
            for key in of_operator.iter() {
                keys.entry(*key).or_insert((*root, committer));
            }
        }
    }
    keys
}

fn members(set: &OptedIn) -> BTreeMap<BlsPublicKey, (B256, Address)> {
    set.keys().map(|key| (*key, set.operator_of(key).map(|it| (it.root, it.committer)).unwrap())).collect()
}

fn refolded(blocks: &[BlockEvents]) -> State {
    let mut state = State::default();
    for one in blocks {
        one.events.iter().for_each(|event| state.apply(event, one.block.time));
    }
    state
}

fn same(history: &History, chain: &Chain) {
    assert_eq!(history.tip(), chain.tip());
    assert_eq!(**history.state(), refolded(&chain.blocks));
    let epoch = chain.blocks.last().map_or(0, |last| Chain::epoch(last.block.time));
    for known in 0..epoch + 2 {
        let expected = chain.until_end_of(known);
        match history.at_end_of(Epoch(known)) {
            Some(found) => {
                let blocks = expected.unwrap();
                assert_eq!(found.at, blocks.last().map_or_else(genesis, |last| last.block));
                assert_eq!(members(&found), looked_up(blocks), "at the end of epoch {known}");
            }
            None => assert!(expected.is_none() || known + EPOCHS as u64 <= epoch + DEPTH as u64),
        }
    }
}

#[test]
fn an_operator_counts_from_the_end_of_the_fraud_window_until_it_leaves() {
    let (mut chain, mut history) = (Chain::default(), History::new(rules(), genesis(), State::default()));
    let mut at_end = |skipped: u64, events: Vec<Event>| {
        history.apply(chain.next(skipped, events)).unwrap();
        let epoch = Chain::epoch(chain.tip().time);
        let set = history.at_end_of(Epoch(epoch.checked_sub(1)?))?;
        Some(set.contains(&key(1)))
    };
    assert_eq!(at_end(0, vec![registered(1, MINIMUM, &[1])]), None, "epoch 0 runs");
    assert_eq!(at_end(0, vec![opted_in(1, 9)]), None);
    // Slot 4: epoch 0 ended with the block of slot 1, two seconds after the registration.
    assert_eq!(at_end(2, vec![]), Some(false), "the fraud window ran");
    assert_eq!(at_end(3, vec![]), Some(true));
    assert_eq!(at_end(0, vec![Event::Slashed { root: root(1), amount: U256::from(1) }]), Some(true));
    assert_eq!(at_end(3, vec![]), Some(false), "slashed in the epoch that ended");
}

#[test]
fn what_makes_an_operator_not_count() {
    let with = |events: &[Event]| {
        let mut state = State::default();
        for event in [registered(1, MINIMUM, &[1]), opted_in(1, 9)].iter().chain(events) {
            state.apply(event, GENESIS);
        }
        let at = BlockRef { time: GENESIS + FRAUD_WINDOW, ..genesis() };
        state.opted_in(at, &rules().terms).contains(&key(1))
    };
    assert!(with(&[]));
    assert!(!with(&[Event::Unregistered { root: root(1) }]));
    assert!(!with(&[Event::OptedOut { root: root(1) }]));
    assert!(with(&[Event::OptedOut { root: root(1) }, opted_in(1, 8)]));
    assert!(!with(&[Event::Slashed { root: root(1), amount: U256::ZERO }]));
    assert!(!with(&[Event::CollateralAdded { root: root(1), collateral: U256::from(MINIMUM - 1) }]));
    assert!(!with(&[Event::CollateralClaimed { root: root(1) }]));
}

#[test]
fn of_two_operators_with_a_key_the_first_that_counts_has_it() {
    let mut state = State::default();
    for event in [registered(2, MINIMUM, &[1, 2]), registered(1, MINIMUM, &[1, 3]), opted_in(1, 9)] {
        state.apply(&event, GENESIS);
    }
    let at = BlockRef { time: GENESIS + FRAUD_WINDOW, ..genesis() };
    let of = |state: &State, number| {
        state.opted_in(at, &rules().terms).operator_of(&key(number)).map(|it| it.root)
    };
    assert_eq!(of(&state, 1), Some(root(1)), "the first one has not opted in");
    state.apply(&opted_in(2, 8), GENESIS);
    assert_eq!((of(&state, 1), of(&state, 2), of(&state, 3)), (Some(root(2)), Some(root(2)), Some(root(1))));
    assert_eq!(state.operator_of(&address(9)), Some(root(1)));
}

#[test]
fn escrow_rollups_and_settlements() {
    let mut state = State::default();
    let (account, relay) = (address(1), address(2));
    let deposit =
        |amount: u64| Event::Escrow { account, relay, amount: U256::from(amount), withdrawn: false };
    let ask =
        |amount: u64| Event::WithdrawalRequested { account, relay, amount: U256::from(amount), ready_at: 50 };
    let settled = |slot: u64| Event::BidSettled {
        bid: root(7),
        account,
        relay,
        slot: Slot(slot),
        amount: U256::from(30),
    };
    state.apply(&deposit(100), 1);
    state.apply(&ask(40), 2);
    state.apply(&settled(9), 3);
    let escrow = state.escrow(account, relay);
    assert_eq!((escrow.amount, escrow.withdrawal), (U256::from(70), Some((U256::from(40), 50))));
    assert!(state.is_settled(Slot(9), &root(7)) && !state.is_settled(Slot(8), &root(7)));
    state.apply(&ask(0), 4);
    assert_eq!(state.escrow(account, relay).withdrawal, None);
    state.apply(&ask(70), 4);
    state.apply(&Event::Escrow { account, relay, amount: U256::ZERO, withdrawn: true }, 5);
    assert_eq!(state.escrow(account, relay), Default::default());
    state.apply(&settled(9 + (1 << 16)), 6);
    assert!(state.is_settled(Slot(9), &root(7)));
    state.apply(&settled(10 + (1 << 16)), 6);
    assert!(!state.is_settled(Slot(9), &root(7)), "long past");

    let rollup = RollupId(5);
    let terms = |reserve: u64| Some(Box::new(registration(reserve)));
    state.apply(&Event::RollupOwner { rollup, owner: account }, 1);
    state.apply(&Event::RollupUpdated { rollup, from: Slot(10), terms: terms(1) }, 1);
    state.apply(&Event::RollupUpdated { rollup, from: Slot(20), terms: terms(2) }, 1);
    state.apply(&Event::RollupUpdated { rollup, from: Slot(20), terms: terms(3) }, 1);
    state.apply(&Event::RollupUpdated { rollup, from: Slot(30), terms: None }, 1);
    let at = |slot| state.rollup(rollup).unwrap().terms_at(Slot(slot)).map(|it| it.reserve_wei.0.to::<u64>());
    assert_eq!([9, 10, 19, 20, 29, 30].map(at), [None, Some(1), Some(1), Some(3), Some(3), None]);
    assert_eq!(state.rollup(rollup).unwrap().owner, account);
}

fn registration(reserve: u64) -> RollupRegistration {
    RollupRegistration {
        rollup_id: RollupId(5),
        reserve_wei: Wei(U256::from(reserve)),
        reserve_committer: address(1),
        revenue_recipient: address(2),
        inclusion_share_bps: 1,
        max_batch_bytes: 2,
        max_tx_gas: 3,
        policy: Policy::Fcfs,
        required_level: 0,
        opaque: false,
        active: true,
        relay: address(3),
        uri: String::new(),
    }
}

#[test]
fn blocks_that_do_not_fit_change_nothing() {
    let (mut chain, mut history) = (Chain::default(), History::new(rules(), genesis(), State::default()));
    for _ in 0..DEPTH + 3 {
        history.apply(chain.next(0, vec![])).unwrap();
    }
    let mut other = chain.clone();
    let (first, second) = (other.next(0, vec![registered(1, 1, &[1])]), other.next(0, vec![]));
    assert_eq!(history.apply(second), Err(Misfit::NotNext), "one was left out");
    let number = BlockEvents { block: BlockRef { number: 99, ..first.block }, ..first };
    assert_eq!(history.apply(number), Err(Misfit::NotNext));
    assert_eq!(history.undo_to(2), Err(Misfit::TooDeep));
    assert_eq!(history.undo_to(chain.tip().number), Ok(0));
    assert_eq!(history.undo_to(chain.tip().number + 5), Ok(0));
    same(&history, &chain);
    assert_eq!(history.block(3).map(|it| it.hash), Some(chain.blocks[2].block.hash), "the base");
    assert_eq!((history.block(2), history.block(10)), (None, None));
}

#[test]
fn old_blocks_are_skipped_over_and_what_comes_after_is_the_same() {
    let mut chain = Chain::default();
    for number in 0..20 {
        let events = match number {
            3 => vec![registered(1, MINIMUM, &[1])],
            7 => vec![opted_in(1, 9)],
            _ => vec![],
        };
        chain.next(0, events);
    }
    let mut history = History::new(rules(), genesis(), State::default());
    let with_events = |range: std::ops::Range<usize>| -> Vec<BlockEvents> {
        chain.blocks[range].iter().filter(|one| !one.events.is_empty()).cloned().collect()
    };
    let backwards: Vec<_> = with_events(0..10).into_iter().rev().collect();
    assert_eq!(history.skip(&backwards, chain.blocks[9].block), Err(Misfit::NotNext));
    assert_eq!(history.skip(&with_events(0..10), chain.blocks[4].block), Err(Misfit::NotNext));
    history.skip(&with_events(0..6), chain.blocks[5].block).unwrap();
    history.skip(&with_events(6..10), chain.blocks[9].block).unwrap();
    assert_eq!(history.undo_to(9), Err(Misfit::TooDeep));
    for block in &chain.blocks[10..] {
        history.apply(block.clone()).unwrap();
    }
    let last = Chain::epoch(chain.tip().time) - 1;
    let found = history.at_end_of(Epoch(last)).unwrap();
    assert_eq!(members(&found), looked_up(chain.until_end_of(last).unwrap()));
    assert_eq!(**history.state(), refolded(&chain.blocks));
}

#[test]
fn a_timestamp_far_ahead_makes_no_work_without_end() {
    let (mut chain, mut history) = (Chain::default(), History::new(rules(), genesis(), State::default()));
    history.apply(chain.next(0, vec![])).unwrap();
    history.apply(chain.next(u64::MAX / 8, vec![])).unwrap();
    assert_eq!(history.decided().len(), EPOCHS);
}

fn event() -> impl Strategy<Value = Event> {
    let operator = 1u8..4;
    prop_oneof![
        3 => (operator.clone(), 90u64..120, prop::collection::vec(1u8..5, 0..3))
            .prop_map(|(operator, collateral, keys)| registered(operator, collateral, &keys)),
        4 => (operator.clone(), 7u8..10).prop_map(|(operator, committer)| opted_in(operator, committer)),
        1 => operator.clone().prop_map(|it| Event::OptedOut { root: root(it) }),
        1 => operator.clone().prop_map(|it| Event::Unregistered { root: root(it) }),
        1 => operator.clone().prop_map(|it| Event::CollateralClaimed { root: root(it) }),
        1 => (operator.clone(), 0u64..9).prop_map(|(it, amount)| Event::Slashed { root: root(it), amount: U256::from(amount) }),
        2 => (operator.clone(), 90u64..120)
            .prop_map(|(it, collateral)| Event::CollateralAdded { root: root(it), collateral: U256::from(collateral) }),
        1 => (operator, 1u8..4).prop_map(|(it, relay)| Event::RelayNamed { root: root(it), relay: address(relay) }),
    ]
}

#[derive(Debug, Clone)]
enum Step {
    Extend(u64, Vec<Event>),
    Reorganise(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0u64..4, prop::collection::vec(event(), 0..3)).prop_map(|(skipped, events)| Step::Extend(skipped, events)),
        1 => (1usize..9).prop_map(Step::Reorganise),
    ]
}

proptest! {
    #[test]
    fn any_chain_with_reorganisations_is_as_if_read_from_its_beginning(steps in prop::collection::vec(step(), 1..60)) {
        let mut chain = Chain::default();
        let mut history = History::new(rules(), genesis(), State::default());
        for step in steps {
            match step {
                Step::Extend(skipped, events) => {
                    let next = chain.next(skipped, events);
                    history.apply(next).unwrap();
                }
                Step::Reorganise(blocks) => {
                    let keep = chain.blocks.len().saturating_sub(blocks);
                    let (base, _) = history.base();
                    match history.undo_to(keep as u64) {
                        Ok(undone) => {
                            prop_assert_eq!(undone, chain.blocks.len() - keep);
                            chain.blocks.truncate(keep);
                        }
                        Err(misfit) => {
                            prop_assert_eq!(misfit, Misfit::TooDeep);
                            prop_assert!((keep as u64) < base.number);
                        }
                    }
                }
            }
            same(&history, &chain);
        }
    }
}
