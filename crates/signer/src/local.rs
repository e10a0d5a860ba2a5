use crate::{BlsSigner, EcdsaSigner, SignerError, Signing, SigningRequest};
use alloy_primitives::Address;
use earnest_builder_types::{BlsPublicKey, BlsSignature, bls::SecretKey};
use earnest_protocol::signing::{EcdsaSecret, EcdsaSignature};
use std::collections::BTreeMap;

/// BLS keys in this process's memory.
#[derive(Debug, Default)]
pub struct LocalBls {
    keys: BTreeMap<BlsPublicKey, SecretKey>,
}

impl LocalBls {
    /// A signer of these keys.
    pub fn new(secrets: impl IntoIterator<Item = SecretKey>) -> Self {
        Self { keys: secrets.into_iter().map(|secret| (secret.public_key(), secret)).collect() }
    }
}

impl BlsSigner for LocalBls {
    fn public_keys(&self) -> Vec<BlsPublicKey> {
        self.keys.keys().copied().collect()
    }

    fn sign<'a>(&'a self, key: &'a BlsPublicKey, request: SigningRequest) -> Signing<'a, BlsSignature> {
        Box::pin(async move {
            let secret = self.keys.get(key).ok_or_else(|| SignerError::UnknownKey(key.to_string()))?;
            Ok(secret.sign(request.signing_root()))
        })
    }
}

/// ECDSA keys in this process's memory.
#[derive(Debug, Default)]
pub struct LocalEcdsa {
    keys: BTreeMap<Address, EcdsaSecret>,
}

impl LocalEcdsa {
    /// A signer of these keys.
    pub fn new(secrets: impl IntoIterator<Item = EcdsaSecret>) -> Self {
        Self { keys: secrets.into_iter().map(|secret| (secret.address(), secret)).collect() }
    }
}

impl EcdsaSigner for LocalEcdsa {
    fn addresses(&self) -> Vec<Address> {
        self.keys.keys().copied().collect()
    }

    fn sign(&self, address: Address, request: SigningRequest) -> Signing<'_, EcdsaSignature> {
        Box::pin(async move {
            let secret =
                self.keys.get(&address).ok_or_else(|| SignerError::UnknownKey(address.to_string()))?;
            Ok(secret.sign(request.signing_root())?)
        })
    }
}
