//! The operators of this network's validators: ours, whose sidecar and gateway run, and a rival, who has one validator and no gateway.

use std::sync::Arc;

use alloy_primitives::{Address, B256};
use earnest_devnet::{contracts::registrations, validator::interop_key};
use earnest_protocol::{RollupId, registry::RegistrationTree, signing::EcdsaSecret};
use earnest_relay::ListedOperator;

use super::genesis::{NETWORK, VALIDATORS};
use crate::account::Account;

/// The rival's validator.
const OF_RIVAL: u64 = 56;

/// An operator of validators.
#[derive(Debug, Clone, Copy)]
pub struct Operator {
    /// The key of its account.
    pub key: [u8; 32],
    /// Who signs its commitments.
    pub committer: Address,
    has: fn(u64) -> bool,
}

/// Whether a validator is of an operator: the Registry knows no other.
#[must_use]
pub const fn is_registered(validator: u64) -> bool {
    is_ours(validator) || validator == OF_RIVAL
}

const fn is_ours(validator: u64) -> bool {
    !validator.is_multiple_of(8)
}

impl Operator {
    /// Ours, whose gateway signs with `committer`.
    #[must_use]
    pub const fn ours(committer: Address) -> Self {
        Self { key: [0x58; 32], committer, has: is_ours }
    }

    /// The rival.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn rival() -> Self {
        let committer = EcdsaSecret::from_bytes(&[0x5c; 32]).unwrap().address();
        Self { key: [0x5b; 32], committer, has: |validator| validator == OF_RIVAL }
    }

    /// Its account, which bids and pays.
    #[must_use]
    pub fn account(&self) -> Account {
        Account::of(&self.key, RollupId(NETWORK.chain_id))
    }

    /// The account's address.
    #[must_use]
    pub fn owner(&self) -> Address {
        self.account().address()
    }

    /// Its validators' consent.
    ///
    /// # Panics
    /// Never: it has validators.
    #[must_use]
    pub fn registrations(&self) -> Arc<RegistrationTree> {
        let keys: Vec<_> = self.validators().map(|index| interop_key(index).unwrap()).collect();
        registrations(self.owner(), &keys, &NETWORK).unwrap().expect("validators are registered")
    }

    /// Root of its registration.
    #[must_use]
    pub fn root(&self) -> B256 {
        self.registrations().root()
    }

    /// As a relay is told of it that does not read L1.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn listed(&self) -> ListedOperator {
        let keys = self.validators().map(|index| interop_key(index).unwrap().public_key());
        ListedOperator {
            registration_root: self.root(),
            owner: self.owner(),
            committer: self.committer,
            validators: keys.collect(),
        }
    }

    fn validators(&self) -> impl Iterator<Item = u64> {
        (0..VALIDATORS).filter(|index| (self.has)(*index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_validator_is_of_two_operators() {
        let operators = [Operator::ours(Address::ZERO), Operator::rival()];
        for index in 0..VALIDATORS {
            let owners = operators.iter().filter(|operator| (operator.has)(index)).count();
            assert_eq!(owners, usize::from(is_registered(index)), "{index}");
        }
    }
}
