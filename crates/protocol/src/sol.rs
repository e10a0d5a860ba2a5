//! The one schema of every object that is signed, hashed or read on L1 (design §2–§4), in Solidity's terms.
//!
//! BLS keys and signatures of signed structs are EIP-2537 points, in words: a field element is 64 bytes,
//! sixteen zeros and 48 bytes big-endian, so its first word is `_a` and its second `_b`.

#![allow(missing_docs, clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::too_many_arguments)]

alloy_sol_types::sol! {
    #[derive(Debug, PartialEq, Eq)]
    struct G1Point { bytes32 x_a; bytes32 x_b; bytes32 y_a; bytes32 y_b; }

    #[derive(Debug, PartialEq, Eq)]
    struct G2Point {
        bytes32 x_c0_a; bytes32 x_c0_b; bytes32 x_c1_a; bytes32 x_c1_b;
        bytes32 y_c0_a; bytes32 y_c0_b; bytes32 y_c1_a; bytes32 y_c1_b;
    }

    #[derive(Debug, PartialEq, Eq)]
    struct Registration { address owner; }

    #[derive(Debug, PartialEq, Eq)]
    struct Delegation { G1Point proposer; G1Point delegate; address committer; uint64 slot; bytes metadata; }

    #[derive(Debug, PartialEq, Eq)]
    struct SignedDelegation { Delegation delegation; uint64 nonce; bytes32 signingId; G2Point signature; }

    // The Registry's.
    #[derive(Debug, PartialEq, Eq)]
    struct SignedRegistration { G1Point pubkey; G2Point signature; uint64 nonce; }

    #[derive(Debug, PartialEq, Eq)]
    struct RegistrationProof {
        bytes32 registrationRoot; SignedRegistration registration; bytes32[] merkleProof; bytes32 signingId;
    }

    #[derive(Debug, PartialEq, Eq)]
    struct Commitment { uint64 commitmentType; bytes payload; bytes32 requestHash; address slasher; }

    #[derive(Debug, PartialEq, Eq)]
    struct CommitmentRequest { uint64 commitmentType; bytes payload; address slasher; }

    #[derive(Debug, PartialEq, Eq)]
    struct SignedCommitment { Commitment commitment; uint64 nonce; bytes32 signingId; bytes signature; }

    #[derive(Debug, PartialEq, Eq)]
    struct Constraint { uint64 constraintType; bytes payload; }

    #[derive(Debug, PartialEq, Eq)]
    struct ConstraintsMessage {
        G1Point proposer; G1Point delegate; uint64 slot; Constraint[] constraints; G1Point[] receivers;
    }

    #[derive(Debug, PartialEq, Eq)]
    struct InclusionPayload { uint64 slot; bytes signedTx; }

    #[derive(Debug, PartialEq, Eq)]
    struct InclusionProof { bytes signedTx; uint64 index; bytes32[] branch; }

    #[derive(Debug, PartialEq, Eq)]
    struct OrderingCommitment {
        uint64 rollupId; uint64 slot; uint16 segment; uint32 number;
        bytes32 parent;
        uint32 firstIndex; uint32 txCount;
        bytes32 txRoot; uint64 timestampMs; uint64 forcedInclusionHead;
        uint8 kind;
    }

    #[derive(Debug, PartialEq, Eq)]
    struct Leg { uint64 rollupId; uint64 slot; uint16 segment; uint32 index; bytes32 txHash; }

    #[derive(Debug, PartialEq, Eq)]
    struct BundleCommitment { bytes32 bundleHash; Leg[] legs; }

    #[derive(Debug, PartialEq, Eq)]
    struct OrderingBid {
        uint64 slot; uint64[] rollupIds; uint256 amountWei; address account; bytes32 registrationRoot;
        address committer; address relay; bytes delegate; string url; bytes32 matches; uint64 nonce; uint64 expiry;
    }

    #[derive(Debug, PartialEq, Eq)]
    struct BidAck { bytes32 bidHash; uint64 receivedAtMs; }

    #[derive(Debug, PartialEq, Eq)]
    struct AuctionResult {
        uint64 slot; bytes32 auctionRoot; bytes32[] winners; bytes32 allocationHash; uint64 closedAtMs;
    }

    #[derive(Debug, PartialEq, Eq)]
    struct AllocationEntry {
        uint64 rollupId; bytes32 bidHash; address account; address committer; bytes delegate; uint256 priceWei;
        string url;
    }

    #[derive(Debug, PartialEq, Eq)]
    struct SlotAllocation { uint64 slot; uint64 startMs; bytes32 auctionRoot; AllocationEntry[] entries; }

    #[derive(Debug, PartialEq, Eq)]
    struct DelegationReceipt { uint64 slot; bytes32 delegationHash; uint64 receivedAtMs; }

    #[derive(Debug, PartialEq, Eq)]
    struct SignedDelegationReceipt {
        DelegationReceipt receipt; uint64 nonce; bytes32 signingId; bytes signature;
    }

    #[derive(Debug, PartialEq, Eq)]
    struct ConstraintReceipt { uint64 slot; bytes32 constraintsHash; uint64 receivedAtMs; uint8 status; }

    #[derive(Debug, PartialEq, Eq)]
    struct SignedConstraintReceipt {
        ConstraintReceipt receipt; uint64 nonce; bytes32 signingId; bytes signature;
    }

    #[derive(Debug, PartialEq, Eq)]
    struct SignedAuctionResult { AuctionResult result; uint64 nonce; bytes32 signingId; bytes signature; }

    #[derive(Debug, PartialEq, Eq)]
    struct RollupRegistration {
        uint64 rollupId; uint256 reserveWei; address reserveCommitter; address revenueRecipient;
        uint16 inclusionShareBps; uint32 maxBatchBytes; uint64 maxTxGas;
        uint8 policy; uint8 requiredLevel; bool opaque; bool active; address relay; string uri;
    }

    // What shows each fault (design §8), as `contracts/src/Evidence.sol` has it.

    #[derive(Debug, PartialEq, Eq)]
    struct EquivocationEvidence { SignedCommitment other; }

    #[derive(Debug, PartialEq, Eq)]
    struct BrokenChainEvidence { SignedCommitment[] previous; }

    #[derive(Debug, PartialEq, Eq)]
    struct PostSealEvidence { SignedCommitment seal; }

    #[derive(Debug, PartialEq, Eq)]
    struct OmissionEvidence {
        uint32 index; bytes32 txHash; bytes32[] path; SignedCommitment seal; bytes32 sealedTxHash;
        bytes32[] sealedPath;
    }

    #[derive(Debug, PartialEq, Eq)]
    struct AtomicityEvidence { uint16 leg; SignedCommitment shown; bytes32 shownTxHash; bytes32[] path; }

    #[derive(Debug, PartialEq, Eq)]
    struct MissedWindowEvidence { uint16 leg; }

    #[derive(Debug, PartialEq, Eq)]
    struct ConstraintAnswer { ConstraintsMessage message; uint256 index; SignedConstraintReceipt receipt; }

    #[derive(Debug, PartialEq, Eq)]
    function settle(
        OrderingBid calldata bid, bytes calldata bidSignature, SignedDelegation calldata delegation,
        SignedDelegationReceipt calldata receipt
    ) external;

    #[derive(Debug, PartialEq, Eq)]
    function submit(bytes[] calldata txs, SignedCommitment calldata seal, bytes calldata authority) external;
}
