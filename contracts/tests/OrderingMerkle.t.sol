// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {OrderingMerkle} from "../src/OrderingMerkle.sol";
import {SealFixture} from "./SealFixture.sol";

contract OrderingMerkleTest is SealFixture {
    function verify(bytes32 leafHash, uint256 position, bytes32[] calldata path, bytes32 expected)
        external
        pure
        returns (bool)
    {
        return OrderingMerkle.verify(leafHash, position, path, expected);
    }

    function leavesOf(bytes[] memory txs) internal pure returns (bytes32[] memory leaves) {
        leaves = new bytes32[](txs.length);
        for (uint256 i = 0; i < txs.length; ++i) {
            leaves[i] = OrderingMerkle.leaf(i, keccak256(txs[i]));
        }
    }

    function test_noLeavesGiveZero() public pure {
        assertEq(OrderingMerkle.root(new bytes32[](0)), 0);
    }

    function test_oneLeafIsTheRoot() public pure {
        bytes32[] memory leaves = new bytes32[](1);
        leaves[0] = keccak256("leaf");
        assertEq(OrderingMerkle.root(leaves), keccak256("leaf"));
    }

    function test_theLeafHashesAFixedForm() public pure {
        bytes32 txHash = keccak256("transaction");
        assertEq(
            OrderingMerkle.leaf(0x0102030405060708, txHash),
            keccak256(abi.encodePacked(hex"000102030405060708", txHash))
        );
    }

    function test_missingLeavesAreZeroLeaves() public pure {
        bytes32[] memory three = new bytes32[](3);
        bytes32[] memory four = new bytes32[](4);
        for (uint256 i = 0; i < 3; ++i) {
            three[i] = four[i] = bytes32(i + 1);
        }
        assertEq(OrderingMerkle.root(three), OrderingMerkle.root(four));
    }

    /// forge-config: default.fuzz.runs = 128
    function testFuzz_equalsThePlainTree(bytes[] memory txs) public pure {
        assertEq(OrderingMerkle.root(leavesOf(txs)), rootOf(txs));
    }

    function test_everyWidthEqualsThePlainTree() public pure {
        for (uint256 count = 0; count <= 33; ++count) {
            bytes[] memory txs = batch(count, 32);
            assertEq(OrderingMerkle.root(leavesOf(txs)), rootOf(txs));
        }
    }

    function test_aPathLeadsFromOnePositionOnly() public view {
        bytes32 a = keccak256("a");
        bytes32 b = keccak256("b");
        bytes32 c = keccak256("c");
        bytes32[] memory leaves = new bytes32[](3);
        (leaves[0], leaves[1], leaves[2]) = (a, b, c);
        bytes32[] memory path = new bytes32[](2);
        path[0] = 0;
        path[1] = OrderingMerkle.node(a, b);
        bytes32 expected = OrderingMerkle.root(leaves);
        assertTrue(this.verify(c, 2, path, expected));
        assertFalse(this.verify(c, 3, path, expected));
        assertFalse(this.verify(c, 0, path, expected));
        assertFalse(this.verify(c, 6, path, expected)); // same turns, but past the tree
        assertFalse(this.verify(b, 2, path, expected));
        path[0] = c;
        assertFalse(this.verify(c, 2, path, expected));
    }
}
