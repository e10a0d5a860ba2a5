//! The gateway's side of constrained slots: delegations signed with the proposers' well-known keys, constraints signed by
//! the delegate, and the relay's word on both.

use alloy_primitives::{Address, B256, Bytes};
use earnest_builder_types::{BlsPublicKey, bls::SecretKey, proofs::verify_transaction};
use earnest_client::{ClientError, HeaderRequest, HeaderWithProofs};
use earnest_devnet::validator::interop_key;
use earnest_protocol::{
    Slot,
    messages::ReceiptedConstraints,
    objects::{
        Constraint, ConstraintStatus, ConstraintsMessage, Delegation, DelegationReceipt,
        SignedConstraintReceipt, SignedConstraints, SignedDelegation,
    },
    signing::EcdsaSecret,
};

use super::{genesis::NETWORK, relay::Relay};

/// A gateway that holds delegations and constrains L1 blocks.
#[derive(Debug)]
pub struct Gateway {
    pub(super) delegate: SecretKey,
    pub(super) committer: EcdsaSecret,
}

impl Default for Gateway {
    /// One with new keys.
    fn default() -> Self {
        Self { delegate: SecretKey::random().unwrap(), committer: EcdsaSecret::random() }
    }
}

impl Gateway {
    /// Who signs its orderings, and who signs its constraints.
    #[must_use]
    pub fn identity(&self) -> (Address, BlsPublicKey) {
        (self.committer.address(), self.delegate.public_key())
    }

    /// Has the proposer of a slot delegate to this gateway, and checks the relay's receipt.
    ///
    /// # Panics
    /// If the relay refuses, or its receipt does not hold.
    pub async fn delegate(&self, relay: &Relay, slot: u64, validator: u64) {
        let key = interop_key(validator).unwrap();
        let delegation = Delegation {
            proposer: key.public_key(),
            delegate: self.delegate.public_key(),
            committer: self.committer.address(),
            slot: Slot(slot),
            metadata: Bytes::new(),
        };
        let signed = SignedDelegation::sign(delegation, &key, &NETWORK).unwrap();
        let receipt = relay.client.post_delegation(&signed).await.unwrap();
        receipt.verify(&NETWORK, relay.address).expect("the receipt is the relay's");
        let expected = DelegationReceipt::of(&signed.message, receipt.message.received_at_ms).unwrap();
        assert_eq!(receipt.message, expected);
    }

    /// Constrains a delegated slot to hold these transactions by one message, which the relay must hold. Gives the message; none
    /// if it came too late, as on a busy machine.
    ///
    /// # Panics
    /// If the relay refuses for another reason, or its receipt does not hold.
    pub async fn constrain(
        &self,
        relay: &Relay,
        slot: u64,
        validator: u64,
        transactions: &[Bytes],
    ) -> Option<SignedConstraints> {
        let signed = self.sign(slot, validator, transactions);
        match relay.client.post_constraints(&signed).await {
            Ok(receipt) => assert_eq!(judged(relay, &signed, &receipt), ConstraintStatus::Held),
            Err(ClientError::Refused(refusal)) if refusal.code == "constraint_late" => return None,
            Err(error) => panic!("slot {slot}: {error}"),
        }
        Some(signed)
    }

    fn sign(&self, slot: u64, validator: u64, transactions: &[Bytes]) -> SignedConstraints {
        let message = ConstraintsMessage {
            proposer: interop_key(validator).unwrap().public_key(),
            delegate: self.delegate.public_key(),
            slot: Slot(slot),
            constraints: transactions
                .iter()
                .map(|tx| Constraint::inclusion(Slot(slot), tx.clone()))
                .collect(),
            receivers: vec![],
        };
        SignedConstraints::sign(message, &self.delegate, &NETWORK).unwrap()
    }
}

/// What the relay says of constraints now; posting them again is how it is asked.
///
/// # Panics
/// If the relay refuses, or its receipt does not hold.
pub async fn word_on(relay: &Relay, constraints: &SignedConstraints) -> ConstraintStatus {
    let receipt = relay.client.post_constraints(constraints).await.unwrap();
    judged(relay, constraints, &receipt)
}

/// Every message of constraints for a slot, in the order they came, with what the relay says of it.
///
/// # Panics
/// If the relay does not tell, or a receipt does not hold.
pub async fn constraints_of(relay: &Relay, slot: u64) -> Vec<(SignedConstraints, ConstraintStatus)> {
    let all = relay.client.constraint_receipts(slot).await.unwrap();
    let judge = |one: ReceiptedConstraints| {
        let status = judged(relay, &one.constraints, &one.receipt);
        (one.constraints, status)
    };
    all.into_iter().map(judge).collect()
}

/// What a receipt says, if it is the relay's and for these constraints.
fn judged(
    relay: &Relay,
    constraints: &SignedConstraints,
    receipt: &SignedConstraintReceipt,
) -> ConstraintStatus {
    receipt.verify(&NETWORK, relay.address).expect("the receipt is the relay's");
    assert_eq!(receipt.message.constraints_hash, constraints.message.hash().unwrap());
    assert_eq!(receipt.message.slot, constraints.message.slot);
    receipt.message.status
}

/// Asks for the header of a slot with the proofs of its constraints, as a proposer's sidecar does, and checks that they
/// prove all of `transactions`. `None` if the relay has no block that holds them.
///
/// # Panics
/// If the relay refuses, or a proof does not hold.
pub async fn proven_header(
    relay: &Relay,
    slot: u64,
    parent_hash: B256,
    proposer: BlsPublicKey,
    transactions: &[Bytes],
) -> Option<HeaderWithProofs> {
    let wanted = HeaderRequest { slot, parent_hash, pubkey: proposer };
    let timeout = relay.client.transport().limits().timeout;
    let header = relay.client.header_with_proofs(&wanted, timeout).await.unwrap()?;
    let proofs = header.inclusions().unwrap();
    let proven: Vec<&Bytes> = proofs.iter().map(|proof| &proof.signed_tx).collect();
    assert_eq!(proven, transactions.iter().collect::<Vec<_>>());
    let root = header.bid.header().transactions_root();
    for proof in &proofs {
        assert!(
            verify_transaction(&proof.signed_tx, proof.index, &proof.branch, root),
            "a proof does not hold"
        );
    }
    Some(header)
}
