use alloy_primitives::Bytes;
use earnest_builder_types::proofs::{TransactionTree, transactions_root};
use proptest::prelude::*;

use super::*;

fn offer(value: u64) -> Offer<u64> {
    Offer { value: U256::from(value), block_hash: B256::from(U256::from(value)), answer: value }
}

fn plain(source: SourceIndex, value: u64) -> Event<u64> {
    Event::Plain(source, Reply::Offer(offer(value)))
}

fn block() -> Vec<Bytes> {
    (0u8..5).map(|byte| Bytes::from(vec![0x02, byte, byte])).collect()
}

fn held(positions: &[usize]) -> Vec<Held> {
    positions.iter().map(|position| Held::new(block()[*position].clone())).collect()
}

fn proven(value: u64, positions: &[usize]) -> ProvenOffer<u64> {
    let block = block();
    let tree = TransactionTree::new(&block).unwrap();
    let proven = positions
        .iter()
        .map(|position| ProvenTransaction {
            transaction: block[*position].clone(),
            proof: tree.prove(*position).unwrap(),
        })
        .collect();
    ProvenOffer { offer: offer(value), transactions_root: transactions_root(&block), proven }
}

fn served(decision: &Decision<u64>) -> Option<(SourceIndex, u64)> {
    match decision {
        Decision::Serve { source, offer, .. } => Some((*source, offer.answer)),
        _ => None,
    }
}

#[test]
fn the_best_of_all_sources_once_all_have_answered() {
    let mut round = HeaderRound::unconstrained(&[0, 1, 2]);
    assert_eq!(round.take(plain(0, 5)), Decision::Wait);
    assert_eq!(round.take(plain(1, 9)), Decision::Wait);
    assert_eq!(served(&round.take(Event::Plain(2, Reply::Fault(Fault::Refused(500))))), Some((1, 9)));
    assert_eq!(round.faults(), [(2, Fault::Refused(500))]);
}

#[test]
fn the_deadline_serves_what_there_is() {
    let mut round = HeaderRound::unconstrained(&[0, 1]);
    assert_eq!(round.take(plain(1, 3)), Decision::Wait);
    assert_eq!(served(&round.take(Event::Deadline)), Some((1, 3)));
    let mut round = HeaderRound::<u64>::unconstrained(&[0]);
    assert_eq!(round.take(Event::Deadline), Decision::Nothing(NoHeader::NoOffer));
}

#[test]
fn equal_values_go_to_the_first_source_and_worthless_bids_to_nobody() {
    let mut round = HeaderRound::unconstrained(&[0, 1]);
    round.take(plain(1, 7));
    assert_eq!(served(&round.take(plain(0, 7))), Some((0, 7)));
    let mut round = HeaderRound::unconstrained(&[0]);
    assert_eq!(round.take(plain(0, 0)), Decision::Nothing(NoHeader::NoOffer));
}

#[test]
fn a_bid_below_the_least_that_is_taken_is_no_bid_proven_or_not() {
    let least = U256::from(6);
    let mut round = HeaderRound::unconstrained(&[0, 1]).with_min_bid(least);
    round.take(plain(0, 5));
    assert_eq!(served(&round.take(plain(1, 6))), Some((1, 6)));
    assert_eq!(round.faults(), [(0, Fault::BelowMinBid(U256::from(5)))]);
    for (value, expected) in [(5, None), (6, Some((0, 6)))] {
        let mut round = HeaderRound::constrained(&[], &[0]).with_min_bid(least);
        round.take(Event::Constraints(0, Ok(held(&[1]))));
        assert_eq!(served(&round.take(Event::Proven(0, Reply::Offer(proven(value, &[1]))))), expected);
    }
}

#[test]
fn a_constrained_slot_without_anyone_to_ask_gets_nothing() {
    let mut round = HeaderRound::constrained(&[0], &[]);
    assert_eq!(round.take(plain(0, 9)), Decision::Nothing(NoHeader::RelayGone));
}

#[test]
fn a_source_speaks_once() {
    let mut round = HeaderRound::unconstrained(&[0, 1]);
    round.take(plain(0, 1));
    assert_eq!(round.take(plain(0, 100)), Decision::Wait);
    assert_eq!(served(&round.take(plain(1, 2))), Some((1, 2)));
}

#[test]
fn a_higher_bid_without_proof_never_wins_a_constrained_slot() {
    let mut round = HeaderRound::constrained(&[0, 1], &[0]);
    assert_eq!(round.take(plain(1, 1_000_000)), Decision::Wait);
    assert_eq!(round.take(plain(0, 5)), Decision::Wait);
    assert_eq!(round.take(Event::Constraints(0, Ok(held(&[2])))), Decision::Wait);
    let decision = round.take(Event::Proven(0, Reply::Offer(proven(5, &[2]))));
    assert!(matches!(decision, Decision::Serve { source: 0, kept: 1, .. }), "{decision:?}");
}

#[test]
fn constraints_that_are_not_known_end_in_nothing() {
    for fault in
        [Fault::Late, Fault::Refused(500), Fault::Garbage("x".into()), Fault::Unreachable("y".into())]
    {
        let mut round = HeaderRound::constrained(&[0, 1], &[0]);
        round.take(plain(1, 9));
        assert_eq!(
            round.take(Event::Constraints(0, Err(fault.clone()))),
            Decision::Nothing(NoHeader::ConstraintsUnavailable(0, fault))
        );
    }
    let mut round = HeaderRound::constrained(&[0, 1], &[0]);
    round.take(plain(0, 9));
    round.take(Event::Proven(0, Reply::Offer(proven(5, &[2]))));
    assert_eq!(
        round.take(Event::Deadline),
        Decision::Nothing(NoHeader::ConstraintsUnavailable(0, Fault::Late))
    );
}

#[test]
fn a_constrained_slot_without_constraints_passes_through() {
    for last in [Reply::Nothing, Reply::Offer(proven(4, &[])), Reply::Fault(Fault::Late)] {
        let mut round = HeaderRound::constrained(&[0, 1], &[0]);
        round.take(Event::Constraints(0, Ok(Vec::new())));
        round.take(plain(0, 4));
        assert_eq!(round.take(plain(1, 6)), Decision::Wait);
        assert_eq!(served(&round.take(Event::Proven(0, last))), Some((1, 6)));
    }
    let mut round = HeaderRound::constrained(&[0, 1], &[0]);
    round.take(Event::Constraints(0, Ok(Vec::new())));
    round.take(plain(1, 6));
    assert_eq!(served(&round.take(Event::Deadline)), Some((1, 6)));
}

#[test]
fn constraints_that_only_the_proofs_show_are_kept_too() {
    let mut round = HeaderRound::constrained(&[0, 1], &[0]);
    round.take(Event::Constraints(0, Ok(Vec::new())));
    round.take(plain(1, 6));
    let decision = round.take(Event::Proven(0, Reply::Offer(proven(4, &[2]))));
    assert!(matches!(decision, Decision::Serve { source: 0, kept: 1, .. }), "{decision:?}");
}

#[test]
fn a_swapped_node_a_missing_proof_and_another_transaction_are_refused() {
    let good = proven(5, &[1, 3]);
    let mut swapped = good.clone();
    swapped.proven[0].proof.proof[4] = B256::repeat_byte(7);
    let mut missing = good.clone();
    missing.proven.pop();
    let mut moved = good.clone();
    moved.proven[0].proof.index = 2;
    let mut other = good.clone();
    other.proven[1].transaction = Bytes::from_static(&[2, 9, 9]);
    let mut root = good.clone();
    root.transactions_root = B256::ZERO;
    for bad in [swapped, missing, moved, other, root] {
        let mut round = HeaderRound::constrained(&[0], &[0]);
        round.take(Event::Constraints(0, Ok(held(&[1, 3]))));
        assert_eq!(
            round.take(Event::Proven(0, Reply::Offer(bad))),
            Decision::Nothing(NoHeader::NoProvenOffer(2))
        );
        assert!(matches!(round.faults(), [(0, Fault::Proof(_))]));
    }
    let mut round = HeaderRound::constrained(&[0], &[0]);
    round.take(Event::Constraints(0, Ok(held(&[1, 3]))));
    assert_eq!(served(&round.take(Event::Proven(0, Reply::Offer(good)))), Some((0, 5)));
}

#[test]
fn constraints_of_all_earnest_relays_count_together() {
    let mut round = HeaderRound::constrained(&[0, 1], &[0, 1]);
    round.take(Event::Constraints(0, Ok(held(&[1]))));
    round.take(Event::Constraints(1, Ok(held(&[3]))));
    round.take(Event::Proven(0, Reply::Offer(proven(100, &[1]))));
    let decision = round.take(Event::Proven(1, Reply::Offer(proven(5, &[1, 3]))));
    assert_eq!(served(&decision), Some((1, 5)));
}

#[test]
fn what_several_relays_hold_counts_once() {
    let mut round = HeaderRound::constrained(&[0, 1], &[0, 1]);
    round.take(Event::Constraints(0, Ok(held(&[1, 3]))));
    round.take(Event::Constraints(1, Ok(held(&[3]))));
    round.take(Event::Proven(0, Reply::Nothing));
    let decision = round.take(Event::Proven(1, Reply::Offer(proven(5, &[1, 3]))));
    assert!(matches!(decision, Decision::Serve { source: 1, kept: 2, .. }), "{decision:?}");
}

fn events() -> impl Strategy<Value = Vec<Event<u64>>> {
    let reply = |source: SourceIndex| {
        prop_oneof![
            (1u64..9).prop_map(move |value| Event::Plain(source, Reply::Offer(offer(value)))),
            Just(Event::Plain(source, Reply::Nothing)),
            Just(Event::Plain(source, Reply::Fault(Fault::Refused(500)))),
            (1u64..9, proptest::sample::subsequence(vec![0usize, 1, 2], 0..=3))
                .prop_map(move |(value, at)| Event::Proven(source, Reply::Offer(proven(value, &at)))),
            Just(Event::Proven(source, Reply::Fault(Fault::Late))),
            proptest::sample::subsequence(vec![0usize, 1, 2], 0..=3)
                .prop_map(move |at| Event::Constraints(source, Ok(held(&at)))),
            Just(Event::Constraints(source, Err(Fault::Late))),
        ]
    };
    proptest::collection::vec((0usize..2).prop_flat_map(reply), 0..12)
}

proptest! {
    /// Whatever sources say and in whatever order: a constrained slot is served a plain bid only if no relay said or
    /// showed that it holds anything, and a proven one only if it shows everything held.
    #[test]
    fn a_promise_is_never_broken_by_what_sources_say(events in events()) {
        let mut round = HeaderRound::constrained(&[0, 1], &[0, 1]);
        let mut said: [Option<Vec<Held>>; 2] = [None, None];
        let mut shown: [Option<Option<ProvenOffer<u64>>>; 2] = [None, None];
        for event in events.into_iter().chain([Event::Deadline]) {
            match &event {
                Event::Constraints(source, Ok(held)) => { said[*source].get_or_insert_with(|| held.clone()); }
                Event::Proven(source, Reply::Offer(offer)) => {
                    shown[*source].get_or_insert_with(|| Some(offer.clone()));
                }
                Event::Proven(source, _) => { shown[*source].get_or_insert(None); }
                _ => {}
            }
            match round.take(event) {
                Decision::Wait => continue,
                Decision::Nothing(_) => {}
                Decision::Serve { source, offer, kept } => {
                    prop_assert!(said.iter().all(Option::is_some));
                    let mut held: Vec<Held> = said.iter().flatten().flatten().cloned().collect();
                    if held.is_empty() {
                        let hidden = shown.iter().flatten().flatten().flat_map(|offer| &offer.proven);
                        held.extend(hidden.map(|proven| Held::new(proven.transaction.clone())));
                    }
                    let distinct: std::collections::HashSet<_> = held.iter().collect();
                    prop_assert_eq!(kept, distinct.len());
                    if !held.is_empty() {
                        let by = shown[source].clone().flatten();
                        let by = by.filter(|by| by.offer == offer);
                        let all = by.is_some_and(|by| {
                            let mut accounts = Accounts::default();
                            proof_check::all_held(&held, &by.proven, by.transactions_root, &mut accounts).is_ok()
                        });
                        prop_assert!(all);
                    }
                }
            }
            break;
        }
    }
}
