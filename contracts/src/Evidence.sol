// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {ConstraintsMessage, SignedCommitment, SignedConstraintReceipt} from "./Objects.sol";

// What shows each fault of design §8, as `evidence = abi.encode(uint8 fault, bytes detail)` beside the commitment or
// delegation that is judged. `detail` is the ABI encoding of the fault's struct here, empty where none is named.
// The same structs stand in `crates/protocol/src/sol.rs`.
//
// | fault | judged | detail |
// |---|---|---|
// | 1 Equivocation | a commitment | `EquivocationEvidence` |
// | 2 BrokenChain | the later commitment, or the one that breaks the rule alone | `BrokenChainEvidence` |
// | 3 PostSeal | the commitment after the seal | `PostSealEvidence` |
// | 4 Omission | a microblock | `OmissionEvidence` |
// | 5 AtomicityBreak | a bundle | `AtomicityEvidence` |
// | 6 MissedWindow | a commitment of the segment, or a bundle | `MissedWindowEvidence`; accusation |
// | 7 ForcedInclusionSkipped | any ordering of the window | none |
// | 8 UnauthorizedSequencing | a commitment | none; accusation |
// | 9 AllocationEquivocation | two delegations | the registry's `slashEquivocation`, not the slasher |
// | 10 Misallocation | a delegation with entries | none; accusation |

uint8 constant EQUIVOCATION = 1;
uint8 constant BROKEN_CHAIN = 2;
uint8 constant POST_SEAL = 3;
uint8 constant OMISSION = 4;
uint8 constant ATOMICITY_BREAK = 5;
uint8 constant MISSED_WINDOW = 6;
uint8 constant FORCED_INCLUSION_SKIPPED = 7;
uint8 constant UNAUTHORIZED_SEQUENCING = 8;
uint8 constant ALLOCATION_EQUIVOCATION = 9;
uint8 constant MISALLOCATION = 10;

struct EquivocationEvidence {
    /// Another commitment for the same rollup, slot, segment and number.
    SignedCommitment other;
}

struct BrokenChainEvidence {
    /// The commitment with the number before; none if the judged one is wrong by itself: a number 0 with a parent or
    /// a first index, a seal with transactions.
    SignedCommitment[] previous;
}

struct PostSealEvidence {
    /// The seal of the same segment with a lower number, or the window's seal in a lower segment.
    SignedCommitment seal;
}

struct OmissionEvidence {
    /// Position of the transaction in its segment.
    uint32 index;
    /// The transaction that the microblock promised at `index`.
    bytes32 txHash;
    /// From the leaf at `index - firstIndex` to the microblock's `txRoot`; as long as the tree is deep.
    bytes32[] path;
    /// The segment's seal.
    SignedCommitment seal;
    /// The transaction that the seal shows at `index`; zero, without a path, if its count is not above `index`.
    bytes32 sealedTxHash;
    /// From the leaf at `index` to the seal's `txRoot`.
    bytes32[] sealedPath;
}

struct AtomicityEvidence {
    /// Which leg of the bundle.
    uint16 leg;
    /// A microblock or a seal of the leg's segment.
    SignedCommitment shown;
    /// The transaction that it shows at the leg's index; zero, without a path, if it is a seal with no such index.
    bytes32 shownTxHash;
    bytes32[] path;
}

struct MissedWindowEvidence {
    /// Which leg, if a bundle is judged; else 0.
    uint16 leg;
}

/// Answer to an accusation of MissedWindow: the batch was with the relay in time.
struct ConstraintAnswer {
    /// The constraints as the relay had them.
    ConstraintsMessage message;
    /// Which of its constraints: type 1, whose transaction submits the segment's seal to the Inbox.
    uint256 index;
    /// The relay's receipt: held, from before the cut-off.
    SignedConstraintReceipt receipt;
}
