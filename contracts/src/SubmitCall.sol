// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {SignedCommitment} from "./Objects.sol";

/// @title The one encoding of a call of `Inbox.submit`
/// @notice Rollup nodes read batches from calldata. Solidity takes calldata that other decoders refuse (offsets in
/// any order, backwards, overlapping), so whoever posts a seal in such a form first could record a batch that
/// nodes cannot read. Only the canonical encoding is taken: each part right after the one before it, padded with
/// zeros, nothing after the last.
library SubmitCall {
    /// @notice The calldata is not the canonical encoding of the call.
    error NotCanonical();

    /// First element of `txs`: the selector, three offsets and the array's length stand before it.
    uint256 private constant TXS = 0x84;
    /// From the seal's start: the data of the payload (11 words) and of the signature (65 bytes), and its end.
    uint256 private constant PAYLOAD = 0x120;
    uint256 private constant SIGNATURE = 0x2a0;
    uint256 private constant SEAL = 0x300;

    /// @notice The Merkle leaves (`OrderingMerkle.leaf`) of a call's transactions.
    /// @dev Payload and signature must be known to be 352 and 65 bytes long.
    function leaves(bytes[] calldata txs, SignedCommitment calldata seal, bytes calldata authority)
        internal
        pure
        returns (bytes32[] memory hashes)
    {
        hashes = new bytes32[](txs.length);
        bool canonical;
        uint256 end;
        assembly ("memory-safe") {
            let wrong := xor(txs.offset, TXS)
            let scratch := mload(0x40)
            let to := add(hashes, 0x20)
            end := add(txs.offset, shl(5, txs.length))
            for { let i := 0 } lt(i, txs.length) { i := add(i, 1) } {
                let length := calldataload(end)
                wrong := or(wrong, xor(calldataload(add(txs.offset, shl(5, i))), sub(end, txs.offset)))
                if or(wrong, gt(length, calldatasize())) {
                    wrong := 1
                    break
                }
                let data := add(end, 0x20)
                end := add(data, and(add(length, 0x1f), not(0x1f)))
                // What stands in the last word after the transaction.
                let used := and(length, 0x1f)
                if used { wrong := shl(shl(3, used), calldataload(sub(end, 0x20))) }
                calldatacopy(scratch, data, length)
                mstore(0x00, shl(184, i))
                mstore(0x09, keccak256(scratch, length))
                mstore(add(to, shl(5, i)), keccak256(0x00, 0x29))
            }
            canonical := iszero(wrong)
        }
        if (!canonical || !_restIsCanonical(end, seal, authority)) revert NotCanonical();
    }

    function _restIsCanonical(uint256 expected, SignedCommitment calldata seal, bytes calldata authority)
        private
        pure
        returns (bool canonical)
    {
        bytes calldata payload = seal.commitment.payload;
        bytes calldata signature = seal.signature;
        assembly ("memory-safe") {
            let wrong := xor(seal, expected)
            wrong := or(wrong, xor(calldataload(seal), 0x80))
            wrong := or(wrong, xor(payload.offset, add(seal, PAYLOAD)))
            wrong := or(wrong, xor(signature.offset, add(seal, SIGNATURE)))
            wrong := or(wrong, shl(8, calldataload(add(signature.offset, 0x40))))
            wrong := or(wrong, xor(authority.offset, add(seal, add(SEAL, 0x20))))
            let end := add(authority.offset, and(add(authority.length, 0x1f), not(0x1f)))
            wrong := or(wrong, xor(end, calldatasize()))
            let used := and(authority.length, 0x1f)
            if used { wrong := or(wrong, shl(shl(3, used), calldataload(sub(end, 0x20)))) }
            canonical := iszero(wrong)
        }
    }
}
