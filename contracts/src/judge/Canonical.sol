// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {
    ATOMICITY_BREAK,
    BROKEN_CHAIN,
    EQUIVOCATION,
    FORCED_INCLUSION_SKIPPED,
    MISSED_WINDOW,
    OMISSION,
    POST_SEAL,
    UNAUTHORIZED_SEQUENCING
} from "../Evidence.sol";
import {IOrderingSlasher} from "../interfaces/IOrderingSlasher.sol";

/// @title The one ABI encoding of evidence
/// @notice Solidity takes calldata that other decoders refuse: offsets in any order, overlapping, dirty padding. Only
/// the canonical form is evidence, so that Rust and L1 judge the same bytes alike: each part right after the one
/// before it, padded with zeros, every number in range, nothing after the last.
/// @dev `pos` and `end` are places in calldata, with `pos <= end <= calldatasize()`. A function that reads a part gives
/// the place after it. Everything else reverts with `MalformedEvidence`.
library Canonical {
    /// @notice Splits `abi.encode(uint8 fault, bytes detail)`.
    function evidence(bytes calldata encoded) internal pure returns (uint8 fault, bytes calldata detail) {
        uint256 pos = _offset(encoded);
        uint256 end = pos + encoded.length;
        uint256 number = _word(pos, end);
        _require(number <= type(uint8).max && _word(pos + 0x20, end) == 0x40);
        _require(_bytes(pos + 0x40, end) == end);
        // Just seen to be one byte.
        // forge-lint: disable-next-line(unsafe-typecast)
        fault = uint8(number);
        uint256 length = _word(pos + 0x40, end);
        assembly ("memory-safe") {
            detail.offset := add(pos, 0x60)
            detail.length := length
        }
    }

    /// @notice Checks the detail of a fault that a commitment shows.
    /// @return pos where its struct begins; meaningless if it has none
    function check(uint8 fault, bytes calldata detail) internal pure returns (uint256 pos) {
        if (fault == EQUIVOCATION || fault == POST_SEAL) return _oneCommitment(detail);
        if (fault == BROKEN_CHAIN) return _brokenChain(detail);
        if (fault == OMISSION) return _omission(detail);
        if (fault == ATOMICITY_BREAK) return _atomicity(detail);
        if (fault == MISSED_WINDOW) return _missedWindow(detail);
        if (fault == FORCED_INCLUSION_SKIPPED || fault == UNAUTHORIZED_SEQUENCING) {
            none(detail);
            return 0;
        }
        revert IOrderingSlasher.UnknownFault(fault);
    }

    /// @notice Faults that are shown by what is judged alone have no detail.
    function none(bytes calldata detail) internal pure {
        _require(detail.length == 0);
    }

    /// @dev `EquivocationEvidence` or `PostSealEvidence`: one signed commitment.
    function _oneCommitment(bytes calldata detail) private pure returns (uint256 pos) {
        uint256 end;
        (pos, end) = _struct(detail);
        _require(_word(pos, end) == 0x20);
        _require(_signedCommitment(pos + 0x20, end) == end);
    }

    /// @dev `BrokenChainEvidence`: one signed commitment, or none.
    function _brokenChain(bytes calldata detail) private pure returns (uint256 pos) {
        uint256 end;
        (pos, end) = _struct(detail);
        _require(_word(pos, end) == 0x20);
        uint256 count = _word(pos + 0x20, end);
        uint256 next = pos + 0x40;
        if (count != 0) {
            _require(count == 1 && _word(next, end) == 0x20);
            next = _signedCommitment(next + 0x20, end);
        }
        _require(next == end);
    }

    /// @dev `OmissionEvidence`.
    function _omission(bytes calldata detail) private pure returns (uint256 pos) {
        uint256 end;
        (pos, end) = _struct(detail);
        _require(_word(pos, end) <= type(uint32).max);
        uint256 next = pos + 0xc0;
        _require(_word(pos + 0x40, end) == next - pos);
        next = _words(next, end);
        _require(_word(pos + 0x60, end) == next - pos);
        next = _signedCommitment(next, end);
        _require(_word(pos + 0xa0, end) == next - pos);
        _require(_words(next, end) == end);
    }

    /// @dev `AtomicityEvidence`.
    function _atomicity(bytes calldata detail) private pure returns (uint256 pos) {
        uint256 end;
        (pos, end) = _struct(detail);
        _require(_word(pos, end) <= type(uint16).max);
        uint256 next = pos + 0x80;
        _require(_word(pos + 0x20, end) == next - pos);
        next = _signedCommitment(next, end);
        _require(_word(pos + 0x60, end) == next - pos);
        _require(_words(next, end) == end);
    }

    /// @dev `MissedWindowEvidence`: one number.
    function _missedWindow(bytes calldata detail) private pure returns (uint256 pos) {
        pos = _offset(detail);
        _require(detail.length == 0x20 && _word(pos, pos + 0x20) <= type(uint16).max);
    }

    /// @dev A tail of bytes: length, data, zeros up to a word.
    function _bytes(uint256 pos, uint256 end) private pure returns (uint256 next) {
        uint256 length = _word(pos, end);
        _require(length <= end - pos - 0x20);
        next = pos + 0x20 + ((length + 0x1f) & ~uint256(0x1f));
        _require(next <= end);
        uint256 used = length & 0x1f;
        if (used != 0) _require(_word(next - 0x20, end) << (8 * used) == 0);
    }

    /// @dev A tail of whole words: their number, then they.
    function _words(uint256 pos, uint256 end) private pure returns (uint256 next) {
        uint256 count = _word(pos, end);
        _require(count <= (end - pos) / 0x20 - 1);
        next = pos + 0x20 + 0x20 * count;
    }

    function _signedCommitment(uint256 pos, uint256 end) private pure returns (uint256 next) {
        _require(_word(pos, end) == 0x80);
        _require(_word(pos + 0x20, end) <= type(uint64).max);
        uint256 commitment = pos + 0x80;
        _require(_word(commitment, end) <= type(uint64).max);
        _require(_word(commitment + 0x20, end) == 0x80);
        _require(_word(commitment + 0x60, end) <= type(uint160).max);
        next = _bytes(commitment + 0x80, end);
        _require(_word(pos + 0x60, end) == next - pos);
        next = _bytes(next, end);
    }

    /// @dev A dynamic struct, alone in `detail`.
    function _struct(bytes calldata detail) private pure returns (uint256 pos, uint256 end) {
        uint256 start = _offset(detail);
        end = start + detail.length;
        _require(_word(start, end) == 0x20);
        pos = start + 0x20;
    }

    function _word(uint256 pos, uint256 end) private pure returns (uint256 word) {
        _require(pos + 0x20 <= end);
        assembly ("memory-safe") {
            word := calldataload(pos)
        }
    }

    function _offset(bytes calldata data) private pure returns (uint256 offset) {
        assembly ("memory-safe") {
            offset := data.offset
        }
    }

    function _require(bool holds) private pure {
        if (!holds) revert IOrderingSlasher.MalformedEvidence();
    }
}
