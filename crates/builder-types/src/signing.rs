//! Signing and verifying objects of the Builder API that are not forked.

use alloy_primitives::B256;
use alloy_rpc_types_beacon::relay::{BidTrace, SignedBidTrace};
use tree_hash::TreeHash as _;

use crate::{
    SignedValidatorRegistration, ValidatorRegistration,
    bls::{BlsError, SecretKey, verify, verify_batch},
    domain::signing_root,
};

impl ValidatorRegistration {
    /// What the validator signs.
    pub fn signing_root(&self, builder_domain: B256) -> B256 {
        signing_root(self.tree_hash_root(), builder_domain)
    }

    /// Signs the registration with the validator's key.
    pub fn sign(self, key: &SecretKey, builder_domain: B256) -> SignedValidatorRegistration {
        let signature = key.sign(self.signing_root(builder_domain));
        SignedValidatorRegistration { message: self, signature }
    }
}

impl SignedValidatorRegistration {
    /// Verifies the signature with the key in the registration.
    ///
    /// # Errors
    /// As [`verify`].
    pub fn verify(&self, builder_domain: B256) -> Result<(), BlsError> {
        verify(&self.message.pubkey, self.message.signing_root(builder_domain), &self.signature)
    }

    /// Verifies many registrations at once and gives the indexes of the bad ones, ascending.
    pub fn verify_all(registrations: &[Self], builder_domain: B256) -> Vec<usize> {
        let signed: Vec<_> = registrations
            .iter()
            .map(|registration| {
                let message = &registration.message;
                (message.pubkey, message.signing_root(builder_domain), registration.signature)
            })
            .collect();
        verify_batch(&signed)
    }
}

/// Signs a builder's bid trace with the builder's key.
pub fn sign_bid_trace(message: BidTrace, key: &SecretKey, builder_domain: B256) -> SignedBidTrace {
    let signature = key.sign(signing_root(message.tree_hash_root(), builder_domain));
    SignedBidTrace { message, signature }
}
