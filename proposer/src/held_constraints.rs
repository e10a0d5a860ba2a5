//! What an Earnest relay says it holds for a slot, believed only if our own delegates signed it.

use std::time::Duration;

use earnest_builder_types::BlsPublicKey;
use earnest_protocol::objects::{Delegation, SignedConstraints};
use earnest_protocol::signing::Network;

use crate::proof_check::Held;
use crate::slot_state::Fault;
use crate::sources::{Source, fault};

/// Asks a relay for the constraints of a delegation's slot.
///
/// # Errors
/// A [`Fault`] if the relay does not say, or says what no delegate of ours signed.
pub async fn ask(
    source: &Source,
    delegation: &Delegation,
    network: Network,
    time: Duration,
) -> Result<Vec<Held>, Fault> {
    let said =
        source.client.constraints_within(delegation.slot.0, time).await.map_err(|error| fault(&error))?;
    held(&said, delegation, &network)
}

/// The transactions that `said` binds the block of `delegation` to. Constraints of other proposers are passed over: a slot
/// whose proposer changed has those of both.
///
/// # Errors
/// [`Fault::Garbage`] if any is not signed by a delegate that `delegation` names, or is of a type we cannot check.
pub fn held(
    said: &[SignedConstraints],
    delegation: &Delegation,
    network: &Network,
) -> Result<Vec<Held>, Fault> {
    let delegates = delegates(delegation);
    let mut held = Vec::new();
    for constraints in said {
        let message = &constraints.message;
        if message.proposer != delegation.proposer || message.slot != delegation.slot {
            continue;
        }
        if !delegates.contains(&message.delegate) {
            return Err(Fault::Garbage("constraints of a delegate that is not ours".to_owned()));
        }
        constraints
            .verify(network, &message.delegate)
            .map_err(|error| Fault::Garbage(format!("constraints: {error}")))?;
        for constraint in &message.constraints {
            let inclusion = constraint
                .as_inclusion()
                .map_err(|error| Fault::Garbage(format!("constraint that cannot be checked: {error}")))?;
            held.push(Held::new(inclusion.signed_tx));
        }
    }
    Ok(held)
}

fn delegates(delegation: &Delegation) -> Vec<BlsPublicKey> {
    let mut delegates = vec![delegation.delegate];
    if let Ok(allocation) = delegation.allocation() {
        delegates.extend(allocation.entries.iter().map(|entry| entry.delegate));
    }
    delegates
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{Address, Bytes};
    use earnest_builder_types::bls::SecretKey;
    use earnest_protocol::Slot;
    use earnest_protocol::objects::{Constraint, ConstraintsMessage};
    use earnest_protocol::signing::Signed;

    use super::*;

    const NETWORK: Network = Network { genesis_fork_version: [0; 4], chain_id: 1 };

    fn constraints(proposer: BlsPublicKey, delegate: &SecretKey, slot: u64) -> SignedConstraints {
        let message = ConstraintsMessage {
            proposer,
            delegate: delegate.public_key(),
            slot: Slot(slot),
            constraints: vec![Constraint::inclusion(Slot(slot), Bytes::from_static(&[2, 1]))],
            receivers: Vec::new(),
        };
        Signed::<_, earnest_builder_types::BlsSignature>::sign(message, delegate, &NETWORK).unwrap()
    }

    #[test]
    fn only_what_our_delegate_signed_is_held() {
        let (delegate, stranger) = (SecretKey::random().unwrap(), SecretKey::random().unwrap());
        let proposer = SecretKey::random().unwrap().public_key();
        let delegation = Delegation {
            proposer,
            delegate: delegate.public_key(),
            committer: Address::ZERO,
            slot: Slot(7),
            metadata: Bytes::new(),
        };
        let good = constraints(proposer, &delegate, 7);
        let wanted = vec![Held::new(Bytes::from_static(&[2, 1]))];
        assert_eq!(held(std::slice::from_ref(&good), &delegation, &NETWORK), Ok(wanted));
        assert_eq!(held(&[], &delegation, &NETWORK), Ok(Vec::new()));

        let of_others =
            [constraints(stranger.public_key(), &stranger, 7), constraints(proposer, &delegate, 8)];
        assert_eq!(held(&of_others, &delegation, &NETWORK), Ok(Vec::new()));

        let mut forged = good.clone();
        forged.message.constraints.push(Constraint::inclusion(Slot(7), Bytes::from_static(&[9])));
        let mut unknown_type = good.message.clone();
        unknown_type.constraints[0].constraint_type = 77;
        let unknown_type =
            Signed::<_, earnest_builder_types::BlsSignature>::sign(unknown_type, &delegate, &NETWORK)
                .unwrap();
        for bad in [constraints(proposer, &stranger, 7), forged, unknown_type] {
            assert!(matches!(held(&[good.clone(), bad], &delegation, &NETWORK), Err(Fault::Garbage(_))));
        }
    }
}
