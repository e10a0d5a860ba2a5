//! Blocks that carry nothing but their payload, as a proposer without attestations makes them.

use alloy_primitives::B256;
use ssz_types::{VariableList, typenum::U16};

use crate::*;

/// Everything in a proposal besides its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProposalContext {
    /// Slot.
    pub slot: u64,
    /// Validator index of the proposer.
    pub proposer_index: u64,
    /// Root of the parent block.
    pub parent_root: B256,
    /// Root of the state after the block.
    pub state_root: B256,
    /// The proposer's signature over the epoch.
    pub randao_reveal: BlsSignature,
    /// Vote on the deposit contract.
    pub eth1_data: Eth1Data,
    /// 32 bytes of the proposer's choice.
    pub graffiti: B256,
    /// The sync committee's vote on the parent.
    pub sync_aggregate: SyncAggregate,
}

/// Before Deneb there are no blobs, before Electra no execution requests.
fn fits(fork: ForkName, commitments: &KzgCommitments, requests: &ExecutionRequests) -> Result<(), ForkError> {
    let fits = (fork.has_blobs() || commitments.is_empty())
        && (fork.has_requests() || *requests == ExecutionRequests::default());
    if fits { Ok(()) } else { Err(ForkError) }
}

/// What bodies have from some fork on.
struct Later {
    bls_to_execution_changes: VariableList<SignedBlsToExecutionChange, U16>,
    blob_kzg_commitments: KzgCommitments,
    execution_requests: ExecutionRequests,
}

/// A block around a payload or its header, and what its body has from each fork on.
macro_rules! propose {
    (
        $enum:ident around $of:ident as $field:ident, $doc:literal,
        $($fork:ident: $block:ident, $body:ident [$($extra:ident),*];)+
    ) => {
        impl $enum {
            #[doc = $doc]
            ///
            /// # Errors
            /// If commitments are given before Deneb, or requests before Electra.
            pub fn new_for_proposal(
                context: ProposalContext,
                payload: $of,
                blob_kzg_commitments: KzgCommitments,
                execution_requests: ExecutionRequests,
            ) -> Result<Self, ForkError> {
                fits(payload.fork(), &blob_kzg_commitments, &execution_requests)?;
                let later = Later {
                    bls_to_execution_changes: VariableList::default(),
                    blob_kzg_commitments,
                    execution_requests,
                };
                Ok(match payload {
                    $($of::$fork(payload) => Self::$fork($block {
                        slot: context.slot,
                        proposer_index: context.proposer_index,
                        parent_root: context.parent_root,
                        state_root: context.state_root,
                        body: $body {
                            randao_reveal: context.randao_reveal,
                            eth1_data: context.eth1_data,
                            graffiti: context.graffiti,
                            proposer_slashings: VariableList::default(),
                            attester_slashings: VariableList::default(),
                            attestations: VariableList::default(),
                            deposits: VariableList::default(),
                            voluntary_exits: VariableList::default(),
                            sync_aggregate: context.sync_aggregate,
                            $field: payload,
                            $($extra: later.$extra,)*
                        },
                    }),)+
                })
            }
        }
    };
}

propose! {
    BlindedBeaconBlock around ExecutionPayloadHeader as execution_payload_header,
    "A block that carries only this header, of the header's fork.",
    Bellatrix: BlindedBeaconBlockBellatrix, BlindedBeaconBlockBodyBellatrix [];
    Capella: BlindedBeaconBlockCapella, BlindedBeaconBlockBodyCapella [bls_to_execution_changes];
    Deneb: BlindedBeaconBlockDeneb, BlindedBeaconBlockBodyDeneb
        [bls_to_execution_changes, blob_kzg_commitments];
    Electra: BlindedBeaconBlockElectra, BlindedBeaconBlockBodyElectra
        [bls_to_execution_changes, blob_kzg_commitments, execution_requests];
    Fulu: BlindedBeaconBlockFulu, BlindedBeaconBlockBodyFulu
        [bls_to_execution_changes, blob_kzg_commitments, execution_requests];
}

propose! {
    BeaconBlock around ExecutionPayload as execution_payload,
    "A block that carries only this payload, of the payload's fork.",
    Bellatrix: BeaconBlockBellatrix, BeaconBlockBodyBellatrix [];
    Capella: BeaconBlockCapella, BeaconBlockBodyCapella [bls_to_execution_changes];
    Deneb: BeaconBlockDeneb, BeaconBlockBodyDeneb [bls_to_execution_changes, blob_kzg_commitments];
    Electra: BeaconBlockElectra, BeaconBlockBodyElectra
        [bls_to_execution_changes, blob_kzg_commitments, execution_requests];
    Fulu: BeaconBlockFulu, BeaconBlockBodyFulu
        [bls_to_execution_changes, blob_kzg_commitments, execution_requests];
}
