// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

/// @title The Merkle tree over the transactions of a microblock or a segment (design §4)
/// @notice leaf = keccak256(0x00 ‖ u64be index ‖ txHash), node = keccak256(0x01 ‖ left ‖ right); leaves are padded
/// with zero to a power of two; without leaves the root is zero.
library OrderingMerkle {
    /// @notice Leaf of the transaction at `index` of its segment.
    function leaf(uint256 index, bytes32 txHash) internal pure returns (bytes32 hash) {
        assembly ("memory-safe") {
            mstore(0x00, shl(184, index))
            mstore(0x09, txHash)
            hash := keccak256(0x00, 0x29)
        }
    }

    /// @notice Parent of two nodes.
    function node(bytes32 left, bytes32 right) internal pure returns (bytes32 hash) {
        assembly ("memory-safe") {
            let p := mload(0x40)
            mstore8(p, 0x01)
            mstore(add(p, 0x01), left)
            mstore(add(p, 0x21), right)
            hash := keccak256(p, 0x41)
        }
    }

    /// @notice Root over leaves. The array is used up: its content is overwritten.
    function root(bytes32[] memory leaves) internal pure returns (bytes32) {
        uint256 width = leaves.length;
        if (width == 0) return 0;
        // Root of a padding subtree as high as the current row.
        bytes32 padding = 0;
        while (width > 1) {
            assembly ("memory-safe") {
                // `node` over each pair, into the row's own first half. The prefix stays at `p`.
                let p := mload(0x40)
                mstore8(p, 0x01)
                let left := add(p, 0x01)
                let right := add(p, 0x21)
                let to := add(leaves, 0x20)
                let from := to
                for { let end := add(to, shl(5, and(width, not(1)))) } lt(from, end) {
                    from := add(from, 0x40)
                } {
                    mcopy(left, from, 0x40)
                    mstore(to, keccak256(p, 0x41))
                    to := add(to, 0x20)
                }
                mstore(right, padding)
                if and(width, 1) {
                    mcopy(left, from, 0x20)
                    mstore(to, keccak256(p, 0x41))
                }
                mstore(left, padding)
                padding := keccak256(p, 0x41)
                width := shr(1, add(width, 1))
            }
        }
        return leaves[0];
    }

    /// @notice Whether `path` leads from the leaf at `position` (from 0, in its own tree) to `expected`.
    /// @dev A position outside the tree that the path spans is refused, so an index has one path only.
    function verify(bytes32 leafHash, uint256 position, bytes32[] calldata path, bytes32 expected)
        internal
        pure
        returns (bool)
    {
        bytes32 hash = leafHash;
        uint256 place = position;
        for (uint256 i = 0; i < path.length; ++i) {
            hash = place & 1 == 0 ? node(hash, path[i]) : node(path[i], hash);
            place >>= 1;
        }
        return place == 0 && hash == expected;
    }
}
