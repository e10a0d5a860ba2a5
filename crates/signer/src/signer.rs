use crate::remote::RemoteError;
use alloy_primitives::{Address, B256};
use earnest_builder_types::{BlsPublicKey, BlsSignature, domain};
use earnest_journal::{AppendError, ReadError};
use earnest_protocol::signing::{EARNEST_SIGNING_ID, EcdsaSignature, Message, Network, SigningError};
use std::future::Future;
use std::pin::Pin;

/// A signature on its way.
pub type Signing<'a, T> = Pin<Box<dyn Future<Output = Result<T, SignerError>> + Send + 'a>>;

/// Why there is no signature.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// The signer does not hold this key.
    #[error("no key for {0}")]
    UnknownKey(String),
    /// The place was signed before, with another root. Nothing was signed.
    #[error("this place was signed before, with root {existing}")]
    SignedBefore {
        /// The root that holds the place.
        existing: B256,
    },
    /// The place lies at or below the floor, and what it may hold is not known. Nothing was signed.
    #[error("slots up to {floor} are not signed for: the record may have lost what was signed there")]
    BelowFloor {
        /// The floor.
        floor: u64,
    },
    /// The log of claims cannot be read. Nothing was signed.
    #[error("the claims cannot be read: {0}")]
    Unreadable(#[from] ReadError),
    /// The claim could not be made durable. Nothing was signed.
    #[error("the claim is not durable: {0}")]
    Journal(AppendError),
    /// The message cannot be signed.
    #[error(transparent)]
    Signing(#[from] SigningError),
    /// A signer elsewhere did not give a signature that counts.
    #[error("{signer}: {cause}")]
    Remote {
        /// Which signer.
        signer: String,
        /// Why not.
        cause: RemoteError,
    },
    /// The process is shutting down.
    #[error("signing was stopped")]
    Stopped,
}

/// What is to be signed: enough for a signer elsewhere to compute the root by its own rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SigningRequest {
    /// A message in the form of design §3.
    Module {
        /// Root of the message.
        object_root: B256,
        /// Who speaks, `earnest.v1` for our messages.
        signing_id: B256,
        /// Nonce of the form, 0 in ours.
        nonce: u64,
        /// Network the signature is bound to.
        network: Network,
    },
    /// An SSZ object of the builder or consensus specifications, in its domain.
    Domain {
        /// Hash tree root of the object.
        object_root: B256,
        /// Its domain.
        domain: B256,
    },
    /// A 32-byte digest of another form, such as an EIP-712 hash or a transaction's.
    Digest(B256),
}

impl SigningRequest {
    /// The request for one of our messages.
    ///
    /// # Errors
    /// As [`Message::object_root`].
    pub fn message<M: Message>(message: &M, network: &Network) -> Result<Self, SigningError> {
        let object_root = message.object_root()?;
        Ok(Self::Module { object_root, signing_id: EARNEST_SIGNING_ID, nonce: 0, network: *network })
    }

    /// The 32 bytes that are signed.
    #[must_use]
    pub fn signing_root(&self) -> B256 {
        match self {
            Self::Module { object_root, signing_id, nonce, network } => {
                network.signing_root(*object_root, *signing_id, *nonce)
            }
            Self::Domain { object_root, domain } => domain::signing_root(*object_root, *domain),
            Self::Digest(digest) => *digest,
        }
    }
}

/// Signs with BLS keys, wherever they are.
pub trait BlsSigner: Send + Sync + 'static {
    /// The keys it signs with.
    fn public_keys(&self) -> Vec<BlsPublicKey>;

    /// Signs with one of them. Deterministic.
    ///
    /// # Errors
    /// [`SignerError::UnknownKey`] if it is not one of them.
    fn sign<'a>(&'a self, key: &'a BlsPublicKey, request: SigningRequest) -> Signing<'a, BlsSignature>;

    /// Finds out which keys it holds now, where that may change. Until then a signer elsewhere has none.
    ///
    /// # Errors
    /// [`SignerError::Remote`] if it cannot be asked; its keys stay those that were known.
    fn refresh(&self) -> Signing<'_, ()> {
        Box::pin(async { Ok(()) })
    }
}

/// Signs with ECDSA keys, wherever they are.
pub trait EcdsaSigner: Send + Sync + 'static {
    /// The addresses it signs for.
    fn addresses(&self) -> Vec<Address>;

    /// Signs for one of them: r‖s‖v, low s, v 27 or 28. Deterministic.
    ///
    /// # Errors
    /// [`SignerError::UnknownKey`] if it is not one of them.
    fn sign(&self, address: Address, request: SigningRequest) -> Signing<'_, EcdsaSignature>;
}
