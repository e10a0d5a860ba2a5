// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {AtomicityEvidence, OmissionEvidence} from "../Evidence.sol";
import {Leg, OrderingCommitment} from "../Objects.sol";
import {OrderingMerkle} from "../OrderingMerkle.sol";
import {IOrderingSlasher} from "../interfaces/IOrderingSlasher.sol";
import {Orderings} from "./Orderings.sol";
import {LibBit} from "solady/utils/LibBit.sol";

/// @title The faults shown by what stands at a position (design §8)
library Positions {
    /// @notice A microblock's transaction that the segment's seal has not, or not there.
    function omission(
        OrderingCommitment memory ordering,
        OmissionEvidence calldata shown,
        Orderings.Signer memory signer
    ) internal view {
        OrderingCommitment memory sealing = Orderings.readSigned(shown.seal, signer);
        if (!Orderings.sameSegment(ordering, sealing)) revert IOrderingSlasher.OtherPlace();
        if (sealing.kind == 0) revert IOrderingSlasher.NotASeal();
        // A seal promises no places of its own, whatever it counts.
        if (ordering.kind != 0) revert IOrderingSlasher.IndexOutside();
        _microblockShows(ordering, shown.index, shown.txHash, shown.path);
        _sealShowsAnother(sealing, shown.index, shown.txHash, shown.sealedTxHash, shown.sealedPath);
    }

    /// @notice A bundle's leg at whose position another transaction stands, or none.
    function atomicityBreak(Leg memory leg, AtomicityEvidence calldata shown, Orderings.Signer memory signer)
        internal
        view
    {
        OrderingCommitment memory there = Orderings.readSigned(shown.shown, signer);
        if (leg.rollupId != there.rollupId || leg.slot != there.slot || leg.segment != there.segment) {
            revert IOrderingSlasher.OtherPlace();
        }
        if (there.kind != 0) {
            _sealShowsAnother(there, leg.index, leg.txHash, shown.shownTxHash, shown.path);
        } else {
            _microblockShows(there, leg.index, shown.shownTxHash, shown.path);
            if (shown.shownTxHash == leg.txHash) revert IOrderingSlasher.SameTransaction();
        }
    }

    /// @notice How long a path is in the tree over `count` leaves.
    function depth(uint256 count) internal pure returns (uint256) {
        return count < 2 ? 0 : LibBit.fls(count - 1) + 1;
    }

    function _microblockShows(
        OrderingCommitment memory microblock,
        uint256 index,
        bytes32 txHash,
        bytes32[] calldata path
    ) private pure {
        if (index < microblock.firstIndex || index - microblock.firstIndex >= microblock.txCount) {
            revert IOrderingSlasher.IndexOutside();
        }
        _shows(microblock.txRoot, microblock.txCount, index, index - microblock.firstIndex, txHash, path);
    }

    function _sealShowsAnother(
        OrderingCommitment memory sealing,
        uint256 index,
        bytes32 promised,
        bytes32 txHash,
        bytes32[] calldata path
    ) private pure {
        if (index >= sealing.firstIndex) {
            // Nothing stands there, so nothing is shown.
            if (txHash != 0 || path.length != 0) revert IOrderingSlasher.BadPath();
        } else {
            _shows(sealing.txRoot, sealing.firstIndex, index, index, txHash, path);
            if (txHash == promised) revert IOrderingSlasher.SameTransaction();
        }
    }

    /// @dev A path is as long as the tree is deep: a shorter one could begin at a node, a longer one at no leaf.
    function _shows(
        bytes32 root,
        uint256 count,
        uint256 index,
        uint256 position,
        bytes32 txHash,
        bytes32[] calldata path
    ) private pure {
        if (
            path.length != depth(count)
                || !OrderingMerkle.verify(OrderingMerkle.leaf(index, txHash), position, path, root)
        ) revert IOrderingSlasher.BadPath();
    }
}
