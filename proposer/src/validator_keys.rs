//! The validator keys that sign delegations, behind the protection record.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use earnest_builder_types::{BlsPublicKey, BlsSignature};
use earnest_journal::Log;
use earnest_protocol::objects::Delegation;
use earnest_protocol::signing::Network;
use earnest_signer::layout;
use earnest_signer::remote::{CommitBoost, JoinedBls, RemoteError, Web3Signer};
use earnest_signer::{
    BlsSigner, ClaimKey, KeystoreError, LocalBls, SignOnce, SignerError, Signing, SigningRequest,
};

use crate::config::{Config, KeysConfig};
use crate::delegation_plan::Place;

pub(crate) const PURPOSE: &str = "delegation";

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

    fn refresh(&self) -> Signing<'_, ()> {
        self.0.refresh()
    }
}

/// Our keys.
#[derive(Debug, Clone)]
pub struct OwnKeys {
    signer: SignOnce<SharedSigner>,
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
        Self { signer: SignOnce::new(SharedSigner(signer), log) }
    }

    /// The keys we sign with, as far as they are known: a signer elsewhere may have more after the next refresh.
    #[must_use]
    pub fn own(&self) -> BTreeSet<BlsPublicKey> {
        self.signer.signer().public_keys().into_iter().collect()
    }

    /// Asks signers elsewhere which keys they hold.
    ///
    /// # Errors
    /// [`SignerError::Remote`]; what was known stays.
    pub async fn refresh(&self) -> Result<(), SignerError> {
        self.signer.signer().refresh().await
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

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The keystores cannot be read.
    #[error(transparent)]
    Keystores(#[from] KeystoreError),
    /// A signer elsewhere is set up wrongly.
    #[error("{0}")]
    Signer(#[from] RemoteError),
}

/// Whatever signs for us by the configuration: keystores, Commit-Boost, Web3Signer, all that are there. Signers elsewhere are not
/// asked yet. Blocks, for decryption takes its time.
///
/// # Errors
/// [`KeysError`]. Keystores that give no key are logged and left out.
pub fn load(config: &Config) -> Result<JoinedBls, KeysError> {
    let mut signers: Vec<Arc<dyn BlsSigner>> = Vec::new();
    if let Some(keys) = &config.keys {
        signers.push(Arc::new(load_keystores(keys)?));
    }
    if let Some(commit_boost) = &config.commit_boost {
        signers.push(Arc::new(CommitBoost::new(commit_boost)?));
    }
    if let Some(web3signer) = &config.web3signer {
        signers.push(Arc::new(Web3Signer::new(web3signer)?));
    }
    Ok(JoinedBls::new(signers))
}

fn load_keystores(config: &KeysConfig) -> Result<LocalBls, KeystoreError> {
    let loaded = layout::load(config.layout, &config.dir, &config.passwords)?;
    for (file, error) in &loaded.failures {
        tracing::error!(file = %file.display(), %error, "a keystore gives no key; its slots are not delegated");
    }
    tracing::info!(keys = loaded.keys.len(), "validator keys loaded");
    Ok(LocalBls::new(loaded.keys))
}
