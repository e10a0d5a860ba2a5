//! Full blocks with their blobs, as beacon nodes produce and publish them.

#![allow(missing_docs)] // Accessors that superstruct derives carry no text of their own.

use alloy_primitives::B256;
use serde::{Deserialize, Serialize};
use ssz_derive::{Decode, Encode};
use superstruct::superstruct;

use crate::{
    BeaconBlock, BeaconBlockCapella, BeaconBlockDeneb, BeaconBlockElectra, BeaconBlockFulu, BeaconBlockRef,
    BlobProofs, Blobs, BlobsBundle, BlsPublicKey, BlsSignature, CellProofs, ForkError, SignedBeaconBlock,
    SignedBeaconBlockCapella, SignedBeaconBlockDeneb, SignedBeaconBlockElectra, SignedBeaconBlockFulu,
    bls::{BlsError, SecretKey, verify},
    codec::fork_codec,
    domain::signing_root,
};

/// A signed block with its blobs, for publication.
#[superstruct(
    variants(Deneb, Electra, Fulu),
    variant_attributes(
        derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode),
        serde(deny_unknown_fields)
    ),
    no_enum
)]
pub struct SignedBlockAndBlobs {
    /// The block.
    #[superstruct(flatten)]
    pub signed_block: SignedBeaconBlock,
    /// Proofs of the blobs, one each.
    #[superstruct(only(Deneb, Electra))]
    pub kzg_proofs: BlobProofs,
    /// Proofs of the blobs, 128 each.
    #[superstruct(only(Fulu))]
    pub kzg_proofs: CellProofs,
    /// The blobs.
    pub blobs: Blobs,
}

/// What is published: a signed block, from Deneb on with its blobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum SignedBlockContents {
    /// The block alone.
    Capella(SignedBeaconBlockCapella),
    /// Block and blobs.
    Deneb(SignedBlockAndBlobsDeneb),
    /// Block and blobs.
    Electra(SignedBlockAndBlobsElectra),
    /// Block and blobs, with cell proofs.
    Fulu(SignedBlockAndBlobsFulu),
}

fork_codec!(SignedBlockContents { Capella, Deneb, Electra, Fulu });

/// A unsigned block with its blobs, for a validator to sign.
#[superstruct(
    variants(Deneb, Electra, Fulu),
    variant_attributes(
        derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode),
        serde(deny_unknown_fields)
    ),
    no_enum
)]
pub struct BlockAndBlobs {
    /// The block.
    #[superstruct(flatten)]
    pub block: BeaconBlock,
    /// Proofs of the blobs, one each.
    #[superstruct(only(Deneb, Electra))]
    pub kzg_proofs: BlobProofs,
    /// Proofs of the blobs, 128 each.
    #[superstruct(only(Fulu))]
    pub kzg_proofs: CellProofs,
    /// The blobs.
    pub blobs: Blobs,
}

/// What a beacon node proposes to a validator: a block, from Deneb on with its blobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum BlockContents {
    /// The block alone.
    Capella(BeaconBlockCapella),
    /// Block and blobs.
    Deneb(BlockAndBlobsDeneb),
    /// Block and blobs.
    Electra(BlockAndBlobsElectra),
    /// Block and blobs, with cell proofs.
    Fulu(BlockAndBlobsFulu),
}

fork_codec!(BlockContents { Capella, Deneb, Electra, Fulu });

impl SignedBlockContents {
    /// The block.
    pub const fn message(&self) -> BeaconBlockRef<'_> {
        match self {
            Self::Capella(block) => BeaconBlockRef::Capella(&block.message),
            Self::Deneb(contents) => BeaconBlockRef::Deneb(&contents.signed_block.message),
            Self::Electra(contents) => BeaconBlockRef::Electra(&contents.signed_block.message),
            Self::Fulu(contents) => BeaconBlockRef::Fulu(&contents.signed_block.message),
        }
    }

    /// The proposer's signature.
    pub const fn signature(&self) -> &BlsSignature {
        match self {
            Self::Capella(block) => &block.signature,
            Self::Deneb(contents) => &contents.signed_block.signature,
            Self::Electra(contents) => &contents.signed_block.signature,
            Self::Fulu(contents) => &contents.signed_block.signature,
        }
    }

    /// The signed block without its blobs.
    pub fn into_signed_block(self) -> SignedBeaconBlock {
        match self {
            Self::Capella(block) => SignedBeaconBlock::Capella(block),
            Self::Deneb(contents) => SignedBeaconBlock::Deneb(contents.signed_block),
            Self::Electra(contents) => SignedBeaconBlock::Electra(contents.signed_block),
            Self::Fulu(contents) => SignedBeaconBlock::Fulu(contents.signed_block),
        }
    }

    /// Verifies the signature with the proposer's key, in the beacon proposer domain of the
    /// block's fork.
    ///
    /// # Errors
    /// As [`verify`].
    pub fn verify(&self, proposer: &BlsPublicKey, proposer_domain: B256) -> Result<(), BlsError> {
        use tree_hash::TreeHash as _;
        let root = signing_root(self.message().tree_hash_root(), proposer_domain);
        verify(proposer, root, self.signature())
    }
}

impl BlockContents {
    /// Puts a block and its blobs together. Without a bundle there are no blobs.
    ///
    /// # Errors
    /// If the two are of different forks, or the fork is Bellatrix.
    pub fn new(block: BeaconBlock, blobs_bundle: Option<BlobsBundle>) -> Result<Self, ForkError> {
        macro_rules! bundled {
            ($fork:ident, $contents:ident, $block:expr) => {{
                let bundle = match blobs_bundle {
                    None => Default::default(),
                    Some(BlobsBundle::$fork(bundle)) => bundle,
                    Some(_) => return Err(ForkError),
                };
                Self::$fork($contents { block: $block, kzg_proofs: bundle.proofs, blobs: bundle.blobs })
            }};
        }
        Ok(match block {
            BeaconBlock::Bellatrix(_) => return Err(ForkError),
            BeaconBlock::Capella(block) => match blobs_bundle {
                None => Self::Capella(block),
                Some(_) => return Err(ForkError),
            },
            BeaconBlock::Deneb(block) => bundled!(Deneb, BlockAndBlobsDeneb, block),
            BeaconBlock::Electra(block) => bundled!(Electra, BlockAndBlobsElectra, block),
            BeaconBlock::Fulu(block) => bundled!(Fulu, BlockAndBlobsFulu, block),
        })
    }

    /// The block.
    pub const fn block(&self) -> BeaconBlockRef<'_> {
        match self {
            Self::Capella(block) => BeaconBlockRef::Capella(block),
            Self::Deneb(contents) => BeaconBlockRef::Deneb(&contents.block),
            Self::Electra(contents) => BeaconBlockRef::Electra(&contents.block),
            Self::Fulu(contents) => BeaconBlockRef::Fulu(&contents.block),
        }
    }

    /// Signs the block with its proposer's key, in the beacon proposer domain of its fork.
    pub fn sign(self, key: &SecretKey, proposer_domain: B256) -> SignedBlockContents {
        use tree_hash::TreeHash as _;
        let signature = key.sign(signing_root(self.block().tree_hash_root(), proposer_domain));
        self.with_signature(signature)
    }

    /// Joins the block with a signature made elsewhere.
    pub fn with_signature(self, signature: BlsSignature) -> SignedBlockContents {
        macro_rules! signed {
            ($fork:ident, $signed:ident, $contents:ident) => {
                SignedBlockContents::$fork($signed {
                    signed_block: ($contents.block, signature).into(),
                    kzg_proofs: $contents.kzg_proofs,
                    blobs: $contents.blobs,
                })
            };
        }
        match self {
            Self::Capella(block) => SignedBlockContents::Capella((block, signature).into()),
            Self::Deneb(contents) => signed!(Deneb, SignedBlockAndBlobsDeneb, contents),
            Self::Electra(contents) => signed!(Electra, SignedBlockAndBlobsElectra, contents),
            Self::Fulu(contents) => signed!(Fulu, SignedBlockAndBlobsFulu, contents),
        }
    }
}
