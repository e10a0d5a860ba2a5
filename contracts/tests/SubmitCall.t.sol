// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {SignedCommitment} from "../src/Objects.sol";
import {SubmitCall} from "../src/SubmitCall.sol";
import {SealFixture} from "./SealFixture.sol";

contract SubmitCallTest is SealFixture {
    /// What a call says, encoded anew.
    function reencode(bytes[] calldata txs, SignedCommitment calldata seal, bytes calldata authority)
        external
        view
        returns (bytes memory)
    {
        return abi.encodeCall(inbox.submit, (txs, seal, authority));
    }

    function _call(uint256 count, uint256 size, bytes memory authority) private view returns (bytes memory) {
        bytes[] memory txs = batch(count, size);
        return abi.encodeCall(inbox.submit, (txs, sealOf(txs), authority));
    }

    function _word(bytes memory data, uint256 place) private pure returns (uint256 value) {
        assembly ("memory-safe") {
            value := mload(add(add(data, 0x20), place))
        }
    }

    function _set(bytes memory data, uint256 place, uint256 value) private pure {
        assembly ("memory-safe") {
            mstore(add(add(data, 0x20), place), value)
        }
    }

    function _refused(bytes memory data) private {
        (bool taken, bytes memory answer) = address(inbox).call(data);
        assertFalse(taken);
        assertEq(bytes4(answer), SubmitCall.NotCanonical.selector);
    }

    function test_takesTheCanonicalCall() public {
        for (uint256 size = 0; size <= 65; ++size) {
            (bool taken,) = address(inbox).call(_call(3, size, new bytes(size)));
            assertTrue(taken);
        }
    }

    function test_refusesWhatFollows() public {
        _refused(abi.encodePacked(_call(2, 40, ""), uint8(0)));
        _refused(abi.encodePacked(_call(2, 40, hex"01"), bytes32(0)));
    }

    function test_refusesNonzeroPadding() public {
        bytes memory data = _call(2, 40, hex"01");
        uint256 last = data.length - 1;
        data[last] = 0x01; // of the authority
        _refused(data);
        data[last] = 0x00;
        data[last - 0x40] = 0x01; // of the signature
        _refused(data);
        data[last - 0x40] = 0x00;
        data[TXS + 2 * 0x20 + 0x20 + 0x3f] = 0x01; // of the first transaction
        _refused(data);
        data[TXS + 2 * 0x20 + 0x20 + 0x3f] = 0x00;
        (bool taken,) = address(inbox).call(data);
        assertTrue(taken);
    }

    uint256 private constant TXS = 0x84;

    function test_refusesTransactionsInAnotherPlace() public {
        // Two equal transactions, one body.
        bytes[] memory txs = new bytes[](2);
        (txs[0], txs[1]) = (bytes(hex"aabb"), bytes(hex"aabb"));
        bytes memory data = abi.encodeCall(inbox.submit, (txs, sealOf(txs), ""));
        _set(data, TXS + 0x20, _word(data, TXS));
        _refused(data);
    }

    function test_refusesABackwardOffset() public {
        // Solidity follows a relative offset below zero: the only transaction is read from the array's own length.
        bytes[] memory txs = new bytes[](1);
        txs[0] = hex"00";
        bytes memory data = abi.encodeCall(inbox.submit, (txs, sealOf(txs), ""));
        _set(data, TXS, type(uint256).max - 0x1f);
        _refused(data);
    }

    function test_refusesALengthPastTheEnd() public {
        bytes memory data = _call(1, 40, "");
        _set(data, TXS + 0x20, type(uint256).max);
        _refused(data);
    }

    function test_refusesTruncatedCalls() public {
        bytes memory data = _call(3, 40, hex"0102");
        for (uint256 length = 0; length < data.length; length += 7) {
            bytes memory cut = new bytes(length);
            for (uint256 k = 0; k < length; ++k) {
                cut[k] = data[k];
            }
            (bool taken,) = address(inbox).call(cut);
            assertFalse(taken);
        }
    }

    /// Whatever word is changed to whatever: if the call is still taken, it is the one encoding of what it says.
    /// forge-config: default.fuzz.runs = 4096
    function testFuzz_whatIsTakenIsCanonical(uint256 place, uint256 value, bool small, bool tail) public {
        bytes memory data = _call(3, 40, hex"0102030405");
        place = 4 + bound(place, 0, (data.length - 4) / 32 - 1) * 32;
        _set(data, place, small ? bound(value, 0, data.length + 64) : value);
        if (tail) data = abi.encodePacked(data, bytes32(0));
        (bool taken,) = address(inbox).call(data);
        if (!taken) return;
        bytes memory mirrored = bytes.concat(data);
        bytes4 selector = this.reencode.selector;
        for (uint256 i = 0; i < 4; ++i) {
            mirrored[i] = selector[i];
        }
        (bool decoded, bytes memory answer) = address(this).call(mirrored);
        assertTrue(decoded);
        assertEq(abi.decode(answer, (bytes)), data);
    }
}
