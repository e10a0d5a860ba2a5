//! Which proposers are opted in.

use earnest_builder_types::BlsPublicKey;
use earnest_protocol::Slot;
use std::{collections::HashSet, fmt::Debug};

/// Answers which proposers may delegate (design §2).
pub(crate) trait OptIn: Debug + Send + Sync {
    /// Whether the validator counts as opted in for this slot.
    fn is_opted_in(&self, slot: Slot, validator: &BlsPublicKey) -> bool;
}

/// The validators that the operator lists, for every slot.
#[derive(Debug)]
pub(crate) struct Listed(HashSet<BlsPublicKey>);

impl Listed {
    /// These validators and no others.
    pub(crate) fn new(validators: &[BlsPublicKey]) -> Self {
        Self(validators.iter().copied().collect())
    }
}

impl OptIn for Listed {
    fn is_opted_in(&self, _: Slot, validator: &BlsPublicKey) -> bool {
        self.0.contains(validator)
    }
}
