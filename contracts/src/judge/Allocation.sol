// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {AllocationEntry, SlotAllocation} from "../Objects.sol";

/// @title The market's outcome in a delegation's metadata (design §2)
library Allocation {
    uint256 private constant VERSION = 1;
    uint256 private constant HEAD_BYTES = 7 * 32;
    /// Length of a BLS public key.
    uint256 private constant KEY_BYTES = 48;
    uint256 private constant MAX_URL_BYTES = 256;

    /// @notice Reads `abi.encode(uint8 1, SlotAllocation)` in its one form, as `SlotAllocation::from_metadata` of
    /// `crates/protocol` does: numbers in range, keys of 48 bytes, URLs of UTF-8 and at most 256 bytes, each rollup once.
    /// @return ok whether it is one; else the rest is meaningless
    /// @return allocation the allocation
    function read(bytes calldata metadata)
        internal
        pure
        returns (bool ok, SlotAllocation calldata allocation)
    {
        assembly ("memory-safe") {
            allocation := add(metadata.offset, 0x40)
        }
        // Version, offset, four words of head, number of entries.
        if (metadata.length < 7 * 32) return (false, allocation);
        uint256 pos;
        assembly ("memory-safe") {
            pos := metadata.offset
        }
        uint256 end = pos + metadata.length;
        if (_load(pos) != VERSION || _load(pos + 0x20) != 0x40) return (false, allocation);
        if ((_load(pos + 0x40) | _load(pos + 0x60)) > type(uint64).max || _load(pos + 0xa0) != 0x80) {
            return (false, allocation);
        }
        uint256 count = _load(pos + 0xc0);
        pos += 0xe0;
        if (count > (end - pos) / HEAD_BYTES) return (false, allocation);
        uint256 next = pos + 0x20 * count;
        for (uint256 i = 0; i < count; ++i) {
            if (_load(pos + 0x20 * i) != next - pos) return (false, allocation);
            (ok, next) = _entry(next, end);
            if (!ok) return (false, allocation);
        }
        ok = next == end && _rollupsDiffer(allocation.entries);
    }

    /// @notice `keccak256(abi.encode(SlotAllocation))` of an allocation that `read` took from `metadata`.
    function hash(bytes calldata metadata) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(uint256(0x20), metadata[0x40:]));
    }

    /// @notice The entry of a rollup.
    function find(SlotAllocation calldata allocation, uint64 rollupId)
        internal
        pure
        returns (bool found, address committer)
    {
        for (uint256 i = 0; i < allocation.entries.length; ++i) {
            AllocationEntry calldata entry = allocation.entries[i];
            if (entry.rollupId == rollupId) return (true, entry.committer);
        }
    }

    /// @dev An entry is seven words of head, the key, the URL.
    function _entry(uint256 pos, uint256 end) private pure returns (bool ok, uint256 next) {
        uint256 url = pos + HEAD_BYTES + 0x60;
        if (url + 0x20 > end) return (false, end);
        ok = _load(pos) <= type(uint64).max && (_load(pos + 0x40) | _load(pos + 0x60)) <= type(uint160).max
            && _load(pos + 0x80) == HEAD_BYTES && _load(pos + 0xc0) == url - pos;
        // The key: its length, and sixteen zeros after it.
        ok = ok && _load(pos + HEAD_BYTES) == KEY_BYTES && _load(pos + HEAD_BYTES + 0x40) << 128 == 0;
        uint256 length = _load(url);
        if (!ok || length > MAX_URL_BYTES) return (false, end);
        next = url + 0x20 + ((length + 0x1f) & ~uint256(0x1f));
        if (next > end) return (false, end);
        uint256 used = length & 0x1f;
        ok = (used == 0 || _load(next - 0x20) << (8 * used) == 0) && _isUtf8(url + 0x20, length);
    }

    function _rollupsDiffer(AllocationEntry[] calldata entries) private pure returns (bool) {
        for (uint256 i = 1; i < entries.length; ++i) {
            uint64 rollupId = entries[i].rollupId;
            for (uint256 k = 0; k < i; ++k) {
                if (entries[k].rollupId == rollupId) return false;
            }
        }
        return true;
    }

    /// @dev Well-formed UTF-8 (Unicode 3.9, table 3-7): what a Rust `String` is.
    function _isUtf8(uint256 pos, uint256 length) private pure returns (bool) {
        uint256 i = 0;
        while (i < length) {
            uint256 lead = _load(pos + i) >> 248;
            ++i;
            if (lead < 0x80) continue;
            if (lead < 0xc2 || lead > 0xf4) return false;
            uint256 more = lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : 3;
            if (length - i < more) return false;
            // What may follow first: no form longer than needed, no surrogate, nothing above U+10FFFF.
            uint256 low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
            uint256 high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
            for (uint256 end = i + more; i < end; ++i) {
                uint256 unit = _load(pos + i) >> 248;
                if (unit < low || unit > high) return false;
                (low, high) = (0x80, 0xbf);
            }
        }
        return true;
    }

    function _load(uint256 pos) private pure returns (uint256 word) {
        assembly ("memory-safe") {
            word := calldataload(pos)
        }
    }
}
