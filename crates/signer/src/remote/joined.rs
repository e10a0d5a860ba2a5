//! Several signers as one.

use crate::{BlsSigner, SignerError, Signing, SigningRequest};
use earnest_builder_types::{BlsPublicKey, BlsSignature};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// Signs each key with the first signer that holds it.
#[derive(Clone, Default)]
pub struct JoinedBls {
    signers: Vec<Arc<dyn BlsSigner>>,
}

impl fmt::Debug for JoinedBls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinedBls").field("signers", &self.signers.len()).finish()
    }
}

impl JoinedBls {
    /// These signers, the preferred one first.
    #[must_use]
    pub fn new(signers: Vec<Arc<dyn BlsSigner>>) -> Self {
        Self { signers }
    }
}

impl BlsSigner for JoinedBls {
    fn public_keys(&self) -> Vec<BlsPublicKey> {
        let keys: BTreeSet<_> = self.signers.iter().flat_map(|signer| signer.public_keys()).collect();
        keys.into_iter().collect()
    }

    fn sign<'a>(&'a self, key: &'a BlsPublicKey, request: SigningRequest) -> Signing<'a, BlsSignature> {
        match self.signers.iter().find(|signer| signer.public_keys().contains(key)) {
            Some(signer) => signer.sign(key, request),
            None => Box::pin(async move { Err(SignerError::UnknownKey(key.to_string())) }),
        }
    }

    fn refresh(&self) -> Signing<'_, ()> {
        Box::pin(async move {
            let refreshed =
                futures::future::join_all(self.signers.iter().map(|signer| signer.refresh())).await;
            refreshed.into_iter().collect()
        })
    }
}
