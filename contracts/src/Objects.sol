// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

// The objects that are signed, hashed or read on L1 (design §2–§4). The same schema stands in
// `crates/protocol/src/sol.rs`; a test of `contracts/bindings` keeps the two alike.

// ---- BLS points as EIP-2537 has them: a field element is 64 bytes, sixteen zeros first; `_a`, `_b` its halves.

struct G1Point {
    bytes32 x_a;
    bytes32 x_b;
    bytes32 y_a;
    bytes32 y_b;
}

struct G2Point {
    bytes32 x_c0_a;
    bytes32 x_c0_b;
    bytes32 x_c1_a;
    bytes32 x_c1_b;
    bytes32 y_c0_a;
    bytes32 y_c0_b;
    bytes32 y_c1_a;
    bytes32 y_c1_b;
}

// ---- The proposer's: message types 1 and 2.

struct Registration {
    address owner;
}

/// One proposer's right over one slot, signed over to a delegate (BLS) and a committer (ECDSA).
struct Delegation {
    G1Point proposer;
    G1Point delegate;
    address committer;
    uint64 slot;
    /// `abi.encode(uint8 version = 1, SlotAllocation)`, or empty.
    bytes metadata;
}

struct SignedDelegation {
    Delegation delegation;
    uint64 nonce;
    bytes32 signingId;
    G2Point signature;
}

// ---- The committer's: message type 3.

struct Commitment {
    uint64 commitmentType;
    bytes payload;
    bytes32 requestHash;
    address slasher;
}

struct CommitmentRequest {
    uint64 commitmentType;
    bytes payload;
    address slasher;
}

struct SignedCommitment {
    Commitment commitment;
    uint64 nonce;
    bytes32 signingId;
    /// r‖s‖v, 65 bytes.
    bytes signature;
}

/// Payload of commitment type 1: inclusion of a transaction in an L1 slot.
struct InclusionPayload {
    uint64 slot;
    bytes signedTx;
}

/// Payload of commitment type 0x11: a microblock, or the seal of a segment.
struct OrderingCommitment {
    uint64 rollupId;
    uint64 slot;
    uint16 segment;
    /// Microblock number in the segment, from 0.
    uint32 number;
    /// Hash of the commitment before it in the segment; 0 for number 0.
    bytes32 parent;
    uint32 firstIndex;
    uint32 txCount;
    bytes32 txRoot;
    uint64 timestampMs;
    uint64 forcedInclusionHead;
    /// 0 microblock; 1 seal of the segment; 2 seal of the window's last segment.
    uint8 kind;
}

struct Leg {
    uint64 rollupId;
    uint64 slot;
    uint16 segment;
    uint32 index;
    bytes32 txHash;
}

/// Payload of commitment type 0x12: all legs or none.
struct BundleCommitment {
    bytes32 bundleHash;
    Leg[] legs;
}

// ---- The delegate's: message type 4.

struct Constraint {
    uint64 constraintType;
    bytes payload;
}

struct ConstraintsMessage {
    G1Point proposer;
    G1Point delegate;
    uint64 slot;
    Constraint[] constraints;
    G1Point[] receivers;
}

// ---- The market's: a bid is signed as EIP-712 by the operator's account.

struct OrderingBid {
    uint64 slot;
    /// Sorted, unique.
    uint64[] rollupIds;
    uint256 amountWei;
    address account;
    bytes32 registrationRoot;
    address committer;
    address relay;
    /// BLS public key, 48 bytes.
    bytes delegate;
    string url;
    /// 0, or the hash of the bid matched by first refusal.
    bytes32 matches;
    uint64 nonce;
    uint64 expiry;
}

struct AllocationEntry {
    uint64 rollupId;
    bytes32 bidHash;
    address account;
    address committer;
    bytes delegate;
    uint256 priceWei;
    string url;
}

struct SlotAllocation {
    uint64 slot;
    uint64 startMs;
    bytes32 auctionRoot;
    AllocationEntry[] entries;
}

struct RollupRegistration {
    /// The rollup's chain id.
    uint64 rollupId;
    uint256 reserveWei;
    address reserveCommitter;
    address revenueRecipient;
    uint16 inclusionShareBps;
    uint32 maxBatchBytes;
    uint64 maxTxGas;
    uint8 policy;
    uint8 requiredLevel;
    bool opaque;
    bool active;
    address relay;
    string uri;
}

// ---- The relay's: message types 0x101 to 0x104.

struct BidAck {
    bytes32 bidHash;
    uint64 receivedAtMs;
}

struct AuctionResult {
    uint64 slot;
    bytes32 auctionRoot;
    bytes32[] winners;
    bytes32 allocationHash;
    uint64 closedAtMs;
}

struct DelegationReceipt {
    uint64 slot;
    bytes32 delegationHash;
    uint64 receivedAtMs;
}

struct SignedDelegationReceipt {
    DelegationReceipt receipt;
    uint64 nonce;
    bytes32 signingId;
    bytes signature;
}

struct ConstraintReceipt {
    uint64 slot;
    bytes32 constraintsHash;
    uint64 receivedAtMs;
    /// 0 held, 1 dropped.
    uint8 status;
}

struct SignedConstraintReceipt {
    ConstraintReceipt receipt;
    uint64 nonce;
    bytes32 signingId;
    bytes signature;
}

struct SignedAuctionResult {
    AuctionResult result;
    uint64 nonce;
    bytes32 signingId;
    bytes signature;
}
