//! Blobs, and what a relay hands over for a signed blinded block.

#![allow(missing_docs)] // Accessors that superstruct derives carry no text of their own.

use alloy_primitives::{B256, Bytes, FixedBytes};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use sha2::{Digest as _, Sha256};
use ssz_derive::{Decode, Encode};
use ssz_types::{
    VariableList,
    typenum::{U4096, U524288},
};
use superstruct::superstruct;

use crate::{
    ExecutionPayload, ExecutionPayloadCapella, ExecutionPayloadDeneb, ExecutionPayloadElectra,
    ExecutionPayloadFulu, ExecutionPayloadRef, ForkError, KzgCommitment, KzgCommitments, codec::fork_codec,
};

/// Bytes of a blob.
pub const BLOB_BYTES: usize = 131_072;

/// One blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Blob(Bytes);

impl Blob {
    /// Takes the bytes of a blob; `None` unless there are [`BLOB_BYTES`] of them.
    pub fn new(bytes: Bytes) -> Option<Self> {
        (bytes.len() == BLOB_BYTES).then_some(Self(bytes))
    }

    /// The bytes.
    pub const fn bytes(&self) -> &Bytes {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(Bytes::deserialize(deserializer)?)
            .ok_or_else(|| D::Error::custom("a blob has 131072 bytes"))
    }
}

impl ssz::Encode for Blob {
    fn is_ssz_fixed_len() -> bool {
        true
    }

    fn ssz_fixed_len() -> usize {
        BLOB_BYTES
    }

    fn ssz_bytes_len(&self) -> usize {
        BLOB_BYTES
    }

    fn ssz_append(&self, buf: &mut Vec<u8>) {
        buf.extend_from_slice(&self.0);
    }
}

impl ssz::Decode for Blob {
    fn is_ssz_fixed_len() -> bool {
        true
    }

    fn ssz_fixed_len() -> usize {
        BLOB_BYTES
    }

    fn from_ssz_bytes(bytes: &[u8]) -> Result<Self, ssz::DecodeError> {
        Self::new(Bytes::copy_from_slice(bytes))
            .ok_or(ssz::DecodeError::InvalidByteLength { len: bytes.len(), expected: BLOB_BYTES })
    }
}

/// A KZG proof.
pub type KzgProof = FixedBytes<48>;
/// One proof per blob (Deneb, Electra), at most 4096.
pub type BlobProofs = VariableList<KzgProof, U4096>;
/// 128 proofs per blob (Fulu), at most 4096 · 128.
pub type CellProofs = VariableList<KzgProof, U524288>;
/// The blobs of a block, at most 4096.
pub type Blobs = VariableList<Blob, U4096>;

/// Blobs with their commitments and proofs.
#[superstruct(
    variants(Deneb, Electra, Fulu),
    variant_attributes(
        derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode),
        serde(deny_unknown_fields)
    ),
    cast_error(ty = "ForkError", expr = "ForkError"),
    partial_getter_error(ty = "ForkError", expr = "ForkError")
)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub struct BlobsBundle {
    /// One per blob.
    pub commitments: KzgCommitments,
    /// One per blob.
    #[superstruct(only(Deneb, Electra), partial_getter(rename = "blob_proofs"))]
    pub proofs: BlobProofs,
    /// 128 per blob.
    #[superstruct(only(Fulu), partial_getter(rename = "cell_proofs"))]
    pub proofs: CellProofs,
    /// The blobs.
    pub blobs: Blobs,
}

fork_codec!(BlobsBundle { Deneb, Electra, Fulu });

/// The versioned hash by which a blob transaction names a commitment (EIP-4844).
pub fn versioned_hash(commitment: &KzgCommitment) -> B256 {
    let mut hash = B256::from_slice(&Sha256::digest(commitment));
    if let Some(version) = hash.first_mut() {
        *version = 1;
    }
    hash
}

macro_rules! empty_bundle {
    ($($bundle:ident),+) => {$(
        impl Default for $bundle {
            fn default() -> Self {
                Self {
                    commitments: VariableList::default(),
                    proofs: VariableList::default(),
                    blobs: VariableList::default(),
                }
            }
        }
    )+};
}
empty_bundle!(BlobsBundleDeneb, BlobsBundleElectra, BlobsBundleFulu);

/// A payload with its blobs.
#[superstruct(
    variants(Deneb, Electra, Fulu),
    variant_attributes(
        derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode),
        serde(deny_unknown_fields)
    ),
    no_enum
)]
pub struct ExecutionPayloadAndBlobsBundle {
    /// The payload.
    #[superstruct(flatten)]
    pub execution_payload: ExecutionPayload,
    /// Its blobs.
    #[superstruct(flatten)]
    pub blobs_bundle: BlobsBundle,
}

/// What `submitBlindedBlock` answers: the payload, from Deneb on with its blobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum PayloadAndBlobs {
    /// The payload alone.
    Capella(ExecutionPayloadCapella),
    /// Payload and blobs.
    Deneb(ExecutionPayloadAndBlobsBundleDeneb),
    /// Payload and blobs.
    Electra(ExecutionPayloadAndBlobsBundleElectra),
    /// Payload and blobs, with cell proofs.
    Fulu(ExecutionPayloadAndBlobsBundleFulu),
}

fork_codec!(PayloadAndBlobs { Capella, Deneb, Electra, Fulu });

impl PayloadAndBlobs {
    /// Puts a payload and its blobs together. Without a bundle there are no blobs.
    ///
    /// # Errors
    /// If the two are of different forks, or the fork has neither.
    pub fn new(payload: ExecutionPayload, blobs_bundle: Option<BlobsBundle>) -> Result<Self, ForkError> {
        macro_rules! bundled {
            ($fork:ident, $pair:ident, $payload:expr, $bundle:expr) => {
                Self::$fork($pair {
                    execution_payload: $payload,
                    blobs_bundle: match $bundle {
                        None => Default::default(),
                        Some(BlobsBundle::$fork(bundle)) => bundle,
                        Some(_) => return Err(ForkError),
                    },
                })
            };
        }
        Ok(match payload {
            ExecutionPayload::Bellatrix(_) => return Err(ForkError),
            ExecutionPayload::Capella(payload) => match blobs_bundle {
                None => Self::Capella(payload),
                Some(_) => return Err(ForkError),
            },
            ExecutionPayload::Deneb(payload) => {
                bundled!(Deneb, ExecutionPayloadAndBlobsBundleDeneb, payload, blobs_bundle)
            }
            ExecutionPayload::Electra(payload) => {
                bundled!(Electra, ExecutionPayloadAndBlobsBundleElectra, payload, blobs_bundle)
            }
            ExecutionPayload::Fulu(payload) => {
                bundled!(Fulu, ExecutionPayloadAndBlobsBundleFulu, payload, blobs_bundle)
            }
        })
    }

    /// The payload.
    pub const fn payload(&self) -> ExecutionPayloadRef<'_> {
        match self {
            Self::Capella(payload) => ExecutionPayloadRef::Capella(payload),
            Self::Deneb(both) => ExecutionPayloadRef::Deneb(&both.execution_payload),
            Self::Electra(both) => ExecutionPayloadRef::Electra(&both.execution_payload),
            Self::Fulu(both) => ExecutionPayloadRef::Fulu(&both.execution_payload),
        }
    }

    /// The blobs' commitments; none before Deneb.
    pub fn commitments(&self) -> &[KzgCommitment] {
        match self {
            Self::Capella(_) => &[],
            Self::Deneb(both) => &both.blobs_bundle.commitments,
            Self::Electra(both) => &both.blobs_bundle.commitments,
            Self::Fulu(both) => &both.blobs_bundle.commitments,
        }
    }
}
