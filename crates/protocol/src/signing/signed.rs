//! A message with its signature, and the nonce and signing id that the signature is over.

use super::{EARNEST_SIGNING_ID, EcdsaSecret, EcdsaSignature, Message, Network, SigningError, ecdsa};
use crate::integer;
use alloy_primitives::{Address, B256};
use earnest_builder_types::{BlsPublicKey, BlsSignature, bls};
use serde::{Deserialize, Serialize};

/// A signed message: `{message, nonce, signing_id, signature}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed<M, S> {
    /// What is signed.
    pub message: M,
    /// Nonce of the signing form; 0 in ours.
    #[serde(with = "integer", default)]
    pub nonce: u64,
    /// Module signing id of the signing form; `earnest.v1` in ours.
    #[serde(default = "super::earnest_signing_id", alias = "signingId")]
    pub signing_id: B256,
    /// The signature over the signing root.
    pub signature: S,
}

impl<M, S> Signed<M, S> {
    /// Puts a signature over the message's default signing root ([`Network::message_root`]) to it.
    pub const fn new(message: M, signature: S) -> Self {
        Self { message, nonce: 0, signing_id: EARNEST_SIGNING_ID, signature }
    }
}

impl<M: Message, S> Signed<M, S> {
    /// The root that the signature is over.
    ///
    /// # Errors
    /// As [`Message::object_root`].
    pub fn signing_root(&self, network: &Network) -> Result<B256, SigningError> {
        Ok(network.signing_root(self.message.object_root()?, self.signing_id, self.nonce))
    }
}

impl<M: Message> Signed<M, BlsSignature> {
    /// Signs with a BLS key.
    ///
    /// # Errors
    /// As [`Message::object_root`].
    pub fn sign(message: M, secret: &bls::SecretKey, network: &Network) -> Result<Self, SigningError> {
        let signature = secret.sign(network.message_root(&message)?);
        Ok(Self::new(message, signature))
    }

    /// Checks that `signer` signed.
    ///
    /// # Errors
    /// [`SigningError::WrongSigner`] if not, or if the key or signature is not a valid point.
    pub fn verify(&self, network: &Network, signer: &BlsPublicKey) -> Result<(), SigningError> {
        let root = self.signing_root(network)?;
        bls::verify(signer, root, &self.signature).map_err(|_| SigningError::WrongSigner)
    }
}

impl<M: Message> Signed<M, EcdsaSignature> {
    /// Signs with an ECDSA key. Deterministic: the same message gives the same bytes.
    ///
    /// # Errors
    /// As [`Message::object_root`].
    pub fn sign(message: M, secret: &EcdsaSecret, network: &Network) -> Result<Self, SigningError> {
        let signature = secret.sign(network.message_root(&message)?)?;
        Ok(Self::new(message, signature))
    }

    /// Who signed.
    ///
    /// # Errors
    /// [`SigningError`] if the signature is not canonical or recovers to nobody.
    pub fn signer(&self, network: &Network) -> Result<Address, SigningError> {
        ecdsa::recover(self.signing_root(network)?, &self.signature)
    }

    /// Checks that `signer` signed.
    ///
    /// # Errors
    /// [`SigningError`] if not.
    pub fn verify(&self, network: &Network, signer: Address) -> Result<(), SigningError> {
        if self.signer(network)? == signer { Ok(()) } else { Err(SigningError::WrongSigner) }
    }
}
