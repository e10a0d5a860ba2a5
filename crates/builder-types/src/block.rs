//! Beacon blocks, blinded (with a payload's header) and full (with the payload).

#![allow(missing_docs)] // Accessors that superstruct derives carry no text of their own.

use alloy_primitives::B256;
use serde::{Deserialize, Serialize};
use serde_with::As;
use ssz_derive::{Decode, Encode};
use ssz_types::{
    VariableList,
    typenum::{U1, U2, U8, U16, U128},
};
use superstruct::superstruct;
use tree_hash::TreeHash;
use tree_hash_derive::TreeHash;

use crate::{
    AttestationBase, AttestationElectra, AttesterSlashingBase, AttesterSlashingElectra, BeaconBlockHeader,
    BlsPublicKey, BlsSignature, Deposit, Eth1Data, ExecutionPayloadBellatrix, ExecutionPayloadCapella,
    ExecutionPayloadDeneb, ExecutionPayloadElectra, ExecutionPayloadFulu, ExecutionPayloadHeaderBellatrix,
    ExecutionPayloadHeaderCapella, ExecutionPayloadHeaderDeneb, ExecutionPayloadHeaderElectra,
    ExecutionPayloadHeaderFulu, ExecutionPayloadHeaderRef, ExecutionPayloadRef, ExecutionRequests, ForkError,
    KzgCommitments, ProposerSlashing, SignedBlsToExecutionChange, SignedVoluntaryExit, SyncAggregate,
    bls::{BlsError, SecretKey, verify},
    codec::{fork_codec, map_forks},
    decimal::Decimal,
    domain::signing_root,
};

/// Defines body, block and signed block around one kind of payload.
macro_rules! block_family {
    (
        body: $body:ident / $body_ref:ident,
        block: $block:ident / $block_ref:ident,
        signed: $signed:ident [$($signed_variant:ident: $block_variant:ident),+ $(,)?],
        $payload:ident: $payload_type:ident / $payload_ref:ident,
        $kind:literal
    ) => {
        #[doc = concat!("The body of a ", $kind, " beacon block.")]
        #[superstruct(
    variants(Bellatrix, Capella, Deneb, Electra, Fulu),
    variant_attributes(
        derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode, TreeHash),
        serde(deny_unknown_fields)
    ),
    ref_attributes(
        derive(Debug, PartialEq, TreeHash),
        tree_hash(enum_behaviour = "transparent")
    ),
    cast_error(ty = "ForkError", expr = "ForkError"),
    partial_getter_error(ty = "ForkError", expr = "ForkError")
        )]
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, TreeHash)]
        #[serde(untagged)]
        #[tree_hash(enum_behaviour = "transparent")]
        pub struct $body {
            /// The proposer's signature over the epoch.
            pub randao_reveal: BlsSignature,
            /// Vote on the deposit contract.
            pub eth1_data: Eth1Data,
            /// 32 bytes of the proposer's choice.
            #[superstruct(getter(copy))]
            pub graffiti: B256,
            /// At most 16.
            pub proposer_slashings: VariableList<ProposerSlashing, U16>,
            /// At most 2.
            #[superstruct(
                only(Bellatrix, Capella, Deneb),
                partial_getter(rename = "attester_slashings_base")
            )]
            pub attester_slashings: VariableList<AttesterSlashingBase, U2>,
            /// At most 1.
            #[superstruct(
                only(Electra, Fulu),
                partial_getter(rename = "attester_slashings_electra")
            )]
            pub attester_slashings: VariableList<AttesterSlashingElectra, U1>,
            /// At most 128.
            #[superstruct(
                only(Bellatrix, Capella, Deneb),
                partial_getter(rename = "attestations_base")
            )]
            pub attestations: VariableList<AttestationBase, U128>,
            /// At most 8.
            #[superstruct(only(Electra, Fulu), partial_getter(rename = "attestations_electra"))]
            pub attestations: VariableList<AttestationElectra, U8>,
            /// At most 16.
            pub deposits: VariableList<Deposit, U16>,
            /// At most 16.
            pub voluntary_exits: VariableList<SignedVoluntaryExit, U16>,
            /// The sync committee's vote on the parent.
            pub sync_aggregate: SyncAggregate,
            /// The execution payload, or its header.
            #[superstruct(flatten)]
            pub $payload: $payload_type,
            /// At most 16.
            #[superstruct(only(Capella, Deneb, Electra, Fulu))]
            pub bls_to_execution_changes: VariableList<SignedBlsToExecutionChange, U16>,
            /// Commitments of the payload's blobs.
            #[superstruct(only(Deneb, Electra, Fulu))]
            pub blob_kzg_commitments: KzgCommitments,
            /// The payload's execution requests.
            #[superstruct(only(Electra, Fulu))]
            pub execution_requests: ExecutionRequests,
        }

        fork_codec!($body { Bellatrix, Capella, Deneb, Electra, Fulu });

        impl<'a> $body_ref<'a> {
            #[doc = concat!("The payload of this ", $kind, " body.")]
            pub fn $payload(self) -> $payload_ref<'a> {
                map_forks!(self, Self => $payload_ref, |body| &body.$payload)
            }
        }

        impl $body {
            #[doc = concat!("The payload of this ", $kind, " body.")]
            pub fn $payload(&self) -> $payload_ref<'_> {
                map_forks!(self, Self => $payload_ref, |body| &body.$payload)
            }
        }

        #[doc = concat!("A ", $kind, " beacon block.")]
        #[superstruct(
    variants(Bellatrix, Capella, Deneb, Electra, Fulu),
    variant_attributes(
        derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode, TreeHash),
        serde(deny_unknown_fields)
    ),
    ref_attributes(
        derive(Debug, PartialEq, TreeHash),
        tree_hash(enum_behaviour = "transparent")
    ),
    cast_error(ty = "ForkError", expr = "ForkError"),
    partial_getter_error(ty = "ForkError", expr = "ForkError")
        )]
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, TreeHash)]
        #[serde(untagged)]
        #[tree_hash(enum_behaviour = "transparent")]
        pub struct $block {
            /// Slot.
            #[superstruct(getter(copy))]
            #[serde(with = "As::<Decimal>")]
            pub slot: u64,
            /// Validator index of the proposer.
            #[superstruct(getter(copy))]
            #[serde(with = "As::<Decimal>")]
            pub proposer_index: u64,
            /// Root of the parent block.
            #[superstruct(getter(copy))]
            pub parent_root: B256,
            /// Root of the state after the block.
            #[superstruct(getter(copy))]
            pub state_root: B256,
            /// What the block carries.
            #[superstruct(flatten)]
            pub body: $body,
        }

        fork_codec!($block { Bellatrix, Capella, Deneb, Electra, Fulu });

        impl<'a> $block_ref<'a> {
            /// What the block carries.
            pub fn body(self) -> $body_ref<'a> {
                map_forks!(self, Self => $body_ref, |block| &block.body)
            }

            /// The block with its body replaced by the body's root. It has the block's own tree
            /// hash root, whether blinded or full.
            pub fn block_header(self) -> BeaconBlockHeader {
                BeaconBlockHeader {
                    slot: self.slot(),
                    proposer_index: self.proposer_index(),
                    parent_root: self.parent_root(),
                    state_root: self.state_root(),
                    body_root: self.body().tree_hash_root(),
                }
            }
        }

        impl $block {
            /// What the block carries.
            pub fn body(&self) -> $body_ref<'_> {
                self.to_ref().body()
            }

            /// Signs the block with its proposer's key, in the beacon proposer domain of its
            /// fork.
            pub fn sign(self, key: &SecretKey, proposer_domain: B256) -> $signed {
                let signature = key.sign(signing_root(self.tree_hash_root(), proposer_domain));
                self.with_signature(signature)
            }

            /// Joins the block with a signature made elsewhere.
            pub fn with_signature(self, signature: BlsSignature) -> $signed {
                map_forks!(self, Self => $signed, |message| (message, signature).into())
            }
        }

        #[doc = concat!("A signed ", $kind, " beacon block.")]
        #[superstruct(
    variants(Bellatrix, Capella, Deneb, Electra, Fulu),
    variant_attributes(
        derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode, TreeHash),
        serde(deny_unknown_fields)
    ),
    cast_error(ty = "ForkError", expr = "ForkError"),
    partial_getter_error(ty = "ForkError", expr = "ForkError")
        )]
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, TreeHash)]
        #[serde(untagged)]
        #[tree_hash(enum_behaviour = "transparent")]
        pub struct $signed {
            /// The block.
            #[superstruct(flatten)]
            pub message: $block,
            /// By the proposer.
            pub signature: BlsSignature,
        }

        fork_codec!($signed { Bellatrix, Capella, Deneb, Electra, Fulu });

        $(
            impl From<($block_variant, BlsSignature)> for $signed_variant {
                fn from((message, signature): ($block_variant, BlsSignature)) -> Self {
                    Self { message, signature }
                }
            }
        )+

        impl $signed {
            /// The block.
            pub fn message(&self) -> $block_ref<'_> {
                map_forks!(self, Self => $block_ref, |signed| &signed.message)
            }

            /// Verifies the signature with the proposer's key, in the beacon proposer domain of
            /// the block's fork.
            ///
            /// # Errors
            /// As [`verify`].
            pub fn verify(
                &self,
                proposer: &BlsPublicKey,
                proposer_domain: B256,
            ) -> Result<(), BlsError> {
                let root = signing_root(self.message().tree_hash_root(), proposer_domain);
                verify(proposer, root, self.signature())
            }
        }
    };
}

block_family! {
    body: BlindedBeaconBlockBody / BlindedBeaconBlockBodyRef,
    block: BlindedBeaconBlock / BlindedBeaconBlockRef,
    signed: SignedBlindedBeaconBlock [
        SignedBlindedBeaconBlockBellatrix: BlindedBeaconBlockBellatrix,
        SignedBlindedBeaconBlockCapella: BlindedBeaconBlockCapella,
        SignedBlindedBeaconBlockDeneb: BlindedBeaconBlockDeneb,
        SignedBlindedBeaconBlockElectra: BlindedBeaconBlockElectra,
        SignedBlindedBeaconBlockFulu: BlindedBeaconBlockFulu,
    ],
    execution_payload_header: ExecutionPayloadHeader / ExecutionPayloadHeaderRef,
    "blinded"
}

block_family! {
    body: BeaconBlockBody / BeaconBlockBodyRef,
    block: BeaconBlock / BeaconBlockRef,
    signed: SignedBeaconBlock [
        SignedBeaconBlockBellatrix: BeaconBlockBellatrix,
        SignedBeaconBlockCapella: BeaconBlockCapella,
        SignedBeaconBlockDeneb: BeaconBlockDeneb,
        SignedBeaconBlockElectra: BeaconBlockElectra,
        SignedBeaconBlockFulu: BeaconBlockFulu,
    ],
    execution_payload: ExecutionPayload / ExecutionPayloadRef,
    "full"
}
