//! From a signed blinded block and its payload to the full block, and back.

use thiserror::Error;
use tree_hash::TreeHash as _;

use crate::*;

/// Why a payload cannot be put into a blinded block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum UnblindError {
    /// Block and payload are of different forks, or the fork is Bellatrix.
    #[error("block and payload are of different forks")]
    Fork,
    /// The block was signed over another header.
    #[error("the payload is not the one that the block was signed over")]
    Header,
    /// The blobs are not those that the block commits to.
    #[error("the blobs are not those that the block commits to")]
    Blobs,
}

/// Rebuilds a block around another form of its payload; every other field moves over.
macro_rules! refit {
    (
        $block:expr => $new_block:ident, $new_body:ident,
        |$taken:ident| { $payload:ident: $value:expr } [$($extra:ident),*]
    ) => {{
        let block = $block;
        let $taken = block.body;
        $new_block {
            slot: block.slot,
            proposer_index: block.proposer_index,
            parent_root: block.parent_root,
            state_root: block.state_root,
            body: $new_body {
                randao_reveal: $taken.randao_reveal,
                eth1_data: $taken.eth1_data,
                graffiti: $taken.graffiti,
                proposer_slashings: $taken.proposer_slashings,
                attester_slashings: $taken.attester_slashings,
                attestations: $taken.attestations,
                deposits: $taken.deposits,
                voluntary_exits: $taken.voluntary_exits,
                sync_aggregate: $taken.sync_aggregate,
                $payload: $value,
                $($extra: $taken.$extra,)*
            },
        }
    }};
}

/// Puts the payload into the signed blinded block, giving the block that is published. It has
/// the tree hash root that the proposer signed.
///
/// # Errors
/// If the payload's header is not the one in the block, or its blobs are not those committed to.
pub fn unblind(
    blinded: SignedBlindedBeaconBlock,
    payload: PayloadAndBlobs,
) -> Result<SignedBlockContents, UnblindError> {
    let committed = blinded.message().body().blob_kzg_commitments().cloned().unwrap_or_default();
    let signed_over = blinded.message().body().execution_payload_header().tree_hash_root();
    if blinded.fork() != payload.fork() {
        return Err(UnblindError::Fork);
    }
    if payload.payload().to_header().tree_hash_root() != signed_over {
        return Err(UnblindError::Header);
    }
    if committed.as_ref() != payload.commitments() {
        return Err(UnblindError::Blobs);
    }
    macro_rules! contents {
        (
            $fork:ident, $contents:ident, $signed:ident, $block:ident, $body:ident,
            $blinded:ident, $both:ident, [$($extra:ident),*]
        ) => {
            SignedBlockContents::$fork($contents {
                signed_block: $signed {
                    message: refit!(
                        $blinded.message => $block, $body,
                        |body| { execution_payload: $both.execution_payload } [$($extra),*]
                    ),
                    signature: $blinded.signature,
                },
                kzg_proofs: $both.blobs_bundle.proofs,
                blobs: $both.blobs_bundle.blobs,
            })
        };
    }
    Ok(match (blinded, payload) {
        (SignedBlindedBeaconBlock::Capella(blinded), PayloadAndBlobs::Capella(payload)) => {
            SignedBlockContents::Capella(SignedBeaconBlockCapella {
                message: refit!(
                    blinded.message => BeaconBlockCapella, BeaconBlockBodyCapella,
                    |body| { execution_payload: payload } [bls_to_execution_changes]
                ),
                signature: blinded.signature,
            })
        }
        (SignedBlindedBeaconBlock::Deneb(blinded), PayloadAndBlobs::Deneb(both)) => contents!(
            Deneb,
            SignedBlockAndBlobsDeneb,
            SignedBeaconBlockDeneb,
            BeaconBlockDeneb,
            BeaconBlockBodyDeneb,
            blinded,
            both,
            [bls_to_execution_changes, blob_kzg_commitments]
        ),
        (SignedBlindedBeaconBlock::Electra(blinded), PayloadAndBlobs::Electra(both)) => contents!(
            Electra,
            SignedBlockAndBlobsElectra,
            SignedBeaconBlockElectra,
            BeaconBlockElectra,
            BeaconBlockBodyElectra,
            blinded,
            both,
            [bls_to_execution_changes, blob_kzg_commitments, execution_requests]
        ),
        (SignedBlindedBeaconBlock::Fulu(blinded), PayloadAndBlobs::Fulu(both)) => contents!(
            Fulu,
            SignedBlockAndBlobsFulu,
            SignedBeaconBlockFulu,
            BeaconBlockFulu,
            BeaconBlockBodyFulu,
            blinded,
            both,
            [bls_to_execution_changes, blob_kzg_commitments, execution_requests]
        ),
        _ => return Err(UnblindError::Fork),
    })
}

impl BeaconBlock {
    /// The same block with the payload replaced by its header. It has the same tree hash root.
    pub fn into_blinded(self) -> BlindedBeaconBlock {
        macro_rules! blinded {
            ($fork:ident, $full:ident, $block:ident, $body:ident, [$($extra:ident),*]) => {
                BlindedBeaconBlock::$fork(refit!(
                    $full => $block, $body,
                    |body| { execution_payload_header: (&body.execution_payload).into() } [$($extra),*]
                ))
            };
        }
        match self {
            Self::Bellatrix(full) => {
                blinded!(Bellatrix, full, BlindedBeaconBlockBellatrix, BlindedBeaconBlockBodyBellatrix, [])
            }
            Self::Capella(full) => blinded!(
                Capella,
                full,
                BlindedBeaconBlockCapella,
                BlindedBeaconBlockBodyCapella,
                [bls_to_execution_changes]
            ),
            Self::Deneb(full) => blinded!(
                Deneb,
                full,
                BlindedBeaconBlockDeneb,
                BlindedBeaconBlockBodyDeneb,
                [bls_to_execution_changes, blob_kzg_commitments]
            ),
            Self::Electra(full) => blinded!(
                Electra,
                full,
                BlindedBeaconBlockElectra,
                BlindedBeaconBlockBodyElectra,
                [bls_to_execution_changes, blob_kzg_commitments, execution_requests]
            ),
            Self::Fulu(full) => blinded!(
                Fulu,
                full,
                BlindedBeaconBlockFulu,
                BlindedBeaconBlockBodyFulu,
                [bls_to_execution_changes, blob_kzg_commitments, execution_requests]
            ),
        }
    }
}
