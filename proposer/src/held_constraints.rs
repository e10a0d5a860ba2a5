//! What an Earnest relay says it holds for a slot, believed only if our own delegates signed it.

use std::collections::HashSet;
use std::time::Duration;

use earnest_builder_types::BlsPublicKey;
use earnest_protocol::objects::{Delegation, SignedConstraints};
use earnest_protocol::signing::Network;

use crate::proof_check::Held;
use crate::slot_state::Fault;
use crate::sources::{Source, fault};

/// Distinct transactions, and messages, that one relay may hold for a slot.
const MAX_HELD: usize = 256;

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
    let answer =
        source.client.constraints_answer(delegation.slot.0, time).await.map_err(|error| fault(&error))?;
    let delegation = delegation.clone();
    let judged = tokio::task::spawn_blocking(move || {
        let said: Vec<SignedConstraints> = answer.json("constraints").map_err(|error| fault(&error))?;
        held(&said, &delegation, &network)
    });
    judged.await.map_err(|_| Fault::Late)?
}

/// The distinct transactions that `said` binds the block of `delegation` to. Constraints of other proposers are passed over: a slot
/// whose proposer changed has those of both.
///
/// # Errors
/// [`Fault::Garbage`] if any is not signed by a delegate that `delegation` names, or is of a type we cannot check, or if there are more
/// than 256 messages or transactions.
pub fn held(
    said: &[SignedConstraints],
    delegation: &Delegation,
    network: &Network,
) -> Result<Vec<Held>, Fault> {
    let delegates = delegates(delegation);
    let ours: Vec<&SignedConstraints> = said
        .iter()
        .filter(|said| said.message.proposer == delegation.proposer && said.message.slot == delegation.slot)
        .collect();
    let too_many = || Fault::Garbage(format!("more than {MAX_HELD} constraints"));
    if ours.len() > MAX_HELD {
        return Err(too_many());
    }
    let mut held = Vec::new();
    let mut seen = HashSet::new();
    for constraints in ours {
        let message = &constraints.message;
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
            if !seen.insert(inclusion.signed_tx.clone()) {
                continue;
            }
            if held.len() >= MAX_HELD {
                return Err(too_many());
            }
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
    #[test]
    fn a_transaction_counts_once_and_there_is_a_limit() {
        let delegate = SecretKey::random().unwrap();
        let proposer = SecretKey::random().unwrap().public_key();
        let delegation = Delegation {
            proposer,
            delegate: delegate.public_key(),
            committer: Address::ZERO,
            slot: Slot(7),
            metadata: Bytes::new(),
        };
        let of = |transactions: Vec<u32>| {
            let mut message = constraints(proposer, &delegate, 7).message;
            message.constraints = transactions
                .into_iter()
                .map(|tx| Constraint::inclusion(Slot(7), tx.to_be_bytes().to_vec().into()))
                .collect();
            Signed::<_, earnest_builder_types::BlsSignature>::sign(message, &delegate, &NETWORK).unwrap()
        };
        let count = |said: &[SignedConstraints]| held(said, &delegation, &NETWORK).map(|held| held.len());
        assert_eq!(count(&[of(vec![1, 2, 1]), of(vec![2])]), Ok(2));
        assert_eq!(count(&[of((0..256).collect()), of((0..256).rev().collect())]), Ok(256));
        assert!(count(&[of((0..256).collect()), of(vec![256])]).is_err());
        assert!(count(&vec![of(vec![1]); 257]).is_err());
        // Of others, any number: they are passed over.
        assert_eq!(count(&vec![constraints(proposer, &delegate, 8); 300]), Ok(0));
    }
}
