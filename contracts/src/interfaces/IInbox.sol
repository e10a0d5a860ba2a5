// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

/// @title What the other contracts read of the Inbox
interface IInbox {
    /// @notice A recorded batch.
    struct Record {
        /// Merkle root over the segment's transactions; zero for an empty segment.
        bytes32 txRoot;
        /// Number of transactions.
        uint32 count;
        /// Timestamp of the L1 block that recorded it, in seconds; zero if there is no record.
        uint64 time;
        /// 1 if the batch ends a segment, 2 if it ends the window.
        uint8 kind;
    }

    function record(uint64 rollupId, uint64 slot, uint16 segment, address committer)
        external
        view
        returns (Record memory);
    function forcedHeadAt(uint64 rollupId, uint64 time) external view returns (uint64);
}
