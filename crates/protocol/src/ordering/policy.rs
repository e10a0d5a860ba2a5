//! Order within a microblock (design §4).

use crate::{objects::Policy, tx::ValidatedTx};
use alloy_primitives::Address;
use std::{
    borrow::Borrow,
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
};

/// Puts transactions, given in order of arrival, into the policy's order.
#[must_use]
pub fn order<T: Borrow<ValidatedTx>>(policy: Policy, arrived: Vec<T>) -> Vec<T> {
    match policy {
        Policy::Fcfs => arrived,
        Policy::PriorityFee => by_priority_fee(arrived),
    }
}

/// Whether transactions stand in an order that the policy allows. Arrival is not known here, so `fcfs` allows
/// all, and `priority_fee` any order of equal fees.
#[must_use]
pub fn keeps_policy<T: Borrow<ValidatedTx>>(policy: Policy, txs: &[T]) -> bool {
    match policy {
        Policy::Fcfs => true,
        Policy::PriorityFee => {
            let sorted = by_priority_fee(txs.iter().map(Borrow::borrow).collect());
            sorted.iter().zip(txs).all(|(sorted, tx)| sorted.hash == tx.borrow().hash)
        }
    }
}

/// Each sender's transactions by nonce; of all senders' next ones, the highest fee first, ties by arrival.
fn by_priority_fee<T: Borrow<ValidatedTx>>(arrived: Vec<T>) -> Vec<T> {
    let mut senders: HashMap<Address, BinaryHeap<Reverse<(u64, usize)>>> = HashMap::new();
    for (arrival, tx) in arrived.iter().enumerate() {
        let tx = tx.borrow();
        senders.entry(tx.sender).or_default().push(Reverse((tx.nonce, arrival)));
    }
    let mut slots: Vec<Option<T>> = arrived.into_iter().map(Some).collect();
    let fee_of = |slots: &[Option<T>], arrival: usize| {
        slots.get(arrival).and_then(Option::as_ref).map_or(0, |tx| tx.borrow().max_priority_fee)
    };
    let mut heads = BinaryHeap::new();
    for (sender, queue) in &mut senders {
        if let Some(Reverse((_, arrival))) = queue.pop() {
            heads.push((fee_of(&slots, arrival), Reverse(arrival), *sender));
        }
    }
    let mut ordered = Vec::with_capacity(slots.len());
    while let Some((_, Reverse(arrival), sender)) = heads.pop() {
        ordered.extend(slots.get_mut(arrival).and_then(Option::take));
        if let Some(Reverse((_, next))) = senders.get_mut(&sender).and_then(BinaryHeap::pop) {
            heads.push((fee_of(&slots, next), Reverse(next), sender));
        }
    }
    ordered
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use alloy_primitives::{B256, Bytes, U256};
    use proptest::prelude::*;

    fn tx(id: u8, sender: u8, nonce: u64, fee: u128) -> ValidatedTx {
        ValidatedTx {
            hash: B256::with_last_byte(id),
            sender: Address::with_last_byte(sender),
            nonce,
            gas_limit: 21_000,
            max_fee: fee,
            max_priority_fee: fee,
            value: U256::ZERO,
            raw: Bytes::new(),
        }
    }

    fn ids(txs: &[ValidatedTx]) -> Vec<u8> {
        txs.iter().map(|tx| tx.hash[31]).collect()
    }

    #[test]
    fn highest_fee_first_nonces_kept_ties_by_arrival() {
        let arrived = vec![tx(0, 1, 5, 1), tx(1, 2, 0, 3), tx(2, 1, 4, 2), tx(3, 3, 0, 3), tx(4, 1, 6, 9)];
        // Sender 1 must go 4, 5, 6: its fee of 9 waits for 2 and 1.
        assert_eq!(ids(&order(Policy::PriorityFee, arrived.clone())), [1, 3, 2, 0, 4]);
        assert_eq!(ids(&order(Policy::Fcfs, arrived)), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn opaque_transactions_keep_their_arrival() {
        let arrived: Vec<_> = (0..5).map(|id| tx(id, 0, 0, 0)).collect();
        assert_eq!(ids(&order(Policy::PriorityFee, arrived)), [0, 1, 2, 3, 4]);
    }

    proptest! {
        #[test]
        fn order_is_a_permutation_that_keeps_the_policy(
            raw in proptest::collection::vec((0u8..4, 0u64..6, 0u128..5), 0..40)
        ) {
            let arrived: Vec<_> = raw.iter().enumerate()
                .map(|(i, (sender, nonce, fee))| tx(u8::try_from(i).unwrap(), *sender, *nonce, *fee)).collect();
            let ordered = order(Policy::PriorityFee, arrived.clone());
            let mut sorted = ids(&ordered);
            sorted.sort_unstable();
            prop_assert_eq!(sorted, ids(&arrived));
            prop_assert!(keeps_policy(Policy::PriorityFee, &ordered));
            for sender in 0..4 {
                let nonces: Vec<_> = ordered.iter()
                    .filter(|tx| tx.sender == Address::with_last_byte(sender)).map(|tx| tx.nonce).collect();
                prop_assert!(nonces.is_sorted());
            }
        }

        #[test]
        fn a_swap_of_unequal_fees_is_seen(low in 0u128..100, more in 1u128..100) {
            let txs = [tx(0, 1, 0, low), tx(1, 2, 0, low + more)];
            prop_assert!(!keeps_policy(Policy::PriorityFee, &txs));
        }
    }
}
