// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {BrokenChainEvidence, EquivocationEvidence, PostSealEvidence} from "../Evidence.sol";
import {Commitment, Delegation, Leg, OrderingCommitment, SignedCommitment} from "../Objects.sol";
import {Signing} from "../Signing.sol";
import {IOrderingSlasher} from "../interfaces/IOrderingSlasher.sol";

/// @title What orderings and bundles say, and the faults that two links of a chain show (design §4, §8)
library Orderings {
    /// @notice Whose commitments are judged, and by whose rules.
    struct Signer {
        address committer;
        /// `Signing.domain` of the network.
        bytes32 domain;
    }

    uint64 internal constant ORDERING = 0x11;
    uint64 internal constant BUNDLE = 0x12;
    uint8 internal constant WINDOW_SEAL = 2;

    uint256 private constant ORDERING_BYTES = 11 * 32;
    uint256 private constant BUNDLE_HEAD_BYTES = 4 * 32;
    uint256 private constant LEG_BYTES = 5 * 32;

    /// @notice The ordering that a commitment holds. The payload has one form: eleven words, each in range.
    function read(Commitment calldata commitment) internal pure returns (OrderingCommitment memory) {
        bytes calldata payload = commitment.payload;
        if (commitment.commitmentType != ORDERING || payload.length != ORDERING_BYTES) {
            revert IOrderingSlasher.NotAnOrdering();
        }
        uint256 excess;
        assembly ("memory-safe") {
            function word(start, index) -> value {
                value := calldataload(add(start, shl(5, index)))
            }
            let p := payload.offset
            // rollupId, slot, timestampMs, forcedInclusionHead; segment; number, firstIndex, txCount; kind
            excess := shr(64, or(or(word(p, 0), word(p, 1)), or(word(p, 8), word(p, 9))))
            excess := or(excess, shr(16, word(p, 2)))
            excess := or(excess, shr(32, or(word(p, 3), or(word(p, 5), word(p, 6)))))
            excess := or(excess, gt(word(p, 10), 2))
        }
        if (excess != 0) revert IOrderingSlasher.NotAnOrdering();
        return abi.decode(payload, (OrderingCommitment));
    }

    /// @notice A leg of the bundle that a commitment holds. The payload has one form, each number in range.
    function readLeg(Commitment calldata commitment, uint256 index) internal pure returns (Leg memory leg) {
        bytes calldata payload = commitment.payload;
        if (commitment.commitmentType != BUNDLE || payload.length < BUNDLE_HEAD_BYTES) {
            revert IOrderingSlasher.NotABundle();
        }
        uint256 count = (payload.length - BUNDLE_HEAD_BYTES) / LEG_BYTES;
        uint256 wrong;
        assembly ("memory-safe") {
            let p := payload.offset
            let legs := add(p, BUNDLE_HEAD_BYTES)
            let end := add(p, payload.length)
            wrong := or(xor(calldataload(p), 0x20), xor(calldataload(add(p, 0x40)), 0x40))
            wrong := or(wrong, xor(calldataload(add(p, 0x60)), count))
            wrong := or(wrong, xor(add(legs, mul(count, LEG_BYTES)), end))
            for { let pos := legs } lt(pos, end) { pos := add(pos, LEG_BYTES) } {
                wrong := or(wrong, shr(64, or(calldataload(pos), calldataload(add(pos, 0x20)))))
                wrong := or(wrong, shr(16, calldataload(add(pos, 0x40))))
                wrong := or(wrong, shr(32, calldataload(add(pos, 0x60))))
            }
        }
        if (wrong != 0) revert IOrderingSlasher.NotABundle();
        if (index >= count) revert IOrderingSlasher.NoSuchLeg();
        uint256 from = BUNDLE_HEAD_BYTES + index * LEG_BYTES;
        return abi.decode(payload[from:from + LEG_BYTES], (Leg));
    }

    /// @notice The ordering of another commitment of the evidence, which the same signer must have signed.
    /// @dev For whatever slasher: the Inbox takes a seal for any, so one that names none could else reorder what was promised
    /// under this one, and be evidence of nothing.
    function readSigned(SignedCommitment calldata signed, Signer memory signer)
        internal
        view
        returns (OrderingCommitment memory ordering)
    {
        ordering = read(signed.commitment);
        address found = recover(signed, signer.domain);
        if (found != signer.committer) revert IOrderingSlasher.OtherSigner(found);
    }

    /// @notice Who signed a commitment; zero if nobody can be recovered.
    function recover(SignedCommitment calldata signed, bytes32 domain) internal view returns (address) {
        bytes32 root = Signing.commitmentRoot(signed.commitment);
        root = Signing.signingRoot(root, signed.signingId, signed.nonce, block.chainid, domain);
        return Signing.recover(root, signed.signature);
    }

    /// @notice What stands for the signer of a delegation: the first twenty bytes of the hash of the proposer's key.
    function proposerOf(Delegation calldata delegation) internal pure returns (address) {
        return address(bytes20(keccak256(abi.encode(delegation.proposer))));
    }

    /// @notice Two commitments for one place.
    function equivocation(
        Commitment calldata commitment,
        OrderingCommitment memory one,
        EquivocationEvidence calldata shown,
        Signer memory signer
    ) internal view {
        OrderingCommitment memory two = readSigned(shown.other, signer);
        if (!sameSegment(one, two) || one.number != two.number) revert IOrderingSlasher.OtherPlace();
        if (keccak256(commitment.payload) == keccak256(shown.other.commitment.payload)) {
            revert IOrderingSlasher.SameCommitment();
        }
    }

    /// @notice A commitment that does not follow from the one before it, or breaks a rule alone.
    function brokenChain(
        OrderingCommitment memory ordering,
        BrokenChainEvidence calldata shown,
        Signer memory signer
    ) internal view {
        bool broken;
        if (shown.previous.length == 0) {
            broken = (ordering.number == 0 && (ordering.parent != 0 || ordering.firstIndex != 0))
                || (ordering.kind != 0 && ordering.txCount != 0);
        } else {
            SignedCommitment calldata before = shown.previous[0];
            OrderingCommitment memory previous = readSigned(before, signer);
            if (!sameSegment(previous, ordering) || uint256(previous.number) + 1 != ordering.number) {
                revert IOrderingSlasher.OtherPlace();
            }
            broken = ordering.parent != keccak256(before.commitment.payload)
                || ordering.firstIndex != uint256(previous.firstIndex) + previous.txCount;
        }
        if (!broken) revert IOrderingSlasher.ChainHolds();
    }

    /// @notice A commitment after its segment's seal, or after its window's.
    function postSeal(
        OrderingCommitment memory ordering,
        PostSealEvidence calldata shown,
        Signer memory signer
    ) internal view {
        OrderingCommitment memory sealing = readSigned(shown.seal, signer);
        if (!sameWindow(sealing, ordering)) revert IOrderingSlasher.OtherPlace();
        if (sealing.kind == 0) revert IOrderingSlasher.NotASeal();
        bool comesAfter = sealing.segment == ordering.segment
            ? ordering.number > sealing.number
            : sealing.kind == WINDOW_SEAL && ordering.segment > sealing.segment;
        if (!comesAfter) revert IOrderingSlasher.OtherPlace();
    }

    function sameWindow(OrderingCommitment memory one, OrderingCommitment memory two)
        internal
        pure
        returns (bool)
    {
        return one.rollupId == two.rollupId && one.slot == two.slot;
    }

    function sameSegment(OrderingCommitment memory one, OrderingCommitment memory two)
        internal
        pure
        returns (bool)
    {
        return sameWindow(one, two) && one.segment == two.segment;
    }
}
