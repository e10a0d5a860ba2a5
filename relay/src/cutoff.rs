//! What of a slot's constraints can still be included, told from the parent's state (design §5). Pure.

use crate::held::Required;
use alloy_primitives::{Address, U256};
use std::collections::{HashMap, HashSet};

/// An account in the parent's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Account {
    /// Its next nonce.
    pub(crate) nonce: u64,
    /// Its next nonce if everything in the execution client's pool is included.
    pub(crate) pending_nonce: u64,
    /// Wei.
    pub(crate) balance: U256,
}

/// What the slot's block stands on.
#[derive(Debug, Clone)]
pub(crate) struct Parent {
    /// Base fee of the block to come, wei.
    pub(crate) base_fee: u64,
    /// Gas that the block to come may use; the parent's limit.
    pub(crate) gas_limit: u64,
    /// The senders of the constraints.
    pub(crate) accounts: HashMap<Address, Account>,
}

/// Why a transaction cannot be in the block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Cause {
    #[error("its nonce is used")]
    NonceUsed,
    #[error("transactions before it are neither constraints nor known to the pool")]
    NonceGap,
    #[error("its sender cannot pay for it")]
    Balance,
    #[error("it pays less than the base fee")]
    BaseFee,
    #[error("the constraints before it fill the block")]
    BlockGas,
}

/// Judges messages in the order they came, each by all of its transactions: none for one that can be kept whole, else
/// what keeps it out. A message that is kept out takes nothing from those behind it. One that waits for a nonce is judged again
/// once a later one has filled it: a sender's messages may come in any order. Senders that `parent` does not name are not judged.
pub(crate) fn judge(messages: &[&[Required]], parent: &Parent) -> Vec<Option<Cause>> {
    let mut block = Block::of(parent);
    let mut verdicts: Vec<_> = messages.iter().map(|message| block.admit(message).err()).collect();
    loop {
        let mut filled = false;
        // Backwards, as they wait for what came behind them.
        for (message, verdict) in messages.iter().zip(&mut verdicts).rev() {
            if *verdict == Some(Cause::NonceGap) {
                *verdict = block.admit(message).err();
                filled |= verdict.is_none();
            }
        }
        if !filled {
            return verdicts;
        }
    }
}

/// The block as far as it is filled with constraints.
#[derive(Clone)]
struct Block<'a> {
    parent: &'a Parent,
    /// By sender: what it has left, and the nonce up to which constraints, or the pool before one, fill the block.
    left: HashMap<Address, (U256, u64)>,
    /// Places in it that are taken: a second transaction of a sender and nonce is kept by the first.
    taken: HashSet<(Address, u64)>,
    gas_left: u64,
}

impl<'a> Block<'a> {
    fn of(parent: &'a Parent) -> Self {
        let accounts = parent.accounts.iter();
        let left = accounts.map(|(sender, account)| (*sender, (account.balance, account.nonce))).collect();
        Self { parent, left, taken: HashSet::new(), gas_left: parent.gas_limit }
    }

    fn admit(&mut self, message: &[Required]) -> Result<(), Cause> {
        if let [required] = message {
            return self.add(required);
        }
        let mut next = self.clone();
        for required in message {
            next.add(required)?;
        }
        *self = next;
        Ok(())
    }

    /// Changes nothing if it fails.
    fn add(&mut self, required: &Required) -> Result<(), Cause> {
        let place = (required.sender, required.nonce);
        if self.taken.contains(&place) {
            return Ok(());
        }
        if required.max_fee_per_gas < u128::from(self.parent.base_fee) {
            return Err(Cause::BaseFee);
        }
        let gas_left = self.gas_left.checked_sub(required.gas_limit).ok_or(Cause::BlockGas)?;
        if let Some(account) = self.parent.accounts.get(&required.sender)
            && let Some((balance, filled)) = self.left.get_mut(&required.sender)
        {
            if required.nonce < account.nonce {
                return Err(Cause::NonceUsed);
            }
            if required.nonce > *filled && required.nonce > account.pending_nonce {
                return Err(Cause::NonceGap);
            }
            *balance = balance.checked_sub(required.most_wei()).ok_or(Cause::Balance)?;
            *filled = required.nonce.saturating_add(1).max(*filled);
        }
        self.taken.insert(place);
        self.gas_left = gas_left;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{SENDER_GAS, SENDER_MAX_FEE, sender, tx};
    use proptest::prelude::*;

    fn required(by: u8, nonce: u64, value: u64) -> Required {
        Required::new(tx(by, nonce, value), 1337).unwrap()
    }

    fn cost(transactions: u64) -> U256 {
        U256::from(SENDER_GAS) * U256::from(SENDER_MAX_FEE) * U256::from(transactions)
    }

    fn parent(accounts: &[(u8, u64, u64, U256)]) -> Parent {
        let accounts = accounts.iter().map(|(by, nonce, pending_nonce, balance)| {
            (sender(*by), Account { nonce: *nonce, pending_nonce: *pending_nonce, balance: *balance })
        });
        Parent { base_fee: 7, gas_limit: 30_000_000, accounts: accounts.collect() }
    }

    #[test]
    fn by_table() {
        let rich = U256::MAX;
        let fee = u64::try_from(SENDER_MAX_FEE).unwrap();
        type Case = (&'static str, Vec<Vec<Required>>, Parent, Vec<Option<Cause>>);
        let cases: Vec<Case> = vec![
            ("next", vec![vec![required(1, 4, 0)]], parent(&[(1, 4, 4, rich)]), vec![None]),
            ("used", vec![vec![required(1, 3, 0)]], parent(&[(1, 4, 4, rich)]), vec![Some(Cause::NonceUsed)]),
            ("gap", vec![vec![required(1, 5, 0)]], parent(&[(1, 4, 4, rich)]), vec![Some(Cause::NonceGap)]),
            ("filled by the pool", vec![vec![required(1, 5, 0)]], parent(&[(1, 4, 5, rich)]), vec![None]),
            (
                "filled by a constraint",
                vec![vec![required(1, 4, 0)], vec![required(1, 5, 0)]],
                parent(&[(1, 4, 4, rich)]),
                vec![None, None],
            ),
            (
                "one message in order",
                vec![vec![required(1, 4, 0), required(1, 5, 0)]],
                parent(&[(1, 4, 4, rich)]),
                vec![None],
            ),
            (
                "the other way round, both in the pool",
                vec![vec![required(1, 5, 0)], vec![required(1, 4, 0)]],
                parent(&[(1, 4, 6, rich)]),
                vec![None, None],
            ),
            (
                "in any order",
                vec![vec![required(1, 6, 0)], vec![required(1, 4, 0)], vec![required(1, 5, 0)]],
                parent(&[(1, 4, 4, rich)]),
                vec![None, None, None],
            ),
            (
                "messages of two senders that wait for each other's nonces",
                vec![
                    vec![required(1, 5, 0), required(2, 0, 0)],
                    vec![required(2, 1, 0)],
                    vec![required(1, 4, 0)],
                ],
                parent(&[(1, 4, 4, rich), (2, 0, 0, rich)]),
                vec![None, None, None],
            ),
            (
                "a gap that nothing fills",
                vec![vec![required(1, 6, 0)], vec![required(1, 4, 0)]],
                parent(&[(1, 4, 4, rich)]),
                vec![Some(Cause::NonceGap), None],
            ),
            (
                "just enough",
                vec![vec![required(1, 0, 5)]],
                parent(&[(1, 0, 0, cost(1) + U256::from(5))]),
                vec![None],
            ),
            (
                "a wei too little",
                vec![vec![required(1, 0, 5)]],
                parent(&[(1, 0, 0, cost(1) + U256::from(4))]),
                vec![Some(Cause::Balance)],
            ),
            (
                "the second cannot be paid",
                vec![vec![required(1, 0, 0)], vec![required(1, 1, 0)]],
                parent(&[(1, 0, 0, cost(1))]),
                vec![None, Some(Cause::Balance)],
            ),
            (
                "whole messages only, and those behind keep their chance",
                vec![vec![required(1, 0, 0), required(1, 2, 0)], vec![required(1, 0, 9)]],
                parent(&[(1, 0, 0, rich)]),
                vec![Some(Cause::NonceGap), None],
            ),
            (
                "two of a nonce are kept by one",
                vec![vec![required(1, 0, 0)], vec![required(1, 0, 9)]],
                parent(&[(1, 0, 0, cost(1))]),
                vec![None, None],
            ),
            ("not known", vec![vec![required(2, 9, 0)]], parent(&[]), vec![None]),
            (
                "base fee",
                vec![vec![required(1, 0, 0)]],
                Parent { base_fee: fee + 1, ..parent(&[(1, 0, 0, rich)]) },
                vec![Some(Cause::BaseFee)],
            ),
            (
                "base fee just met",
                vec![vec![required(1, 0, 0)]],
                Parent { base_fee: fee, ..parent(&[(1, 0, 0, rich)]) },
                vec![None],
            ),
            (
                "full",
                vec![vec![required(1, 0, 0)], vec![required(2, 0, 0)]],
                Parent { gas_limit: SENDER_GAS * 2 - 1, ..parent(&[(1, 0, 0, rich), (2, 0, 0, rich)]) },
                vec![None, Some(Cause::BlockGas)],
            ),
        ];
        for (name, messages, parent, expected) in cases {
            let messages: Vec<&[Required]> = messages.iter().map(Vec::as_slice).collect();
            assert_eq!(judge(&messages, &parent), expected, "{name}");
        }
    }

    proptest! {
        /// What is kept could be executed one after the other on the parent's state.
        #[test]
        fn what_is_kept_can_be_paid_and_counted(
            messages in proptest::collection::vec(proptest::collection::vec((1_u8..3, 0_u64..5), 1..3), 0..6),
            funds in 0_u64..8,
        ) {
            let messages: Vec<Vec<Required>> = messages
                .iter()
                .map(|message| message.iter().map(|(by, nonce)| required(*by, *nonce, 0)).collect())
                .collect();
            let messages: Vec<&[Required]> = messages.iter().map(Vec::as_slice).collect();
            let parent = parent(&[(1, 0, 0, cost(funds)), (2, 1, 1, cost(funds))]);
            let verdicts = judge(&messages, &parent);
            prop_assert_eq!(verdicts.len(), messages.len());
            let mut kept: Vec<(Address, u64)> = messages
                .iter()
                .zip(&verdicts)
                .filter(|(_, verdict)| verdict.is_none())
                .flat_map(|(message, _)| message.iter().map(|required| (required.sender, required.nonce)))
                .collect();
            kept.sort_unstable();
            kept.dedup();
            for (address, account) in &parent.accounts {
                let of_one: Vec<u64> = kept.iter().filter(|(by, _)| by == address).map(|(_, nonce)| *nonce).collect();
                let expected: Vec<u64> = (account.nonce..).take(of_one.len()).collect();
                prop_assert_eq!(&of_one, &expected);
                prop_assert!(of_one.len() as u64 <= funds);
            }
        }
    }
}
