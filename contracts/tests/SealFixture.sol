// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {Test} from "forge-std/Test.sol";
import {Inbox} from "../src/Inbox.sol";
import {Commitment, OrderingCommitment, SignedCommitment} from "../src/Objects.sol";
import {OrderingMerkle} from "../src/OrderingMerkle.sol";
import {Signing} from "../src/Signing.sol";

/// Builds and signs seals as a gateway does.
abstract contract SealFixture is Test {
    bytes4 internal constant GENESIS_FORK_VERSION = 0x20000089;
    uint64 internal constant ROLLUP = 4242;
    uint64 internal constant SLOT = 77;
    bytes32 internal constant SIGNING_ID = keccak256("earnest.v1");

    Inbox internal inbox;
    address internal committer;
    uint256 internal committerKey;
    /// An account that holds no code, as most posters are.
    address internal poster;

    function setUp() public virtual {
        inbox = new Inbox(GENESIS_FORK_VERSION);
        (committer, committerKey) = makeAddrAndKey("committer");
        poster = makeAddr("poster");
        vm.warp(1_700_000_000);
    }

    function ordering(bytes[] memory txs, uint16 segment, uint8 kind)
        internal
        pure
        returns (OrderingCommitment memory)
    {
        return OrderingCommitment({
            rollupId: ROLLUP,
            slot: SLOT,
            segment: segment,
            number: 3,
            parent: keccak256("parent"),
            firstIndex: uint32(txs.length),
            txCount: 0,
            txRoot: rootOf(txs),
            timestampMs: 1_700_000_000_123,
            forcedInclusionHead: 9,
            kind: kind
        });
    }

    function sealOf(bytes[] memory txs) internal view returns (SignedCommitment memory) {
        return sign(ordering(txs, 0, 2));
    }

    function sign(OrderingCommitment memory message) internal view returns (SignedCommitment memory) {
        return sign(Commitment(0x11, abi.encode(message), 0, address(0)), committerKey);
    }

    function sign(Commitment memory message, uint256 key) internal view returns (SignedCommitment memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, rootToSign(message, SIGNING_ID, 0));
        return SignedCommitment(message, 0, SIGNING_ID, abi.encodePacked(r, s, v));
    }

    function rootToSign(Commitment memory message, bytes32 signingId, uint64 nonce)
        internal
        view
        returns (bytes32)
    {
        bytes32 object = keccak256(abi.encode(uint256(3), message));
        return
            Signing.signingRoot(object, signingId, nonce, block.chainid, Signing.domain(GENESIS_FORK_VERSION));
    }

    /// The padded tree, built row by row: slower than the contract's, and plain.
    function rootOf(bytes[] memory txs) internal pure returns (bytes32) {
        if (txs.length == 0) return 0;
        uint256 width = 1;
        while (width < txs.length) width *= 2;
        bytes32[] memory row = new bytes32[](width);
        for (uint256 i = 0; i < txs.length; ++i) {
            row[i] = keccak256(abi.encodePacked(uint8(0), uint64(i), keccak256(txs[i])));
        }
        for (; width > 1; width /= 2) {
            for (uint256 i = 0; i < width / 2; ++i) {
                row[i] = keccak256(abi.encodePacked(uint8(1), row[2 * i], row[2 * i + 1]));
            }
        }
        return row[0];
    }

    /// `count` transactions of `size` bytes, all different.
    function batch(uint256 count, uint256 size) internal pure returns (bytes[] memory txs) {
        txs = new bytes[](count);
        for (uint256 i = 0; i < count; ++i) {
            bytes memory transaction = new bytes(size);
            for (uint256 offset = 0; offset < size; offset += 32) {
                bytes32 word = keccak256(abi.encode(i, offset));
                for (uint256 k = 0; k < 32 && offset + k < size; ++k) {
                    transaction[offset + k] = word[k];
                }
            }
            txs[i] = transaction;
        }
    }
}
