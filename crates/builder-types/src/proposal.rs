//! Blocks that carry nothing but their payload, as a proposer without attestations makes them.

use alloy_primitives::B256;
use ssz_types::VariableList;

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

macro_rules! propose {
    (
        $context:ident, $block:ident, $body:ident,
        { $payload:ident: $value:expr } [$($extra:ident: $with:expr),*]
    ) => {{
        let context = $context;
        $block {
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
                $payload: $value,
                $($extra: $with,)*
            },
        }
    }};
}

/// Before Deneb there are no blobs, before Electra no execution requests.
fn fits(fork: ForkName, commitments: &KzgCommitments, requests: &ExecutionRequests) -> Result<(), ForkError> {
    let fits = (fork.has_blobs() || commitments.is_empty())
        && (fork.has_requests() || *requests == ExecutionRequests::default());
    if fits { Ok(()) } else { Err(ForkError) }
}

impl BlindedBeaconBlock {
    /// A block that carries only this header, of the header's fork.
    ///
    /// # Errors
    /// If commitments are given before Deneb, or requests before Electra.
    pub fn new_for_proposal(
        context: ProposalContext,
        header: ExecutionPayloadHeader,
        blob_kzg_commitments: KzgCommitments,
        execution_requests: ExecutionRequests,
    ) -> Result<Self, ForkError> {
        fits(header.fork(), &blob_kzg_commitments, &execution_requests)?;
        Ok(match header {
            ExecutionPayloadHeader::Bellatrix(header) => Self::Bellatrix(propose!(
                context, BlindedBeaconBlockBellatrix, BlindedBeaconBlockBodyBellatrix,
                { execution_payload_header: header }
                []
            )),
            ExecutionPayloadHeader::Capella(header) => Self::Capella(propose!(
                context, BlindedBeaconBlockCapella, BlindedBeaconBlockBodyCapella,
                { execution_payload_header: header }
                [bls_to_execution_changes: VariableList::default()]
            )),
            ExecutionPayloadHeader::Deneb(header) => Self::Deneb(propose!(
                context, BlindedBeaconBlockDeneb, BlindedBeaconBlockBodyDeneb,
                { execution_payload_header: header }
                [bls_to_execution_changes: VariableList::default(),
                 blob_kzg_commitments: blob_kzg_commitments]
            )),
            ExecutionPayloadHeader::Electra(header) => Self::Electra(propose!(
                context, BlindedBeaconBlockElectra, BlindedBeaconBlockBodyElectra,
                { execution_payload_header: header }
                [bls_to_execution_changes: VariableList::default(),
                 blob_kzg_commitments: blob_kzg_commitments,
                 execution_requests: execution_requests]
            )),
            ExecutionPayloadHeader::Fulu(header) => Self::Fulu(propose!(
                context, BlindedBeaconBlockFulu, BlindedBeaconBlockBodyFulu,
                { execution_payload_header: header }
                [bls_to_execution_changes: VariableList::default(),
                 blob_kzg_commitments: blob_kzg_commitments,
                 execution_requests: execution_requests]
            )),
        })
    }
}

impl BeaconBlock {
    /// A block that carries only this payload, of the payload's fork.
    ///
    /// # Errors
    /// If commitments are given before Deneb, or requests before Electra.
    pub fn new_for_proposal(
        context: ProposalContext,
        payload: ExecutionPayload,
        blob_kzg_commitments: KzgCommitments,
        execution_requests: ExecutionRequests,
    ) -> Result<Self, ForkError> {
        fits(payload.fork(), &blob_kzg_commitments, &execution_requests)?;
        Ok(match payload {
            ExecutionPayload::Bellatrix(payload) => Self::Bellatrix(propose!(
                context, BeaconBlockBellatrix, BeaconBlockBodyBellatrix,
                { execution_payload: payload }
                []
            )),
            ExecutionPayload::Capella(payload) => Self::Capella(propose!(
                context, BeaconBlockCapella, BeaconBlockBodyCapella,
                { execution_payload: payload }
                [bls_to_execution_changes: VariableList::default()]
            )),
            ExecutionPayload::Deneb(payload) => Self::Deneb(propose!(
                context, BeaconBlockDeneb, BeaconBlockBodyDeneb,
                { execution_payload: payload }
                [bls_to_execution_changes: VariableList::default(),
                 blob_kzg_commitments: blob_kzg_commitments]
            )),
            ExecutionPayload::Electra(payload) => Self::Electra(propose!(
                context, BeaconBlockElectra, BeaconBlockBodyElectra,
                { execution_payload: payload }
                [bls_to_execution_changes: VariableList::default(),
                 blob_kzg_commitments: blob_kzg_commitments,
                 execution_requests: execution_requests]
            )),
            ExecutionPayload::Fulu(payload) => Self::Fulu(propose!(
                context, BeaconBlockFulu, BeaconBlockBodyFulu,
                { execution_payload: payload }
                [bls_to_execution_changes: VariableList::default(),
                 blob_kzg_commitments: blob_kzg_commitments,
                 execution_requests: execution_requests]
            )),
        })
    }
}
