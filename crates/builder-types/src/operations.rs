//! What a beacon block carries besides its payload.

use alloy_primitives::{Address, B256};
use serde::{Deserialize, Serialize};
use serde_with::As;
use ssz_derive::{Decode, Encode};
use ssz_types::{
    BitList, BitVector, FixedVector, VariableList,
    serde_utils::quoted_u64_var_list,
    typenum::{U33, U64, U512, U2048, U131072},
};
use superstruct::superstruct;
use tree_hash_derive::TreeHash;

use crate::{BlsPublicKey, BlsSignature, decimal::Decimal};

/// A vote on the deposit contract's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode, TreeHash, Default)]
#[serde(deny_unknown_fields)]
pub struct Eth1Data {
    /// Root of the deposit tree.
    pub deposit_root: B256,
    /// Number of deposits.
    #[serde(with = "As::<Decimal>")]
    pub deposit_count: u64,
    /// Execution block voted for.
    pub block_hash: B256,
}

/// A beacon block with its body replaced by the body's root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode, TreeHash)]
#[serde(deny_unknown_fields)]
pub struct BeaconBlockHeader {
    /// Slot.
    #[serde(with = "As::<Decimal>")]
    pub slot: u64,
    /// Validator index of the proposer.
    #[serde(with = "As::<Decimal>")]
    pub proposer_index: u64,
    /// Root of the parent block.
    pub parent_root: B256,
    /// Root of the state after the block.
    pub state_root: B256,
    /// Root of the body.
    pub body_root: B256,
}

/// A signed block header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode, TreeHash)]
#[serde(deny_unknown_fields)]
pub struct SignedBeaconBlockHeader {
    /// The header.
    pub message: BeaconBlockHeader,
    /// By its proposer.
    pub signature: BlsSignature,
}

/// Two different headers signed by one proposer for one slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode, TreeHash)]
#[serde(deny_unknown_fields)]
pub struct ProposerSlashing {
    /// One.
    pub signed_header_1: SignedBeaconBlockHeader,
    /// The other.
    pub signed_header_2: SignedBeaconBlockHeader,
}

/// An epoch and the block at its start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode, TreeHash)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// Epoch.
    #[serde(with = "As::<Decimal>")]
    pub epoch: u64,
    /// Block root.
    pub root: B256,
}

/// What attesters vote for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode, TreeHash)]
#[serde(deny_unknown_fields)]
pub struct AttestationData {
    /// Slot.
    #[serde(with = "As::<Decimal>")]
    pub slot: u64,
    /// Committee; 0 from Electra on.
    #[serde(with = "As::<Decimal>")]
    pub index: u64,
    /// Head.
    pub beacon_block_root: B256,
    /// Justified checkpoint.
    pub source: Checkpoint,
    /// Checkpoint to justify.
    pub target: Checkpoint,
}

/// An attestation with its attesters by index: `Base` before Electra, `Electra` from then on.
#[superstruct(
    variants(Base, Electra),
    variant_attributes(
        derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode, TreeHash),
        serde(deny_unknown_fields),
        doc = "An attestation with its attesters by index."
    ),
    no_enum
)]
pub struct IndexedAttestation {
    /// Who attested.
    #[superstruct(only(Base))]
    #[serde(with = "quoted_u64_var_list")]
    pub attesting_indices: VariableList<u64, U2048>,
    /// Who attested.
    #[superstruct(only(Electra))]
    #[serde(with = "quoted_u64_var_list")]
    pub attesting_indices: VariableList<u64, U131072>,
    /// The vote.
    pub data: AttestationData,
    /// Aggregate of their signatures.
    pub signature: BlsSignature,
}

/// Two attestations that contradict each other.
#[superstruct(
    variants(Base, Electra),
    variant_attributes(
        derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode, TreeHash),
        serde(deny_unknown_fields),
        doc = "Two attestations that contradict each other."
    ),
    no_enum
)]
pub struct AttesterSlashing {
    /// One.
    #[superstruct(flatten)]
    pub attestation_1: IndexedAttestation,
    /// The other.
    #[superstruct(flatten)]
    pub attestation_2: IndexedAttestation,
}

/// An aggregated attestation.
#[superstruct(
    variants(Base, Electra),
    variant_attributes(
        derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode, TreeHash),
        serde(deny_unknown_fields),
        doc = "An aggregated attestation."
    ),
    no_enum
)]
pub struct Attestation {
    /// Who of the committee attested.
    #[superstruct(only(Base))]
    pub aggregation_bits: BitList<U2048>,
    /// Who of the committees attested.
    #[superstruct(only(Electra))]
    pub aggregation_bits: BitList<U131072>,
    /// The vote.
    pub data: AttestationData,
    /// Aggregate of their signatures.
    pub signature: BlsSignature,
    /// Which committees attested.
    #[superstruct(only(Electra))]
    pub committee_bits: BitVector<U64>,
}

/// What a depositor signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode, TreeHash)]
#[serde(deny_unknown_fields)]
pub struct DepositData {
    /// Key of the validator.
    pub pubkey: BlsPublicKey,
    /// Where its stake is withdrawn to.
    pub withdrawal_credentials: B256,
    /// Gwei.
    #[serde(with = "As::<Decimal>")]
    pub amount: u64,
    /// Of the deposit message.
    pub signature: BlsSignature,
}

/// A deposit with its proof against the deposit tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode, TreeHash)]
#[serde(deny_unknown_fields)]
pub struct Deposit {
    /// Branch, and the tree's count.
    pub proof: FixedVector<B256, U33>,
    /// The deposit.
    pub data: DepositData,
}

/// A validator's wish to exit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode, TreeHash)]
#[serde(deny_unknown_fields)]
pub struct VoluntaryExit {
    /// Earliest epoch.
    #[serde(with = "As::<Decimal>")]
    pub epoch: u64,
    /// Who.
    #[serde(with = "As::<Decimal>")]
    pub validator_index: u64,
}

/// A signed exit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode, TreeHash)]
#[serde(deny_unknown_fields)]
pub struct SignedVoluntaryExit {
    /// The exit.
    pub message: VoluntaryExit,
    /// By the validator.
    pub signature: BlsSignature,
}

/// The sync committee's signature over the parent block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode, TreeHash)]
#[serde(deny_unknown_fields)]
pub struct SyncAggregate {
    /// Who signed.
    pub sync_committee_bits: BitVector<U512>,
    /// Aggregate of their signatures.
    pub sync_committee_signature: BlsSignature,
}

impl SyncAggregate {
    /// An aggregate that nobody signed: its signature is the point at infinity.
    pub fn empty() -> Self {
        let mut infinity = BlsSignature::ZERO;
        if let Some(first) = infinity.first_mut() {
            *first = 0xc0;
        }
        Self { sync_committee_bits: BitVector::new(), sync_committee_signature: infinity }
    }
}

/// A change of withdrawal credentials.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode, TreeHash)]
#[serde(deny_unknown_fields)]
pub struct BlsToExecutionChange {
    /// Whose.
    #[serde(with = "As::<Decimal>")]
    pub validator_index: u64,
    /// Key of the old credentials.
    pub from_bls_pubkey: BlsPublicKey,
    /// New address.
    pub to_execution_address: Address,
}

/// A signed change of credentials.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode, TreeHash)]
#[serde(deny_unknown_fields)]
pub struct SignedBlsToExecutionChange {
    /// The change.
    pub message: BlsToExecutionChange,
    /// By the old key.
    pub signature: BlsSignature,
}

/// A withdrawal that a payload carries out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode, TreeHash)]
#[serde(deny_unknown_fields)]
pub struct Withdrawal {
    /// Number of the withdrawal.
    #[serde(with = "As::<Decimal>")]
    pub index: u64,
    /// Whose.
    #[serde(with = "As::<Decimal>")]
    pub validator_index: u64,
    /// To whom.
    pub address: Address,
    /// Gwei.
    #[serde(with = "As::<Decimal>")]
    pub amount: u64,
}

impl From<alloy_eips::eip4895::Withdrawal> for Withdrawal {
    fn from(from: alloy_eips::eip4895::Withdrawal) -> Self {
        let alloy_eips::eip4895::Withdrawal { index, validator_index, address, amount } = from;
        Self { index, validator_index, address, amount }
    }
}

impl From<Withdrawal> for alloy_eips::eip4895::Withdrawal {
    fn from(from: Withdrawal) -> Self {
        let Withdrawal { index, validator_index, address, amount } = from;
        Self { index, validator_index, address, amount }
    }
}
