//! The validator keys that sign delegations, behind the protection record.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use earnest_builder_types::{BlsPublicKey, BlsSignature};
use earnest_journal::Log;
use earnest_protocol::objects::Delegation;
use earnest_protocol::signing::Network;
use earnest_signer::layout;
use earnest_signer::{
    BlsSigner, ClaimKey, KeystoreError, LocalBls, SignOnce, SignerError, Signing, SigningRequest,
};

use crate::config::KeysConfig;
use crate::delegation_plan::Place;

const PURPOSE: &str = "delegation";

/// A signer shared with others of the process.
#[derive(Clone)]
struct SharedSigner(Arc<dyn BlsSigner>);

impl fmt::Debug for SharedSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedSigner")
    }
}

impl BlsSigner for SharedSigner {
    fn public_keys(&self) -> Vec<BlsPublicKey> {
        self.0.public_keys()
    }

    fn sign<'a>(&'a self, key: &'a BlsPublicKey, request: SigningRequest) -> Signing<'a, BlsSignature> {
        self.0.sign(key, request)
    }
}

/// Our keys.
#[derive(Debug, Clone)]
pub struct OwnKeys {
    signer: SignOnce<SharedSigner>,
    /// Keys we sign with.
    pub own: BTreeSet<BlsPublicKey>,
}

/// The place of a delegation in the protection record.
#[must_use]
pub fn claim_key(place: Place) -> ClaimKey {
    let (slot, key) = place;
    ClaimKey::slot(PURPOSE, key, slot.0)
}

impl OwnKeys {
    /// The keys of `signer`, whose every signature is claimed in `log` first.
    #[must_use]
    pub fn new(signer: Arc<dyn BlsSigner>, log: Arc<dyn Log>) -> Self {
        let own = signer.public_keys().into_iter().collect();
        Self { signer: SignOnce::new(SharedSigner(signer), log), own }
    }

    /// Signs a delegation for its place, and for no other delegation ever.
    ///
    /// # Errors
    /// [`SignerError::SignedBefore`] if the place holds another one; [`SignerError`] has the rest.
    pub async fn sign(&self, message: &Delegation, network: &Network) -> Result<BlsSignature, SignerError> {
        let request = SigningRequest::message(message, network)?;
        let place = claim_key((message.slot, message.proposer));
        self.signer.sign_bls(&place, &message.proposer, request).await
    }
}

/// Reads the configured keystores. Blocks, for decryption takes its time.
///
/// # Errors
/// If the folder cannot be read. Keystores that give no key are logged and left out.
pub fn load(config: &KeysConfig) -> Result<LocalBls, KeystoreError> {
    let loaded = layout::load(config.layout, &config.dir, &config.passwords)?;
    for (file, error) in &loaded.failures {
        tracing::error!(file = %file.display(), %error, "a keystore gives no key; its slots are not delegated");
    }
    tracing::info!(keys = loaded.keys.len(), "validator keys loaded");
    Ok(LocalBls::new(loaded.keys))
}
