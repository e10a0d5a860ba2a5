//! Signs a delegation once for its place: durable first, then signed, then kept. Whatever crashes in between, the same steps done
//! again give the same signature or none.

use std::sync::Arc;

use earnest_journal::Log;
use earnest_protocol::objects::{Delegation, SignedDelegation};
use earnest_protocol::signing::{Network, Signed};
use earnest_signer::SignerError;

use crate::delegation_record::{self, RecordError};
use crate::validator_keys::OwnKeys;

/// Why a delegation is not signed. A signature that cannot be kept is not given away either.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The protection record refused, or failed.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The signer refused, or failed.
    #[error("signer: {0}")]
    Signer(#[from] SignerError),
    /// What the signer gave is no signature of the proposer on the delegation.
    #[error("the signature does not verify: {0}")]
    BadSignature(earnest_protocol::signing::SigningError),
    /// The process is shutting down.
    #[error("stopped")]
    Stopped,
}

/// The protection record and the keys behind it.
#[derive(Debug, Clone)]
pub struct ProtectedSigner {
    log: Arc<dyn Log>,
    keys: OwnKeys,
    network: Network,
}

impl ProtectedSigner {
    /// Signs with `keys` what `log`, the record that they claim their signatures in, lets through.
    #[must_use]
    pub fn new(log: Arc<dyn Log>, keys: OwnKeys, network: Network) -> Self {
        Self { log, keys, network }
    }

    /// Makes the claim of a delegation's place durable. From here on the slot is constrained: somebody may hold the signature.
    ///
    /// # Errors
    /// [`RecordError::AlreadyDelegated`], [`RecordError::Refused`] below the floor, or the journal's own.
    pub async fn claim(&self, message: &Delegation) -> Result<(), SignError> {
        let (message, network) = (message.clone(), self.network);
        self.write(move |log| delegation_record::claim(log, &message, &network)).await
    }

    /// Signs a delegation that was claimed, verifies what the signer gave, and keeps it.
    ///
    /// # Errors
    /// [`SignError`].
    pub async fn sign(&self, message: Delegation) -> Result<SignedDelegation, SignError> {
        let signature = self.keys.sign(&message, &self.network).await?;
        let signed: SignedDelegation = Signed::new(message, signature);
        signed.verify(&self.network, &signed.message.proposer).map_err(SignError::BadSignature)?;
        let kept = signed.clone();
        self.write(move |log| delegation_record::keep_signed(log, &kept)).await?;
        Ok(signed)
    }

    /// Takes a delegation that was signed elsewhere into the record, as if it had been signed here.
    ///
    /// # Errors
    /// As [`Self::claim`].
    pub async fn adopt(&self, signed: &SignedDelegation) -> Result<(), SignError> {
        let (signed, network) = (signed.clone(), self.network);
        self.write(move |log| {
            delegation_record::claim(log, &signed.message, &network)?;
            delegation_record::keep_signed(log, &signed)
        })
        .await
    }

    pub(crate) async fn write(
        &self,
        write: impl FnOnce(&dyn Log) -> Result<(), RecordError> + Send + 'static,
    ) -> Result<(), SignError> {
        let log = Arc::clone(&self.log);
        tokio::task::spawn_blocking(move || write(&*log)).await.map_err(|_| SignError::Stopped)??;
        Ok(())
    }
}
