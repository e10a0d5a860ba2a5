//! An operator's keys as the Registry on L1 has them (design §9): the ABI and the tree of the Universal Registry
//! Contract's `signing-domain` branch.
//!
//! `leaf = keccak256(abi.encode(SignedRegistration, owner, signingId))`; leaves padded with zero to a power of two;
//! `node = keccak256(lesser ‖ greater)`. One registration is a tree of its leaf alone.

use crate::{
    BlsPublicKey,
    objects::{self, ObjectError, PointError, Registration},
    signing::{EARNEST_SIGNING_ID, Message, Network, Signed, SigningError},
    sol,
};
use alloy_primitives::{Address, B256, Keccak256, keccak256};
use alloy_sol_types::SolValue;
use earnest_builder_types::{BlsSignature, bls};
use serde::{Deserialize, Serialize};

/// Most keys of one operator: the Registry counts them in 16 bits.
pub const MAX_KEYS: usize = u16::MAX as usize;

/// A validator key with its consent to an owner. Which owner and signing id, its operator says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedRegistration {
    /// The validator's key.
    pub pubkey: BlsPublicKey,
    /// Over the signing root of [`Registration`].
    pub signature: BlsSignature,
    /// Nonce of the signing form; 0 in ours.
    #[serde(with = "crate::integer", default)]
    pub nonce: u64,
}

impl SignedRegistration {
    /// Signs `owner` with a validator key, nonce 0, signing id `earnest.v1`.
    ///
    /// # Errors
    /// As [`Message::object_root`]; there is none in a registration.
    pub fn sign(owner: Address, secret: &bls::SecretKey, network: &Network) -> Result<Self, SigningError> {
        let signed = Signed::<_, BlsSignature>::sign(Registration { owner }, secret, network)?;
        Ok(Self { pubkey: secret.public_key(), signature: signed.signature, nonce: signed.nonce })
    }

    /// The root that the key signs for `owner`.
    ///
    /// # Errors
    /// As [`Message::object_root`]; there is none in a registration.
    pub fn signing_root(
        &self,
        owner: Address,
        signing_id: B256,
        network: &Network,
    ) -> Result<B256, SigningError> {
        Ok(network.signing_root(Registration { owner }.object_root()?, signing_id, self.nonce))
    }

    /// Checks that the key signed for `owner`.
    ///
    /// # Errors
    /// [`SigningError::WrongSigner`] if not, or if key or signature is not a valid point.
    pub fn verify(&self, owner: Address, signing_id: B256, network: &Network) -> Result<(), SigningError> {
        let root = self.signing_root(owner, signing_id, network)?;
        bls::verify(&self.pubkey, root, &self.signature).map_err(|_| SigningError::WrongSigner)
    }

    /// The schema struct, key and signature as points.
    ///
    /// # Errors
    /// [`PointError`] if they are not valid points.
    pub fn to_sol(&self) -> Result<sol::SignedRegistration, PointError> {
        Ok(sol::SignedRegistration {
            pubkey: objects::pubkey_to_sol(&self.pubkey)?,
            signature: objects::signature_to_sol(&self.signature)?,
            nonce: self.nonce,
        })
    }
}

impl TryFrom<&sol::SignedRegistration> for SignedRegistration {
    type Error = ObjectError;

    /// Fails on what the Registry takes unseen and [`is_signed`] calls forged: words that are no points.
    fn try_from(value: &sol::SignedRegistration) -> Result<Self, ObjectError> {
        Ok(Self {
            pubkey: objects::pubkey_from_sol(&value.pubkey)?,
            signature: objects::signature_from_sol(&value.signature)?,
            nonce: value.nonce,
        })
    }
}

/// Whether the key signed its registration for `owner`: what `verifyRegistration` answers on L1, and what a
/// registration must fail to be slashed. Words that are no valid points are not signed.
#[must_use]
pub fn is_signed(
    registration: &sol::SignedRegistration,
    owner: Address,
    signing_id: B256,
    network: &Network,
) -> bool {
    SignedRegistration::try_from(registration)
        .is_ok_and(|registration| registration.verify(owner, signing_id, network).is_ok())
}

/// The leaf of a registration; its words need not be points.
#[must_use]
pub fn leaf(registration: &sol::SignedRegistration, owner: Address, signing_id: B256) -> B256 {
    keccak256((registration.clone(), owner, signing_id).abi_encode_params())
}

/// The parent of two nodes, in whichever order.
#[must_use]
pub fn node(one: &B256, other: &B256) -> B256 {
    let mut hasher = Keccak256::new();
    hasher.update(one.min(other));
    hasher.update(one.max(other));
    hasher.finalize()
}

/// An operator's registrations and their tree, to give many proofs.
#[derive(Debug, Clone)]
pub struct RegistrationTree {
    registrations: Vec<sol::SignedRegistration>,
    signing_id: B256,
    /// Leaves first, root last; every level but the root's of even length.
    levels: Vec<Vec<B256>>,
    root: B256,
}

impl RegistrationTree {
    /// The tree of what `register(registrations, owner, signingId)` registers; none if the Registry refuses it for
    /// having no keys or more than [`MAX_KEYS`].
    #[must_use]
    pub fn new(
        registrations: Vec<sol::SignedRegistration>,
        owner: Address,
        signing_id: B256,
    ) -> Option<Self> {
        if registrations.len() > MAX_KEYS {
            return None;
        }
        let mut level: Vec<B256> =
            registrations.iter().map(|registration| leaf(registration, owner, signing_id)).collect();
        if !level.is_empty() {
            level.resize(level.len().next_power_of_two(), B256::ZERO);
        }
        let mut levels = Vec::new();
        while level.len() > 1 {
            let (pairs, _) = level.as_chunks::<2>();
            let above = pairs.iter().map(|[one, other]| node(one, other)).collect();
            levels.push(std::mem::replace(&mut level, above));
        }
        let root = *level.first()?;
        Some(Self { registrations, signing_id, levels, root })
    }

    /// The tree of registrations with the signing id `earnest.v1`, as [`SignedRegistration::sign`] makes them.
    ///
    /// # Errors
    /// [`PointError`] if a key or a signature is not a valid point. `Ok(None)` as [`Self::new`].
    pub fn of_signed(
        registrations: &[SignedRegistration],
        owner: Address,
    ) -> Result<Option<Self>, PointError> {
        let registrations = registrations.iter().map(SignedRegistration::to_sol).collect::<Result<_, _>>()?;
        Ok(Self::new(registrations, owner, EARNEST_SIGNING_ID))
    }

    /// The registration root: the operator's id.
    #[must_use]
    pub const fn root(&self) -> B256 {
        self.root
    }

    /// What was registered, in order.
    #[must_use]
    pub fn registrations(&self) -> &[sol::SignedRegistration] {
        &self.registrations
    }

    /// Shows the key at `index`; none if there is no such key.
    #[must_use]
    pub fn proof(&self, index: usize) -> Option<sol::RegistrationProof> {
        let registration = self.registrations.get(index)?.clone();
        let siblings =
            self.levels.iter().enumerate().map(|(height, level)| level.get((index >> height) ^ 1).copied());
        Some(sol::RegistrationProof {
            registrationRoot: self.root,
            registration,
            merkleProof: siblings.collect::<Option<_>>()?,
            signingId: self.signing_id,
        })
    }
}

/// Whether the proof's key belongs to the operator that `owner` registered under the proof's root.
#[must_use]
pub fn verify_proof(proof: &sol::RegistrationProof, owner: Address) -> bool {
    let leaf = leaf(&proof.registration, owner, proof.signingId);
    proof.merkleProof.iter().fold(leaf, |below, sibling| node(&below, sibling)) == proof.registrationRoot
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NETWORK: Network = Network { genesis_fork_version: [0x10, 0, 9, 0x10], chain_id: 560_048 };
    const OWNER: Address = Address::repeat_byte(0x11);

    fn secret(byte: u8) -> bls::SecretKey {
        bls::SecretKey::from_bytes(&[byte; 32]).unwrap()
    }

    fn word(n: usize) -> B256 {
        B256::from(alloy_primitives::U256::from(n))
    }

    /// Words that are no points make trees as well.
    fn words(n: usize) -> sol::SignedRegistration {
        let w = word;
        sol::SignedRegistration {
            pubkey: sol::G1Point { x_a: w(n), x_b: w(1), y_a: w(2), y_b: w(3) },
            signature: sol::G2Point {
                x_c0_a: w(4),
                x_c0_b: w(5),
                x_c1_a: w(6),
                x_c1_b: w(7),
                y_c0_a: w(8),
                y_c0_b: w(9),
                y_c1_a: w(10),
                y_c1_b: w(11),
            },
            nonce: 12,
        }
    }

    fn tree(count: usize) -> RegistrationTree {
        RegistrationTree::new((0..count).map(words).collect(), OWNER, word(77)).unwrap()
    }

    #[test]
    fn a_leaf_is_fifteen_words() {
        let numbers = [5, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
        let mut bytes: Vec<u8> = numbers.iter().flat_map(|n| word(*n).0).collect();
        bytes.extend_from_slice(OWNER.into_word().as_slice());
        bytes.extend_from_slice(word(77).as_slice());
        assert_eq!(leaf(&words(5), OWNER, word(77)), keccak256(bytes));
    }

    #[test]
    fn small_trees() {
        assert!(RegistrationTree::new(vec![], OWNER, word(77)).is_none());
        let leaf = |n| leaf(&words(n), OWNER, word(77));
        assert_eq!(tree(1).root(), leaf(0));
        assert_eq!(tree(1).proof(0).unwrap().merkleProof, Vec::<B256>::new());
        assert_eq!(tree(2).root(), node(&leaf(0), &leaf(1)));
        assert_eq!(tree(2).root(), node(&leaf(1), &leaf(0)));
        assert_eq!(
            tree(3).root(),
            node(&node(&leaf(0), &leaf(1)), &keccak256([B256::ZERO.0, leaf(2).0].concat()))
        );
    }

    #[test]
    fn more_keys_than_are_counted_are_no_operator() {
        let many = |count: usize| RegistrationTree::new(vec![words(0); count], OWNER, word(77));
        assert!(many(MAX_KEYS).is_some());
        assert!(many(MAX_KEYS + 1).is_none());
    }

    #[test]
    fn a_signed_registration_holds_for_its_owner_alone() {
        let registration = SignedRegistration::sign(OWNER, &secret(7), &NETWORK).unwrap();
        assert_eq!(registration.verify(OWNER, EARNEST_SIGNING_ID, &NETWORK), Ok(()));
        let sol = registration.to_sol().unwrap();
        assert_eq!(SignedRegistration::try_from(&sol).as_ref(), Ok(&registration));
        assert!(is_signed(&sol, OWNER, EARNEST_SIGNING_ID, &NETWORK));

        let other = Address::repeat_byte(0x12);
        assert_eq!(registration.verify(other, EARNEST_SIGNING_ID, &NETWORK), Err(SigningError::WrongSigner));
        assert!(!is_signed(&sol, other, EARNEST_SIGNING_ID, &NETWORK));
        assert!(!is_signed(&sol, OWNER, word(1), &NETWORK));
        assert!(!is_signed(&sol, OWNER, EARNEST_SIGNING_ID, &Network { chain_id: 1, ..NETWORK }));
        assert!(!is_signed(
            &sol::SignedRegistration { nonce: 1, ..sol.clone() },
            OWNER,
            EARNEST_SIGNING_ID,
            &NETWORK
        ));
        let key = SignedRegistration::sign(OWNER, &secret(8), &NETWORK).unwrap().to_sol().unwrap().pubkey;
        assert!(!is_signed(
            &sol::SignedRegistration { pubkey: key, ..sol },
            OWNER,
            EARNEST_SIGNING_ID,
            &NETWORK
        ));
        assert!(!is_signed(&words(3), OWNER, EARNEST_SIGNING_ID, &NETWORK));
        assert!(SignedRegistration::try_from(&words(3)).is_err());
    }

    #[test]
    fn trees_of_signed_registrations() {
        let signed: Vec<_> =
            (1..=3).map(|byte| SignedRegistration::sign(OWNER, &secret(byte), &NETWORK).unwrap()).collect();
        let tree = RegistrationTree::of_signed(&signed, OWNER).unwrap().unwrap();
        assert_eq!(tree.registrations().len(), 3);
        let proof = tree.proof(2).unwrap();
        assert_eq!(proof.signingId, EARNEST_SIGNING_ID);
        assert!(verify_proof(&proof, OWNER));
        let bad = SignedRegistration { pubkey: BlsPublicKey::ZERO, ..signed[0].clone() };
        assert_eq!(RegistrationTree::of_signed(&[bad], OWNER).unwrap_err(), PointError::PublicKey);
        assert!(RegistrationTree::of_signed(&[], OWNER).unwrap().is_none());
    }

    #[test]
    fn json_has_the_nonce_quoted_and_may_leave_it_out() {
        let registration = SignedRegistration::sign(OWNER, &secret(7), &NETWORK).unwrap();
        let mut json = serde_json::to_value(&registration).unwrap();
        assert_eq!(json["nonce"], "0");
        json.as_object_mut().unwrap().remove("nonce");
        assert_eq!(serde_json::from_value::<SignedRegistration>(json).unwrap(), registration);
    }

    proptest! {
        #[test]
        fn every_key_proves_that_it_is_there(count in 1usize..40, at: prop::sample::Index, flip in 0usize..8) {
            let tree = tree(count);
            let index = at.index(count);
            let proof = tree.proof(index).unwrap();
            prop_assert!(verify_proof(&proof, OWNER));
            prop_assert!(!verify_proof(&proof, Address::repeat_byte(0x12)));
            let other_id = sol::RegistrationProof { signingId: word(78), ..proof.clone() };
            prop_assert!(!verify_proof(&other_id, OWNER));
            let other_key = sol::RegistrationProof { registration: words(1_000), ..proof.clone() };
            prop_assert!(!verify_proof(&other_key, OWNER));
            if let Some(step) = (!proof.merkleProof.is_empty()).then(|| flip % proof.merkleProof.len()) {
                let mut wrong = proof.clone();
                wrong.merkleProof[step].0[31] ^= 1;
                prop_assert!(!verify_proof(&wrong, OWNER));
            }
            let mut longer = proof;
            longer.merkleProof.push(B256::ZERO);
            prop_assert!(!verify_proof(&longer, OWNER));
            prop_assert!(tree.proof(count).is_none());
            prop_assert!(tree.proof(count.next_power_of_two()).is_none());
        }
    }
}
