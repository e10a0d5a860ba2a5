// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

/// @title The network's slots, in milliseconds (design §2)
/// @notice A block's timestamp is its slot's start; with slots of whole seconds the two agree exactly.
abstract contract SlotClock {
    /// @notice No slot has no length, and no slot precedes genesis.
    error BadClock();

    /// @notice When slot 0 starts, Unix milliseconds.
    uint64 public immutable GENESIS_MS;
    /// @notice Length of a slot, milliseconds.
    uint64 public immutable SLOT_MS;

    constructor(uint64 genesisMs, uint64 slotMs) {
        if (slotMs == 0) revert BadClock();
        GENESIS_MS = genesisMs;
        SLOT_MS = slotMs;
    }

    /// @notice When `slot` starts, Unix milliseconds. Never overflows.
    function slotStartMs(uint64 slot) public view returns (uint256) {
        return uint256(GENESIS_MS) + uint256(slot) * SLOT_MS;
    }

    /// @notice The slot of a block with this timestamp (seconds); 0 before genesis.
    function slotAt(uint256 time) public view returns (uint64) {
        uint256 ms = time * 1000;
        // The quotient of a block's timestamp is far below 2^64.
        // forge-lint: disable-next-line(unsafe-typecast)
        return ms < GENESIS_MS ? 0 : uint64((ms - GENESIS_MS) / SLOT_MS);
    }
}
